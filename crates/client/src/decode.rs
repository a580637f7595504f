//! From decoded Server-Sent Events to [`Item`]s: Longwave's control events and extension lines, read as types.
//!
//! Any server's stream passes: what is not Longwave's is an event with text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use longwave_sse::EventRef;
use serde::Deserialize;

use crate::event::{Data, End, Event, Gap, Item};

/// Reads one event.
///
/// # Errors
/// [`DecodeItemError`] where the server breaks its own protocol.
pub(crate) fn item(event: &EventRef<'_>) -> Result<Item, DecodeItemError> {
    let id = event.id().filter(|id| !id.is_empty()).map(str::to_owned);
    let topic = event.extensions().value("topic").map(str::to_owned);
    match event.event_type() {
        GAP => {
            let GapData { after, resumed, reason } = control(GAP, event.data())?;
            Ok(Item::Gap(Gap { after, resumed, reason }))
        }
        END => {
            let EndData { reason } = control(END, event.data())?;
            Ok(Item::End(End { id, topic, reason }))
        }
        event_type => {
            let data = match event.extensions().value("encoding") {
                Some("base64") => Data::Binary(Bytes::from(
                    STANDARD.decode(event.data()).map_err(DecodeItemError::Base64)?,
                )),
                _ => Data::Text(event.data().to_owned()),
            };
            Ok(Item::Event(Event { id, topic, event_type: event_type.to_owned(), data }))
        }
    }
}

/// Why an event can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeItemError {
    /// An event says that it is base64 and is not.
    #[error("an event announced base64 and its data is not")]
    Base64(#[source] base64::DecodeError),
    /// A control event does not say what it must.
    #[error("the server's own event {event_type} can't be read")]
    Control {
        /// Which one.
        event_type: &'static str,
        /// What is wrong with its data.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct GapData {
    after: Option<String>,
    resumed: Option<String>,
    reason: String,
}

#[derive(Deserialize)]
struct EndData {
    reason: String,
}

fn control<'a, T: Deserialize<'a>>(
    event_type: &'static str,
    data: &'a str,
) -> Result<T, DecodeItemError> {
    serde_json::from_str(data).map_err(|source| DecodeItemError::Control { event_type, source })
}

const GAP: &str = "longwave.gap";
const END: &str = "longwave.end";

#[cfg(test)]
mod tests {
    use longwave_sse::{Decoded, Decoder, UnknownFields};

    use super::*;

    fn decode(mut wire: &[u8]) -> Result<Item, DecodeItemError> {
        let mut decoder = Decoder::new().with_unknown_fields(UnknownFields::Keep);
        match decoder.decode(&mut wire).unwrap() {
            Some(Decoded::Event(event)) => item(&event),
            other => panic!("no event: {other:?}"),
        }
    }

    fn event(wire: &[u8]) -> Event {
        match decode(wire).unwrap() {
            Item::Event(event) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    #[test]
    fn a_plain_event_is_text() {
        let event = event(b"id: 7kq2f-3\nevent: price\ndata: {\"p\":1}\n\n");
        assert_eq!(event.id.as_deref(), Some("7kq2f-3"));
        assert_eq!(event.event_type, "price");
        assert_eq!(event.json::<serde_json::Value>().unwrap()["p"], 1);
        assert_eq!(event.topic, None);
    }

    #[test]
    fn an_event_that_resets_the_id_has_none() {
        assert_eq!(event(b"id\ndata: x\n\n").id, None);
        assert_eq!(event(b"data: x\n\n").event_type, "message");
    }

    #[test]
    fn extension_lines_give_the_topic_and_the_bytes() {
        let event = event(b"topic: a/b\nencoding: base64\ndata: AP8=\n\n");
        assert_eq!(event.topic.as_deref(), Some("a/b"));
        assert_eq!(event.data, Data::Binary(Bytes::from_static(&[0, 255])));
        let broken = decode(b"encoding: base64\ndata: ?\n\n");
        assert!(matches!(broken, Err(DecodeItemError::Base64(_))));
    }

    #[test]
    fn a_gap_and_an_end_are_items_of_their_own() {
        let gap = decode(
            b"event: longwave.gap\ndata: {\"after\":\"a-1\",\"resumed\":\"a-9\",\"reason\":\"retention\"}\n\n",
        );
        let expected = Gap {
            after: Some("a-1".into()),
            resumed: Some("a-9".into()),
            reason: "retention".into(),
        };
        assert_eq!(gap.unwrap(), Item::Gap(expected));

        let end =
            decode(b"id: a-10\nevent: longwave.end\ntopic: t\ndata: {\"reason\":\"done\"}\n\n");
        let expected =
            End { id: Some("a-10".into()), topic: Some("t".into()), reason: "done".into() };
        assert_eq!(end.unwrap(), Item::End(expected));

        let broken = decode(b"event: longwave.end\ndata: done\n\n");
        assert!(matches!(broken, Err(DecodeItemError::Control { .. })));
    }
}

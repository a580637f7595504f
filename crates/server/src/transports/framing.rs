//! How what a subscription delivers becomes bytes: [`Framing`].
//!
//! Pure, so that whatever moves bytes to sockets can use it. When something is written, and what is answered before the
//! first byte, is decided elsewhere (`live.rs`).

mod native;
mod ndjson;
mod sse;

use std::time::Duration;

use longwave_core::{Epoch, FeedItem, SelectorSet};

pub(crate) use self::native::{NativeFraming, NativeKind, canonical};
pub(crate) use self::ndjson::write_object;
use super::read_request::DataShape;

/// The encoder of a live stream. Every piece that it writes ends at an event boundary, so pieces of any kind may follow
/// each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `text/event-stream`.
    Sse(sse::SseFraming),
    /// `application/x-ndjson`.
    Ndjson {
        /// Of the log whose positions become ids.
        epoch: Epoch,
    },
    /// The bytes of the provider whose stream was recorded.
    Native(NativeFraming),
}

impl Framing {
    /// The framing of Server-Sent Events for readers of `selectors`.
    pub(crate) fn sse(epoch: Epoch, selectors: &SelectorSet, data_shape: DataShape) -> Framing {
        Framing::Sse(sse::SseFraming::new(epoch, selectors, data_shape))
    }

    /// The framing of newline-delimited JSON.
    pub(crate) fn ndjson(epoch: Epoch) -> Framing {
        Framing::Ndjson { epoch }
    }

    /// The `Content-Type` of the stream; of a native one, where it is not known which its provider sent.
    pub(crate) fn content_type(&self) -> &'static str {
        match self {
            // Without the charset, some readers take Latin-1; `EventSource` ignores it.
            Framing::Sse(_) | Framing::Native(NativeFraming { kind: NativeKind::Sse }) => {
                "text/event-stream; charset=utf-8"
            }
            Framing::Ndjson { .. }
            | Framing::Native(NativeFraming { kind: NativeKind::Ndjson }) => "application/x-ndjson",
        }
    }

    /// Appends what is sent at once, before there is any event. `retry` is how long a client that loses the stream
    /// shall wait before it comes back.
    pub(crate) fn write_opening(&self, out: &mut Vec<u8>, retry: Duration) {
        match self {
            Framing::Sse(_) => sse::write_opening(out, retry),
            Framing::Ndjson { .. } | Framing::Native(_) => {}
        }
    }

    /// Appends an event, an end or a gap.
    pub(crate) fn write_item(&self, out: &mut Vec<u8>, item: &FeedItem) {
        match self {
            Framing::Sse(framing) => framing.write_item(out, item),
            Framing::Ndjson { epoch } => ndjson::write_item(out, *epoch, item),
            Framing::Native(framing) => framing.write_item(out, item),
        }
    }

    /// Appends the sign of life that is sent after some silence.
    pub(crate) fn write_heartbeat(&self, out: &mut Vec<u8>) {
        match self {
            Framing::Sse(_) => sse::write_heartbeat(out),
            Framing::Ndjson { .. } => ndjson::write_heartbeat(out),
            Framing::Native(framing) => framing.write_heartbeat(out),
        }
    }

    /// Appends the last words of a server that goes down: come back after `retry`.
    pub(crate) fn write_farewell(&self, out: &mut Vec<u8>, retry: Duration) {
        match self {
            Framing::Sse(_) => sse::write_farewell(out, retry),
            Framing::Ndjson { .. } => ndjson::write_farewell(out, retry),
            Framing::Native(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longwave_core::{
        DataFormat, EndReason, Event, EventType, FeedGap, GapReason, Message, Payload, Seq,
        UnixMillis,
    };

    use super::*;

    fn epoch() -> Epoch {
        "7kq2f".parse().unwrap()
    }

    fn event(seq: u64, payload: Payload) -> FeedItem {
        FeedItem::Event(Arc::new(Event {
            seq: Seq(seq),
            time: UnixMillis(1_700_000_000_000),
            topic: "orders/42".parse().unwrap(),
            payload,
        }))
    }

    fn message(event_type: Option<&str>, format: DataFormat, data: &'static [u8]) -> Payload {
        let event_type = event_type.map(|text| EventType::new(text).unwrap());
        Payload::Message(Message { event_type, format, data: data.into(), source: None })
    }

    /// Every kind of item, as it comes out one behind the other.
    fn written(framing: Framing) -> String {
        let mut out = Vec::new();
        framing.write_opening(&mut out, Duration::from_millis(3271));
        for item in [
            event(
                1,
                message(Some("price"), DataFormat::Json, b"{\"symbol\":\"ACME\",\n\"price\":102}"),
            ),
            event(2, message(None, DataFormat::Text, b"one\ntwo\r\nthree\rfour")),
            event(3, message(None, DataFormat::Text, b"")),
            event(4, message(Some("image"), DataFormat::Binary, &[0, 255, b'\n'])),
            FeedItem::Gap(FeedGap {
                after: "abcde-7".parse().unwrap(),
                resumed: "7kq2f-9".parse().unwrap(),
                reason: GapReason::Epoch,
            }),
        ] {
            framing.write_item(&mut out, &item);
        }
        framing.write_heartbeat(&mut out);
        framing.write_item(&mut out, &event(12, Payload::End(EndReason::Done)));
        framing.write_farewell(&mut out, Duration::from_millis(900));
        String::from_utf8(out).unwrap()
    }

    fn selectors(text: &str) -> SelectorSet {
        SelectorSet::new([text.parse().unwrap()]).unwrap()
    }

    #[test]
    fn an_event_stream_of_one_topic_has_the_standards_fields_only() {
        expect_test::expect![[r#"
            retry: 3271
            :
            id: 7kq2f-1
            event: price
            data: {"symbol":"ACME",
            data: "price":102}

            id: 7kq2f-2
            data: one
            data: two
            data: three
            data: four

            id: 7kq2f-3
            data: 

            id: 7kq2f-4
            event: image
            encoding: base64
            data: AP8K

            id: 7kq2f-9
            event: longwave.gap
            data: {"after":"abcde-7","resumed":"7kq2f-9","reason":"epoch"}

            :
            id: 7kq2f-12
            event: longwave.end
            data: {"reason":"done"}

            retry: 900
        "#]]
        .assert_eq(&written(Framing::sse(epoch(), &selectors("orders/42"), DataShape::Plain)));
    }

    #[test]
    fn an_event_stream_of_several_topics_names_the_topic_in_a_line_of_its_own() {
        let written = written(Framing::sse(epoch(), &selectors("orders/*"), DataShape::Plain));
        for block in [
            "id: 7kq2f-3\ntopic: orders/42\ndata: \n\n",
            "id: 7kq2f-4\nevent: image\ntopic: orders/42\nencoding: base64\ndata: AP8K\n\n",
            "id: 7kq2f-9\nevent: longwave.gap\ndata: {",
            "id: 7kq2f-12\nevent: longwave.end\ntopic: orders/42\ndata: {\"reason\":\"done\"}\n\n",
        ] {
            assert!(written.contains(block), "{block}\nnot in\n{written}");
        }
    }

    #[test]
    fn an_enveloped_event_stream_has_all_of_an_event_in_its_data() {
        let framing = Framing::sse(epoch(), &selectors("orders/*"), DataShape::Envelope);
        let written = written(framing);
        for block in [
            "id: 7kq2f-1\ndata: {\"id\":\"7kq2f-1\",\"topic\":\"orders/42\",\
             \"time\":\"2023-11-14T22:13:20.000Z\",\"type\":\"price\",\"data\":{\"symbol\":\"ACME\", \
             \"price\":102}}\n\n",
            "id: 7kq2f-9\nevent: longwave.gap\ndata: {\"after\":\"abcde-7\",\"resumed\":\"7kq2f-9\",\
             \"reason\":\"epoch\"}\n\n",
            "id: 7kq2f-12\nevent: longwave.end\ndata: {\"id\":\"7kq2f-12\",\"topic\":\"orders/42\",\
             \"time\":\"2023-11-14T22:13:20.000Z\",\"reason\":\"done\"}\n\n",
        ] {
            assert!(written.contains(block), "{block}\nnot in\n{written}");
        }
    }

    #[test]
    fn ndjson_is_one_object_a_line_and_a_blank_line_in_silence() {
        expect_test::expect![[r#"
            {"id":"7kq2f-1","topic":"orders/42","time":"2023-11-14T22:13:20.000Z","type":"price","data":{"symbol":"ACME", "price":102}}
            {"id":"7kq2f-2","topic":"orders/42","time":"2023-11-14T22:13:20.000Z","data":"one\ntwo\r\nthree\rfour"}
            {"id":"7kq2f-3","topic":"orders/42","time":"2023-11-14T22:13:20.000Z","data":""}
            {"id":"7kq2f-4","topic":"orders/42","time":"2023-11-14T22:13:20.000Z","type":"image","data":"AP8K","encoding":"base64"}
            {"gap":{"after":"abcde-7","resumed":"7kq2f-9","reason":"epoch"}}

            {"end":{"id":"7kq2f-12","topic":"orders/42","time":"2023-11-14T22:13:20.000Z","reason":"done"}}
            {"retry":900}
        "#]]
        .assert_eq(&written(Framing::ndjson(epoch())));
    }
}

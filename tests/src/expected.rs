//! What was acknowledged to the publisher, what a client delivered, and whether that is the same.
//!
//! Read [`first_difference`].

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

/// An event as it was published and acknowledged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Expected {
    /// Its id, where the acknowledgement named it. Of a batch it names the first and the last.
    pub id: Option<String>,
    /// Its type, if it has one.
    pub event_type: Option<String>,
    /// What it says.
    pub data: Data,
}

impl Expected {
    /// An event of this type and content.
    #[must_use]
    pub fn new(event_type: Option<&str>, data: Data) -> Expected {
        Expected { id: None, event_type: event_type.map(str::to_owned), data }
    }
}

/// What an event says.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the server has these three kinds")]
pub enum Data {
    /// Text, verbatim.
    Text(String),
    /// A JSON value, as it was written.
    Json(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// An event as a client delivered it.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Received {
    /// Its id; for an `EventSource` the last event id.
    pub id: Option<String>,
    /// Its type; `message` is how an `EventSource` says that it has none.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// What it says.
    pub data: Value,
    /// How binary data was made text, where the client can tell.
    pub encoding: Option<String>,
}

/// What a client gets to see of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are two")]
pub enum View {
    /// The fields of an event stream: all data is text.
    EventStream,
    /// The JSON envelope: JSON data is embedded, binary data says that it is base64.
    Envelope,
}

/// Where what was received first is not what was expected, told for a person; `None` where it is the same, each event
/// once and in order.
#[must_use]
pub fn first_difference(
    expected: &[Expected],
    received: &[Received],
    view: View,
) -> Option<String> {
    let mut previous = 0;
    for (index, got) in received.iter().enumerate() {
        let Some(want) = expected.get(index) else {
            return Some(format!("event {index} is one too many: {}", short(got)));
        };
        if let Some(problem) = difference(want, got, view) {
            let want = clip(&format!("{want:?}"));
            return Some(format!(
                "event {index}: {problem}\n  wanted {want}\n  got {}",
                short(got)
            ));
        }
        match position(got) {
            Some(position) if position > previous => previous = position,
            _ => return Some(format!("event {index}: its id does not follow: {}", short(got))),
        }
    }
    (received.len() < expected.len())
        .then(|| format!("{} of {} events were received", received.len(), expected.len()))
}

fn difference(want: &Expected, got: &Received, view: View) -> Option<&'static str> {
    if want.id.is_some() && want.id != got.id {
        return Some("another id");
    }
    let got_type = got.event_type.as_deref().filter(|name| *name != "message");
    if want.event_type.as_deref() != got_type {
        return Some("another type");
    }
    let data_is_same = match (&want.data, view) {
        (Data::Text(text), _) | (Data::Json(text), View::EventStream) => got.data == **text,
        (Data::Json(text), View::Envelope) => {
            serde_json::from_str::<Value>(text).is_ok_and(|value| value == got.data)
        }
        (Data::Binary(bytes), _) => got.data == STANDARD.encode(bytes),
    };
    if !data_is_same {
        return Some("other data");
    }
    let encoding = matches!((&want.data, view), (Data::Binary(_), View::Envelope));
    (got.encoding.as_deref() != encoding.then_some("base64")).then_some("another encoding")
}

/// The position in an id, `<epoch>-<position>`. Only for this check: to clients, ids are opaque.
fn position(got: &Received) -> Option<u64> {
    got.id.as_deref()?.rsplit_once('-')?.1.parse().ok()
}

fn short(got: &Received) -> String {
    clip(&format!("{got:?}"))
}

fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if clipped.len() < text.len() {
        // Writing to a String does not fail.
        let _ = write!(clipped, "… ({} bytes)", text.len());
    }
    clipped
}

const SHOWN_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(texts: &[&str]) -> Vec<Expected> {
        texts.iter().map(|text| Expected::new(None, Data::Text((*text).to_owned()))).collect()
    }

    fn received(ids: &[(&str, &str)]) -> Vec<Received> {
        ids.iter()
            .map(|(id, data)| Received {
                id: Some((*id).to_owned()),
                event_type: Some("message".to_owned()),
                data: Value::from(*data),
                encoding: None,
            })
            .collect()
    }

    fn differs(expected: &[Expected], received: &[Received]) -> bool {
        first_difference(expected, received, View::EventStream).is_some()
    }

    #[test]
    fn what_is_the_same_does_not_differ() {
        assert!(!differs(&expected(&["a", "b"]), &received(&[("e-1", "a"), ("e-3", "b")])));
    }

    #[test]
    fn a_lost_a_doubled_and_a_swapped_event_differ() {
        let wanted = expected(&["a", "b"]);
        assert!(differs(&wanted, &received(&[("e-1", "a")])));
        assert!(differs(&wanted, &received(&[("e-1", "b")])));
        assert!(differs(&wanted, &received(&[("e-1", "a"), ("e-1", "a"), ("e-2", "b")])));
        assert!(differs(&wanted, &received(&[("e-1", "a"), ("e-2", "b"), ("e-2", "b")])));
        assert!(differs(&wanted, &received(&[("e-1", "b"), ("e-2", "a")])));
        assert!(differs(&wanted, &received(&[("e-2", "a"), ("e-1", "b")])));
    }

    #[test]
    fn another_id_type_or_encoding_differs() {
        let got = received(&[("e-1", "AP8=")]);
        let mut wanted = Expected::new(None, Data::Binary(vec![0, 255]));
        assert_eq!(first_difference(&[wanted.clone()], &got, View::EventStream), None);
        assert!(first_difference(&[wanted.clone()], &got, View::Envelope).is_some());
        wanted.id = Some("e-2".to_owned());
        assert!(differs(&[wanted.clone()], &got));
        wanted.id = None;
        wanted.event_type = Some("price".to_owned());
        assert!(differs(&[wanted], &got));
    }
}

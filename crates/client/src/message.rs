//! What is published: [`Message`], and the bodies that it becomes. Sending is in `publish.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

/// An event to be.
///
/// ```
/// use longwave_client::Message;
/// let plain: Message = "hello".into();
/// let typed = Message::json(&serde_json::json!({"symbol": "ACME", "price": 102}))?.event_type("price");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Message {
    pub(crate) content: Content,
    pub(crate) event_type: Option<String>,
    pub(crate) key: Option<String>,
}

/// What a message says.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Text(String),
    Json(Box<RawValue>),
    Binary(Bytes),
}

impl Message {
    /// Text.
    pub fn text(text: impl Into<String>) -> Message {
        Message::new(Content::Text(text.into()))
    }

    /// A value, written as JSON.
    ///
    /// # Errors
    /// That of `serde_json`, for values which JSON can't hold.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Message, serde_json::Error> {
        Ok(Message::new(Content::Json(serde_json::value::to_raw_value(value)?)))
    }

    /// JSON that is there as text, published as it is.
    ///
    /// # Errors
    /// That of `serde_json`, for text that is not one JSON value.
    pub fn raw_json(text: impl Into<String>) -> Result<Message, serde_json::Error> {
        Ok(Message::new(Content::Json(RawValue::from_string(text.into())?)))
    }

    /// Bytes that need not be text.
    pub fn binary(bytes: impl Into<Bytes>) -> Message {
        Message::new(Content::Binary(bytes.into()))
    }

    /// Gives the event a type, which browsers listen for by name. At most 255 bytes, no control characters.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Message {
        self.event_type = Some(event_type.into());
        self
    }

    /// Names this message alone. In a batch, one whose name was seen in the topic before is left out.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Message {
        self.key = Some(key.into());
        self
    }

    fn new(content: Content) -> Message {
        Message { content, event_type: None, key: None }
    }

    /// How many bytes of data it has.
    pub(crate) fn data_len(&self) -> usize {
        match &self.content {
            Content::Text(text) => text.len(),
            Content::Json(json) => json.get().len(),
            Content::Binary(bytes) => bytes.len(),
        }
    }

    /// The body and its media type, for a publish of this message alone.
    pub(crate) fn to_body(&self) -> (&'static str, Bytes) {
        match &self.content {
            Content::Text(text) => ("text/plain; charset=utf-8", text.clone().into()),
            Content::Json(json) => ("application/json", json.get().to_owned().into()),
            Content::Binary(bytes) => ("application/octet-stream", bytes.clone()),
        }
    }

    /// Appends its line of a batch.
    ///
    /// # Errors
    /// That of `serde_json`; never in practice, since all parts are text.
    pub(crate) fn write_line(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            data: LineData<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            encoding: Option<&'static str>,
            #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
            event_type: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            key: Option<&'a str>,
        }
        #[derive(Serialize)]
        #[serde(untagged)]
        enum LineData<'a> {
            Text(&'a str),
            Json(&'a RawValue),
            JsonOnOneLine(Box<RawValue>),
            Encoded(String),
        }
        let (data, encoding) = match &self.content {
            Content::Text(text) => (LineData::Text(text), None),
            // Line breaks stand between the tokens of JSON only, where a space does as well.
            Content::Json(json) if json.get().contains(['\n', '\r']) => {
                let line = json.get().replace(['\n', '\r'], " ");
                (LineData::JsonOnOneLine(RawValue::from_string(line)?), None)
            }
            Content::Json(json) => (LineData::Json(json), None),
            Content::Binary(bytes) => (LineData::Encoded(STANDARD.encode(bytes)), Some(BASE64)),
        };
        let event_type = self.event_type.as_deref();
        let line = Line { data, encoding, event_type, key: self.key.as_deref() };
        serde_json::to_writer(&mut *out, &line)?;
        out.push(b'\n');
        Ok(())
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.content, Content::Text(_))
    }

    pub(crate) fn is_json_string(&self) -> bool {
        matches!(&self.content, Content::Json(json) if json.get().starts_with('"'))
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Message {
        Message::binary(bytes)
    }
}

const BASE64: &str = "base64";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &Message) -> String {
        let mut out = Vec::new();
        message.write_line(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_batch_has_a_line_for_each_message() {
        assert_eq!(line(&"a\n\"b\"".into()), "{\"data\":\"a\\n\\\"b\\\"\"}\n");
        let json = Message::raw_json("{ \"a\": 1 }").unwrap().event_type("t").key("k-1");
        assert_eq!(line(&json), "{\"data\":{ \"a\": 1 },\"type\":\"t\",\"key\":\"k-1\"}\n");
        let json = Message::raw_json("{\r\n\"a\": \"\\n\"\n}").unwrap();
        assert_eq!(line(&json), "{\"data\":{  \"a\": \"\\n\" }}\n");
        let binary = Message::binary(vec![0, 255]);
        assert_eq!(line(&binary), "{\"data\":\"AP8=\",\"encoding\":\"base64\"}\n");
    }

    #[test]
    fn what_is_not_json_is_refused_before_it_is_sent() {
        for text in ["", "{", "1 2", "hello"] {
            assert!(Message::raw_json(text).is_err(), "{text:?}");
        }
    }
}

//! The messages of the subprotocol `longwave.v1`: JSON texts. [`ClientMessage`] is what clients send; what the server
//! sends are the objects of NDJSON lines, and `ack`, `pong` and `error`.
//!
//! Pure: text in, values out, and the reverse.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use longwave_core::{Append, Appended, Expected};
use longwave_core::{
    DataFormat, EndReason, Epoch, EventId, EventType, FeedItem, IdempotencyKey, Message,
    NewMessage, Outcome, Selector, StartAt, TextError, TopicName, TypeFilter, UnixMillis,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::gateway::check_writable;
use crate::http::{Code, JsonObject, Problem, rfc3339};
use crate::transports::framing::write_object;
use crate::transports::problems::selector_problem;
use crate::transports::read_request;
use crate::transports::wire;

/// What a client wants.
#[derive(Debug)]
pub(super) enum ClientMessage {
    /// `{"op":"subscribe","topic":…}`, and a start.
    Subscribe(SubscribeOp),
    /// `{"op":"unsubscribe","topic":…}`.
    Unsubscribe(Selector),
    /// `{"op":"publish","data":…}`.
    Publish(Box<Append>),
    /// `{"op":"ping"}`.
    Ping,
}

/// A wish to follow topics.
#[derive(Debug)]
pub(super) struct SubscribeOp {
    pub(super) selector: Selector,
    pub(super) start: StartAt,
    pub(super) types: TypeFilter,
}

/// The client's own name for one of its messages, a JSON string or number, given back as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ref(Box<str>);

impl Ref {
    /// The longest that is given back, in bytes.
    pub(super) const BYTES_MAX: usize = 256;

    fn new(json: &RawValue) -> Result<Ref, Problem> {
        let text = json.get();
        let scalar = text.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
        if !scalar || text.len() > Self::BYTES_MAX {
            return Err(invalid(format_args!(
                "ref must be a string or a number of at most {} bytes",
                Self::BYTES_MAX
            )));
        }
        Ok(Ref(text.into()))
    }
}

/// Reads a message. The `ref` comes along even where the rest can't be understood, so that the client learns which of
/// its messages was wrong.
///
/// `home` is the topic that the connection's URL names: what is published without a topic goes there.
pub(super) fn parse(
    text: &str,
    home: Option<&TopicName>,
    now: UnixMillis,
) -> (Option<Ref>, Result<ClientMessage, Problem>) {
    let wire = match serde_json::from_str::<JsonObject<WireMessage<'_>>>(text) {
        Ok(JsonObject(wire)) => wire,
        Err(error) => {
            let reference: Option<JsonObject<WireRef<'_>>> = serde_json::from_str(text).ok();
            let reference = reference.and_then(|JsonObject(wire)| Ref::new(wire.reference?).ok());
            let code = if error.is_data() { Code::WebSocketInvalid } else { Code::JsonInvalid };
            return (reference, Err(Problem::new(code, error)));
        }
    };
    match wire.reference.map(Ref::new).transpose() {
        Ok(reference) => (reference, wire.understand(home, now)),
        Err(problem) => (None, Err(problem)),
    }
}

#[derive(Deserialize)]
struct WireRef<'a> {
    #[serde(borrow, default, rename = "ref")]
    reference: Option<&'a RawValue>,
}

/// A message as it stands in JSON. Members of one operation are refused in another, by hand, since serde can't embed
/// JSON unread in an enum that is told apart by a member.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireMessage<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow, default, rename = "ref")]
    reference: Option<&'a RawValue>,
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow)]
    after: Option<Cow<'a, str>>,
    last: Option<u64>,
    #[serde(borrow)]
    since: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    event_type: Option<Cow<'a, str>>,
    /// `null` is a value that can be published, and not the lack of one.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    encoding: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    end: Option<Cow<'a, str>>,
}

impl WireMessage<'_> {
    fn understand(
        self,
        home: Option<&TopicName>,
        now: UnixMillis,
    ) -> Result<ClientMessage, Problem> {
        match &*self.op {
            "subscribe" => {
                self.only(&["topic", "after", "last", "since", "type"])?;
                Ok(ClientMessage::Subscribe(SubscribeOp {
                    selector: self.selector()?,
                    start: self.start(now)?,
                    types: match &self.event_type {
                        Some(list) => read_request::type_filter([&**list])?,
                        None => TypeFilter::all(),
                    },
                }))
            }
            "unsubscribe" => {
                self.only(&["topic"])?;
                self.selector().map(ClientMessage::Unsubscribe)
            }
            "publish" => {
                self.only(&["topic", "type", "data", "encoding", "key", "end"])?;
                self.append(home).map(|append| ClientMessage::Publish(Box::new(append)))
            }
            "ping" => self.only(&[]).map(|()| ClientMessage::Ping),
            other => Err(invalid(format_args!(
                "there is no op {other:?}; there are subscribe, unsubscribe, publish and ping"
            ))),
        }
    }

    /// Refuses members that mean nothing to the operation.
    fn only(&self, known: &[&str]) -> Result<(), Problem> {
        let given = [
            ("topic", self.topic.is_some()),
            ("after", self.after.is_some()),
            ("last", self.last.is_some()),
            ("since", self.since.is_some()),
            ("type", self.event_type.is_some()),
            ("data", self.data.is_some()),
            ("encoding", self.encoding.is_some()),
            ("key", self.key.is_some()),
            ("end", self.end.is_some()),
        ];
        let stray = given.iter().find(|(name, given)| *given && !known.contains(name));
        match stray {
            None => Ok(()),
            Some((name, _)) => {
                Err(invalid(format_args!("{} has no member {name:?}", self.op))
                    .with("member", *name))
            }
        }
    }

    fn selector(&self) -> Result<Selector, Problem> {
        let Some(text) = &self.topic else {
            return Err(invalid(format_args!("{} needs a topic", self.op)).with("member", "topic"));
        };
        text.parse().map_err(|error| selector_problem(&error).with("value", &**text))
    }

    fn start(&self, now: UnixMillis) -> Result<StartAt, Problem> {
        match (&self.after, self.last, &self.since) {
            (None, None, None) => Ok(StartAt::Now),
            (Some(after), None, None) => read_request::cursor("after", after),
            (None, Some(count), None) => Ok(StartAt::Last(count)),
            (None, None, Some(since)) => read_request::since(since, now).map(StartAt::Since),
            _ => Err(invalid(format_args!(
                "after, last and since all say where to start; give one of them"
            ))),
        }
    }

    fn append(&self, home: Option<&TopicName>) -> Result<Append, Problem> {
        let topic = match (&self.topic, home) {
            (Some(text), _) => text.parse().map_err(Problem::from)?,
            (None, Some(home)) => home.clone(),
            (None, None) => {
                return Err(invalid(format_args!(
                    "this connection's URL names no topic of its own, so a publish needs a topic"
                ))
                .with("member", "topic"));
            }
        };
        check_writable(&topic)?;
        let key = self.key.as_deref().map(idempotency_key).transpose()?;
        let end = self.end.as_deref().map(end_reason).transpose()?;
        let event_type = self.event_type.as_deref().map(event_type).transpose()?;
        let messages = match self.data {
            Some(data) => {
                let (format, data) = event_data(data, self.encoding.as_deref())?;
                vec![NewMessage {
                    message: Message { event_type, format, data, source: None },
                    key: None,
                }]
            }
            None if end.is_some() => Vec::new(),
            None => {
                return Err(Problem::new(
                    Code::NothingToPublish,
                    "there is nothing to publish: give data, or end, or both",
                ));
            }
        };
        Ok(Append { topic, messages, end, key, expected: Expected::Any })
    }
}

/// Data reads back as it was given: a JSON string is a text event, bytes are base64, and anything else is JSON.
fn event_data(
    json: &RawValue,
    encoding: Option<&str>,
) -> Result<(DataFormat, bytes::Bytes), Problem> {
    let text = json.get();
    let string = text.starts_with('"').then(|| serde_json::from_str::<String>(text));
    match (string.transpose(), encoding) {
        (Err(error), _) => Err(Problem::new(Code::JsonInvalid, error).with("member", "data")),
        (Ok(Some(string)), None) => Ok((DataFormat::Text, string.into())),
        (Ok(None), None) => Ok((DataFormat::Json, text.to_owned().into())),
        (Ok(Some(string)), Some("base64")) => {
            BASE64.decode(string).map(|bytes| (DataFormat::Binary, bytes.into())).map_err(|error| {
                invalid(format_args!("data is not base64: {error}")).with("member", "data")
            })
        }
        (Ok(None), Some("base64")) => {
            Err(invalid(format_args!("base64 data must be a string")).with("member", "data"))
        }
        (Ok(_), Some(other)) => Err(invalid(format_args!(
            "there is no encoding {other:?}; binary data has \"base64\", other data has none"
        ))
        .with("member", "encoding")),
    }
}

fn event_type(text: &str) -> Result<EventType, Problem> {
    EventType::new(text).map_err(|error| {
        let code = match error {
            TextError::Reserved => Code::EventTypeReserved,
            _ => Code::EventTypeInvalid,
        };
        Problem::new(code, format_args!("the event type can't be used: {error}"))
            .with("member", "type")
    })
}

fn idempotency_key(text: &str) -> Result<IdempotencyKey, Problem> {
    IdempotencyKey::new(text).map_err(|error| {
        Problem::new(Code::KeyInvalid, format_args!("the idempotency key can't be used: {error}"))
            .with("member", "key")
    })
}

fn end_reason(text: &str) -> Result<EndReason, Problem> {
    text.parse().map_err(|error| invalid(format_args!("{error}")).with("member", "end"))
}

/// `{"sub","id",…}`, `{"sub","gap"}` or `{"sub","end"}`; `sub` only where the client asked for the subscription in a
/// message, by the selector that it named there.
pub(super) fn item(epoch: Epoch, sub: Option<&str>, item: &FeedItem) -> String {
    let mut object = Vec::new();
    write_object(&mut object, epoch, item);
    let Some(sub) = sub else { return into_text(object) };
    let mut out = b"{\"sub\":".to_vec();
    wire::write_string(&mut out, sub);
    out.push(b',');
    out.extend_from_slice(object.get(1..).unwrap_or_default());
    into_text(out)
}

/// `{"end":{"id","time","reason"}}` for topics that had ended before the subscription began.
pub(super) fn ended(epoch: Epoch, sub: Option<&str>, end: longwave_core::TopicEnd) -> String {
    let mut out = b"{".to_vec();
    if let Some(sub) = sub {
        out.extend_from_slice(b"\"sub\":");
        wire::write_string(&mut out, sub);
        out.push(b',');
    }
    out.extend_from_slice(b"\"end\":");
    wire::write_topic_end(&mut out, epoch, end);
    out.push(b'}');
    into_text(out)
}

/// `{"ack":{"ref","id","topic","time"}}`; `count` where it is not 1, `duplicate` where it was there before.
pub(super) fn published(
    reference: &Ref,
    epoch: Epoch,
    topic: &TopicName,
    appended: &Appended,
) -> String {
    let id = EventId { epoch, seq: appended.last };
    let time = rfc3339(appended.time);
    let duplicate = match appended.outcome {
        Outcome::New => "",
        Outcome::Duplicate => ",\"duplicate\":true",
    };
    let Ref(reference) = reference;
    format!(
        "{{\"ack\":{{\"ref\":{reference},\"id\":\"{id}\",\"topic\":\"{topic}\",\"time\":\"{time}\"{duplicate}}}}}"
    )
}

/// `{"ack":{"ref","topic","cursor"}}`: the subscription is made, and stands there.
pub(super) fn subscribed(reference: &Ref, sub: &str, cursor: EventId) -> String {
    let mut out = format!("{{\"ack\":{{\"ref\":{},\"topic\":", reference.0).into_bytes();
    wire::write_string(&mut out, sub);
    out.extend_from_slice(format!(",\"cursor\":\"{cursor}\"}}}}").as_bytes());
    into_text(out)
}

/// `{"ack":{"ref"}}`.
pub(super) fn done(reference: &Ref) -> String {
    format!("{{\"ack\":{{\"ref\":{}}}}}", reference.0)
}

/// `{"pong":{}}`, or `{"pong":{"ref"}}`.
pub(super) fn pong(reference: Option<&Ref>) -> String {
    match reference {
        Some(Ref(reference)) => format!("{{\"pong\":{{\"ref\":{reference}}}}}"),
        None => "{\"pong\":{}}".to_owned(),
    }
}

/// `{"error":{"ref",…}}` with a problem's members.
pub(super) fn error(reference: Option<&Ref>, problem: &Problem) -> String {
    let body = problem.to_json().to_string();
    match reference {
        Some(Ref(reference)) => format!(
            "{{\"error\":{{\"ref\":{reference},{}}}",
            body.strip_prefix('{').unwrap_or_default()
        ),
        None => format!("{{\"error\":{body}}}"),
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn invalid(detail: std::fmt::Arguments<'_>) -> Problem {
    Problem::new(Code::WebSocketInvalid, detail)
}

/// Everything that is written here is UTF-8: what publishers gave was checked to be, or is base64.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood(text: &str) -> Result<ClientMessage, Problem> {
        let home = "home".parse().unwrap();
        parse(text, Some(&home), UnixMillis(1_700_000_000_000)).1
    }

    fn published(text: &str) -> Append {
        match understood(text).unwrap() {
            ClientMessage::Publish(append) => *append,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn data_reads_back_as_it_was_given() {
        for (data, format, bytes) in [
            (r#""data":"héllo\n""#, DataFormat::Text, "héllo\n".as_bytes()),
            (r#""data":{"a": 1.50}"#, DataFormat::Json, br#"{"a": 1.50}"#),
            (r#""data":null"#, DataFormat::Json, b"null"),
            (r#""data":"AP8=","encoding":"base64""#, DataFormat::Binary, &[0, 255]),
        ] {
            let append = published(&format!(r#"{{"op":"publish",{data}}}"#));
            assert_eq!(append.topic.as_str(), "home");
            let message = &append.messages[0].message;
            assert_eq!((message.format, &*message.data), (format, bytes), "{data}");
        }
        let append =
            published(r#"{"op":"publish","topic":"a","end":"done","key":"k","type":"t","data":1}"#);
        assert_eq!(append.topic.as_str(), "a");
        assert_eq!(append.end, Some(EndReason::Done));
        assert_eq!(append.key.map(|key| key.as_str().to_owned()).as_deref(), Some("k"));
        assert!(published(r#"{"op":"publish","end":"done"}"#).messages.is_empty());
    }

    #[test]
    fn a_wrong_message_is_answered_with_its_ref() {
        for (text, code, reference) in [
            ("", Code::JsonInvalid, None),
            ("{", Code::JsonInvalid, None),
            (r#"{"op":"publish","ref":1,"data":{]}"#, Code::JsonInvalid, None),
            ("[]", Code::WebSocketInvalid, None),
            (
                r#"["ping",1,null,null,null,null,null,null,null,null,null]"#,
                Code::WebSocketInvalid,
                None,
            ),
            (r#"{"ref":1}"#, Code::WebSocketInvalid, Some("1")),
            (r#"{"op":"dance","ref":"a"}"#, Code::WebSocketInvalid, Some("\"a\"")),
            (r#"{"op":"ping","ref":{}}"#, Code::WebSocketInvalid, None),
            (r#"{"op":"ping","ref":1,"topic":"a"}"#, Code::WebSocketInvalid, Some("1")),
            (r#"{"op":"ping","ref":1,"colour":"red"}"#, Code::WebSocketInvalid, Some("1")),
            (r#"{"op":"ping","op":"ping","ref":1}"#, Code::WebSocketInvalid, Some("1")),
            (r#"{"op":"subscribe","ref":1}"#, Code::WebSocketInvalid, Some("1")),
            (r#"{"op":"subscribe","topic":"a//b"}"#, Code::SelectorInvalid, None),
            (r#"{"op":"subscribe","topic":"a","after":"x"}"#, Code::IdInvalid, None),
            (r#"{"op":"subscribe","topic":"a","last":-1}"#, Code::WebSocketInvalid, None),
            (
                r#"{"op":"subscribe","topic":"a","last":1,"after":"now"}"#,
                Code::WebSocketInvalid,
                None,
            ),
            (r#"{"op":"subscribe","topic":"a","since":"soon"}"#, Code::ParameterInvalid, None),
            (r#"{"op":"subscribe","topic":"a","type":""}"#, Code::EventTypeInvalid, None),
            (r#"{"op":"publish","ref":-2}"#, Code::NothingToPublish, Some("-2")),
            (r#"{"op":"publish","topic":"a/*","data":1}"#, Code::TopicInvalid, None),
            (r#"{"op":"publish","topic":"$sys","data":1}"#, Code::TopicReserved, None),
            (r#"{"op":"publish","data":"*","encoding":"base64"}"#, Code::WebSocketInvalid, None),
            (r#"{"op":"publish","data":1,"encoding":"base64"}"#, Code::WebSocketInvalid, None),
            (r#"{"op":"publish","data":"a","encoding":"gzip"}"#, Code::WebSocketInvalid, None),
            (r#"{"op":"publish","data":1,"type":"longwave.end"}"#, Code::EventTypeReserved, None),
            (r#"{"op":"publish","data":1,"key":""}"#, Code::KeyInvalid, None),
            (r#"{"op":"publish","data":1,"end":"deleted"}"#, Code::WebSocketInvalid, None),
            (r#"{"op":"publish","data":"\ud800"}"#, Code::JsonInvalid, None),
        ] {
            let home = "home".parse().unwrap();
            let (given, result) = parse(text, Some(&home), UnixMillis(0));
            let problem = result.unwrap_err();
            assert_eq!(problem.code(), code, "{text}: {}", problem.detail());
            assert_eq!(given.as_ref().map(|given| &*given.0), reference, "{text}");
        }
        let long = format!(r#"{{"op":"ping","ref":"{}"}}"#, "x".repeat(300));
        assert_eq!(understood(&long).unwrap_err().code(), Code::WebSocketInvalid);
    }

    #[test]
    fn a_publish_needs_a_topic_where_the_url_has_none() {
        let (_, result) = parse(r#"{"op":"publish","data":1}"#, None, UnixMillis(0));
        assert_eq!(result.unwrap_err().to_json()["member"], "topic");
    }

    #[test]
    fn answers_are_json_whatever_the_client_called_things() {
        let (reference, _) = parse(r#"{"op":"ping","ref":"a\"b"}"#, None, UnixMillis(0));
        let reference = reference.unwrap();
        for text in [
            error(Some(&reference), &Problem::new(Code::Internal, "no \"luck\"")),
            error(None, &Problem::new(Code::Internal, "no")),
            pong(Some(&reference)),
            pong(None),
            done(&reference),
            subscribed(&reference, "a/**", "7kq2f-1".parse().unwrap()),
        ] {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value.as_object().unwrap().len(), 1, "{text}");
        }
    }
}

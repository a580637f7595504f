//! What is written of a stream besides its events, and how it is found again: [`StreamId`], [`RequestHead`],
//! [`AnswerHead`].
//!
//! A stream is the topic `streams/<id>`. Its first event says what was asked, its second how upstream answered; then come
//! upstream's own events, and the topic's end with the reason.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use longwave_core::{
    DataFormat, Event, EventType, Message, NewMessage, Payload, SelectorSet, Seq, TopicName,
    UnixMillis,
};
use longwave_store::{Log, ReadError, ReadQuery, Start};
use serde::{Deserialize, Serialize};

use super::alias::Noted;
use super::{Background, Dialect};

/// A stream's name: 22 characters that can't be guessed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StreamId(Arc<str>);

impl StreamId {
    pub(super) fn of_bytes(bytes: [u8; 16]) -> StreamId {
        StreamId(BASE64_URL_SAFE_NO_PAD.encode(bytes).into())
    }

    /// The bytes that it spells.
    pub(super) fn to_bytes(&self) -> [u8; 16] {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&*self.0).unwrap_or_default();
        // An id is made of 16 bytes, or was checked to have so many.
        bytes.try_into().unwrap_or_default()
    }

    /// # Errors
    /// Where the system gives no randomness.
    pub(super) fn random() -> Result<StreamId, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(StreamId::of_bytes(bytes))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The topic that holds the stream.
    ///
    /// # Panics
    /// Never: an id is a segment of a topic.
    pub(crate) fn topic(&self) -> TopicName {
        #[expect(clippy::unwrap_used, reason = "an id has only characters that topics may have")]
        format!("{TOPIC_PREFIX}{self}").parse().unwrap()
    }

    /// The stream that a topic holds.
    pub(super) fn of_topic(topic: &TopicName) -> Option<StreamId> {
        topic.as_str().strip_prefix(TOPIC_PREFIX)?.parse().ok()
    }

    /// Where it is read.
    pub(super) fn path(&self) -> String {
        format!("/streams/{self}")
    }

    pub(super) fn selectors(&self) -> Arc<SelectorSet> {
        Arc::new(SelectorSet::topic(self.topic()))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for StreamId {
    type Err = NoStreamId;

    fn from_str(text: &str) -> Result<StreamId, NoStreamId> {
        match BASE64_URL_SAFE_NO_PAD.decode(text) {
            Ok(bytes) if bytes.len() == 16 => Ok(StreamId(text.into())),
            _ => Err(NoStreamId),
        }
    }
}

/// A text is no stream's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream's id has 22 characters")]
pub(crate) struct NoStreamId;

/// The `id:` of a stream's event: which stream, and where in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamCursor {
    pub(super) id: StreamId,
    pub(super) seq: Seq,
}

impl FromStr for StreamCursor {
    type Err = NoStreamId;

    fn from_str(text: &str) -> Result<StreamCursor, NoStreamId> {
        let (id, seq) = text.split_once(':').ok_or(NoStreamId)?;
        let is_number = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq = seq.parse().ok().filter(|_| is_number).ok_or(NoStreamId)?;
        Ok(StreamCursor { id: id.parse()?, seq: Seq(seq) })
    }
}

/// What was asked: a stream's first event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RequestHead {
    /// The prefix of the route.
    pub(super) route: String,
    /// When the client asked, in milliseconds since 1970.
    pub(super) asked_ms: u64,
    pub(super) method: String,
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// A keyed digest of who asked, by which the same client is known again. Nobody can tell the credentials from it.
    pub(super) owner: String,
    /// A keyed digest of what was asked, by which a key that is used for something else is noticed.
    pub(super) request: String,
    /// Whether the request had an idempotency key: others may wait for its answer before there is one.
    pub(super) keyed: bool,
    /// Who runs it, where it was asked for with `background`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) background: Option<Background>,
}

/// How upstream answered: a stream's second event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AnswerHead {
    pub(super) body: BodyKind,
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    /// What else than its id the stream is asked for by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) alias: Option<Noted>,
}

/// What the events behind the heads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BodyKind {
    OpenaiChat,
    OpenaiResponses,
    Anthropic,
    VercelUi,
    Ollama,
    Sse,
    /// One event: the whole body of an answer that was no stream.
    Whole,
}

impl BodyKind {
    /// The dialect of a stream.
    pub(super) fn dialect(self) -> Option<Dialect> {
        Some(match self {
            BodyKind::OpenaiChat => Dialect::OpenaiChat,
            BodyKind::OpenaiResponses => Dialect::OpenaiResponses,
            BodyKind::Anthropic => Dialect::Anthropic,
            BodyKind::VercelUi => Dialect::VercelUi,
            BodyKind::Ollama => Dialect::Ollama,
            BodyKind::Sse => Dialect::Sse,
            BodyKind::Whole => return None,
        })
    }
}

impl From<Dialect> for BodyKind {
    fn from(dialect: Dialect) -> BodyKind {
        match dialect {
            Dialect::OpenaiChat => BodyKind::OpenaiChat,
            Dialect::OpenaiResponses => BodyKind::OpenaiResponses,
            Dialect::Anthropic => BodyKind::Anthropic,
            Dialect::VercelUi => BodyKind::VercelUi,
            Dialect::Ollama => BodyKind::Ollama,
            Dialect::Sse => BodyKind::Sse,
        }
    }
}

impl RequestHead {
    pub(super) fn message(&self) -> NewMessage {
        head_message(REQUEST_TYPE, self)
    }
}

impl AnswerHead {
    /// The head of an answer, with those of its headers that whoever reads it later needs.
    pub(super) fn new(body: BodyKind, status: StatusCode, headers: &HeaderMap) -> AnswerHead {
        let kept = headers
            .iter()
            .filter(|(name, _)| !is_of_one_exchange(name))
            .filter_map(|(name, value)| Some((name.to_string(), text_of(value)?.to_owned())))
            .collect();
        AnswerHead { body, status: status.as_u16(), headers: kept, alias: None }
    }

    /// The head of an answer that is kept whole, in upstream's own bytes.
    pub(super) fn whole(status: StatusCode, headers: &HeaderMap) -> AnswerHead {
        let mut head = AnswerHead::new(BodyKind::Whole, status, headers);
        let encoding = headers.get(CONTENT_ENCODING).and_then(text_of);
        let kept = encoding.map(|text| (CONTENT_ENCODING.to_string(), text.to_owned()));
        head.headers.extend(kept);
        head
    }

    pub(super) fn message(&self) -> NewMessage {
        head_message(ANSWER_TYPE, self)
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK)
    }

    pub(super) fn header_map(&self) -> HeaderMap {
        let headers = self.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        map
    }
}

/// What is at the beginning of a stream's topic.
#[derive(Clone, Debug)]
pub(super) struct Heads {
    pub(super) request: RequestHead,
    /// When it was asked, as the log's time.
    pub(super) started: UnixMillis,
    /// None yet, where upstream has not answered.
    pub(super) answer: Option<(Seq, AnswerHead)>,
    /// The first event of upstream's own, where there is one.
    pub(super) first: Option<Arc<Event>>,
}

impl Heads {
    /// Reads the beginning of a stream; `None` where the topic is no stream's, or has lost its beginning.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) async fn read(log: &dyn Log, id: &StreamId) -> Result<Option<Heads>, ReadError> {
        let query = ReadQuery {
            selectors: id.selectors(),
            start: Start::After(Seq::ZERO),
            max_events: 3,
            max_bytes: usize::MAX,
        };
        let page = log.read(query).await?;
        let mut events = page.events.into_iter().peekable();
        let Some((first, request)) = events.next().and_then(|event| {
            let request = head_of::<RequestHead>(&event, REQUEST_TYPE)?;
            Some((event, request))
        }) else {
            return Ok(None);
        };
        let answer = events
            .peek()
            .and_then(|event| Some((event.seq, head_of::<AnswerHead>(event, ANSWER_TYPE)?)));
        if answer.is_some() {
            events.next();
        }
        let next = events.next().filter(|event| matches!(event.payload, Payload::Message(_)));
        Ok(Some(Heads { request, started: first.time, answer, first: next }))
    }
}

/// The answer's head that an event is.
pub(super) fn answer_of(event: &Event) -> Option<AnswerHead> {
    head_of(event, ANSWER_TYPE)
}

/// Whether an event is upstream's own, and not one of the gateway's heads.
pub(super) fn is_own(message: &Message) -> bool {
    !message.event_type.as_ref().is_some_and(EventType::is_control)
}

fn head_of<T: for<'a> Deserialize<'a>>(event: &Event, wanted: &str) -> Option<T> {
    let Payload::Message(message) = &event.payload else { return None };
    let is_wanted = message.event_type.as_ref().is_some_and(|found| found.as_str() == wanted);
    if is_wanted { serde_json::from_slice(&message.data).ok() } else { None }
}

fn head_message(event_type: &str, head: &impl Serialize) -> NewMessage {
    // Structs of texts and numbers can be written as JSON.
    let data: Bytes = serde_json::to_vec(head).unwrap_or_default().into();
    let event_type = EventType::control(event_type).ok();
    let message = Message { event_type, format: DataFormat::Json, data, source: None };
    NewMessage { message, key: None }
}

/// A header's text in any script, as JSON can hold it; `None` for bytes that are none.
fn text_of(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

/// Headers that are about one connection or one transfer of the answer, or that no second reader may get.
pub(super) fn is_of_one_exchange(name: &HeaderName) -> bool {
    OF_ONE_EXCHANGE.contains(&name.as_str())
        || name.as_str().starts_with("access-control-")
        || name.as_str().starts_with("longwave-")
}

/// The topics of all streams start with this.
pub(crate) const TOPIC_PREFIX: &str = "streams/";
const REQUEST_TYPE: &str = "longwave.stream";
const ANSWER_TYPE: &str = "longwave.answer";
/// The types of the gateway's own events in streams.
pub(crate) const HEAD_TYPES: [&str; 2] = [REQUEST_TYPE, ANSWER_TYPE];
const OF_ONE_EXCHANGE: [&str; 14] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-encoding",
    "set-cookie",
    "date",
    "alt-svc",
    "strict-transport-security",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_segment_of_a_topic_and_read_back() {
        let id = StreamId::of_bytes([0xfb; 16]);
        assert_eq!(id.as_str().len(), 22);
        assert_eq!(StreamId::of_topic(&id.topic()), Some(id.clone()));
        for text in ["", "short", "7kq2f-12", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA/A"] {
            assert_eq!(text.parse::<StreamId>(), Err(NoStreamId), "{text}");
        }
        let cursor: StreamCursor = format!("{id}:17").parse().unwrap();
        assert_eq!(cursor, StreamCursor { id: id.clone(), seq: Seq(17) });
        for text in [format!("{id}"), format!("{id}:"), format!("{id}:+1"), format!("{id}:1:2")] {
            assert_eq!(text.parse::<StreamCursor>(), Err(NoStreamId), "{text}");
        }
    }

    #[test]
    fn what_is_of_one_transfer_or_one_client_is_not_kept_of_an_answer() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("x-request-id", "req_1"),
            ("set-cookie", "session=secret"),
            ("content-encoding", "gzip"),
            ("access-control-allow-origin", "*"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let head = AnswerHead::new(BodyKind::Sse, StatusCode::OK, &headers);
        let names: Vec<&str> = head.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "x-request-id"]);
        assert_eq!(head.header_map().len(), 2);
    }
}

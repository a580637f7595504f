//! Publishing: [`Publish`] is one request, retried until it is answered. A stream of them is `publisher.rs`.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http::header::{CONTENT_TYPE, IF_MATCH};
use reqwest::{Method, RequestBuilder, Url};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::Refusal;
use crate::backoff::Backoff;
use crate::client::{Client, InvalidTopic};
use crate::message::Message;
use crate::random::{random_u64, unique_name};
use crate::stream::innermost;

impl Client {
    /// Publishes a message, or several that enter the log together.
    ///
    /// ```no_run
    /// use longwave_client::{Client, Message};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::new("http://127.0.0.1:4480")?;
    /// client.publish("news", "hello").send().await?;
    /// client.publish("news", vec![Message::text("a"), Message::text("b")]).send().await?;
    /// client.publish("jobs/7", "built").end(longwave_client::EndReason::Done).send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&self, topic: impl Into<String>, body: impl Into<Body>) -> Publish {
        Publish {
            client: self.clone(),
            topic: topic.into(),
            body: body.into(),
            key: Key::Generated,
            end: None,
            expected_last: None,
            retry_for: RETRY_FOR,
        }
    }

    /// Ends a topic without another event: readers are told, and stop.
    pub fn end(&self, topic: impl Into<String>, reason: EndReason) -> Publish {
        self.publish(topic, Body { messages: Messages::Batch(Vec::new()) }).end(reason)
    }
}

/// A publish to be. Made by [`Client::publish`].
///
/// Unless told otherwise it carries a key of its own, so that trying again can't publish twice, and is tried again for
/// 30 seconds when the server is not there, restarts or is overloaded.
#[derive(Clone, Debug)]
#[must_use = "nothing is published until `send` is awaited"]
pub struct Publish {
    client: Client,
    topic: String,
    body: Body,
    key: Key,
    end: Option<EndReason>,
    expected_last: Option<String>,
    retry_for: Duration,
}

/// What one publish holds: a message, or several.
#[derive(Clone, Debug)]
pub struct Body {
    messages: Messages,
}

/// Why a topic ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// All was said.
    Done,
    /// The source failed.
    Error,
    /// Somebody meant it to stop.
    Cancelled,
    /// The source stopped without saying why.
    Truncated,
    /// The source said nothing for too long.
    Timeout,
    /// The source went down.
    Crashed,
}

/// Where a publish went. It is durable then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The id of its first event.
    pub first: String,
    /// The id of its last event.
    pub last: String,
    /// How many events it has, an end included.
    pub count: u64,
    /// Whether it was in the log already, from an earlier attempt.
    pub duplicate: Duplicate,
}

/// Whether a publish was in the log already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a publish was there or was not")]
pub enum Duplicate {
    /// It is new.
    No,
    /// It was there.
    Yes,
}

/// Why nothing was published, or nobody can tell.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic can't be one.
    #[error(transparent)]
    Topic(#[from] InvalidTopic),
    /// A batch can hold text or JSON strings, not both: the server could not tell them apart.
    #[error("a batch can hold text, or JSON values that are strings, but not both")]
    MixedStrings,
    /// The messages can't be written as a batch.
    #[error("the batch can't be written")]
    Batch(#[source] serde_json::Error),
    /// A part of the publish can't stand in a request, such as a key with a line break.
    #[error("the publish can't be made a request")]
    Request(#[source] reqwest::Error),
    /// No connection could be made. Nothing was published.
    #[error("no connection to {url} ({why})")]
    Unreachable {
        /// Where to.
        url: Url,
        /// What the system says.
        why: String,
    },
    /// The connection broke, or no answer came in time. It may have been published.
    #[error("no answer from {url} ({why})")]
    NoAnswer {
        /// From where.
        url: Url,
        /// What the system says.
        why: String,
    },
    /// The server refused. Nothing was published.
    #[error("the server refused: {0}")]
    Refused(Refusal),
    /// The server said yes in words that are not Longwave's.
    #[error("{url} answered a publish like no Longwave server does; is the address right?")]
    Answer {
        /// From where.
        url: Url,
    },
}

impl Publish {
    /// Names the publish. A second one under this name in the topic is answered with the first one's ids, also after
    /// a restart of either side; so a program that may run twice gives a name of its own.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Key::Given(key.into());
        self
    }

    /// Sends no key, and therefore tries only once.
    pub fn unkeyed(mut self) -> Self {
        self.key = Key::None;
        self
    }

    /// Ends the topic behind the messages.
    pub fn end(mut self, reason: EndReason) -> Self {
        self.end = Some(reason);
        self
    }

    /// Publishes only if this is the topic's last id.
    pub fn expect_last(mut self, id: impl Into<String>) -> Self {
        self.expected_last = Some(id.into());
        self
    }

    /// How long to try again when the server is not there, restarts or is overloaded. 30 seconds unless set; zero
    /// tries once.
    pub fn retry_for(mut self, duration: Duration) -> Self {
        self.retry_for = duration;
        self
    }

    /// Publishes, and waits until the events are durable.
    ///
    /// # Errors
    /// [`PublishError`]; that of the last attempt.
    ///
    /// # Cancel safety
    /// Dropping the future stops trying. What was sent may have been published.
    pub async fn send(self) -> Result<Receipt, PublishError> {
        self.send_observed(|_| {}).await
    }

    /// Like [`send`](Self::send), and tells `on_failure` of every attempt that failed and is followed by another.
    pub(crate) async fn send_observed(
        mut self,
        mut on_failure: impl FnMut(&PublishError),
    ) -> Result<Receipt, PublishError> {
        if self.key == Key::Generated {
            self.key = unique_name().map_or(Key::None, Key::Given);
        }
        let body = self.body.encode()?;
        let started = Instant::now();
        let mut failures = 0;
        loop {
            let error = match self.attempt(&body).await {
                Ok(receipt) => return Ok(receipt),
                Err(error) => error,
            };
            let is_safe = self.key != Key::None;
            if !is_safe || !error.is_temporary() || started.elapsed() >= self.retry_for {
                return Err(error);
            }
            on_failure(&error);
            let asked = error.retry_after().unwrap_or_default().min(RETRY_AFTER_MAX);
            sleep(asked.max(BACKOFF.delay(failures, random_u64()))).await;
            failures = failures.saturating_add(1);
        }
    }

    async fn attempt(&self, body: &EncodedBody) -> Result<Receipt, PublishError> {
        let mut url = self.client.topic_url(&self.topic)?;
        if let Some(event_type) = &body.event_type {
            url.query_pairs_mut().append_pair("type", event_type);
        }
        if let Some(format) = body.format {
            url.query_pairs_mut().append_pair("format", format);
        }
        if let Some(reason) = self.end {
            url.query_pairs_mut().append_pair("end", reason.as_str());
        }
        let mut request = self
            .client
            .request(Method::POST, url)
            .body(body.bytes.clone())
            .timeout(ATTEMPT_TIMEOUT);
        if let Some(media_type) = body.media_type {
            request = request.header(CONTENT_TYPE, media_type);
        }
        if let Key::Given(key) = &self.key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(id) = &self.expected_last {
            request = request.header(IF_MATCH, format!("\"{id}\""));
        }
        answer(request).await
    }
}

impl EndReason {
    /// The word for it on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::Done => "done",
            EndReason::Error => "error",
            EndReason::Cancelled => "cancelled",
            EndReason::Truncated => "truncated",
            EndReason::Timeout => "timeout",
            EndReason::Crashed => "crashed",
        }
    }

    /// Every reason.
    pub const ALL: [EndReason; 6] = [
        EndReason::Done,
        EndReason::Error,
        EndReason::Cancelled,
        EndReason::Truncated,
        EndReason::Timeout,
        EndReason::Crashed,
    ];
}

impl PublishError {
    /// Whether the same publish may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            PublishError::Unreachable { .. } | PublishError::NoAnswer { .. } => true,
            PublishError::Refused(refusal) => refusal.is_temporary(),
            PublishError::Topic(_)
            | PublishError::MixedStrings
            | PublishError::Batch(_)
            | PublishError::Request(_)
            | PublishError::Answer { .. } => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            PublishError::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

impl<M: Into<Message>> From<M> for Body {
    fn from(message: M) -> Body {
        Body { messages: Messages::One(message.into()) }
    }
}

impl From<Vec<Message>> for Body {
    fn from(messages: Vec<Message>) -> Body {
        Body { messages: Messages::Batch(messages) }
    }
}

impl Body {
    fn encode(&self) -> Result<EncodedBody, PublishError> {
        match &self.messages {
            Messages::One(message) => {
                let (media_type, bytes) = message.to_body();
                let event_type = message.event_type.clone();
                Ok(EncodedBody { media_type: Some(media_type), bytes, event_type, format: None })
            }
            Messages::Batch(messages) if messages.is_empty() => Ok(EncodedBody {
                media_type: None,
                bytes: Bytes::new(),
                event_type: None,
                format: None,
            }),
            Messages::Batch(messages) => {
                let mut lines = Vec::new();
                for message in messages {
                    message.write_line(&mut lines).map_err(PublishError::Batch)?;
                }
                let has_json_strings = messages.iter().any(Message::is_json_string);
                if has_json_strings && messages.iter().any(Message::is_text) {
                    return Err(PublishError::MixedStrings);
                }
                Ok(EncodedBody {
                    media_type: Some("application/x-ndjson"),
                    bytes: lines.into(),
                    event_type: None,
                    format: has_json_strings.then_some("json"),
                })
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Messages {
    One(Message),
    Batch(Vec<Message>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    None,
    /// Made up when it is sent.
    Generated,
    Given(String),
}

/// What every attempt sends alike: only then is a second one recognised as the same.
struct EncodedBody {
    media_type: Option<&'static str>,
    bytes: Bytes,
    event_type: Option<String>,
    /// What strings in a batch are, where not text.
    format: Option<&'static str>,
}

#[derive(Deserialize)]
struct Answer {
    id: Option<String>,
    first: Option<String>,
    last: Option<String>,
    count: Option<u64>,
    end: Option<String>,
}

impl Answer {
    fn into_receipt(self, duplicate: Duplicate) -> Option<Receipt> {
        let Answer { id, first, last, count, end } = self;
        let first = first.or(id)?;
        let is_more_than_one = end.as_ref().is_some_and(|end| *end != first);
        let count = count.unwrap_or(1 + u64::from(is_more_than_one));
        let last = last.or(end).unwrap_or_else(|| first.clone());
        Some(Receipt { first, last, count, duplicate })
    }
}

async fn answer(request: RequestBuilder) -> Result<Receipt, PublishError> {
    let (client, request) = request.build_split();
    let request = request.map_err(PublishError::Request)?;
    let url = request.url().clone();
    let response = client.execute(request).await.map_err(|error| {
        let (url, why) = (url.clone(), innermost(&error));
        if error.is_connect() {
            PublishError::Unreachable { url, why }
        } else {
            PublishError::NoAnswer { url, why }
        }
    })?;
    if !response.status().is_success() {
        return Err(PublishError::Refused(Refusal::read(response).await));
    }
    let was_there = response.headers().get(DUPLICATE).is_some_and(|value| value == "true");
    let body = response
        .bytes()
        .await
        .map_err(|error| PublishError::NoAnswer { url: url.clone(), why: innermost(&error) })?;
    let duplicate = if was_there { Duplicate::Yes } else { Duplicate::No };
    let answer = serde_json::from_slice::<Answer>(&body).ok();
    let receipt = answer.and_then(|answer| answer.into_receipt(duplicate));
    receipt.ok_or(PublishError::Answer { url })
}

/// Quick at first, since a restart takes a second or two.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(5) };
const RETRY_FOR: Duration = Duration::from_secs(30);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Longer than any disk takes for a commit.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const DUPLICATE: HeaderName = HeaderName::from_static("longwave-duplicate");

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(json: &str) -> Option<(String, String, u64)> {
        let answer: Answer = serde_json::from_str(json).unwrap();
        let receipt = answer.into_receipt(Duplicate::No)?;
        Some((receipt.first, receipt.last, receipt.count))
    }

    #[test]
    fn a_receipt_tells_the_first_and_the_last_event_however_many_there_are() {
        let ids = |first: &str, last: &str, count| Some((first.into(), last.into(), count));
        assert_eq!(receipt(r#"{"id":"a-1","topic":"t"}"#), ids("a-1", "a-1", 1));
        assert_eq!(receipt(r#"{"id":"a-1","end":"a-2"}"#), ids("a-1", "a-2", 2));
        assert_eq!(receipt(r#"{"id":"a-1","end":"a-1"}"#), ids("a-1", "a-1", 1));
        assert_eq!(receipt(r#"{"first":"a-1","last":"a-5","count":3}"#), ids("a-1", "a-5", 3));
        assert_eq!(receipt(r#"{"status":"ok"}"#), None);
    }

    #[test]
    fn a_batch_never_turns_a_json_string_into_text() {
        let json = Message::raw_json("\"x\"").unwrap();
        let format = |messages: Vec<Message>| Body::from(messages).encode().map(|body| body.format);
        assert!(matches!(format(vec![json.clone()]), Ok(Some("json"))));
        assert!(matches!(format(vec!["x".into()]), Ok(None)));
        assert!(matches!(format(vec![json, "x".into()]), Err(PublishError::MixedStrings)));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let url = Url::parse("http://h").unwrap();
        let why = String::new();
        assert!(PublishError::Unreachable { url: url.clone(), why: why.clone() }.is_temporary());
        assert!(PublishError::NoAnswer { url: url.clone(), why }.is_temporary());
        assert!(!PublishError::Answer { url }.is_temporary());
        assert!(!PublishError::MixedStrings.is_temporary());
    }
}

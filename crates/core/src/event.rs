//! What a log holds and readers get: [`Event`].

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::{EventType, Seq, TopicName, UnixMillis};

/// One event as readers see it: in the log, in the log's order, durable as its topic asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its position in the log.
    pub seq: Seq,
    /// When the log accepted it. Never falls from one event of a log to the next.
    pub time: UnixMillis,
    /// The topic that it was published to.
    pub topic: TopicName,
    /// What it says.
    pub payload: Payload,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third kind must be thought of at every place that writes events"
)]
pub enum Payload {
    /// A publisher's message.
    Message(Message),
    /// The topic is finished; nothing follows in it.
    End(EndReason),
}

/// A publisher's message, as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What subscribers may listen for; `None` is the plain `message` of `EventSource`.
    pub event_type: Option<EventType>,
    /// How `data` is to be read.
    pub format: DataFormat,
    /// The publisher's bytes, unchanged. UTF-8 where `format` is not binary.
    pub data: Bytes,
    /// The block or line that the event came in as, where that is not what the canonical encoding of type and data
    /// would be. Only the gateway sets it, and only native viewers get it: readers of topics never see it.
    pub source: Option<Bytes>,
}

impl Message {
    /// How many bytes it says, type and keys aside: what budgets count.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        self.data.len() + self.source.as_ref().map_or(0, Bytes::len)
    }
}

/// How a message's bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new format must be thought of at every place that writes events"
)]
pub enum DataFormat {
    /// UTF-8 text.
    Text,
    /// UTF-8 text that was checked to be one JSON value.
    Json,
    /// Bytes that are not text; they travel as base64 where a transport carries text only.
    Binary,
}

/// Why a topic ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new reason must be thought of at every place that tells it"
)]
pub enum EndReason {
    /// All was said.
    Done,
    /// The source failed.
    Error,
    /// Somebody meant it to stop.
    Cancelled,
    /// The source stopped in mid-stream without saying why.
    Truncated,
    /// The source said nothing for too long.
    Timeout,
    /// The server that recorded it went down in mid-stream.
    Crashed,
    /// The topic was deleted. Told to those who follow it at that moment; no publisher can give it, no log keeps it.
    Deleted,
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
            EndReason::Deleted => "deleted",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a reason that a publisher may give.
impl FromStr for EndReason {
    type Err = ParseEndReasonError;

    fn from_str(text: &str) -> Result<EndReason, ParseEndReasonError> {
        PUBLISHABLE.into_iter().find(|reason| reason.as_str() == text).ok_or(ParseEndReasonError)
    }
}

/// A text is none of the reasons that a publisher may give for an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic ends with one of done, error, cancelled, truncated, timeout, crashed")]
pub struct ParseEndReasonError;

const PUBLISHABLE: [EndReason; 6] = [
    EndReason::Done,
    EndReason::Error,
    EndReason::Cancelled,
    EndReason::Truncated,
    EndReason::Timeout,
    EndReason::Crashed,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_may_give_every_reason_but_the_servers_own() {
        for reason in PUBLISHABLE {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert_eq!("deleted".parse::<EndReason>(), Err(ParseEndReasonError));
        assert_eq!("Done".parse::<EndReason>(), Err(ParseEndReasonError));
    }
}

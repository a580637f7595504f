//! What a subscriber gets: [`Item`], and in it [`Event`]. How it comes off the wire is in `decode.rs`.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::SubscribeError;

/// Something that happened in a subscription, in order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// A connection stands and events may come. Told again after every reconnect.
    Open,
    /// An event.
    Event(Event),
    /// Events between two others can't be had any more. The stream goes on behind them.
    Gap(Gap),
    /// A topic is finished. Where it was the only one, nothing follows.
    End(End),
    /// The connection is gone; the stream goes on where it stopped after `delay`.
    Reconnecting(Reconnecting),
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Its own id. `None` where the server gives none; a server that gives no ids can't resume.
    pub id: Option<String>,
    /// Its topic, where the server says so: a Longwave server does when several topics are followed.
    pub topic: Option<String>,
    /// Its type; `message` where the publisher gave none.
    pub event_type: String,
    /// What it says.
    pub data: Data,
}

/// What an event says.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "streams of events carry text or bytes")]
pub enum Data {
    /// Text; JSON is text too.
    Text(String),
    /// Bytes that are not text.
    Binary(Bytes),
}

/// Events that can't be had any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The last id before the gap, as far as the server knows it.
    pub after: Option<String>,
    /// Where the stream goes on, as far as the server knows it.
    pub resumed: Option<String>,
    /// `retention`: the events were too old. `epoch`: the log is another one. `corruption`: they were damaged.
    pub reason: String,
}

/// A topic's end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct End {
    /// The end's own id.
    pub id: Option<String>,
    /// Which topic, where several are followed.
    pub topic: Option<String>,
    /// `done`, `error`, `cancelled`, `truncated`, `timeout`, `crashed` or `deleted`.
    pub reason: String,
}

/// A lost connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconnecting {
    /// What happened.
    pub cause: LossCause,
    /// How long until the next attempt.
    pub delay: Duration,
}

/// How a connection was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossCause {
    /// None could be made: the server is not there.
    Unreachable(String),
    /// It broke off in the middle of the stream.
    Broken(String),
    /// The server ended the stream.
    Closed,
    /// Nothing came for longer than the idle timeout, not even a sign of life.
    Idle(Duration),
    /// The server asks to come back later.
    Busy(crate::Refusal),
}

impl Event {
    /// Reads the data as JSON.
    ///
    /// # Errors
    /// That of `serde_json`, where the data is other JSON or none.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.data.as_bytes())
    }
}

impl Data {
    /// The text, or `None` for bytes that are not text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Data::Text(text) => Some(text),
            Data::Binary(_) => None,
        }
    }

    /// The bytes, of text too.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Data::Text(text) => text.as_bytes(),
            Data::Binary(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::Text(text) => text.fmt(f),
            Data::Binary(bytes) => bytes.fmt(f),
        }
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossCause::Unreachable(why) => write!(f, "no connection ({why})"),
            LossCause::Broken(why) => write!(f, "the connection broke ({why})"),
            LossCause::Closed => f.write_str("the server closed the stream"),
            LossCause::Idle(timeout) => {
                write!(f, "nothing came for {} s, not even a heartbeat", timeout.as_secs())
            }
            LossCause::Busy(refusal) => refusal.fmt(f),
        }
    }
}

/// What a stream's consumer sees.
pub(crate) type Next = Result<Item, SubscribeError>;

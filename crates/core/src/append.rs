//! What publishers and managers ask of a log, and what they are told.
//!
//! [`Append`] is the one way in which events come to be; [`TopicInfo`] is all that a log can tell of a topic.

use crate::{EndReason, IdempotencyKey, Message, Seq, TopicName, UnixMillis};

/// A publish: messages of one topic that enter the log together or not at all, next to each other in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub topic: TopicName,
    /// The messages, in order. May be empty where `end` is given.
    pub messages: Vec<NewMessage>,
    /// Ends the topic behind the messages.
    pub end: Option<EndReason>,
    /// The publisher's name for the whole publish; a second one under the same key is answered with the first's ids.
    pub key: Option<IdempotencyKey>,
    /// What the publisher believes the topic's last event to be; refused where it is another.
    pub expected: Expected,
}

/// A message on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// What it says.
    pub message: Message,
    /// The publisher's name for this message alone; in a batch, a message whose key was seen is left out.
    pub key: Option<IdempotencyKey>,
}

/// A condition on a topic's last event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a new condition must be thought of by every log")]
pub enum Expected {
    /// No condition.
    #[default]
    Any,
    /// The topic's last event, its end included, is at this position; [`Seq::ZERO`]: the topic has had none.
    Last(Seq),
}

/// Where a publish went, told once it is as durable as its topic asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The position of the first event of the publish.
    pub first: Seq,
    /// The position of the last, an end included.
    pub last: Seq,
    /// How many events, an end included. At least 1.
    pub count: u32,
    /// The time that the events carry.
    pub time: UnixMillis,
    /// Whether this publish put them there.
    pub outcome: Outcome,
}

/// Whether a publish added events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a publish either added events or did not")]
pub enum Outcome {
    /// It did.
    New,
    /// All of it was there already; the ids are those given the first time.
    Duplicate,
}

/// A topic's settings. Where a field is `None`, only the log's own retention applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Events older than this many milliseconds are removed.
    pub max_age_ms: Option<u64>,
    /// Only this many of the newest events are kept. At least 1.
    pub max_events: Option<u64>,
    /// Only as many of the newest events are kept as fit, counted as they stand in the log; the newest stays always.
    pub max_bytes: Option<u64>,
    /// How long after its end the topic is deleted, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// What a publish waits for.
    pub durability: Durability,
}

/// What a publish waits for before it is acknowledged and shown to readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a third promise must be thought of by every log")]
pub enum Durability {
    /// The disk: an acknowledged event survives a power cut.
    #[default]
    Disk,
    /// Only this process and the operating system: lower latency, but a power cut may lose acknowledged events.
    Memory,
}

/// What a log can tell of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub topic: TopicName,
    /// The position of the oldest event that is retained; `None` where none is.
    pub first: Option<Seq>,
    /// The position of the newest event that the topic ever had, retained or not; zero where it had none.
    pub last: Seq,
    /// How many events are retained, the end included.
    pub events: u64,
    /// How many bytes they take in the log.
    pub bytes: u64,
    /// All events of the topic up to here have been removed by retention; zero where none has.
    pub removed: Seq,
    /// How it ended; `None` while it runs.
    pub end: Option<TopicEnd>,
    /// Its settings; `None` where nobody set any.
    pub config: Option<Config>,
}

/// How a topic ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicEnd {
    /// The position of the end event.
    pub seq: Seq,
    /// When.
    pub time: UnixMillis,
    /// Why.
    pub reason: EndReason,
}

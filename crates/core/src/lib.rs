//! The rules of a Longwave log, as plain values in and plain values out.
//!
//! Everything that decides something lives here: what a valid topic name is, which subscriptions an event matches,
//! when a publish is a duplicate, what retention removes, when a reader must be told of a gap. What it leaves out on
//! purpose: clocks (time is passed in), files, sockets, runtimes and randomness. HTTP and its JSON are the server's.
//!
//! Start with [`Event`] and [`EventId`], then [`Append`], which is what a publisher asks for.

mod append;
mod channel;
mod dedup;
mod event;
mod feed;
mod id;
mod ledger;
mod retention;
mod selector;
mod selector_index;
mod tail;
#[cfg(test)]
mod test_events;
mod text;
mod time;
mod topic;

pub use append::{
    Append, Appended, Config, Durability, Expected, NewMessage, Outcome, TopicEnd, TopicInfo,
};
pub use channel::{ChannelId, Channels, Closed, TailLimits};
pub use dedup::{DedupWindow, Fingerprint, Publication, ScopedKey};
pub use event::{DataFormat, EndReason, Event, Message, ParseEndReasonError, Payload};
pub use feed::{
    Budget, Feed, FeedGap, FeedItem, FeedQuery, GapReason, LogPage, LogRead, ReadFrom, StartAt,
    Step, TypeFilter,
};
pub use id::{Epoch, EventId, IdText, ParseIdError, Seq};
pub use ledger::{
    Admission, Admitted, AdmittedEvent, Group, Ledger, Refusal, Settings, Snapshot, Topic,
};
pub use retention::{LogRetention, Retained, Trim, trim};
pub use selector::{Selector, SelectorError, SelectorSet};
pub use selector_index::SelectorIndex;
pub use tail::{Tail, TailRead};
pub use text::{EventType, IdempotencyKey, TextError};
pub use time::UnixMillis;
pub use topic::{TopicName, TopicNameError};

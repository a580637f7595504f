//! The rules of a Longwave log, as plain values in and plain values out.
//!
//! Everything that decides something lives here: what a valid topic name is, which subscriptions an event matches,
//! when a publish is a duplicate, what retention removes, when a reader must be told of a gap. What it leaves out on
//! purpose: clocks (time is passed in), files, sockets, runtimes and randomness. HTTP and its JSON are the server's.
//!
//! Start with [`Event`] and [`EventId`], then [`Append`], which is what a publisher asks for.

mod append;
mod event;
mod id;
mod selector;
mod text;
mod time;
mod topic;

pub use append::{
    Append, Appended, Config, Durability, Expected, NewMessage, Outcome, TopicEnd, TopicInfo,
};
pub use event::{DataFormat, EndReason, Event, Message, ParseEndReasonError, Payload};
pub use id::{Epoch, EventId, ParseIdError, Seq};
pub use selector::{Selector, SelectorError, SelectorSet};
pub use text::{EventType, IdempotencyKey, TextError};
pub use time::UnixMillis;
pub use topic::{TopicName, TopicNameError};

//! A client for Longwave servers and for any server that sends Server-Sent Events.
//!
//! Start with [`Client`]: it publishes, follows and manages topics. [`EventStream`] follows through cut connections
//! and server restarts without losing or repeating an event; [`Publisher`] publishes the same way.
//!
//! It leaves out: storing the last event id (that is the program's, see [`EventStream::last_event_id`]), and every
//! transport but Server-Sent Events.

mod backoff;
mod client;
mod decode;
mod event;
mod message;
mod publish;
mod publisher;
mod random;
mod reconnect;
mod refusal;
mod stream;
mod subscribe;
mod topics;

pub use client::{Client, ClientBuilder, ClientError, InvalidTopic};
pub use decode::DecodeItemError;
pub use event::{Data, End, Event, Gap, Item, LossCause, Reconnecting};
pub use message::Message;
pub use publish::{Body, Duplicate, EndReason, Publish, PublishError, Receipt};
pub use publisher::{NoRandomness, Progress, Publisher, PublisherStopped};
pub use refusal::Refusal;
/// The type of addresses, as in [`Client::follow`].
pub use reqwest::Url;
pub use stream::EventStream;
pub use subscribe::{Framing, Start, Subscribe, SubscribeError};
pub use topics::{
    Durability, TopicConfig, TopicEnd, TopicInfo, TopicsError, TopicsPage, TopicsQuery,
};

//! Events for unit tests, as short as they can be written.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    DataFormat, EndReason, Event, EventType, Message, Payload, Seq, TopicName, UnixMillis,
};

/// A plain message.
pub(crate) fn event(seq: u64, topic: &str) -> Arc<Event> {
    with_payload(seq, topic, message(None))
}

/// A message of a type.
pub(crate) fn typed(seq: u64, topic: &str, event_type: &str) -> Arc<Event> {
    with_payload(seq, topic, message(Some(EventType::new(event_type).unwrap())))
}

/// A topic's end.
pub(crate) fn end(seq: u64, topic: &str, reason: EndReason) -> Arc<Event> {
    with_payload(seq, topic, Payload::End(reason))
}

fn message(event_type: Option<EventType>) -> Payload {
    Payload::Message(Message {
        event_type,
        format: DataFormat::Text,
        data: Bytes::from_static(b"0123456789"),
        source: None,
    })
}

fn with_payload(seq: u64, topic: &str, payload: Payload) -> Arc<Event> {
    let topic: TopicName = topic.parse().unwrap();
    Arc::new(Event { seq: Seq(seq), time: UnixMillis(seq), topic, payload })
}

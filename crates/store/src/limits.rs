//! Bounds that all logs of this crate share, and how they count.

use longwave_core::{Append, Event, IdempotencyKey, Payload};

use crate::segment::record::encoded_len;

/// How many bytes one append may take in a log: 16 MiB.
pub const APPEND_BYTES_MAX: u64 = 16 << 20;

/// How many bytes a publish takes in a log.
pub(crate) fn append_bytes(append: &Append) -> u64 {
    let topic = append.topic.as_str();
    let mut publish_key = append.key.as_ref().map(IdempotencyKey::as_str);
    let mut bytes = 0;
    for new in &append.messages {
        let key = new.key.as_ref().map_or("", IdempotencyKey::as_str);
        bytes += encoded_len(topic, Some(&new.message), key, publish_key.take());
    }
    if append.end.is_some() {
        bytes += encoded_len(topic, None, "", publish_key);
    }
    bytes
}

/// How many bytes an event takes in a log.
pub(crate) fn event_bytes(
    event: &Event,
    key: Option<&IdempotencyKey>,
    publish_key: Option<&IdempotencyKey>,
) -> u64 {
    let message = match &event.payload {
        Payload::Message(message) => Some(message),
        Payload::End(_) => None,
    };
    let key = key.map_or("", IdempotencyKey::as_str);
    let publish_key = publish_key.map(IdempotencyKey::as_str);
    encoded_len(event.topic.as_str(), message, key, publish_key)
}

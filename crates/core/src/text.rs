//! Short texts that publishers choose: event types and idempotency keys, checked once, where they come in.

use std::fmt;
use std::sync::Arc;

/// What `event:` says on the wire and `addEventListener` listens for.
///
/// 1 to [`EventType::BYTES_MAX`] bytes of UTF-8 without control characters, and not of the `longwave.` prefix, under
/// which the server sends its own events (gap, end) and records its own ([`EventType::control`]).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// The longest event type, in bytes.
    pub const BYTES_MAX: usize = 255;
    /// The prefix that publishers can't use.
    pub const RESERVED_PREFIX: &str = "longwave.";

    /// Checks a publisher's text.
    ///
    /// # Errors
    /// A [`TextError`] that names the rule which the text breaks.
    pub fn new(text: &str) -> Result<EventType, TextError> {
        check(text, Self::BYTES_MAX)?;
        if text.starts_with(Self::RESERVED_PREFIX) {
            return Err(TextError::Reserved);
        }
        Ok(EventType(text.into()))
    }

    /// Checks a type of the server's own, which starts with [`EventType::RESERVED_PREFIX`].
    ///
    /// # Errors
    /// A [`TextError`] that names the rule which the text breaks.
    pub fn control(text: &str) -> Result<EventType, TextError> {
        check(text, Self::BYTES_MAX)?;
        if !text.starts_with(Self::RESERVED_PREFIX) {
            return Err(TextError::NotReserved);
        }
        Ok(EventType(text.into()))
    }

    /// Checks a text that a log holds, which may be a publisher's or the server's own.
    ///
    /// # Errors
    /// A [`TextError`] that names the rule which the text breaks.
    pub fn recorded(text: &str) -> Result<EventType, TextError> {
        check(text, Self::BYTES_MAX)?;
        Ok(EventType(text.into()))
    }

    /// Whether it is one of the server's own.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.0.starts_with(Self::RESERVED_PREFIX)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The publisher's own name for one publish, by which a retry is recognised.
///
/// 1 to [`IdempotencyKey::BYTES_MAX`] bytes of UTF-8 without control characters. Keys are scoped to their topic.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// The longest key, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Checks a publisher's text.
    ///
    /// # Errors
    /// A [`TextError`] that names the rule which the text breaks.
    pub fn new(text: &str) -> Result<IdempotencyKey, TextError> {
        check(text, Self::BYTES_MAX)?;
        Ok(IdempotencyKey(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text can't be an event type or an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It has no characters.
    #[error("it must not be empty")]
    Empty,
    /// It has more bytes than allowed.
    #[error("it has {bytes} bytes, and {bytes_max} is the most")]
    TooLong {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        bytes_max: usize,
    },
    /// A control character stands in it: it could not be written on a line of a stream.
    #[error("it must not hold control characters such as line breaks or NUL")]
    Control,
    /// It starts with the prefix of the server's own event types.
    #[error("the prefix \"longwave.\" is kept for events that the server itself sends")]
    Reserved,
    /// It lacks the prefix of the server's own event types.
    #[error("an event of the server's own has a type with the prefix \"longwave.\"")]
    NotReserved,
}

fn check(text: &str, bytes_max: usize) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    if text.len() > bytes_max {
        return Err(TextError::TooLong { bytes: text.len(), bytes_max });
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_type_can_be_written_on_one_line_and_is_not_the_servers() {
        assert_eq!(EventType::new("price").map(|t| t.as_str().to_owned()).as_deref(), Ok("price"));
        assert_eq!(EventType::new(""), Err(TextError::Empty));
        assert_eq!(EventType::new("a\nb"), Err(TextError::Control));
        assert_eq!(EventType::new("a\0"), Err(TextError::Control));
        assert_eq!(EventType::new("longwave.gap"), Err(TextError::Reserved));
        assert_eq!(
            EventType::new(&"x".repeat(256)),
            Err(TextError::TooLong { bytes: 256, bytes_max: 255 })
        );
        assert!(EventType::new(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn a_control_type_is_the_servers_and_keeps_to_the_other_rules() {
        let stream = EventType::control("longwave.stream").unwrap();
        assert!(stream.is_control());
        assert_eq!(EventType::recorded("longwave.stream"), Ok(stream));
        assert_eq!(EventType::control("price"), Err(TextError::NotReserved));
        assert_eq!(EventType::control(""), Err(TextError::Empty));
        assert_eq!(EventType::control("longwave.\n"), Err(TextError::Control));
        let price = EventType::new("price").unwrap();
        assert!(!price.is_control());
        assert_eq!(EventType::recorded("price"), Ok(price));
        assert_eq!(EventType::recorded("a\n"), Err(TextError::Control));
    }

    #[test]
    fn a_key_may_look_like_the_servers_events() {
        assert!(IdempotencyKey::new("longwave.gap").is_ok());
        assert_eq!(IdempotencyKey::new("a\r"), Err(TextError::Control));
    }
}

//! What a decoder hands out ([`Decoded`]), what it is asked to keep, and how it fails.

use core::error::Error;
use core::fmt;
use core::time::Duration;

use crate::event::EventRef;

/// What [`Decoder::decode`](crate::Decoder::decode) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decoded<'a> {
    /// An event.
    Event(EventRef<'a>),
    /// A comment, without its colon and one space after it. Servers send empty ones to show that they are alive.
    Comment(&'a str),
    /// The server asks to wait this long before a reconnect. It counts at once, whether or not an event follows.
    Retry(Duration),
}

/// What a decoder does with fields that the standard does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownFields {
    /// Skips them, as the standard says.
    #[default]
    Ignore,
    /// Hands them out with the event, in [`EventRef::extensions`].
    Keep,
}

/// Why a stream can't be decoded any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// An event, or a single line, is larger than the decoder may hold.
    EventTooLarge {
        /// The limit that was passed, in bytes.
        event_bytes_max: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventTooLarge { event_bytes_max } => {
                write!(f, "an event is larger than the limit of {event_bytes_max} bytes")
            }
        }
    }
}

impl Error for DecodeError {}

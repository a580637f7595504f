//! The codec's front door: it names the modules and re-exports every public type.
//!
//! Reading a stream starts at [`Decoder`], writing one at [`Frame`]. There is no I/O here, no clock and no
//! reconnecting: bytes in, events out, and the reverse.
#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;

mod block;
mod decoder;
mod encoder;
mod event;
mod extension;
mod field;
mod line;
mod utf8;

pub use decoder::{DecodeError, Decoded, Decoder, EVENT_BYTES_MAX_DEFAULT, UnknownFields};
pub use encoder::{Frame, Output, encode_comment, encode_retry};
pub use event::{DEFAULT_EVENT_TYPE, Event, EventRef};
pub use extension::ExtensionFields;
pub use field::{EventId, FieldError, FieldName, FieldValue};

/// The media type of an event stream, for `Content-Type` and `Accept`.
pub const MEDIA_TYPE: &str = "text/event-stream";

//! An incremental codec for `text/event-stream`. Reading a stream starts at [`Decoder`], writing one at [`Frame`].
//!
#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;

mod block;
mod decoded;
mod decoder;
mod encoder;
mod event;
mod extension;
mod field;
mod line;
mod utf8;

pub use decoded::{DecodeError, Decoded, UnknownFields};
pub use decoder::{Decoder, EVENT_BYTES_MAX_DEFAULT};
pub use encoder::{Frame, Output, encode_comment, encode_retry};
pub use event::{DEFAULT_EVENT_TYPE, Event, EventRef};
pub use extension::ExtensionFields;
pub use field::{EventId, FieldError, FieldName, FieldValue};

/// The media type of an event stream, for `Content-Type` and `Accept`.
pub const MEDIA_TYPE: &str = "text/event-stream";

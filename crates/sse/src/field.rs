//! Text that is safe to write as part of a line. Whoever holds one of these types can't inject a field or an event.
//! Read [`FieldValue`] first. Data needs no such type: the encoder splits it into lines.

use core::error::Error;
use core::fmt;

use memchr::{memchr, memchr2};

/// The value of a field: any text without CR and LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldValue<'a>(&'a str);

/// An event id: any text without CR, LF and NUL. The empty one clears the reader's last event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId<'a>(&'a str);

/// The name of an extension field: ASCII letters, digits, `-`, `_` and `.`, and none of the standard's own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldName<'a>(&'a str);

/// Why a text can't stand in a line of an event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldError {
    /// A CR or LF would end the line and let the rest pass for another field.
    LineEnd {
        /// Where the first one is, in bytes.
        at: usize,
    },
    /// Readers ignore an id that holds a NUL.
    Nul {
        /// Where the first one is, in bytes.
        at: usize,
    },
    /// An extension field's name is empty or holds something other than ASCII letters, digits, `-`, `_` and `.`.
    NameSyntax,
    /// An extension field is called `data`, `event`, `id` or `retry`.
    NameReserved,
}

impl<'a> FieldValue<'a> {
    /// Checks `value`.
    ///
    /// # Errors
    ///
    /// [`FieldError::LineEnd`].
    pub fn new(value: &'a str) -> Result<Self, FieldError> {
        check_line_end(value)?;
        Ok(Self(value))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl<'a> EventId<'a> {
    /// Checks `id`.
    ///
    /// # Errors
    ///
    /// [`FieldError::LineEnd`], [`FieldError::Nul`].
    pub fn new(id: &'a str) -> Result<Self, FieldError> {
        check_line_end(id)?;
        match memchr(0, id.as_bytes()) {
            Some(at) => Err(FieldError::Nul { at }),
            None => Ok(Self(id)),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl<'a> FieldName<'a> {
    /// Checks `name`.
    ///
    /// # Errors
    ///
    /// [`FieldError::NameSyntax`], [`FieldError::NameReserved`].
    pub const fn new(name: &'a str) -> Result<Self, FieldError> {
        match name.as_bytes() {
            b"data" | b"event" | b"id" | b"retry" => Err(FieldError::NameReserved),
            bytes if is_name(bytes) => Ok(Self(name)),
            _ => Err(FieldError::NameSyntax),
        }
    }

    /// The text.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineEnd { at } => {
                write!(f, "a line end at byte {at}: CR and LF can't be part of a field's value")
            }
            Self::Nul { at } => {
                write!(f, "a NUL at byte {at}: readers ignore an event id that holds one")
            }
            Self::NameSyntax => {
                f.write_str("a field's name takes ASCII letters, digits, '-', '_' and '.' only")
            }
            Self::NameReserved => {
                f.write_str("the names data, event, id and retry belong to the standard")
            }
        }
    }
}

impl Error for FieldError {}

fn check_line_end(text: &str) -> Result<(), FieldError> {
    match memchr2(b'\n', b'\r', text.as_bytes()) {
        Some(at) => Err(FieldError::LineEnd { at }),
        None => Ok(()),
    }
}

/// ASCII only, because a byte order mark at the start of a stream is skipped: a name that began with one would be
/// read without it, and could so pass for a field of the standard.
const fn is_name(mut bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return false;
    }
    while let [byte, rest @ ..] = bytes {
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return false;
        }
        bytes = rest;
    }
    true
}

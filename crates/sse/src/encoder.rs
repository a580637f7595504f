//! The encoder: one event ([`Frame`]), a comment, or a reconnection time, written into a caller's buffer.
//!
//! Nothing here fails or panics: what can't stand in a line is refused earlier, by the types of `field.rs`.

use alloc::vec::Vec;
use core::fmt::{self, Write as _};
use core::time::Duration;

use memchr::memchr2;

use crate::field::{EventId, FieldName, FieldValue};

/// One event, ready to be written.
///
/// ```
/// use longwave_sse::{EventId, FieldName, FieldValue, Frame};
///
/// let topic = [(FieldName::new("topic")?, FieldValue::new("orders/42")?)];
/// let mut out = Vec::new();
/// Frame::new()
///     .id(EventId::new("7kq2f-1031")?)
///     .event_type(FieldValue::new("note")?)
///     .extensions(&topic)
///     .data("two\nlines")
///     .encode(&mut out);
/// assert_eq!(out, b"id: 7kq2f-1031\nevent: note\ntopic: orders/42\ndata: two\ndata: lines\n\n");
/// # Ok::<(), longwave_sse::FieldError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Frame<'a> {
    id: Option<EventId<'a>>,
    event_type: Option<FieldValue<'a>>,
    extensions: &'a [(FieldName<'a>, FieldValue<'a>)],
    data: Option<&'a [u8]>,
}

impl<'a> Frame<'a> {
    /// A frame that says nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { id: None, event_type: None, extensions: &[], data: None }
    }

    /// Gives the event an id. The empty id clears the reader's last event id.
    #[must_use]
    pub const fn id(mut self, id: EventId<'a>) -> Self {
        self.id = Some(id);
        self
    }

    /// Gives the event a type. Without one, or with the empty one, readers see `message`.
    #[must_use]
    pub const fn event_type(mut self, event_type: FieldValue<'a>) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// Adds fields that `EventSource` ignores and other readers may know.
    #[must_use]
    pub const fn extensions(mut self, extensions: &'a [(FieldName<'a>, FieldValue<'a>)]) -> Self {
        self.extensions = extensions;
        self
    }

    /// Gives the event its data: UTF-8 text, of which readers see each CR, LF and CRLF as one LF.
    ///
    /// Empty data makes an event with empty data. A frame without data makes none at all: its id is all that readers
    /// take from it. Some are known to crash on a block without data, so prefer to send none. Bytes that are not
    /// UTF-8 are written as they are, and readers see U+FFFD.
    #[must_use]
    pub fn data<D: AsRef<[u8]> + ?Sized>(mut self, data: &'a D) -> Self {
        self.data = Some(data.as_ref());
        self
    }

    /// Appends the event's lines and the blank line that ends it.
    ///
    /// The order is `id`, `event`, extension fields, `data`. Every value comes after a colon and one space.
    pub fn encode<O: Output + ?Sized>(&self, out: &mut O) {
        if let Some(id) = self.id {
            put_field(out, b"id", id.as_str().as_bytes());
        }
        if let Some(event_type) = self.event_type {
            put_field(out, b"event", event_type.as_str().as_bytes());
        }
        for (name, value) in self.extensions {
            put_field(out, name.as_str().as_bytes(), value.as_str().as_bytes());
        }
        if let Some(data) = self.data {
            for_each_line(data, |line| put_field(out, b"data", line));
        }
        out.put(b"\n");
    }

    /// How many bytes [`encode`](Self::encode) appends, to reserve or to check them beforehand.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let mut counter = Counter(0);
        self.encode(&mut counter);
        counter.0
    }
}

/// Where encoded bytes go. Implemented for `Vec<u8>`; two lines make it work for any other buffer.
pub trait Output {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Output for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Appends a comment, which readers ignore: a line of its own with no blank line after it, to be put between events.
///
/// The empty comment is the shortest heartbeat there is, `:` and LF. A text of several lines becomes several comments.
///
/// ```
/// let mut out = Vec::new();
/// longwave_sse::encode_comment(&mut out, "");
/// longwave_sse::encode_comment(&mut out, "hello\r\ndata: not an event");
/// assert_eq!(out, b":\n: hello\n: data: not an event\n");
/// ```
pub fn encode_comment<O: Output + ?Sized>(out: &mut O, text: &str) {
    for_each_line(text.as_bytes(), |line| {
        if line.is_empty() {
            out.put(b":\n");
        } else {
            put_field(out, b"", line);
        }
    });
}

/// Appends the time that readers shall wait before a reconnect, in whole milliseconds: a line of its own with no blank
/// line after it, since some readers take a block of `retry` alone for an event.
///
/// ```
/// let mut out = Vec::new();
/// longwave_sse::encode_retry(&mut out, core::time::Duration::from_secs(3));
/// assert_eq!(out, b"retry: 3000\n");
/// ```
pub fn encode_retry<O: Output + ?Sized>(out: &mut O, delay: Duration) {
    // An `Output` takes everything, so there is no error to pass on.
    let _ = writeln!(TextOutput(out), "retry: {}", delay.as_millis());
}

#[inline]
fn put_field<O: Output + ?Sized>(out: &mut O, name: &[u8], value: &[u8]) {
    out.put(name);
    out.put(b": ");
    out.put(value);
    out.put(b"\n");
}

/// Calls `each` for every line of `text`; LF, CR and CRLF separate lines. There is always one line more than
/// separators, so that text which is empty or ends in a separator comes out of the decoder as it was.
#[inline]
fn for_each_line(mut text: &[u8], mut each: impl FnMut(&[u8])) {
    while let Some((line, separator)) =
        memchr2(b'\n', b'\r', text).and_then(|at| text.split_at_checked(at))
    {
        each(line);
        text = match separator {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => separator,
        };
    }
    each(text);
}

struct Counter(usize);

impl Output for Counter {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

struct TextOutput<'a, O: ?Sized>(&'a mut O);

impl<O: Output + ?Sized> fmt::Write for TextOutput<'_, O> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text.as_bytes());
        Ok(())
    }
}

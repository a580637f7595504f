//! The event under construction: what its lines have said so far. Which line comes next is the decoder's affair.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use crate::event::IdOrigin;
use crate::extension::ExtensionFields;
use crate::utf8::replace_lossy;

/// The standard's data, event type and last event id buffers. They are kept between events, so that a running stream
/// allocates nothing, unless a large event made them large.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    /// The data lines that had to be copied, joined by LF, not yet checked to be UTF-8.
    pub(crate) data: Vec<u8>,
    /// Whether any data line has begun. An empty `data` line makes an event too.
    pub(crate) has_data: bool,
    pub(crate) event_type: String,
    pub(crate) extensions: ExtensionFields,
    /// The size of the lines so far, as the limit counts it.
    pub(crate) bytes: usize,
    /// The id seen in this block; meaningless unless `has_id`.
    id: String,
    has_id: bool,
}

impl Block {
    /// Begins another line of data in the buffer.
    pub(crate) fn begin_data_line(&mut self) {
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
    }

    /// Keeps `value` unless it holds a NUL, as the standard says.
    pub(crate) fn set_id(&mut self, value: &[u8]) {
        if !value.contains(&0) {
            replace_lossy(&mut self.id, value);
            self.has_id = true;
        }
    }

    /// Makes this block's id, if it has one, the last event id.
    pub(crate) fn commit_id(&mut self, last_event_id: &mut String) -> IdOrigin {
        if !self.has_id {
            return IdOrigin::Earlier;
        }
        mem::swap(&mut self.id, last_event_id);
        IdOrigin::Own
    }

    /// Whether dropping the block would lose anything.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_data && !self.has_id && self.event_type.is_empty() && self.extensions.is_empty()
    }

    /// Begins the next event.
    pub(crate) fn clear(&mut self) {
        self.data.clear();
        self.data.shrink_to(BUFFER_BYTES_KEPT_MAX);
        self.has_data = false;
        self.event_type.clear();
        self.event_type.shrink_to(BUFFER_BYTES_KEPT_MAX);
        self.extensions.clear();
        self.bytes = 0;
        self.has_id = false;
    }
}

/// How much of a buffer is kept for the next event: one huge event must not hold its memory for as long as the
/// connection lasts.
pub(crate) const BUFFER_BYTES_KEPT_MAX: usize = 256 * 1024;

//! Fields that the standard does not know, kept beside an event. Read [`ExtensionFields`].

use alloc::string::String;
use core::fmt;

use crate::block::BUFFER_BYTES_KEPT_MAX;
use crate::utf8::push_lossy;

/// The fields of an event that the standard does not know, in the order they came.
///
/// `EventSource` ignores such lines, which makes them a safe place for what only some clients read. A decoder keeps
/// them when built [`with_unknown_fields`](crate::Decoder::with_unknown_fields).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExtensionFields {
    /// `name:value` and LF for each. A name holds no colon and neither holds an LF, so this can be read back, and
    /// it costs no more than the lines themselves, however many a peer sends.
    text: String,
}

impl ExtensionFields {
    /// The value of the last field called `name`, compared case-sensitively like the standard's own names.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter().filter(|(field, _)| *field == name).last().map(|(_, value)| value)
    }

    /// Every name and value, repeated names included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.split_terminator('\n').filter_map(|line| line.split_once(':'))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        push_lossy(&mut self.text, name);
        self.text.push(':');
        push_lossy(&mut self.text, value);
        self.text.push('\n');
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(BUFFER_BYTES_KEPT_MAX);
    }
}

impl fmt::Debug for ExtensionFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

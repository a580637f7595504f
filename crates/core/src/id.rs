//! Event ids: a position in one log's total order, tagged with that log's epoch.
//!
//! Read [`EventId`] first; [`Seq`] is the position alone, as everything inside of one log uses it.

use std::fmt;
use std::str::FromStr;

/// A position in the log's one total order.
///
/// The first event of a log has a position of at least 1; [`Seq::ZERO`] lies before every event and is where a reader
/// of the whole log starts. Positions increase and are never used twice in one epoch, but are not dense: records that
/// are not events (settings, deletions) take positions too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Seq = Seq(0);

    /// The position right behind this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The tag of one log's lifetime, fixed at random when the log is created.
///
/// An id of a log that was wiped carries another epoch, so it is recognised instead of silently matching a different
/// event. Five characters of a 32-character alphabet without the look-alikes `i`, `l`, `o` and `u`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; EPOCH_CHARS]);

impl Epoch {
    /// The epoch that the low 25 bits of `random` stand for. The caller brings the randomness.
    #[must_use]
    pub fn from_random(random: u32) -> Epoch {
        let mut rest = random;
        Epoch(std::array::from_fn(|_| {
            let digit = rest % 32;
            rest /= 32;
            ALPHABET.get(digit as usize).copied().unwrap_or_default()
        }))
    }

    /// The five characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only characters of ALPHABET get in, and those are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Epoch {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Epoch, ParseIdError> {
        let chars: [u8; EPOCH_CHARS] =
            text.as_bytes().try_into().map_err(|_| ParseIdError::Epoch)?;
        if chars.iter().all(|c| ALPHABET.contains(c)) {
            Ok(Epoch(chars))
        } else {
            Err(ParseIdError::Epoch)
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// The id of an event: `<epoch>-<seq>`, as in `7kq2f-1024`.
///
/// The same value is a *cursor*: "go on after this event". As a cursor, `<epoch>-0` is the place before the first
/// event. At most 26 bytes, all of them safe in a CORS request header, so a browser may send it as `Last-Event-ID`
/// without a preflight.
///
/// ```
/// use longwave_core::{EventId, Seq};
/// let id: EventId = "7kq2f-1024".parse()?;
/// assert_eq!(id.seq, Seq(1024));
/// assert_eq!(id.to_string(), "7kq2f-1024");
/// # Ok::<(), longwave_core::ParseIdError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// Which log.
    pub epoch: Epoch,
    /// Where in it.
    pub seq: Seq,
}

impl EventId {
    /// The id's text, without an allocation: it stands in everything that is delivered.
    #[must_use]
    pub fn text(self) -> IdText {
        let mut text = IdText { bytes: [b'-'; ID_CHARS_MAX], begin: ID_CHARS_MAX };
        let mut rest = self.seq.0;
        loop {
            // A digit is smaller than ten.
            text.prepend(&[b'0' + u8::try_from(rest % 10).unwrap_or_default()]);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        text.prepend(b"-");
        text.prepend(&self.epoch.0);
        text
    }
}

/// An id's text: [`EventId::text`].
#[derive(Clone, Copy, Debug)]
pub struct IdText {
    /// Filled from its end.
    bytes: [u8; ID_CHARS_MAX],
    begin: usize,
}

impl IdText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Digits, a hyphen, and an epoch's characters: all of them are ASCII.
        std::str::from_utf8(self.bytes.get(self.begin..).unwrap_or_default()).unwrap_or_default()
    }

    fn prepend(&mut self, part: &[u8]) {
        let end = self.begin;
        self.begin -= part.len();
        if let Some(place) = self.bytes.get_mut(self.begin..end) {
            place.copy_from_slice(part);
        }
    }
}

impl FromStr for EventId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<EventId, ParseIdError> {
        let (epoch, seq) = text.split_once('-').ok_or(ParseIdError::Shape)?;
        let epoch = epoch.parse()?;
        let canonical = !seq.is_empty()
            && seq.bytes().all(|c| c.is_ascii_digit())
            && (seq.len() == 1 || !seq.starts_with('0'));
        if !canonical {
            return Err(ParseIdError::Seq);
        }
        Ok(EventId { epoch, seq: Seq(seq.parse().map_err(|_| ParseIdError::Seq)?) })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text().as_str())
    }
}

/// Why a text is not an id of any Longwave log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// There is no `-`.
    #[error("an id looks like 7kq2f-1024: an epoch, a hyphen, a number")]
    Shape,
    /// What stands before the hyphen is not an epoch.
    #[error("the part before the hyphen must be five characters of 0-9 and a-z without i, l, o, u")]
    Epoch,
    /// What stands behind the hyphen is not a position.
    #[error("the part behind the hyphen must be a decimal number below 2^64 without leading zeros")]
    Seq,
}

/// An epoch, a hyphen, and the digits of the largest position.
const ID_CHARS_MAX: usize = EPOCH_CHARS + 1 + 20;
const EPOCH_CHARS: usize = 5;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_random_value_makes_an_epoch_that_parses_back() {
        for random in [0, 1, 31, 32, 0x1ff_ffff, u32::MAX] {
            let epoch = Epoch::from_random(random);
            assert_eq!(epoch.to_string().parse(), Ok(epoch));
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        for (text, error) in [
            ("", ParseIdError::Shape),
            ("7kq2f1024", ParseIdError::Shape),
            ("-1", ParseIdError::Epoch),
            ("7kq2-1", ParseIdError::Epoch),
            ("7KQ2F-1", ParseIdError::Epoch),
            ("7kqlf-1", ParseIdError::Epoch),
            ("7kq2f-", ParseIdError::Seq),
            ("7kq2f-+1", ParseIdError::Seq),
            ("7kq2f-01", ParseIdError::Seq),
            ("7kq2f-1 ", ParseIdError::Seq),
            ("7kq2f-1-1", ParseIdError::Seq),
            ("7kq2f-18446744073709551616", ParseIdError::Seq),
        ] {
            assert_eq!(text.parse::<EventId>(), Err(error), "{text:?}");
        }
        for text in ["7kq2f-0", "7kq2f-18446744073709551615"] {
            assert_eq!(text.parse::<EventId>().map(|id| id.to_string()).as_deref(), Ok(text));
        }
    }
}

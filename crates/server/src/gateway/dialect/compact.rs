//! Runs of deltas merged into one event each, for those who join late: [`compact`]. And the plain text so far: [`text`].
//!
//! A merged event is the run's last one with the run's whole text in it, byte for byte otherwise. So it carries the
//! last one's numbers, and clients read it like any other.

use std::borrow::Cow;

use super::json::{Object, span_of};
use super::{Dialect, Piece};

/// One event of a compacted stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// The last event that it stands for. Its type is this one's.
    pub last: usize,
    /// Its data, where it stands for several; `None` where it is the event `last` as it was.
    pub merged: Option<Vec<u8>>,
}

/// Merges each run of deltas that differ in their text alone. All other events stay as they are, in their order.
pub(crate) fn compact(dialect: Dialect, pieces: &[Piece<'_>]) -> Vec<Compacted> {
    let rules = dialect.rules();
    let mut compacted = Vec::new();
    let mut run: Option<Run<'_>> = None;
    for (last, &piece) in pieces.iter().enumerate() {
        let delta = rules.delta(piece);
        if let (Some(run), Some(delta)) = (&mut run, &delta)
            && run.goes_on_with(piece, delta)
        {
            run.last = last;
            run.piece = piece;
            run.texts.push(delta.text);
            continue;
        }
        compacted.extend(run.take().map(Run::into_event));
        match delta {
            Some(delta) => run = Some(Run { last, piece, texts: vec![delta.text], delta }),
            None => compacted.push(Compacted { last, merged: None }),
        }
    }
    compacted.extend(run.map(Run::into_event));
    compacted
}

/// The text that a reader of the answer sees, as far as these events go.
pub(crate) fn text(dialect: Dialect, pieces: &[Piece<'_>]) -> String {
    let mut text = String::new();
    for &piece in pieces {
        dialect.rules().push_text(piece, &mut text);
    }
    text
}

/// What of an event is one more piece of a text.
pub(super) struct Delta<'a> {
    /// All that has to be the same in two events for them to be merged.
    frame: Vec<(Cow<'a, str>, &'a str)>,
    /// The member with the text.
    name: &'static str,
    /// The text's JSON, quotes and all. A part of the event's data.
    text: &'a str,
}

impl<'a> Delta<'a> {
    /// A piece of the text that the member `name` holds. `text` is its JSON, as it is in the event's data.
    pub(super) fn new(name: &'static str, text: &'a str) -> Delta<'a> {
        Delta { frame: Vec::new(), name, text }
    }

    /// The piece, in objects of which this much is left besides the text and what may differ.
    pub(super) fn within<const LEVELS: usize>(mut self, rests: [Object<'a>; LEVELS]) -> Delta<'a> {
        for rest in rests {
            self.frame.extend(rest.into_members());
            self.frame.push(BORDER);
        }
        self
    }
}

/// Deltas in a row that become one event.
struct Run<'a> {
    last: usize,
    piece: Piece<'a>,
    /// The delta that began it.
    delta: Delta<'a>,
    /// Never empty; the last one is a part of `piece`.
    texts: Vec<&'a str>,
}

impl Run<'_> {
    fn goes_on_with(&self, piece: Piece<'_>, delta: &Delta<'_>) -> bool {
        self.piece.event_type == piece.event_type
            && self.delta.name == delta.name
            && self.delta.frame == delta.frame
    }

    fn into_event(self) -> Compacted {
        Compacted { last: self.last, merged: self.merged() }
    }

    fn merged(&self) -> Option<Vec<u8>> {
        let [_, .., last] = self.texts.as_slice() else { return None };
        let span = span_of(self.piece.data, last)?;
        let mut merged = self.piece.data.get(..span.start)?.to_vec();
        // JSON's texts can be joined as they are: what is escaped stays so.
        merged.push(b'"');
        for text in &self.texts {
            merged.extend(text.strip_prefix('"')?.strip_suffix('"')?.bytes());
        }
        merged.push(b'"');
        merged.extend_from_slice(self.piece.data.get(span.end..)?);
        Some(merged)
    }
}

/// What is between the members of two objects in a frame.
const BORDER: (Cow<'static, str>, &str) = (Cow::Borrowed(""), "");

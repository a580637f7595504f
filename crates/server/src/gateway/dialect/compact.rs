//! Runs of deltas merged into one event each, for those who join late: [`compact`].
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
            run.around = delta.around;
            run.texts.push(delta.text);
            continue;
        }
        compacted.extend(run.take().map(Run::into_event));
        match delta {
            Some(first) => run = Some(Run::new(last, piece.event_type, first)),
            None => compacted.push(Compacted { last, merged: None }),
        }
    }
    compacted.extend(run.map(Run::into_event));
    compacted
}

/// What of an event is one more piece of a text.
pub(super) struct Delta<'a> {
    /// All that has to be the same in two events for them to be merged.
    frame: Vec<(Cow<'a, str>, &'a str)>,
    /// The member with the text.
    name: &'static str,
    /// The text as JSON has it between its quotes.
    text: &'a str,
    /// The event's data up to the text, and from behind it.
    around: (&'a [u8], &'a [u8]),
}

impl<'a> Delta<'a> {
    /// A piece of the text that the member `name` holds. `json` is the text's JSON, a part of the event's data.
    pub(super) fn new(piece: Piece<'a>, name: &'static str, json: &'a str) -> Option<Delta<'a>> {
        let text = json.strip_prefix('"')?.strip_suffix('"')?;
        let span = span_of(piece.data, text)?;
        let around = (piece.data.get(..span.start)?, piece.data.get(span.end..)?);
        Some(Delta { frame: Vec::new(), name, text, around })
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
    event_type: Option<&'a str>,
    first: Delta<'a>,
    /// The last one's index, and its data around its text.
    last: usize,
    around: (&'a [u8], &'a [u8]),
    texts: Vec<&'a str>,
}

impl<'a> Run<'a> {
    fn new(index: usize, event_type: Option<&'a str>, first: Delta<'a>) -> Run<'a> {
        Run { event_type, last: index, around: first.around, texts: vec![first.text], first }
    }

    fn goes_on_with(&self, piece: Piece<'_>, delta: &Delta<'_>) -> bool {
        self.event_type == piece.event_type
            && self.first.name == delta.name
            && self.first.frame == delta.frame
    }

    fn into_event(self) -> Compacted {
        // JSON's texts can be joined as they are: what is escaped stays so.
        let (before, after) = self.around;
        let join = || [before, self.texts.concat().as_bytes(), after].concat();
        Compacted { last: self.last, merged: (self.texts.len() > 1).then(join) }
    }
}

/// What is between the members of two objects in a frame.
const BORDER: (Cow<'static, str>, &str) = (Cow::Borrowed(""), "");

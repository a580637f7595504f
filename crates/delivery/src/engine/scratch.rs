//! Memory that is used again and again: [`Scratch`].

use std::sync::Arc;

use longwave_core::{Event, Seq};

/// Bytes that are about to be sent, and where each piece of them ends.
pub(super) struct Scratch {
    pub(super) bytes: Vec<u8>,
    pub(super) marks: Vec<Mark>,
    pub(super) events: Vec<Arc<Event>>,
    pub(super) input: Box<[u8]>,
}

/// The end of a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Up to where the piece is in [`Scratch::bytes`].
    pub(super) end: usize,
    /// Where the reader is once it has the piece.
    pub(super) seq: Seq,
}

/// How far a send got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    /// How many pieces are whole.
    pub(super) whole: usize,
    /// How many bytes of the next one are out.
    pub(super) bytes: usize,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            bytes: Vec::new(),
            marks: Vec::new(),
            events: Vec::new(),
            input: vec![0; INPUT_BYTES].into(),
        }
    }
}

impl Scratch {
    /// Forgets all of it, and gives memory back that only a large event needed.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
        self.marks.clear();
        self.events.clear();
    }

    /// Ends a piece where the bytes end.
    pub(super) fn mark(&mut self, seq: Seq) {
        self.marks.push(Mark { end: self.bytes.len(), seq });
    }

    /// Where the piece of this number begins.
    pub(super) fn begin_of(&self, piece: usize) -> usize {
        piece.checked_sub(1).and_then(|before| self.marks.get(before)).map_or(0, |mark| mark.end)
    }

    /// What was reached when all bytes before `position` are out.
    pub(super) fn reached(&self, position: usize) -> Reached {
        let whole = self.marks.partition_point(|mark| mark.end <= position);
        Reached { whole, bytes: position - self.begin_of(whole) }
    }
}

/// How much memory is kept for bytes between uses.
const BYTES_KEPT: usize = 1 << 20;
const INPUT_BYTES: usize = 4096;

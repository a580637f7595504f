//! Memory that is used again and again: [`Scratch`].

use std::sync::Arc;

use longwave_core::{Event, Seq};

use super::subscriber::Partial;

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
    pub(super) piece: Piece,
}

/// What a piece is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    /// The event at this position.
    Event(Seq),
    /// A gap behind which the stream goes on from here.
    Gap(Seq),
}

impl Mark {
    /// The position behind which the reader is, once it has the piece.
    pub(super) fn seq(&self) -> Seq {
        match self.piece {
            Piece::Event(seq) | Piece::Gap(seq) => seq,
        }
    }

    /// Whether the piece, which ends here and begins at zero, is the one that was begun.
    pub(super) fn is_rest_of(&self, partial: Partial) -> bool {
        matches!(self.piece, Piece::Event(seq) if seq == partial.seq) && partial.bytes < self.end
    }
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
    pub(super) fn mark(&mut self, piece: Piece) {
        self.marks.push(Mark { end: self.bytes.len(), piece });
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

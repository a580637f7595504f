//! Reading the log for subscribers that are behind: [`Reads`].
//!
//! The pages come from other threads. At most [`READS_MAX`] are read at a time, first come first served; so a laggard
//! waits for others to be given a page each, and no number of them makes the reactor hold more pages than that.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use longwave_core::{ReadFrom, SelectorSet};

use crate::inbox::PageRequest;

use super::Key;
use super::lines::Line;

/// The pages that are wanted, and by whom.
#[derive(Default)]
pub(super) struct Reads {
    reads: HashMap<u64, Read>,
    /// The read that one who wants the same may join.
    same: HashMap<(u64, ReadFrom), u64>,
    /// Reads that were not begun.
    queue: VecDeque<u64>,
    under_way: usize,
    numbers: u64,
}

/// A subscriber, as long as it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) key: Key,
    pub(super) arrival: u64,
}

struct Read {
    line: u64,
    selectors: Arc<SelectorSet>,
    from: ReadFrom,
    readers: Vec<Reader>,
}

impl Reads {
    /// Wants a page for a subscriber of `line`.
    pub(super) fn want<F>(&mut self, line: &Line<F>, from: ReadFrom, reader: Reader) {
        let same = (line.serial, from);
        if let Some(read) = self.same.get(&same).and_then(|number| self.reads.get_mut(number)) {
            read.readers.push(reader);
            return;
        }
        self.numbers += 1;
        let read = Read {
            line: line.serial,
            selectors: Arc::clone(&line.selectors),
            from,
            readers: vec![reader],
        };
        self.reads.insert(self.numbers, read);
        self.same.insert(same, self.numbers);
        self.queue.push_back(self.numbers);
    }

    /// What to read next, unless enough is being read.
    pub(super) fn poll(&mut self) -> Option<(u64, PageRequest)> {
        if self.under_way >= READS_MAX {
            return None;
        }
        let number = self.queue.pop_front()?;
        let read = self.reads.get(&number)?;
        // What was committed before somebody asks must be in the page, and whether it is depends on when it was read,
        // but for those who say behind which event: they get the rest with the next page.
        if !matches!(read.from, ReadFrom::After(_)) {
            self.same.remove(&(read.line, read.from));
        }
        self.under_way += 1;
        let request = PageRequest {
            selectors: Arc::clone(&read.selectors),
            from: read.from,
            events_max: READ_EVENTS_MAX,
            bytes_max: READ_BYTES_MAX,
        };
        Some((number, request))
    }

    /// Takes in that a read is done, and says whom its page is for.
    pub(super) fn finish(&mut self, number: u64) -> Vec<Reader> {
        let Some(read) = self.reads.remove(&number) else { return Vec::new() };
        self.under_way -= 1;
        let same = (read.line, read.from);
        if self.same.get(&same) == Some(&number) {
            self.same.remove(&same);
        }
        read.readers
    }
}

/// How many pages are read at a time.
const READS_MAX: usize = 4;
/// The most events in a page.
const READ_EVENTS_MAX: usize = 1024;
/// No further event once a page has this many bytes.
const READ_BYTES_MAX: usize = 256 << 10;

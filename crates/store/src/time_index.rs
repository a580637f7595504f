//! Which position was reached at what time: [`TimeIndex`].

use std::collections::VecDeque;

use longwave_core::{Seq, UnixMillis};

/// The positions at which the time of a log's records changes: at most one a millisecond, none in idle times.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeIndex {
    /// Rising in both.
    changes: VecDeque<(Seq, UnixMillis)>,
}

impl TimeIndex {
    /// Notes a record behind those noted before.
    pub(crate) fn push(&mut self, seq: Seq, time: UnixMillis) {
        if self.changes.back().is_none_or(|(_, last)| *last < time) {
            self.changes.push_back((seq, time));
        }
    }

    /// The first position of this time or later.
    pub(crate) fn first_at(&self, time: UnixMillis) -> Option<Seq> {
        let i = self.changes.partition_point(|(_, at)| *at < time);
        self.changes.get(i).map(|(seq, _)| *seq)
    }

    /// The time of a position, given that it was noted.
    pub(crate) fn time_of(&self, seq: Seq) -> UnixMillis {
        let i = self.changes.partition_point(|(from, _)| *from <= seq);
        self.changes.get(i.saturating_sub(1)).map_or(UnixMillis(0), |(_, time)| *time)
    }

    pub(crate) fn oldest(&self) -> Option<UnixMillis> {
        self.changes.front().map(|(_, time)| *time)
    }

    pub(crate) fn newest(&self) -> Option<UnixMillis> {
        self.changes.back().map(|(_, time)| *time)
    }

    /// Drops what concerns only positions up to `seq`.
    pub(crate) fn remove_through(&mut self, seq: Seq) {
        while self.changes.get(1).is_some_and(|(next, _)| *next <= seq.next()) {
            self.changes.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_leads_to_the_first_position_of_it_and_back() {
        let mut index = TimeIndex::default();
        for (seq, time) in [(1, 10), (2, 10), (5, 20), (6, 20), (9, 30)] {
            index.push(Seq(seq), UnixMillis(time));
        }
        for (time, first) in [(0, Some(1)), (10, Some(1)), (11, Some(5)), (30, Some(9)), (31, None)]
        {
            assert_eq!(index.first_at(UnixMillis(time)), first.map(Seq), "{time}");
        }
        for (seq, time) in [(1, 10), (4, 10), (5, 20), (8, 20), (9, 30), (12, 30)] {
            assert_eq!(index.time_of(Seq(seq)), UnixMillis(time), "{seq}");
        }
        index.remove_through(Seq(4));
        assert_eq!(index.oldest(), Some(UnixMillis(20)));
        index.remove_through(Seq(6));
        assert_eq!(index.oldest(), Some(UnixMillis(20)));
        assert_eq!(index.newest(), Some(UnixMillis(30)));
    }
}

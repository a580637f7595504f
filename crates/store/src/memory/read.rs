//! Reading a memory log.

use std::sync::Arc;

use longwave_core::{SelectorSet, Seq, UnixMillis};

use super::Inner;
use super::state::State;
use crate::log::{Gap, GapReason, ReadError, ReadPage, ReadQuery, Start};
use crate::page::PageBuilder;

/// Reads one page. The lock is taken anew for every [`SCAN_EVENTS_MAX`] events looked at.
pub(super) fn page(inner: &Inner, query: &ReadQuery) -> Result<ReadPage, ReadError> {
    let selectors = &query.selectors;
    let (mut after, mut gap) = {
        let state = inner.read();
        state.check_open()?;
        let after = match query.start {
            Start::After(seq) => seq.min(state.committed()),
            Start::Last(count) => state.before_last(selectors, count),
            Start::Since(time) => state.before(time),
        };
        (after, None)
    };
    let mut page = PageBuilder::new(query);
    loop {
        let state = inner.read();
        if gap.is_none() && !matches!(query.start, Start::Last(_)) {
            gap = state.ledger.removed_behind(selectors, after);
        }
        let scanned = state.scan(selectors, after, &mut page);
        let caught_up = scanned == state.committed();
        if caught_up || page.is_full() || !page.is_empty() {
            let gap = gap.map(|through| Gap { through, reason: GapReason::Retention });
            return Ok(page.finish(gap, scanned, caught_up));
        }
        after = scanned;
    }
}

impl State {
    /// Adds matching events behind `after` to the page, and tells up to where all of them are in it.
    fn scan(&self, selectors: &SelectorSet, after: Seq, page: &mut PageBuilder) -> Seq {
        let mut seqs: Vec<Seq> = Vec::new();
        let mut through = self.committed();
        let topics: Option<Vec<_>> = selectors.iter().map(|s| s.as_topic()).collect();
        match topics {
            Some(topics) => {
                for topic in topics {
                    let all = self.topics.get(topic);
                    let start = all.map_or(0, |all| all.partition_point(|seq| *seq <= after));
                    let behind = all.into_iter().flat_map(|all| all.range(start..));
                    seqs.extend(behind.take(page.events_max()));
                }
                seqs.sort_unstable();
            }
            None => {
                let mut behind = self.events.range(after.next()..);
                let looked_at = behind.by_ref().take(SCAN_EVENTS_MAX);
                seqs.extend(
                    looked_at
                        .filter(|(_, stored)| selectors.matches(&stored.event.topic))
                        .map(|(seq, _)| *seq),
                );
                if let Some((next, _)) = behind.next() {
                    through = Seq(next.0 - 1);
                }
            }
        }
        for seq in seqs {
            let Some(stored) = self.events.get(&seq) else { continue };
            if let Err(last) = page.push(Arc::clone(&stored.event)) {
                return last;
            }
        }
        through
    }

    /// The position before the newest `count` matching events.
    fn before_last(&self, selectors: &SelectorSet, count: u64) -> Seq {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let topics: Option<Vec<_>> = selectors.iter().map(|s| s.as_topic()).collect();
        let mut newest: Vec<Seq> = match topics {
            Some(topics) => {
                let of_topics = topics.into_iter().filter_map(|topic| self.topics.get(topic));
                of_topics.flat_map(|seqs| seqs.iter().rev().take(count)).copied().collect()
            }
            None => {
                let newest_first = self.events.iter().rev();
                let matching =
                    newest_first.filter(|(_, stored)| selectors.matches(&stored.event.topic));
                matching.take(count).map(|(seq, _)| *seq).collect()
            }
        };
        newest.sort_unstable_by(|a, b| b.cmp(a));
        newest.truncate(count);
        newest.last().map_or(self.committed(), |oldest| Seq(oldest.0.saturating_sub(1)))
    }

    /// The position before the first event of this time or later; the log's beginning where that may be gone.
    fn before(&self, time: UnixMillis) -> Seq {
        if self.times.oldest().is_some_and(|oldest| time <= oldest) {
            return Seq::ZERO;
        }
        self.times.first_at(time).map_or(self.committed(), |seq| Seq(seq.0.saturating_sub(1)))
    }
}

/// How many events are looked at under one lock.
const SCAN_EVENTS_MAX: usize = 65_536;

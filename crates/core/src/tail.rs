//! The newest events of one channel, in memory: [`Tail`].
//!
//! It decides what can be read from memory and what can't any more; how much is kept is decided by
//! [`Channels`](crate::Channels), which owns all tails and one budget for them.

use std::collections::{VecDeque, vec_deque};
use std::sync::Arc;

use crate::{Event, Payload, Seq};

/// The newest events of one channel.
///
/// Invariant: every event of the channel behind [`Tail::start`] that was dispatched is in it, in order. An empty tail
/// holds no memory of its own.
#[derive(Debug)]
pub struct Tail {
    start: Seq,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

/// What a tail has for a reader.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a reader must know what to do in every case")]
pub enum TailRead<'a> {
    /// What lies behind the reader's position, oldest first; at least one event.
    Events(vec_deque::Iter<'a, Arc<Event>>),
    /// Nothing does.
    CaughtUp,
    /// There may be events between the reader's position and the tail's start: they are in the log.
    Behind,
}

impl Tail {
    /// An empty tail, which knows nothing of the channel's events up to `start`.
    #[must_use]
    pub fn new(start: Seq) -> Tail {
        Tail { start, events: VecDeque::new(), bytes: 0 }
    }

    /// Every event of the channel behind this position is in the tail.
    #[must_use]
    pub fn start(&self) -> Seq {
        self.start
    }

    /// How many events it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many bytes its events take in memory, about. They may be shared with other tails.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What lies behind `after`.
    #[must_use]
    pub fn read(&self, after: Seq) -> TailRead<'_> {
        if after < self.start {
            return TailRead::Behind;
        }
        if self.events.back().is_none_or(|newest| newest.seq <= after) {
            return TailRead::CaughtUp;
        }
        let known = self.events.partition_point(|event| event.seq <= after);
        TailRead::Events(self.events.range(known..))
    }

    /// Adds the channel's next event. One that is not behind all others is left out: it was dispatched before.
    pub(crate) fn push(&mut self, event: Arc<Event>) {
        if event.seq <= self.events.back().map_or(self.start, |newest| newest.seq) {
            return;
        }
        self.bytes += event_bytes(&event);
        self.events.push_back(event);
    }

    /// Forgets the oldest events until both bounds hold; the newest stays in any case.
    pub(crate) fn trim(&mut self, events_max: usize, bytes_max: usize) {
        while self.events.len() > 1 && (self.events.len() > events_max || self.bytes > bytes_max) {
            self.forget_oldest();
        }
    }

    /// Forgets everything up to `seq`.
    pub(crate) fn forget_through(&mut self, seq: Seq) {
        while self.events.front().is_some_and(|oldest| oldest.seq <= seq) {
            self.forget_oldest();
        }
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.start = oldest.seq;
            self.bytes -= event_bytes(&oldest);
        }
    }
}

/// What an event takes in memory, about: what budgets count.
pub(crate) fn event_bytes(event: &Event) -> usize {
    let said = match &event.payload {
        Payload::Message(message) => {
            message.content_bytes()
                + message.event_type.as_ref().map_or(0, |name| name.as_str().len())
        }
        Payload::End(_) => 0,
    };
    size_of::<Event>() + event.topic.as_str().len() + said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_events::event;

    fn tail(start: u64, seqs: &[u64]) -> Tail {
        let mut tail = Tail::new(Seq(start));
        for seq in seqs {
            tail.push(event(*seq, "t"));
        }
        tail
    }

    fn read(tail: &Tail, after: u64) -> Option<Vec<u64>> {
        match tail.read(Seq(after)) {
            TailRead::Events(events) => Some(events.map(|event| event.seq.0).collect()),
            TailRead::CaughtUp => Some(Vec::new()),
            TailRead::Behind => None,
        }
    }

    #[test]
    fn a_reader_at_the_start_or_behind_it_is_served_and_one_before_it_is_not() {
        let tail = tail(10, &[12, 15, 20]);
        assert_eq!(read(&tail, 9), None);
        assert_eq!(read(&tail, 10), Some(vec![12, 15, 20]));
        assert_eq!(read(&tail, 13), Some(vec![15, 20]));
        assert_eq!(read(&tail, 20), Some(vec![]));
        assert_eq!(read(&tail, 99), Some(vec![]));
    }

    #[test]
    fn what_is_forgotten_moves_the_start_and_the_newest_stays() {
        let mut tail = tail(10, &[12, 15, 20]);
        tail.trim(2, usize::MAX);
        assert_eq!((tail.start(), tail.len()), (Seq(12), 2));
        assert_eq!(read(&tail, 11), None);
        assert_eq!(read(&tail, 12), Some(vec![15, 20]));
        tail.trim(2, 0);
        assert_eq!((tail.start(), tail.len()), (Seq(15), 1));
        assert_eq!(tail.bytes(), event_bytes(&event(20, "t")));
    }

    #[test]
    fn a_tail_that_forgot_everything_takes_no_memory_and_still_knows_who_is_caught_up() {
        let mut tail = tail(10, &[12, 15]);
        tail.forget_through(Seq(15));
        assert_eq!((tail.bytes(), tail.len(), tail.events.capacity()), (0, 0, 0));
        assert_eq!(read(&tail, 14), None);
        assert_eq!(read(&tail, 15), Some(vec![]));
    }

    #[test]
    fn an_event_that_was_there_is_not_taken_again() {
        let mut tail = tail(10, &[12]);
        tail.push(event(12, "t"));
        tail.push(event(10, "t"));
        assert_eq!(read(&tail, 10), Some(vec![12]));
    }
}

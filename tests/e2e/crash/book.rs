//! What publishers tried and were told, and what readers saw: kept outside of the server, so that no crash takes it.
//!
//! Read [`Book`].

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use reqwest::StatusCode;

use super::mark::{Kind, Mark};

/// Everything that was attempted, acknowledged and seen so far.
#[derive(Debug)]
pub(super) struct Book {
    failures: Failures,
    /// Grows when the power goes and when it comes back, so it is odd while there is none.
    power: AtomicU64,
    inner: Mutex<Inner>,
    acknowledged: AtomicUsize,
    stopped: AtomicBool,
    last: OnceLock<Last>,
}

/// A time between two changes of the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Power(u64);

/// Whether the server may answer that it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failures {
    /// It has no reason to.
    Never,
    /// Its disk fails. Such an answer tells as much as none.
    Expected,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    /// Events whose request was begun. Only these may be in the log.
    pub(super) attempted: HashSet<Mark>,
    /// Events that were acknowledged, with the id where the acknowledgement named it. These must be in the log.
    pub(super) acknowledged: HashMap<Mark, Option<String>>,
    /// What each reader saw, in the order it saw it.
    pub(super) seen: Vec<Seen>,
    /// How often a request ended without an answer.
    unanswered: HashMap<Kind, u64>,
    /// Bytes of data in acknowledged events, about, of kept topics and of the others.
    bytes: (usize, usize),
    /// How often a key was used again and gave the same id.
    pub(super) duplicates: u64,
}

/// Positions of the newest events, when no more are published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    /// Of the topics that keep everything.
    pub(super) kept: u64,
    /// Of the others.
    pub(super) churn: u64,
}

/// What one reader saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) reader: String,
    /// Whether all of this reader's topics keep everything, so that it must see everything.
    pub(super) kept: bool,
    pub(super) events: Vec<(String, Mark)>,
}

impl Book {
    pub(super) fn new(failures: Failures) -> Book {
        Book {
            failures,
            power: AtomicU64::new(0),
            inner: Mutex::default(),
            acknowledged: AtomicUsize::default(),
            stopped: AtomicBool::default(),
            last: OnceLock::default(),
        }
    }

    /// The power is about to go: what arrives from here on was never sent by a machine without power, and does not
    /// count. It can even be wrong, since a sync that is under way at that moment may report success.
    pub(super) fn power_goes(&self) {
        self.power.fetch_add(1, Ordering::AcqRel);
    }

    /// The server that ran on without power is gone.
    pub(super) fn power_is_back(&self) {
        self.power.fetch_add(1, Ordering::AcqRel);
    }

    /// To be taken when a request is made, and asked when something arrives.
    pub(super) fn power(&self) -> Power {
        Power(self.power.load(Ordering::Acquire))
    }

    /// Whether there has been power all the time since `then`.
    pub(super) fn has_had_power_since(&self, then: Power) -> bool {
        then == self.power() && then.0.is_multiple_of(2)
    }

    /// Whether an answer with this status is no wrong, and tells nothing.
    pub(super) fn is_expected_failure(&self, status: StatusCode) -> bool {
        self.failures == Failures::Expected && status.is_server_error()
    }

    /// The events of a request, which is about to be made.
    pub(super) fn attempt(&self, mark: Mark) {
        self.lock().attempted.extend(mark.siblings());
    }

    /// The request of `mark` was answered. Ids of events between the first and the last are not told.
    pub(super) fn acknowledge(&self, mark: Mark, first: &str, last: &str) {
        let mut inner = self.lock();
        for sibling in mark.siblings() {
            let id = match sibling.index {
                0 => Some(first.to_owned()),
                index if index + 1 == mark.size => Some(last.to_owned()),
                _ => None,
            };
            inner.acknowledged.insert(sibling, id);
        }
        self.acknowledged.fetch_add(1, Ordering::AcqRel);
    }

    /// The data of a request that was acknowledged has so many bytes.
    pub(super) fn add_bytes(&self, kind: Kind, bytes: usize) {
        let (kept, churn) = &mut self.lock().bytes;
        *(if kind == Kind::Churn { churn } else { kept }) += bytes;
    }

    pub(super) fn published_bytes(&self) -> (usize, usize) {
        self.lock().bytes
    }

    pub(super) fn unanswered(&self, kind: Kind) {
        *self.lock().unanswered.entry(kind).or_default() += 1;
    }

    pub(super) fn duplicate(&self) {
        self.lock().duplicates += 1;
    }

    /// Begins the list of a reader; the number to hand to [`Book::saw`].
    pub(super) fn add_reader(&self, reader: &str, kept: bool) -> usize {
        let mut inner = self.lock();
        inner.seen.push(Seen { reader: reader.to_owned(), kept, events: Vec::new() });
        inner.seen.len() - 1
    }

    pub(super) fn saw(&self, reader: usize, id: &str, mark: Mark) {
        if let Some(seen) = self.lock().seen.get_mut(reader) {
            seen.events.push((id.to_owned(), mark));
        }
    }

    /// How many requests were acknowledged.
    pub(super) fn acknowledged_count(&self) -> usize {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Publishers end with the request that they are at.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Readers end when they saw the last event of their topics.
    pub(super) fn finish(&self, last: Last) {
        // The first to say it is the only one.
        let _ = self.last.set(last);
    }

    /// Whether a reader of kept topics, or of the others, that is at `position` has seen all.
    pub(super) fn is_finished_at(&self, position: u64, kept: bool) -> bool {
        let last = self.last.get().map(|last| if kept { last.kept } else { last.churn });
        last.is_some_and(|last| position >= last)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// How much happened, on a line.
    pub(super) fn summary(&self) -> String {
        let inner = self.lock();
        let mut text = format!(
            "{} events acknowledged in {} requests, {} duplicates",
            inner.acknowledged.len(),
            self.acknowledged_count(),
            inner.duplicates,
        );
        for (kind, count) in &inner.unanswered {
            // Writing to a String does not fail.
            let _ = write!(text, ", {count} {} unanswered", kind.word());
        }
        for seen in &inner.seen {
            let _ = write!(text, ", {} saw {}", seen.reader, seen.events.len());
        }
        text
    }

    /// A run in which something never happened has not tested it.
    pub(super) fn require_variety(&self) -> anyhow::Result<()> {
        let inner = self.lock();
        for kind in Kind::ALL {
            anyhow::ensure!(
                inner.acknowledged.keys().any(|mark| mark.kind == kind),
                "no {} was ever acknowledged",
                kind.word()
            );
        }
        anyhow::ensure!(inner.duplicates > 0, "no key was ever used twice");
        anyhow::ensure!(!inner.unanswered.is_empty(), "no crash ever hit a request");
        for seen in &inner.seen {
            anyhow::ensure!(!seen.events.is_empty(), "{} never saw anything", seen.reader);
        }
        Ok(())
    }
}

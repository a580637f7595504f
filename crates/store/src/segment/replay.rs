//! Building what is in memory from segments that were read, oldest first: [`Replay`].
//!
//! It reads no file; `recovery.rs` does, when a log is opened, and `preread.rs`, before it can be. Both go through here,
//! so that a log which was read in two parts can't be told from one that was read at once.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;
use longwave_core::{Ledger, Seq, TopicName, Trim, UnixMillis};

use super::file::{Header, SegmentFile};
use super::heads::Head;
use super::index::SegmentIndex;
use super::scan::{Item, Scan};
use super::state::{Condition, Damage, Segment, State};

/// A log up to a segment.
#[derive(Debug)]
pub(super) struct Replay {
    /// Sound after each segment, but that its newest removals and its retention by topics are still to come.
    pub(super) state: State,
    /// The newest event of each topic that was met so far.
    met: HashMap<TopicName, Seq>,
    /// What the newest segment says at its end.
    is_closed: bool,
    pub(super) reserved: Seq,
}

impl Replay {
    /// Nothing of a log whose oldest segment begins at `first`.
    pub(super) fn begin(first: Option<Seq>) -> Replay {
        let mut ledger = Ledger::default();
        if let Some(first) = first {
            ledger.forget_through(Seq(first.0.saturating_sub(1)));
        }
        let state = State {
            ledger,
            segments: VecDeque::new(),
            committed: Seq::ZERO,
            condition: Condition::Ready,
            corruptions: 0,
        };
        Replay { state, met: HashMap::new(), is_closed: true, reserved: Seq::ZERO }
    }

    /// Takes in the next segment. Where there is none behind it, cuts off what is torn at its end.
    ///
    /// # Errors
    /// That of the file which could not be cut or synced.
    pub(super) fn adopt(
        &mut self,
        head: Head,
        mut scan: Scan,
        next_base: Option<Seq>,
    ) -> Result<(), (PathBuf, io::Error)> {
        let path = head.file.path.clone();
        let mut bytes = head.bytes;
        if next_base.is_none() {
            bytes = finish_end(&head, &scan).map_err(|error| (path.clone(), error))?;
        }
        let damages = self.damages(&head, &scan, next_base);
        let state = &mut self.state;
        if head.header.is_none() {
            tracing::error!(file = %path.display(), "the head of a segment is damaged");
            state.corruptions += 1;
        }
        for damage in &damages {
            tracing::error!(
                file = %path.display(), first = damage.first.0, last = damage.last.0,
                "the log is damaged; readers are told of a gap where these positions were"
            );
        }
        state.corruptions += damages.len() as u64;
        let damages: Vec<Damage> =
            damages.into_iter().filter(|damage| damage.first <= damage.last).collect();
        state.replay(&scan, &damages, &mut self.met);
        state.ledger.replay_position(scan.last.0, scan.last.1);
        let forgotten = head.header.map_or(Seq::ZERO, |header| header.forgotten);
        state.ledger.forget_through(forgotten);
        if let Some(Header { end, .. }) = head.header {
            state.ledger.replay_position(end, UnixMillis(0));
        }
        let dead_bytes = state.retain_events_of(&scan.index);
        scan.index.seal();
        state.segments.push_back(Segment {
            file: Arc::new(head.file),
            index: scan.index,
            bytes,
            dead_bytes,
            damages,
            forgotten,
            // One without a sound head is not written to either.
            is_rewritten: head.header.is_none_or(|header| header.end > Seq::ZERO),
        });
        self.is_closed = scan.is_closed;
        self.reserved = scan.reserved;
        Ok(())
    }

    /// The state when the last segment was taken in, and up to where positions are reserved.
    pub(super) fn finish(self, now: UnixMillis) -> (State, Seq) {
        let Replay { mut state, met, is_closed, reserved } = self;
        if !is_closed {
            state.ledger.replay_position(reserved, UnixMillis(0));
        }
        let configured = state.ledger.configured_topics();
        for name in &configured {
            state.replay_newest_removed(name, &met);
        }
        state.ledger.replay_finished();
        state.committed = state.ledger.last();
        // What had been removed by these rules before is removed again, unless it is gone.
        for name in &configured {
            state.trim_topic(name, now);
        }
        // A log that was closed gives positions behind its end; what was reserved before has no more meaning.
        (state, if is_closed { Seq::ZERO } else { reserved })
    }

    /// The damaged places of a segment, and the break between it and the next if there is one that must not be.
    fn damages(&self, head: &Head, scan: &Scan, next_base: Option<Seq>) -> Vec<Damage> {
        let mut damages: Vec<Damage> = scan
            .damages
            .iter()
            .map(|(before, last)| {
                let last = last.unwrap_or(Seq(next_base.map_or(u64::MAX, |next| next.0 - 1)));
                Damage { first: before.next(), last, topic: None }
            })
            .collect();
        let end = head.header.map_or(Seq::ZERO, |header| header.end).max(scan.last.0);
        // Segments follow each other without a break, but for positions that were reserved when the log went down.
        if let Some(next) = next_base
            && next > end.next()
            && next > scan.reserved.next()
            && damages.last().is_none_or(|damage| damage.last < Seq(next.0 - 1))
        {
            damages.push(Damage { first: end.next(), last: Seq(next.0 - 1), topic: None });
        }
        damages
    }
}

/// Cuts off what is behind the last whole publish of the newest segment, and makes sure of the rest. Tells how long it
/// is then.
fn finish_end(head: &Head, scan: &Scan) -> io::Result<u64> {
    let whole = u64::from(scan.end);
    if scan.is_torn {
        tracing::warn!(
            file = %head.file.path.display(), from = whole, to = head.bytes,
            "cut off what was being written when the log went down"
        );
    }
    if head.bytes != whole {
        head.file.file.set_len(whole)?;
    }
    // A process that was killed may have written what it never waited for; it is about to be shown.
    head.file.file.sync_all()?;
    Ok(whole)
}

impl Segment {
    /// A new segment, which holds nothing but its header.
    pub(super) fn begin(file: SegmentFile, base: Seq) -> Segment {
        Segment {
            file: Arc::new(file),
            index: SegmentIndex::new(base, Header::END),
            bytes: Header::LEN as u64,
            dead_bytes: 0,
            damages: Vec::new(),
            forgotten: Seq::ZERO,
            is_rewritten: false,
        }
    }
}

impl State {
    /// Replays a segment. `met` is the newest event of each topic that was met so far.
    ///
    /// Each event names the one before it. Where that one was not met, it was removed, and so was all before it; what
    /// may still lie in older segments is there only because those were not worth rewriting.
    fn replay(&mut self, scan: &Scan, damages: &[Damage], met: &mut HashMap<TopicName, Seq>) {
        let mut met_here: Vec<Option<Seq>> =
            scan.index.topics().iter().map(|name| met.get(name).copied()).collect();
        for item in &scan.items {
            let (Item::Event { topic, .. }
            | Item::Settings { topic, .. }
            | Item::Deletion { topic, .. }
            | Item::Key { topic, .. }) = item;
            let Some(name) = scan.index.topic_name(*topic) else { continue };
            let Some(last_met) = met_here.get_mut(*topic as usize) else { continue };
            match item {
                Item::Event { seq, before, end, .. } => {
                    self.ledger.replay_event(name, *seq, *before, *end);
                    let behind = last_met.replace(*seq).unwrap_or_default();
                    if behind < *before && !self.is_damaged(behind, *before, damages) {
                        self.replay_removal(name, *before);
                    }
                }
                Item::Settings { seq, snapshot, .. } => {
                    self.replay_removal(name, snapshot.removed);
                    self.ledger.replay_snapshot(name, *seq, (**snapshot).clone());
                }
                Item::Deletion { seq, .. } => {
                    self.bury(name, *seq);
                    self.ledger.replay_deletion(name, *seq);
                    *last_met = None;
                }
                Item::Key { key, .. } => self.ledger.replay_key(name, key.0.clone(), key.1),
            }
        }
        for (name, last_met) in scan.index.topics().iter().zip(met_here) {
            match last_met {
                Some(seq) => met.insert(name.clone(), seq),
                None => met.remove(name),
            };
        }
    }

    /// Whether an event in `(after, through]` may be missing because the disk lost it.
    fn is_damaged(&self, after: Seq, through: Seq, newest: &[Damage]) -> bool {
        let older = self.segments.iter().flat_map(|segment| &segment.damages);
        older.chain(newest).any(|damage| damage.last > after && damage.first <= through)
    }

    /// Notes that all of a topic's events up to here were removed, those in segments that were taken in among them.
    fn replay_removal(&mut self, name: &TopicName, through: Seq) {
        let Some(topic) = self.ledger.topic(name).filter(|topic| topic.removed < through) else {
            return;
        };
        let (mut trim, mut first) = (Trim { through, events: 0, bytes: 0 }, topic.first);
        if let Some(oldest) = first.take() {
            for (_, place) in self.events_from(name, oldest) {
                if place.seq > through {
                    first = Some(place.seq);
                    break;
                }
                trim.events += 1;
                trim.bytes += u64::from(place.len);
            }
            self.bury(name, through);
        }
        self.ledger.replay_removal(name, trim, first);
    }

    /// The same where the events that were removed are a topic's newest: its settings know of them.
    fn replay_newest_removed(&mut self, name: &TopicName, met: &HashMap<TopicName, Seq>) {
        let last = self.ledger.topic(name).map_or(Seq::ZERO, |topic| topic.last);
        let behind = met.get(name).copied().unwrap_or_default();
        if behind < last && !self.is_damaged(behind, last, &[]) {
            self.replay_removal(name, last);
        }
    }

    /// Tells the ledger of all events of a segment that it has not seen removed. Returns how many bytes the others take.
    fn retain_events_of(&mut self, index: &SegmentIndex) -> u64 {
        let mut dead_bytes = 0;
        for (id, name) in (0..).zip(index.topics()) {
            let removed = self.ledger.topic(name).map_or(Seq(u64::MAX), |topic| topic.removed);
            let (mut first, mut events, mut bytes) = (None, 0, 0);
            for place in index.events_of(id, Seq::ZERO) {
                if place.seq <= removed {
                    dead_bytes += u64::from(place.len);
                    continue;
                }
                first.get_or_insert(place.seq);
                events += 1;
                bytes += u64::from(place.len);
            }
            if let Some(first) = first {
                self.ledger.retain(name, first, events, bytes);
            }
        }
        dead_bytes
    }
}

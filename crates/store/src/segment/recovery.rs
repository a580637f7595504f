//! Opening a directory: [`recover`].

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use hashbrown::HashMap;
use longwave_core::{DedupWindow, Ledger, Seq, TopicName, UnixMillis};

use super::file::{Directory, Header, Identity, SegmentFile};
use super::heads::{Head, check_identity, drop_leftovers, identify, read_heads};
use super::options::OpenError;
use super::scan::{Age, Item, Scan, scan};
use super::state::{Condition, Damage, Segment, State};

/// An open log's beginnings.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) identity: Identity,
    pub(super) state: State,
    /// How far memory-only events may go before the next reservation.
    pub(super) reserved: Seq,
}

/// Reads the log in a locked directory, or begins one.
pub(super) fn recover(dir: &Directory, now: UnixMillis) -> Result<Recovered, OpenError> {
    let io_at = |file: &Path| {
        let file = file.to_owned();
        move |source| OpenError::Io { file, source }
    };
    let paths = dir.segments().map_err(io_at(&dir.path))?;
    let mut heads = read_heads(&paths)?;
    let identity = identify(dir, &heads)?;
    drop_leftovers(dir, &mut heads, identity)?;
    check_identity(&heads, identity)?;

    let keys_since = now.saturating_sub_ms(DedupWindow::AGE_MAX_MS);
    let scans = scan_all(&heads, identity, keys_since)?;
    let mut state = State {
        ledger: Ledger::default(),
        segments: VecDeque::new(),
        committed: Seq::ZERO,
        condition: Condition::Ready,
        corruptions: 0,
    };
    let is_closed = scans.last().is_none_or(|scan| scan.is_closed);
    let reserved = scans.last().map_or(Seq::ZERO, |scan| scan.reserved);
    let bases: Vec<Seq> = heads.iter().map(|head| head.base).collect();
    if let Some(first) = bases.first() {
        state.ledger.forget_through(Seq(first.0.saturating_sub(1)));
    }
    let mut met = HashMap::new();
    for (i, (head, scan)) in heads.into_iter().zip(scans).enumerate() {
        let next_base = bases.get(i + 1).copied();
        state
            .adopt(head, scan, next_base, &mut met)
            .map_err(|(file, source)| OpenError::Io { file, source })?;
    }
    if !is_closed {
        state.ledger.replay_position(reserved, UnixMillis(0));
    }
    state.replay_newest_removed(&met);
    state.count_retained();
    state.committed = state.ledger.last();
    // What had been removed by these rules before is removed again, unless it is gone.
    for name in state.ledger.configured_topics() {
        state.trim_topic(&name, now);
    }

    let active_is_usable = state.segments.back().is_some_and(|segment| {
        !segment.is_rewritten
            && segment.damages.iter().all(|damage| damage.first > segment.index.base())
            && !segment.index.is_out_of_reach(Seq(state.committed.0.saturating_add(RESERVE)))
    });
    if active_is_usable {
        if let Some(active) = state.segments.back_mut() {
            active.index.unseal();
        }
    } else {
        let base = state.committed.next();
        let header = Header { identity, base, end: Seq::ZERO, forgotten: Seq::ZERO };
        let file = dir.create(&header).map_err(io_at(&dir.segment_path(base)))?;
        state.segments.push_back(Segment::begin(file, base));
    }
    // A log that was closed gives positions behind its end; what was reserved before has no more meaning.
    let reserved = if is_closed || !active_is_usable { Seq::ZERO } else { reserved };
    Ok(Recovered { identity, state, reserved })
}

impl Segment {
    /// A new segment, which holds nothing but its header.
    pub(super) fn begin(file: SegmentFile, base: Seq) -> Segment {
        Segment {
            file: Arc::new(file),
            index: super::index::SegmentIndex::new(base, Header::END),
            bytes: Header::LEN as u64,
            dead_bytes: 0,
            damages: Vec::new(),
            forgotten: Seq::ZERO,
            is_rewritten: false,
        }
    }
}

impl State {
    /// Takes a scanned segment in, and cuts off what is torn at the end of the newest.
    fn adopt(
        &mut self,
        head: Head,
        scan: Scan,
        next_base: Option<Seq>,
        met: &mut HashMap<TopicName, Seq>,
    ) -> Result<(), (PathBuf, io::Error)> {
        let path = head.file.path.clone();
        let (whole, mut bytes) = (u64::from(scan.end), head.bytes);
        if next_base.is_none() {
            if scan.is_torn {
                tracing::warn!(
                    file = %path.display(), from = whole, to = bytes,
                    "cut off what was being written when the log went down"
                );
            }
            if bytes != whole {
                head.file.file.set_len(whole).map_err(|error| (path.clone(), error))?;
                bytes = whole;
            }
            // A process that was killed may have written what it never waited for; it is about to be shown.
            head.file.file.sync_all().map_err(|error| (path.clone(), error))?;
        }
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
        if head.header.is_none() {
            tracing::error!(file = %path.display(), "the head of a segment is damaged");
            self.corruptions += 1;
        }
        for damage in &damages {
            tracing::error!(
                file = %path.display(), first = damage.first.0, last = damage.last.0,
                "the log is damaged; readers are told of a gap where these positions were"
            );
        }
        self.corruptions += damages.len() as u64;
        damages.retain(|damage| damage.first <= damage.last);
        self.replay(&scan, &damages, met);
        self.ledger.replay_position(scan.last.0, scan.last.1);
        let header = head.header;
        let forgotten = header.map_or(Seq::ZERO, |header| header.forgotten);
        self.ledger.forget_through(forgotten);
        if let Some(Header { end, .. }) = header {
            self.ledger.replay_position(end, UnixMillis(0));
        }
        self.segments.push_back(Segment {
            file: Arc::new(head.file),
            index: scan.index,
            bytes,
            dead_bytes: 0,
            damages,
            forgotten,
            // One without a sound head is not written to either.
            is_rewritten: header.is_none_or(|header| header.end > Seq::ZERO),
        });
        Ok(())
    }

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
                        self.ledger.replay_removal(name, *before);
                    }
                }
                Item::Settings { seq, snapshot, .. } => {
                    self.ledger.replay_snapshot(name, *seq, (**snapshot).clone());
                }
                Item::Deletion { seq, .. } => {
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

    /// The same where the events that were removed are a topic's newest: its settings know of them.
    fn replay_newest_removed(&mut self, met: &HashMap<TopicName, Seq>) {
        for name in self.ledger.configured_topics() {
            let last = self.ledger.topic(&name).map_or(Seq::ZERO, |topic| topic.last);
            let behind = met.get(&name).copied().unwrap_or_default();
            if behind < last && !self.is_damaged(behind, last, &[]) {
                self.ledger.replay_removal(&name, last);
            }
        }
    }

    /// Tells the ledger of all events that it has not seen removed.
    fn count_retained(&mut self) {
        for segment in &mut self.segments {
            for (id, name) in (0..).zip(segment.index.topics()) {
                let removed = self.ledger.topic(name).map_or(Seq(u64::MAX), |topic| topic.removed);
                let (mut first, mut events, mut bytes) = (None, 0, 0);
                for place in segment.index.events_of(id, Seq::ZERO) {
                    if place.seq <= removed {
                        segment.dead_bytes += u64::from(place.len);
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
            segment.index.seal();
        }
        self.ledger.replay_finished();
    }
}

/// Reads all segments, several at a time.
fn scan_all(
    heads: &[Head],
    identity: Identity,
    keys_since: UnixMillis,
) -> Result<Vec<Scan>, OpenError> {
    let next = AtomicUsize::new(0);
    let scans: Mutex<Vec<(usize, io::Result<Scan>)>> = Mutex::new(Vec::new());
    let work = || {
        let mut bytes = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(head) = heads.get(i) else { return };
            let age = if i + 1 == heads.len() { Age::Newest } else { Age::Finished };
            let scanned = read_whole(&head.file.file, head.bytes, &mut bytes)
                .map(|()| scan(&bytes, head.base, identity.seed(), age, keys_since));
            scans.lock().unwrap_or_else(PoisonError::into_inner).push((i, scanned));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    thread::scope(|scope| {
        for _ in 1..threads.min(heads.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut scans = scans.into_inner().unwrap_or_else(PoisonError::into_inner);
    scans.sort_unstable_by_key(|(i, _)| *i);
    let with_file = heads.iter().zip(scans).map(|(head, (_, scanned))| {
        scanned.map_err(|source| OpenError::Io { file: head.file.path.clone(), source })
    });
    with_file.collect()
}

fn read_whole(mut file: &File, len: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    use std::io::Seek;
    file.rewind()?;
    bytes.clear();
    bytes.reserve(usize::try_from(len).unwrap_or_default());
    file.read_to_end(bytes).map(drop)
}

/// How many positions a reservation goes ahead.
pub(super) const RESERVE: u64 = 65_536;
/// How many segments are in memory at once while a log is opened.
const THREADS_MAX: usize = 8;

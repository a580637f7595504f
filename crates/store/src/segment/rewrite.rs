//! Writing a segment's successor: only what readers can still get is carried over: [`Job`].
//!
//! The successor stands for one segment or for several neighbours. It is written beside them on a thread of its own,
//! made durable, and put into the place of the first by renaming; the others are removed after that. Its header says
//! which positions it stands for, so that others left behind by a crash in between are recognised.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use longwave_core::{Seq, TopicName, UnixMillis};

use super::fault::Step;
use super::file::{Directory, Header, SegmentFile};
use super::index::{Place, Role, SegmentIndex};
use super::record;
use super::state::{Segment, State};

/// Which segments are to have one successor, and what is to be carried over.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) dir: Directory,
    pub(super) header: Header,
    /// The base of the last of the segments.
    pub(super) last_base: Seq,
    sources: Vec<Source>,
}

/// A segment, and what of it is to be carried over.
#[derive(Debug)]
struct Source {
    file: Arc<SegmentFile>,
    places: Vec<(Place, TopicName, Role)>,
}

/// How a [`Job`] ended.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) first_base: Seq,
    pub(super) last_base: Seq,
    pub(super) tmp: PathBuf,
    pub(super) segment: Result<Segment, RewriteError>,
}

/// Why there is no successor.
#[derive(Debug)]
pub(super) enum RewriteError {
    Io(io::Error),
    /// A record that was to be carried over is damaged. Its segment stays as it is, so that the damage goes on being
    /// told.
    Damaged(Seq, TopicName),
}

impl From<io::Error> for RewriteError {
    fn from(error: io::Error) -> RewriteError {
        RewriteError::Io(error)
    }
}

impl Job {
    /// A run of neighbours that are worth it: those of which most is dead, and small ones beside them.
    pub(super) fn find(state: &State, segment_bytes_max: u64) -> Option<std::ops::Range<usize>> {
        let sealed = state.segments.len().saturating_sub(1);
        let is_dead = |segment: &Segment| segment.dead_bytes * 2 > segment.bytes;
        let is_small = |segment: &Segment| {
            segment.is_rewritten && segment.bytes < segment_bytes_max / SMALL_SHARE
        };
        let at = |i: usize| state.segments.get(i).filter(|s| s.damages.is_empty());
        let live = |segment: &Segment| segment.bytes.saturating_sub(segment.dead_bytes);

        let mut start = (0..sealed).find(|i| at(*i).is_some_and(is_dead))?;
        let mut end = start + 1;
        let base = |i: usize| state.segments.get(i).map_or(u64::MAX, |s| s.index.base().0);
        let mut total = at(start).map_or(0, live);
        let fits = |start: usize, end: usize, total: u64| {
            total <= segment_bytes_max
                && u32::try_from(base(end).saturating_sub(base(start))).is_ok()
        };
        while let Some(next) = at(end).filter(|s| end < sealed && (is_dead(s) || is_small(s)))
            && fits(start, end + 1, total + live(next))
        {
            total += live(next);
            end += 1;
        }
        while let Some(previous) = start.checked_sub(1).and_then(at).filter(|s| is_small(s))
            && fits(start - 1, end, total + live(previous))
        {
            total += live(previous);
            start -= 1;
        }
        Some(start..end)
    }

    /// What is to be done about a run of neighbours.
    pub(super) fn new(
        state: &State,
        run: std::ops::Range<usize>,
        dir: Directory,
        identity: super::file::Identity,
    ) -> Option<Job> {
        let first_base = state.segments.get(run.start)?.index.base();
        let next_base = state.segments.get(run.end)?.index.base();
        let mut forgotten = Seq::ZERO;
        let mut last_base = first_base;
        let mut sources = Vec::new();
        for segment in state.segments.range(run.clone()) {
            last_base = segment.index.base();
            forgotten = forgotten.max(segment.forgotten);
            let mut places = live_places(state, segment);
            for (place, topic) in segment.index.deletions() {
                // Where nothing older is left, there is nothing that the deletion keeps from coming back.
                if run.start == 0 {
                    forgotten = forgotten.max(place.seq);
                } else {
                    places.push((place, topic.clone(), Role::Deletion));
                }
            }
            places.sort_unstable_by_key(|(place, _, _)| place.seq);
            sources.push(Source { file: Arc::clone(&segment.file), places });
        }
        let end = Seq(next_base.0 - 1);
        let header = Header { identity, base: first_base, end, forgotten };
        Some(Job { dir, header, last_base, sources })
    }

    /// Writes the successor. Blocks for as long as that takes.
    pub(super) fn run(self) -> Rewritten {
        let path = self.dir.segment_path(self.header.base);
        let tmp = path.with_extension("seg.tmp");
        let (first_base, last_base) = (self.header.base, self.last_base);
        let segment = self.write(&tmp, path);
        Rewritten { first_base, last_base, tmp, segment }
    }

    fn write(&self, tmp: &PathBuf, path: PathBuf) -> Result<Segment, RewriteError> {
        let options = OpenOptions::new().create(true).truncate(true).read(true).write(true).clone();
        let mut file = options.open(tmp)?;
        let mut index = SegmentIndex::new(self.header.base, Header::END);
        let mut out = self.header.encode();
        let mut len = 0_u64;
        for source in &self.sources {
            for (place, topic, role) in &source.places {
                let from = out.len();
                let Some(time) = self.copy(&source.file, *place, &mut out)? else {
                    return Err(RewriteError::Damaged(place.seq, topic.clone()));
                };
                let offset = offset(len + from as u64)?;
                let copied = Place { seq: place.seq, offset, len: place.len };
                let topic = index.intern(topic);
                index.push(copied, time, Some(topic), *role);
                if out.len() >= WRITE_BYTES {
                    len += self.flush(&mut file, &mut out)?;
                }
            }
        }
        len += self.flush(&mut file, &mut out)?;
        self.dir.faults.check(Step::SyncRewritten)?;
        file.sync_all()?;
        index.seal();
        Ok(Segment {
            file: Arc::new(SegmentFile { file, path }),
            index,
            bytes: len,
            dead_bytes: 0,
            damages: Vec::new(),
            forgotten: self.header.forgotten,
            is_rewritten: true,
        })
    }

    /// Copies a record as it stands, and tells its time; `None` where it is not sound.
    fn copy(
        &self,
        source: &SegmentFile,
        place: Place,
        out: &mut Vec<u8>,
    ) -> io::Result<Option<UnixMillis>> {
        let start = out.len();
        out.resize(start + place.len as usize, 0);
        let bytes = out.get_mut(start..).unwrap_or_default();
        source.file.read_exact_at(bytes, u64::from(place.offset))?;
        let record = record::decode(bytes, self.header.identity.seed());
        let sound = record.filter(|(record, len)| record.seq == place.seq && *len == place.len);
        Ok(sound.map(|(record, _)| record.time))
    }

    fn flush(&self, file: &mut File, out: &mut Vec<u8>) -> io::Result<u64> {
        self.dir.faults.check(Step::Rewrite)?;
        file.write_all(out)?;
        let len = out.len() as u64;
        out.clear();
        Ok(len)
    }
}

/// The events of a segment that readers can still get.
fn live_places(state: &State, segment: &Segment) -> Vec<(Place, TopicName, Role)> {
    let mut places = Vec::new();
    for (id, name) in (0..).zip(segment.index.topics()) {
        let Some(topic) = state.ledger.topic(name) else { continue };
        let events = segment.index.events_of(id, topic.removed);
        places.extend(events.map(|place| (place, name.clone(), Role::Event)));
    }
    places
}

fn offset(bytes: u64) -> io::Result<u32> {
    u32::try_from(bytes).map_err(io::Error::other)
}

/// How much is written at once.
const WRITE_BYTES: usize = 1 << 20;
/// A segment is small below this share of the usual size.
const SMALL_SHARE: u64 = 2;

//! Reading: [`page`].
//!
//! What is to be read is decided under the lock, a bounded number of records at a time; the reading itself needs no
//! lock, since a file that is replaced or removed meanwhile can be read for as long as somebody has it open.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use longwave_core::{Event, EventType, Message, Payload, SelectorSet, Seq, TopicName, UnixMillis};

use super::Shared;
use super::file::SegmentFile;
use super::index::Place;
use super::record::{self, Kind, Record};
use super::state::{Segment, State};
use crate::log::{Gap, GapReason, ReadError, ReadPage, ReadQuery, Start};
use crate::page::PageBuilder;

/// Reads a page. Blocks on the disk.
pub(super) fn page(shared: &Shared, query: &ReadQuery) -> Result<ReadPage, ReadError> {
    let selectors = &query.selectors;
    let mut after = start(shared, query)?;
    let mut gap: Option<Gap> = None;
    let mut page = PageBuilder::new(query);
    loop {
        let (hits, through, caught_up) = {
            let state = shared.read();
            state.check_open()?;
            if gap.is_none() && page.is_empty() {
                // Only the newest events were asked for: what was removed before them is not missed.
                gap = state
                    .ledger
                    .removed_behind(selectors, after)
                    .filter(|_| !matches!(query.start, Start::Last(_)))
                    .map(|through| Gap { through, reason: GapReason::Retention });
            }
            let (mut upper, mut behind) = (state.committed, after);
            while let Some(damage) = state.damage_behind(selectors, behind) {
                if damage.first > behind.next() {
                    upper = upper.min(Seq(damage.first.0 - 1));
                    break;
                }
                if !page.is_empty() {
                    return Ok(page.finish(gap, after, false));
                }
                gap = Some(Gap { through: damage.last, reason: GapReason::Corruption });
                behind = damage.last;
            }
            let (hits, through) = state.gather(selectors, behind, upper, page.events_max());
            (hits, through, through == state.committed)
        };
        match read_hits(shared, &hits, &mut page)? {
            Some(last) if page.is_full() => return Ok(page.finish(gap, last, false)),
            // The next round finds the damage that was noted.
            Some(last) => after = last.max(after),
            None => after = through,
        }
        if after == through && (caught_up || page.is_full()) {
            return Ok(page.finish(gap, after, caught_up));
        }
    }
}

/// The page for a reader who has read everything that is committed; `None` for any other.
pub(super) fn nothing_new(
    shared: &Shared,
    query: &ReadQuery,
) -> Result<Option<ReadPage>, ReadError> {
    let state = shared.read();
    state.check_open()?;
    let is_new = !matches!(query.start, Start::After(seq) if seq >= state.committed);
    Ok((!is_new).then(|| PageBuilder::new(query).finish(None, state.committed, true)))
}

/// The position behind which the query starts.
fn start(shared: &Shared, query: &ReadQuery) -> Result<Seq, ReadError> {
    match query.start {
        Start::After(seq) => Ok(seq.min(shared.read().committed)),
        Start::Since(time) => Ok(shared.read().before(time)),
        Start::Last(count) => {
            let mut left = usize::try_from(count).unwrap_or(usize::MAX);
            let mut before = {
                let state = shared.read();
                state.check_open()?;
                state.committed.next()
            };
            let mut start = Seq(before.0 - 1);
            // A lock for each segment, from the newest to the oldest.
            while left > 0 && before > Seq::ZERO {
                let state = shared.read();
                let i = state.segment_of(Seq(before.0 - 1));
                let Some(segment) = state.segments.get(i) else { break };
                let mut seqs = state.matching_in(segment, &query.selectors, before);
                if let Some(oldest) = seqs.len().checked_sub(left) {
                    seqs.drain(..oldest);
                }
                left -= seqs.len();
                if let Some(first) = seqs.first() {
                    start = Seq(first.0.saturating_sub(1));
                }
                if i == 0 {
                    break;
                }
                before = segment.index.base();
            }
            Ok(start)
        }
    }
}

/// A record to be read.
struct Hit {
    file: Arc<SegmentFile>,
    place: Place,
    topic: TopicName,
}

impl State {
    /// Where the matching retained events in `(after, upper]` are, and up to where they are all of them.
    fn gather(
        &self,
        selectors: &SelectorSet,
        after: Seq,
        upper: Seq,
        events_max: usize,
    ) -> (Vec<Hit>, Seq) {
        let mut hits = Vec::new();
        let mut bytes_left = READ_BYTES_MAX;
        let mut looked_at = 0;
        let topics: Option<Vec<&TopicName>> = selectors.iter().map(|s| s.as_topic()).collect();
        for segment in self.segments.range(self.segment_of(after.next())..) {
            if segment.index.base() > upper {
                break;
            }
            let mut add = |place: Place, topic: u32| {
                let topic = segment.index.topic_name(topic)?;
                let last = hits.last().map(|hit: &Hit| hit.place.seq);
                if let Some(last) = last
                    && (hits.len() >= events_max || place.len > bytes_left)
                {
                    return Some(last);
                }
                bytes_left = bytes_left.saturating_sub(place.len);
                let file = Arc::clone(&segment.file);
                hits.push(Hit { file, place, topic: topic.clone() });
                None
            };
            match &topics {
                Some(topics) => {
                    let mut places = self.places(segment, topics, after, upper, events_max);
                    places.sort_unstable_by_key(|(place, _)| place.seq);
                    for (place, topic) in places {
                        if let Some(last) = add(place, topic) {
                            return (hits, last);
                        }
                    }
                }
                None => {
                    let mut removed = RemovedCache::default();
                    for entry in segment.index.behind(after) {
                        let (place, topic) = segment.index.entry(entry);
                        if place.seq > upper {
                            break;
                        }
                        looked_at += 1;
                        if let Some(topic) = topic
                            && removed.is_retained(self, segment, selectors, topic, place.seq)
                            && let Some(last) = add(place, topic)
                        {
                            return (hits, last);
                        }
                        if looked_at >= LOOK_MAX {
                            return (hits, place.seq);
                        }
                    }
                }
            }
        }
        (hits, upper)
    }

    /// The first retained events of each of `topics` in a segment.
    fn places(
        &self,
        segment: &Segment,
        topics: &[&TopicName],
        after: Seq,
        upper: Seq,
        events_max: usize,
    ) -> Vec<(Place, u32)> {
        let mut places = Vec::new();
        for name in topics {
            let Some(id) = segment.index.topic_id(name) else { continue };
            let Some(topic) = self.ledger.topic(name) else { continue };
            let events = segment.index.events_of(id, after.max(topic.removed));
            let events = events.take(events_max).take_while(|place| place.seq <= upper);
            places.extend(events.map(|place| (place, id)));
        }
        places
    }

    /// The positions of all matching retained events of a segment before `before`, in order.
    fn matching_in(&self, segment: &Segment, selectors: &SelectorSet, before: Seq) -> Vec<Seq> {
        let topics: Option<Vec<&TopicName>> = selectors.iter().map(|s| s.as_topic()).collect();
        let mut seqs: Vec<Seq> = match topics {
            Some(topics) => {
                let upper = Seq(before.0 - 1);
                let all = self.places(segment, &topics, Seq::ZERO, upper, usize::MAX);
                all.into_iter().map(|(place, _)| place.seq).collect()
            }
            None => {
                let mut removed = RemovedCache::default();
                let entries = segment.index.behind(Seq::ZERO);
                let events = entries.filter_map(|entry| match segment.index.entry(entry) {
                    (place, Some(topic)) if place.seq < before => Some((place, topic)),
                    _ => None,
                });
                let matching = events.filter(|(place, topic)| {
                    removed.is_retained(self, segment, selectors, *topic, place.seq)
                });
                matching.map(|(place, _)| place.seq).collect()
            }
        };
        seqs.sort_unstable();
        seqs
    }

    /// The position before the first record of this time or later; the log's beginning where that may be gone.
    fn before(&self, time: UnixMillis) -> Seq {
        let oldest = self.segments.iter().find_map(|segment| segment.index.times().oldest());
        if oldest.is_some_and(|oldest| time <= oldest) {
            return Seq::ZERO;
        }
        let first = self.segments.iter().find_map(|segment| segment.index.times().first_at(time));
        first.map_or(self.committed, |seq| Seq(seq.0.saturating_sub(1)).min(self.committed))
    }
}

/// Up to where each topic of a segment is removed; everything of those that are not selected or not known is.
#[derive(Default)]
struct RemovedCache(HashMap<u32, Seq>);

impl RemovedCache {
    fn is_retained(
        &mut self,
        state: &State,
        segment: &Segment,
        selectors: &SelectorSet,
        topic: u32,
        seq: Seq,
    ) -> bool {
        let removed = self.0.entry(topic).or_insert_with(|| {
            let name = segment.index.topic_name(topic).filter(|name| selectors.matches(name));
            let known = name.and_then(|name| state.ledger.topic(name));
            known.map_or(Seq(u64::MAX), |known| known.removed)
        });
        seq > *removed
    }
}

/// Reads records into the page. Where one does not fit, or is damaged, tells the position up to which all are in it.
fn read_hits(
    shared: &Shared,
    hits: &[Hit],
    page: &mut PageBuilder,
) -> Result<Option<Seq>, ReadError> {
    let mut buffer = Vec::new();
    for run in hits.chunk_by(|a, b| {
        let end = a.place.offset.saturating_add(a.place.len);
        Arc::ptr_eq(&a.file, &b.file) && b.place.offset.saturating_sub(end) <= COALESCE_BYTES_MAX
    }) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let start = first.place.offset;
        let len = last.place.offset.saturating_add(last.place.len).saturating_sub(start);
        buffer.resize(len as usize, 0);
        let filled = fill(&first.file, &mut buffer, start).map_err(ReadError::Io)?;
        buffer.truncate(filled);
        for hit in run {
            let offset = hit.place.offset.saturating_sub(start) as usize;
            let event = buffer
                .get(offset..)
                .and_then(|bytes| record::decode(bytes, shared.identity.seed()))
                .filter(|(record, _)| record.seq == hit.place.seq)
                .and_then(|(record, _)| event(&record, &hit.topic));
            let Some(event) = event else {
                tracing::error!(
                    file = %hit.file.path.display(),
                    offset = hit.place.offset,
                    seq = hit.place.seq.0,
                    topic = %hit.topic,
                    "a record of the log is damaged; readers are told of a gap"
                );
                shared.write().note_damage(hit.place.seq, &hit.topic);
                return Ok(Some(Seq(hit.place.seq.0 - 1)));
            };
            if let Err(last) = page.push(Arc::new(event)) {
                return Ok(Some(last));
            }
        }
    }
    Ok(None)
}

/// Reads as much as there is.
fn fill(file: &SegmentFile, buffer: &mut [u8], offset: u32) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..)
        && !rest.is_empty()
    {
        match file.file.read_at(rest, u64::from(offset) + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The event that a record holds; `None` where it holds none, or one of another topic.
fn event(record: &Record<'_>, topic: &TopicName) -> Option<Event> {
    let payload = match record.kind {
        Kind::Message(format) => Payload::Message(Message {
            event_type: match record.event_type {
                "" => None,
                text => Some(EventType::recorded(text).ok()?),
            },
            format,
            data: Bytes::copy_from_slice(record.data),
            source: record.source.map(Bytes::copy_from_slice),
        }),
        Kind::End(reason) => Payload::End(reason),
        Kind::Settings | Kind::Deletion | Kind::Reservation | Kind::Close => return None,
    };
    (record.topic == topic.as_str()).then(|| Event {
        seq: record.seq,
        time: record.time,
        topic: topic.clone(),
        payload,
    })
}

/// How many bytes of records are read at once, except for a single one that is larger.
const READ_BYTES_MAX: u32 = 1 << 20;
/// Records with fewer bytes between them are read as one.
const COALESCE_BYTES_MAX: u32 = 16 << 10;
/// How many records are looked at under one lock: a few hundred microseconds.
const LOOK_MAX: usize = 65_536;

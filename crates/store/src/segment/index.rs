//! Where in a segment which record is: [`SegmentIndex`].
//!
//! Only ever in memory, and built from the segment itself: 16 bytes an event, besides each topic's name.

use hashbrown::HashMap;
use longwave_core::{Seq, TopicName, UnixMillis};

use crate::time_index::TimeIndex;

/// The records of one segment in order, and those of each of its topics.
#[derive(Debug)]
pub(super) struct SegmentIndex {
    base: Seq,
    /// All records, so that a record's length is where the next begins. Rising in `delta` and in `offset`.
    entries: Vec<Entry>,
    /// Where the last record ends.
    end: u32,
    names: Vec<TopicName>,
    ids: HashMap<TopicName, u32>,
    postings: Postings,
    /// The entries of deletions, and the numbers of their topics.
    deletions: Vec<(u32, u32)>,
    times: TimeIndex,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its position, less the segment's base.
    delta: u32,
    offset: u32,
    /// The number of its topic in this segment, or [`OWN`].
    topic: u32,
}

/// The entries of each topic's events, by the topic's number.
#[derive(Debug)]
enum Postings {
    Growing(Vec<Vec<u32>>),
    /// Those of topic `i` are `entries[starts[i]..starts[i + 1]]`.
    Sealed {
        starts: Box<[u32]>,
        entries: Box<[u32]>,
    },
}

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: Seq,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// What a record is to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Event,
    Deletion,
    Other,
}

impl SegmentIndex {
    pub(super) fn new(base: Seq, end: u32) -> SegmentIndex {
        SegmentIndex {
            base,
            entries: Vec::new(),
            end,
            names: Vec::new(),
            ids: HashMap::new(),
            postings: Postings::Growing(Vec::new()),
            deletions: Vec::new(),
            times: TimeIndex::default(),
        }
    }

    pub(super) fn base(&self) -> Seq {
        self.base
    }

    /// Whether a position is too far from the base to be noted here.
    pub(super) fn is_out_of_reach(&self, seq: Seq) -> bool {
        u32::try_from(seq.0.saturating_sub(self.base.0)).is_err()
    }

    /// The number of a topic in this segment, given anew where it has none.
    pub(super) fn intern(&mut self, name: &TopicName) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        // A segment has fewer bytes than 32 bits count.
        let id = u32::try_from(self.names.len()).unwrap_or(OWN);
        self.names.push(name.clone());
        self.ids.insert(name.clone(), id);
        id
    }

    /// Notes a record behind those noted before.
    pub(super) fn push(&mut self, at: Place, time: UnixMillis, topic: Option<u32>, role: Role) {
        let entry = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let (of, topic) = (topic, topic.filter(|_| role == Role::Event).unwrap_or(OWN));
        let delta = u32::try_from(at.seq.0.saturating_sub(self.base.0)).unwrap_or(u32::MAX);
        self.entries.push(Entry { delta, offset: at.offset, topic });
        self.end = at.offset.saturating_add(at.len);
        self.times.push(at.seq, time);
        if let (Role::Deletion, Some(of)) = (role, of) {
            self.deletions.push((entry, of));
        }
        if let (Postings::Growing(of_topics), true) = (&mut self.postings, topic != OWN) {
            let topic = topic as usize;
            if of_topics.len() <= topic {
                of_topics.resize_with(topic + 1, Vec::new);
            }
            if let Some(of_topic) = of_topics.get_mut(topic) {
                of_topic.push(entry);
            }
        }
    }

    /// Notes that nothing sound stands from here on until the next record.
    pub(super) fn skip(&mut self, offset: u32) {
        let delta = self.entries.last().map_or(0, |entry| entry.delta);
        self.entries.push(Entry { delta, offset, topic: OWN });
    }

    /// Gives up the memory that only growing needs.
    pub(super) fn seal(&mut self) {
        let Postings::Growing(of_topics) = &self.postings else { return };
        let mut starts = Vec::with_capacity(self.names.len() + 1);
        let mut entries = Vec::with_capacity(self.entries.len());
        for topic in 0..self.names.len() {
            starts.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            entries.extend_from_slice(of_topics.get(topic).map_or(&[], Vec::as_slice));
        }
        starts.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        self.postings = Postings::Sealed { starts: starts.into(), entries: entries.into() };
        self.entries.shrink_to_fit();
        self.names.shrink_to_fit();
    }

    /// Makes a sealed index grow again.
    pub(super) fn unseal(&mut self) {
        let topics = 0..u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let of_topics = topics.map(|topic| self.postings_of(topic).to_vec()).collect();
        self.postings = Postings::Growing(of_topics);
    }

    pub(super) fn times(&self) -> &TimeIndex {
        &self.times
    }

    pub(super) fn topics(&self) -> &[TopicName] {
        &self.names
    }

    /// The number of a topic in this segment.
    pub(super) fn topic_id(&self, name: &TopicName) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// A topic's name by its number.
    pub(super) fn topic_name(&self, id: u32) -> Option<&TopicName> {
        self.names.get(id as usize)
    }

    /// The events of a topic behind a position, oldest first.
    pub(super) fn events_of(
        &self,
        topic: u32,
        after: Seq,
    ) -> impl DoubleEndedIterator<Item = Place> + ExactSizeIterator + '_ {
        let postings = self.postings_of(topic);
        let start = postings.partition_point(|entry| {
            self.entries.get(*entry as usize).is_some_and(|entry| self.seq(entry) <= after)
        });
        postings.get(start..).unwrap_or_default().iter().map(|entry| self.place(*entry))
    }

    /// The numbers of the entries behind a position.
    pub(super) fn behind(&self, after: Seq) -> std::ops::Range<u32> {
        let start = self.entries.partition_point(|entry| self.seq(entry) <= after);
        let number = |entry: usize| u32::try_from(entry).unwrap_or(u32::MAX);
        number(start)..number(self.entries.len())
    }

    /// Where an entry's record is, and, where it is an event, its topic.
    pub(super) fn entry(&self, entry: u32) -> (Place, Option<u32>) {
        let topic = self.entries.get(entry as usize).map_or(OWN, |entry| entry.topic);
        (self.place(entry), (topic != OWN).then_some(topic))
    }

    /// Where the deletions are, and of which topics.
    pub(super) fn deletions(&self) -> impl Iterator<Item = (Place, &TopicName)> + '_ {
        let name = |topic| self.topic_name(topic);
        self.deletions
            .iter()
            .filter_map(move |(entry, topic)| Some((self.place(*entry), name(*topic)?)))
    }

    fn postings_of(&self, topic: u32) -> &[u32] {
        let topic = topic as usize;
        match &self.postings {
            Postings::Growing(of_topics) => of_topics.get(topic).map_or(&[], Vec::as_slice),
            Postings::Sealed { starts, entries } => match starts.get(topic..topic + 2) {
                Some([start, end]) => {
                    entries.get(*start as usize..*end as usize).unwrap_or_default()
                }
                _ => &[],
            },
        }
    }

    fn seq(&self, entry: &Entry) -> Seq {
        Seq(self.base.0 + u64::from(entry.delta))
    }

    fn place(&self, entry: u32) -> Place {
        let (entry, next) = match self.entries.get(entry as usize..) {
            Some([entry, next, ..]) => (entry, next.offset),
            Some([entry]) => (entry, self.end),
            _ => return Place { seq: self.base, offset: 0, len: 0 },
        };
        let len = next.saturating_sub(entry.offset);
        Place { seq: self.seq(entry), offset: entry.offset, len }
    }
}

/// The number of no topic: the record is not an event.
const OWN: u32 = u32::MAX;

//! What a segment log knows of itself in memory: [`State`].

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashSet;
use longwave_core::{Group, Ledger, Retained, SelectorSet, Seq, TopicName, Trim, UnixMillis, trim};

use super::file::SegmentFile;
use super::index::{Place, Role, SegmentIndex};
use crate::log::ReadError;

/// Everything that readers share with the writer, who alone changes it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    /// In order, and never empty; the last one is being written to.
    pub(super) segments: VecDeque<Segment>,
    pub(super) committed: Seq,
    pub(super) condition: Condition,
    /// How many damaged places were found.
    pub(super) corruptions: u64,
}

/// Whether the log takes events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Ready,
    Full,
    Failed(String),
    /// Another process writes it now; what was committed before can still be read.
    HandedOver,
    Closed,
}

/// One file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<SegmentFile>,
    pub(super) index: SegmentIndex,
    /// How long the file is.
    pub(super) bytes: u64,
    /// How many bytes of it are events that no reader gets any more.
    pub(super) dead_bytes: u64,
    /// Places that were found to be damaged, in order of `last`.
    pub(super) damages: Vec<Damage>,
    /// What its header says of topics that nothing else tells of.
    pub(super) forgotten: Seq,
    pub(super) is_rewritten: bool,
}

/// Positions whose events, if they had any, are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// Whose events; `None` where that can't be told.
    pub(super) topic: Option<TopicName>,
}

/// A record that was written and is to be noted once it is durable.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) place: Place,
    pub(super) time: UnixMillis,
    pub(super) topic: Option<TopicName>,
    pub(super) role: Role,
}

impl State {
    pub(super) fn active(&self) -> Option<&Segment> {
        self.segments.back()
    }

    /// # Errors
    /// That the log was closed.
    pub(super) fn check_open(&self) -> Result<(), ReadError> {
        match self.condition {
            Condition::Closed => Err(ReadError::Closed),
            Condition::Ready | Condition::Full | Condition::Failed(_) | Condition::HandedOver => {
                Ok(())
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Shows a group that is durable, and removes what its topics' settings no longer allow.
    pub(super) fn publish(&mut self, group: Group, written: Vec<Written>, bytes: u64) {
        for record in &written {
            if let (Role::Deletion, Some(topic)) = (record.role, &record.topic) {
                self.bury(topic, record.place.seq);
            }
        }
        let (through, now) = (group.last(), group.time());
        self.ledger.commit(group);
        let Some(active) = self.segments.back_mut() else { return };
        active.bytes = bytes;
        let mut limited = HashSet::new();
        for record in written {
            let topic = record.topic.as_ref().map(|name| active.index.intern(name));
            active.index.push(record.place, record.time, topic, record.role);
            let Some(name) = record.topic else { continue };
            let known = self.ledger.topic(&name);
            if known.is_some_and(|known| known.config.is_some()) {
                limited.insert(name.clone());
            }
            if record.role != Role::Event {
                continue;
            }
            let (seq, len) = (record.place.seq, u64::from(record.place.len));
            if known.is_some_and(|known| seq > known.removed) {
                self.ledger.retain(&name, seq, 1, len);
            } else {
                // It was deleted in the group that it came with.
                active.dead_bytes += len;
            }
        }
        for name in limited {
            self.trim_topic(&name, now);
        }
        self.committed = through;
    }

    /// Removes what a topic's settings no longer allow.
    pub(super) fn trim_topic(&mut self, name: &TopicName, now: UnixMillis) {
        let Some(topic) = self.ledger.topic(name) else { return };
        let (Some(config), Some(first)) = (&topic.config, topic.first) else { return };
        let oldest_first = self.events_from(name, first).map(|(segment, place)| Retained {
            seq: place.seq,
            time: segment.index.times().time_of(place.seq),
            bytes: u64::from(place.len),
        });
        let trim = trim(config, now, topic.events, topic.bytes, oldest_first);
        self.remove(name, trim);
    }

    /// Removes of a topic all that lies in the log's oldest segment.
    pub(super) fn trim_oldest(&mut self, name: &TopicName) {
        let (Some(oldest), Some(topic)) = (self.segments.front(), self.ledger.topic(name)) else {
            return;
        };
        let Some(id) = oldest.index.topic_id(name) else { return };
        let mut trim = Trim::default();
        for place in oldest.index.events_of(id, topic.removed) {
            trim.through = place.seq;
            trim.events += 1;
            trim.bytes += u64::from(place.len);
        }
        self.remove(name, trim);
    }

    fn remove(&mut self, name: &TopicName, trim: Trim) {
        if trim.events == 0 {
            return;
        }
        self.bury(name, trim.through);
        let first = self.events_from(name, trim.through.next()).next().map(|(_, place)| place.seq);
        self.ledger.trim(name, trim, first);
    }

    /// Counts a topic's events up to `through` as dead.
    pub(super) fn bury(&mut self, name: &TopicName, through: Seq) {
        let Some(topic) = self.ledger.topic(name) else { return };
        let (removed, Some(first)) = (topic.removed, topic.first) else { return };
        let start = self.segment_of(first);
        for segment in self.segments.range_mut(start..) {
            if segment.index.base() > through {
                break;
            }
            let Some(id) = segment.index.topic_id(name) else { continue };
            let dead = segment.index.events_of(id, removed).take_while(|p| p.seq <= through);
            segment.dead_bytes += dead.map(|place| u64::from(place.len)).sum::<u64>();
        }
    }

    /// The events of a topic from a position on, oldest first, whether they are retained or not.
    pub(super) fn events_from<'a>(
        &'a self,
        name: &'a TopicName,
        first: Seq,
    ) -> impl Iterator<Item = (&'a Segment, Place)> + 'a {
        let before = Seq(first.0.saturating_sub(1));
        self.segments.range(self.segment_of(first)..).flat_map(move |segment| {
            let id = segment.index.topic_id(name);
            let places = id.into_iter().flat_map(move |id| segment.index.events_of(id, before));
            places.map(move |place| (segment, place))
        })
    }

    /// The number of the segment that a position lies in, or, before the first, of the first.
    pub(super) fn segment_of(&self, seq: Seq) -> usize {
        self.segments.partition_point(|segment| segment.index.base() <= seq).saturating_sub(1)
    }

    /// The first damage that concerns a reader behind `after`.
    pub(super) fn damage_behind(&self, selectors: &SelectorSet, after: Seq) -> Option<&Damage> {
        let start = self.segment_of(after);
        self.segments.range(start..).flat_map(|segment| &segment.damages).find(|damage| {
            damage.last > after
                && damage.topic.as_ref().is_none_or(|topic| selectors.matches(topic))
        })
    }

    /// Notes a record that a reader found damaged.
    pub(super) fn note_damage(&mut self, seq: Seq, topic: &TopicName) {
        let i = self.segment_of(seq);
        let Some(segment) = self.segments.get_mut(i) else { return };
        let damage = Damage { first: seq, last: seq, topic: Some(topic.clone()) };
        if segment.damages.contains(&damage) {
            return;
        }
        let i = segment.damages.partition_point(|other| other.last < seq);
        segment.damages.insert(i, damage);
        self.corruptions += 1;
    }
}

//! The admission rules of a log over its topic table: [`Ledger`].
//!
//! A ledger knows of every topic where it stands and what may have been removed of it, but holds no event. It never
//! changes while a publish is being admitted: what was admitted is staged in a [`Group`], which takes effect as a whole
//! by [`Ledger::commit`], or, when the disk refused it, by being dropped has none at all.
//!
//! [`admission`] decides on publishes; [`removal`] keeps book of what is gone; [`replay`] builds a ledger anew from a
//! log's records.

mod admission;
mod removal;
mod replay;

use std::collections::BTreeSet;

use hashbrown::HashMap;

pub use admission::{Admission, Admitted, AdmittedEvent, Group, Refusal, Settings};
pub use replay::Snapshot;

use crate::dedup::DedupWindow;
use crate::{Config, Durability, Seq, TopicEnd, TopicInfo, TopicName, UnixMillis};
use removal::Gone;

/// All that a log must know to decide on a publish, and to tell a reader what is missing.
///
/// A topic is in it for as long as it holds events or settings.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    topics: HashMap<TopicName, Topic>,
    /// The names of `topics`, in order.
    names: BTreeSet<TopicName>,
    /// The names of those topics whose settings mean something to the clock.
    timed: BTreeSet<TopicName>,
    /// `removed` of every topic in `topics` of which something was removed, in order.
    removals: BTreeSet<(Seq, TopicName)>,
    gone: Gone,
    window: DedupWindow,
    last: Seq,
    time: UnixMillis,
    events: u64,
    bytes: u64,
}

/// Where a topic stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topic {
    /// The position of its newest event, retained or not; zero where it had none.
    pub last: Seq,
    /// All its events up to here are gone. Never falls.
    pub removed: Seq,
    /// The position of its oldest retained event.
    pub first: Option<Seq>,
    /// How many events are retained.
    pub events: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// How it ended.
    pub end: Option<TopicEnd>,
    /// Its settings.
    pub config: Option<Config>,
    /// The position of the record that last told its settings; zero where none has.
    pub config_seq: Seq,
}

impl Topic {
    /// What a publish to it waits for.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.config.as_ref().map_or(Durability::Disk, |config| config.durability)
    }

    /// Whether it ended so long ago that it is to be deleted.
    #[must_use]
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        let ttl_ms = self.config.as_ref().and_then(|config| config.ttl_ms);
        match (&self.end, ttl_ms) {
            (Some(end), Some(ttl_ms)) => end.time.saturating_add_ms(ttl_ms) < now,
            _ => false,
        }
    }

    /// What a log may tell of it.
    #[must_use]
    pub fn info(&self, name: TopicName) -> TopicInfo {
        TopicInfo {
            topic: name,
            first: self.first,
            last: self.last,
            events: self.events,
            bytes: self.bytes,
            removed: self.removed,
            end: self.end,
            config: self.config.clone(),
        }
    }

    /// Everything of it up to here is either retained and known, or gone: what its next event names as the one before.
    #[must_use]
    pub fn before_next(&self) -> Seq {
        self.last.max(self.removed)
    }

    fn is_timed(&self) -> bool {
        self.config.as_ref().is_some_and(|c| c.max_age_ms.is_some() || c.ttl_ms.is_some())
    }

    fn is_needed(&self) -> bool {
        self.events > 0 || self.config.is_some()
    }
}

impl Ledger {
    /// The topic of that name, where it holds events or settings.
    #[must_use]
    pub fn topic(&self, name: &TopicName) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// The topics whose names start with `prefix` and lie behind `after`, in order.
    pub fn topics_after<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a TopicName>,
    ) -> impl Iterator<Item = (&'a TopicName, &'a Topic)> + 'a {
        use std::ops::Bound;
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        self.names
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |name| name.as_str().starts_with(prefix))
            .filter_map(|name| Some((name, self.topics.get(name)?)))
    }

    /// At most `limit` names behind `after` of topics on which time alone may have an effect: an age or a time to live.
    #[must_use]
    pub fn timed_topics(&self, after: Option<&TopicName>, limit: usize) -> Vec<TopicName> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.timed.range::<TopicName, _>((start, Bound::Unbounded)).take(limit).cloned().collect()
    }

    /// The names of all topics that have settings, in no order.
    #[must_use]
    pub fn configured_topics(&self) -> Vec<TopicName> {
        let configured = self.topics.iter().filter(|(_, topic)| topic.config.is_some());
        configured.map(|(name, _)| name.clone()).collect()
    }

    /// How many topics there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there are no topics.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// How many events are retained.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many bytes the retained events take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last position that was given.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.last
    }

    /// The time that was given last. Later events carry it or a later one.
    #[must_use]
    pub fn time(&self) -> UnixMillis {
        self.time
    }

    /// Puts a group into effect. Groups take effect in the order in which they were begun, and nothing else may change
    /// the ledger in between.
    ///
    /// The events of the group are then told of by [`Ledger::retain`].
    pub fn commit(&mut self, group: Group) {
        self.last = group.last;
        self.time = group.time;
        let mut keys = Vec::new();
        for (name, staged) in group.topics {
            if let Some(deleted) = staged.deleted {
                self.window.forget(&name);
                self.take(&name);
                self.gone.insert(name.clone(), deleted);
            }
            keys.extend(staged.keys.into_iter().map(|(key, seen)| (name.clone(), key, seen)));
            if let Some(topic) = staged.topic {
                self.put(name, topic);
            }
        }
        keys.sort_unstable_by_key(|(_, _, publication)| publication.first);
        for (topic, key, publication) in keys {
            self.window.remember(&topic, key, publication);
        }
    }

    /// Notes that events of a topic are retained, the oldest of which is at `first`. They lie behind those noted before.
    pub fn retain(&mut self, name: &TopicName, first: Seq, events: u64, bytes: u64) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.first.get_or_insert(first);
            topic.events += events;
            topic.bytes += bytes;
            self.events += events;
            self.bytes += bytes;
        }
    }

    fn put(&mut self, name: TopicName, topic: Topic) {
        if topic.is_timed() {
            self.timed.insert(name.clone());
        } else {
            self.timed.remove(&name);
        }
        if let Some(old) = self.topics.get_mut(&name) {
            // Admission leaves what was removed alone, so `removals` holds.
            *old = topic;
            return;
        }
        self.gone.take(&name);
        if topic.removed > Seq::ZERO {
            self.removals.insert((topic.removed, name.clone()));
        }
        self.names.insert(name.clone());
        self.topics.insert(name, topic);
    }

    fn take(&mut self, name: &TopicName) -> Option<Topic> {
        let topic = self.topics.remove(name)?;
        self.names.remove(name);
        self.timed.remove(name);
        self.removals.remove(&(topic.removed, name.clone()));
        self.events = self.events.saturating_sub(topic.events);
        self.bytes = self.bytes.saturating_sub(topic.bytes);
        Some(topic)
    }
}

#[cfg(test)]
mod tests;

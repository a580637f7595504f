//! Building a ledger anew from a log's records, in their order.
//!
//! Records say what is to be known of a topic even where older records are gone: each event names the one before it in
//! its topic, so that the oldest event left tells up to where its topic was removed.

use super::{Ledger, Topic};
use crate::dedup::{Publication, ScopedKey};
use crate::retention::Trim;
use crate::{Config, EndReason, Seq, TopicEnd, TopicName, UnixMillis};

/// What a record tells of a topic as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "logs write it out in full")]
pub struct Snapshot {
    /// Its settings.
    pub config: Config,
    /// The position of its newest event at that time.
    pub last: Seq,
    /// All its events up to here were gone.
    pub removed: Seq,
    /// How it had ended.
    pub end: Option<TopicEnd>,
}

impl Ledger {
    /// Replays a position that was given, whatever for, and the time that was given with it.
    pub fn replay_position(&mut self, seq: Seq, time: UnixMillis) {
        self.last = self.last.max(seq);
        self.time = self.time.max(time);
    }

    /// Replays an event; `before` is what [`Topic::before_next`] was when it was admitted. That the event is retained
    /// is told by [`Ledger::retain`].
    pub fn replay_event(
        &mut self,
        name: &TopicName,
        seq: Seq,
        before: Seq,
        end: Option<(EndReason, UnixMillis)>,
    ) {
        if !self.topics.contains_key(name) {
            // Exact, since it was known when the event was admitted, whatever has been forgotten since.
            self.put(name.clone(), Topic { removed: before, ..Topic::default() });
        }
        if let Some(topic) = self.topics.get_mut(name) {
            topic.last = seq;
            if let Some((reason, time)) = end {
                topic.end = Some(TopicEnd { seq, time, reason });
            }
        }
    }

    /// Replays that a topic's oldest events are gone; `trim` counts those of them that were told of as retained, and
    /// `first` is the oldest that is left of these. The topic stays on the table until the replay is finished.
    pub fn replay_removal(&mut self, name: &TopicName, trim: Trim, first: Option<Seq>) {
        if let Some(topic) = self.topics.get_mut(name)
            && topic.removed < trim.through
        {
            let before = std::mem::replace(&mut topic.removed, trim.through);
            topic.first = first;
            topic.events = topic.events.saturating_sub(trim.events);
            topic.bytes = topic.bytes.saturating_sub(trim.bytes);
            self.events = self.events.saturating_sub(trim.events);
            self.bytes = self.bytes.saturating_sub(trim.bytes);
            self.removals.remove(&(before, name.clone()));
            self.removals.insert((trim.through, name.clone()));
        }
    }

    /// Replays a topic's settings. That what they say to be removed is removed has been replayed before.
    pub fn replay_snapshot(&mut self, name: &TopicName, seq: Seq, snapshot: Snapshot) {
        let old = self.take(name).unwrap_or_default();
        self.events += old.events;
        self.bytes += old.bytes;
        self.put(
            name.clone(),
            Topic {
                last: old.last.max(snapshot.last),
                removed: old.removed.max(snapshot.removed),
                end: old.end.or(snapshot.end),
                config: Some(snapshot.config),
                config_seq: seq,
                ..old
            },
        );
    }

    /// Replays a topic's deletion.
    pub fn replay_deletion(&mut self, name: &TopicName, seq: Seq) {
        self.window.forget(name);
        self.take(name);
        self.gone.insert(name.clone(), seq);
    }

    /// Replays a key.
    pub fn replay_key(&mut self, topic: &TopicName, key: ScopedKey, publication: Publication) {
        self.window.remember(topic, key, publication);
    }

    /// Ends a replay: of topics of which nothing was retained, everything is gone, and those that have no settings either
    /// are taken off the table.
    pub fn replay_finished(&mut self) {
        let empty: Vec<(TopicName, Seq)> = self
            .topics
            .iter()
            .filter(|(_, topic)| topic.events == 0)
            .map(|(name, topic)| (name.clone(), topic.before_next()))
            .collect();
        for (name, through) in empty {
            self.trim(&name, Trim { through, events: 0, bytes: 0 }, None);
        }
    }
}

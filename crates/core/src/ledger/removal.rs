//! What is gone, so that no reader misses it unknowingly.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::Ledger;
use crate::retention::Trim;
use crate::{SelectorSet, Seq, TopicName};

impl Ledger {
    /// The last position up to which events that `selectors` select are gone, where that is behind `after`: what a
    /// reader who stands at `after` must be told of.
    ///
    /// Exact for each topic that holds events or settings, and for the last ten thousand that don't any more; of older
    /// ones, only the highest position that any of them reached is known, and told to whoever may have meant them.
    #[must_use]
    pub fn removed_behind(&self, selectors: &SelectorSet, after: Seq) -> Option<Seq> {
        let mut removed = Seq::ZERO;
        for selector in selectors {
            removed = removed.max(match selector.as_topic() {
                Some(name) => self.removed_of(name),
                None => {
                    let highest = |removals: &BTreeSet<(Seq, TopicName)>| {
                        let behind = removals.iter().rev().take_while(|(seq, _)| *seq > after);
                        let mut matching = behind.filter(|(_, name)| selector.matches(name));
                        matching.next().map_or(Seq::ZERO, |(seq, _)| *seq)
                    };
                    let known = highest(&self.removals);
                    self.gone.forgotten.max(known).max(highest(&self.gone.in_order))
                }
            });
        }
        (removed > after).then_some(removed)
    }

    /// Everything up to here of a topic of that name is gone.
    pub(super) fn removed_of(&self, name: &TopicName) -> Seq {
        match self.topics.get(name) {
            Some(topic) => topic.removed,
            None => self.gone.removed_of(name),
        }
    }

    /// Notes that retention removed a topic's oldest events, and that the oldest one left is at `first`. A topic that
    /// then holds neither events nor settings is taken off the table.
    pub fn trim(&mut self, name: &TopicName, trim: Trim, first: Option<Seq>) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let before = topic.removed;
        topic.removed = before.max(trim.through);
        topic.first = first;
        topic.events = topic.events.saturating_sub(trim.events);
        topic.bytes = topic.bytes.saturating_sub(trim.bytes);
        self.events = self.events.saturating_sub(trim.events);
        self.bytes = self.bytes.saturating_sub(trim.bytes);
        let (removed, is_needed) = (topic.removed, topic.is_needed());
        if !is_needed {
            self.take(name);
            self.gone.insert(name.clone(), removed);
        } else if removed > before {
            self.removals.remove(&(before, name.clone()));
            self.removals.insert((removed, name.clone()));
        }
    }

    /// Notes that events up to here, of any topic that the ledger does not know, may be gone.
    pub fn forget_through(&mut self, seq: Seq) {
        self.gone.forgotten = self.gone.forgotten.max(seq);
    }

    /// Up to here, events of any topic that the ledger does not know may be gone.
    #[must_use]
    pub fn forgotten(&self) -> Seq {
        self.gone.forgotten
    }
}

/// Topics that held something once. Bounded: beyond [`Gone::TOPICS_MAX`], the one that went first is remembered only
/// by raising `forgotten`.
#[derive(Clone, Debug, Default)]
pub(super) struct Gone {
    removed: HashMap<TopicName, Seq>,
    /// The same, by position.
    in_order: BTreeSet<(Seq, TopicName)>,
    forgotten: Seq,
}

impl Gone {
    /// How many topics are remembered by name: about 2 MB of them.
    pub(super) const TOPICS_MAX: usize = 10_000;

    pub(super) fn removed_of(&self, name: &TopicName) -> Seq {
        self.removed.get(name).copied().unwrap_or(self.forgotten)
    }

    pub(super) fn insert(&mut self, name: TopicName, removed: Seq) {
        let removed = self.take(&name).max(removed);
        if removed <= self.forgotten {
            return;
        }
        self.removed.insert(name.clone(), removed);
        self.in_order.insert((removed, name));
        if self.in_order.len() > Self::TOPICS_MAX
            && let Some((seq, name)) = self.in_order.pop_first()
        {
            self.removed.remove(&name);
            self.forgotten = self.forgotten.max(seq);
        }
    }

    /// Forgets the name, and tells what was known of it.
    pub(super) fn take(&mut self, name: &TopicName) -> Seq {
        match self.removed.remove(name) {
            Some(removed) => {
                self.in_order.remove(&(removed, name.clone()));
                removed
            }
            None => self.forgotten,
        }
    }
}

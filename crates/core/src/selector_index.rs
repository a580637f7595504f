//! Which channels an event belongs to, found without asking every channel: [`SelectorIndex`].
//!
//! Sets without wildcards are found by the topic's whole name in a hash map. Selectors with wildcards stand in a trie of
//! segments, in which an event follows at most two branches at each node: the one of the same name and the one of `*`.
//! What a channel holds, and who reads it, is [`Channels`](crate::Channels)' business.

use std::hash::Hash;
use std::str::Split;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::{ChannelId, SelectorSet, TopicName};

/// A map from selector sets to channels that can be asked by topic.
///
/// The cost of [`SelectorIndex::matches`] grows with the selectors whose leading segments match the topic, not with the
/// number of sets in the index. What is removed gives its memory back.
#[derive(Debug, Default)]
pub struct SelectorIndex {
    sets: HashMap<Arc<SelectorSet>, ChannelId>,
    topics: HashMap<TopicName, Vec<ChannelId>>,
    patterns: Node,
}

impl SelectorIndex {
    /// An index without sets.
    #[must_use]
    pub fn new() -> SelectorIndex {
        SelectorIndex::default()
    }

    /// How many sets it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether it holds no set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The channel of exactly this set.
    #[must_use]
    pub fn channel(&self, set: &SelectorSet) -> Option<ChannelId> {
        self.sets.get(set).copied()
    }

    /// Adds a set; where it was there already, `id` takes the place of its former channel.
    pub fn insert(&mut self, set: Arc<SelectorSet>, id: ChannelId) {
        self.remove(&set);
        for selector in &*set {
            match selector.as_topic() {
                Some(topic) => self.topics.entry(topic.clone()).or_default().push(id),
                None => self.patterns.insert(selector.segments(), id),
            }
        }
        self.sets.insert(set, id);
    }

    /// Takes a set out, and says which channel it had.
    pub fn remove(&mut self, set: &SelectorSet) -> Option<ChannelId> {
        let id = self.sets.remove(set)?;
        for selector in set {
            match selector.as_topic() {
                Some(topic) => {
                    if let Some(ids) = self.topics.get_mut(topic) {
                        take_out(ids, id);
                        if ids.is_empty() {
                            self.topics.remove(topic);
                        }
                    }
                }
                None => self.patterns.remove(selector.segments(), id),
            }
        }
        give_back(&mut self.sets);
        give_back(&mut self.topics);
        Some(id)
    }

    /// Puts the channels whose set matches `topic` into `found`, each once, in order; what `found` held before is gone.
    pub fn matches(&self, topic: &TopicName, found: &mut Vec<ChannelId>) {
        found.clear();
        self.visit(topic, &mut |ids| found.extend_from_slice(ids));
        if found.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
    }

    /// Calls `on_ids` once for the hash map and once for every node of the trie that the topic leads to.
    fn visit(&self, topic: &TopicName, on_ids: &mut impl FnMut(&[ChannelId])) {
        on_ids(self.topics.get(topic).map_or(&[], Vec::as_slice));
        let mut segments = topic.segments();
        if !topic.is_reserved() {
            self.patterns.visit(segments, on_ids);
        } else if let Some(node) = segments.next().and_then(|first| self.patterns.named.get(first))
        {
            // Wildcards in the first segment don't reach the server's own topics.
            node.visit(segments, on_ids);
        }
    }
}

/// A place in the trie: what selectors say up to some segment.
#[derive(Debug, Default)]
struct Node {
    /// By the next segment's name.
    named: HashMap<Box<str>, Node>,
    /// Where the next segment is `*`.
    any: Option<Box<Node>>,
    /// Sets with a selector that ends here.
    here: Vec<ChannelId>,
    /// Sets with a selector that ends with `**` behind this place.
    rest: Vec<ChannelId>,
}

impl Node {
    fn insert(&mut self, mut segments: Split<'_, char>, id: ChannelId) {
        match segments.next() {
            None => self.here.push(id),
            Some("**") => self.rest.push(id),
            Some("*") => self.any.get_or_insert_default().insert(segments, id),
            Some(name) => self.named.entry(name.into()).or_default().insert(segments, id),
        }
    }

    fn remove(&mut self, mut segments: Split<'_, char>, id: ChannelId) {
        match segments.next() {
            None => take_out(&mut self.here, id),
            Some("**") => take_out(&mut self.rest, id),
            Some("*") => {
                if let Some(node) = &mut self.any {
                    node.remove(segments, id);
                    if node.is_empty() {
                        self.any = None;
                    }
                }
            }
            Some(name) => {
                if let Some(node) = self.named.get_mut(name) {
                    node.remove(segments, id);
                    if node.is_empty() {
                        self.named.remove(name);
                        give_back(&mut self.named);
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    /// At most as deep as a name has segments, so it recurses at most [`TopicName::BYTES_MAX`] / 2 times.
    fn visit(&self, mut segments: Split<'_, char>, on_ids: &mut impl FnMut(&[ChannelId])) {
        let Some(segment) = segments.next() else { return on_ids(&self.here) };
        on_ids(&self.rest);
        if let Some(node) = self.named.get(segment) {
            node.visit(segments.clone(), on_ids);
        }
        if let Some(node) = &self.any {
            node.visit(segments, on_ids);
        }
    }
}

fn take_out(ids: &mut Vec<ChannelId>, id: ChannelId) {
    if let Some(i) = ids.iter().position(|other| *other == id) {
        ids.swap_remove(i);
    }
    if ids.len() * SPARSE < ids.capacity() {
        ids.shrink_to(ids.len() * 2);
    }
}

/// Gives memory back when a map has become sparse; rarely enough that its cost spreads over the removals before it.
pub(crate) fn give_back<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.len() * SPARSE < map.capacity() {
        map.shrink_to(map.len() * 2);
    }
}

/// A collection gives memory back when less than one in this many places is taken.
const SPARSE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Selector;
    use proptest::prelude::*;

    fn set(selectors: &[&str]) -> Arc<SelectorSet> {
        let parsed = selectors.iter().map(|text| text.parse::<Selector>().unwrap());
        Arc::new(SelectorSet::new(parsed).unwrap())
    }

    fn topic(text: &str) -> TopicName {
        if text.starts_with('$') {
            TopicName::reserved(text).unwrap()
        } else {
            text.parse().unwrap()
        }
    }

    fn matches(index: &SelectorIndex, name: &str) -> Vec<ChannelId> {
        let mut found = vec![ChannelId(999)];
        index.matches(&topic(name), &mut found);
        found
    }

    fn visits(index: &SelectorIndex, name: &str) -> (usize, usize) {
        let (mut visits, mut ids) = (0, 0);
        index.visit(&topic(name), &mut |found| {
            visits += 1;
            ids += found.len();
        });
        (visits, ids)
    }

    #[test]
    fn a_channel_is_found_once_however_many_of_its_selectors_match() {
        let mut index = SelectorIndex::new();
        index.insert(set(&["a/b", "a/*", "a/**", "**", "*/b"]), ChannelId(7));
        assert_eq!(matches(&index, "a/b"), [ChannelId(7)]);
        assert_eq!(matches(&index, "a"), [ChannelId(7)]);
        assert_eq!(matches(&index, "$sys/b"), []);
    }

    #[test]
    fn wildcards_do_not_reach_the_servers_own_topics() {
        let mut index = SelectorIndex::new();
        index.insert(set(&["**"]), ChannelId(1));
        index.insert(set(&["*/rates"]), ChannelId(2));
        index.insert(set(&["$sys/*"]), ChannelId(3));
        index.insert(set(&["$sys/rates"]), ChannelId(4));
        assert_eq!(matches(&index, "$sys/rates"), [ChannelId(3), ChannelId(4)]);
        assert_eq!(matches(&index, "sys/rates"), [ChannelId(1), ChannelId(2)]);
    }

    #[test]
    fn a_set_inserted_again_has_only_its_new_channel() {
        let mut index = SelectorIndex::new();
        index.insert(set(&["a", "b/*"]), ChannelId(1));
        index.insert(set(&["b/*", "a"]), ChannelId(2));
        assert_eq!(index.len(), 1);
        assert_eq!(index.channel(&set(&["a", "b/*"])), Some(ChannelId(2)));
        assert_eq!(matches(&index, "a"), [ChannelId(2)]);
        assert_eq!(matches(&index, "b/c"), [ChannelId(2)]);
    }

    #[test]
    fn a_hundred_thousand_selectors_that_do_not_match_add_no_step() {
        let mut index = SelectorIndex::new();
        for (i, text) in ["a/b/c", "a/*/c", "a/**", "*/b/*"].into_iter().enumerate() {
            index.insert(set(&[text]), ChannelId(i as u64));
        }
        let before = visits(&index, "a/b/c");
        assert_eq!(before.1, 4);
        for i in 0..20_000 {
            let id = |n: u64| ChannelId(1000 + 5 * i + n);
            index.insert(set(&[&format!("topic{i}")]), id(0));
            index.insert(set(&[&format!("topic{i}/**")]), id(1));
            index.insert(set(&[&format!("a/b{i}/*")]), id(2));
            index.insert(set(&[&format!("a/*/c{i}")]), id(3));
            index.insert(set(&[&format!("*/b/c/d{i}"), &format!("a/b/c/d{i}")]), id(4));
        }
        assert_eq!(index.len(), 100_004);
        // One node more exists on the topic's way now: `*/b/c`.
        assert_eq!(visits(&index, "a/b/c"), (before.0 + 1, before.1));
    }

    #[test]
    fn what_is_removed_gives_its_memory_back() {
        let mut index = SelectorIndex::new();
        let sets: Vec<_> =
            (0..1000).map(|i| set(&[&format!("t{i}"), &format!("a/{i}/*"), "b/**"])).collect();
        for (i, set) in sets.iter().enumerate() {
            index.insert(Arc::clone(set), ChannelId(i as u64));
        }
        for (i, set) in sets.iter().enumerate() {
            assert_eq!(index.remove(set), Some(ChannelId(i as u64)));
        }
        assert_eq!(index.remove(&sets[0]), None);
        assert!(index.is_empty());
        assert!(index.patterns.is_empty());
        assert_eq!(index.sets.capacity(), 0);
        assert_eq!(index.topics.capacity(), 0);
        assert_eq!(index.patterns.named.capacity(), 0);
    }

    fn segment() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["a", "b", "c"])
    }

    fn name() -> impl Strategy<Value = String> {
        (prop::bool::weighted(0.2), prop::collection::vec(segment(), 1..5)).prop_map(
            |(own, segments)| format!("{}{}", if own { "$" } else { "" }, segments.join("/")),
        )
    }

    fn selector() -> impl Strategy<Value = Selector> {
        let any_segment = prop::sample::select(vec!["a", "b", "c", "*"]);
        let path = prop::collection::vec(any_segment, 0..4);
        let last = prop::sample::select(vec!["a", "b", "*", "**"]);
        (prop::bool::weighted(0.2), path, last).prop_filter_map("no $*", |(own, path, last)| {
            let mut segments = path;
            segments.push(last);
            format!("{}{}", if own { "$" } else { "" }, segments.join("/")).parse().ok()
        })
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_asking_every_set(
            sets in prop::collection::vec(prop::collection::vec(selector(), 1..4), 0..12),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            names in prop::collection::vec(name(), 1..8),
        ) {
            let mut index = SelectorIndex::new();
            let mut model: Vec<(Arc<SelectorSet>, ChannelId)> = Vec::new();
            for (i, selectors) in sets.into_iter().enumerate() {
                let set = Arc::new(SelectorSet::new(selectors).unwrap());
                let id = ChannelId(i as u64);
                model.retain(|(other, _)| *other != set);
                model.push((Arc::clone(&set), id));
                index.insert(set, id);
            }
            for i in removed {
                if !model.is_empty() {
                    let (set, id) = model.remove(i.index(model.len()));
                    prop_assert_eq!(index.remove(&set), Some(id));
                }
            }
            for name in names {
                let mut expected: Vec<ChannelId> = model
                    .iter()
                    .filter(|(set, _)| set.matches(&topic(&name)))
                    .map(|(_, id)| *id)
                    .collect();
                expected.sort_unstable();
                prop_assert_eq!(matches(&index, &name), expected, "{}", name);
            }
        }
    }
}

//! Subscribers that get the same bytes: [`Line`].

use std::sync::Arc;

use hashbrown::HashMap;
use longwave_core::{ChannelId, Epoch, Feed, SelectorSet, Seq, TypeFilter};
use slab::Slab;

use crate::board::{Place, SubscriberKind};

use super::Key;

/// Names a line for as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineKey(u32);

/// The subscribers of one channel that want the same types of messages in the same framing.
///
/// Invariant: no event at or before `tip` is still to be delivered to a live subscriber; none of them is before it.
pub(super) struct Line<F> {
    pub(super) channel: ChannelId,
    pub(super) kind: SubscriberKind,
    pub(super) selectors: Arc<SelectorSet>,
    pub(super) types: TypeFilter,
    pub(super) framing: F,
    /// Its live subscribers, in no order.
    pub(super) live: Vec<u32>,
    pub(super) tip: Seq,
    /// In which tick something was sent to all of them last.
    pub(super) last_sent_tick: u64,
    /// Tells it from others that had or will have the same key.
    pub(super) serial: u64,
    /// All of its subscribers, also those that are behind; at least 1.
    subscribers: usize,
    /// The next line of the same channel.
    next: Option<LineKey>,
}

/// All lines of a reactor.
pub(super) struct Lines<F> {
    lines: Slab<Line<F>>,
    /// The first line of each channel.
    first: HashMap<ChannelId, LineKey>,
    serial: u64,
}

impl<F> Default for Lines<F> {
    fn default() -> Lines<F> {
        Lines { lines: Slab::new(), first: HashMap::new(), serial: 0 }
    }
}

impl<F: Clone + Eq> Line<F> {
    /// A feed for one of its subscribers that stands at `cursor`.
    pub(super) fn feed(&self, epoch: Epoch, cursor: Seq) -> Feed {
        Feed::following(Arc::clone(&self.selectors), self.types.clone(), epoch, cursor)
    }

    /// Puts a subscriber that stands at `cursor` among the live ones, and says at which seat.
    pub(super) fn sit_down(&mut self, key: Key, cursor: Seq) -> Option<u32> {
        let seat = u32::try_from(self.live.len()).ok()?;
        self.tip = if self.live.is_empty() { cursor } else { self.tip.min(cursor) };
        self.live.push(u32::try_from(key).ok()?);
        Some(seat)
    }

    /// Takes the subscriber at a seat away, and names the one that has its seat now.
    pub(super) fn stand_up(&mut self, seat: u32) -> Option<Key> {
        let seat = seat as usize;
        if seat < self.live.len() {
            self.live.swap_remove(seat);
        }
        if self.live.len() * SPARSE < self.live.capacity() {
            let places = self.live.len() * 2;
            self.live.shrink_to(places);
        }
        self.live.get(seat).map(|moved| *moved as Key)
    }
}

impl<F: Clone + Eq> Lines<F> {
    /// Adds a subscriber to the line of its like, which is made where there is none.
    pub(super) fn join(&mut self, place: &Place, feed: &Feed, framing: F) -> LineKey {
        let first = self.first_of(place.channel());
        let mut at = first;
        while let Some(key) = at {
            let Some(line) = self.get_mut(key) else { break };
            let alike =
                line.kind == place.kind() && line.framing == framing && line.types == *feed.types();
            if alike {
                line.subscribers += 1;
                return key;
            }
            at = line.next;
        }
        self.serial += 1;
        let key = self.lines.insert(Line {
            channel: place.channel(),
            kind: place.kind(),
            selectors: Arc::clone(feed.selectors()),
            types: feed.types().clone(),
            framing,
            live: Vec::new(),
            tip: Seq::ZERO,
            last_sent_tick: 0,
            serial: self.serial,
            subscribers: 1,
            next: first,
        });
        // There are no more lines than connections, and no more of these than file descriptors.
        let key = LineKey(u32::try_from(key).unwrap_or(u32::MAX));
        self.first.insert(place.channel(), key);
        key
    }

    /// Takes a subscriber away, and the line with the last one.
    pub(super) fn leave(&mut self, key: LineKey) {
        let Some(line) = self.get_mut(key) else { return };
        line.subscribers -= 1;
        if line.subscribers > 0 {
            return;
        }
        let (channel, next) = (line.channel, line.next);
        if self.first_of(channel) == Some(key) {
            match next {
                Some(next) => drop(self.first.insert(channel, next)),
                None => drop(self.first.remove(&channel)),
            }
        } else {
            let mut at = self.first_of(channel);
            while let Some(line) = at.and_then(|at| self.get_mut(at)) {
                if line.next == Some(key) {
                    line.next = next;
                    break;
                }
                at = line.next;
            }
        }
        self.lines.try_remove(key.0 as usize);
        self.give_back();
    }

    pub(super) fn get(&self, key: LineKey) -> Option<&Line<F>> {
        self.lines.get(key.0 as usize)
    }

    pub(super) fn get_mut(&mut self, key: LineKey) -> Option<&mut Line<F>> {
        self.lines.get_mut(key.0 as usize)
    }

    pub(super) fn first_of(&self, channel: ChannelId) -> Option<LineKey> {
        self.first.get(&channel).copied()
    }

    pub(super) fn next_of(&self, key: LineKey) -> Option<LineKey> {
        self.get(key)?.next
    }

    pub(super) fn keys(&self) -> Vec<LineKey> {
        self.lines.iter().filter_map(|(key, _)| u32::try_from(key).ok().map(LineKey)).collect()
    }

    fn give_back(&mut self) {
        if self.lines.len() * SPARSE < self.lines.capacity() {
            self.lines.shrink_to_fit();
        }
        if self.first.len() * SPARSE < self.first.capacity() {
            self.first.shrink_to(self.first.len() * 2);
        }
    }
}

/// What less than one in this many places of is taken gives memory back.
const SPARSE: usize = 4;

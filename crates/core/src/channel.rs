//! All channels of a hub: [`Channels`].
//!
//! A channel is the tail of one selector set. It is made when the set's first subscriber comes and dropped when the last
//! leaves; a subscriber is a cursor in it and nothing else. Who is woken when a channel got something, and how, is the
//! caller's business, as are locks.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::selector_index::give_back;
use crate::tail::event_bytes;
use crate::{Event, SelectorIndex, SelectorSet, Seq, Tail, TopicName};

/// The tails of all selector sets that somebody follows.
///
/// Invariant: the tail of a channel holds every matching event behind the tail's start that was dispatched. So a reader
/// that has all matching events up to a position at or behind the start needs nothing but the tail to go on.
#[derive(Debug)]
pub struct Channels {
    through: Seq,
    limits: TailLimits,
    index: SelectorIndex,
    channels: HashMap<ChannelId, Channel>,
    window: Window,
    next_id: u64,
    /// Kept for its memory only.
    matched: Vec<ChannelId>,
}

/// Names a channel; never used twice by the same [`Channels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub(crate) u64);

/// How much all tails hold in memory. What does not fit is read from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "tests write it out in full")]
pub struct TailLimits {
    /// At most this many events in one tail. At least 1.
    pub tail_events_max: usize,
    /// At most this many bytes in one tail, but for its newest event.
    pub tail_bytes_max: usize,
    /// A tail holds only what is among the newest this many events of all tails together.
    pub window_events_max: usize,
    /// A tail holds only what is among the newest this many bytes of all tails together.
    pub window_bytes_max: usize,
}

impl Default for TailLimits {
    /// 1,024 events or 1 MiB a tail; 262,144 events (6 MiB of bookkeeping) or 256 MiB for all.
    fn default() -> TailLimits {
        TailLimits {
            tail_events_max: 1024,
            tail_bytes_max: 1 << 20,
            window_events_max: 1 << 18,
            window_bytes_max: 256 << 20,
        }
    }
}

impl Channels {
    /// No channels yet; the next commit follows `through`.
    #[must_use]
    pub fn new(through: Seq, limits: TailLimits) -> Channels {
        Channels {
            through,
            limits,
            index: SelectorIndex::new(),
            channels: HashMap::new(),
            window: Window::default(),
            next_id: 0,
            matched: Vec::new(),
        }
    }

    /// Everything up to here was dispatched.
    #[must_use]
    pub fn through(&self) -> Seq {
        self.through
    }

    /// How many channels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether nobody follows anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Adds a subscriber of `selectors`, and their channel where this is the first.
    ///
    /// To be followed by one [`Channels::close`].
    pub fn open(&mut self, selectors: &Arc<SelectorSet>) -> ChannelId {
        if let Some(id) = self.index.channel(selectors)
            && let Some(channel) = self.channels.get_mut(&id)
        {
            channel.subscribers += 1;
            return id;
        }
        let id = ChannelId(self.next_id);
        self.next_id += 1;
        self.index.insert(Arc::clone(selectors), id);
        let tail = Tail::new(self.through);
        self.channels
            .insert(id, Channel { selectors: Arc::clone(selectors), tail, subscribers: 1 });
        id
    }

    /// Takes a subscriber away, and the channel with the last one.
    pub fn close(&mut self, id: ChannelId) -> Closed {
        let Some(channel) = self.channels.get_mut(&id) else { return Closed::Channel };
        channel.subscribers -= 1;
        if channel.subscribers > 0 {
            return Closed::Subscriber;
        }
        if let Some(channel) = self.channels.remove(&id) {
            self.index.remove(&channel.selectors);
        }
        give_back(&mut self.channels);
        Closed::Channel
    }

    /// The tail of a channel; `None` where it was dropped.
    #[must_use]
    pub fn tail(&self, id: ChannelId) -> Option<&Tail> {
        self.channels.get(&id).map(|channel| &channel.tail)
    }

    /// How many subscribers get the events of `topic`, those with wildcards included.
    #[must_use]
    pub fn subscribers(&self, topic: &TopicName) -> usize {
        let mut matched = Vec::new();
        self.index.matches(topic, &mut matched);
        matched.iter().filter_map(|id| self.channels.get(id)).map(|c| c.subscribers).sum()
    }

    /// How many subscribers there are of exactly these selectors.
    #[must_use]
    pub fn followers(&self, selectors: &Arc<SelectorSet>) -> usize {
        let channel = self.index.channel(selectors).and_then(|id| self.channels.get(&id));
        channel.map_or(0, |channel| channel.subscribers)
    }

    /// Takes in what was committed next, and says which channels got something, each once.
    ///
    /// Events up to [`Channels::through`] are left out: they were dispatched, or lay in the log before there were
    /// channels.
    pub fn handle_commit(&mut self, events: &[Arc<Event>], through: Seq) -> Vec<ChannelId> {
        let mut touched = Vec::new();
        for event in events.iter().filter(|event| event.seq > self.through) {
            self.index.matches(&event.topic, &mut self.matched);
            for id in &self.matched {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.tail.push(Arc::clone(event));
                    channel.tail.trim(self.limits.tail_events_max, self.limits.tail_bytes_max);
                    self.window.push(*id, event);
                }
            }
            touched.extend_from_slice(&self.matched);
        }
        self.through = self.through.max(through);
        while let Some((id, seq)) = self.window.pop_excess(&self.limits) {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.tail.forget_through(seq);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        touched
    }
}

/// What [`Channels::close`] took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a channel either has subscribers or is dropped")]
pub enum Closed {
    /// A subscriber; the channel has others.
    Subscriber,
    /// The channel too.
    Channel,
}

#[derive(Debug)]
struct Channel {
    selectors: Arc<SelectorSet>,
    tail: Tail,
    /// At least 1.
    subscribers: usize,
}

/// The newest events of all tails together, in the order in which they came, one entry for each tail that got it.
///
/// It bounds the memory of many channels that are quiet now but were not: what leaves the window leaves its tail.
/// Entries of events that their tails forgot by themselves stay until they come to the front, so the window counts a
/// little too much and never too little.
#[derive(Debug, Default)]
struct Window {
    entries: VecDeque<WindowEntry>,
    bytes: usize,
}

#[derive(Debug)]
struct WindowEntry {
    channel: ChannelId,
    seq: Seq,
    bytes: usize,
}

impl Window {
    fn push(&mut self, channel: ChannelId, event: &Event) {
        let bytes = event_bytes(event);
        self.bytes += bytes;
        self.entries.push_back(WindowEntry { channel, seq: event.seq, bytes });
    }

    fn pop_excess(&mut self, limits: &TailLimits) -> Option<(ChannelId, Seq)> {
        if self.entries.len() <= limits.window_events_max && self.bytes <= limits.window_bytes_max {
            return None;
        }
        let oldest = self.entries.pop_front()?;
        self.bytes -= oldest.bytes;
        Some((oldest.channel, oldest.seq))
    }
}

//! What all tasks of a hub share: [`Board`], and a subscriber's place at it, [`Seat`].
//!
//! One lock guards the channels. It is held for as long as a commit takes to be shared out, or a subscriber takes to
//! pick up what waits; never over an `.await`, and waking is done after it is released.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use longwave_core::{
    Budget, ChannelId, Channels, Closed, Event, Feed, SelectorSet, Seq, Step, TailLimits, TopicName,
};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The channels, who waits for them, and whether the hub is open.
pub(super) struct Board {
    state: RwLock<State>,
    subscribers: [AtomicUsize; SubscriberKind::ALL.len()],
}

struct State {
    channels: Channels,
    /// Exactly one for each channel.
    wakers: HashMap<ChannelId, Arc<Notify>>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Draining,
    Closed,
}

/// Why a subscriber has no place at the board, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Draining,
    Closed,
}

/// By which transport a subscriber came: what subscribers are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "metrics must list every transport")]
pub enum SubscriberKind {
    /// Server-Sent Events.
    Sse,
    /// NDJSON.
    Ndjson,
    /// A subscription of a WebSocket.
    WebSocket,
    /// A long poll that waits.
    LongPoll,
}

impl SubscriberKind {
    /// All of them.
    pub const ALL: [SubscriberKind; 4] = [
        SubscriberKind::Sse,
        SubscriberKind::Ndjson,
        SubscriberKind::WebSocket,
        SubscriberKind::LongPoll,
    ];

    /// The word for it in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SubscriberKind::Sse => "sse",
            SubscriberKind::Ndjson => "ndjson",
            SubscriberKind::WebSocket => "websocket",
            SubscriberKind::LongPoll => "long_poll",
        }
    }
}

impl Board {
    pub(super) fn new(through: Seq, limits: TailLimits) -> Board {
        let state = State {
            channels: Channels::new(through, limits),
            wakers: HashMap::new(),
            phase: Phase::Open,
        };
        Board { state: RwLock::new(state), subscribers: Default::default() }
    }

    pub(super) fn handle_commit(&self, events: &[Arc<Event>], through: Seq) {
        let woken: Vec<Arc<Notify>> = {
            let mut state = self.write();
            let touched = state.channels.handle_commit(events, through);
            touched.iter().filter_map(|id| state.wakers.get(id)).map(Arc::clone).collect()
        };
        for waker in woken {
            waker.notify_waiters();
        }
    }

    pub(super) fn drain(&self) {
        self.leave(Phase::Open, Phase::Draining);
    }

    pub(super) fn close(&self) {
        self.leave(Phase::Open, Phase::Closed);
        self.leave(Phase::Draining, Phase::Closed);
    }

    pub(super) fn subscribers(&self, topic: &TopicName) -> usize {
        self.read().channels.subscribers(topic)
    }

    pub(super) fn subscribers_by(&self, kind: SubscriberKind) -> usize {
        self.count(kind).load(Ordering::Relaxed)
    }

    pub(super) fn channels(&self) -> usize {
        self.read().channels.len()
    }

    fn leave(&self, from: Phase, to: Phase) {
        let woken: Vec<Arc<Notify>> = {
            let mut state = self.write();
            if state.phase != from {
                return;
            }
            state.phase = to;
            state.wakers.values().map(Arc::clone).collect()
        };
        for waker in woken {
            waker.notify_waiters();
        }
    }

    fn count(&self, kind: SubscriberKind) -> &AtomicUsize {
        let [sse, ndjson, websocket, long_poll] = &self.subscribers;
        match kind {
            SubscriberKind::Sse => sse,
            SubscriberKind::Ndjson => ndjson,
            SubscriberKind::WebSocket => websocket,
            SubscriberKind::LongPoll => long_poll,
        }
    }

    /// A panic under the lock ends the dispatcher, which closes the hub; until then readers may see what is there.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&self) -> Result<(), Refused> {
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Draining => Err(Refused::Draining),
            Phase::Closed => Err(Refused::Closed),
        }
    }
}

/// A subscriber's place in a channel. Dropping it gives the place up, and the channel with the last one.
pub(super) struct Seat {
    board: Arc<Board>,
    channel: ChannelId,
    waker: Arc<Notify>,
    joined: Seq,
    kind: SubscriberKind,
}

impl Seat {
    pub(super) fn take(
        board: &Arc<Board>,
        selectors: &Arc<SelectorSet>,
        kind: SubscriberKind,
    ) -> Result<Seat, Refused> {
        let (channel, waker, joined) = {
            let mut state = board.write();
            state.admit()?;
            let channel = state.channels.open(selectors);
            let waker = Arc::clone(state.wakers.entry(channel).or_default());
            (channel, waker, state.channels.through())
        };
        board.count(kind).fetch_add(1, Ordering::Relaxed);
        Ok(Seat { board: Arc::clone(board), channel, waker, joined, kind })
    }

    /// What had been dispatched when the seat was taken.
    pub(super) fn joined(&self) -> Seq {
        self.joined
    }

    /// Ready when the channel got something, or the hub's phase changed, after this call.
    pub(super) fn woken(&self) -> Notified<'_> {
        self.waker.notified()
    }

    /// Polls a feed of this channel.
    pub(super) fn poll(&self, feed: &mut Feed, budget: Budget) -> Result<Step, Refused> {
        let state = self.board.read();
        state.admit()?;
        Ok(feed.poll(state.channels.tail(self.channel), budget))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.board.count(self.kind).fetch_sub(1, Ordering::Relaxed);
        let mut state = self.board.write();
        if state.channels.close(self.channel) == Closed::Channel {
            state.wakers.remove(&self.channel);
            if state.wakers.len() * SPARSE < state.wakers.capacity() {
                let places = state.wakers.len() * 2;
                state.wakers.shrink_to(places);
            }
        }
    }
}

/// The map of wakers gives memory back when less than one in this many places is taken.
const SPARSE: usize = 4;

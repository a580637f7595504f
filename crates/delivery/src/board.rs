//! What all subscribers of a hub share: [`Board`], and a subscriber's place at it, [`Seat`].
//!
//! One lock guards the channels. It is held for as long as a commit takes to be shared out, or a subscriber takes to
//! pick up what waits; never over an `.await`, and waking is done after it is released. Where two locks nest, the
//! board's comes first; listeners are called with none held.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashMap;
use longwave_core::{
    Budget, ChannelId, Channels, Closed, Event, Feed, SelectorSet, Seq, Step, TailLimits, TailRead,
    TopicName,
};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The channels, who waits for them, and whether the hub is open.
pub struct Board {
    state: RwLock<State>,
    subscribers: [AtomicUsize; SubscriberKind::ALL.len()],
}

struct State {
    channels: Channels,
    /// One for each channel in which a task waits, or did.
    wakers: HashMap<ChannelId, Arc<Notify>>,
    listeners: Vec<Arc<dyn Listener>>,
    phase: Phase,
}

/// Whether a board takes subscribers. Phases follow each other in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "whoever drives subscribers must know every phase")]
pub enum Phase {
    /// It does.
    Open,
    /// It takes nobody new, and those it has are to go.
    Draining,
    /// It has nothing more for anybody.
    Closed,
}

/// Why a subscriber has no place at the board, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a subscriber must know what to do in every case")]
pub enum Refused {
    /// The board is draining.
    Draining,
    /// The board is closed.
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

/// Who is told of all channels at once, because many subscribers are its own.
pub(crate) trait Listener: Send + Sync {
    /// These channels got something. Each is named once.
    fn handle_touched(&self, channels: &[ChannelId]);

    /// The board is in a later phase.
    fn handle_phase(&self, phase: Phase);
}

/// What [`Board::tail`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TailFound {
    /// All that the tail holds, perhaps nothing.
    All,
    /// A part of it, as the budget allows.
    Part,
    /// The tail begins behind the position that was asked for, so the log must be read.
    Behind,
}

impl Board {
    /// A board at which nobody sits yet; the next commit follows `through`.
    #[must_use]
    pub fn new(through: Seq, limits: TailLimits) -> Board {
        let state = State {
            channels: Channels::new(through, limits),
            wakers: HashMap::new(),
            listeners: Vec::new(),
            phase: Phase::Open,
        };
        Board { state: RwLock::new(state), subscribers: Default::default() }
    }

    /// Takes in what was committed next, and wakes those whom it concerns.
    pub fn handle_commit(&self, events: &[Arc<Event>], through: Seq) {
        let (touched, wakers, listeners) = {
            let mut state = self.write();
            let touched = state.channels.handle_commit(events, through);
            let wakers: Vec<Arc<Notify>> = if state.wakers.is_empty() {
                Vec::new()
            } else {
                touched.iter().filter_map(|id| state.wakers.get(id)).map(Arc::clone).collect()
            };
            (touched, wakers, state.listeners.clone())
        };
        if touched.is_empty() {
            return;
        }
        for waker in wakers {
            waker.notify_waiters();
        }
        for listener in listeners {
            listener.handle_touched(&touched);
        }
    }

    /// Refuses new subscribers, and tells those there are to go. Idempotent.
    pub fn drain(&self) {
        self.enter(Phase::Draining);
    }

    /// Has nothing more for anybody. Idempotent.
    pub fn close(&self) {
        self.enter(Phase::Closed);
    }

    /// How many subscribers get the events of `topic`, those with wildcards included.
    #[must_use]
    pub fn subscribers(&self, topic: &TopicName) -> usize {
        self.read().channels.subscribers(topic)
    }

    /// How many subscribers there are of exactly these selectors.
    #[must_use]
    pub fn followers(&self, selectors: &Arc<SelectorSet>) -> usize {
        self.read().channels.followers(selectors)
    }

    /// How many subscribers there are by this transport.
    #[must_use]
    pub fn subscribers_by(&self, kind: SubscriberKind) -> usize {
        self.count(kind).load(Ordering::Relaxed)
    }

    /// How many channels there are: different selector sets that somebody follows.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.read().channels.len()
    }

    /// Tells a listener of everything from now on, and what the phase is.
    pub(crate) fn listen(&self, listener: Arc<dyn Listener>) -> Phase {
        let mut state = self.write();
        state.listeners.push(listener);
        state.phase
    }

    /// Adds what the channel's tail holds behind `after`, as far as the budget allows; the first event in any case.
    pub(crate) fn tail(
        &self,
        channel: ChannelId,
        after: Seq,
        budget: Budget,
        out: &mut Vec<Arc<Event>>,
    ) -> TailFound {
        let state = self.read();
        match state.channels.tail(channel).map(|tail| tail.read(after)) {
            Some(TailRead::Events(events)) => {
                let mut bytes = 0;
                for event in events.clone().take(budget.events_max) {
                    bytes += Budget::cost(event);
                    if bytes > budget.bytes_max && !out.is_empty() {
                        return TailFound::Part;
                    }
                    out.push(Arc::clone(event));
                }
                if events.len() > budget.events_max { TailFound::Part } else { TailFound::All }
            }
            Some(TailRead::CaughtUp) | None => TailFound::All,
            Some(TailRead::Behind) => TailFound::Behind,
        }
    }

    /// Polls a feed of a channel.
    pub(crate) fn poll(
        &self,
        channel: ChannelId,
        feed: &mut Feed,
        budget: Budget,
    ) -> Result<Step, Refused> {
        let state = self.read();
        state.admit()?;
        Ok(feed.poll(state.channels.tail(channel), budget))
    }

    /// Gives up a subscriber's place.
    fn leave(&self, channel: ChannelId, kind: SubscriberKind) {
        self.count(kind).fetch_sub(1, Ordering::Relaxed);
        let mut state = self.write();
        if state.channels.close(channel) == Closed::Channel
            && state.wakers.remove(&channel).is_some()
            && state.wakers.len() * SPARSE < state.wakers.capacity()
        {
            let places = state.wakers.len() * 2;
            state.wakers.shrink_to(places);
        }
    }

    fn enter(&self, phase: Phase) {
        let (wakers, listeners) = {
            let mut state = self.write();
            if state.phase >= phase {
                return;
            }
            state.phase = phase;
            let wakers: Vec<Arc<Notify>> = state.wakers.values().map(Arc::clone).collect();
            (wakers, state.listeners.clone())
        };
        for waker in wakers {
            waker.notify_waiters();
        }
        for listener in listeners {
            listener.handle_phase(phase);
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

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("channels", &self.channels()).finish_non_exhaustive()
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

/// A subscriber's place in a channel, from where it waits for what comes. Dropping it gives the place up, and the
/// channel with the last one.
#[derive(Debug)]
pub struct Seat {
    place: Place,
    /// Made when somebody waits: a parked subscriber never does.
    waker: OnceLock<Arc<Notify>>,
    joined: Seq,
}

impl Seat {
    /// Takes a place in the channel of `selectors`.
    ///
    /// # Errors
    /// [`Refused`] where the board takes nobody any more.
    pub fn take(
        board: &Arc<Board>,
        selectors: &Arc<SelectorSet>,
        kind: SubscriberKind,
    ) -> Result<Seat, Refused> {
        let (channel, joined) = {
            let mut state = board.write();
            state.admit()?;
            (state.channels.open(selectors), state.channels.through())
        };
        board.count(kind).fetch_add(1, Ordering::Relaxed);
        let place = Place { board: Arc::clone(board), channel, kind };
        Ok(Seat { place, waker: OnceLock::new(), joined })
    }

    /// What had been dispatched when the seat was taken.
    #[must_use]
    pub fn joined(&self) -> Seq {
        self.joined
    }

    /// Ready when the channel got something, or the board's phase changed, after this call.
    pub fn woken(&self) -> Notified<'_> {
        let Place { board, channel, .. } = &self.place;
        let waker = self
            .waker
            .get_or_init(|| Arc::clone(board.write().wakers.entry(*channel).or_default()));
        waker.notified()
    }

    /// Polls a feed of this channel.
    ///
    /// # Errors
    /// [`Refused`] where the board is not open any more.
    pub fn poll(&self, feed: &mut Feed, budget: Budget) -> Result<Step, Refused> {
        self.place.board.poll(self.place.channel, feed, budget)
    }

    pub(crate) fn into_place(self) -> Place {
        self.place
    }
}

/// A subscriber's place in a channel. Dropping it gives the place up, and the channel with the last one.
#[derive(Debug)]
pub(crate) struct Place {
    board: Arc<Board>,
    channel: ChannelId,
    kind: SubscriberKind,
}

impl Place {
    pub(crate) fn channel(&self) -> ChannelId {
        self.channel
    }

    pub(crate) fn kind(&self) -> SubscriberKind {
        self.kind
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.board.leave(self.channel, self.kind);
    }
}

/// The map of wakers gives memory back when less than one in this many places is taken.
const SPARSE: usize = 4;

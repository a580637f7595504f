//! All subscribers of one reactor, without its thread, its poll and its clock: [`Engine`].
//!
//! What happens comes in by `handle_*`; what the engine wants done comes out of `poll_*`. A subscriber is in one of
//! three conditions, and moves between them:
//!
//! - **live**: it has all that was dispatched. It is a socket, a place and a position, and gets each batch from the one
//!   copy that its [`Line`](lines::Line) made (`pass.rs`);
//! - **behind**: its socket was full, or it has just come. It has a feed of its own, which reads the tail or the log
//!   when the socket has room (`turn.rs`);
//! - **leaving**: all was said, and it is waited for a moment that the peer hangs up.
//!
//! Nothing is ever queued for a subscriber. What a socket did not take is forgotten, but for the one event that it has
//! a part of, and made again when there is room.

mod lines;
mod pass;
mod reads;
mod scratch;
mod subscriber;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use longwave_core::{Epoch, Feed, LogPage};
use slab::Slab;
use tokio::sync::OwnedSemaphorePermit;

use crate::board::{Board, Phase, Place, SubscriberKind};
use crate::framing::Framing;
use crate::inbox::{PageRequest, Touched};
use crate::socket::{Input, Sent, Wire};

use self::lines::{LineKey, Lines};
use self::reads::{Reader, Reads};
use self::scratch::Scratch;
use self::subscriber::{Behind, Condition, Subscriber};

/// Names a subscriber for as long as it is there; used again for others afterwards.
pub(crate) type Key = usize;

/// All subscribers of one reactor.
pub(crate) struct Engine<S, F> {
    board: Arc<Board>,
    epoch: Epoch,
    times: Times,
    phase: Phase,
    now_ms: u64,
    subscribers: Slab<Subscriber<S>>,
    lines: Lines<F>,
    /// Who is behind and can go on, first come first served. At most one entry for each subscriber, and stale ones.
    ready: VecDeque<Reader>,
    /// Lines of which a part was sent, and perhaps not all.
    unfinished: Vec<LineKey>,
    reads: Reads,
    /// Whose sockets were full since the last [`Engine::poll_blocked`].
    blocked: Vec<Key>,
    /// Who is leaving, and until when it is waited for the peer; in the order of these times.
    leaving: VecDeque<(u64, Reader)>,
    /// Counts those who came, so that a key that is used again is not taken for the one before.
    arrivals: u64,
    /// How many ticks there were.
    tick: u64,
    next_tick_ms: u64,
    /// Memory that every pass and turn uses, and none keeps.
    scratch: Scratch,
    delivered: [u64; SubscriberKind::ALL.len()],
}

/// How long things take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The longest silence on a stream.
    pub(crate) heartbeat_ms: u64,
    /// What a client is told to wait at least before it comes back, when the server goes down.
    pub(crate) farewell_retry_ms: u64,
    /// Over how much time the clients' return is spread.
    pub(crate) farewell_spread_ms: u64,
}

/// What a subscriber brings.
pub(crate) struct Arrival<S, F> {
    pub(crate) socket: S,
    pub(crate) permit: OwnedSemaphorePermit,
    /// What is sent before anything else.
    pub(crate) opening: Vec<u8>,
    pub(crate) place: Place,
    pub(crate) feed: Feed,
    pub(crate) framing: F,
}

impl<S: Wire, F: Framing> Engine<S, F> {
    pub(crate) fn new(board: Arc<Board>, epoch: Epoch, times: Times, now_ms: u64) -> Engine<S, F> {
        Engine {
            board,
            epoch,
            times,
            phase: Phase::Open,
            now_ms,
            subscribers: Slab::new(),
            lines: Lines::default(),
            ready: VecDeque::new(),
            unfinished: Vec::new(),
            reads: Reads::default(),
            blocked: Vec::new(),
            leaving: VecDeque::new(),
            arrivals: 0,
            tick: 0,
            next_tick_ms: now_ms + times.tick_ms(),
            scratch: Scratch::default(),
            delivered: [0; SubscriberKind::ALL.len()],
        }
    }

    /// How many subscribers there are, those that are leaving included.
    pub(crate) fn len(&self) -> usize {
        self.subscribers.len()
    }

    /// A subscriber's socket.
    pub(crate) fn socket_mut(&mut self, key: Key) -> Option<&mut S> {
        self.subscribers.get_mut(key).map(|subscriber| &mut subscriber.socket)
    }

    /// Takes in a subscriber. It gets its first bytes when its turn comes.
    pub(crate) fn handle_arrival(&mut self, arrival: Arrival<S, F>) -> Key {
        let Arrival { socket, permit, opening, place, feed, framing } = arrival;
        let line = self.lines.join(&place, &feed, framing);
        self.arrivals += 1;
        let key = self.subscribers.insert(Subscriber {
            socket,
            line,
            seat: 0,
            condition: Condition::Ready,
            cursor: feed.cursor().seq,
            behind: Some(Box::new(Behind::arriving(feed, opening))),
            arrival: self.arrivals,
            input_bytes: 0,
            place: Some(place),
            _permit: permit,
        });
        if self.phase == Phase::Open {
            self.ready.push_back(Reader { key, arrival: self.arrivals });
        } else {
            self.say_farewell(key, self.times.farewell_retry_ms);
            self.leave(key);
        }
        key
    }

    /// Takes in that channels got something: their live subscribers get it now.
    pub(crate) fn handle_touched(&mut self, touched: &Touched) {
        match touched {
            Touched::Some(channels) => {
                for channel in channels {
                    let mut line = self.lines.first_of(*channel);
                    while let Some(key) = line {
                        // Lines of subscribers that leave in the pass go only after it.
                        line = self.lines.next_of(key);
                        self.pass(key);
                    }
                }
            }
            Touched::Any => {
                for line in self.lines.keys() {
                    self.pass(line);
                }
            }
        }
    }

    /// Takes in that a socket has room again.
    pub(crate) fn handle_writable(&mut self, key: Key) {
        if let Some(subscriber) = self.subscribers.get_mut(key)
            && subscriber.condition == Condition::Blocked
        {
            self.make_ready(key);
        }
    }

    /// Takes in that a peer said something, or hung up.
    pub(crate) fn handle_readable(&mut self, key: Key) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        loop {
            let bytes = match subscriber.socket.discard_input(&mut self.scratch.input) {
                Input::Bytes(bytes) => bytes,
                Input::Much => self.scratch.input.len(),
                Input::Closed => break,
            };
            subscriber.input_bytes = subscriber.input_bytes.saturating_add(bytes);
            if subscriber.input_bytes > INPUT_BYTES_MAX {
                break;
            }
            if bytes < self.scratch.input.len() {
                return;
            }
        }
        self.remove(key);
    }

    /// Takes in that a connection is no more.
    pub(crate) fn handle_closed(&mut self, key: Key) {
        self.remove(key);
    }

    /// Takes in a page that [`Engine::poll_read`] asked for; `None` where the log could not be read.
    pub(crate) fn handle_page(&mut self, read: u64, page: Option<LogPage>) {
        let readers = self.reads.finish(read);
        let pages = std::iter::repeat_n(page, readers.len());
        for (reader, page) in readers.into_iter().zip(pages) {
            let Some(subscriber) = self.subscribers.get_mut(reader.key) else { continue };
            if subscriber.arrival != reader.arrival || subscriber.condition != Condition::Reading {
                continue;
            }
            match (&mut subscriber.behind, page) {
                (Some(behind), Some(page)) => {
                    behind.feed.handle_page(page);
                    self.make_ready(reader.key);
                }
                // The client comes back with its cursor, and is told with a status if it still can't be read then.
                _ => self.finish(reader.key),
            }
        }
    }

    /// What is to be read from the log, if anything, and by which number it is answered.
    pub(crate) fn poll_read(&mut self) -> Option<(u64, PageRequest)> {
        self.reads.poll()
    }

    /// Whose socket is to be watched until it has room.
    pub(crate) fn poll_blocked(&mut self) -> Option<Key> {
        self.blocked.pop()
    }

    /// How many events were delivered by this transport since this was asked last.
    pub(crate) fn poll_delivered(&mut self, kind: SubscriberKind) -> u64 {
        self.delivered.get_mut(kind as usize).map_or(0, std::mem::take)
    }

    /// Whether something can be done at once, by [`Engine::take_turn`] or [`Engine::go_on`].
    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.unfinished.is_empty()
    }

    /// Sends the next part to the lines that were given a part.
    pub(crate) fn go_on(&mut self) {
        let mut unfinished = std::mem::take(&mut self.unfinished);
        for line in unfinished.drain(..) {
            self.pass(line);
        }
        if self.unfinished.is_empty() {
            // Only its memory.
            self.unfinished = unfinished;
        }
    }

    /// When [`Engine::handle_time`] is to be called at the latest.
    pub(crate) fn poll_time(&self) -> Option<u64> {
        let leaving = self.leaving.front().map(|(until_ms, _)| *until_ms);
        let tick = (!self.subscribers.is_empty()).then_some(self.next_tick_ms);
        leaving.into_iter().chain(tick).min()
    }

    /// Takes in what time it is.
    pub(crate) fn handle_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        while let Some((_, reader)) = self.leaving.pop_front_if(|(until_ms, _)| *until_ms <= now_ms)
        {
            if self.subscribers.get(reader.key).is_some_and(|s| s.arrival == reader.arrival) {
                self.remove(reader.key);
            }
        }
        if self.next_tick_ms > now_ms {
            return;
        }
        let tick_ms = self.times.tick_ms();
        // After a long pause one round is enough: in it everybody's turn comes.
        let ticks = ((now_ms - self.next_tick_ms) / tick_ms + 1).min(COHORTS as u64);
        for _ in 0..ticks {
            self.beat();
        }
        self.next_tick_ms = now_ms + tick_ms;
    }

    /// Takes in a later phase of the board.
    pub(crate) fn handle_phase(&mut self, phase: Phase) {
        if phase <= self.phase {
            return;
        }
        self.phase = phase;
        match phase {
            Phase::Open => {}
            Phase::Draining => self.drain(),
            Phase::Closed => {
                for key in self.keys() {
                    self.remove(key);
                }
            }
        }
    }

    /// Sends a heartbeat to those of the tick's cohort whose line was silent.
    ///
    /// A cohort's turn comes every [`COHORTS`] ticks. It is left out where something was sent in the last
    /// [`QUIET_TICKS`]; so no silence lasts longer than the two together, which are [`Times::heartbeat_ms`].
    fn beat(&mut self) {
        self.tick += 1;
        let cohort = usize::try_from(self.tick).unwrap_or_default() % COHORTS;
        for key in (cohort..self.subscribers.capacity()).step_by(COHORTS) {
            let Some(subscriber) = self.subscribers.get_mut(key) else { continue };
            let Some(line) = self.lines.get(subscriber.line) else { continue };
            let silent = self.tick - line.last_sent_tick > QUIET_TICKS;
            if subscriber.condition != Condition::Live || !silent {
                continue;
            }
            self.scratch.clear();
            line.framing.write_heartbeat(&mut self.scratch.bytes);
            match subscriber.socket.send(&self.scratch.bytes) {
                Sent::All => {}
                Sent::Part(sent) => {
                    let rest = self.scratch.bytes.get(sent..).unwrap_or_default().to_vec();
                    if let Some(behind) = self.fall_behind(key) {
                        behind.words = rest;
                        self.block(key);
                    }
                }
                Sent::Gone => self.remove(key),
            }
        }
    }

    /// Tells everybody to come back later, the moments of their return spread evenly, and lets them go.
    fn drain(&mut self) {
        let keys = self.keys();
        let count = keys.len().max(1) as u64;
        for (i, key) in (0..).zip(keys) {
            let later_ms: u64 = self.times.farewell_spread_ms.saturating_mul(i) / count;
            self.say_farewell(key, self.times.farewell_retry_ms.saturating_add(later_ms));
            self.leave(key);
        }
    }

    /// Best effort: a client that has no room for it, or is in the middle of an event, comes back by its own rules.
    fn say_farewell(&mut self, key: Key, retry_ms: u64) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let Some(line) = self.lines.get(subscriber.line) else { return };
        self.scratch.clear();
        let out = &mut self.scratch.bytes;
        let mut last_words = LastWords::Farewell;
        if let Some(behind) = &subscriber.behind {
            if behind.rest.is_some() {
                return;
            }
            out.extend_from_slice(&behind.words);
            last_words = behind.last_words;
        }
        if last_words == LastWords::Farewell {
            line.framing.write_farewell(out, Duration::from_millis(retry_ms));
            line.framing.write_finish(out);
        }
        subscriber.socket.send(out);
    }

    /// Ends a stream in order, as soon as there is room for the last words.
    fn finish(&mut self, key: Key) {
        let Some(framing) = self
            .subscribers
            .get(key)
            .and_then(|subscriber| self.lines.get(subscriber.line))
            .map(|line| line.framing.clone())
        else {
            return;
        };
        let Some(behind) = self.fall_behind(key) else { return };
        framing.write_finish(&mut behind.words);
        behind.last_words = LastWords::Said;
        self.make_ready(key);
    }

    /// Makes a live subscriber one that is behind, with a feed where it stands. `None` where it is leaving.
    fn fall_behind(&mut self, key: Key) -> Option<&mut Behind> {
        self.stand_up(key);
        let subscriber = self.subscribers.get_mut(key)?;
        if subscriber.condition == Condition::Leaving {
            return None;
        }
        let line = self.lines.get(subscriber.line)?;
        let feed = || Box::new(Behind::at(line.feed(self.epoch, subscriber.cursor)));
        Some(subscriber.behind.get_or_insert_with(feed))
    }

    /// Takes a subscriber away from its line's live ones, if it is one.
    fn stand_up(&mut self, key: Key) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        if subscriber.condition != Condition::Live {
            return;
        }
        subscriber.condition = Condition::Blocked;
        let Some(line) = self.lines.get_mut(subscriber.line) else { return };
        let seat = subscriber.seat;
        if let Some(moved) = line.stand_up(seat)
            && let Some(moved) = self.subscribers.get_mut(moved)
        {
            moved.seat = seat;
        }
    }

    fn make_ready(&mut self, key: Key) {
        if let Some(subscriber) = self.subscribers.get_mut(key)
            && subscriber.condition != Condition::Ready
        {
            subscriber.condition = Condition::Ready;
            self.ready.push_back(Reader { key, arrival: subscriber.arrival });
        }
    }

    fn block(&mut self, key: Key) {
        if let Some(subscriber) = self.subscribers.get_mut(key) {
            subscriber.condition = Condition::Blocked;
            self.blocked.push(key);
        }
    }

    /// Hangs up, in a way that lets the peer read what it was sent; its place is free at once.
    fn leave(&mut self, key: Key) {
        self.stand_up(key);
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        if subscriber.condition == Condition::Leaving {
            return;
        }
        subscriber.condition = Condition::Leaving;
        subscriber.behind = None;
        subscriber.socket.finish();
        self.lines.leave(subscriber.line);
        subscriber.place = None;
        let reader = Reader { key, arrival: subscriber.arrival };
        self.leaving.push_back((self.now_ms + LINGER_MS, reader));
    }

    /// Closes a connection.
    fn remove(&mut self, key: Key) {
        self.stand_up(key);
        let Some(subscriber) = self.subscribers.try_remove(key) else { return };
        if subscriber.condition != Condition::Leaving {
            self.lines.leave(subscriber.line);
        }
        if self.subscribers.len() * SPARSE < self.subscribers.capacity() {
            self.subscribers.shrink_to_fit();
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.subscribers.iter().map(|(key, _)| key).collect()
    }
}

/// Whether the last words of a stream are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastWords {
    /// None are yet; a farewell would be the last.
    Farewell,
    /// They are among what is sent next.
    Said,
}

impl Times {
    fn tick_ms(self) -> u64 {
        (self.heartbeat_ms / (COHORTS as u64 + QUIET_TICKS + LATE_TICKS)).max(1)
    }
}

/// Into how many parts the subscribers are divided, whose heartbeats are sent one part at a time.
const COHORTS: usize = 16;
/// For how many ticks a line must have been silent before heartbeats are worth sending.
const QUIET_TICKS: u64 = 4;
/// How much later than due ticks may come, all together, in a heartbeat.
const LATE_TICKS: u64 = 1;
/// How long it is waited for a peer to hang up, once it was told all.
const LINGER_MS: u64 = 2_000;
/// How much a peer may say behind its request, which nobody answers any more.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// The slab gives memory back when less than one in this many places is taken.
const SPARSE: usize = 4;

//! The threads that own parked sockets: [`Reactors`].
//!
//! Each has an epoll of its own, and an [`Engine`] that decides everything; here is only what happens in which order.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use longwave_core::{Epoch, Feed};
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::OwnedSemaphorePermit;

use crate::board::{Board, Listener, Phase, Seat, SubscriberKind};
use crate::engine::{Arrival, Engine, Key, Times};
use crate::framing::Framing;
use crate::inbox::{Inbox, Mail, PageReply, PageRequest};
use crate::socket::Socket;

/// The reactors of a server, and the way to them. Their threads end when the board is closed.
pub struct Reactors<F> {
    inboxes: Vec<Arc<Inbox<F>>>,
    next: AtomicUsize,
}

/// How reactors work.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out in full")]
pub struct ReactorOptions {
    /// How many there are. At least 1.
    pub reactors: usize,
    /// Of the log whose positions cursors are.
    pub epoch: Epoch,
    /// The longest silence on a stream, in milliseconds.
    pub heartbeat_ms: u64,
    /// What a client is told to wait at least before it comes back, when the server goes down.
    pub farewell_retry_ms: u64,
    /// Over how much time the clients' return is spread.
    pub farewell_spread_ms: u64,
}

/// What reactors ask of their surroundings.
pub trait Host: Send + Sync + 'static {
    /// Reads a page of the log, and gives it to `reply`. Called on a reactor's thread, which must not wait for it.
    fn read(&self, request: PageRequest, reply: PageReply);

    /// Takes in how many events were handed to sockets.
    fn delivered(&self, kind: SubscriberKind, events: u64);
}

/// A subscriber, to be taken over for good.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out in full")]
pub struct Parked<F> {
    /// Its connection, non-blocking. What the peer still says on it is not answered.
    pub socket: TcpStream,
    /// The connection's place among those that the server takes; given back when it is closed.
    pub permit: OwnedSemaphorePermit,
    /// What is sent before anything else.
    pub opening: Vec<u8>,
    /// Its place at the reactors' board.
    pub seat: Seat,
    /// What it gets, from its start on. It has joined the seat's channel.
    pub feed: Feed,
    /// What that looks like.
    pub framing: F,
}

impl<F: Framing> Reactors<F> {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the system gives no thread or no epoll. Nothing runs then.
    pub fn start(
        options: ReactorOptions,
        board: &Arc<Board>,
        host: &Arc<dyn Host>,
    ) -> io::Result<Reactors<F>> {
        let mut reactors = Vec::new();
        for _ in 0..options.reactors.max(1) {
            let poll = Poll::new()?;
            let inbox = Arc::new(Inbox::new(Waker::new(poll.registry(), WAKER)?));
            reactors.push(Reactor::new(options, poll, inbox, board, host));
        }
        let mut inboxes: Vec<Arc<Inbox<F>>> = Vec::new();
        for (i, reactor) in reactors.into_iter().enumerate() {
            let inbox = Arc::clone(&reactor.inbox);
            let thread = thread::Builder::new().name(format!("longwave-sub-{i}"));
            if let Err(error) = thread.spawn(move || reactor.run()) {
                for started in inboxes {
                    started.handle_phase(Phase::Closed);
                }
                return Err(error);
            }
            inboxes.push(inbox);
        }
        for inbox in &inboxes {
            let phase = board.listen(Arc::clone(inbox) as Arc<dyn Listener>);
            inbox.handle_phase(phase);
        }
        Ok(Reactors { inboxes, next: AtomicUsize::new(0) })
    }

    /// Takes a subscriber over. It gets what its feed has for it until it hangs up, its topics end, or the board
    /// closes.
    pub fn park(&self, parked: Parked<F>) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(inbox) = self.inboxes.get(turn % self.inboxes.len().max(1)) {
            inbox.park(parked);
        }
    }
}

impl<F> std::fmt::Debug for Reactors<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactors").field("reactors", &self.inboxes.len()).finish_non_exhaustive()
    }
}

struct Reactor<F: Framing> {
    poll: Poll,
    inbox: Arc<Inbox<F>>,
    mail: Mail<F>,
    engine: Engine<Socket, F>,
    host: Arc<dyn Host>,
    started: Instant,
    phase: Phase,
    /// Of how many subscribers the inbox knows that they came and did not go.
    counted: usize,
}

impl<F: Framing> Reactor<F> {
    fn new(
        options: ReactorOptions,
        poll: Poll,
        inbox: Arc<Inbox<F>>,
        board: &Arc<Board>,
        host: &Arc<dyn Host>,
    ) -> Reactor<F> {
        let times = Times {
            heartbeat_ms: options.heartbeat_ms,
            farewell_retry_ms: options.farewell_retry_ms,
            farewell_spread_ms: options.farewell_spread_ms,
        };
        Reactor {
            poll,
            inbox,
            mail: Mail::empty(Phase::Open),
            engine: Engine::new(Arc::clone(board), options.epoch, times, 0),
            host: Arc::clone(host),
            started: Instant::now(),
            phase: Phase::Open,
            counted: 0,
        }
    }

    fn run(mut self) {
        self.serve();
        self.inbox.close();
    }

    fn serve(&mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.phase < Phase::Closed {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // Nothing is known of any socket any more. The clients come back, to another reactor or process.
                    tracing::error!(%error, "a delivery reactor failed; its subscribers are cut off");
                    return;
                }
            }
            self.engine.handle_time(self.now_ms());
            for event in &events {
                if event.token() == WAKER {
                    continue;
                }
                let Token(key) = event.token();
                if event.is_error() {
                    self.engine.handle_closed(key);
                    continue;
                }
                if event.is_readable() || event.is_read_closed() {
                    self.engine.handle_readable(key);
                }
                if event.is_writable() {
                    self.engine.handle_writable(key);
                }
            }
            self.handle_mail();
            self.engine.go_on();
            for _ in 0..TURNS_MAX {
                if !self.engine.has_work() {
                    break;
                }
                self.engine.take_turn();
            }
            self.serve_engine();
        }
    }

    fn handle_mail(&mut self) {
        self.inbox.take(&mut self.mail);
        for parked in std::mem::take(&mut self.mail.parked) {
            let Parked { socket, permit, opening, seat, feed, framing } = parked;
            let key = self.engine.handle_arrival(Arrival {
                socket: Socket(mio::net::TcpStream::from_std(socket)),
                permit,
                opening,
                place: seat.into_place(),
                feed,
                framing,
            });
            self.counted += 1;
            self.watch(key, Watch::ForInput);
        }
        for (read, page) in self.mail.pages.drain(..) {
            self.engine.handle_page(read, page);
        }
        self.engine.handle_touched(&self.mail.touched);
        self.mail.touched.clear();
        if self.mail.phase > self.phase {
            self.phase = self.mail.phase;
            self.engine.handle_phase(self.phase);
        }
    }

    /// Does what the engine wants done.
    fn serve_engine(&mut self) {
        while let Some(key) = self.engine.poll_blocked() {
            self.watch(key, Watch::ForRoomToo);
        }
        while let Some((read, request)) = self.engine.poll_read() {
            self.host.read(request, PageReply::new(Arc::clone(&self.inbox), read));
        }
        for kind in SubscriberKind::ALL {
            let events = self.engine.poll_delivered(kind);
            if events > 0 {
                self.host.delivered(kind, events);
            }
        }
        self.inbox.handle_gone(self.counted - self.engine.len());
        self.counted = self.engine.len();
    }

    fn watch(&mut self, key: Key, watch: Watch) {
        let registry = self.poll.registry();
        let Some(Socket(stream)) = self.engine.socket_mut(key) else { return };
        let watched = match watch {
            Watch::ForInput => registry.register(stream, Token(key), Interest::READABLE),
            Watch::ForRoomToo => {
                let interests = Interest::READABLE | Interest::WRITABLE;
                registry.reregister(stream, Token(key), interests)
            }
        };
        if let Err(error) = watched {
            tracing::warn!(%error, "can't watch a subscriber's socket; it is closed");
            self.engine.handle_closed(key);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn timeout(&self) -> Option<Duration> {
        if self.engine.has_work() {
            return Some(Duration::ZERO);
        }
        let due_ms = self.engine.poll_time()?;
        // A poll that ends a little early would find nothing due, and poll again.
        Some(Duration::from_millis(due_ms.saturating_sub(self.now_ms())) + Duration::from_millis(1))
    }
}

/// What a socket is watched for.
#[derive(Clone, Copy)]
enum Watch {
    /// That the peer says something or hangs up.
    ForInput,
    /// That there is room, besides. Stays so: the kernel tells it only after a write found none.
    ForRoomToo,
}

const WAKER: Token = Token(usize::MAX);
/// How many sockets are heard at a time.
const EVENTS_MAX: usize = 1024;
/// How many subscribers that are behind have a turn before live ones are looked after again.
const TURNS_MAX: usize = 16;

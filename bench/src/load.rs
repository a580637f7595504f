//! The load: many subscribers and some publishers on one thread and one epoll.
//!
//! A subscriber reads, counts the events in what it read, and forgets it; nothing is allocated per event, so that one
//! core of load keeps up with one core of server. [`Load`] is what runs use; how sockets are read is in `load/ends.rs`.
//! Connecting is blocking, since on loopback the kernel answers at once.

mod ends;

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};

pub use self::ends::Tally;
use self::ends::{Ends, Publisher, Subscriber};
use crate::template::Template;

/// Subscribers and publishers of one server.
pub struct Load {
    addr: SocketAddr,
    poll: Poll,
    events: Events,
    ends: Ends,
}

impl Load {
    /// A load on the server at `addr`, without connections yet.
    ///
    /// # Errors
    /// Where the system gives no epoll.
    pub fn new(addr: SocketAddr) -> anyhow::Result<Load> {
        let poll = Poll::new()?;
        Ok(Load { addr, poll, events: Events::with_capacity(EVENTS_MAX), ends: Ends::new() })
    }

    /// What has happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.ends.tally
    }

    /// How many subscribers stand.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.ends.subscribers.len()
    }

    /// Adds subscribers, and returns when each has the head of its answer. `request` gives what the n-th sends.
    ///
    /// # Errors
    /// Where one can't connect, is refused, or gets no answer.
    pub fn subscribe(
        &mut self,
        count: usize,
        request: impl Fn(usize) -> String,
    ) -> anyhow::Result<()> {
        for index in 0..count {
            let stream = self.connect().with_context(|| format!("subscriber {index}"))?;
            (&stream).write_all(request(index).as_bytes())?;
            self.add_subscriber(stream, Subscriber::with_head)?;
            // Fewer than any server's backlog, so that no connection waits for a second SYN.
            let enough = self.ends.subscribers.len().saturating_sub(CONNECTING_MAX);
            self.until("subscribing", |tally| tally.standing >= enough)?;
        }
        let all = self.ends.subscribers.len();
        self.until("subscribing", |tally| tally.standing >= all)
    }

    /// Adds a subscriber of a stream without an HTTP head, which asks for nothing.
    ///
    /// # Errors
    /// Where it can't connect.
    pub fn listen(&mut self) -> anyhow::Result<()> {
        let stream = self.connect()?;
        self.ends.tally.standing += 1;
        self.add_subscriber(stream, Subscriber::without_head)
    }

    /// Closes all subscribers' connections.
    pub fn unsubscribe_all(&mut self) {
        self.ends.subscribers.clear();
        self.ends.tally.standing = 0;
    }

    /// Adds publishers that all send `template`.
    ///
    /// # Errors
    /// Where one can't connect.
    pub fn add_publishers(&mut self, count: usize, template: &Template) -> anyhow::Result<()> {
        for _ in 0..count {
            let stream = self.connect_publisher(self.ends.publishers.len())?;
            self.ends.add_publisher(Publisher::new(stream, template.clone()));
        }
        Ok(())
    }

    /// Publishes so many events at once, each on a connection of its own, and returns when every subscriber has all of
    /// them and every publisher its answer.
    ///
    /// # Errors
    /// Where an event is lost or doubled, a publish refused, or a connection closed.
    pub fn wave(&mut self, in_flight: usize) -> anyhow::Result<()> {
        self.wave_to(in_flight, 0)
    }

    /// The same to the topic of this number.
    ///
    /// # Errors
    /// As [`Load::wave`].
    pub fn wave_to(&mut self, in_flight: usize, number: usize) -> anyhow::Result<()> {
        let before = self.ends.tally;
        let stamp = self.ends.now();
        for _ in 0..in_flight {
            let publisher = self.ends.idle.pop().context("more in flight than publishers")?;
            self.publish(publisher, stamp, number)?;
        }
        let delivered = before.delivered + (self.ends.subscribers.len() * in_flight) as u64;
        let answered = before.answered + in_flight as u64;
        self.until("an event", |tally| tally.delivered >= delivered && tally.answered >= answered)?;
        let extra = self.ends.tally.delivered - delivered;
        anyhow::ensure!(extra == 0, "{extra} deliveries too many");
        Ok(())
    }

    /// Publishes at a fixed rate, whatever the server takes for it, and returns the time from when each event was due
    /// until each subscriber had it, in microseconds.
    ///
    /// # Errors
    /// As [`Load::wave`].
    pub fn paced(&mut self, rate: f64, duration: Duration) -> anyhow::Result<Histogram<u64>> {
        let events = (rate * duration.as_secs_f64()).round().max(1.0);
        let before = self.ends.tally;
        self.ends.latencies_us = Some(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?);
        let started = Instant::now();
        let mut sent = 0_u32;
        while f64::from(sent) < events {
            let due = started + Duration::from_secs_f64(f64::from(sent) / rate);
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero()
                && let Some(publisher) = self.ends.idle.pop()
            {
                let stamp = self.ends.stamp_of(due);
                self.publish(publisher, stamp, 0)?;
                sent += 1;
            } else if wait.is_zero() {
                let answered = self.ends.tally.answered;
                self.until("an answer", |tally| tally.answered > answered)?;
            } else {
                // epoll waits whole milliseconds; what is less is spun.
                self.turn(Duration::from_millis(u64::try_from(wait.as_millis())?))?;
            }
        }
        let delivered = before.delivered + u64::from(sent) * self.ends.subscribers.len() as u64;
        let answered = before.answered + u64::from(sent);
        self.until("an event", |tally| tally.delivered >= delivered && tally.answered >= answered)?;
        self.ends.latencies_us.take().context("the latencies")
    }

    /// Every publisher publishes as soon as it has its last answer, to the topic whose number `next` gives, until that
    /// gives none; returns when all are answered. It does not wait for deliveries.
    ///
    /// # Errors
    /// Where a publish is refused, or a connection closed.
    pub fn saturate(&mut self, mut next: impl FnMut() -> Option<usize>) -> anyhow::Result<()> {
        let mut expected = self.ends.tally.answered;
        let mut more = true;
        loop {
            while more && let Some(publisher) = self.ends.idle.pop() {
                let Some(number) = next() else {
                    self.ends.idle.push(publisher);
                    more = false;
                    break;
                };
                let stamp = self.ends.now();
                self.publish(publisher, stamp, number)?;
                expected += 1;
            }
            let answered = self.ends.tally.answered;
            if answered >= expected {
                return Ok(());
            }
            self.until("an answer", |tally| tally.answered > answered)?;
        }
    }

    /// Waits until so many events were delivered, over all subscribers and all time.
    ///
    /// # Errors
    /// Where nothing comes any more, or a connection is closed before.
    pub fn until_delivered(&mut self, events: u64) -> anyhow::Result<()> {
        self.until("an event", |tally| tally.delivered >= events)
    }

    /// Waits until the server has closed every subscriber's connection.
    ///
    /// # Errors
    /// Where nothing comes any more.
    pub fn until_closed(&mut self) -> anyhow::Result<()> {
        let mut quiet_since = Instant::now();
        let mut last = self.ends.tally;
        while self.ends.tally.closed < self.ends.subscribers.len() {
            self.turn(STEP)?;
            self.check_progress("the end", &mut last, &mut quiet_since)?;
        }
        Ok(())
    }

    /// Keeps what the subscribers receive, in the order in which it comes, for the file of [`Load::take_captured`].
    pub fn capture(&mut self) {
        self.ends.captured = Some(Vec::new());
    }

    /// What has been received since [`Load::capture`], without the head.
    pub fn take_captured(&mut self) -> Vec<u8> {
        self.ends.captured.take().unwrap_or_default()
    }

    /// Checks that every subscriber has had as many events as any other.
    ///
    /// # Errors
    /// Where one has more or fewer.
    pub fn check_even(&self) -> anyhow::Result<()> {
        let counts = || self.ends.subscribers.iter().map(|subscriber| subscriber.events);
        let (least, most) = (counts().min(), counts().max());
        anyhow::ensure!(least == most, "some subscribers have {least:?} events, others {most:?}");
        Ok(())
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        TcpStream::connect(self.addr).with_context(|| format!("can't connect to {}", self.addr))
    }

    fn connect_publisher(&self, index: usize) -> anyhow::Result<mio::net::TcpStream> {
        let stream = self.connect().context("a publisher")?;
        stream.set_nodelay(true)?;
        let mut stream = into_mio(stream)?;
        let token = ends::publisher_token(index);
        self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
        Ok(stream)
    }

    /// Publishes on an idle connection, or on a new one where the server has closed that.
    fn publish(&mut self, publisher: usize, stamp: u64, number: usize) -> anyhow::Result<()> {
        if self.ends.is_disconnected(publisher) {
            let stream = self.connect_publisher(publisher)?;
            self.ends.reconnect(publisher, stream);
        }
        self.ends.publish(publisher, stamp, number)
    }

    fn add_subscriber(
        &mut self,
        stream: TcpStream,
        make: fn(mio::net::TcpStream) -> Subscriber,
    ) -> anyhow::Result<()> {
        let mut stream = into_mio(stream)?;
        let token = Token(self.ends.subscribers.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
        self.ends.subscribers.push(make(stream));
        Ok(())
    }

    /// Goes on until `done`. A connection that the server closes is an error, since what is waited for can't come then.
    fn until(&mut self, what: &str, done: impl Fn(&Tally) -> bool) -> anyhow::Result<()> {
        let mut quiet_since = Instant::now();
        let mut last = self.ends.tally;
        while !done(&self.ends.tally) {
            self.turn(STEP)?;
            let Tally { closed, .. } = self.ends.tally;
            anyhow::ensure!(
                closed == 0 || done(&self.ends.tally),
                "the server closed {closed} of {} subscribers' connections",
                self.ends.subscribers.len()
            );
            self.check_progress(what, &mut last, &mut quiet_since)?;
        }
        Ok(())
    }

    fn check_progress(
        &self,
        what: &str,
        last: &mut Tally,
        quiet_since: &mut Instant,
    ) -> anyhow::Result<()> {
        let now = self.ends.tally;
        if now != *last {
            (*last, *quiet_since) = (now, Instant::now());
        }
        anyhow::ensure!(
            quiet_since.elapsed() < HANG_LIMIT,
            "waited {} s in vain for {what}: {now:?} with {} subscribers",
            HANG_LIMIT.as_secs(),
            self.ends.subscribers.len()
        );
        Ok(())
    }

    /// Waits for something to read, and reads it.
    fn turn(&mut self, timeout: Duration) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            self.ends.read(event)?;
        }
        Ok(())
    }
}

fn into_mio(stream: TcpStream) -> std::io::Result<mio::net::TcpStream> {
    stream.set_nonblocking(true)?;
    Ok(mio::net::TcpStream::from_std(stream))
}

const EVENTS_MAX: usize = 4096;
/// Connections that have no answer yet. The smallest backlog among the servers is 128.
const CONNECTING_MAX: usize = 64;
/// Without anything to read for so long, a run has failed.
const HANG_LIMIT: Duration = Duration::from_secs(30);
/// How often the limit is looked at where nothing comes.
const STEP: Duration = Duration::from_secs(1);
/// Ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

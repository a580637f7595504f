//! The ends of connections: subscribers that count, publishers that wait for their answers. Read [`Ends`].
//!
//! Sockets are edge-triggered: one that gave less than was asked for is empty, and need not be asked again.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Instant;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use mio::Token;
use mio::net::TcpStream;

use crate::exchange::ResponseReader;
use crate::template::{MARKER, Template};

/// All of them, and what has happened.
pub(super) struct Ends {
    pub(super) subscribers: Vec<Subscriber>,
    pub(super) publishers: Vec<Publisher>,
    /// The publishers that wait for no answer.
    pub(super) idle: Vec<usize>,
    pub(super) tally: Tally,
    /// Where the latency of each delivery is recorded, while it is wanted.
    pub(super) latencies_us: Option<Histogram<u64>>,
    /// Where what comes is kept, while it is wanted.
    pub(super) captured: Option<Vec<u8>>,
    started: Instant,
    buffer: Vec<u8>,
}

/// What has happened, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Subscribers that have the head of their answer.
    pub standing: usize,
    /// Events that came, each counted for each subscriber.
    pub delivered: u64,
    /// Bytes that came behind the heads.
    pub received_bytes: u64,
    /// Publishes that were acknowledged.
    pub answered: u64,
    /// Subscribers whose connection the server closed.
    pub closed: usize,
}

pub(super) struct Subscriber {
    /// `None` once the server has closed it.
    stream: Option<TcpStream>,
    head: Head,
    /// How many events came.
    pub(super) events: u64,
    /// The number made by the digits that came last, which is a time where a marker follows.
    digits: u64,
}

/// How far an answer's head has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Awaited,
    /// So many bytes of its end came in a row.
    Begun(usize),
    Whole,
}

pub(super) struct Publisher {
    /// `None` once the server has closed it, which it may while nothing is under way.
    stream: Option<TcpStream>,
    template: Template,
    response: ResponseReader,
    is_waiting: bool,
}

impl Ends {
    pub(super) fn new() -> Ends {
        Ends {
            subscribers: Vec::new(),
            publishers: Vec::new(),
            idle: Vec::new(),
            tally: Tally::default(),
            latencies_us: None,
            captured: None,
            started: Instant::now(),
            buffer: vec![0; READ_BYTES],
        }
    }

    pub(super) fn add_publisher(&mut self, publisher: Publisher) {
        self.idle.push(self.publishers.len());
        self.publishers.push(publisher);
    }

    /// Whether a publisher needs a new connection before it can publish.
    pub(super) fn is_disconnected(&self, publisher: usize) -> bool {
        self.publishers.get(publisher).is_some_and(|publisher| publisher.stream.is_none())
    }

    pub(super) fn reconnect(&mut self, publisher: usize, stream: TcpStream) {
        if let Some(publisher) = self.publishers.get_mut(publisher) {
            publisher.stream = Some(stream);
        }
    }

    /// Now, as events carry it.
    pub(super) fn now(&self) -> u64 {
        self.stamp_of(Instant::now())
    }

    pub(super) fn stamp_of(&self, time: Instant) -> u64 {
        let nanoseconds = time.saturating_duration_since(self.started).as_nanos();
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
    }

    /// Has a publisher that is idle publish an event.
    pub(super) fn publish(
        &mut self,
        publisher: usize,
        stamp: u64,
        number: usize,
    ) -> anyhow::Result<()> {
        let publisher = self.publishers.get_mut(publisher).context("no such publisher")?;
        publisher.template.stamp(stamp);
        publisher.template.number(number);
        publisher.is_waiting = true;
        let request = publisher.template.bytes();
        let stream = publisher.stream.as_mut().context("a publisher has no connection")?;
        let written = stream.write(request).context("publishing")?;
        anyhow::ensure!(written == request.len(), "a publish did not fit into its socket");
        Ok(())
    }

    /// Reads what a connection has.
    pub(super) fn read(&mut self, Token(token): Token) -> anyhow::Result<()> {
        match token.checked_sub(PUBLISHERS) {
            Some(publisher) => self.read_publisher(publisher),
            None => self.read_subscriber(token),
        }
    }

    fn read_subscriber(&mut self, index: usize) -> anyhow::Result<()> {
        // Events of a connection that was dropped since are passed over.
        let Some(subscriber) = self.subscribers.get_mut(index) else { return Ok(()) };
        while let Some(stream) = &mut subscriber.stream {
            let read = match stream.read(&mut self.buffer) {
                Ok(read) if read > 0 => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                _ => {
                    subscriber.stream = None;
                    self.tally.closed += 1;
                    return Ok(());
                }
            };
            let bytes = self.buffer.get(..read).unwrap_or_default();
            let body = subscriber.skip_head(bytes, &mut self.tally)?;
            self.tally.received_bytes += body.len() as u64;
            if let Some(captured) = &mut self.captured {
                captured.extend_from_slice(body);
            }
            let events = match &mut self.latencies_us {
                None => memchr::memchr_iter(MARKER, body).count() as u64,
                Some(latencies) => {
                    let now = self.started.elapsed().as_nanos();
                    subscriber.count_stamped(body, |stamp| {
                        let late = now.saturating_sub(u128::from(stamp)) / 1000;
                        latencies.saturating_record(u64::try_from(late).unwrap_or(u64::MAX).max(1));
                    })
                }
            };
            subscriber.events += events;
            self.tally.delivered += events;
            if read < self.buffer.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn read_publisher(&mut self, index: usize) -> anyhow::Result<()> {
        let Some(publisher) = self.publishers.get_mut(index) else { return Ok(()) };
        while let Some(stream) = &mut publisher.stream {
            let read = match stream.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) if !publisher.is_waiting => {
                    publisher.stream = None;
                    return Ok(());
                }
                result => result.context("a publisher's connection")?,
            };
            anyhow::ensure!(read > 0, "the server closed a connection instead of an answer");
            let bytes = self.buffer.get(..read).unwrap_or_default();
            if publisher.response.take(bytes).context("a publish")?.is_some() {
                publisher.is_waiting = false;
                self.tally.answered += 1;
                self.idle.push(index);
            }
            if read < self.buffer.len() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Subscriber {
    pub(super) fn with_head(stream: TcpStream) -> Subscriber {
        Subscriber { stream: Some(stream), head: Head::Awaited, events: 0, digits: 0 }
    }

    pub(super) fn without_head(stream: TcpStream) -> Subscriber {
        Subscriber { head: Head::Whole, ..Subscriber::with_head(stream) }
    }

    /// What of `bytes` stands behind the answer's head, which must say that the subscription stands.
    fn skip_head<'a>(&mut self, bytes: &'a [u8], tally: &mut Tally) -> anyhow::Result<&'a [u8]> {
        let mut seen = match self.head {
            Head::Whole => return Ok(bytes),
            Head::Begun(seen) => seen,
            Head::Awaited => {
                let shown = bytes.get(..bytes.len().min(SHOWN_BYTES)).unwrap_or_default();
                let is_success = bytes.starts_with(b"HTTP/1.1 200");
                let shown = String::from_utf8_lossy(shown);
                anyhow::ensure!(is_success, "a subscription was answered {shown:?}");
                0
            }
        };
        for (index, byte) in bytes.iter().enumerate() {
            seen = match HEAD_END.get(seen) {
                Some(wanted) if wanted == byte => seen + 1,
                _ => usize::from(*byte == b'\r'),
            };
            if seen == HEAD_END.len() {
                self.head = Head::Whole;
                tally.standing += 1;
                return Ok(bytes.get(index + 1..).unwrap_or_default());
            }
        }
        self.head = Head::Begun(seen);
        Ok(&[])
    }

    /// Counts events, and tells the time that stands in each. It looks at every byte, so that it does not matter where
    /// reads cut an event.
    fn count_stamped(&mut self, body: &[u8], mut record: impl FnMut(u64)) -> u64 {
        let mut events = 0;
        for byte in body {
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    self.digits = self.digits.wrapping_mul(10).wrapping_add(digit);
                }
                &MARKER => {
                    events += 1;
                    record(self.digits);
                }
                _ => self.digits = 0,
            }
        }
        events
    }
}

impl Publisher {
    pub(super) fn new(stream: TcpStream, template: Template) -> Publisher {
        let response = ResponseReader::default();
        Publisher { stream: Some(stream), template, response, is_waiting: false }
    }
}

/// The token of the n-th publisher. Those of subscribers are below.
pub(super) fn publisher_token(index: usize) -> Token {
    Token(PUBLISHERS + index)
}

const PUBLISHERS: usize = usize::MAX / 2;
const READ_BYTES: usize = 256 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";
const SHOWN_BYTES: usize = 200;

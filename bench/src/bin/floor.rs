//! The floor: the least that a server does to deliver one event to many sockets.
//!
//! It accepts, reads a request's head, answers one, and for each `POST` writes one ready frame to every socket with
//! `write(2)`. There are no topics, ids that mean something, or queues; a socket that does not take the whole frame at
//! once is closed. What a real server uses beyond this is its own, not the kernel's. Read [`Floor`].
#![expect(clippy::print_stdout, reason = "its address is all that it says")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::Context as _;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

/// All connections, and the frame that they are sent.
struct Floor {
    poll: Poll,
    listener: TcpListener,
    connections: Slab<Connection>,
    frame: Vec<u8>,
    published: u64,
}

struct Connection {
    stream: TcpStream,
    /// Whether it gets what is published.
    is_subscriber: bool,
    /// What has come of a request that is not yet whole. Empty, and so without memory, nearly always.
    partial: Vec<u8>,
}

enum Request {
    Subscribe,
    Publish { body: std::ops::Range<usize> },
}

fn main() -> anyhow::Result<()> {
    let addr = std::env::args().nth(1).context("usage: bench-floor ADDRESS")?;
    let addr: SocketAddr = addr.parse().with_context(|| addr.clone())?;
    let mut floor = Floor::bind(addr)?;
    println!("listening on http://{}", floor.listener.local_addr()?);
    floor.run()
}

impl Floor {
    fn bind(addr: SocketAddr) -> anyhow::Result<Floor> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(addr).with_context(|| addr.to_string())?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Floor { poll, listener, connections: Slab::new(), frame: Vec::new(), published: 0 })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(key) => self.read(key, &mut buffer)?,
                }
            }
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    stream.set_nodelay(true)?;
                    let entry = self.connections.vacant_entry();
                    let token = Token(entry.key());
                    self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    let partial = Vec::new();
                    entry.insert(Connection { stream, is_subscriber: false, partial });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads until there is no more, and answers each whole request.
    fn read(&mut self, key: usize, buffer: &mut [u8]) -> anyhow::Result<()> {
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
            let read = match connection.stream.read(buffer) {
                Ok(read) if read > 0 => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Closed, in order or not.
                _ => {
                    self.connections.remove(key);
                    return Ok(());
                }
            };
            connection.partial.extend_from_slice(buffer.get(..read).unwrap_or_default());
            let bytes = std::mem::take(&mut connection.partial);
            match parse(&bytes)? {
                None => connection.partial = bytes,
                Some(Request::Subscribe) => {
                    connection.is_subscriber = true;
                    connection.stream.write_all(SUBSCRIBED)?;
                }
                Some(Request::Publish { body }) => {
                    connection.stream.write_all(PUBLISHED)?;
                    self.deliver(bytes.get(body).unwrap_or_default());
                }
            }
            // A short read has emptied the socket; the next byte is a new event.
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Writes one frame to every subscriber.
    fn deliver(&mut self, data: &[u8]) {
        self.published += 1;
        self.frame.clear();
        let event = format!("id: 00000-{:08}\ndata: ", self.published);
        let length = event.len() + data.len() + EVENT_END.len();
        self.frame.extend_from_slice(format!("{length:X}\r\n{event}").as_bytes());
        for part in [data, EVENT_END, CHUNK_END] {
            self.frame.extend_from_slice(part);
        }
        let frame = self.frame.as_slice();
        self.connections.retain(|_, connection| {
            !connection.is_subscriber
                || connection.stream.write(frame).is_ok_and(|written| written == frame.len())
        });
    }
}

/// A request, once it is whole.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes)? else { return Ok(None) };
    if request.method == Some("GET") {
        return Ok(Some(Request::Subscribe));
    }
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(LENGTH));
    let length: usize =
        length.map(|header| str::from_utf8(header.value)).transpose()?.unwrap_or("0").parse()?;
    let body = head..head + length;
    Ok((bytes.len() >= body.end).then_some(Request::Publish { body }))
}

const LISTENER: Token = Token(usize::MAX);
const EVENTS_MAX: usize = 4096;
const READ_BYTES: usize = 16 * 1024;
const HEADERS_MAX: usize = 16;
const LENGTH: &str = "content-length";
const SUBSCRIBED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
const PUBLISHED: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const EVENT_END: &[u8] = b"\n\n";
const CHUNK_END: &[u8] = b"\r\n";

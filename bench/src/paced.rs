//! Streams at an even pace, each event with the time at which it was sent: [`Upstream`] sends them, [`read`] times them.
//!
//! Both are plain threads with blocking sockets in one process, so there is one clock, and nothing but the kernel between
//! a time stamp and its socket. How precisely a thread wakes for the next event is of no matter: it is stamped then.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made from the command line")]
pub struct Pace {
    /// How many events.
    pub events: u32,
    /// How long it is from one to the next.
    pub interval: Duration,
    /// How long it is to the first, so that streams that run together don't send together.
    pub phase: Duration,
}

/// A server of paced streams. Its threads last as long as the process.
#[derive(Debug)]
pub struct Upstream {
    addr: SocketAddr,
    epoch: Instant,
}

impl Upstream {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// Where the system has none.
    pub fn start() -> anyhow::Result<Upstream> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let upstream = Upstream { addr: listener.local_addr()?, epoch: Instant::now() };
        let epoch = upstream.epoch;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A reader that goes away misses its events: it says so itself.
                std::thread::spawn(move || serve(stream, epoch));
            }
        });
        Ok(upstream)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The time that its stamps count from.
    #[must_use]
    pub fn epoch(&self) -> Instant {
        self.epoch
    }
}

/// Asks `addr`, which is the upstream or something before it, for a stream, and returns how long each event was on its
/// way, in order.
///
/// # Errors
/// Where the stream is refused, breaks off, or has not all its events.
pub fn read(addr: SocketAddr, epoch: Instant, pace: Pace) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(addr).with_context(|| addr.to_string())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let Pace { events, interval, phase } = pace;
    let (interval, phase) = (interval.as_micros(), phase.as_micros());
    write!(
        stream,
        "GET {PATH}?{events}&{interval}&{phase} HTTP/1.1\r\nhost: localhost\r\n\
         accept: text/event-stream\r\nconnection: close\r\n\r\n"
    )?;
    let mut taken = Vec::with_capacity(events as usize);
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    anyhow::ensure!(line.starts_with("HTTP/1.1 200 "), "answered {}", line.trim_end());
    loop {
        line.clear();
        anyhow::ensure!(reader.read_line(&mut line)? > 0, "the stream broke off");
        // Chunks begin and end between events here, so their sizes are lines of their own.
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if data.trim_end() == DONE {
            break;
        }
        let now = epoch.elapsed();
        let sent = stamp(data).with_context(|| format!("no time in {data:?}"))?;
        taken.push(now.checked_sub(sent).context("an event came before it was sent")?);
    }
    let count = taken.len();
    anyhow::ensure!(count == events as usize, "{count} events came of {events}");
    Ok(taken)
}

fn serve(stream: TcpStream, epoch: Instant) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.by_ref().take(REQUEST_BYTES_MAX).read_line(&mut request)?;
    let pace = asked(&request).context("the request names no pace")?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        anyhow::ensure!(
            reader.by_ref().take(REQUEST_BYTES_MAX).read_line(&mut line)? > 0,
            "no request"
        );
    }
    send(stream, epoch, pace)
}

fn send(mut stream: TcpStream, epoch: Instant, pace: Pace) -> anyhow::Result<()> {
    stream.write_all(HEAD.as_bytes())?;
    let begun = Instant::now() + pace.phase;
    for number in 0..pace.events {
        let due = begun + pace.interval * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let at = epoch.elapsed().as_nanos();
        let event = format!(
            "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1763600000,\
             \"model\":\"paced\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" token\"}},\
             \"finish_reason\":null}}],{STAMP}{at}}}\n\n"
        );
        write_chunk(&mut stream, &event)?;
    }
    write_chunk(&mut stream, &format!("data: {DONE}\n\n"))?;
    Ok(stream.write_all(b"0\r\n\r\n")?)
}

/// In one write, which is one packet.
fn write_chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
}

/// The pace that a request's first line asks for.
fn asked(request: &str) -> Option<Pace> {
    let (_, query) = request.split(' ').nth(1)?.split_once('?')?;
    let mut numbers = query.split('&').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    Some(Pace {
        events: u32::try_from(next()?).ok()?,
        interval: Duration::from_micros(next()?),
        phase: Duration::from_micros(next()?),
    })
}

/// When an event was sent.
fn stamp(data: &str) -> Option<Duration> {
    let (_, at) = data.split_once(STAMP)?;
    at.trim_end().strip_suffix('}')?.parse().ok().map(Duration::from_nanos)
}

const PATH: &str = "/v1/chat/completions";
const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const STAMP: &str = "\"at\":";
const DONE: &str = "[DONE]";
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// A stream that is silent for longer hangs.
const SILENCE_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_of_a_paced_stream_is_timed() {
        let upstream = Upstream::start().unwrap();
        let interval = Duration::from_millis(1);
        let pace = Pace { events: 20, interval, phase: Duration::from_millis(2) };
        let begun = Instant::now();
        let taken = read(upstream.addr(), upstream.epoch(), pace).unwrap();
        assert_eq!(taken.len(), 20);
        assert!(begun.elapsed() >= interval * 19 + pace.phase, "it was not paced");
    }

    #[test]
    fn a_request_without_a_pace_gets_nothing() {
        assert_eq!(asked("GET /v1?3&4 HTTP/1.1\r\n"), None);
        assert_eq!(asked("GET /v1 HTTP/1.1\r\n"), None);
        assert_eq!(asked(""), None);
    }
}

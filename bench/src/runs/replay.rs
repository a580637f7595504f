//! A backlog: how fast one subscriber that starts at the beginning reads what was published before.
//!
//! Read [`Backlog`], which fills a server and then is read; [`pipe`] sends the same bytes through `cat FILE | nc`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Bench, Meter};
use crate::exchange::{Exchange, request, subscription};
use crate::load::{Load, Tally};
use crate::peer::Peer;
use crate::server::{Server, free_port};
use crate::template::event_data;

/// What one reader got.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Replay {
    /// Events a second.
    pub events_per_s: f64,
    /// Bytes a second, as they came over the wire, in millions.
    pub mb_per_s: f64,
    /// The server's CPU for each event, in microseconds. Not known of `nc`.
    pub cpu_us: Option<f64>,
    /// How busy the load generator's core was, from 0 to 1. Not known of `nc`.
    pub load_busy: Option<f64>,
}

/// Where the bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Source {
    /// The server, over Server-Sent Events.
    Server,
    /// A file with what Longwave sent, through `cat FILE | nc`.
    Pipe,
}

/// A server with a backlog.
pub struct Backlog {
    server: Server,
    peer: Peer,
}

impl Backlog {
    /// Publishes [`EVENTS`] to a fresh server.
    ///
    /// # Errors
    /// Where the server does not start or refuses a publish.
    pub fn publish(bench: &Bench, peer: Peer) -> anyhow::Result<Backlog> {
        let server = bench.start(peer)?;
        let mut exchange = Exchange::connect(server.addr())?;
        let batch = batch(peer);
        for _ in 0..EVENTS / BATCH_EVENTS {
            exchange.send(batch.as_bytes()).context("publishing the backlog")?;
        }
        Ok(Backlog { server, peer })
    }

    /// Reads it all with one subscriber.
    ///
    /// # Errors
    /// Where an event is missing, or nothing comes any more.
    pub fn read(&self) -> anyhow::Result<Replay> {
        let mut load = Load::new(self.server.addr())?;
        let meter = Meter::start(&self.server)?;
        load.subscribe(1, |_| self.subscription())?;
        load.until_delivered(EVENTS_READ)?;
        let cost = meter.cost()?;
        Ok(Replay {
            cpu_us: Some(cost.server_us_each(EVENTS_READ)),
            load_busy: Some(cost.load_busy()),
            ..Replay::of(load.tally(), cost.time)
        })
    }

    /// Reads it all and keeps the bytes in a file.
    ///
    /// # Errors
    /// As [`Backlog::read`], or where the file can't be written.
    pub fn save(&self, file: &Path) -> anyhow::Result<()> {
        let mut load = Load::new(self.server.addr())?;
        load.capture();
        load.subscribe(1, |_| self.subscription())?;
        load.until_delivered(EVENTS_READ)?;
        std::fs::write(file, load.take_captured()).with_context(|| file.display().to_string())
    }

    fn subscription(&self) -> String {
        match self.peer {
            Peer::DurableStreams => subscription("/v1/stream/bench?offset=-1&live=sse"),
            _ => subscription("/topics/bench?after=first"),
        }
    }
}

impl Replay {
    fn of(tally: Tally, time: Duration) -> Replay {
        let seconds = time.as_secs_f64();
        Replay {
            events_per_s: tally.delivered as f64 / seconds,
            mb_per_s: tally.received_bytes as f64 / 1e6 / seconds,
            cpu_us: None,
            load_busy: None,
        }
    }
}

/// Sends a file through `cat FILE | nc`, both on the server's core, to one reader.
///
/// # Errors
/// Where `nc` is missing, or not the whole file arrives.
pub fn pipe(bench: &Bench, file: &Path) -> anyhow::Result<Replay> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut cat = Command::new("cat");
    cat.arg(file);
    let mut cat = Running(bench.cores.on_server_core(&cat).stdout(Stdio::piped()).spawn()?);
    let mut nc = Command::new("nc");
    nc.args(["-N", "-l", &addr.ip().to_string(), &addr.port().to_string()]);
    let from_cat = cat.0.stdout.take().context("the output of cat")?;
    let mut nc = bench.cores.on_server_core(&nc);
    let _nc = Running(nc.stdin(from_cat).stdout(Stdio::null()).spawn()?);
    let mut load = Load::new(addr)?;
    // It takes one connection only, so the first that succeeds is the reader's.
    let deadline = Instant::now() + NC_START_LIMIT;
    while let Err(error) = load.listen() {
        anyhow::ensure!(Instant::now() < deadline, "nc does not listen: {error:#}");
        std::thread::sleep(NC_START_STEP);
    }
    let started = Instant::now();
    load.until_closed()?;
    let replay = Replay::of(load.tally(), started.elapsed());
    let (came, sent) = (load.tally().received_bytes, std::fs::metadata(file)?.len());
    anyhow::ensure!(came == sent, "{came} of {sent} bytes came through nc");
    Ok(replay)
}

/// A process that ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended already can't be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A request that publishes so many events at once: a batch, or an array that is taken apart.
fn batch(peer: Peer) -> String {
    let event = event_data(EVENT_BYTES);
    match peer {
        Peer::DurableStreams => {
            let array = vec![event; BATCH_EVENTS].join(",");
            request("POST", "/v1/stream/bench", "application/json", &format!("[{array}]"))
        }
        _ => {
            let lines = format!("{{\"data\":{event}}}\n").repeat(BATCH_EVENTS);
            request("POST", "/topics/bench", "application/x-ndjson", &lines)
        }
    }
}

/// How many events the backlog has.
pub const EVENTS: usize = 1_000_000;
/// Bytes of data of an event.
pub const EVENT_BYTES: usize = 110;
/// Those, and the one by which a server shows that it is ready.
const EVENTS_READ: u64 = EVENTS as u64 + 1;
/// As many as Longwave takes at once by default.
const BATCH_EVENTS: usize = 10_000;
const NC_START_LIMIT: Duration = Duration::from_secs(10);
const NC_START_STEP: Duration = Duration::from_millis(2);

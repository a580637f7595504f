//! How long nobody can publish while a second process takes over from the first, and how long it is with a plain
//! restart.
//!
//! `cargo build --release -p longwave && cargo bench -p longwave-e2e --bench restart -- [MIB [TOPICS [ROUNDS]]]` fills a
//! log, publishes to it from several connections without a pause, restarts the server in both ways in turn, and prints a
//! row a restart. Read [`Load`] for what is measured.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use longwave_e2e::{LongwaveServer, Process};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let mut numbers = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let mut number = |default: u64| numbers.next().map_or(Ok(default), |text| text.parse());
    let (mib, topics, rounds) = (number(1024)?, number(1000)?, number(5)?);

    let mut server = LongwaveServer::start(SETTINGS).await?;
    let (addr, data) = (server.addr(), server.data().to_owned());
    let filled = tokio::task::spawn_blocking(move || fill(addr, &data, mib << 20, topics));
    println!("{} in {topics} topics, {} publishers", filled.await??, PUBLISHERS);
    println!(
        "restart    | nobody acknowledged | slowest publish | failed | publishes | from start to ready"
    );
    for _ in 0..rounds {
        let report = measure(addr, async || nothing().await).await?;
        println!("none       | {report}");
        let report = measure(addr, async || take_over(&mut server).await).await?;
        println!("--takeover | {report}");
        let report = measure(addr, async || stop_and_start(&mut server).await).await?;
        println!("stop+start | {report}");
    }
    Ok(())
}

async fn nothing() -> anyhow::Result<()> {
    tokio::time::sleep(CALM).await;
    Ok(())
}

async fn take_over(server: &mut LongwaveServer) -> anyhow::Result<()> {
    let mut old = server.spawn_heir()?;
    anyhow::ensure!(old.wait().await?.success(), "the old process: {}", old.last_words());
    Ok(())
}

async fn stop_and_start(server: &mut LongwaveServer) -> anyhow::Result<()> {
    let mut process: Process = server.take().context("no server")?;
    process.terminate()?;
    process.wait().await?;
    server.spawn()?;
    server.wait_until_ready().await
}

/// Has publishers run before, while and after `restart` happens.
async fn measure(
    addr: SocketAddr,
    restart: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let load = Load::start(addr);
    tokio::time::sleep(CALM).await;
    let begun = Instant::now();
    restart().await?;
    let took = begun.elapsed();
    tokio::time::sleep(CALM).await;
    Ok(load.finish(took))
}

/// Publishers, each of which sends its next event when the last one is acknowledged; half of them over one connection
/// for as long as the server keeps it, half over a new one for each event.
///
/// Told are the longest time in which none was acknowledged, the longest that one publish took, and how many failed:
/// by a refused or reset connection, or by any answer but `201`.
struct Load {
    shared: Arc<Shared>,
    publishers: Vec<JoinHandle<()>>,
}

struct Shared {
    addr: SocketAddr,
    is_finishing: AtomicBool,
    failed: AtomicU64,
    acknowledged: Mutex<Acknowledged>,
}

struct Acknowledged {
    count: u64,
    last: Instant,
    gap_max: Duration,
    publish_max: Duration,
}

impl Load {
    fn start(addr: SocketAddr) -> Load {
        let acknowledged = Acknowledged {
            count: 0,
            last: Instant::now(),
            gap_max: Duration::ZERO,
            publish_max: Duration::ZERO,
        };
        let shared = Arc::new(Shared {
            addr,
            is_finishing: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            acknowledged: Mutex::new(acknowledged),
        });
        let publishers = (0..PUBLISHERS).map(|i| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.run(if i % 2 == 0 { Keep::Yes } else { Keep::No }))
        });
        let publishers = publishers.collect();
        Load { shared, publishers }
    }

    fn finish(self, took: Duration) -> String {
        self.shared.is_finishing.store(true, Ordering::Relaxed);
        for publisher in self.publishers {
            drop(publisher.join());
        }
        let acknowledged = self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        format!(
            "{:16.1} ms | {:12.1} ms | {:6} | {:9} | {:.2} s",
            acknowledged.gap_max.as_secs_f64() * 1e3,
            acknowledged.publish_max.as_secs_f64() * 1e3,
            self.shared.failed.load(Ordering::Relaxed),
            acknowledged.count,
            took.as_secs_f64()
        )
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

impl Shared {
    fn run(&self, keep: Keep) {
        let mut kept = None;
        while !self.is_finishing.load(Ordering::Relaxed) {
            let begun = Instant::now();
            match publish(self.addr, &mut kept, "bench", EVENT, "text/plain") {
                Ok(()) => {
                    let mut seen = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                    let now = Instant::now();
                    seen.gap_max = seen.gap_max.max(now.saturating_duration_since(seen.last));
                    seen.publish_max = seen.publish_max.max(now - begun);
                    seen.last = now;
                    seen.count += 1;
                }
                Err(_) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    kept = None;
                    thread::sleep(RETRY);
                }
            }
            if keep == Keep::No {
                kept = None;
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Publishes over the connection that is kept, or a new one.
fn publish(
    addr: SocketAddr,
    kept: &mut Option<BufReader<TcpStream>>,
    topic: &str,
    body: &[u8],
    content_type: &str,
) -> io::Result<()> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => {
            let stream = TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            BufReader::new(stream)
        }
    };
    let mut request = format!(
        "POST /topics/{topic} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    connection.get_mut().write_all(&request)?;
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let is_created = line.starts_with("HTTP/1.1 201");
    let (mut body_len, mut closes) = (0, false);
    loop {
        line.clear();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", len)) => body_len = len.parse().map_err(io::Error::other)?,
            Some(("connection", "close")) => closes = true,
            None if header.is_empty() => break,
            _ => {}
        }
    }
    connection.read_exact(&mut vec![0; body_len])?;
    if !is_created {
        return Err(io::Error::other("refused"));
    }
    *kept = (!closes).then_some(connection);
    Ok(())
}

/// Publishes batches until the log's files have that many bytes. Tells what is there then.
fn fill(
    addr: SocketAddr,
    data: &std::path::Path,
    bytes_min: u64,
    topics: u64,
) -> anyhow::Result<String> {
    let data_of = "x".repeat(200);
    let per_topic = (bytes_min / EVENT_BYTES / topics.max(1)).clamp(1, BATCH_EVENTS_MAX);
    let batch = format!("{{\"data\":\"{data_of}\"}}\n").repeat(usize::try_from(per_topic)?);
    let (mut kept, mut events) = (None, 0);
    loop {
        for topic in 0..topics {
            let topic = format!("fill/{topic}");
            publish(addr, &mut kept, &topic, batch.as_bytes(), "application/x-ndjson")?;
            events += per_topic;
        }
        let mut bytes = 0;
        for entry in std::fs::read_dir(data)? {
            bytes += entry?.metadata()?.len();
        }
        if bytes >= bytes_min {
            return Ok(format!("{} MiB, {events} events of 200 bytes", bytes >> 20));
        }
    }
}

const SETTINGS: &[(&str, &str)] =
    &[("--retention-max-bytes", "64GiB"), ("--drain-timeout", "1s"), ("--log-level", "warn")];
const PUBLISHERS: usize = 8;
const EVENT: &[u8] = &[b'x'; 200];
/// What an event takes in the log, about.
const EVENT_BYTES: u64 = 250;
const BATCH_EVENTS_MAX: u64 = 1000;
/// How long publishers run undisturbed before and after a restart.
const CALM: Duration = Duration::from_secs(2);
/// Leaves the machine to the server now and then: both share it.
const PAUSE: Duration = Duration::from_millis(1);
/// How soon a publisher tries again that was refused.
const RETRY: Duration = Duration::from_millis(5);

//! Durable publishes: how many a second are acknowledged, after they are on disk.
//!
//! Read [`run`]; [`bare_syncs`] is what the disk takes one at a time.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Bench, Meter};
use crate::load::Load;
use crate::peer::Peer;

/// What one server took from so many publishers.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Publishing {
    /// Publishes acknowledged a second.
    pub per_s: f64,
    /// The server's CPU for each, in microseconds.
    pub cpu_us: f64,
    /// How busy the load generator's core was, from 0 to 1.
    pub load_busy: f64,
}

/// Publishes to one topic of a fresh server, each publisher one event after the other, all at the same time.
///
/// # Errors
/// Where the server does not start, refuses a publish, or closes a connection instead of an answer.
pub fn run(bench: &Bench, peer: Peer, publishers: usize) -> anyhow::Result<Publishing> {
    let server = bench.start(peer)?;
    let mut load = Load::new(server.addr())?;
    load.add_publishers(publishers, &peer.publication(EVENT_BYTES)?)?;
    let warm = Instant::now() + WARM_UP;
    load.saturate(|| (Instant::now() < warm).then_some(0))?;
    let before = load.tally().answered;
    let meter = Meter::start(&server)?;
    let end = Instant::now() + bench.time_measured;
    load.saturate(|| (Instant::now() < end).then_some(0))?;
    let cost = meter.cost()?;
    let answered = load.tally().answered - before;
    Ok(Publishing {
        per_s: answered as f64 / cost.time.as_secs_f64(),
        cpu_us: cost.server_us_each(answered),
        load_busy: cost.load_busy(),
    })
}

/// How many times a second the disk takes one such event and a sync, one after the other.
///
/// # Errors
/// Where the program that does it is missing, or the disk fails.
pub fn bare_syncs(bench: &Bench) -> anyhow::Result<f64> {
    let folder = tempfile::Builder::new().prefix("fdatasync").tempdir_in(&bench.folder)?;
    let program = std::env::current_exe()?.with_file_name("bench-fdatasync");
    let mut command = std::process::Command::new(program);
    command.arg(folder.path().join("file")).arg(EVENT_BYTES.to_string());
    command.arg(bench.time_measured.as_millis().to_string());
    let output = bench.cores.on_server_core(&command).stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "bench-fdatasync failed ({})", output.status);
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().with_context(|| format!("bench-fdatasync said {text:?}"))
}

/// Bytes of data of an event.
pub const EVENT_BYTES: usize = 200;
/// Numbers of publishers.
pub const PUBLISHERS: [usize; 3] = [1, 64, 512];
/// Who keeps what is published.
pub const PEERS: [Peer; 2] = [Peer::Longwave, Peer::DurableStreams];
const WARM_UP: Duration = Duration::from_millis(500);

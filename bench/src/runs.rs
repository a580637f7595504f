//! What is measured, a file for each kind of work. [`Bench`] is what they share; start with [`fanout`].

pub mod churn;
pub mod fanout;
pub mod publish;
pub mod replay;
pub mod topics;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::load::Load;
use crate::machine::Cores;
use crate::peer::{Peer, Program};
use crate::server::Server;
use crate::usage::Processes;

/// The servers' programs, the cores, and how long to measure.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made from the command line")]
pub struct Bench {
    /// Those that are installed.
    pub programs: BTreeMap<Peer, Program>,
    /// Where servers and load run.
    pub cores: Cores,
    /// Where servers have their files: on the disk that is meant.
    pub folder: PathBuf,
    /// How much CPU time of a server a figure of CPU rests on. Ticks are 10 ms, so 2 s make 1 %.
    pub cpu_measured: Duration,
    /// How long a figure of time rests on.
    pub time_measured: Duration,
}

impl Bench {
    /// Starts a server with nothing in it.
    ///
    /// # Errors
    /// Where it is not installed or does not start.
    pub fn start(&self, peer: Peer) -> anyhow::Result<Server> {
        let program = self.programs.get(&peer).context("is not installed")?;
        Server::start(peer, &program.path, &self.folder, self.cores)
    }
}

/// What something took: CPU of the server, time, and CPU of the load.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Cost {
    /// The server's, in user and kernel mode.
    pub server_cpu: Duration,
    /// As a clock shows it.
    pub time: Duration,
    /// The load generator's.
    pub load_cpu: Duration,
}

impl Cost {
    /// How much of its core the load generator used, 1 being all. Near 1 it is what was measured, not the server.
    #[must_use]
    pub fn load_busy(self) -> f64 {
        self.load_cpu.as_secs_f64() / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The server's CPU for each of so many, in microseconds.
    #[must_use]
    pub fn server_us_each(self, count: u64) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / count.max(1) as f64
    }
}

/// Counts what is used from its start on.
struct Meter<'a> {
    server: &'a Server,
    server_cpu: Duration,
    load_cpu: Duration,
    started: Instant,
}

impl Meter<'_> {
    fn start(server: &Server) -> anyhow::Result<Meter<'_>> {
        let (server_cpu, load_cpu) = (server.cpu()?, Processes::own_cpu()?);
        Ok(Meter { server, server_cpu, load_cpu, started: Instant::now() })
    }

    fn cost(&self) -> anyhow::Result<Cost> {
        Ok(Cost {
            time: self.started.elapsed(),
            server_cpu: self.server.cpu()?.saturating_sub(self.server_cpu),
            load_cpu: Processes::own_cpu()?.saturating_sub(self.load_cpu),
        })
    }
}

/// Repeats a step until what it cost can be measured, or it takes too long; returns the cost and how many steps it was.
pub(crate) fn repeat(
    bench: &Bench,
    server: &Server,
    load: &mut Load,
    mut step: impl FnMut(&mut Load) -> anyhow::Result<()>,
) -> anyhow::Result<(Cost, u64)> {
    let meter = Meter::start(server)?;
    let mut steps = 0;
    loop {
        step(load)?;
        steps += 1;
        let cost = meter.cost()?;
        let is_enough = cost.server_cpu >= bench.cpu_measured && steps >= STEPS_MIN;
        if is_enough || cost.time > bench.cpu_measured * TIME_PER_CPU_MAX {
            return Ok((cost, steps));
        }
    }
}

const STEPS_MIN: u64 = 2;
/// A server that is idle most of the time would be measured forever.
const TIME_PER_CPU_MAX: u32 = 4;

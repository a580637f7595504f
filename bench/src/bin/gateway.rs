//! What the gateway adds to the time that each event of a stream is on its way: `bench-gateway`.
//!
//! The same paced streams are read from their upstream itself, through a gateway with its log in memory, and through one
//! with its log on disk, in turns. Beside that stands what one commit costs on that disk at that moment, alone.
//! Read [`Arguments`] and [`run`].
#![expect(clippy::print_stdout, reason = "a command speaks to its terminal")]

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use longwave_bench::machine::{self, Cores, Machine};
use longwave_bench::paced::{self, Pace, Upstream};
use longwave_bench::server::{Server, free_port};

/// What is measured, and how long.
#[derive(Debug, Parser)]
#[command(about = "Measures the time that the gateway adds to each event of a stream")]
struct Arguments {
    /// The program: target/release/longwave.
    longwave: PathBuf,
    /// How many streams run at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 50])]
    streams: Vec<u32>,
    /// Milliseconds between two events of a stream.
    #[arg(long, value_delimiter = ',', default_values_t = [20, 5])]
    pace_ms: Vec<u64>,
    /// How many events each stream has.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..))]
    events: u32,
    /// How many times each is measured, in turns; the table has medians of the rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where the servers keep their files, on the disk that is meant.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench/work")]
    work: PathBuf,
}

fn main() -> anyhow::Result<()> {
    run(&Arguments::parse())
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    std::fs::create_dir_all(&arguments.work)?;
    let work = arguments.work.canonicalize()?;
    let machine = Machine::of_now();
    let cores = Cores::claim()?;
    let upstream = Upstream::start()?;
    let memory = gateway(arguments, &work, cores, &upstream, Log::Memory)?;
    let disk = gateway(arguments, &work, cores, &upstream, Log::Disk)?;
    println!("{}; {}\n", machine.line(), machine::file_system(&work));
    println!(
        "| Streams | pace | direct | log in memory adds | log on disk adds | one commit alone | \
         on disk beyond a commit |\n|---|---|---|---|---|---|---|"
    );
    for &streams in &arguments.streams {
        for &pace_ms in &arguments.pace_ms {
            let load = Load { streams, events: arguments.events, pace_ms };
            let mut rounds = Vec::new();
            for _ in 0..arguments.rounds {
                rounds.push(Round {
                    direct: load.run(upstream.addr(), &upstream)?,
                    memory: load.run(memory.addr(), &upstream)?,
                    disk: load.run(disk.addr(), &upstream)?,
                    commit: commits(&work, pace_ms)?,
                });
            }
            println!("{}", row(&load, &rounds));
        }
    }
    println!("\nload average {} at the end", machine::load_average());
    Ok(())
}

/// Where a gateway keeps its streams.
#[derive(Clone, Copy)]
enum Log {
    Memory,
    Disk,
}

fn gateway(
    arguments: &Arguments,
    work: &Path,
    cores: Cores,
    upstream: &Upstream,
    log: Log,
) -> anyhow::Result<Server> {
    let folder = tempfile::Builder::new().prefix("gateway").tempdir_in(work)?;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut command = Command::new(arguments.longwave.canonicalize().with_context(|| {
        format!("{} (cargo build --release -p longwave)", arguments.longwave.display())
    })?);
    command.args(["serve", "--listen", &addr.to_string()]);
    command.args(["--gateway", &format!("/v1=http://{}/v1", upstream.addr())]);
    match log {
        Log::Memory => command.args(["--log", "memory"]),
        Log::Disk => command.arg("--data").arg(folder.path().join("data")),
    };
    let mut server = Server::spawn(command, folder, addr, cores)?;
    server.until_ready()?;
    Ok(server)
}

/// Streams that run at once.
struct Load {
    streams: u32,
    events: u32,
    pace_ms: u64,
}

impl Load {
    /// Reads them from an address, and tells how long their events took.
    fn run(&self, addr: SocketAddr, upstream: &Upstream) -> anyhow::Result<Quantiles> {
        let interval = Duration::from_millis(self.pace_ms);
        let epoch = upstream.epoch();
        let readers: Vec<_> = (0..self.streams)
            .map(|number| {
                let phase = interval * number / self.streams;
                let pace = Pace { events: self.events, interval, phase };
                std::thread::spawn(move || paced::read(addr, epoch, pace))
            })
            .collect();
        let mut taken = Vec::new();
        for reader in readers {
            let stream = reader.join().map_err(|_| anyhow::anyhow!("a reader died"))??;
            // The first events come while connections are made and topics begin.
            taken.extend(stream.into_iter().skip(WARM_UP_EVENTS));
        }
        Quantiles::of(taken)
    }
}

/// How long a write of a small group of events and its `fdatasync` take, at the streams' pace, with nothing around them.
fn commits(work: &Path, pace_ms: u64) -> anyhow::Result<Quantiles> {
    let path = work.join("commits");
    let mut file = File::create(&path)?;
    let group = [b'x'; COMMIT_BYTES];
    let mut taken = Vec::new();
    for _ in 0..COMMITS {
        std::thread::sleep(Duration::from_millis(pace_ms));
        let begun = Instant::now();
        file.write_all(&group)?;
        file.sync_data()?;
        taken.push(begun.elapsed());
    }
    std::fs::remove_file(path)?;
    Quantiles::of(taken)
}

/// One measurement of all, in turns.
struct Round {
    direct: Quantiles,
    memory: Quantiles,
    disk: Quantiles,
    commit: Quantiles,
}

/// In microseconds.
#[derive(Clone, Copy)]
struct Quantiles {
    median: f64,
    p99: f64,
}

impl Quantiles {
    fn of(mut taken: Vec<Duration>) -> anyhow::Result<Quantiles> {
        taken.sort_unstable();
        let last = taken.len().checked_sub(1).context("nothing was measured")?;
        let at = |percent: usize| {
            let taken = taken.get(last * percent / 100).copied().unwrap_or_default();
            taken.as_secs_f64() * 1e6
        };
        Ok(Quantiles { median: at(50), p99: at(99) })
    }

    fn beyond(self, other: Quantiles) -> Quantiles {
        Quantiles { median: self.median - other.median, p99: self.p99 - other.p99 }
    }

    fn cell(self) -> String {
        format!("{:.0} · {:.0} µs", self.median, self.p99)
    }
}

/// The medians of the rounds, each as a median and a 99th percentile of events.
fn row(load: &Load, rounds: &[Round]) -> String {
    let of_rounds = |figure: &dyn Fn(&Round) -> Quantiles| Quantiles {
        median: middle(rounds.iter().map(|round| figure(round).median)),
        p99: middle(rounds.iter().map(|round| figure(round).p99)),
    };
    let added_on_disk = |round: &Round| round.disk.beyond(round.direct);
    let cells = [
        of_rounds(&|round| round.direct).cell(),
        of_rounds(&|round| round.memory.beyond(round.direct)).cell(),
        of_rounds(&added_on_disk).cell(),
        of_rounds(&|round| round.commit).cell(),
        format!("{:.0} µs", of_rounds(&|round| added_on_disk(round).beyond(round.commit)).median),
    ];
    format!("| {} | {} ms | {} |", load.streams, load.pace_ms, cells.join(" | "))
}

fn middle(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

const WARM_UP_EVENTS: usize = 20;
/// About what an event of these takes in the log.
const COMMIT_BYTES: usize = 256;
const COMMITS: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_medians_of_rounds_and_what_is_added() {
        let quantiles = |median| Quantiles { median, p99: median * 2.0 };
        let round = |by: f64| Round {
            direct: quantiles(50.0),
            memory: quantiles(150.0 + by),
            disk: quantiles(450.0 + by),
            commit: quantiles(300.0),
        };
        let load = Load { streams: 50, events: 1000, pace_ms: 5 };
        assert_eq!(
            row(&load, &[round(0.0), round(90.0), round(10.0)]),
            "| 50 | 5 ms | 50 · 100 µs | 110 · 220 µs | 410 · 820 µs | 300 · 600 µs | 110 µs |"
        );
    }

    #[test]
    fn quantiles_are_of_all_that_was_taken() {
        let taken = (0..=100).rev().map(Duration::from_micros).collect();
        let Quantiles { median, p99 } = Quantiles::of(taken).unwrap();
        assert_eq!((median.round(), p99.round()), (50.0, 99.0));
        assert!(Quantiles::of(Vec::new()).is_err());
    }
}

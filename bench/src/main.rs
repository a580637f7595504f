//! `longwave-bench`: runs the rounds and writes what came out. `cargo xtask bench` builds and calls it.
//!
//! Read [`Arguments`] and [`run`].
#![expect(clippy::print_stdout, reason = "a command speaks to its terminal")]

mod progress;
mod rounds;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};
use longwave_bench::machine::{self, Cores, Machine};
use longwave_bench::peer::{Peer, Program};
use longwave_bench::results::Results;
use longwave_bench::runs::Bench;

use crate::rounds::{Measurement, Plan};

/// What is measured, and how long.
#[derive(Debug, Parser)]
#[command(about = "Measures Longwave beside a floor and its peers")]
struct Arguments {
    /// How many times each measurement is made; the tables hold medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What is measured; everything unless said.
    #[arg(long, value_delimiter = ',')]
    measure: Vec<Measurement>,
    /// Numbers of subscribers of the fan-out.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000, 19_000])]
    subscribers: Vec<usize>,
    /// Measure each figure more shortly, and so less exactly.
    #[arg(long)]
    quick: bool,
    /// A server that is installed: its name, its program and its version.
    #[arg(long, num_args = 3, value_names = ["NAME", "PROGRAM", "VERSION"], action = clap::ArgAction::Append)]
    peer: Vec<String>,
    /// A server that is not, and why.
    #[arg(long, num_args = 2, value_names = ["NAME", "WHY"], action = clap::ArgAction::Append)]
    missing: Vec<String>,
    /// Where servers keep their files, on the disk that is meant.
    #[arg(long, value_name = "FOLDER")]
    work: PathBuf,
    /// Where the results go.
    #[arg(long, value_name = "FILE")]
    results: PathBuf,
    /// The command as the results name it.
    #[arg(long, default_value = "longwave-bench")]
    command: String,
}

fn main() -> anyhow::Result<()> {
    run(&Arguments::parse())
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    std::fs::create_dir_all(&arguments.work)?;
    let machine = Machine::of_now();
    let open_files = machine::raise_open_files();
    let bench = bench(arguments)?;
    let mut results = Results {
        machine,
        date: jiff::Zoned::now().date().to_string(),
        command: arguments.command.clone(),
        versions: versions(&bench),
        missing: missing(arguments)?,
        notes: notes(&bench),
        fanout: Vec::new(),
        publishing: Vec::new(),
        bare_syncs_per_s: Vec::new(),
        replay: Vec::new(),
        topics: Vec::new(),
        churn: Vec::new(),
    };
    let subscribers = allowed_subscribers(&arguments.subscribers, open_files, &mut results.notes);
    let plan = Plan { rounds: arguments.rounds as usize, subscribers, measure: measure(arguments) };
    rounds::run(&bench, &plan, &mut results)?;
    results.notes.push(format!("load average {} at the end", machine::load_average()));
    let page = results.to_markdown();
    println!("{page}");
    std::fs::write(&arguments.results, &page)
        .with_context(|| arguments.results.display().to_string())?;
    Ok(())
}

fn bench(arguments: &Arguments) -> anyhow::Result<Bench> {
    let mut programs = BTreeMap::new();
    for words in arguments.peer.chunks(3) {
        let [name, path, version] = words else { anyhow::bail!("--peer takes three words") };
        let program = Program { path: PathBuf::from(path), version: version.clone() };
        programs.insert(Peer::named(name)?, program);
    }
    let (cpu_measured, time_measured) = if arguments.quick {
        (Duration::from_millis(400), Duration::from_secs(1))
    } else {
        (Duration::from_secs(2), Duration::from_secs(3))
    };
    let folder = arguments.work.canonicalize()?;
    Ok(Bench { programs, cores: Cores::claim()?, folder, cpu_measured, time_measured })
}

fn measure(arguments: &Arguments) -> Vec<Measurement> {
    match arguments.measure.as_slice() {
        [] => Measurement::value_variants().to_vec(),
        some => some.to_vec(),
    }
}

fn versions(bench: &Bench) -> Vec<String> {
    let versions = bench.programs.iter().filter(|(_, program)| !program.version.is_empty());
    versions.map(|(peer, program)| format!("{}: {}", peer.name(), program.version)).collect()
}

fn missing(arguments: &Arguments) -> anyhow::Result<Vec<(Peer, String)>> {
    let pairs = arguments.missing.chunks(2);
    pairs
        .map(|words| match words {
            [name, why] => Ok((Peer::named(name)?, why.clone())),
            _ => anyhow::bail!("--missing takes two words"),
        })
        .collect()
}

fn notes(bench: &Bench) -> Vec<String> {
    if bench.cores.are_one() {
        vec!["Servers and load shared one core, so times mean little; CPU still does.".to_owned()]
    } else {
        Vec::new()
    }
}

/// The numbers of subscribers that the open files allow; what is left out is told.
fn allowed_subscribers(wanted: &[usize], open_files: u64, notes: &mut Vec<String>) -> Vec<usize> {
    let most = usize::try_from(open_files).unwrap_or(usize::MAX).saturating_sub(FILES_SPARE);
    let (allowed, left_out): (Vec<usize>, Vec<usize>) =
        wanted.iter().partition(|subscribers| **subscribers <= most);
    for subscribers in left_out {
        notes.push(format!(
            "{subscribers} subscribers were left out: a process may have {open_files} open files"
        ));
    }
    allowed
}

/// Open files that servers and load need beside their subscribers.
const FILES_SPARE: usize = 800;

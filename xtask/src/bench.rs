//! `cargo xtask bench`: builds and fetches what is measured, then hands over to the program that measures.
//!
//! [`PEERS`] is who is measured. One that can't be had here is left out, and the results say why. What the measurements
//! are is in the package `longwave-bench`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::{install, process};

/// Who is measured, under the name that `longwave-bench` knows.
const PEERS: &[Peer] = &[
    Peer { name: "floor", prepare: floor },
    Peer { name: "longwave", prepare: longwave },
    Peer { name: "durable-streams", prepare: durable_streams },
    Peer { name: "nchan", prepare: nchan },
    Peer { name: "axum", prepare: axum },
    Peer { name: "fastapi", prepare: fastapi },
];

struct Peer {
    name: &'static str,
    /// Makes it ready to be started: its program, and what the results say about it.
    prepare: fn() -> anyhow::Result<(PathBuf, String)>,
}

/// Runs the benchmark with these flags.
///
/// # Errors
/// When a flag is not understood, our own programs can't be built, or a measurement can't be made at all.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan::parse(arguments)?;
    process::run(process::cargo(["build", "--release", "--package", "longwave-bench"]))?;
    let mut command = process::command("target/release/longwave-bench", &plan.flags);
    for peer in PEERS.iter().filter(|peer| plan.includes(peer.name)) {
        match (peer.prepare)() {
            Ok((program, about)) => {
                command.args(["--peer", peer.name]).arg(program).arg(about);
            }
            Err(error) if OURS.contains(&peer.name) => return Err(error),
            Err(error) => {
                let why = format!("{error:#}").replace('\n', " ");
                println!("  {} is left out: {why}", peer.name);
                command.args(["--missing", peer.name, &why]);
            }
        }
    }
    if let Err(error) = install::debian(&[("nc", "netcat-openbsd")]) {
        println!("  the replay is not compared with `cat FILE | nc`: {error:#}");
    }
    // What a run that was interrupted has left.
    match std::fs::remove_dir_all(WORK) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let results = if plan.is_whole { "bench/RESULTS.md" } else { "target/bench/RESULTS.md" };
    command.args(["--work", WORK, "--results", results]);
    command.args(["--command", format!("cargo xtask bench {}", arguments.join(" ")).trim_end()]);
    process::run(command)?;
    println!("wrote {results}");
    Ok(ExitCode::SUCCESS)
}

/// What was asked for.
struct Plan {
    /// The servers that are measured, where not all are.
    only: Vec<String>,
    /// What `longwave-bench` is told.
    flags: Vec<String>,
    /// Whether the results are those that the repository keeps.
    is_whole: bool,
}

impl Plan {
    fn parse(arguments: &[String]) -> anyhow::Result<Plan> {
        let mut plan = Plan { only: Vec::new(), flags: Vec::new(), is_whole: true };
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            match flag.as_str() {
                "--quick" => {
                    plan.is_whole = false;
                    plan.flags.push(flag.clone());
                }
                "--only" | "--measure" | "--rounds" | "--subscribers" => {
                    let value = rest.next().with_context(|| format!("{flag} needs a value"))?;
                    plan.is_whole &= flag == "--rounds";
                    match flag.as_str() {
                        "--only" => plan.only = value.split(',').map(str::to_owned).collect(),
                        _ => plan.flags.extend([flag.clone(), value.clone()]),
                    }
                }
                _ => anyhow::bail!("`{flag}` is no flag of `cargo xtask bench`\n\n{USAGE}"),
            }
        }
        if let Some(name) =
            plan.only.iter().find(|name| !PEERS.iter().any(|peer| peer.name == **name))
        {
            let names = PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
            anyhow::bail!("there is no `{name}` to measure, but {names}");
        }
        Ok(plan)
    }

    /// The floor is what all others are compared with, so it always is.
    fn includes(&self, name: &str) -> bool {
        self.only.is_empty() || name == "floor" || self.only.iter().any(|only| only == name)
    }
}

fn floor() -> anyhow::Result<(PathBuf, String)> {
    Ok((absolute("target/release/bench-floor")?, "bench/src/bin/floor.rs".to_owned()))
}

/// Built alone, so that it has the features that a user's has, and no others.
fn longwave() -> anyhow::Result<(PathBuf, String)> {
    process::run(process::cargo(["build", "--release", "--package", "longwave"]))?;
    let describe = process::command("git", ["describe", "--always", "--dirty"]);
    let commit = process::output(describe).unwrap_or_else(|_| "unknown".to_owned());
    Ok((absolute("target/release/longwave")?, format!("commit {}", commit.trim())))
}

fn durable_streams() -> anyhow::Result<(PathBuf, String)> {
    let root = process::root()?.join("target/bench").join(DURABLE_STREAMS.replace('@', "-"));
    let program = root.join("bin/durable-streams-server");
    if !program.is_file() {
        let mut install = process::cargo(["install", "--locked", DURABLE_STREAMS, "--root"]);
        install.arg(&root).arg("--target-dir").arg(root.join("build"));
        process::run(install)?;
    }
    Ok((program, format!("{DURABLE_STREAMS} of crates.io, `--durability wal`")))
}

fn nchan() -> anyhow::Result<(PathBuf, String)> {
    install::debian(&[("nginx", "nginx")])?;
    install::debian_file(Path::new(NCHAN_MODULE), NCHAN_PACKAGE)?;
    let version =
        |package| process::output(process::command("dpkg-query", ["-W", "-f=${Version}", package]));
    let about = format!(
        "Debian's nginx {}, {NCHAN_PACKAGE} {}",
        version("nginx")?,
        version(NCHAN_PACKAGE)?
    );
    Ok((PathBuf::from("/usr/sbin/nginx"), about))
}

fn axum() -> anyhow::Result<(PathBuf, String)> {
    let lock = std::fs::read_to_string("Cargo.lock")?;
    let version = |name: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let version =
        |name: &str| version(name).with_context(|| format!("{name} is not in Cargo.lock"));
    let about = format!("axum {}, tokio {}", version("axum")?, version("tokio")?);
    Ok((absolute("target/release/bench-axum")?, about))
}

fn fastapi() -> anyhow::Result<(PathBuf, String)> {
    let requirements = Path::new("bench/peers/fastapi/requirements.txt");
    install::python("bench", requirements)?;
    let python = absolute("target/python/bench/bin/python")?;
    let version = process::output(process::command(&python.display().to_string(), ["--version"]))?;
    let text = std::fs::read_to_string(requirements)?;
    let packages = text.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
    Ok((python, format!("{packages}, {}", version.trim())))
}

fn absolute(path: &str) -> anyhow::Result<PathBuf> {
    Ok(process::root()?.join(path))
}

/// Where servers keep their files while they are measured.
const WORK: &str = "target/bench/work";
/// What is built from this repository: without it there is nothing to measure.
const OURS: [&str; 3] = ["floor", "longwave", "axum"];
const DURABLE_STREAMS: &str = "durable-streams@0.1.5";
const NCHAN_PACKAGE: &str = "libnginx-mod-nchan";
/// Where the package puts it; `longwave-bench` looks there too.
const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

const USAGE: &str = "\
usage: cargo xtask bench [FLAG…]

  --only NAME,…          measure these servers beside the floor: longwave, durable-streams, nchan, axum, fastapi
  --measure NAME,…       make these measurements: fanout, publish, replay, churn, topics
  --rounds N             how often each is made; 3 unless said otherwise
  --subscribers N,…      for fan-out; 1000,5000,19000 unless said otherwise
  --quick                each more shortly and once, and so less exactly

A run of all servers and measurements writes bench/RESULTS.md; any other writes target/bench/RESULTS.md.";

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &str) -> anyhow::Result<Plan> {
        Plan::parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn only_a_run_of_everything_makes_the_results_that_are_kept() {
        assert!(plan("").unwrap().is_whole);
        assert!(plan("--rounds 5").unwrap().is_whole);
        for part in ["--quick", "--only axum", "--measure fanout", "--subscribers 100"] {
            assert!(!plan(part).unwrap().is_whole, "{part}");
        }
    }

    #[test]
    fn the_floor_is_always_measured() {
        let plan = plan("--only axum,nchan --rounds 2").unwrap();
        let included = PEERS.iter().map(|peer| peer.name).filter(|name| plan.includes(name));
        assert_eq!(included.collect::<Vec<_>>(), ["floor", "nchan", "axum"]);
        assert_eq!(plan.flags, ["--rounds", "2"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for words in ["--fast", "--rounds", "--only nobody"] {
            assert!(plan(words).is_err(), "{words}");
        }
    }
}

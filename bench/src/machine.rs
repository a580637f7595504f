//! The machine: which cores are used for what, and how the results name it.
//!
//! Read [`Cores`] and [`Machine`].

use std::fs;
use std::process::Command;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The core that the servers get, and the one of the load.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    server: usize,
    load: usize,
}

impl Cores {
    /// Takes the last two cores that this process may use, and moves it to the one for the load. With one core alone,
    /// both share it.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn claim() -> anyhow::Result<Cores> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).rev().filter(|core| allowed.is_set(*core));
        let server = cores.next().context("no core may be used")?;
        let load = cores.next().unwrap_or(server);
        let mut own = CpuSet::new();
        own.set(load);
        sched_setaffinity(None, &own)?;
        Ok(Cores { server, load })
    }

    /// Any core for both, for tests that measure nothing.
    ///
    /// # Errors
    /// Where the system does not tell which there are.
    pub fn shared() -> anyhow::Result<Cores> {
        let allowed = sched_getaffinity(None)?;
        let core = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core));
        let core = core.context("no core may be used")?;
        Ok(Cores { server: core, load: core })
    }

    /// The same command on the server's core.
    #[must_use]
    pub fn on_server_core(self, command: &Command) -> Command {
        let mut pinned = Command::new("taskset");
        pinned.args(["--cpu-list", &self.server.to_string()]).arg(command.get_program());
        pinned.args(command.get_args());
        pinned
    }

    /// Whether the load is in the servers' way.
    #[must_use]
    pub fn are_one(self) -> bool {
        self.server == self.load
    }
}

/// What the results say about the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    kernel: String,
    cpu: String,
    cores: usize,
    load_average: String,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn of_now() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let models = || cpus.lines().filter(|line| line.starts_with("model name"));
        let cpu = models().next().and_then(|line| line.split_once(':'));
        Machine {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: cpu.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            load_average: load_average(),
        }
    }

    /// One line about it.
    #[must_use]
    pub fn line(&self) -> String {
        let Machine { kernel, cpu, cores, load_average } = self;
        format!("Linux {kernel}, {cores} × {cpu}, load average {load_average} at the start")
    }
}

/// How much the machine has to do: over 1, 5 and 15 minutes.
#[must_use]
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Lets this process, and the servers that it starts, have as many open files as they may; returns how many.
#[must_use]
pub fn raise_open_files() -> u64 {
    let hard = getrlimit(Resource::Nofile).maximum;
    // Where the system refuses, the limit stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

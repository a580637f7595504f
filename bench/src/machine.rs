//! The machine: which cores are used for what, and how the results name it.
//!
//! Read [`Cores`] and [`Machine`].

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
    /// Where the system does not tell which there are, or refuses.
    pub fn claim() -> anyhow::Result<Cores> {
        let cores = allowed_cores()?;
        let server = *cores.last().context("no core may be used")?;
        let load = cores.iter().rev().nth(1).copied().unwrap_or(server);
        let mut taskset = Command::new("taskset");
        taskset.args(["--cpu-list", "--pid", &load.to_string(), &std::process::id().to_string()]);
        let status = taskset.stdout(Stdio::null()).status().context("taskset (util-linux)")?;
        anyhow::ensure!(status.success(), "taskset could not move this process to core {load}");
        Ok(Cores { server, load })
    }

    /// One core for both, for tests that measure nothing.
    ///
    /// # Errors
    /// Where the system does not tell which there are.
    pub fn shared() -> anyhow::Result<Cores> {
        let core = *allowed_cores()?.first().context("no core may be used")?;
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

/// The cores that this process may use, in order.
fn allowed_cores() -> anyhow::Result<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    cores_of(list.context("/proc/self/status does not tell which cores may be used")?.trim())
}

/// The cores of a list such as `0-2,5`.
fn cores_of(list: &str) -> anyhow::Result<Vec<usize>> {
    let mut cores = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().with_context(|| format!("{list:?}"));
        cores.extend(number(first)?..=number(last)?);
    }
    Ok(cores)
}

/// The kind of file system that a folder is on; whoever measures durable writes wants to know.
#[must_use]
pub fn file_system(folder: &Path) -> String {
    let mut stat = Command::new("stat");
    stat.args(["--file-system", "--format", "%T"]).arg(folder);
    let output = stat.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let kind = output.unwrap_or_default();
    if kind.trim().is_empty() { "unknown".to_owned() } else { kind.trim().to_owned() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cores_is_read() {
        assert_eq!(cores_of("0-2,5").unwrap(), [0, 1, 2, 5]);
        assert_eq!(cores_of("7").unwrap(), [7]);
        assert!(cores_of("").is_err());
        assert!(cores_of("a-b").is_err());
    }
}

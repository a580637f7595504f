//! A program that ends with its handle.
//!
//! Read [`Process`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::Context as _;
use tokio::process::{Child, ChildStdout, Command};

/// A running program. It is killed when this is dropped. What it says goes to a file that failures show.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with nothing to read. Its standard error goes to `log`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(command: Command, log: &Path) -> anyhow::Result<Process> {
        Process::start_reading(Stdio::null(), command, log)
    }

    /// Starts a program that reads from `input`. Its standard error goes to `log`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_reading(
        input: Stdio,
        mut command: Command,
        log: &Path,
    ) -> anyhow::Result<Process> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(input).stderr(file).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{program} can't be started"))?;
        Ok(Process { child, log: log.to_owned() })
    }

    /// How much memory it takes, in bytes: its share of what it shares, and all else (`Pss`).
    ///
    /// # Errors
    /// When it has ended, or the system does not tell.
    pub fn memory_bytes(&self) -> anyhow::Result<u64> {
        let id = self.child.id().context("it has ended")?;
        let rollup = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// Its end, if it has come to it.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system can't tell.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Asks it to end, by SIGTERM.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(rustix::process::Pid::from_raw).context("it has ended")?;
        Ok(rustix::process::kill_process(id, rustix::process::Signal::TERM)?)
    }

    /// Ends it by SIGKILL, which it can't notice, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(LAST_WORDS_LINES);
        lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
    }

    /// What it writes to standard output, if its command pipes that. `None` from the second call on.
    pub fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }
}

const LAST_WORDS_LINES: usize = 30;

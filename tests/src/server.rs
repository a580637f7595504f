//! The `longwave` binary, serving.
//!
//! Read [`LongwaveServer`].

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{HANG_LIMIT, POLL_INTERVAL, Process, free_port};

/// A server in a folder of its own. It can be killed and started again, on the same port and data.
#[derive(Debug)]
pub struct LongwaveServer {
    folder: TempDir,
    data: PathBuf,
    settings: Vec<(&'static str, String)>,
    addr: SocketAddr,
    process: Option<Process>,
}

impl LongwaveServer {
    /// Starts a server with an empty log and waits until it is ready.
    ///
    /// `settings` are flags of `longwave serve` with their values.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(settings: &[(&'static str, &str)]) -> anyhow::Result<LongwaveServer> {
        let folder = tempfile::Builder::new().prefix("longwave-e2e-").tempdir()?;
        let data = folder.path().join("data");
        LongwaveServer::start_in(folder, data, settings).await
    }

    /// The same with the log's files in the folder `data`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_on(
        data: PathBuf,
        settings: &[(&'static str, &str)],
    ) -> anyhow::Result<LongwaveServer> {
        let folder = tempfile::Builder::new().prefix("longwave-e2e-").tempdir()?;
        LongwaveServer::start_in(folder, data, settings).await
    }

    async fn start_in(
        folder: TempDir,
        data: PathBuf,
        settings: &[(&'static str, &str)],
    ) -> anyhow::Result<LongwaveServer> {
        let settings = settings.iter().map(|(flag, value)| (*flag, (*value).to_owned())).collect();
        let mut server = LongwaveServer {
            folder,
            data,
            settings,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
            process: None,
        };
        for _ in 1..START_ATTEMPTS_MAX {
            server.spawn()?;
            if server.wait_until_ready().await.is_ok() {
                return Ok(server);
            }
            // Somebody else may have taken the port.
            server.kill().await?;
            server.addr.set_port(free_port()?);
        }
        server.spawn()?;
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its address as clients write it, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The folder of its log.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// How much memory it takes, in bytes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn memory_bytes(&self) -> anyhow::Result<u64> {
        self.process.as_ref().context("the server was not started")?.memory_bytes()
    }

    /// Keeps its log and what it said after the test, for somebody to look at; says where.
    pub fn keep_files(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// Ends it by SIGKILL, if it runs.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again on the port and the data that it had, without waiting for anything.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        self.process = Some(self.process(&[])?);
        Ok(())
    }

    /// Starts another one that takes over from it, and returns that which is to go.
    ///
    /// # Errors
    /// When the program can't be started, or nothing ran before.
    pub fn spawn_heir(&mut self) -> anyhow::Result<Process> {
        let heir = self.process(&["--takeover"])?;
        self.replace(heir).context("the server was not started")
    }

    /// Takes another process for the server. Returns what was it before.
    pub fn replace(&mut self, process: Process) -> Option<Process> {
        self.process.replace(process)
    }

    /// Takes the process out, to be ended by whoever does; another one can be started then.
    pub fn take(&mut self) -> Option<Process> {
        self.process.take()
    }

    fn process(&self, flags: &[&str]) -> anyhow::Result<Process> {
        let log = self.folder.path().join("server.log");
        let mut command = Command::new(binary()?);
        command
            .arg("serve")
            .arg("--listen")
            .arg(self.addr.to_string())
            .arg("--data")
            .arg(&self.data)
            .current_dir(self.folder.path())
            .stdout(File::options().create(true).append(true).open(&log)?);
        for (flag, value) in &self.settings {
            command.arg(flag).arg(value);
        }
        command.args(flags);
        Process::start(command, &log)
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends before that, or hangs.
    pub async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let process = self.process.as_mut().context("the server was not started")?;
        let client = reqwest::Client::builder().timeout(HANG_LIMIT).no_proxy().build()?;
        let ready = format!("http://{}/ready", self.addr);
        let wait = async {
            loop {
                if let Some(status) = process.exited()? {
                    let last_words = process.last_words();
                    anyhow::bail!("the server ended ({status}) before it was ready:\n{last_words}");
                }
                match client.get(&ready).send().await {
                    Ok(answer) if answer.status().is_success() => return Ok(()),
                    _ => tokio::time::sleep(POLL_INTERVAL).await,
                }
            }
        };
        tokio::time::timeout(HANG_LIMIT, wait).await.context("the server never was ready")?
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.process.as_ref().map(Process::last_words).unwrap_or_default()
    }
}

/// The `longwave` binary that was built together with the running test, or the one that `LONGWAVE_BIN` names.
///
/// # Errors
/// When there is none.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("LONGWAVE_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let path = test
        .parent()
        .and_then(Path::parent)
        .context("a test lies in a folder of a target folder")?
        .join("longwave");
    anyhow::ensure!(
        path.is_file(),
        "{} is missing; `cargo nextest run --workspace` builds it together with the tests",
        path.display()
    );
    Ok(path)
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const START_ATTEMPTS_MAX: usize = 3;

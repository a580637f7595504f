//! A server that runs as long as its handle, on a core of its own.
//!
//! Read [`Server`].

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::exchange::Exchange;
use crate::machine::Cores;
use crate::peer::Peer;
use crate::usage::{self, Processes};

/// A running server. Dropped, it is killed, with all its processes and files.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addr: SocketAddr,
    /// All its processes, once it is ready.
    ids: Vec<u32>,
    /// Where its files are.
    folder: TempDir,
}

impl Server {
    /// Starts a peer with nothing in it and waits until it is ready. Its files are in a new folder in `parent`.
    ///
    /// # Errors
    /// Where it can't be started or does not become ready; what it said is part of the error.
    pub fn start(
        peer: Peer,
        program: &Path,
        parent: &Path,
        cores: Cores,
    ) -> anyhow::Result<Server> {
        let folder = tempfile::Builder::new().prefix(peer.name()).tempdir_in(parent)?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let command = peer.command(program, folder.path(), addr)?;
        let mut server = Server::spawn(command, folder, addr, cores)?;
        server.until_ready()?;
        peer.prepare(addr)?;
        // Answered means that the process that answers has been forked, too.
        Exchange::connect(addr)?.send(peer.publication(0)?.bytes()).context("the first publish")?;
        server.ids = Processes::of(server.child.id()).ids()?;
        Ok(server)
    }

    /// Starts any command that will listen on `addr`, on the server's core, without waiting for it.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn spawn(
        command: Command,
        folder: TempDir,
        addr: SocketAddr,
        cores: Cores,
    ) -> anyhow::Result<Server> {
        let log = File::options().create(true).append(true).open(folder.path().join(LOG))?;
        let mut pinned = cores.on_server_core(&command);
        pinned.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = pinned.spawn().with_context(|| format!("{command:?} can't be started"))?;
        let ids = vec![child.id()];
        Ok(Server { child, addr, ids, folder })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// CPU time of all its processes so far.
    ///
    /// # Errors
    /// Where one has ended.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        usage::cpu(&self.ids).with_context(|| self.last_words())
    }

    /// The same for what takes less than a second.
    ///
    /// # Errors
    /// Where one has ended.
    pub fn cpu_exact(&self) -> anyhow::Result<Duration> {
        usage::cpu_exact(&self.ids).with_context(|| self.last_words())
    }

    /// Its memory in KiB, once it stays the same for a while.
    ///
    /// # Errors
    /// Where a process has ended.
    pub fn settled_pss_kib(&self) -> anyhow::Result<u64> {
        let processes = Processes::of(self.child.id());
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut last = processes.pss_kib()?;
        loop {
            std::thread::sleep(SETTLE_STEP);
            let now = processes.pss_kib()?;
            if now.abs_diff(last) * SETTLED_PART <= last || Instant::now() > deadline {
                return Ok(now);
            }
            last = now;
        }
    }

    /// How many files its first process has open.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn open_files(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// What it said last.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().rev().take(LAST_WORDS_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Waits until it accepts connections.
    ///
    /// # Errors
    /// Where it ends, or does not within half a minute.
    pub fn until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(self.addr).is_err() {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("it ended at once ({status}): {}", self.last_words());
            }
            anyhow::ensure!(Instant::now() < deadline, "not ready: {}", self.last_words());
            std::thread::sleep(START_STEP);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The first process first, or it would replace the others. What has ended already can't be killed.
        let ids = Processes::of(self.child.id()).ids().unwrap_or_default();
        let _ = self.child.kill();
        for id in ids.into_iter().skip(1) {
            if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on, below those which the system gives to outgoing connections.
///
/// # Errors
/// Where none is found.
pub fn free_port() -> anyhow::Result<u16> {
    (0..PORT_ATTEMPTS_MAX)
        .map(|_| fastrand::u16(PORTS))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port was found")
}

const LOG: &str = "server.log";
const LAST_WORDS_LINES: usize = 5;
const START_LIMIT: Duration = Duration::from_secs(30);
const START_STEP: Duration = Duration::from_millis(20);
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
const SETTLE_STEP: Duration = Duration::from_millis(300);
/// A change of less than a two-hundredth is none.
const SETTLED_PART: u64 = 200;
const PORTS: std::ops::Range<u16> = 10_000..32_000;
const PORT_ATTEMPTS_MAX: usize = 1000;

//! How a second process takes log and listeners over from the one that has them: [`Heirs`] is the first one's side,
//! [`Claim`] the second's.
//!
//! They talk over a socket in the log's directory, a word at a time ([`wire`]):
//!
//! 1. `takeover`: the first holds retention, and passes its listeners on (`held`).
//! 2. The second reads all finished files. `seal`: the first begins a new file (`sealed`), and the second reads what that
//!    finished; until little is left.
//! 3. `release`: the first stops accepting, commits what was appended, and gives the directory up (`released`).
//! 4. The second opens the log. `serving`: the first sends everybody there (`leaving`), and the second accepts.
//!
//! Either may die at any moment. Until `serving`, the first takes everything back when the second is gone; once it has
//! let the directory go, the second opens the log whether or not it was told so.

mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use longwave::{Listeners, Server};
use longwave_store::{CommitFeed, OpenError, Preread, Released, SegmentLog, SegmentOptions};
use tokio::net::{UnixListener, UnixStream};

use self::wire::{Wire, Word};

/// Where other processes ask for the log. Only for who has locked it.
#[derive(Debug)]
pub(super) struct Heirs {
    listener: UnixListener,
    path: PathBuf,
}

/// A process that wants the log.
#[derive(Debug)]
pub(super) struct Heir(Wire);

/// What became of a hand-over.
#[derive(Debug)]
pub(super) enum Yielded {
    /// The other process serves.
    Served,
    /// It does not, and this one goes on.
    Kept,
    /// It does not, and this one could not take the log back.
    Lost(anyhow::Error),
}

impl Heirs {
    /// Makes the socket, in place of one that a process left behind which is gone.
    pub(super) fn listen(data: &Path) -> io::Result<Heirs> {
        let path = socket_path(data);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        // Who comes in before this is turned away by its user.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Heirs { listener, path })
    }

    /// Waits for the next process that may have the log.
    ///
    /// # Cancel safety
    /// A process that is not returned is told nothing; it sees its connection close.
    pub(super) async fn next(&self) -> Heir {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "can't hear who wants to take over; trying again");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            if !is_trusted(&stream) {
                tracing::warn!("another user's process wanted to take over, and was turned away");
                continue;
            }
            let mut wire = Wire::new(stream);
            match tokio::time::timeout(HELLO_TIMEOUT, wire.receive()).await {
                Ok(Ok((Some(Word::Takeover), _))) => return Heir(wire),
                Ok(Ok((Some(Word::Unknown(word)), _))) => {
                    tracing::warn!(%word, "a process of another version wanted to take over");
                    drop(wire.send(&Word::Refused(OTHER_VERSION.to_owned())).await);
                }
                _ => {}
            }
        }
    }

    /// Nobody can ask any more. Only before the directory is given up: the name is its next owner's.
    pub(super) fn close(self) {
        drop(std::fs::remove_file(&self.path));
    }
}

impl Heir {
    /// Hands log and listeners over.
    ///
    /// # Cancel safety
    /// When it is dropped, the log may be released, and the server paused: it must go down.
    pub(super) async fn yield_to(mut self, server: &mut Server, log: &SegmentLog) -> Yielded {
        let wire = &mut self.0;
        tracing::info!("another process takes over: it reads the log while this one serves");
        let released = match prepare(wire, server, log).await {
            Ok(released) => released,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the other process did not take over");
                return match server.accept() {
                    Ok(()) => Yielded::Kept,
                    Err(error) => Yielded::Lost(error.into()),
                };
            }
        };
        let told = async {
            wire.send(&Word::Released).await?;
            wire.expect(&Word::Serving).await
        };
        if let Err(error) = told.await {
            tracing::warn!(%error, "the other process is gone; taking the log back");
            let resumed = released.resume().await.context("the log could not be taken back");
            return match resumed.and_then(|()| Ok(server.accept()?)) {
                Ok(()) => Yielded::Kept,
                Err(error) => Yielded::Lost(error),
            };
        }
        // In this order: what the log refuses from here on is passed on.
        server.hand_over();
        released.hand_over();
        // Where it can't hear this, it need not wait either.
        drop(wire.send(&Word::Leaving).await);
        Yielded::Served
    }
}

/// Goes as far as the log is closed and its directory free. The server is paused only where that succeeds, or the log
/// could not be released.
async fn prepare(
    wire: &mut Wire,
    server: &mut Server,
    log: &SegmentLog,
) -> anyhow::Result<Released> {
    let Some(hold) = log.hold().await else {
        wire.send(&Word::Refused("its log is closed".to_owned())).await?;
        anyhow::bail!("the log is closed");
    };
    {
        let sockets: Vec<BorrowedFd<'_>> = server.listeners().sockets().collect();
        wire.send_with(&Word::Held, &sockets).await?;
    }
    loop {
        let word = tokio::time::timeout(HOLD_MAX, wire.receive()).await;
        match word.context("it said nothing for too long")??.0 {
            Some(Word::Seal) => {
                hold.seal().await;
                wire.send(&Word::Sealed).await?;
            }
            Some(Word::Release) => break,
            Some(word) => anyhow::bail!("it said {word}"),
            None => anyhow::bail!("it is gone"),
        }
    }
    server.pause().await;
    match hold.release().await {
        Ok(released) => Ok(released),
        Err(error) => {
            wire.send(&Word::Refused(error.to_string())).await?;
            Err(error.into())
        }
    }
}

/// Binds all addresses, once a process that is going has closed its sockets. Waits for that no longer than `wait`.
///
/// # Errors
/// As [`Listeners::bind`].
pub(super) async fn bind_when_free(addrs: &[SocketAddr], wait: Duration) -> io::Result<Listeners> {
    let deadline = Instant::now() + wait;
    loop {
        match Listeners::bind(addrs, Vec::new()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(BIND_INTERVAL).await;
            }
            bound => return bound,
        }
    }
}

/// A log and listeners that are about to be another process's.
#[derive(Debug)]
pub(super) struct Claim {
    wire: Wire,
    preread: Preread,
}

impl Claim {
    /// Asks the process that has the log in `options.dir` for it, and gets the listeners of that one. `None` where there
    /// is no such process.
    pub(super) async fn make(
        mut options: SegmentOptions,
    ) -> anyhow::Result<Option<(Claim, Vec<TcpListener>)>> {
        let path = socket_path(&options.dir);
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            Err(error) if is_nobody(&error) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} is mute", path.display())),
        };
        // What it says counts only if it is who may have the log.
        anyhow::ensure!(is_trusted(&stream), "another user's process has {}", path.display());
        options.lock_wait = LOCK_WAIT;
        let mut claim = Claim { wire: Wire::new(stream), preread: Preread::new(options) };
        let asked = async {
            claim.wire.send(&Word::Takeover).await?;
            claim.wire.receive().await
        };
        let (word, sockets) = asked.await.unwrap_or_else(|error| {
            // Killed while it was asked, it is gone and leaves its log; otherwise the log's lock will tell.
            tracing::warn!(%error, "the running server broke off");
            (None, Vec::new())
        });
        match word {
            Some(Word::Held) => {}
            Some(Word::Refused(reason)) => anyhow::bail!("the running server refused: {reason}"),
            Some(word) => anyhow::bail!("the running server said {word}"),
            None => tracing::info!("the running server is going; waiting for its log"),
        }
        Ok(Some((claim, sockets.into_iter().map(TcpListener::from).collect())))
    }

    /// Reads the log, has it released, and opens it. The other process goes when it hears [`Claim::serve`].
    pub(super) async fn open(
        self,
    ) -> anyhow::Result<(Claimed, Result<(Arc<SegmentLog>, CommitFeed), OpenError>)> {
        let Claim { mut wire, mut preread } = self;
        for round in 0..ROUNDS_MAX {
            let left;
            (preread, left) = tokio::task::spawn_blocking(move || {
                let left = preread.catch_up();
                (preread, left)
            })
            .await?;
            match left {
                Ok(left) => {
                    tracing::debug!(round, left, "read the log before it is released");
                    if left <= LEFT_MAX_BYTES {
                        break;
                    }
                }
                Err(error) => {
                    // Opening it will tell what is really the matter, if anything is.
                    tracing::warn!(%error, "the log can't be read before it is released");
                    break;
                }
            }
            // Where the other process is gone by now, there is nothing to be asked, only to be opened.
            if wire.send(&Word::Seal).await.is_err() || wire.expect(&Word::Sealed).await.is_err() {
                break;
            }
        }
        let asked = Instant::now();
        if wire.send(&Word::Release).await.is_ok() {
            match wire.receive().await {
                Ok((Some(Word::Refused(reason)), _)) => {
                    anyhow::bail!("the running server refused: {reason}")
                }
                Ok((Some(Word::Released), _)) => {}
                _ => tracing::info!("the running server is gone; opening what it left"),
            }
        }
        let opened = tokio::task::spawn_blocking(move || preread.open()).await?;
        Ok((Claimed { wire, asked }, opened))
    }
}

/// A log that was taken over, while the other process still answers for it.
#[derive(Debug)]
pub(super) struct Claimed {
    wire: Wire,
    /// When the log was asked for.
    asked: Instant,
}

impl Claimed {
    /// Sends the other process away. When this returns, it shows nobody the log as it was.
    pub(super) async fn serve(mut self) {
        // A process that is gone shows nobody anything.
        if self.wire.send(&Word::Serving).await.is_ok() {
            drop(self.wire.expect(&Word::Leaving).await);
        }
        let waited_ms = self.asked.elapsed().as_secs_f64() * 1e3;
        tracing::info!("took over; publishers waited for {waited_ms:.1} ms at most");
    }
}

fn socket_path(data: &Path) -> PathBuf {
    data.join("takeover.sock")
}

/// Whether the other end is a process of the same user, or of root's.
fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

const OTHER_VERSION: &str =
    "it is of another version and does not know how; stop it, then start the new one";
/// How long to wait when the process has no file descriptors for another connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(500);
/// How long a process may take to say what it wants.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long retention is held for a process that reads, between two words of it.
const HOLD_MAX: Duration = Duration::from_secs(600);
/// How long to wait for the log of a process that is going: its drain may take its time.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(60);
/// How long the system may take to close the files of a process that was killed.
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How often it is tried to bind an address that another process has.
const BIND_INTERVAL: Duration = Duration::from_millis(10);
/// How much of the log may be left to be read while nobody can publish: some milliseconds' worth.
const LEFT_MAX_BYTES: u64 = 1 << 20;
/// After so many rounds the log is released however much is left. Each leaves less, unless publishers are faster than
/// reading is.
const ROUNDS_MAX: usize = 8;

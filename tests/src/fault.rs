//! A TCP proxy that does to connections what networks do: delays, splits, and cuts them in the middle of an event.
//!
//! It knows no HTTP; it finds events by their word `data`. Read [`FaultProxy`] and [`FaultPlan`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::HANG_LIMIT;

/// What a proxy does to what passes from the server to the client.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FaultPlan {
    /// How many connections are cut. All after that live.
    pub cuts: usize,
    /// At most this many bytes pass on a connection before it is due to be cut in the next event.
    pub bytes_before_cut_max: usize,
    /// How a connection may be cut.
    pub side: CutSide,
    /// Where all random choices come from.
    pub seed: u64,
}

impl FaultPlan {
    /// A plan with this many cuts in the events of a few tens of KiB each.
    #[must_use]
    pub fn new(cuts: usize, side: CutSide, seed: u64) -> FaultPlan {
        FaultPlan { cuts, bytes_before_cut_max: 48 * 1024, side, seed }
    }
}

/// What is connected to a fault proxy, and with that, how its connections may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are two sides")]
pub enum CutSide {
    /// A client: its connections end as if finished, or by a reset.
    Client,
    /// A reverse proxy: its connections end as if finished. A reset can make it drop what it has not yet read, the
    /// answer's head with it, and answer 502: browsers take that for an answer, and an `EventSource` stops for good.
    ReverseProxy,
}

/// A proxy in front of `upstream`, on a port of its own. Stops, with all its connections, when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts to listen.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(upstream: SocketAddr, plan: FaultPlan) -> anyhow::Result<FaultProxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            plan,
            cuts_left: AtomicUsize::new(plan.cuts),
            cut: Notify::new(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(FaultProxy { addr, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections it still is to cut.
    #[must_use]
    pub fn cuts_left(&self) -> usize {
        self.shared.cuts_left.load(Ordering::Acquire)
    }

    /// Waits until it has cut as many connections as it was to.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn all_cuts_done(&self) -> anyhow::Result<()> {
        let wait = async {
            loop {
                let cut = self.shared.cut.notified();
                tokio::pin!(cut);
                cut.as_mut().enable();
                if self.cuts_left() == 0 {
                    return;
                }
                cut.await;
            }
        };
        tokio::time::timeout(HANG_LIMIT, wait)
            .await
            .with_context(|| format!("{} connections were never cut", self.cuts_left()))
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    plan: FaultPlan,
    cuts_left: AtomicUsize,
    /// Told when a connection was cut.
    cut: Notify,
}

impl Shared {
    /// Takes one of the cuts that are left.
    fn take_cut(&self) -> bool {
        self.cuts_left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1))
            .is_ok()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    let mut rng = fastrand::Rng::with_seed(shared.plan.seed);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(connection(client, Arc::clone(&shared), rng.fork()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>, rng: fastrand::Rng) {
    let Ok(server) = TcpStream::connect(shared.upstream).await else {
        // As if the server's machine had refused: not an answer, but no connection either.
        let _ = client.set_zero_linger();
        return;
    };
    let nodelay = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    if nodelay.is_err() {
        return;
    }
    let (mut client_read, client_write) = client.into_split();
    let (server_read, mut server_write) = server.into_split();
    let up = async {
        let copied = tokio::io::copy(&mut client_read, &mut server_write).await;
        // A client that has said all may still listen.
        let _ = server_write.shutdown().await;
        if copied.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let mut downward = Downward { shared: &shared, rng, passed: 0, reset: false };
    // Whichever ends first ends the other: a connection that failed on one side has failed.
    let client_write = tokio::select! {
        write = downward.copy(server_read, client_write) => Some(write),
        () = up => None,
    };
    if downward.reset
        && let Some(Ok(write)) = client_write
        && let Ok(client) = client_read.reunite(write)
    {
        let _ = client.set_zero_linger();
    }
}

/// What passes from the server to the client.
struct Downward<'a> {
    shared: &'a Shared,
    rng: fastrand::Rng,
    passed: usize,
    reset: bool,
}

impl Downward<'_> {
    async fn copy(
        &mut self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
    ) -> io::Result<OwnedWriteHalf> {
        let due = self.rng.usize(0..=self.shared.plan.bytes_before_cut_max);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let count = from.read(&mut buffer).await?;
            let chunk = buffer.get(..count).unwrap_or_default();
            if chunk.is_empty() {
                to.shutdown().await?;
                return Ok(to);
            }
            self.passed += count;
            if self.passed >= due
                && let Some(cut_at) = self.place_of_cut(chunk)
                && self.shared.take_cut()
            {
                self.pass(&mut to, chunk.get(..cut_at).unwrap_or_default()).await?;
                self.reset = self.shared.plan.side == CutSide::Client && self.rng.bool();
                if !self.reset {
                    to.shutdown().await?;
                }
                self.shared.cut.notify_waiters();
                return Ok(to);
            }
            self.pass(&mut to, chunk).await?;
        }
    }

    /// Where in this chunk a cut hits the inside of an event: behind the word `data`, before what ends an event or
    /// begins the next. `None` where no event says so.
    fn place_of_cut(&mut self, chunk: &[u8]) -> Option<usize> {
        let event = find(chunk, b"data")? + b"data".len();
        let rest = chunk.get(event..)?;
        let ends = [find(rest, b"\n\n"), find(rest, b"{\"id\"")];
        let end = ends.into_iter().flatten().min().unwrap_or(rest.len());
        Some(event + self.rng.usize(0..=end))
    }

    /// Writes in pieces with pauses, or as it came.
    async fn pass(&mut self, to: &mut OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
        if self.rng.u8(..) < SPLIT_OF_256 {
            for _ in 0..self.rng.usize(1..=PIECES_MAX) {
                let (piece, rest) = bytes.split_at(self.rng.usize(0..=bytes.len()));
                to.write_all(piece).await?;
                tokio::time::sleep(Duration::from_millis(self.rng.u64(0..=PAUSE_MS_MAX))).await;
                bytes = rest;
            }
        }
        to.write_all(bytes).await
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

const CHUNK_BYTES: usize = 16 * 1024;
/// Of 256 chunks, so many are split.
const SPLIT_OF_256: u8 = 80;
const PIECES_MAX: usize = 5;
const PAUSE_MS_MAX: u64 = 4;

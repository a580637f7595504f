//! Subscribers that come and go: whether the server's memory comes back.
//!
//! Read [`run`].

use std::time::{Duration, Instant};

use super::Bench;
use crate::load::Load;
use crate::peer::Peer;
use crate::server::Server;

/// A server's memory before and after.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Churn {
    /// With no subscriber yet, in KiB.
    pub before_kib: u64,
    /// When all have gone, in KiB.
    pub after_kib: u64,
}

/// Connects and disconnects [`CONNECTS`] subscribers, [`BATCH`] at a time.
///
/// # Errors
/// Where the server does not start, refuses a subscriber, or keeps a connection that was closed.
pub fn run(bench: &Bench, peer: Peer) -> anyhow::Result<Churn> {
    let server = bench.start(peer)?;
    let mut load = Load::new(server.addr())?;
    load.add_publishers(1, &peer.publication(0)?)?;
    load.wave(1)?;
    let before_kib = server.settled_pss_kib()?;
    let files = server.open_files()?;
    let request = peer.subscription();
    for _ in 0..CONNECTS / BATCH {
        load.subscribe(BATCH, |_| request.clone())?;
        load.unsubscribe_all();
        until_closed(&server, files)?;
    }
    // The allocator gives memory back over ten seconds.
    std::thread::sleep(GIVE_BACK);
    Ok(Churn { before_kib, after_kib: server.settled_pss_kib()? })
}

/// Waits until the server has noticed that its subscribers have gone.
pub(crate) fn until_closed(server: &Server, files: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + CLOSE_LIMIT;
    while server.open_files()? > files {
        anyhow::ensure!(
            Instant::now() < deadline,
            "{} s after the clients closed them, the server still has {} connections open",
            CLOSE_LIMIT.as_secs(),
            server.open_files()?.saturating_sub(files)
        );
        std::thread::sleep(CLOSE_STEP);
    }
    Ok(())
}

/// How many subscribers come and go.
pub const CONNECTS: usize = 100_000;
/// How many are there at one time.
pub const BATCH: usize = 1_000;
const GIVE_BACK: Duration = Duration::from_secs(12);
const CLOSE_LIMIT: Duration = Duration::from_secs(30);
const CLOSE_STEP: Duration = Duration::from_millis(5);

//! The server is killed by SIGKILL at random moments under load, again and again. After each restart the log is held
//! against what publishers were told and what readers saw.
//!
//! `LONGWAVE_CRASHES` says how often it is killed, `LONGWAVE_SEED` makes the same choices as an earlier run;
//! `cargo xtask crash --count N --seed S` sets both. What the machine does in between is not repeated by a seed.
//!
//! What is promised is in [`audit`]; [`book`] is what it is held against.

mod audit;
mod book;
mod mark;
mod publishers;
mod readers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use longwave_e2e::{CuttableDisk, HANG_LIMIT, LongwaveServer, POLL_INTERVAL};
use tokio::task::JoinSet;

use audit::Auditor;
use book::{Book, Failures};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_however_often_the_server_is_killed() {
    let crashes = number_from_environment("LONGWAVE_CRASHES").unwrap_or(CRASHES_DEFAULT);
    let seed = number_from_environment("LONGWAVE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!(
        "seed {seed}: `cargo xtask crash --count {crashes} --seed {seed}` makes the same choices"
    );
    let mut server = LongwaveServer::start(SETTINGS).await.unwrap();
    let outcome = run(&mut server, &Outage::Killed, crashes, seed).await;
    if let Err(problem) = outcome {
        let files = server.keep_files().display().to_string();
        panic!("seed {seed}: {problem:#}\nthe server's files are kept in {files}");
    }
}

/// What befalls the server.
pub(crate) enum Outage {
    /// The process ends; what it wrote stays.
    Killed,
    /// The machine ends: what was not synced is gone. The log is on this disk.
    PowerCut(CuttableDisk),
}

impl Outage {
    async fn strike(&self, server: &mut LongwaveServer, book: &Book) -> anyhow::Result<()> {
        match self {
            Outage::Killed => server.kill().await,
            Outage::PowerCut(disk) => {
                book.power_goes();
                disk.cut_power()?;
                // For a moment it runs on without a disk, and must not tell anybody that all is well.
                tokio::time::sleep(POLL_INTERVAL).await;
                server.kill().await?;
                book.power_is_back();
                disk.restore_power()
            }
        }
    }
}

/// Lets `count` outages befall a server under load, and holds its log against the book after each.
///
/// # Errors
/// With the first promise that was not kept.
pub(crate) async fn run(
    server: &mut LongwaveServer,
    outage: &Outage,
    count: u64,
    seed: u64,
) -> anyhow::Result<()> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let book = Arc::new(Book::new(match outage {
        Outage::Killed => Failures::Never,
        Outage::PowerCut(_) => Failures::Expected,
    }));
    publishers::configure(&server.url()).await?;
    let mut publishers = publishers::start(&server.url(), &book, &mut rng);
    let mut readers = readers::start(&server.url(), &book, &mut rng);
    let mut auditor = Auditor::new(&server.url())?;
    for crash in 1..=count {
        work_for_a_while(&book, &mut publishers, &mut readers, &mut rng).await?;
        outage.strike(server, &book).await?;
        server.spawn()?;
        if rng.u8(..) < KILLED_IN_RECOVERY_OF_256 {
            tokio::time::sleep(Duration::from_millis(rng.u64(0..RECOVERY_MS_MAX))).await;
            outage.strike(server, &book).await?;
            server.spawn()?;
        }
        server.wait_until_ready().await?;
        let depth =
            if crash % FULL_AUDIT_EVERY == 0 { audit::Depth::All } else { audit::Depth::New };
        auditor.audit(&book, depth).await.map_err(|problem| {
            problem.context(format!("after crash {crash}: {}", book.summary()))
        })?;
        if crash % FULL_AUDIT_EVERY == 0 {
            println!("crash {crash}: {}", book.summary());
        }
    }
    book.stop();
    while let Some(ended) = publishers.join_next().await {
        ended??;
    }
    auditor.audit(&book, audit::Depth::All).await?;
    book.finish(auditor.last()?);
    let finished = async {
        while let Some(ended) = readers.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    let in_time = tokio::time::timeout(HANG_LIMIT, finished).await;
    in_time.with_context(|| format!("a reader never saw the end: {}", book.summary()))??;
    auditor.audit_readers_are_complete(&book)?;
    disk_is_given_back(server, &book).await?;
    println!("at the end: {}", book.summary());
    book.require_variety()
}

/// Lets publishers and readers work until something new was acknowledged, and then for a random time.
async fn work_for_a_while(
    book: &Book,
    publishers: &mut JoinSet<anyhow::Result<()>>,
    readers: &mut JoinSet<anyhow::Result<()>>,
    rng: &mut fastrand::Rng,
) -> anyhow::Result<()> {
    let before = book.acknowledged_count();
    let pause = Duration::from_millis(rng.u64(0..LOAD_MS_MAX));
    let work = async {
        while book.acknowledged_count() == before {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        tokio::time::sleep(pause).await;
    };
    tokio::select! {
        worked = tokio::time::timeout(HANG_LIMIT, work) => Ok(worked?),
        Some(ended) = publishers.join_next() => ended?.and(Err(anyhow::anyhow!("a publisher gave up"))),
        Some(ended) = readers.join_next() => ended?.and(Err(anyhow::anyhow!("a reader gave up"))),
    }
}

/// Waits until the log takes much less than was ever published to topics that keep little: their segments were removed,
/// or what lived in them was copied forward.
async fn disk_is_given_back(server: &LongwaveServer, book: &Book) -> anyhow::Result<()> {
    let (kept, churn) = book.published_bytes();
    let enough = kept * 2 + churn / 4;
    let wait = async {
        while folder_bytes(server.data())? > enough {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        anyhow::Ok(())
    };
    let in_time = tokio::time::timeout(HANG_LIMIT, wait).await;
    in_time.with_context(|| format!("{churn} bytes are dead, and the log stays over {enough}"))?
}

fn folder_bytes(folder: &Path) -> anyhow::Result<usize> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        // A file that was removed in the meantime takes nothing.
        let Ok(metadata) = entry?.metadata() else { continue };
        bytes += usize::try_from(metadata.len())?;
    }
    Ok(bytes)
}

pub(crate) fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is {text}")))
}

const CRASHES_DEFAULT: u64 = 50;
/// The smallest segments there are, so that rotation, retention and copy-forward happen all the time.
pub(crate) const SETTINGS: &[(&str, &str)] =
    &[("--segment-size", "64KiB"), ("--retry", "100ms"), ("--retry-jitter", "0s")];
const LOAD_MS_MAX: u64 = 400;
/// Of 256 restarts, so many are killed in turn before they are ready, or right after.
const KILLED_IN_RECOVERY_OF_256: u8 = 64;
const RECOVERY_MS_MAX: u64 = 60;
const FULL_AUDIT_EVERY: u64 = 10;

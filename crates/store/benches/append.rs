//! How fast the segment log is on this machine: appends a second, and reopening.
//!
//! `cargo bench -p longwave-store --bench append [-- DIR]`; without a directory, one under the system's own for temporary
//! files, which should be on the disk that is meant. Prints a table; each figure is the median of its runs.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longwave_core::{
    Append, DataFormat, Expected, LogRetention, Message, NewMessage, SelectorSet, Seq,
};
use longwave_store::{CommitFeed, Log, ReadQuery, SegmentLog, SegmentOptions, Start};

fn main() -> Result<()> {
    // Cargo passes `--bench` itself.
    let dir = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let dir = dir.map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "200-byte events, {} runs each of {RUN:?}, in {}", RUNS, dir.display())?;

    let rate = median(|| synced_writes(&dir))?;
    writeln!(out, "one write and one fdatasync at a time: {rate:>9.0} a second")?;
    for appenders in [1, 64, 512] {
        let rate = median(|| runtime.block_on(appends(&dir, appenders)))?;
        writeln!(out, "{appenders:>4} appenders at the same time:         {rate:>9.0} a second")?;
    }
    let mut reopened = Vec::new();
    let many = tempfile::tempdir_in(&dir)?;
    runtime.block_on(fill(many.path()))?;
    let mut topic_read = Vec::new();
    let mut grown = Vec::new();
    for _ in 0..RUNS {
        let reopening = runtime.block_on(reopen(many.path()))?;
        reopened.push(reopening.open.as_secs_f64() * 1000.0);
        topic_read.push(reopening.read.as_secs_f64() * 1e6);
        grown.push(reopening.live_mib);
    }
    let median_of = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    writeln!(out, "reopening 100,000 topics of 10 events:  {:>9.0} ms", median_of(reopened))?;
    writeln!(out, "memory of that log when it is open:     {:>9.0} MiB", median_of(grown))?;
    writeln!(out, "reading one of those topics whole:      {:>9.0} us", median_of(topic_read))?;
    Ok(())
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn median(run: impl Fn() -> Result<f64>) -> Result<f64> {
    let mut rates = (0..RUNS).map(|_| run()).collect::<Result<Vec<f64>>>()?;
    rates.sort_by(f64::total_cmp);
    Ok(rates.get(RUNS / 2).copied().unwrap_or_default())
}

/// What a log without group commit could reach at most.
fn synced_writes(dir: &Path) -> Result<f64> {
    let dir = tempfile::tempdir_in(dir)?;
    let mut file = File::create(dir.path().join("file"))?;
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < RUN {
        file.write_all(&[b'x'; 250])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

async fn appends(dir: &Path, appenders: u32) -> Result<f64> {
    let dir = tempfile::tempdir_in(dir)?;
    let log = open(dir.path())?;
    let count = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..appenders)
        .map(|i| {
            let (log, count) = (Arc::clone(&log), Arc::clone(&count));
            let append = append(i, &[b'x'; 200]);
            tokio::spawn(async move {
                while start.elapsed() < RUN {
                    log.append(append.clone()).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), longwave_store::AppendError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let elapsed = start.elapsed().as_secs_f64();
    log.close().await;
    Ok(u32::try_from(count.load(Ordering::Relaxed)).map(f64::from)? / elapsed)
}

/// 100,000 topics of 10 events, which lie far apart.
async fn fill(dir: &Path) -> Result<()> {
    let log = open(dir)?;
    for _ in 0..10 {
        for chunk in 0..100 {
            let appends: Vec<_> = (0..1000)
                .map(|i| {
                    let log = Arc::clone(&log);
                    let append = append(chunk * 1000 + i, &[b'x'; 200]);
                    tokio::spawn(async move { log.append(append).await })
                })
                .collect();
            for append in appends {
                append.await??;
            }
        }
    }
    log.close().await;
    Ok(())
}

struct Reopening {
    open: Duration,
    read: Duration,
    live_mib: f64,
}

async fn reopen(dir: &Path) -> Result<Reopening> {
    let before = resident_mib()?;
    let start = Instant::now();
    let log = open(dir)?;
    let opened = start.elapsed();
    let status = log.status();
    assert_eq!((status.topics, status.events), (100_000, 1_000_000));
    let query = ReadQuery {
        selectors: Arc::new(SelectorSet::topic("topic/4242".parse()?)),
        start: Start::After(Seq::ZERO),
        max_events: 100,
        max_bytes: 1 << 20,
    };
    let start = Instant::now();
    let page = log.read(query).await?;
    let read = start.elapsed();
    assert_eq!(page.events.len(), 10);
    let live_mib = resident_mib()? - before;
    log.close().await;
    Ok(Reopening { open: opened, read, live_mib })
}

/// How much memory this process takes, file pages of its program left out.
fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: u32 = line.unwrap_or_default().trim().trim_end_matches(" kB").parse()?;
    Ok(f64::from(kib) / 1024.0)
}

fn open(dir: &Path) -> Result<Arc<SegmentLog>> {
    let mut options = SegmentOptions::new(dir);
    options.retention = LogRetention { max_age_ms: None, max_bytes: None };
    let (log, feed) = SegmentLog::open(options)?;
    tokio::spawn(drain(feed));
    Ok(log)
}

async fn drain(mut feed: CommitFeed) {
    while feed.next().await.is_some() {}
}

fn append(topic: u32, data: &[u8]) -> Append {
    let data = data.to_vec().into();
    let message = Message { event_type: None, format: DataFormat::Text, data, source: None };
    let topic = format!("topic/{topic}").parse();
    Append {
        topic: topic.unwrap_or_else(|error| panic!("{error}")),
        messages: vec![NewMessage { message, key: None }],
        end: None,
        key: None,
        expected: Expected::Any,
    }
}

const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(2);

//! A log under test with its clock and its feed: [`Fixture`].

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longwave_core::{
    Append, Appended, Config, DataFormat, EndReason, Event, EventType, Expected, IdempotencyKey,
    LogRetention, Message, NewMessage, Payload, SelectorSet, Seq, TopicName, UnixMillis,
};
use longwave_store::{
    AppendError, Clock, Commit, CommitFeed, Log, MemoryLog, MemoryOptions, Preread, ReadPage,
    ReadQuery, SegmentLog, SegmentOptions, Start,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A clock that stands still until told.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Clock::new(move || UnixMillis(now.load(Ordering::SeqCst)))
    }
}

pub(crate) type Retain = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// An open log whose feed is drained into a queue.
pub(crate) struct Fixture {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: TestClock,
    pub(crate) commits: mpsc::UnboundedReceiver<Commit>,
    pub(crate) retain: Retain,
    /// The log, where it is one on disk.
    pub(crate) segment: Option<Arc<SegmentLog>>,
    /// The log's directory, where it has one.
    pub(crate) dir: Option<TempDir>,
}

/// A copy of a log's directory.
pub(crate) fn copy(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// The segments in a directory, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    segments.sort();
    segments
}

/// A segment's head and its records, without the zeros behind them, over which the next records go.
pub(crate) fn written(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    let mut end = 64;
    while let Some(len) = bytes.get(end..end + 4) {
        match u32::from_le_bytes(len.try_into().unwrap()) as usize {
            0 => break,
            len => end += 8 + len,
        }
    }
    bytes.truncate(end);
    bytes
}

/// Small segments, and nothing that happens by itself.
pub(crate) fn options(dir: &Path, clock: &TestClock, retention: LogRetention) -> SegmentOptions {
    let mut options = SegmentOptions::new(dir);
    options.retention = retention;
    options.retention_interval = None;
    options.segment_bytes = 64 << 10;
    options.clock = clock.clock();
    options
}

/// Keeps everything.
pub(crate) const ENDLESS: LogRetention = LogRetention { max_age_ms: None, max_bytes: None };

impl Fixture {
    pub(crate) fn memory(retention: LogRetention) -> Fixture {
        let clock = TestClock::default();
        let options = MemoryOptions { retention, retention_interval: None, clock: clock.clock() };
        let (log, feed) = MemoryLog::open(options).unwrap();
        let retained = Arc::clone(&log);
        let retain: Retain = Box::new(move || {
            let log = Arc::clone(&retained);
            Box::pin(async move { log.retain().await })
        });
        Fixture { log, clock, commits: drain(feed), retain, segment: None, dir: None }
    }

    pub(crate) fn segment(retention: LogRetention) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::default();
        let fixture = Fixture::open(options(dir.path(), &clock, retention), clock);
        Fixture { dir: Some(dir), ..fixture }
    }

    pub(crate) fn open(options: SegmentOptions, clock: TestClock) -> Fixture {
        Fixture::of(SegmentLog::open(options).unwrap(), clock)
    }

    pub(crate) fn of((log, feed): (Arc<SegmentLog>, CommitFeed), clock: TestClock) -> Fixture {
        let segment = Some(Arc::clone(&log));
        let retained = Arc::clone(&log);
        let retain: Retain = Box::new(move || {
            let log = Arc::clone(&retained);
            Box::pin(async move { log.retain().await })
        });
        Fixture { log, clock, commits: drain(feed), retain, segment, dir: None }
    }

    /// Closes the log and opens it again; one in memory stays as it is.
    pub(crate) async fn reopen(self, retention: LogRetention) -> Fixture {
        let Some(dir) = self.dir else { return self };
        within(self.log.close()).await;
        let options = options(dir.path(), &self.clock, retention);
        Fixture { dir: Some(dir), ..Fixture::open(options, self.clock) }
    }

    /// Has another log take over, which read what `preread` holds before.
    pub(crate) async fn hand_over(self, preread: Option<Preread>) -> Fixture {
        let (Some(dir), Some(log)) = (&self.dir, &self.segment) else { return self };
        let hold = within(log.hold()).await.unwrap();
        let released = within(hold.release()).await.unwrap();
        let options = options(dir.path(), &self.clock, ENDLESS);
        let preread = preread.unwrap_or_else(|| Preread::new(options));
        let opened = preread.open().unwrap();
        released.hand_over();
        within(log.close()).await;
        Fixture { dir: self.dir, ..Fixture::of(opened, self.clock) }
    }

    /// Leaves the log as it is on disk at this moment, as if the process had been killed, and opens that.
    pub(crate) async fn crash(self, retention: LogRetention) -> Fixture {
        let Some(dir) = &self.dir else { return self };
        let copy = copy(dir.path());
        let clock = self.clock.clone();
        within(self.log.close()).await;
        let options = options(copy.path(), &clock, retention);
        Fixture { dir: Some(copy), ..Fixture::open(options, clock) }
    }

    pub(crate) async fn retain(&self) {
        within((self.retain)()).await;
    }

    pub(crate) async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        within(self.log.append(append)).await
    }

    /// Publishes one text and tells its position.
    pub(crate) async fn publish(&self, topic: &str, data: &str) -> u64 {
        self.append(publish(topic, [text(data)])).await.unwrap().first.0
    }

    pub(crate) async fn configure(&self, topic: &str, config: Config) {
        within(self.log.configure(name(topic), config)).await.unwrap();
    }

    pub(crate) async fn page(&self, selectors: &[&str], start: Start) -> ReadPage {
        let query =
            ReadQuery { selectors: set(selectors), start, max_events: 1000, max_bytes: 1 << 20 };
        within(self.log.read(query)).await.unwrap()
    }

    /// What a reader behind `after` gets: the last lost position and the events as `topic@position=data`, a source in angle
    /// brackets behind it.
    pub(crate) async fn read(&self, selectors: &[&str], after: u64) -> (Option<u64>, Vec<String>) {
        let page = self.page(selectors, Start::After(Seq(after))).await;
        assert!(page.caught_up);
        (page.gap.map(|gap| gap.through.0), page.events.iter().map(|e| show(e)).collect())
    }

    pub(crate) async fn next_commit(&mut self) -> Commit {
        within(self.commits.recv()).await.unwrap()
    }
}

/// Fails rather than hang.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

pub(crate) fn drain(mut feed: CommitFeed) -> mpsc::UnboundedReceiver<Commit> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(commit) = feed.next().await {
            let _ = sender.send(commit);
        }
    });
    receiver
}

pub(crate) fn name(text: &str) -> TopicName {
    text.parse().unwrap()
}

pub(crate) fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).unwrap()
}

pub(crate) fn set(selectors: &[&str]) -> Arc<SelectorSet> {
    Arc::new(SelectorSet::new(selectors.iter().map(|s| s.parse().unwrap())).unwrap())
}

pub(crate) fn text(data: &str) -> NewMessage {
    let data = data.to_owned().into();
    let message = Message { event_type: None, format: DataFormat::Text, data, source: None };
    NewMessage { message, key: None }
}

pub(crate) fn typed(event_type: &str, format: DataFormat, data: &'static [u8]) -> NewMessage {
    let event_type = Some(EventType::new(event_type).unwrap());
    NewMessage {
        message: Message { event_type, format, data: data.into(), source: None },
        key: None,
    }
}

/// A message that came in as `source`.
pub(crate) fn sourced(data: &str, source: &str) -> NewMessage {
    let plain = text(data);
    let source = Some(source.to_owned().into());
    NewMessage { message: Message { source, ..plain.message }, ..plain }
}

pub(crate) fn publish(topic: &str, messages: impl Into<Vec<NewMessage>>) -> Append {
    Append {
        topic: name(topic),
        messages: messages.into(),
        end: None,
        key: None,
        expected: Expected::Any,
    }
}

pub(crate) fn ending(topic: &str, reason: EndReason) -> Append {
    Append { end: Some(reason), ..publish(topic, []) }
}

pub(crate) fn show(event: &Event) -> String {
    let what = match &event.payload {
        Payload::Message(message) => {
            let source = message.source.as_deref().map(String::from_utf8_lossy);
            let source = source.map_or_else(String::new, |source| format!("<{source}>"));
            format!("{}{source}", String::from_utf8_lossy(&message.data))
        }
        Payload::End(reason) => format!("[{reason}]"),
    };
    format!("{}@{}={what}", event.topic, event.seq)
}

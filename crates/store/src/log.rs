//! The one narrow interface to a log, embedded or distributed: [`Log`].
//!
//! All calls that may wait are asynchronous and boxed, so that the server holds a `dyn Log` and a log may live on the
//! network. Ids come from the log, and so does every decision that must be atomic with an append: duplicates, fences
//! and ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use longwave_core::{
    Append, Appended, Config, EndReason, Epoch, Event, Refusal, SelectorSet, Seq, TopicInfo,
    TopicName, UnixMillis,
};
use tokio::sync::mpsc;

/// What a log's calls return: a boxed future that borrows the log.
pub type LogFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An append-only log of events in one total order.
///
/// **Order.** Positions increase with every record and are never given twice in an epoch, not even when a crash lost
/// what was not yet durable.
///
/// **Visibility.** [`Log::read`] and the [`CommitFeed`] show an event only once it is committed: as durable as its
/// topic asks. An append is answered after its commit, and a refusal only when what it tells is committed too.
pub trait Log: Send + Sync + 'static {
    /// The tag of this log's ids.
    fn epoch(&self) -> Epoch;

    /// Everything up to here is committed: the position at which a reader that starts "now" stands.
    fn committed(&self) -> Seq;

    /// Appends all of a publish or nothing.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended then, except where it says [`AppendError::Failed`] or
    /// [`AppendError::Closed`]: the log went down in between, and what became of the publish is unknown until it is
    /// tried again under the same key.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the publish back: it may still happen.
    fn append(&self, append: Append) -> LogFuture<'_, Result<Appended, AppendError>>;

    /// Creates a topic with settings, or replaces its settings.
    ///
    /// # Errors
    /// [`ConfigureError`]; nothing was changed then.
    fn configure(
        &self,
        topic: TopicName,
        config: Config,
    ) -> LogFuture<'_, Result<Configured, ConfigureError>>;

    /// Removes a topic: its events, its settings, its end. Those who follow it at that moment are told so by an end
    /// event with the reason [`EndReason::Deleted`] on the commit feed.
    ///
    /// # Errors
    /// [`DeleteError`]; nothing was removed then.
    fn delete(&self, topic: TopicName) -> LogFuture<'_, Result<(), DeleteError>>;

    /// Reads committed events in order.
    ///
    /// # Errors
    /// [`ReadError`]. Data that fails its checksum is not an error but a [`Gap`] in front of what follows it.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the log.
    fn read(&self, query: ReadQuery) -> LogFuture<'_, Result<ReadPage, ReadError>>;

    /// What the log knows of one topic; `None` where it neither holds events nor settings of it.
    fn topic(&self, topic: TopicName) -> LogFuture<'_, Result<Option<TopicInfo>, ReadError>>;

    /// Topics in order of their names.
    fn topics(&self, query: TopicsQuery) -> LogFuture<'_, Result<TopicsPage, ReadError>>;

    /// How the log is.
    fn status(&self) -> LogStatus;

    /// Commits what was accepted, refuses what comes later, and gives up the log's files. Idempotent.
    fn close(&self) -> LogFuture<'_, ()>;
}

/// Why nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The topic's last event is not the one that the publisher expected.
    #[error("the topic's last event is another one than expected")]
    Fenced {
        /// Where it is; zero where the topic has had none.
        last: Seq,
    },
    /// The topic has ended.
    #[error("the topic has ended ({reason}) and takes no more events")]
    Ended {
        /// Where its end event is.
        seq: Seq,
        /// Why it ended.
        reason: EndReason,
    },
    /// The key was used before, for something else.
    #[error("the idempotency key was used in this topic for other content")]
    KeyReused {
        /// The first event that was published under the key; zero where the publish itself uses it twice.
        first: Seq,
    },
    /// The publish would add nothing: neither messages nor an end.
    #[error("there is nothing to publish")]
    Empty,
    /// The publish is larger than one append may be.
    #[error("the publish takes {bytes} bytes in the log, and {bytes_max} is the most")]
    TooLarge {
        /// How much it would take.
        bytes: u64,
        /// How much it may.
        bytes_max: u64,
    },
    /// There is no room on the disk. Publishing works again when there is.
    #[error("the log's disk is full")]
    Full,
    /// A write or a sync failed, so nobody can tell what the disk holds; the log takes nothing more until restart.
    #[error("the log failed and takes no more events until the server restarts")]
    Failed,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl From<Refusal> for AppendError {
    fn from(refusal: Refusal) -> AppendError {
        match refusal {
            Refusal::Fenced { last } => AppendError::Fenced { last },
            Refusal::Ended(end) => AppendError::Ended { seq: end.seq, reason: end.reason },
            Refusal::KeyReused { first } => AppendError::KeyReused { first },
            Refusal::Empty => AppendError::Empty,
        }
    }
}

/// What became of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "settings are either for a new topic or for one that was there"
)]
pub enum Configured {
    /// The topic was not there before.
    Created,
    /// The topic was there and has these settings now (or had them already).
    Updated,
}

/// Why settings were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// There is no room on the disk.
    #[error("the log's disk is full")]
    Full,
    /// A write or a sync failed.
    #[error("the log failed and takes no more changes until the server restarts")]
    Failed,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a topic was not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// There is no such topic.
    #[error("there is no such topic")]
    NotFound,
    /// There is no room on the disk for the note that the topic is gone.
    #[error("the log's disk is full")]
    Full,
    /// A write or a sync failed.
    #[error("the log failed and takes no more changes until the server restarts")]
    Failed,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Which events to read.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out in full")]
pub struct ReadQuery {
    /// Of which topics.
    pub selectors: Arc<SelectorSet>,
    /// From where on.
    pub start: Start,
    /// At most this many events. At least 1.
    pub max_events: usize,
    /// No further event once the page holds this many bytes of data; the first event is always in it.
    pub max_bytes: usize,
}

/// Where a read starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every log must know every way to start")]
pub enum Start {
    /// Right behind this position. One that is not committed yet counts as the newest that is.
    After(Seq),
    /// At the newest this many matching events that are retained. Never behind a gap, since nothing older was asked for.
    Last(u64),
    /// At the first event accepted at this time or later.
    Since(UnixMillis),
}

/// Events in order, and how to go on behind them.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "logs write it out in full")]
pub struct ReadPage {
    /// Matching events behind the reader's position that can't be had any more. Told as long as the reader stands in
    /// front of [`Gap::through`]: whoever reads several topics, of which some lost more than others, tells it once.
    pub gap: Option<Gap>,
    /// The events; none of a topic that the query does not select.
    pub events: Vec<Arc<Event>>,
    /// Every matching event up to here is in this page or earlier ones: read on with [`Start::After`] this.
    pub next: Seq,
    /// Whether `next` was all that was committed when the page was read.
    pub caught_up: bool,
}

/// Matching events between the reader's position and `through` may be missing from what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "logs write it out in full")]
pub struct Gap {
    /// The last position that is lost.
    pub through: Seq,
    /// Why.
    pub reason: GapReason,
}

/// Why events can't be had any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new reason must be thought of at every place that tells it"
)]
pub enum GapReason {
    /// Retention, or a deletion, removed them.
    Retention,
    /// The disk gave back other bytes than were written.
    Corruption,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file system refused.
    #[error("the log could not be read")]
    Io(#[source] std::io::Error),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Which topics to list.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out in full")]
pub struct TopicsQuery {
    /// Only names that start with this, compared as canonical text.
    pub prefix: String,
    /// Only names behind this one.
    pub after: Option<TopicName>,
    /// At most this many. At least 1.
    pub limit: usize,
}

/// Topics in order of their names.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "logs write it out in full")]
pub struct TopicsPage {
    /// The topics.
    pub topics: Vec<TopicInfo>,
    /// Whether the query selects more behind the last one.
    pub more: bool,
}

/// How a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "logs write it out in full")]
pub struct LogStatus {
    /// Whether it takes events.
    pub state: LogState,
    /// Everything up to here is committed.
    pub committed: Seq,
    /// How many topics it knows.
    pub topics: u64,
    /// How many events it retains.
    pub events: u64,
    /// How many bytes it takes, files of its own included.
    pub bytes: u64,
    /// How many damaged places were found in what had been durable, since the log was opened.
    pub corruptions: u64,
}

/// Whether a log takes events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "readiness must think of every state")]
pub enum LogState {
    /// It does.
    Ready,
    /// It does when there is room on the disk again.
    Full,
    /// It does not until restart, for this reason.
    Failed(String),
    /// It was closed.
    Closed,
}

/// Events that were committed together.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "logs write it out in full")]
pub struct Commit {
    /// The events, in order. Empty where only settings changed.
    pub events: Vec<Arc<Event>>,
    /// Everything up to here is committed.
    pub through: Seq,
}

/// How a hub learns of events: all commits of a log since it was opened, in order, none left out.
///
/// Bounded: a log that is [`CommitFeed::COMMITS_MAX`] commits ahead of its reader waits for it, so a feed must be
/// drained for as long as the log is used. Ends when the log was closed.
#[derive(Debug)]
pub struct CommitFeed {
    receiver: mpsc::Receiver<Commit>,
}

impl CommitFeed {
    /// How many commits wait at most.
    pub const COMMITS_MAX: usize = 1024;

    /// A feed and the log's end of it.
    pub(crate) fn channel() -> (mpsc::Sender<Commit>, CommitFeed) {
        let (sender, receiver) = mpsc::channel(Self::COMMITS_MAX);
        (sender, CommitFeed { receiver })
    }

    /// The next commit, or `None` after the log was closed.
    ///
    /// # Cancel safety
    /// A dropped call has taken no commit.
    pub async fn next(&mut self) -> Option<Commit> {
        self.receiver.recv().await
    }
}

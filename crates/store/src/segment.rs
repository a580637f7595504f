//! The log on disk: [`SegmentLog`].
//!
//! One directory of segments, each an append-only file of checksummed records of all topics in the log's order. One
//! thread writes ([`writer`]); readers read the same files ([`read`]). What is in memory, [`state`], is built from the
//! segments when the log is opened ([`recovery`], [`scan`], [`replay`]) and never believed over them. Another process can
//! take the log over without its readers and publishers noticing ([`handover`], [`preread`]). Retention removes whole
//! segments, and has those that are mostly dead rewritten ([`maintenance`], [`rewrite`]).

mod active;
mod fault;
mod file;
mod handover;
mod heads;
mod index;
mod maintenance;
mod options;
mod preread;
mod read;
pub(crate) mod record;
mod recovery;
mod replay;
mod rewrite;
mod scan;
mod settings;
mod state;
mod writer;

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use longwave_core::{Append, Appended, Config, Epoch, LogRetention, Seq, TopicInfo, TopicName};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock::Clock;
use crate::limits::{APPEND_BYTES_MAX, append_bytes};
use crate::log::{
    AppendError, CommitFeed, ConfigureError, Configured, DeleteError, Log, LogFuture, LogState,
    LogStatus, ReadError, ReadPage, ReadQuery, TopicsPage, TopicsQuery,
};
use crate::ticker::Ticker;
use active::Active;
pub use fault::{Fault, Faults, Step};
use file::{Directory, Identity};
pub use handover::{Hold, ReleaseError, Released, ResumeError};
pub use options::{OpenError, SegmentOptions};
pub use preread::Preread;
use state::{Condition, State};
use writer::{Command, LastWord, Writer};

/// A durable log in a directory of its own.
///
/// Give it back with [`Log::close`] before it is dropped: what was acknowledged is safe either way, but only a log that
/// was closed can tell damage at its very end from a crash, and gives up its directory at once.
#[derive(Debug)]
pub struct SegmentLog {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    /// How many KiB of publishes may wait for the writer.
    room: Arc<Semaphore>,
    _ticker: Option<Ticker>,
}

/// What readers and the writer share.
#[derive(Debug)]
struct Shared {
    dir: Directory,
    identity: Identity,
    clock: Clock,
    retention: LogRetention,
    segment_bytes_max: u64,
    segment_age_max_ms: u64,
    /// Held for a bounded number of steps at a time. Written to by the writer, and by a reader who found damage.
    state: RwLock<State>,
    /// Holds the directory for as long as the log is open.
    lock: Mutex<Option<File>>,
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlock(&self) {
        self.keep(None);
    }

    /// Holds the directory by this lock, or by none.
    fn keep(&self, lock: Option<File>) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock;
    }
}

impl SegmentLog {
    /// Opens the log in a directory, or begins one there, and tells its feed. Reads all of the log, which takes a few
    /// seconds a gigabyte.
    ///
    /// # Errors
    /// [`OpenError`], which names the file and what to do about it.
    pub fn open(options: SegmentOptions) -> Result<(Arc<SegmentLog>, CommitFeed), OpenError> {
        SegmentLog::open_with(options, None)
    }

    fn open_with(
        options: SegmentOptions,
        preread: Option<Preread>,
    ) -> Result<(Arc<SegmentLog>, CommitFeed), OpenError> {
        let dir = Directory { path: options.dir.clone(), faults: options.faults.clone() };
        let io_error = |source| OpenError::Io { file: options.dir.clone(), source };
        dir.create_if_missing().map_err(io_error)?;
        let lock = dir.lock_within(options.lock_wait)?;
        let recovered = recovery::recover(&dir, options.clock.now(), preread)?;
        let bytes_max = options.segment_bytes_max();
        let active = recovered.state.active();
        let active = active.map(|newest| Active::new(newest, recovered.reserved, bytes_max));
        let Some(active) = active else {
            return Err(io_error(std::io::Error::other("there is no segment to write to")));
        };
        let shared = Arc::new(Shared {
            dir,
            identity: recovered.identity,
            clock: options.clock.clone(),
            retention: options.retention,
            segment_bytes_max: bytes_max,
            segment_age_max_ms: options.segment_age_max_ms(),
            state: RwLock::new(recovered.state),
            lock: Mutex::new(Some(lock)),
        });
        let (feed, receiver) = CommitFeed::channel();
        let (commands, queue) = mpsc::channel(QUEUE_LEN_MAX);
        let writer = Writer::new(Arc::clone(&shared), queue, commands.downgrade(), feed, active);
        thread::Builder::new()
            .name("longwave-writer".to_owned())
            .spawn(move || {
                let _last_word = LastWord(Arc::clone(&writer.shared));
                writer.run();
            })
            .map_err(io_error)?;
        let ticker = options.retention_interval.map(|interval| {
            let commands = commands.downgrade();
            Ticker::start("longwave-retain", interval, move || {
                if let Some(commands) = commands.upgrade() {
                    // A full queue has more urgent things; the next tick comes.
                    let _ = commands.try_send(Command::Tick);
                }
            })
        });
        let ticker = ticker.transpose().map_err(io_error)?;
        let room = Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize));
        Ok((Arc::new(SegmentLog { shared, commands, room, _ticker: ticker }), receiver))
    }

    /// Keeps the log's finished files as they are, so that another process can read them before it takes the log over.
    /// Waits for a rewrite that is under way. `None` where the log is closed.
    ///
    /// # Cancel safety
    /// A dropped call holds nothing.
    pub async fn hold(&self) -> Option<Hold> {
        Hold::take(self.commands.clone()).await
    }

    /// Removes what retention no longer allows at this time, gives its room on the disk back, and returns when that is
    /// done.
    ///
    /// # Cancel safety
    /// It is done whether or not somebody waits for it.
    pub async fn retain(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Retain(reply)).await.is_ok() {
            // A closed log retains nothing.
            let _ = done.await;
        }
    }
}

impl Log for SegmentLog {
    fn epoch(&self) -> Epoch {
        self.shared.identity.epoch
    }

    fn committed(&self) -> Seq {
        self.shared.read().committed
    }

    fn append(&self, append: Append) -> LogFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let bytes = append_bytes(&append);
            if bytes > APPEND_BYTES_MAX {
                return Err(AppendError::TooLarge { bytes, bytes_max: APPEND_BYTES_MAX });
            }
            // At least one, and no more than there are, since an append is smaller than the queue.
            let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(QUEUE_KIB_MAX);
            let room = Arc::clone(&self.room).acquire_many_owned(kib).await;
            let room = room.map_err(|_| AppendError::Closed)?;
            let (reply, answer) = oneshot::channel();
            let command = Command::Append(append, reply, room);
            self.commands.send(command).await.map_err(|_| AppendError::Closed)?;
            answer.await.unwrap_or(Err(AppendError::Closed))
        })
    }

    fn configure(
        &self,
        topic: TopicName,
        config: Config,
    ) -> LogFuture<'_, Result<Configured, ConfigureError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let command = Command::Configure(topic, config, reply);
            self.commands.send(command).await.map_err(|_| ConfigureError::Closed)?;
            answer.await.unwrap_or(Err(ConfigureError::Closed))
        })
    }

    fn delete(&self, topic: TopicName) -> LogFuture<'_, Result<(), DeleteError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let command = Command::Delete(topic, reply);
            self.commands.send(command).await.map_err(|_| DeleteError::Closed)?;
            answer.await.unwrap_or(Err(DeleteError::Closed))
        })
    }

    fn read(&self, query: ReadQuery) -> LogFuture<'_, Result<ReadPage, ReadError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            // Whoever has everything needs no thread to be told so.
            if let Some(page) = read::nothing_new(&shared, &query)? {
                return Ok(page);
            }
            let page = tokio::task::spawn_blocking(move || read::page(&shared, &query)).await;
            page.unwrap_or_else(|error| Err(ReadError::Io(std::io::Error::other(error))))
        })
    }

    fn topic(&self, topic: TopicName) -> LogFuture<'_, Result<Option<TopicInfo>, ReadError>> {
        Box::pin(async move {
            let state = self.shared.read();
            state.check_open()?;
            Ok(state.ledger.topic(&topic).map(|known| known.info(topic)))
        })
    }

    fn topics(&self, query: TopicsQuery) -> LogFuture<'_, Result<TopicsPage, ReadError>> {
        Box::pin(async move {
            let state = self.shared.read();
            state.check_open()?;
            Ok(TopicsPage::collect(&state.ledger, &query))
        })
    }

    fn status(&self) -> LogStatus {
        let state = self.shared.read();
        LogStatus {
            state: match &state.condition {
                Condition::Ready => LogState::Ready,
                Condition::Full => LogState::Full,
                Condition::Failed(reason) => LogState::Failed(reason.clone()),
                Condition::HandedOver | Condition::Closed => LogState::Closed,
            },
            committed: state.committed,
            topics: state.ledger.len() as u64,
            events: state.ledger.events(),
            bytes: state.bytes(),
            corruptions: state.corruptions,
        }
    }

    fn close(&self) -> LogFuture<'_, ()> {
        Box::pin(async move {
            let (reply, done) = oneshot::channel();
            // Where it is closed already, there is nobody to ask.
            if self.commands.send(Command::Close(reply)).await.is_ok() {
                let _ = done.await;
            }
        })
    }
}

/// How many commands wait for the writer at most.
const QUEUE_LEN_MAX: usize = 4096;
/// How much the publishes among them may take: 32 MiB, two of the largest.
const QUEUE_KIB_MAX: u32 = 32 << 10;

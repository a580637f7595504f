//! A log that forgets everything when its process ends: [`MemoryLog`].
//!
//! For tests, trials and streams whose loss does not matter. It keeps to the same rules as the segment log and passes
//! the same suite.

mod read;
mod state;

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use longwave_core::{Append, Appended, Config, Epoch, LogRetention, Seq, TopicInfo, TopicName};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::limits::{APPEND_BYTES_MAX, append_bytes};
use crate::log::{
    AppendError, Commit, CommitFeed, ConfigureError, Configured, DeleteError, Log, LogFuture,
    LogState, LogStatus, ReadError, ReadPage, ReadQuery, TopicsPage, TopicsQuery,
};
use crate::ticker::Ticker;
use state::State;

/// How a [`MemoryLog`] is to be.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out in full")]
pub struct MemoryOptions {
    /// How much is kept.
    pub retention: LogRetention,
    /// How often retention looks whether something has become too old; `None`: only when [`MemoryLog::retain`] is called.
    pub retention_interval: Option<Duration>,
    /// The time.
    pub clock: Clock,
}

impl Default for MemoryOptions {
    fn default() -> MemoryOptions {
        MemoryOptions {
            retention: LogRetention::default(),
            retention_interval: Some(Duration::from_secs(1)),
            clock: Clock::default(),
        }
    }
}

/// An append-only log in memory.
#[derive(Debug)]
pub struct MemoryLog {
    inner: Arc<Inner>,
    _ticker: Option<Ticker>,
}

#[derive(Debug)]
struct Inner {
    epoch: Epoch,
    clock: Clock,
    /// What is sent to the feed is sent while this is locked for writing, so the feed's order is the log's. It never
    /// waits then: whoever writes has taken a place in the feed before.
    state: RwLock<State>,
    /// `None` once closed. Never locked while waiting for `state`.
    feed: Mutex<Option<mpsc::Sender<Commit>>>,
}

/// A place in the feed; `None` where nobody reads it any more.
type Place = Option<mpsc::OwnedPermit<Commit>>;

impl MemoryLog {
    /// A new, empty log and its feed.
    ///
    /// # Errors
    /// Where the operating system gives no random number or no thread.
    pub fn open(options: MemoryOptions) -> std::io::Result<(Arc<MemoryLog>, CommitFeed)> {
        let (feed, receiver) = CommitFeed::channel();
        let random = getrandom::u32().map_err(std::io::Error::other)?;
        let inner = Arc::new(Inner {
            epoch: Epoch::from_random(random),
            clock: options.clock,
            state: RwLock::new(State::new(options.retention)),
            feed: Mutex::new(Some(feed)),
        });
        let ticker = options.retention_interval.map(|interval| {
            let inner = Arc::downgrade(&inner);
            Ticker::start("longwave-retain", interval, move || {
                let Some(inner) = inner.upgrade() else { return };
                // Where the feed is full, what must be told on it waits for the next tick.
                while let Some(place) = inner.try_place()
                    && inner.write().retain(inner.clock.now(), place)
                {}
            })
        });
        Ok((Arc::new(MemoryLog { inner, _ticker: ticker.transpose()? }), receiver))
    }

    /// Removes what retention no longer allows at this time.
    ///
    /// # Cancel safety
    /// What was not removed yet is removed later.
    pub async fn retain(&self) {
        while let Ok(place) = self.inner.place().await
            && self.inner.write().retain(self.inner.clock.now(), place)
        {}
    }
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn feed(&self) -> Option<mpsc::Sender<Commit>> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a place in the feed.
    async fn place(&self) -> Result<Place, Closed> {
        let feed = self.feed().ok_or(Closed)?;
        Ok(feed.reserve_owned().await.ok())
    }

    /// A place in the feed, if there is one now.
    fn try_place(&self) -> Option<Place> {
        match self.feed()?.try_reserve_owned() {
            Ok(permit) => Some(Some(permit)),
            Err(mpsc::error::TrySendError::Closed(_)) => Some(None),
            Err(mpsc::error::TrySendError::Full(_)) => None,
        }
    }
}

/// The log was closed.
#[derive(Debug)]
struct Closed;

impl Log for MemoryLog {
    fn epoch(&self) -> Epoch {
        self.inner.epoch
    }

    fn committed(&self) -> Seq {
        self.inner.read().committed()
    }

    fn append(&self, append: Append) -> LogFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let bytes = append_bytes(&append);
            if bytes > APPEND_BYTES_MAX {
                return Err(AppendError::TooLarge { bytes, bytes_max: APPEND_BYTES_MAX });
            }
            let place = self.inner.place().await.map_err(|Closed| AppendError::Closed)?;
            self.inner.write().append(append, self.inner.clock.now(), place)
        })
    }

    fn configure(
        &self,
        topic: TopicName,
        config: Config,
    ) -> LogFuture<'_, Result<Configured, ConfigureError>> {
        Box::pin(async move {
            let place = self.inner.place().await.map_err(|Closed| ConfigureError::Closed)?;
            self.inner.write().configure(&topic, config, self.inner.clock.now(), place)
        })
    }

    fn delete(&self, topic: TopicName) -> LogFuture<'_, Result<(), DeleteError>> {
        Box::pin(async move {
            let place = self.inner.place().await.map_err(|Closed| DeleteError::Closed)?;
            self.inner.write().delete(&topic, self.inner.clock.now(), place)
        })
    }

    fn read(&self, query: ReadQuery) -> LogFuture<'_, Result<ReadPage, ReadError>> {
        Box::pin(async move { read::page(&self.inner, &query) })
    }

    fn topic(&self, topic: TopicName) -> LogFuture<'_, Result<Option<TopicInfo>, ReadError>> {
        Box::pin(async move {
            let state = self.inner.read();
            state.check_open()?;
            Ok(state.ledger.topic(&topic).map(|known| known.info(topic)))
        })
    }

    fn topics(&self, query: TopicsQuery) -> LogFuture<'_, Result<TopicsPage, ReadError>> {
        Box::pin(async move {
            let state = self.inner.read();
            state.check_open()?;
            Ok(TopicsPage::collect(&state.ledger, &query))
        })
    }

    fn status(&self) -> LogStatus {
        let state = self.inner.read();
        LogStatus {
            state: if state.is_closed { LogState::Closed } else { LogState::Ready },
            committed: state.committed(),
            topics: state.ledger.len() as u64,
            events: state.ledger.events(),
            bytes: state.ledger.bytes(),
            corruptions: 0,
        }
    }

    fn close(&self) -> LogFuture<'_, ()> {
        Box::pin(async move {
            self.inner.write().is_closed = true;
            *self.inner.feed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        })
    }
}

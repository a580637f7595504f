//! A log that fails on demand: [`FaultyLog`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use longwave_core::{Append, Appended, Config, Epoch, Seq, TopicInfo, TopicName};
use longwave_store::{
    AppendError, ConfigureError, Configured, DeleteError, Log, LogFuture, LogState, LogStatus,
    MemoryLog, ReadError, ReadPage, ReadQuery, TopicsPage, TopicsQuery,
};
use tokio::sync::Semaphore;

/// A memory log in front of which appends fail, or wait to be let through.
pub(crate) struct FaultyLog {
    log: Arc<MemoryLog>,
    fault: Mutex<Option<AppendError>>,
    /// Appends that may pass; all may while it was never closed to them.
    gate: Semaphore,
    appends: AtomicU64,
    unruly: AtomicBool,
    stays_open: AtomicBool,
}

impl FaultyLog {
    pub(crate) fn new(log: Arc<MemoryLog>) -> Arc<FaultyLog> {
        Arc::new(FaultyLog {
            log,
            fault: Mutex::new(None),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            appends: AtomicU64::new(0),
            unruly: AtomicBool::new(false),
            stays_open: AtomicBool::new(false),
        })
    }

    /// From now on every append fails so, or none does.
    pub(crate) fn fail(&self, fault: Option<AppendError>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// From now on appends wait.
    pub(crate) fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets all appends through again.
    pub(crate) fn release(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS - self.gate.available_permits());
    }

    /// From now on, of appends that are under way together, later ones overtake earlier ones.
    pub(crate) fn overtake(&self) {
        self.unruly.store(true, Ordering::SeqCst);
    }

    /// From now on, to close it closes nothing: what is in it can still be read.
    pub(crate) fn stay_open(&self) {
        self.stays_open.store(true, Ordering::SeqCst);
    }

    /// How many appends were asked for.
    pub(crate) fn appends(&self) -> u64 {
        self.appends.load(Ordering::SeqCst)
    }
}

impl Log for FaultyLog {
    fn epoch(&self) -> Epoch {
        self.log.epoch()
    }

    fn committed(&self) -> Seq {
        self.log.committed()
    }

    fn append(&self, append: Append) -> LogFuture<'_, Result<Appended, AppendError>> {
        let count = self.appends.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if self.unruly.load(Ordering::SeqCst) {
                for _ in 0..DELAY_MAX - count % DELAY_MAX {
                    tokio::task::yield_now().await;
                }
            }
            let permit = self.gate.acquire().await.unwrap();
            let fault = self.fault.lock().unwrap().clone();
            let result = match fault {
                Some(fault) => Err(fault),
                None => self.log.append(append).await,
            };
            drop(permit);
            result
        })
    }

    fn configure(
        &self,
        topic: TopicName,
        config: Config,
    ) -> LogFuture<'_, Result<Configured, ConfigureError>> {
        match *self.fault.lock().unwrap() {
            Some(AppendError::Full) => Box::pin(async { Err(ConfigureError::Full) }),
            Some(AppendError::Failed) => Box::pin(async { Err(ConfigureError::Failed) }),
            _ => self.log.configure(topic, config),
        }
    }

    fn delete(&self, topic: TopicName) -> LogFuture<'_, Result<(), DeleteError>> {
        match *self.fault.lock().unwrap() {
            Some(AppendError::Full) => Box::pin(async { Err(DeleteError::Full) }),
            Some(AppendError::Failed) => Box::pin(async { Err(DeleteError::Failed) }),
            _ => self.log.delete(topic),
        }
    }

    fn read(&self, query: ReadQuery) -> LogFuture<'_, Result<ReadPage, ReadError>> {
        self.log.read(query)
    }

    fn topic(&self, topic: TopicName) -> LogFuture<'_, Result<Option<TopicInfo>, ReadError>> {
        self.log.topic(topic)
    }

    fn topics(&self, query: TopicsQuery) -> LogFuture<'_, Result<TopicsPage, ReadError>> {
        self.log.topics(query)
    }

    fn status(&self) -> LogStatus {
        let state = match *self.fault.lock().unwrap() {
            Some(AppendError::Full) => LogState::Full,
            Some(AppendError::Failed) => LogState::Failed("the disk said so".into()),
            _ => LogState::Ready,
        };
        LogStatus { state, ..self.log.status() }
    }

    fn close(&self) -> LogFuture<'_, ()> {
        match self.stays_open.load(Ordering::SeqCst) {
            true => Box::pin(async {}),
            false => self.log.close(),
        }
    }
}

/// How many turns an unruly log delays an append at most.
const DELAY_MAX: u64 = 8;

//! The streams that this process is generating: [`Streams`], and one of them, [`Running`].
//!
//! What matters of a stream is in the log. Here is only how to stop it, and how far it is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longwave_core::EndReason;
use tokio::sync::watch;

use super::stream::StreamId;

/// All streams that run here.
#[derive(Debug)]
pub(super) struct Streams {
    running: Mutex<HashMap<StreamId, Arc<Running>>>,
    /// How many there are: those who wait for none are woken by it.
    count: watch::Sender<usize>,
}

/// A stream whose upstream is being asked, or sends.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: StreamId,
    stop: watch::Sender<Option<Stop>>,
    life: watch::Sender<Life>,
}

/// Why a stream shall stop before upstream ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Somebody cancelled it.
    Cancelled,
    /// Nobody watches it, and its policy is to be cancelled then.
    Unwatched,
    /// The server goes down.
    Shutdown,
}

impl Stop {
    pub(super) fn reason(self) -> EndReason {
        match self {
            Stop::Cancelled | Stop::Unwatched => EndReason::Cancelled,
            Stop::Shutdown => EndReason::Crashed,
        }
    }

    pub(super) fn detail(self) -> &'static str {
        match self {
            Stop::Cancelled => "the stream was cancelled",
            Stop::Unwatched => "the stream was cancelled, since nobody was watching it",
            Stop::Shutdown => "the gateway was shut down in the middle of the stream",
        }
    }
}

/// Where a running stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Its key, if it has one, is not claimed in the log yet.
    Claiming,
    Running,
    /// It is over, and the log says how.
    Over,
    /// It is over, and the log could not be told.
    Lost,
}

impl Life {
    fn is_over(self) -> bool {
        matches!(self, Life::Over | Life::Lost)
    }
}

impl Running {
    /// Asks the stream to stop. The first reason counts.
    pub(super) fn stop(&self, stop: Stop) {
        self.stop.send_if_modified(|asked| match asked {
            Some(_) => false,
            None => {
                *asked = Some(stop);
                true
            }
        });
    }

    /// Waits until the stream shall stop.
    ///
    /// # Cancel safety
    /// Nothing is lost by a dropped call.
    pub(super) async fn stopped(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        loop {
            if let Some(stop) = *stop.borrow_and_update() {
                return stop;
            }
            if stop.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// How the stream lives.
    pub(super) fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    pub(super) fn set_life(&self, life: Life) {
        self.life.send_replace(life);
    }

    /// Waits until the stream is over without the log knowing it: nothing comes of it any more.
    pub(super) async fn lost(&self) {
        let mut life = self.life();
        let ended = life.wait_for(|life| life.is_over()).await.map(|life| *life);
        if !matches!(ended, Ok(Life::Lost)) {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the log has the claim of the stream's key, or the stream is over.
    pub(super) async fn begun(&self) {
        drop(self.life().wait_for(|life| *life != Life::Claiming).await);
    }

    /// Waits until the stream is over, one way or the other.
    pub(super) async fn over(&self) {
        // The sender is here, so it can't be gone.
        drop(self.life().wait_for(|life| life.is_over()).await);
    }
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams { running: Mutex::default(), count: watch::Sender::new(0) }
    }

    /// Enters a stream, until the guard is dropped; `None` where it runs already.
    pub(super) fn enter(self: &Arc<Self>, id: &StreamId) -> Option<Entered> {
        let running = Arc::new(Running {
            id: id.clone(),
            stop: watch::Sender::new(None),
            life: watch::Sender::new(Life::Claiming),
        });
        match self.lock().entry(id.clone()) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(vacant) => drop(vacant.insert(Arc::clone(&running))),
        }
        self.count.send_modify(|count| *count += 1);
        Some(Entered { streams: Arc::clone(self), running })
    }

    pub(super) fn get(&self, id: &StreamId) -> Option<Arc<Running>> {
        self.lock().get(id).cloned()
    }

    /// How many run.
    pub(super) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until none runs.
    pub(super) async fn none(&self) {
        // The sender is here, so it can't be gone.
        drop(self.count.subscribe().wait_for(|count| *count == 0).await);
    }

    /// Asks all to stop.
    pub(super) fn stop_all(&self, stop: Stop) {
        let all: Vec<_> = self.lock().values().cloned().collect();
        all.iter().for_each(|running| running.stop(stop));
    }

    /// Whoever is woken by a change is so after the lock is released.
    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's place among those that run.
#[derive(Debug)]
pub(super) struct Entered {
    streams: Arc<Streams>,
    pub(super) running: Arc<Running>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.running.id);
        self.streams.count.send_modify(|count| *count = count.saturating_sub(1));
        // Whoever waits for it must not wait for what never comes.
        self.running.life.send_if_modified(|life| {
            let was_running = !life.is_over();
            if was_running {
                *life = Life::Lost;
            }
            was_running
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_found_until_it_is_over_and_is_stopped_once() {
        let streams = Arc::new(Streams::new());
        let id = StreamId::of_bytes([1; 16]);
        let entered = streams.enter(&id).unwrap();
        assert!(streams.enter(&id).is_none());
        let running = streams.get(&id).unwrap();
        running.stop(Stop::Cancelled);
        streams.stop_all(Stop::Shutdown);
        assert_eq!(entered.running.stopped().await, Stop::Cancelled);
        assert_eq!(streams.count(), 1);
        drop(entered);
        assert!(streams.get(&id).is_none());
        running.over().await;
        assert_eq!(*running.life().borrow(), Life::Lost);
        streams.none().await;
    }
}

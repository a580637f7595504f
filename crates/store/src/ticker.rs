//! A thread that does something now and then: [`Ticker`].

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Calls a function every interval until dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    /// Dropped to stop the thread, which then ends without being waited for: its function holds nothing alive.
    _stop: mpsc::Sender<()>,
}

impl Ticker {
    /// # Errors
    /// Where the system has no thread to give.
    pub(crate) fn start(
        name: &str,
        interval: Duration,
        mut tick: impl FnMut() + Send + 'static,
    ) -> std::io::Result<Ticker> {
        let (stop, stopped) = mpsc::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                tick();
            }
        })?;
        Ok(Ticker { _stop: stop })
    }
}

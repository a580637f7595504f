//! What every handler gets: [`App`].

use std::sync::Arc;

use longwave_core::{EventId, Seq};
use longwave_store::Log;

use super::{HttpOptions, Metrics};

/// The server's parts as handlers use them. Cheap to clone.
#[derive(Clone)]
pub struct App {
    parts: Arc<Parts>,
}

struct Parts {
    log: Arc<dyn Log>,
    options: HttpOptions,
    metrics: Metrics,
}

impl App {
    /// An application over `log`.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, options: HttpOptions) -> App {
        App { parts: Arc::new(Parts { log, options, metrics: Metrics::new() }) }
    }

    /// Where events are kept.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.parts.log
    }

    /// The limits and intervals.
    #[must_use]
    pub fn options(&self) -> &HttpOptions {
        &self.parts.options
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// The id of a position in this server's log.
    #[must_use]
    pub fn id(&self, seq: Seq) -> EventId {
        EventId { epoch: self.parts.log.epoch(), seq }
    }
}

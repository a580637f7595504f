//! What every handler gets: [`App`].

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use longwave_core::{EventId, Seq, TailLimits};
use longwave_store::{CommitFeed, Log};
use tokio::sync::watch;

use super::budget::Budget;
use super::origin::Hosts;
use super::successor::Requests;
use super::{HttpOptions, Metrics};
use crate::gateway::Gateway;
use crate::hub::Hub;
use crate::stats;
use crate::transports::Parking;

/// The server's parts as handlers use them. Cheap to clone.
#[derive(Clone)]
pub struct App {
    parts: Arc<Parts>,
}

struct Parts {
    hub: Hub,
    options: HttpOptions,
    hosts: Hosts,
    metrics: Arc<Metrics>,
    parking: Parking,
    bodies: Budget,
    phase: watch::Sender<Phase>,
    requests: Requests,
    gateway: Gateway,
    /// Where the server is reached that has the log now.
    successor: OnceLock<SocketAddr>,
}

/// What a server is about to do. Phases follow each other in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It answers everybody.
    Serving,
    /// Another server has the log. Those who stay for long are asked to go, others are answered by that one.
    Leaving,
    /// It accepts nobody new and asks those who stay for long to go.
    Draining,
    /// It answers nobody.
    Closed,
}

impl App {
    /// An application over a log that was just opened, and its feed. `local_addrs` is where it is reached.
    ///
    /// # Errors
    /// Where the system gives no threads for live streams.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(crate) fn new(
        log: Arc<dyn Log>,
        commits: CommitFeed,
        options: HttpOptions,
        local_addrs: &[SocketAddr],
    ) -> io::Result<App> {
        let hub = Hub::start(log, commits, TailLimits::default());
        let metrics = Arc::new(Metrics::new());
        let app = App {
            parts: Arc::new(Parts {
                parking: Parking::open(&hub, &options, Arc::clone(&metrics))?,
                hub,
                hosts: Hosts::new(&options.hosts, local_addrs),
                metrics,
                bodies: Budget::new(options.bodies_bytes_max),
                phase: watch::Sender::new(Phase::Serving),
                requests: Requests::default(),
                successor: OnceLock::new(),
                gateway: Gateway::new(&options.gateway)?,
                options,
            }),
        };
        Gateway::start(&app);
        stats::start(&app);
        Ok(app)
    }

    /// Where events are kept.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        self.parts.hub.log()
    }

    /// Who follows them.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.parts.hub
    }

    /// Where the sockets of live streams are.
    pub(crate) fn parking(&self) -> &Parking {
        &self.parts.parking
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
        EventId { epoch: self.log().epoch(), seq }
    }

    /// Which hosts the server answers for.
    pub(crate) fn hosts(&self) -> &Hosts {
        &self.parts.hosts
    }

    /// The bytes that request bodies may take.
    pub(crate) fn bodies(&self) -> &Budget {
        &self.parts.bodies
    }

    /// What is proxied.
    pub(crate) fn gateway(&self) -> &Gateway {
        &self.parts.gateway
    }

    /// The requests that are not answered yet.
    pub(crate) fn requests(&self) -> &Requests {
        &self.parts.requests
    }

    /// The server that answers requests instead of this one, if there is one.
    pub(crate) fn successor(&self) -> Option<SocketAddr> {
        self.parts.successor.get().copied()
    }

    /// Has another server answer from now on. There is only ever one.
    pub(crate) fn set_successor(&self, addr: SocketAddr) {
        let _ = self.parts.successor.set(addr);
    }

    /// Where the server is in its life, and will be.
    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.parts.phase.subscribe()
    }

    /// Goes on to a later phase, and tells subscribers if they have to leave.
    pub(crate) fn enter(&self, phase: Phase) {
        self.parts.phase.send_replace(phase);
        if phase >= Phase::Leaving {
            self.parts.hub.drain();
        }
    }
}

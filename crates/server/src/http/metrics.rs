//! What is counted, as Prometheus reads it. No label ever names a topic: there may be millions.
//!
//! Read [`Metrics`]. What the log counts itself is read from it when somebody asks.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The server's counters.
pub struct Metrics {
    registry: Registry,
    subscribers: Family<TransportLabel, Gauge>,
    deliveries: Family<TransportLabel, Counter<u64, AtomicU64>>,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("longwave");
        let subscribers = Family::default();
        let deliveries = Family::default();
        registry.register("subscribers", "Live subscriptions", subscribers.clone());
        registry.register("deliveries", "Events handed to readers", deliveries.clone());
        Metrics { registry, subscribers, deliveries }
    }

    /// Counts a subscription for as long as the answer is held.
    #[must_use]
    pub fn subscriber(&self, transport: Transport) -> SubscriberGuard {
        let label = TransportLabel { transport: transport.as_str() };
        let subscribers = self.subscribers.get_or_create(&label).clone();
        let deliveries = self.deliveries.get_or_create(&label).clone();
        subscribers.inc();
        SubscriberGuard { subscribers, deliveries }
    }

    /// Everything in the text format of OpenMetrics.
    ///
    /// # Errors
    /// Never in practice: text is written into memory.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A subscription that is counted until this is dropped.
#[derive(Debug)]
pub struct SubscriberGuard {
    subscribers: Gauge,
    deliveries: Counter<u64, AtomicU64>,
}

impl SubscriberGuard {
    /// Counts events that were handed to the subscriber.
    pub fn delivered(&self, events: u64) {
        self.deliveries.inc_by(events);
    }
}

impl Drop for SubscriberGuard {
    fn drop(&mut self) {
        self.subscribers.dec();
    }
}

/// How events travel to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a new transport must be counted under a name")]
pub enum Transport {
    /// Server-Sent Events.
    Sse,
    /// A JSON line each.
    Ndjson,
    /// WebSocket.
    WebSocket,
    /// A JSON page, waited for.
    LongPoll,
    /// A JSON page at once.
    Page,
}

impl Transport {
    /// The name in a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Sse => "sse",
            Transport::Ndjson => "ndjson",
            Transport::WebSocket => "websocket",
            Transport::LongPoll => "long_poll",
            Transport::Page => "page",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    transport: &'static str,
}

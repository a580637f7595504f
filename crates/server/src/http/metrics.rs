//! What is counted, as Prometheus reads it. No label ever names a topic: there may be millions.
//!
//! Read [`Metrics`]; what is counted of the gateway is [`GatewayMetrics`]. What the log counts itself is read from it when
//! somebody asks.

mod gateway;

use std::fmt;
use std::sync::atomic::AtomicU64;

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use self::gateway::GatewayMetrics;
pub(crate) use self::gateway::{StreamLabels, UpstreamErrorKind};
use super::App;
use super::router::TOPIC_ROUTE;
use crate::hub::SubscriberKind;

/// The server's counters.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    /// Publishes that were answered `201`, a member of `requests`: looking for it takes longer than counting.
    created: Counter,
    publishes: Family<KindLabel, Counter>,
    events_published: Counter,
    events_delivered: Family<TransportLabel, Counter>,
    subscribers: Family<TransportLabel, Gauge>,
    gateway: GatewayMetrics,
    state: StateGauges,
}

/// What is not counted as it happens but looked up when somebody asks.
#[derive(Default)]
struct StateGauges {
    topics: Gauge<u64, AtomicU64>,
    events: Gauge<u64, AtomicU64>,
    bytes: Gauge<u64, AtomicU64>,
    corruptions: Gauge<u64, AtomicU64>,
    position: Gauge<u64, AtomicU64>,
    channels: Gauge<u64, AtomicU64>,
    held_bytes: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("longwave");
        let requests: Family<RequestLabels, Counter> = Family::default();
        let labels = RequestLabels::new(&Method::POST, TOPIC_ROUTE, StatusCode::CREATED);
        let metrics = Metrics {
            created: requests.get_or_create_owned(&labels),
            requests,
            publishes: Family::default(),
            events_published: Counter::default(),
            events_delivered: Family::default(),
            subscribers: Family::default(),
            gateway: GatewayMetrics::new(&mut registry),
            state: StateGauges::default(),
            registry: Registry::default(),
        };
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        registry.register("publishes", "Publishes begun", metrics.publishes.clone());
        registry.register(
            "events_published",
            "Events put into the log by publishes over HTTP",
            metrics.events_published.clone(),
        );
        registry.register(
            "events_delivered",
            "Events handed to readers",
            metrics.events_delivered.clone(),
        );
        registry.register("subscribers", "Live subscriptions", metrics.subscribers.clone());
        let state = &metrics.state;
        registry.register("log_topics", "Topics in the log", state.topics.clone());
        registry.register("log_events", "Events in the log", state.events.clone());
        registry.register_with_unit("log", "Size of the log", Unit::Bytes, state.bytes.clone());
        registry.register(
            "log_corruptions",
            "Damaged places found in the log since it was opened",
            state.corruptions.clone(),
        );
        registry.register("log_position", "The newest committed position", state.position.clone());
        registry.register(
            "channels",
            "Different sets of topics that somebody follows",
            state.channels.clone(),
        );
        registry.register_with_unit(
            "request_bodies_held",
            "Bodies of publishes under way",
            Unit::Bytes,
            state.held_bytes.clone(),
        );
        Metrics { registry, ..metrics }
    }

    /// What is counted of the gateway.
    pub(crate) fn gateway(&self) -> &GatewayMetrics {
        &self.gateway
    }

    /// How many events publishes over HTTP put into the log.
    pub(crate) fn events_published(&self) -> u64 {
        self.events_published.get()
    }

    /// How many events were handed to readers.
    pub(crate) fn events_delivered(&self) -> u64 {
        let counted = |transport: Transport| {
            self.events_delivered.get(&transport.label()).map_or(0, |counter| counter.get())
        };
        let live: u64 =
            SubscriberKind::ALL.into_iter().map(|kind| counted(Transport::Live(kind))).sum();
        live + counted(Transport::Page)
    }

    /// Counts events that were handed to readers.
    pub fn delivered(&self, transport: Transport, events: u64) {
        self.events_delivered.get_or_create(&transport.label()).inc_by(events);
    }

    /// Counts events that publishers put into the log.
    pub(crate) fn published(&self, events: u64) {
        self.events_published.inc_by(events);
    }

    /// Counts a publish of this kind.
    pub(crate) fn publish(&self, kind: &'static str) {
        self.publishes.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts a publish as the request that it is.
    pub(crate) fn publish_request(&self, status: StatusCode) {
        match status {
            StatusCode::CREATED => {
                self.created.inc();
            }
            status => self.request(&Method::POST, TOPIC_ROUTE, status),
        }
    }

    /// Counts a request. `route` is a route's pattern, never a path that a client chose.
    pub(crate) fn request(&self, method: &Method, route: &str, status: StatusCode) {
        self.requests.get_or_create(&RequestLabels::new(method, route, status)).inc();
    }

    /// Everything in the text format of OpenMetrics.
    ///
    /// # Errors
    /// Never in practice: text is written into memory.
    pub(crate) fn encode(&self, app: &App) -> Result<String, fmt::Error> {
        let status = app.log().status();
        self.state.topics.set(status.topics);
        self.state.events.set(status.events);
        self.state.bytes.set(status.bytes);
        self.state.corruptions.set(status.corruptions);
        self.state.position.set(status.committed.0);
        self.state.channels.set(app.hub().channels() as u64);
        self.state.held_bytes.set(app.bodies().held_bytes() as u64);
        for kind in SubscriberKind::ALL {
            let label = TransportLabel { transport: kind.as_str() };
            let subscribers = i64::try_from(app.hub().subscribers_by(kind)).unwrap_or(i64::MAX);
            self.subscribers.get_or_create(&label).set(subscribers);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// How events travel to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a new transport must be counted under a name")]
pub enum Transport {
    /// To a subscriber.
    Live(SubscriberKind),
    /// A JSON page that nobody waited for.
    Page,
}

impl Transport {
    fn label(self) -> TransportLabel {
        let transport = match self {
            Transport::Live(kind) => kind.as_str(),
            Transport::Page => "page",
        };
        TransportLabel { transport }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

impl RequestLabels {
    fn new(method: &Method, route: &str, status: StatusCode) -> RequestLabels {
        RequestLabels {
            // Methods may be invented by clients, so only the usual ones become labels.
            method: USUAL_METHODS
                .into_iter()
                .find(|usual| *usual == method.as_str())
                .unwrap_or("other"),
            route: route.to_owned(),
            status: status.as_u16(),
        }
    }
}

const USUAL_METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT"];

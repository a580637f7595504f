//! What is counted of the gateway: [`GatewayMetrics`]. When something counts is decided in `gateway/`, most of it in
//! `gateway/tally.rs`.

use std::time::Duration;

use http::StatusCode;
use longwave_core::EndReason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The gateway's counters. Labels are routes and words of ours, never what a client or an upstream chose.
#[derive(Debug)]
pub(crate) struct GatewayMetrics {
    running: Gauge,
    begun: Family<StreamLabels, Counter>,
    ended: Family<ReasonLabel, Counter>,
    first_token: Histograms,
    rate: Histograms,
    events: Counter,
    input_tokens: Counter,
    output_tokens: Counter,
    resumes: Counter,
    joins: Counter,
    cancels: Counter,
    upstream_errors: Family<ErrorLabels, Counter>,
    answers: Family<AnswerLabels, Counter>,
}

type Histograms = Family<StreamLabels, Histogram, fn() -> Histogram>;

impl GatewayMetrics {
    /// All at zero, and in the registry.
    pub(super) fn new(registry: &mut Registry) -> GatewayMetrics {
        let metrics = GatewayMetrics {
            running: Gauge::default(),
            begun: Family::default(),
            ended: Family::default(),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN_SECONDS)),
            rate: Family::new_with_constructor(|| Histogram::new(EVENTS_PER_SECOND)),
            events: Counter::default(),
            input_tokens: Counter::default(),
            output_tokens: Counter::default(),
            resumes: Counter::default(),
            joins: Counter::default(),
            cancels: Counter::default(),
            upstream_errors: Family::default(),
            answers: Family::default(),
        };
        metrics.register_streams(registry);
        metrics.register_requests(registry);
        metrics
    }

    fn register_streams(&self, registry: &mut Registry) {
        registry.register(
            "gateway_streams_running",
            "Streams that an upstream is sending",
            self.running.clone(),
        );
        registry.register("gateway_streams_begun", "Streams begun", self.begun.clone());
        registry.register("gateway_streams_ended", "Streams ended", self.ended.clone());
        registry.register_with_unit(
            "gateway_first_token",
            "From a request's arrival to the first content of its stream",
            Unit::Seconds,
            self.first_token.clone(),
        );
        registry.register(
            "gateway_events_per_second",
            "Events of a stream with content, from its first to its last",
            self.rate.clone(),
        );
        registry.register("gateway_events", "Events recorded of streams", self.events.clone());
        registry.register(
            "gateway_input_tokens",
            "Tokens taken, as upstreams say, counted once a stream",
            self.input_tokens.clone(),
        );
        registry.register(
            "gateway_output_tokens",
            "Tokens generated, as upstreams say, counted once a stream",
            self.output_tokens.clone(),
        );
    }

    fn register_requests(&self, registry: &mut Registry) {
        registry.register(
            "gateway_resumes",
            "Reads that went on behind a cursor",
            self.resumes.clone(),
        );
        registry.register(
            "gateway_joins",
            "Requests answered by what was begun under their key before",
            self.joins.clone(),
        );
        registry.register(
            "gateway_cancels",
            "Streams stopped by a request, or since nobody watched",
            self.cancels.clone(),
        );
        registry.register(
            "gateway_upstream_errors",
            "Failures of upstreams, told by a status or in a stream, or noticed",
            self.upstream_errors.clone(),
        );
        registry.register(
            "gateway_answers",
            "Answers of upstreams that were no streams",
            self.answers.clone(),
        );
    }

    /// How many streams run.
    pub(crate) fn running(&self) -> u64 {
        u64::try_from(self.running.get()).unwrap_or(0)
    }

    /// Counts a stream that begins. It runs until [`GatewayMetrics::stopped`].
    pub(crate) fn begun(&self, stream: &StreamLabels) {
        self.running.inc();
        self.begun.get_or_create(stream).inc();
    }

    /// A stream runs no more, in whichever way it ended.
    pub(crate) fn stopped(&self) {
        self.running.dec();
    }

    /// Counts the end of a stream, once it is recorded.
    pub(crate) fn ended(&self, reason: EndReason) {
        self.ended.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// Notes how long a stream's first content was waited for.
    pub(crate) fn first_token(&self, stream: &StreamLabels, waited: Duration) {
        self.first_token.get_or_create(stream).observe(waited.as_secs_f64());
    }

    /// Notes how fast a stream was.
    pub(crate) fn rate(&self, stream: &StreamLabels, events_per_second: f64) {
        self.rate.get_or_create(stream).observe(events_per_second);
    }

    /// Counts events that were recorded.
    pub(crate) fn recorded(&self, events: u64) {
        self.events.inc_by(events);
    }

    /// Counts the tokens of a stream that has ended.
    pub(crate) fn used(&self, input_tokens: u64, output_tokens: u64) {
        self.input_tokens.inc_by(input_tokens);
        self.output_tokens.inc_by(output_tokens);
    }

    /// Counts a read that goes on behind a cursor.
    pub(crate) fn resumed(&self) {
        self.resumes.inc();
    }

    /// Counts a request that is answered by what was begun under its key.
    pub(crate) fn joined(&self) {
        self.joins.inc();
    }

    /// Counts a stream, or a request whose stream has not begun, that is stopped.
    pub(crate) fn cancelled(&self) {
        self.cancels.inc();
    }

    /// Counts a failure of a route's upstream.
    pub(crate) fn upstream_failed(&self, route: &str, kind: UpstreamErrorKind) {
        let labels = ErrorLabels { route: route.to_owned(), kind: kind.as_str() };
        self.upstream_errors.get_or_create(&labels).inc();
    }

    /// Counts an answer that is no stream.
    pub(crate) fn answered(&self, route: &str, status: StatusCode) {
        let labels = AnswerLabels { route: route.to_owned(), status: status_class(status) };
        self.answers.get_or_create(&labels).inc();
    }
}

/// By what streams are told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StreamLabels {
    /// The prefix of the route.
    pub(crate) route: String,
    pub(crate) dialect: &'static str,
}

/// How an upstream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamErrorKind {
    /// There was no connection, or none that lasted to the answer.
    Unreachable,
    /// It was silent for too long, or took too long.
    Timeout,
    /// It broke off.
    Broken,
    /// It sent what can't be recorded.
    Invalid,
    /// It said so in its stream.
    InBand,
    /// It answered a status of 400 to 499.
    ClientError,
    /// It answered a status of 500 to 599.
    ServerError,
}

impl UpstreamErrorKind {
    /// The kind of error that a status tells.
    pub(crate) fn of_status(status: StatusCode) -> Option<UpstreamErrorKind> {
        match status.as_u16() {
            400..=499 => Some(UpstreamErrorKind::ClientError),
            500..=599 => Some(UpstreamErrorKind::ServerError),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            UpstreamErrorKind::Unreachable => "unreachable",
            UpstreamErrorKind::Timeout => "timeout",
            UpstreamErrorKind::Broken => "broken",
            UpstreamErrorKind::Invalid => "invalid",
            UpstreamErrorKind::InBand => "in-band",
            UpstreamErrorKind::ClientError => "4xx",
            UpstreamErrorKind::ServerError => "5xx",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    route: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    route: String,
    status: &'static str,
}

/// Upstreams may invent statuses, so only their classes become labels.
fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "other",
    }
}

/// Up to which time a first token counts as that fast.
const FIRST_TOKEN_SECONDS: [f64; 11] =
    [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const EVENTS_PER_SECOND: [f64; 11] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];

//! What one stream adds to the metrics: [`Tally`]. A stream is counted where it is recorded, so that its figures are the
//! same however often it is read.

use http::StatusCode;
use longwave_core::EndReason;
use tokio::time::Instant;

use super::dialect::{Dialect, Meaning, Usage};
use super::running::Stop;
use crate::http::{App, Code, Problem, StreamLabels, UpstreamErrorKind};

/// The figures of one request and its stream.
pub(super) struct Tally {
    app: App,
    /// The prefix of the route.
    route: String,
    arrived: Instant,
    first_content: Option<Instant>,
    last_content: Option<Instant>,
    contents: u32,
    /// Set while the stream runs.
    running: Option<StreamLabels>,
}

impl Tally {
    /// Of a request that arrived at this time.
    pub(super) fn new(app: App, route: &str, arrived: Instant) -> Tally {
        Tally {
            app,
            route: route.to_owned(),
            arrived,
            first_content: None,
            last_content: None,
            contents: 0,
            running: None,
        }
    }

    /// Whether there was any content.
    pub(super) fn has_content(&self) -> bool {
        self.first_content.is_some()
    }

    /// Upstream sent an event that means this.
    pub(super) fn came(&mut self, meaning: Meaning) {
        if meaning != Meaning::Content {
            return;
        }
        let now = Instant::now();
        self.contents = self.contents.saturating_add(1);
        self.last_content = Some(now);
        if self.first_content.replace(self.first_content.unwrap_or(now)).is_none() {
            self.tell_first_content();
        }
    }

    /// There is a stream: its beginning is in the log.
    pub(super) fn begun(&mut self, dialect: Dialect) {
        let labels = StreamLabels { route: self.route.clone(), dialect: dialect.as_str() };
        self.app.metrics().gateway().begun(&labels);
        self.running = Some(labels);
        self.tell_first_content();
    }

    /// The wait for the first content, once both are known: that, and that it is of a stream.
    fn tell_first_content(&self) {
        if let (Some(labels), Some(first)) = (&self.running, self.first_content) {
            self.app.metrics().gateway().first_token(labels, first.duration_since(self.arrived));
        }
    }

    /// The log has this many events more.
    pub(super) fn recorded(&self, events: u64) {
        self.app.metrics().gateway().recorded(events);
    }

    /// The log has the stream's end.
    pub(super) fn ended(&mut self, reason: EndReason, usage: Option<Usage>) {
        if let (Some(labels), Some(rate)) = (&self.running, self.events_per_second()) {
            self.app.metrics().gateway().rate(labels, rate);
        }
        self.stop();
        count_end(&self.app, reason, usage);
    }

    /// The request, or its stream, was stopped.
    pub(super) fn stopped(&self, stop: Stop) {
        match stop {
            Stop::Cancelled | Stop::Unwatched => self.app.metrics().gateway().cancelled(),
            Stop::Shutdown => {}
        }
    }

    /// Upstream failed.
    pub(super) fn failed(&self, kind: UpstreamErrorKind) {
        self.app.metrics().gateway().upstream_failed(&self.route, kind);
    }

    /// There is no stream, and this is why: upstream's failure, where the problem says so.
    pub(super) fn failure(&self, problem: Problem) -> Problem {
        let kind = match problem.code() {
            Code::UpstreamUnreachable => Some(UpstreamErrorKind::Unreachable),
            Code::UpstreamTimeout => Some(UpstreamErrorKind::Timeout),
            Code::UpstreamBroken => Some(UpstreamErrorKind::Broken),
            Code::UpstreamInvalid => Some(UpstreamErrorKind::Invalid),
            _ => None,
        };
        kind.into_iter().for_each(|kind| self.failed(kind));
        problem
    }

    /// Upstream's answer is no stream.
    pub(super) fn answered(&self, status: StatusCode) {
        self.app.metrics().gateway().answered(&self.route, status);
        UpstreamErrorKind::of_status(status).into_iter().for_each(|kind| self.failed(kind));
    }

    /// The same where upstream told an error in place of a stream's content.
    pub(super) fn answered_in_stream(&self, status: StatusCode) {
        self.app.metrics().gateway().answered(&self.route, status);
        self.failed(UpstreamErrorKind::InBand);
    }

    /// How fast events with content came; nothing where they came at once.
    fn events_per_second(&self) -> Option<f64> {
        let seconds = self.last_content?.duration_since(self.first_content?).as_secs_f64();
        let events = f64::from(self.contents.saturating_sub(1));
        (seconds > 0.0).then(|| events / seconds)
    }

    fn stop(&mut self) {
        if self.running.take().is_some() {
            self.app.metrics().gateway().stopped();
        }
    }
}

impl Drop for Tally {
    /// A stream whose end another process recorded, or nobody could, runs no more either.
    fn drop(&mut self) {
        self.stop();
    }
}

/// Counts the end of a stream, which is recorded once.
pub(super) fn count_end(app: &App, reason: EndReason, usage: Option<Usage>) {
    if let Some(Usage { input_tokens, output_tokens }) = usage {
        app.metrics().gateway().used(input_tokens, output_tokens);
    }
    app.metrics().gateway().ended(reason);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longwave_store::{MemoryLog, MemoryOptions};

    use super::*;
    use crate::http::HttpOptions;

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_timed_from_its_request_to_its_first_content_and_on_to_its_last() {
        let (log, commits) = MemoryLog::open(MemoryOptions::default()).unwrap();
        let addr = "127.0.0.1:1".parse().unwrap();
        let app = App::new(log, commits, HttpOptions::default(), &[addr]).unwrap();
        let mut tally = Tally::new(app.clone(), "/v1", Instant::now());
        let has = |line: &str| {
            let text = app.metrics().encode(&app).unwrap();
            assert!(text.lines().any(|told| told == line), "{line} is not in:\n{text}");
        };
        tokio::time::advance(Duration::from_millis(300)).await;
        tally.came(Meaning::Prelude);
        tokio::time::advance(Duration::from_millis(450)).await;
        tally.came(Meaning::Content);
        tally.begun(Dialect::Anthropic);
        has("longwave_gateway_streams_running 1");
        for _ in 0..50 {
            tokio::time::advance(Duration::from_millis(40)).await;
            tally.came(Meaning::Content);
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        tally.came(Meaning::Terminal);
        tally.ended(EndReason::Done, None);
        drop(tally);
        let labels = "{route=\"/v1\",dialect=\"anthropic\"}";
        has(&format!("longwave_gateway_first_token_seconds_sum{labels} 0.75"));
        has(&format!("longwave_gateway_events_per_second_sum{labels} 25.0"));
        has(&format!("longwave_gateway_events_per_second_count{labels} 1"));
        has("longwave_gateway_streams_running 0");
        has("longwave_gateway_streams_ended_total{reason=\"done\"} 1");
    }
}

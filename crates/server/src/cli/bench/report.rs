//! What a run showed, as text for people and as JSON: [`Report`].

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::super::output::counted;
use super::super::topics::human_bytes;
use super::load::Load;
use super::{BenchArgs, Usages};

/// The result of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    subscribers: u32,
    /// `None` where events were published at a rate.
    publishers: Option<u32>,
    /// What was asked for; `None` where publishers published as fast as they could.
    rate: Option<u32>,
    size: u32,
    /// Events that the server said yes to.
    published: usize,
    /// What came of it.
    published_per_s: f64,
    /// Publishes that it did not say yes to.
    failed: usize,
    /// Events that came, over all subscribers.
    delivered: usize,
    pub(super) lost: usize,
    pub(super) duplicates: usize,
    reconnects: usize,
    publish_latency_ms: Option<Percentiles>,
    /// `None` without subscribers.
    delivery_latency_ms: Option<Percentiles>,
    /// `None` where the server is not on this machine, or another user's.
    server: Option<ServerReport>,
}

/// In milliseconds.
#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct ServerReport {
    /// While events were published.
    cpu_s: f64,
    cpu_us_per_publish: f64,
    /// `None` without subscribers.
    cpu_us_per_delivery: Option<f64>,
    /// By how much the process grew when the subscribers came, for each of them.
    resident_bytes_per_subscriber: u64,
    resident_bytes: u64,
}

impl Report {
    pub(super) fn new(args: &BenchArgs, load: &Load, took: Duration, usages: Usages) -> Report {
        let delivered = load.delivered();
        let published = load.acknowledged();
        let has_subscribers = args.subscribers > 0;
        let server = match usages {
            Usages { before: Some(before), connected: Some(connected), after: Some(after) } => {
                let cpu_s = after.cpu.saturating_sub(connected.cpu).as_secs_f64();
                let grown = connected.resident_bytes.saturating_sub(before.resident_bytes);
                Some(ServerReport {
                    cpu_s,
                    cpu_us_per_publish: cpu_s * 1e6 / (published.max(1) as f64),
                    cpu_us_per_delivery: has_subscribers
                        .then(|| cpu_s * 1e6 / (delivered.max(1) as f64)),
                    resident_bytes_per_subscriber: grown / u64::from(args.subscribers.max(1)),
                    resident_bytes: after.resident_bytes,
                })
            }
            _ => None,
        };
        Report {
            subscribers: args.subscribers,
            publishers: args.publishers,
            rate: args.publishers.is_none().then_some(args.rate),
            size: args.size,
            published,
            published_per_s: published as f64 / took.as_secs_f64(),
            failed: load.failed(),
            delivered,
            lost: load.lost(),
            duplicates: load.duplicates(),
            reconnects: load.reconnects(),
            publish_latency_ms: load.publish_latency().map(|all| Percentiles::new(&all)),
            delivery_latency_ms: load
                .delivery_latency()
                .filter(|_| has_subscribers)
                .map(|all| Percentiles::new(&all)),
            server,
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    pub(super) fn to_text(&self) -> String {
        let load = match (self.publishers, self.rate) {
            (Some(publishers), _) => counted(publishers.into(), "publisher"),
            (None, rate) => format!("{} events/s", rate.unwrap_or_default()),
        };
        let mut text = format!(
            "{}, {load} of {} bytes\n\
             published      {} ({} failed), {:.0} a second\n",
            counted(self.subscribers.into(), "subscriber"),
            self.size,
            self.published,
            self.failed,
            self.published_per_s,
        );
        if self.subscribers > 0 {
            text.push_str(&format!(
                "delivered      {}\n\
                 lost           {}\n\
                 duplicates     {}\n\
                 reconnects     {}\n",
                self.delivered, self.lost, self.duplicates, self.reconnects,
            ));
        }
        text.push_str("\nlatency        p50       p90       p99       p99.9     max, in ms\n");
        let rows = [("publish", &self.publish_latency_ms), ("delivery", &self.delivery_latency_ms)];
        for (what, percentiles) in rows {
            if let Some(percentiles) = percentiles {
                text.push_str(&format!("{what:<13}  {}\n", percentiles.row()));
            }
        }
        match &self.server {
            Some(server) => text.push_str(&server.to_text()),
            None => text.push_str("\nserver         not on this machine, or another user's: its CPU and memory are unknown\n"),
        }
        text
    }
}

impl ServerReport {
    fn to_text(&self) -> String {
        let mut text = format!(
            "\nserver         {:.1} s of CPU, {:.1} µs a publish",
            self.cpu_s, self.cpu_us_per_publish
        );
        if let Some(us) = self.cpu_us_per_delivery {
            text.push_str(&format!(", {us:.1} µs a delivery"));
        }
        text.push_str(&format!("\n               {} in memory", human_bytes(self.resident_bytes)));
        if self.cpu_us_per_delivery.is_some() {
            let each = human_bytes(self.resident_bytes_per_subscriber);
            text.push_str(&format!(", {each} more for each subscriber"));
        }
        text.push('\n');
        text
    }
}

impl Percentiles {
    fn new(histogram_us: &Histogram<u64>) -> Percentiles {
        let at = |quantile| histogram_us.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }

    fn row(&self) -> String {
        let values = [self.p50, self.p90, self.p99, self.p999, self.max];
        values.map(|ms| format!("{ms:<10.2}")).concat().trim_end().to_owned()
    }
}

//! What a run showed, as text for people and as JSON: [`Report`].

use hdrhistogram::Histogram;
use serde::Serialize;

use super::super::topics::human_bytes;
use super::load::Load;
use super::{BenchArgs, Usages};

/// The result of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    subscribers: u32,
    rate: u32,
    size: u32,
    /// Events that the server said yes to.
    published: usize,
    /// Publishes that it did not say yes to.
    failed: usize,
    /// Events that came, over all subscribers.
    delivered: usize,
    pub(super) lost: usize,
    pub(super) duplicates: usize,
    reconnects: usize,
    publish_latency_ms: Percentiles,
    delivery_latency_ms: Percentiles,
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
    cpu_us_per_delivery: f64,
    /// By how much the process grew when the subscribers came, for each of them.
    resident_bytes_per_subscriber: u64,
    resident_bytes: u64,
}

impl Report {
    pub(super) fn new(args: &BenchArgs, load: &Load, failed: usize, usages: Usages) -> Report {
        let delivered = load.delivered();
        let server = match usages {
            Usages { before: Some(before), connected: Some(connected), after: Some(after) } => {
                let cpu_s = after.cpu.saturating_sub(connected.cpu).as_secs_f64();
                let grown = connected.resident_bytes.saturating_sub(before.resident_bytes);
                Some(ServerReport {
                    cpu_s,
                    cpu_us_per_delivery: cpu_s * 1e6 / (delivered.max(1) as f64),
                    resident_bytes_per_subscriber: grown / u64::from(args.subscribers.max(1)),
                    resident_bytes: after.resident_bytes,
                })
            }
            _ => None,
        };
        Report {
            subscribers: args.subscribers,
            rate: args.rate,
            size: args.size,
            published: load.acknowledged(),
            failed,
            delivered,
            lost: load.lost(),
            duplicates: load.duplicates(),
            reconnects: load.reconnects(),
            publish_latency_ms: Percentiles::new(&load.publish_latency()),
            delivery_latency_ms: Percentiles::new(&load.delivery_latency()),
            server,
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "{} subscribers, {} events/s of {} bytes\n\
             published      {} ({} failed)\n\
             delivered      {}\n\
             lost           {}\n\
             duplicates     {}\n\
             reconnects     {}\n\
             \n\
             latency        p50       p90       p99       p99.9     max, in ms\n\
             publish        {}\n\
             delivery       {}\n",
            self.subscribers,
            self.rate,
            self.size,
            self.published,
            self.failed,
            self.delivered,
            self.lost,
            self.duplicates,
            self.reconnects,
            self.publish_latency_ms.row(),
            self.delivery_latency_ms.row(),
        );
        match &self.server {
            Some(server) => text.push_str(&format!(
                "\nserver         {:.1} s of CPU, {:.1} µs a delivery\n               {} in memory, {} more for each subscriber\n",
                server.cpu_s,
                server.cpu_us_per_delivery,
                human_bytes(server.resident_bytes),
                human_bytes(server.resident_bytes_per_subscriber),
            )),
            None => text.push_str("\nserver         not on this machine, or another user's: its CPU and memory are unknown\n"),
        }
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

//! The tables of fan-out and latency. Read [`sections`].

use std::fmt::Write as _;

use super::{Results, Sample, floor_of, peers, shapes, values};
use crate::peer::Peer;
use crate::report::{DASH, Table, median, median_text, number, rounds_text};
use crate::runs::fanout::{Fanout, IN_FLIGHT, Latency};

type FanoutSample = Sample<usize, Fanout>;

/// A table for each number of subscribers, and one of latencies.
pub(super) fn sections(results: &Results) -> String {
    let samples = results.fanout.as_slice();
    let mut text = String::new();
    for subscribers in shapes(samples) {
        let title = number(subscribers as f64);
        let _ = writeln!(text, "\n## Fan-out: {title} subscribers of one topic, SSE\n");
        text.push_str(&fanout_table(samples, subscribers).to_markdown());
    }
    if samples.iter().any(|sample| latency_of(sample).is_some()) {
        text.push_str("\n## Latency of a delivery at half the server's own rate\n\n");
        text.push_str(&latency_table(samples).to_markdown());
    }
    text
}

fn fanout_table(samples: &[FanoutSample], subscribers: usize) -> Table {
    let in_flight = format!("{IN_FLIGHT} in flight, ratio to the floor's lockstep");
    let mut table = Table::new(&[
        "",
        "CPU a delivery, ratio to the floor",
        "of rounds",
        "µs",
        &in_flight,
        "KiB an idle subscriber",
        "CPU an accept, ratio",
        "µs an accept",
        "wire bytes",
        "load core busy",
    ]);
    for peer in peers(samples) {
        let of = |value: fn(&Fanout) -> f64| {
            values(samples, peer, &subscribers, |_, fanout| Some(value(fanout)))
        };
        let ratio = |value: fn(&Fanout) -> f64, base: fn(&Fanout) -> f64| {
            values(samples, peer, &subscribers, |sample, fanout| {
                Some(value(fanout) / base(floor_of(samples, sample)?))
            })
        };
        let ratios = ratio(|fanout| fanout.lockstep.cpu_us, |floor| floor.lockstep.cpu_us);
        let busy = of(|fanout| fanout.lockstep.load_busy);
        table.row(vec![
            peer.title().to_owned(),
            median_text(&ratios),
            rounds_text(&ratios),
            median_text(&of(|fanout| fanout.lockstep.cpu_us)),
            median_text(&ratio(|fanout| fanout.in_flight.cpu_us, |floor| floor.lockstep.cpu_us)),
            median_text(&of(|fanout| fanout.idle_kib)),
            median_text(&ratio(|fanout| fanout.accept_us, |floor| floor.accept_us)),
            median_text(&of(|fanout| fanout.accept_us)),
            median(&of(|fanout| fanout.lockstep.wire_bytes))
                .map_or_else(|| DASH.to_owned(), |bytes| format!("{bytes:.0}")),
            median(&busy).map_or_else(|| DASH.to_owned(), |busy| format!("{:.0} %", busy * 100.0)),
        ]);
    }
    table
}

fn latency_table(samples: &[FanoutSample]) -> Table {
    let mut table =
        Table::new(&["", "subscribers", "events a second", "p50 ms", "p99 ms", "p99 of rounds"]);
    for subscribers in shapes(samples) {
        for peer in peers(samples) {
            add_latency_row(&mut table, samples, peer, subscribers);
        }
    }
    table
}

fn add_latency_row(table: &mut Table, samples: &[FanoutSample], peer: Peer, subscribers: usize) {
    let of = |value: fn(Latency) -> f64| {
        values(samples, peer, &subscribers, |sample, _| latency_of(sample).map(value))
    };
    let p99 = of(|latency| latency.p99_us as f64 / 1000.0);
    if p99.is_empty() {
        return;
    }
    table.row(vec![
        peer.title().to_owned(),
        number(subscribers as f64),
        median_text(&of(|latency| latency.events_per_s)),
        median_text(&of(|latency| latency.p50_us as f64 / 1000.0)),
        median_text(&p99),
        rounds_text(&p99),
    ]);
}

fn latency_of(sample: &FanoutSample) -> Option<Latency> {
    sample.outcome.as_ref().ok()?.latency
}

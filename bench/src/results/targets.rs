//! What Longwave is meant to reach, beside what it reached. Read [`section`].

use std::fmt::Write as _;

use super::{Results, Sample, sample_of, shapes, values};
use crate::peer::Peer;
use crate::report::{Table, median, number};
use crate::runs::fanout::{Fanout, IN_FLIGHT};
use crate::runs::replay::Source;

/// A table of the targets that this run has measured.
pub(super) fn section(results: &Results) -> String {
    let mut targets = fan_out(&results.fanout);
    targets.extend(latency(&results.fanout));
    targets.extend(publishing(results));
    targets.extend(replay(results));
    targets.extend(topics(results));
    targets.extend(churn(results));
    if targets.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["Longwave's target", "wanted", "measured", ""]);
    for target in targets {
        table.row(target.row());
    }
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(text, "\n## Targets\n");
    text.push_str(&table.to_markdown());
    text
}

struct Target {
    what: String,
    bound: Bound,
    measured: f64,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    /// The target with the median of what was measured; `None` where nothing was.
    fn new(what: String, bound: Bound, measured: &[f64]) -> Option<Target> {
        Some(Target { what, bound, measured: median(measured)? })
    }

    fn row(self) -> Vec<String> {
        let (wanted, is_met) = match self.bound {
            Bound::AtMost(most) => (format!("≤ {}", number(most)), self.measured <= most),
            Bound::AtLeast(least) => (format!("≥ {}", number(least)), self.measured >= least),
        };
        let verdict = if is_met { "met" } else { "**missed**" };
        vec![self.what, wanted, number(self.measured), verdict.to_owned()]
    }
}

fn fan_out(samples: &[Sample<usize, Fanout>]) -> Vec<Target> {
    let mut targets = Vec::new();
    for subscribers in shapes(samples) {
        let ratio = |value: fn(&Fanout) -> f64, base: fn(&Fanout) -> f64| {
            values(samples, Peer::Longwave, &subscribers, |sample, fanout| {
                Some(value(fanout) / base(sample_of(samples, Peer::Floor, sample)?))
            })
        };
        let kib = values(samples, Peer::Longwave, &subscribers, |_, fanout| Some(fanout.idle_kib));
        let title = format!("{} subscribers", number(subscribers as f64));
        targets.extend([
            Target::new(
                format!("CPU a delivery to the floor's, {title}"),
                Bound::AtMost(1.10),
                &ratio(|fanout| fanout.lockstep.cpu_us, |floor| floor.lockstep.cpu_us),
            ),
            Target::new(
                format!("the same with {IN_FLIGHT} in flight"),
                Bound::AtMost(0.25),
                &ratio(|fanout| fanout.in_flight.cpu_us, |floor| floor.lockstep.cpu_us),
            ),
            Target::new(
                "CPU an accept to the floor's".to_owned(),
                Bound::AtMost(2.0),
                &ratio(|fanout| fanout.accept_us, |floor| floor.accept_us),
            ),
            Target::new("KiB an idle subscriber".to_owned(), Bound::AtMost(0.5), &kib),
        ]);
    }
    targets.into_iter().flatten().collect()
}

/// Against the best of the others, which is another one in each run. The floor is no peer.
fn latency(samples: &[Sample<usize, Fanout>]) -> Option<Target> {
    let subscribers = *shapes(samples).iter().min()?;
    let p99_ms = |peer| {
        let latencies = values(samples, peer, &subscribers, |_, fanout: &Fanout| {
            Some(fanout.latency?.p99_us as f64 / 1000.0)
        });
        Some((peer, median(&latencies)?))
    };
    let (_, own) = p99_ms(Peer::Longwave)?;
    let peers = Peer::ALL.into_iter().filter(|peer| !matches!(peer, Peer::Floor | Peer::Longwave));
    let (best, best_ms) = peers.filter_map(p99_ms).min_by(|a, b| a.1.total_cmp(&b.1))?;
    let what = format!("p99 latency in ms, at most the best peer's ({})", best.name());
    Target::new(what, Bound::AtMost(best_ms), &[own])
}

fn publishing(results: &Results) -> Vec<Target> {
    let samples = results.publishing.as_slice();
    let target = |publishers: usize| {
        let ratios = values(samples, Peer::Longwave, &publishers, |sample, outcome| {
            Some(outcome.per_s / sample_of(samples, Peer::DurableStreams, sample)?.per_s)
        });
        let what = format!("durable publishes to durable-streams', {publishers} at a time");
        Target::new(what, Bound::AtLeast(1.5), &ratios)
    };
    shapes(samples).into_iter().filter_map(target).collect()
}

fn replay(results: &Results) -> Vec<Target> {
    let samples = results.replay.as_slice();
    let ratios = |base: Peer, source: Source| {
        values(samples, Peer::Longwave, &Source::Server, |sample, replay| {
            let same = samples.iter().find(|other| {
                other.round == sample.round && other.peer == base && other.shape == source
            });
            Some(replay.events_per_s / same?.outcome.as_ref().ok()?.events_per_s)
        })
    };
    let targets = [
        Target::new(
            "replay to durable-streams'".to_owned(),
            Bound::AtLeast(1.0),
            &ratios(Peer::DurableStreams, Source::Server),
        ),
        Target::new(
            "replay to `cat FILE \\| nc`".to_owned(),
            Bound::AtLeast(0.5),
            &ratios(Peer::Longwave, Source::Pipe),
        ),
    ];
    targets.into_iter().flatten().collect()
}

fn topics(results: &Results) -> Vec<Target> {
    let samples = results.topics.as_slice();
    let Some(&subscribers) = shapes(samples).first() else { return Vec::new() };
    let spread = values(samples, Peer::Longwave, &subscribers, |_, topics| {
        Some(topics.spread_net_us() / topics.one_topic_us)
    });
    let wildcard = values(samples, Peer::Longwave, &subscribers, |_, topics| {
        Some(topics.wildcard_us / topics.one_topic_us)
    });
    let targets = [
        Target::new("a topic each, to one topic".to_owned(), Bound::AtMost(1.5), &spread),
        Target::new("a wildcard, to one topic".to_owned(), Bound::AtMost(1.5), &wildcard),
    ];
    targets.into_iter().flatten().collect()
}

fn churn(results: &Results) -> Option<Target> {
    let ratios = values(&results.churn, Peer::Longwave, &(), |_, churn| {
        Some(churn.after_kib as f64 / churn.before_kib as f64)
    });
    let what = "memory after coming and going, to before".to_owned();
    Target::new(what, Bound::AtMost(1.1), &ratios)
}

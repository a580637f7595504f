//! What came out, and the page that says it.
//!
//! Read [`Results`]. A figure is the median of the rounds; what a server could not do stands in the page as well.

mod fanout;
mod others;

use std::fmt::Write as _;

use crate::machine::Machine;
use crate::peer::Peer;
use crate::runs::churn::Churn;
use crate::runs::fanout::Fanout;
use crate::runs::publish::Publishing;
use crate::runs::replay::{Replay, Source};
use crate::runs::topics::Topics;

/// Everything that a run found out.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "filled by the program that runs the rounds")]
pub struct Results {
    /// What it ran on.
    pub machine: Machine,
    /// The date, as in `2026-11-20`.
    pub date: String,
    /// The command that repeats it.
    pub command: String,
    /// Versions of what was measured, one sentence each.
    pub versions: Vec<String>,
    /// Who was not measured, and why.
    pub missing: Vec<(Peer, String)>,
    /// What has to be known about this run, a sentence each.
    pub notes: Vec<String>,
    /// Rounds of fan-out.
    pub fanout: Vec<Sample<usize, Fanout>>,
    /// Rounds of publishing, by the number of publishers.
    pub publishing: Vec<Sample<usize, Publishing>>,
    /// What the disk took one at a time, in each round.
    pub bare_syncs_per_s: Vec<f64>,
    /// Rounds of reading a backlog.
    pub replay: Vec<Sample<Source, Replay>>,
    /// Rounds of many topics, by the number of subscribers.
    pub topics: Vec<Sample<usize, Topics>>,
    /// Rounds of coming and going.
    pub churn: Vec<Sample<(), Churn>>,
}

/// What one server did in one round.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "filled by the program that runs the rounds")]
pub struct Sample<K, T> {
    /// Which round, from 1.
    pub round: usize,
    /// Whose server.
    pub peer: Peer,
    /// The shape of the load, such as the number of subscribers.
    pub shape: K,
    /// What was measured, or why it could not be.
    pub outcome: Result<T, String>,
}

impl Results {
    /// The whole page.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::from("# Longwave, a floor and its peers, measured\n\n");
        text.push_str("Written by the benchmark. [README.md](README.md) defines each figure.\n\n");
        let _ = writeln!(text, "- {}, {}", self.date, self.machine.line());
        let _ = writeln!(text, "- `{}`", self.command);
        for sentence in self.versions.iter().chain(&self.notes) {
            let _ = writeln!(text, "- {sentence}");
        }
        for (peer, why) in &self.missing {
            let _ = writeln!(text, "- {} was not measured: {why}", peer.title());
        }
        text.push_str(&fanout::sections(self));
        text.push_str(&others::sections(self));
        text.push_str(&self.failures());
        text
    }

    fn failures(&self) -> String {
        let lines = [
            failures_of(&self.fanout, |subscribers| format!("{subscribers} subscribers")),
            failures_of(&self.publishing, |publishers| format!("{publishers} publishers")),
            failures_of(&self.replay, |source| format!("replay ({source:?})")),
            failures_of(&self.topics, |subscribers| format!("topics, {subscribers} subscribers")),
            failures_of(&self.churn, |()| "coming and going".to_owned()),
        ]
        .concat();
        if lines.is_empty() {
            return String::new();
        }
        format!("\n## What failed\n\n{}", lines.join(""))
    }
}

fn failures_of<K, T>(samples: &[Sample<K, T>], shape: impl Fn(&K) -> String) -> Vec<String> {
    let failed = samples.iter().filter_map(|sample| Some((sample, sample.outcome.as_ref().err()?)));
    failed
        .map(|(sample, why)| {
            let shape = shape(&sample.shape);
            format!("- round {}, {}, {shape}: {why}\n", sample.round, sample.peer.name())
        })
        .collect()
}

/// What a peer's successful rounds in one shape give, in their order.
fn values<K: PartialEq, T>(
    samples: &[Sample<K, T>],
    peer: Peer,
    shape: &K,
    value: impl Fn(&Sample<K, T>, &T) -> Option<f64>,
) -> Vec<f64> {
    let wanted = samples.iter().filter(|sample| sample.peer == peer && sample.shape == *shape);
    wanted.filter_map(|sample| value(sample, sample.outcome.as_ref().ok()?)).collect()
}

/// The floor's outcome in the same round and shape.
fn floor_of<'a, K: PartialEq, T>(samples: &'a [Sample<K, T>], of: &Sample<K, T>) -> Option<&'a T> {
    let same = |sample: &&Sample<K, T>| {
        sample.peer == Peer::Floor && sample.round == of.round && sample.shape == of.shape
    };
    samples.iter().find(same)?.outcome.as_ref().ok()
}

/// The shapes that were tried, in their order.
fn shapes<K: Clone + PartialEq, T>(samples: &[Sample<K, T>]) -> Vec<K> {
    let mut shapes = Vec::new();
    for sample in samples {
        if !shapes.contains(&sample.shape) {
            shapes.push(sample.shape.clone());
        }
    }
    shapes
}

/// Those that were tried, in the order of the tables.
fn peers<K, T>(samples: &[Sample<K, T>]) -> Vec<Peer> {
    let was_tried = |peer: &Peer| samples.iter().any(|sample| sample.peer == *peer);
    Peer::ALL.into_iter().filter(was_tried).collect()
}

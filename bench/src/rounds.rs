//! The rounds: which measurement comes when, and what is said about it meanwhile.
//!
//! Read [`run`]. Within a round all servers have the same turn one after the other, so what else the machine does hits
//! them about alike.

use clap::ValueEnum;
use longwave_bench::peer::Peer;
use longwave_bench::results::{Results, Sample};
use longwave_bench::runs::fanout::{self, Fanout, WithLatency};
use longwave_bench::runs::publish::{self, Publishing};
use longwave_bench::runs::replay::{self, Backlog, Replay, Source};
use longwave_bench::runs::topics::{self, Topics};
use longwave_bench::runs::{Bench, churn};

use crate::progress::Progress;

/// What is done in each round.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Each is a fan-out of its own; the most are those of many topics.
    pub(crate) subscribers: Vec<usize>,
    pub(crate) measure: Vec<Measurement>,
}

/// A kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    Fanout,
    Publish,
    Replay,
    Topics,
    Churn,
}

/// Runs all rounds.
///
/// # Errors
/// Where something fails that is not a server's fault.
pub(crate) fn run(bench: &Bench, plan: &Plan, results: &mut Results) -> anyhow::Result<()> {
    let progress = Progress::new(plan.steps(bench));
    for round in 1..=plan.rounds {
        let mut turn = Turn { bench, round, progress: &progress, results: &mut *results };
        for &measurement in &plan.measure {
            match measurement {
                Measurement::Fanout => turn.fan_out(&plan.subscribers),
                Measurement::Publish => turn.publish()?,
                Measurement::Replay => turn.replay()?,
                Measurement::Topics => turn.topics(&plan.subscribers),
                Measurement::Churn => turn.churn(),
            }
        }
    }
    progress.finish();
    Ok(())
}

impl Plan {
    /// How many measurements there are.
    fn steps(&self, bench: &Bench) -> usize {
        let has = |peer: &&Peer| bench.programs.contains_key(peer);
        let durable = publish::PEERS.iter().filter(has).count();
        let in_round = |measurement: &Measurement| match measurement {
            Measurement::Fanout => self.subscribers.len() * bench.programs.len(),
            Measurement::Publish => publish::PUBLISHERS.len() * durable + 1,
            Measurement::Replay => durable + 1,
            Measurement::Topics | Measurement::Churn => 1,
        };
        self.rounds * self.measure.iter().map(in_round).sum::<usize>()
    }
}

/// One round.
struct Turn<'a> {
    bench: &'a Bench,
    round: usize,
    progress: &'a Progress,
    results: &'a mut Results,
}

impl Turn<'_> {
    fn fan_out(&mut self, all_subscribers: &[usize]) {
        let fewest = all_subscribers.iter().min();
        for &subscribers in all_subscribers {
            let with_latency =
                if fewest == Some(&subscribers) { WithLatency::Yes } else { WithLatency::No };
            // Another one first in each round, so that no server always has the same one before it.
            let mut peers: Vec<Peer> = self.bench.programs.keys().copied().collect();
            let first = (self.round - 1) % peers.len().max(1);
            peers.rotate_left(first);
            for peer in peers {
                let sample = self.measure(
                    peer,
                    subscribers,
                    &format!("{subscribers} subscribers"),
                    |bench| fanout::run(bench, peer, subscribers, with_latency),
                    say_fanout,
                );
                self.results.fanout.push(sample);
            }
        }
    }

    fn publish(&mut self) -> anyhow::Result<()> {
        self.progress.begin("write and fdatasync");
        let bare = publish::bare_syncs(self.bench)?;
        self.progress.end(&format!("round {}, fdatasync: {bare:.0} a second", self.round));
        self.results.bare_syncs_per_s.push(bare);
        for publishers in publish::PUBLISHERS {
            for peer in self.durable() {
                let sample = self.measure(
                    peer,
                    publishers,
                    &format!("{publishers} publishers"),
                    |bench| publish::run(bench, peer, publishers),
                    |Publishing { per_s, .. }| format!("{per_s:.0} acknowledged a second"),
                );
                self.results.publishing.push(sample);
            }
        }
        Ok(())
    }

    fn replay(&mut self) -> anyhow::Result<()> {
        let folder = tempfile::Builder::new().prefix("replay").tempdir_in(&self.bench.folder)?;
        let file = folder.path().join("sent");
        let say =
            |Replay { events_per_s, .. }: &Replay| format!("{events_per_s:.0} events a second");
        for peer in self.durable() {
            let sample = self.measure(
                peer,
                Source::Server,
                "replay",
                |bench| {
                    let backlog = Backlog::publish(bench, peer)?;
                    let replay = backlog.read()?;
                    if peer == Peer::Longwave {
                        backlog.save(&file)?;
                    }
                    Ok(replay)
                },
                say,
            );
            self.results.replay.push(sample);
        }
        if file.is_file() {
            let pipe = |bench: &Bench| replay::pipe(bench, &file);
            let sample =
                self.measure(Peer::Longwave, Source::Pipe, "replay by cat and nc", pipe, say);
            self.results.replay.push(sample);
        }
        Ok(())
    }

    fn topics(&mut self, all_subscribers: &[usize]) {
        let Some(&subscribers) = all_subscribers.iter().max() else { return };
        let sample = self.measure(
            Peer::Longwave,
            subscribers,
            "many topics",
            |bench| topics::run(bench, subscribers),
            say_topics,
        );
        self.results.topics.push(sample);
    }

    fn churn(&mut self) {
        let sample = self.measure(
            Peer::Longwave,
            (),
            "coming and going",
            |bench| churn::run(bench, Peer::Longwave),
            |churn| format!("{} KiB before, {} KiB after", churn.before_kib, churn.after_kib),
        );
        self.results.churn.push(sample);
    }

    /// Makes one measurement. What a server fails at is a result too.
    fn measure<K, T>(
        &self,
        peer: Peer,
        shape: K,
        what: &str,
        run: impl FnOnce(&Bench) -> anyhow::Result<T>,
        say: impl FnOnce(&T) -> String,
    ) -> Sample<K, T> {
        let what = format!("round {}, {what}, {}", self.round, peer.name());
        self.progress.begin(&what);
        let outcome = run(self.bench).map_err(|error| format!("{error:#}"));
        let said = match &outcome {
            Ok(value) => say(value),
            Err(why) => format!("failed: {why}"),
        };
        self.progress.end(&format!("{what}: {said}"));
        Sample { round: self.round, peer, shape, outcome }
    }

    /// Those that keep events and are installed.
    fn durable(&self) -> Vec<Peer> {
        let is_installed = |peer: &Peer| self.bench.programs.contains_key(peer);
        publish::PEERS.into_iter().filter(is_installed).collect()
    }
}

fn say_fanout(fanout: &Fanout) -> String {
    let Fanout { accept_us, idle_kib, lockstep, in_flight, .. } = fanout;
    format!(
        "{:.2} µs a delivery, {:.2} µs with several in flight, {idle_kib:.2} KiB a subscriber, \
         {accept_us:.1} µs an accept",
        lockstep.cpu_us, in_flight.cpu_us
    )
}

fn say_topics(topics: &Topics) -> String {
    format!(
        "{:.2} µs a delivery on one topic, {:.2} µs on a topic each, {:.2} µs on a wildcard",
        topics.one_topic_us,
        topics.spread_net_us(),
        topics.wildcard_us
    )
}

//! The tables of everything but fan-out. Read [`sections`].

use std::fmt::Write as _;

use super::{Results, shapes, values};
use crate::peer::Peer;
use crate::report::{DASH, Table, median, median_text, number, rounds_text};
use crate::runs::replay::{self, Replay, Source};
use crate::runs::topics::{TOPICS, Topics};
use crate::runs::{churn, publish};

/// A section for each kind of measurement that was made.
pub(super) fn sections(results: &Results) -> String {
    let parts = [publishing(results), replaying(results), topics(results), churned(results)];
    parts.into_iter().flatten().collect()
}

fn publishing(results: &Results) -> Option<String> {
    let samples = results.publishing.as_slice();
    if samples.is_empty() && results.bare_syncs_per_s.is_empty() {
        return None;
    }
    let mut table =
        Table::new(&["publishers", "", "acknowledged a second", "of rounds", "server CPU µs each"]);
    let bare = results.bare_syncs_per_s.as_slice();
    table.row(vec![
        "1".to_owned(),
        "`write` and `fdatasync`, one at a time".to_owned(),
        median_text(bare),
        rounds_text(bare),
        DASH.to_owned(),
    ]);
    for publishers in shapes(samples) {
        for peer in publish::PEERS {
            let per_s = values(samples, peer, &publishers, |_, outcome| Some(outcome.per_s));
            let cpu_us = values(samples, peer, &publishers, |_, outcome| Some(outcome.cpu_us));
            table.row(vec![
                publishers.to_string(),
                peer.title().to_owned(),
                median_text(&per_s),
                rounds_text(&per_s),
                median_text(&cpu_us),
            ]);
        }
    }
    let title = format!("Durable publishes of {} bytes", publish::EVENT_BYTES);
    Some(section(&title, &table))
}

fn replaying(results: &Results) -> Option<String> {
    let samples = results.replay.as_slice();
    if samples.is_empty() {
        return None;
    }
    let mut table =
        Table::new(&["", "events a second", "of rounds", "MB a second", "server CPU µs an event"]);
    let rows = [
        (Peer::Longwave, Source::Server, Peer::Longwave.title()),
        (Peer::DurableStreams, Source::Server, Peer::DurableStreams.title()),
        (Peer::Longwave, Source::Pipe, "`cat FILE \\| nc` of what Longwave sent"),
    ];
    for (peer, source, title) in rows {
        let of = |value: fn(&Replay) -> Option<f64>| {
            values(samples, peer, &source, |_, replay| value(replay))
        };
        let events = of(|replay| Some(replay.events_per_s));
        table.row(vec![
            title.to_owned(),
            median_text(&events),
            rounds_text(&events),
            median_text(&of(|replay| Some(replay.mb_per_s))),
            median_text(&of(|replay| replay.cpu_us)),
        ]);
    }
    let count = number(replay::EVENTS as f64);
    Some(section(&format!("Replay of {count} events to one subscriber"), &table))
}

fn topics(results: &Results) -> Option<String> {
    let samples = results.topics.as_slice();
    let subscribers = *shapes(samples).first()?;
    let of = |value: fn(Topics) -> f64| {
        values(samples, Peer::Longwave, &subscribers, |_, topics| Some(value(*topics)))
    };
    let mut table = Table::new(&["Longwave", "CPU µs", "of rounds", "ratio to one topic"]);
    let mut row = |title: &str, us: fn(Topics) -> f64, ratio: Option<fn(Topics) -> f64>| {
        let ratio = ratio.map_or_else(|| DASH.to_owned(), |ratio| median_text(&of(ratio)));
        let us = of(us);
        table.row(vec![title.to_owned(), median_text(&us), rounds_text(&us), ratio]);
    };
    row("a delivery, all on one topic", |topics| topics.one_topic_us, None);
    row("a publish and its one delivery, a topic each", |topics| topics.spread_raw_us, None);
    row("a publish that nobody follows", |topics| topics.publish_us, None);
    row(
        "a delivery, a topic each (the difference of these two)",
        Topics::spread_net_us,
        Some(|topics| topics.spread_net_us() / topics.one_topic_us),
    );
    row(
        "a delivery, all on a wildcard",
        |topics| topics.wildcard_us,
        Some(|topics| topics.wildcard_us / topics.one_topic_us),
    );
    let title =
        format!("{} topics, {} subscribers", number(TOPICS as f64), number(subscribers as f64));
    Some(section(&title, &table))
}

fn churned(results: &Results) -> Option<String> {
    let samples = results.churn.as_slice();
    samples.first()?;
    let of = |value: fn(&churn::Churn) -> f64| {
        values(samples, Peer::Longwave, &(), |_, churn| Some(value(churn)))
    };
    let before = of(|churn| churn.before_kib as f64);
    let after = of(|churn| churn.after_kib as f64);
    let change = of(|churn| (churn.after_kib as f64 / churn.before_kib as f64 - 1.0) * 100.0);
    let mut table = Table::new(&["", "KiB before", "KiB after", "change", "of rounds"]);
    table.row(vec![
        Peer::Longwave.title().to_owned(),
        median_text(&before),
        median_text(&after),
        median(&change).map_or_else(|| DASH.to_owned(), |change| format!("{change:+.1} %")),
        rounds_text(&change),
    ]);
    let count = number(churn::CONNECTS as f64);
    Some(section(&format!("Memory before and after {count} subscribers came and went"), &table))
}

fn section(title: &str, table: &Table) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(text, "\n## {title}\n");
    text.push_str(&table.to_markdown());
    text
}

//! Many topics: whether a delivery costs more where subscribers are spread over them, or follow them by a wildcard.
//!
//! Read [`run`]. With one subscriber a topic, each publish makes one delivery, and costs far more than that. So as many
//! publishes go to topics that nobody follows, in turns, and are taken off.

use std::time::Duration;

use super::churn::until_closed;
use super::fanout::{EVENT_BYTES, deliveries};
use super::{Bench, Meter, repeat};
use crate::exchange::{request, subscription};
use crate::load::Load;
use crate::peer::Peer;
use crate::server::Server;
use crate::template::{NUMBER, Template, event_data, numbered};

/// CPU of the server for one event to one subscriber, in microseconds.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Topics {
    /// All subscribers follow one topic.
    pub one_topic_us: f64,
    /// Each follows a topic of its own; with the publish that the delivery comes from.
    pub spread_raw_us: f64,
    /// The same publish to a topic that nobody follows.
    pub publish_us: f64,
    /// Each follows all topics by a wildcard.
    pub wildcard_us: f64,
}

impl Topics {
    /// What a delivery adds to its publish.
    #[must_use]
    pub fn spread_net_us(self) -> f64 {
        self.spread_raw_us - self.publish_us
    }
}

/// Measures a fresh server with so many subscribers and [`TOPICS`] topics.
///
/// # Errors
/// Where the server does not start, loses an event, refuses a publish, or closes a connection.
pub fn run(bench: &Bench, subscribers: usize) -> anyhow::Result<Topics> {
    let server = bench.start(Peer::Longwave)?;
    let mut load = Load::new(server.addr())?;
    let path = format!("/topics/prices/{NUMBER}");
    let publish = request("POST", &path, "text/plain", &event_data(EVENT_BYTES));
    load.add_publishers(PUBLISHERS, &Template::new(publish.as_bytes())?)?;
    let mut every_topic = 0..TOPICS;
    load.saturate(|| every_topic.next())?;
    let files = server.open_files()?;

    let first_topic = subscription(&numbered(&path, 0));
    load.subscribe(subscribers, |_| first_topic.clone())?;
    load.wave(1)?;
    let one_topic_us = deliveries(bench, &server, &mut load, 1)?.cpu_us;
    load.check_even()?;
    load.unsubscribe_all();
    until_closed(&server, files)?;

    let step = (TOPICS / subscribers.max(1)).max(2);
    load.subscribe(subscribers, |index| subscription(&numbered(&path, index * step % TOPICS)))?;
    let (spread_raw_us, publish_us) = spread(bench, &server, &mut load, step)?;
    load.check_even()?;
    load.unsubscribe_all();
    until_closed(&server, files)?;

    load.subscribe(subscribers, |_| subscription("/events?topic=prices/**"))?;
    load.wave(1)?;
    let before = load.tally().delivered;
    let mut next_topic = (0..TOPICS).cycle();
    let (cost, _) = repeat(bench, &server, &mut load, |load| {
        load.wave_to(1, next_topic.next().unwrap_or_default())
    })?;
    load.check_even()?;
    let wildcard_us = cost.server_us_each(load.tally().delivered - before);
    Ok(Topics { one_topic_us, spread_raw_us, publish_us, wildcard_us })
}

/// Publishes in turns to each topic that is followed and to as many that are not; the CPU for one of each.
fn spread(
    bench: &Bench,
    server: &Server,
    load: &mut Load,
    step: usize,
) -> anyhow::Result<(f64, f64)> {
    let subscribers = load.subscribers();
    let (mut followed, mut unfollowed) = (Duration::ZERO, Duration::ZERO);
    let mut publishes = 0;
    while publishes == 0 || unfollowed < bench.cpu_measured {
        for (offset, cpu) in [(0, &mut followed), (1, &mut unfollowed)] {
            let expected =
                load.tally().delivered + if offset == 0 { subscribers as u64 } else { 0 };
            let mut indexes = 0..subscribers;
            let meter = Meter::start(server)?;
            load.saturate(|| indexes.next().map(|index| (index * step + offset) % TOPICS))?;
            load.until_delivered(expected)?;
            *cpu += meter.cost()?.server_cpu;
        }
        publishes += subscribers as u64;
    }
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / publishes.max(1) as f64;
    Ok((each(followed), each(unfollowed)))
}

/// How many topics there are.
pub const TOPICS: usize = 100_000;
/// Publishers at the same time.
pub const PUBLISHERS: usize = 64;

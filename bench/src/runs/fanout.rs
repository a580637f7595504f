//! One topic with many subscribers: what it costs to accept them, to keep them, and to deliver to them.
//!
//! Read [`run`].

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Bench, Cost, repeat};
use crate::load::Load;
use crate::peer::Peer;
use crate::server::Server;

/// What one server needed for so many subscribers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fanout {
    /// CPU for accepting one subscriber, in microseconds.
    pub accept_us: f64,
    /// Memory for one subscriber that has got nothing yet, in KiB.
    pub idle_kib: f64,
    /// One event at a time.
    pub lockstep: Delivery,
    /// [`IN_FLIGHT`] events at a time.
    pub in_flight: Delivery,
    /// Where it was asked for.
    pub latency: Option<Latency>,
}

/// What a delivery cost.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The server's CPU for one event to one subscriber, in microseconds.
    pub cpu_us: f64,
    /// What came over the wire for it.
    pub wire_bytes: f64,
    /// Events a second, each to all subscribers.
    pub events_per_s: f64,
    /// How busy the load generator's core was, from 0 to 1.
    pub load_busy: f64,
}

/// From when an event was due until a subscriber had it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Latency {
    /// At so many events a second.
    pub events_per_s: f64,
    /// Half of the deliveries took no longer.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
}

/// Whether to measure latency too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum WithLatency {
    /// At half the rate that lockstep reached.
    Yes,
    /// Not.
    No,
}

/// Measures a fresh server with so many subscribers of one topic.
///
/// # Errors
/// Where the server does not start, loses or doubles an event, refuses a publish, or closes a connection.
pub fn run(
    bench: &Bench,
    peer: Peer,
    subscribers: usize,
    with_latency: WithLatency,
) -> anyhow::Result<Fanout> {
    let server = bench.start(peer)?;
    let mut load = Load::new(server.addr())?;
    load.add_publishers(IN_FLIGHT, &peer.publication(EVENT_BYTES)?)?;
    // What a server only sets up for its first event is no subscriber's.
    load.wave(1)?;
    let empty_kib = server.settled_pss_kib()?;

    let cpu_before = server.cpu_exact()?;
    let request = peer.subscription();
    load.subscribe(subscribers, |_| request.clone())?;
    let accepted = server.cpu_exact()?.saturating_sub(cpu_before);
    let full_kib = server.settled_pss_kib()?;

    load.wave(1)?;
    load.wave(1)?;
    let lockstep = deliveries(bench, &server, &mut load, 1)?;
    load.wave(IN_FLIGHT)?;
    let in_flight = deliveries(bench, &server, &mut load, IN_FLIGHT)?;
    let latency = match with_latency {
        WithLatency::No => None,
        WithLatency::Yes => {
            let rate = lockstep.events_per_s / 2.0;
            let histogram = load.paced(rate, bench.time_measured)?;
            Some(Latency::of(&histogram, rate))
        }
    };
    load.check_even()?;
    Ok(Fanout {
        accept_us: accepted.as_secs_f64() * 1e6 / subscribers.max(1) as f64,
        idle_kib: full_kib.saturating_sub(empty_kib) as f64 / subscribers.max(1) as f64,
        lockstep,
        in_flight,
        latency,
    })
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>, events_per_s: f64) -> Latency {
        let quantile = |part| histogram.value_at_quantile(part);
        Latency { events_per_s, p50_us: quantile(0.5), p99_us: quantile(0.99) }
    }
}

/// Publishes so many events at once, again and again, until the cost of a delivery is known.
pub(crate) fn deliveries(
    bench: &Bench,
    server: &Server,
    load: &mut Load,
    in_flight: usize,
) -> anyhow::Result<Delivery> {
    let before = load.tally();
    let (cost, waves) = repeat(bench, server, load, |load| load.wave(in_flight))?;
    let after = load.tally();
    let delivered = after.delivered - before.delivered;
    let bytes = after.received_bytes - before.received_bytes;
    let Cost { time, .. } = cost;
    Ok(Delivery {
        cpu_us: cost.server_us_each(delivered),
        wire_bytes: bytes as f64 / delivered.max(1) as f64,
        events_per_s: (waves * in_flight as u64) as f64 / time.max(TIME_MIN).as_secs_f64(),
        load_busy: cost.load_busy(),
    })
}

/// Bytes of data of an event.
pub const EVENT_BYTES: usize = 110;
/// Events under way where it is more than one.
pub const IN_FLIGHT: usize = 16;
const TIME_MIN: Duration = Duration::from_micros(1);

//! The harness itself: it counts right. Nothing is measured here.

use std::path::Path;

use longwave_bench::load::Load;
use longwave_bench::machine::Cores;
use longwave_bench::peer::Peer;
use longwave_bench::server::Server;

#[test]
fn the_floor_delivers_each_event_once_to_each_of_50_subscribers() {
    let (server, mut load) = floor_with_load(EVENTS_IN_FLIGHT).unwrap();
    load.subscribe(SUBSCRIBERS, |_| Peer::Floor.subscription()).unwrap();
    for _ in 0..EVENTS {
        load.wave(1).unwrap();
    }
    load.wave(EVENTS_IN_FLIGHT).unwrap();
    load.check_even().unwrap();
    let events = (EVENTS + EVENTS_IN_FLIGHT) as u64;
    let tally = load.tally();
    assert_eq!(tally.standing, SUBSCRIBERS);
    assert_eq!(tally.answered, events);
    assert_eq!(tally.delivered, events * SUBSCRIBERS as u64);
    assert_eq!(tally.closed, 0);
    drop(server);
}

#[test]
fn events_at_a_rate_are_each_timed_for_each_subscriber() {
    let (_server, mut load) = floor_with_load(1).unwrap();
    load.subscribe(SUBSCRIBERS, |_| Peer::Floor.subscription()).unwrap();
    let events = 20;
    let latencies = load.paced(1000.0, std::time::Duration::from_millis(events)).unwrap();
    assert_eq!(latencies.len(), events * SUBSCRIBERS as u64);
    load.check_even().unwrap();
}

#[test]
fn a_server_that_goes_away_is_an_error_and_no_hang() {
    let (server, mut load) = floor_with_load(1).unwrap();
    load.subscribe(SUBSCRIBERS, |_| Peer::Floor.subscription()).unwrap();
    drop(server);
    load.wave(1).unwrap_err();
}

fn floor_with_load(publishers: usize) -> anyhow::Result<(Server, Load)> {
    let program = Path::new(env!("CARGO_BIN_EXE_bench-floor"));
    let server = Server::start(Peer::Floor, program, &std::env::temp_dir(), Cores::shared()?)?;
    let mut load = Load::new(server.addr())?;
    load.add_publishers(publishers, &Peer::Floor.publication(110)?)?;
    Ok((server, load))
}

const SUBSCRIBERS: usize = 50;
const EVENTS: usize = 20;
const EVENTS_IN_FLIGHT: usize = 4;

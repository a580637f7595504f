//! Every kind of client follows a topic while it is being published to and its connections are cut in the middle of
//! events: directly, through nginx with its defaults, and through HAProxy. Each gets every event once and in order.

use std::net::SocketAddr;

use longwave_e2e::{
    CutSide, Data, Expected, FaultPlan, FaultProxy, Follower, FollowerKind, HANG_LIMIT, HaProxy,
    LongwaveServer, Nginx, Publisher, Transport, first_difference,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_gets_every_event_once_and_in_order_directly() {
    let server = LongwaveServer::start(SETTINGS).await.unwrap();
    follow_while_publishing(&server, |_| server.addr(), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_gets_every_event_once_and_in_order_through_nginx_with_its_defaults() {
    let server = LongwaveServer::start(SETTINGS).await.unwrap();
    let behind = behind_the_proxy(&server).await;
    let nginx = Nginx::start(behind.addr()).await.unwrap();
    let route = |transport| match transport {
        Transport::Http => nginx.http,
        Transport::WebSocket => nginx.websocket,
    };
    follow_while_publishing(&server, route, &[&behind]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_gets_every_event_once_and_in_order_through_haproxy() {
    let server = LongwaveServer::start(SETTINGS).await.unwrap();
    let behind = behind_the_proxy(&server).await;
    let haproxy = HaProxy::start(behind.addr()).await.unwrap();
    follow_while_publishing(&server, |_| haproxy.http, &[&behind]).await;
}

/// Cuts what comes from the server before it gets to the reverse proxy.
async fn behind_the_proxy(server: &LongwaveServer) -> FaultProxy {
    let plan = FaultPlan::new(CUTS_BEHIND_PROXY, CutSide::ReverseProxy, fastrand::u64(..));
    FaultProxy::start(server.addr(), plan).await.unwrap()
}

/// Each client connects by a fault proxy of its own. Publishing goes on until every one of them, and those in
/// `behind`, made all its cuts; then the topic ends, and so do the clients.
async fn follow_while_publishing(
    server: &LongwaveServer,
    route: impl Fn(Transport) -> SocketAddr,
    behind: &[&FaultProxy],
) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let logs = tempfile::tempdir().unwrap();
    let mut faults = Vec::new();
    let mut followers = JoinSet::new();
    let mut progress = Vec::new();
    for kind in FollowerKind::ALL {
        let mut bases = Vec::new();
        for (_, _, transport) in kind.clients() {
            let plan = FaultPlan::new(CUTS_PER_CLIENT, CutSide::Client, rng.u64(..));
            let fault = FaultProxy::start(route(*transport), plan).await.unwrap();
            bases.push(format!("http://{}", fault.addr()));
            faults.push(fault);
        }
        let follower = Follower::start(kind, &bases, TOPIC, logs.path()).unwrap();
        progress.push((kind, follower.progress()));
        followers.spawn(async move { (kind, follower.finish().await) });
    }

    let mut publisher = Publisher::new(&format!("{}/topics/{TOPIC}", server.url())).unwrap();
    publish_one_at_a_time(&mut publisher, &mut progress).await;
    let cut_by = async {
        for fault in faults.iter().chain(behind.iter().copied()) {
            fault.all_cuts_done().await.unwrap();
        }
    };
    tokio::pin!(cut_by);
    let mut rounds = 0;
    loop {
        publish_round(&mut publisher, &mut rng).await;
        rounds += 1;
        tokio::select! {
            () = &mut cut_by, if rounds >= ROUNDS_MIN => break,
            Some(ended) = followers.join_next() => panic!("one ended too early: {ended:#?}"),
            // Only so that it lasts as long as the clients need to reconnect, not megabytes.
            () = tokio::time::sleep(PAUSE_BETWEEN_ROUNDS) => {}
        }
    }
    publish_round(&mut publisher, &mut rng).await;
    publisher.end().await.unwrap();

    let mut failures = Vec::new();
    for (kind, delivered) in followers.join_all().await {
        match delivered {
            Err(error) => failures.push(format!("{kind:?}: {error:#}")),
            Ok(delivered) => {
                for (client, view, _) in kind.clients() {
                    let difference =
                        first_difference(publisher.acknowledged(), &delivered[client], *view);
                    failures.extend(difference.map(|text| format!("{client}: {text}")));
                }
            }
        }
    }
    let count = publisher.acknowledged().len();
    println!("{count} events, {} clients", faults.len());
    assert!(failures.is_empty(), "seed {seed}, {count} events\n{}", failures.join("\n"));
}

/// Publishes an event when every client has the one before it: a proxy that held events back would hold this up.
async fn publish_one_at_a_time(
    publisher: &mut Publisher,
    progress: &mut [(FollowerKind, watch::Receiver<usize>)],
) {
    for count in 1..=ONE_AT_A_TIME {
        let text = format!("{count}, alone");
        publisher.publish(Expected::new(None, Data::Text(text))).await.unwrap();
        for (kind, delivered) in &mut *progress {
            let got_it = delivered.wait_for(|delivered| *delivered >= count);
            let in_time = matches!(tokio::time::timeout(HANG_LIMIT, got_it).await, Ok(Ok(_)));
            assert!(in_time, "event {count} was held back from {kind:?}");
        }
    }
}

/// Publishes one event of every kind that is hard on somebody.
async fn publish_round(publisher: &mut Publisher, rng: &mut fastrand::Rng) {
    let text = |text: &str| Data::Text(text.to_owned());
    let json = |text: &str| Data::Json(text.to_owned());
    let number = publisher.acknowledged().len();
    let mut binary = vec![0; rng.usize(0..4096)];
    rng.fill(&mut binary);
    let long: String = (0..LONG_CHARS).map(|_| rng.char('\u{20}'..='\u{2ff}')).collect();
    let singles = [
        Expected::new(None, text(&format!("plain {number}"))),
        Expected::new(Some("price"), json(&format!(r#"{{"symbol":"ACME","price":{number}}}"#))),
        Expected::new(None, text("three\n  lines, the last one empty\n")),
        Expected::new(Some("ünïcode"), text("žluťoučký kůň 🐎 漢字 \u{2028} \u{feff}")),
        Expected::new(None, text("data: not a field\nid: nor this\n: nor a comment")),
        Expected::new(None, text("")),
        Expected::new(None, text(" a leading space and a trailing one ")),
        Expected::new(None, json("[\n  1,\n  \"two\"\n]")),
        Expected::new(Some("order.created"), Data::Binary(binary)),
    ];
    for event in singles {
        publisher.publish(event).await.unwrap();
    }
    if number.is_multiple_of(LONG_EVERY) {
        publisher.publish(Expected::new(None, Data::Text(long))).await.unwrap();
    }
    let batch = vec![
        Expected::new(Some("price"), json(&format!(r#"{{"batch":{number}}}"#))),
        Expected::new(None, text("in the middle of a batch")),
        Expected::new(None, text("")),
    ];
    publisher.publish_batch(batch).await.unwrap();
}

const TOPIC: &str = "rooms/caf%C3%A9";
/// Clients come back soon, so that many cuts take little time.
const SETTINGS: &[(&str, &str)] = &[("--retry", "200ms"), ("--retry-jitter", "100ms")];
const ONE_AT_A_TIME: usize = 5;
const CUTS_PER_CLIENT: usize = 6;
const CUTS_BEHIND_PROXY: usize = 8;
const ROUNDS_MIN: usize = 30;
const PAUSE_BETWEEN_ROUNDS: std::time::Duration = std::time::Duration::from_millis(30);
/// A round has 12 events or 13, so every thirteenth round or so has a long one.
const LONG_EVERY: usize = 13;
/// About 64 KiB.
const LONG_CHARS: usize = 40_000;

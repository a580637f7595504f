//! A second process takes over from the first while publishers and subscribers run without a pause; and either of them
//! is killed in the middle of it.

mod traffic;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use longwave_e2e::{Data, Expected, HANG_LIMIT, LongwaveServer, POLL_INTERVAL, Publisher};

use traffic::Traffic;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_refuses_no_connection_fails_no_publish_and_loses_no_event() {
    let mut server = LongwaveServer::start(SETTINGS).await.unwrap();
    let traffic = Traffic::start(&server.url());
    for _ in 0..TAKEOVERS {
        traffic.wait_for_progress().await.unwrap();
        let mut old = server.spawn_heir().unwrap();
        let status = tokio::time::timeout(HANG_LIMIT, old.wait()).await.unwrap().unwrap();
        assert!(status.success(), "the old process ended with {status}: {}", old.last_words());
    }
    traffic.wait_for_progress().await.unwrap();
    let published = traffic.finish().await.unwrap();
    println!("{published} events");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_goes_before_it_serves_leaves_the_other_as_it_was() {
    let server = LongwaveServer::start(SETTINGS).await.unwrap();
    let traffic = Traffic::start(&server.url());
    for words in [
        &["takeover 1"][..],
        &["takeover 1", "seal"],
        &["takeover 1", "seal", "seal", "release"],
        &["takeover 1", "release"],
        &["takeover 2"],
        &["what?"],
        &[""],
    ] {
        traffic.wait_for_progress().await.unwrap();
        let socket = server.data().join("takeover.sock");
        let talk = move || {
            let mut wire = BufReader::new(UnixStream::connect(socket).unwrap());
            for word in words {
                wire.get_mut().write_all(format!("{word}\n").as_bytes()).unwrap();
                // Each is answered, but for what is no word; then the other end closes.
                wire.read_line(&mut String::new()).unwrap();
            }
        };
        tokio::task::spawn_blocking(talk).await.unwrap();
    }
    traffic.wait_for_progress().await.unwrap();
    traffic.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_process_that_dies_while_it_is_asked_is_opened() {
    let mut server = LongwaveServer::start(SETTINGS).await.unwrap();
    let mut publisher = Publisher::new(&topic_url(&server)).unwrap();
    publisher.publish(event(0)).await.unwrap();
    let mut old = server.take().unwrap();
    old.kill().await.unwrap();
    server.replace(old);
    let socket = server.data().join("takeover.sock");
    std::fs::remove_file(&socket).unwrap();
    let dying = UnixListener::bind(&socket).unwrap();
    // The kernel closes what a killed process had one after the other.
    let not_closed_yet = TcpListener::bind(server.addr()).unwrap();
    let dies = tokio::task::spawn_blocking(move || {
        let (mut asked, _) = dying.accept().unwrap();
        // What is left unread makes the other end see a connection that broke, as when a process is killed.
        asked.read_exact(&mut [0]).unwrap();
    });
    drop(server.spawn_heir().unwrap());
    tokio::time::timeout(HANG_LIMIT, dies).await.unwrap().unwrap();
    let waits = async {
        while !server.last_words().contains("waiting for its log") {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        // As long as a bind takes to fail, and some more.
        tokio::time::sleep(10 * POLL_INTERVAL).await;
    };
    tokio::time::timeout(HANG_LIMIT, waits).await.unwrap();
    drop(not_closed_yet);
    server.wait_until_ready().await.unwrap();
    check(&server, publisher.acknowledged()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_whichever_process_is_killed_at_whatever_moment() {
    let mut rng = fastrand::Rng::new();
    println!("seed {}", rng.get_seed());
    let mut server = LongwaveServer::start(SETTINGS).await.unwrap();
    let mut publisher = Publisher::new(&topic_url(&server)).unwrap();
    for round in 0..KILLS {
        for i in 0..50 {
            publisher.publish(event(round * 100 + i)).await.unwrap();
        }
        let mut old = server.spawn_heir().unwrap();
        tokio::time::sleep(Duration::from_millis(rng.u64(0..KILL_WITHIN_MS))).await;
        if rng.bool() {
            old.kill().await.unwrap();
            server.wait_until_ready().await.unwrap();
        } else {
            let heir = server.replace(old);
            heir.unwrap().kill().await.unwrap();
            if server.wait_until_ready().await.is_err() {
                // It had handed over already, so this was as any kill of a server that is alone.
                server.kill().await.unwrap();
                server.spawn().unwrap();
                server.wait_until_ready().await.unwrap();
            }
        }
        // A client whose kept connections are of a process that was killed would meet that in its next request.
        let acknowledged = publisher.acknowledged().to_vec();
        check(&server, &acknowledged).await;
        publisher = publisher.reconnected().unwrap();
    }
}

/// Compares what is in the log with what was acknowledged.
async fn check(server: &LongwaveServer, acknowledged: &[Expected]) {
    let client = reqwest::Client::builder().no_proxy().timeout(HANG_LIMIT).build().unwrap();
    let mut after = "first".to_owned();
    let mut ids = Vec::new();
    loop {
        let url = format!("{}?format=json&limit=1000&after={after}", topic_url(server));
        let body = client.get(url).send().await.unwrap().text().await.unwrap();
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            break;
        }
        ids.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        after = page["cursor"].as_str().unwrap().to_owned();
    }
    let expected: Vec<String> =
        acknowledged.iter().map(|event| event.id.clone().unwrap()).collect();
    assert_eq!(ids, expected);
}

fn event(number: usize) -> Expected {
    Expected::new(None, Data::Text(format!("event {number} {}", "·".repeat(500))))
}

fn topic_url(server: &LongwaveServer) -> String {
    format!("{}/topics/kept", server.url())
}

/// Small segments, so that there is something to be read before and something to be read after; clients come back soon,
/// so that they meet the next takeover too.
const SETTINGS: &[(&str, &str)] = &[
    ("--segment-size", "64KiB"),
    ("--retry", "100ms"),
    ("--retry-jitter", "50ms"),
    ("--drain-spread", "500ms"),
    ("--drain-timeout", "3s"),
];
const TAKEOVERS: usize = 3;
const KILLS: usize = 12;
const KILL_WITHIN_MS: u64 = 120;

//! Many readers at once, and readers that don't read.

use std::sync::Arc;

use super::{SSE, TestServer, hang_limit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_joins_while_others_publish_sees_every_event_once_and_in_order() {
    let server = Arc::new(TestServer::start().await);
    let publisher = tokio::spawn({
        let server = Arc::clone(&server);
        async move {
            for i in 0..1000 {
                server.publish("a", &i.to_string()).await;
                tokio::task::yield_now().await;
            }
            server.end("a").await;
        }
    });
    let mut readers = Vec::new();
    for i in 0..20 {
        let server = Arc::clone(&server);
        readers.push(tokio::spawn(async move {
            let target =
                if i % 2 == 0 { "/topics/a?after=first" } else { "/events?topic=a&after=first" };
            let mut wire = server.get(target, &[SSE]).await;
            wire.head().await;
            let body = wire.rest().await;
            let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
            data.map(str::to_owned).collect::<Vec<String>>()
        }));
        tokio::task::yield_now().await;
    }
    hang_limit(publisher).await.unwrap();
    let mut expected: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    expected.push("{\"reason\":\"done\"}".to_owned());
    for reader in readers {
        assert_eq!(hang_limit(reader).await.unwrap(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_reading_costs_the_others_nothing_and_gets_everything_later() {
    const EVENTS: usize = 3000;
    let server = TestServer::start().await;
    server.publish("a", "start").await;
    let mut stalled = server.get("/topics/a", &[SSE]).await;
    stalled.head().await;
    let mut busy = server.get("/topics/a", &[SSE]).await;
    busy.head().await;
    // Far more than all buffers between the two sockets hold.
    let data = "x".repeat(8 * 1024);
    let mut ids = Vec::new();
    for _ in 0..EVENTS {
        ids.push(server.publish("a", &data).await);
        // The one that reads keeps pace.
        assert_eq!(busy.ids(1).await, ids[ids.len() - 1..]);
    }
    assert_eq!(stalled.ids(EVENTS).await, ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_reading_for_too_long_is_told_what_it_lost() {
    const EVENTS: usize = 3000;
    let server = TestServer::start().await;
    server.publish("a", "start").await;
    let mut stalled = server.get("/topics/a", &[SSE]).await;
    stalled.head().await;
    let data = "x".repeat(8 * 1024);
    let mut ids = Vec::new();
    for _ in 0..EVENTS {
        ids.push(server.publish("a", &data).await);
    }
    server.keep("a", 10).await;
    server.end("a").await;
    let rest = stalled.rest().await;
    let got: Vec<&str> = rest.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let gap = rest.find("event: longwave.gap\n").expect("a gap is told");
    let lost: serde_json::Value = {
        let line = rest[gap..].lines().nth(1).unwrap();
        serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap()
    };
    // What it got before the gap, what the gap says is lost, and what it got then, is everything.
    let at = |id: &str| ids.iter().position(|known| known == id).unwrap();
    let told = lost["resumed"].as_str().unwrap();
    let before = at(lost["after"].as_str().unwrap()) + 1;
    assert_eq!(got[..before], ids[..before]);
    assert_eq!(got[before], told);
    let through: u64 = told.split_once('-').unwrap().1.parse().unwrap();
    let behind: Vec<&String> = ids
        .iter()
        .filter(|id| id.split_once('-').unwrap().1.parse::<u64>().unwrap() > through)
        .collect();
    assert_eq!(behind.len(), got.len() - before - 2);
    assert_eq!(
        got[before + 1..got.len() - 1],
        behind.iter().map(|id| id.as_str()).collect::<Vec<_>>()
    );
}

//! Where a read starts, the same on every transport.

use super::{NDJSON, SSE, TestServer};

#[tokio::test]
async fn every_start_gives_the_same_events_on_every_transport() {
    let server = TestServer::start().await;
    let starts: [(&str, usize); 14] = [
        ("after=first", 0),
        ("after=BEFORE", 0),
        ("after=THIRD", 3),
        ("lastEventId=THIRD", 3),
        ("last_event_id=THIRD", 3),
        ("after=first&lastEventId=THIRD", 3),
        ("last=2", 2),
        ("last=99", 0),
        ("since=2023-11-14T22:13:20Z", 0),
        ("since=2023-11-14T22:13:19.999Z", 0),
        ("after=now", 4),
        ("last=0", 4),
        ("since=1s", 4),
        ("since=2023-11-14T22:13:20.001Z", 4),
    ];
    for (i, (start, first)) in starts.into_iter().enumerate() {
        for (name, format) in [("sse", SSE), ("ndjson", NDJSON)] {
            let topic = format!("{name}/{i}");
            let mut ids = Vec::new();
            for text in ["one", "two", "three", "four"] {
                ids.push(server.publish(&topic, text).await);
            }
            let start = start
                .replace("BEFORE", &server.id(longwave_core::Seq::ZERO))
                .replace("THIRD", &ids[2]);
            let target = format!("/topics/{topic}?{start}");
            assert_eq!(server.page_ids(&target).await, ids[first..], "page, {start}");
            let mut wire = server.get(&target, &[format]).await;
            wire.head().await;
            let seen_before: Vec<String> = ids.split_off(first);
            // The first of the events that were there, if the start means any, is the first that comes.
            match seen_before.first() {
                Some(id) => assert_eq!(wire.next_id().await, *id, "{name}, {start}"),
                // A live reader that starts since a time gets what comes at that time or later, and this server's
                // time stands still before it.
                None if start.starts_with("since") => continue,
                None => {
                    let live = server.publish(&topic, "live").await;
                    assert_eq!(wire.next_id().await, live, "{name}, {start}");
                }
            }
            for id in seen_before.iter().skip(1) {
                assert_eq!(wire.next_id().await, *id, "{name}, {start}");
            }
        }
    }
}

#[tokio::test]
async fn a_reconnecting_browser_goes_on_where_it_was_whatever_its_url_says() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    let two = server.publish("a", "two").await;
    for target in ["/topics/a?last=50", "/topics/a?after=first", "/topics/a?lastEventId=first"] {
        let mut wire = server.get(target, &[SSE, ("last-event-id", &one)]).await;
        wire.head().await;
        assert_eq!(wire.ids(1).await, std::slice::from_ref(&two), "{target}");
    }
}

#[tokio::test]
async fn a_live_stream_starts_now_and_a_page_at_the_first_event() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    assert_eq!(server.page_ids("/topics/a").await, std::slice::from_ref(&one));
    let mut wire = server.get("/topics/a", &[SSE]).await;
    let head = wire.head().await;
    assert!(head.contains(&format!("longwave-cursor: {one}\n")), "{head}");
    let two = server.publish("a", "two").await;
    assert_eq!(wire.ids(1).await, [two]);
}

impl TestServer {
    async fn page_ids(&self, target: &str) -> Vec<String> {
        let page = self.page(target).await;
        let events = page["events"].as_array().unwrap();
        events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    }
}

impl super::Wire {
    /// The id of the next event of a live stream in either format.
    async fn next_id(&mut self) -> String {
        loop {
            let line = self.until("\n").await;
            if let Some(id) = line.strip_prefix("id: ") {
                return id.trim_end().to_owned();
            }
            if line.starts_with("{\"id\"") {
                let envelope: serde_json::Value = serde_json::from_str(&line).unwrap();
                return envelope["id"].as_str().unwrap().to_owned();
            }
        }
    }
}

//! A real disk that fills up: publishes are refused, nothing acknowledged is lost, and all goes on when there is room.
//!
//! Needs root and loop devices, so it runs only when asked for: `cargo xtask test disk`.

use longwave_e2e::{CuttableDisk, HANG_LIMIT, LongwaveServer};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and loop devices; `cargo xtask test disk` runs it"]
async fn a_full_disk_refuses_publishes_and_takes_them_again_when_there_is_room() {
    let disk = CuttableDisk::create(DISK_BYTES).unwrap();
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![b'x'; FILLER_BYTES]).unwrap();
    let mut server = LongwaveServer::start_on(disk.path().join("data"), SETTINGS).await.unwrap();
    let hub = Hub::at(&server);

    let mut published = 0;
    let refused = loop {
        let (status, body) = hub.publish(published).await;
        if status != 201 {
            break (status, body);
        }
        published += 1;
        assert!(published < EVENTS_MAX, "the disk did not fill");
    };
    assert_eq!((refused.0, refused.1["code"].as_str()), (507, Some("disk-full")));
    assert!(published > 0);
    let (status, body) = hub.get("/ready").await;
    assert_eq!((status, body["reason"].as_str()), (503, Some("disk-full")));
    assert_eq!(hub.told().await, (0..published).collect::<Vec<_>>(), "reads go on");
    assert_eq!(hub.publish(published).await.0, 507, "it does not take what it can't keep");

    std::fs::remove_file(&filler).unwrap();
    // The refused event was not kept: under the same key it is published now, not a duplicate.
    assert_eq!(hub.publish(published).await.0, 201);
    assert_eq!(hub.get("/ready").await.0, 200);
    assert_eq!(hub.publish(published).await.0, 200, "and now it is one");

    server.kill().await.unwrap();
    server.spawn().unwrap();
    server.wait_until_ready().await.unwrap();
    assert_eq!(hub.told().await, (0..=published).collect::<Vec<_>>());
    server.kill().await.unwrap();
}

/// The server's interface, as far as the test uses it.
struct Hub {
    client: reqwest::Client,
    url: String,
}

impl Hub {
    fn at(server: &LongwaveServer) -> Hub {
        let client = reqwest::Client::builder().no_proxy().timeout(HANG_LIMIT).build().unwrap();
        Hub { client, url: server.url() }
    }

    /// Publishes the event of this number, large and under a key.
    async fn publish(&self, number: usize) -> (u16, Value) {
        let text = format!("{number} {}", "x".repeat(EVENT_BYTES));
        let request = self.client.post(format!("{}/topics/t", self.url)).body(text);
        answer(request.header("Idempotency-Key", format!("event-{number}"))).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.client.get(format!("{}{path}", self.url))).await
    }

    /// The numbers of all events, in order.
    async fn told(&self) -> Vec<usize> {
        let mut numbers = Vec::new();
        let mut after = "first".to_owned();
        loop {
            let (_, page) = self.get(&format!("/topics/t?after={after}")).await;
            let events = page["events"].as_array().unwrap();
            if events.is_empty() {
                return numbers;
            }
            for event in events {
                let (number, padding) = event["data"].as_str().unwrap().split_once(' ').unwrap();
                assert_eq!(padding.len(), EVENT_BYTES);
                numbers.push(number.parse().unwrap());
            }
            after = page["cursor"].as_str().unwrap().to_owned();
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

const DISK_BYTES: u64 = 48 << 20;
const FILLER_BYTES: usize = 16 << 20;
const EVENT_BYTES: usize = 100_000;
const EVENTS_MAX: usize = 1000;
/// Retention is not to make room.
const SETTINGS: &[(&str, &str)] = &[("--retention-max-bytes", "1GiB")];

//! A thousand subscribers that don't read, beside a thousand that do: the server holds nothing for the former, the
//! latter don't notice, and when those that stood still read again, they get everything.

use std::time::{Duration, Instant};

use longwave_e2e::{HANG_LIMIT, LongwaveServer};
use longwave_sse::{Decoded, Decoder};
use reqwest::{Client, Response};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_stalled_readers_cost_nothing_but_their_lag() {
    let server = LongwaveServer::start(&[]).await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let topic = format!("{}/topics/news", server.url());
    let mut live = subscribe(&client, &topic, READERS).await;
    let data = "x".repeat(EVENT_BYTES);
    // What a first event takes for the first time is no lag's cost.
    let mut alone = Vec::new();
    for _ in 0..EVENTS_ALONE {
        alone.push(publish(&client, &topic, &data, &mut live).await);
    }
    let stalled = subscribe(&client, &topic, READERS).await;
    let before = server.memory_bytes().unwrap();
    let mut beside = Vec::new();
    for _ in 0..EVENTS {
        beside.push(publish(&client, &topic, &data, &mut live).await);
    }
    let grown = server.memory_bytes().unwrap().saturating_sub(before);
    println!(
        "an event to {READERS} live readers took {:?} alone and {:?} beside as many that stall (medians); the server \
         grew by {} KiB",
        median(alone),
        median(beside),
        grown / 1024
    );
    // Had the server held what they did not read, it would be a hundred times as much; had it held a chunk for each, or
    // a buffer, still more than this. A tail is 1 MiB.
    assert!(grown < 8 << 20, "the server grew by {grown} bytes for {READERS} readers that stall");

    let mut readers = JoinSet::new();
    for mut reader in stalled {
        readers.spawn(async move {
            while reader.ids.len() < EVENTS {
                reader.next().await;
            }
            reader.ids
        });
    }
    let live_ids = &live[0].ids[EVENTS_ALONE..];
    while let Some(ids) = readers.join_next().await {
        assert_eq!(ids.unwrap(), live_ids);
    }
    for reader in &live {
        assert_eq!(reader.ids, live[0].ids);
    }
}

/// A subscriber that gets events when it asks for them. What it did not ask for is left in its connection.
struct Reader {
    response: Response,
    decoder: Decoder,
    ids: Vec<String>,
}

impl Reader {
    async fn next(&mut self) {
        let wanted = self.ids.len() + 1;
        while self.ids.len() < wanted {
            let more = tokio::time::timeout(HANG_LIMIT, self.response.chunk()).await;
            let chunk = more.expect("nothing comes").unwrap().expect("the stream ended");
            let mut input = chunk.as_ref();
            while let Some(decoded) = self.decoder.decode(&mut input).unwrap() {
                if let Decoded::Event(event) = decoded {
                    assert_eq!(event.data().len(), EVENT_BYTES);
                    self.ids.push(event.last_event_id().to_owned());
                }
            }
        }
    }
}

async fn subscribe(client: &Client, topic: &str, count: usize) -> Vec<Reader> {
    let mut readers = Vec::with_capacity(count);
    for _ in 0..count {
        let request = client.get(topic).header("accept", "text/event-stream");
        let response = request.send().await.unwrap().error_for_status().unwrap();
        readers.push(Reader { response, decoder: Decoder::new(), ids: Vec::new() });
    }
    readers
}

/// Publishes an event, and returns when all live readers have it, and how long that took.
async fn publish(client: &Client, topic: &str, data: &str, live: &mut [Reader]) -> Duration {
    let begun = Instant::now();
    let request = client.post(topic).body(data.to_owned());
    request.send().await.unwrap().error_for_status().unwrap();
    for reader in live {
        reader.next().await;
    }
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

const READERS: usize = 1000;
const EVENTS_ALONE: usize = 10;
/// More than what the kernel takes for a peer that does not read, and than a tail holds.
const EVENTS: usize = 200;
const EVENT_BYTES: usize = 8 << 10;

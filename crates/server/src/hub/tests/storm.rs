//! Many publishers and subscribers at once. Every subscriber gets every event of its topics once and in order, slow
//! ones too, whose tails forget what they have not read yet.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

use super::*;

const PUBLISHERS: u64 = 8;
const ROUNDS: u64 = 60;
const SUBSCRIBERS: u64 = 60;
const TOPICS: [&str; 3] = ["a", "b/x", "b/y"];
const SELECTORS: [&[&str]; 4] = [&["a"], &["b/*"], &["a", "b/x"], &["**"]];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everyone_gets_everything_once_and_in_order_on_several_threads() {
    storm().await;
}

#[tokio::test]
async fn everyone_gets_everything_once_and_in_order_on_one_thread() {
    storm().await;
}

async fn storm() {
    let limits = TailLimits { tail_events_max: 8, window_events_max: 64, ..TailLimits::default() };
    let station = Arc::new(Station::with_limits(limits));
    let joined = Arc::new(AtomicU64::new(0));
    let mut publishers = JoinSet::new();
    let mut subscribers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let station = Arc::clone(&station);
        publishers.spawn(async move {
            for round in 0..ROUNDS {
                station.publish(TOPICS[((publisher + round) % 3) as usize]).await;
                tokio::task::yield_now().await;
            }
        });
    }
    for i in 0..SUBSCRIBERS {
        // Join in the middle of it all, each a little later.
        tokio::task::yield_now().await;
        let (station, joined) = (Arc::clone(&station), Arc::clone(&joined));
        subscribers.spawn(async move { follow_to_the_end(&station, i, &joined).await });
    }
    while let Some(done) = publishers.join_next().await {
        done.unwrap();
    }
    // Who comes behind the ends would wait for them in vain.
    while joined.load(Ordering::SeqCst) < SUBSCRIBERS {
        tokio::task::yield_now().await;
    }
    for topic in TOPICS {
        station.end(topic).await;
    }
    while let Some(done) = subscribers.join_next().await {
        done.unwrap();
    }
    assert_eq!(station.hub.channels(), 0);
}

/// Follows from somewhere until the last topic's end, and compares with what the log has behind the start.
async fn follow_to_the_end(station: &Station, i: u64, joined: &AtomicU64) {
    let selectors = SELECTORS[(i % 4) as usize];
    let now = station.hub.now();
    let from = Seq(now.seq.0 * (i % 5) / 4).min(now.seq);
    let start = StartAt::After(EventId { seq: from, ..now });
    let mut subscription = station.follow(selectors, start).await;
    joined.fetch_add(1, Ordering::SeqCst);
    let budget = Budget { events_max: 1 + (i % 7) as usize, bytes_max: 1 << 20 };
    let topics = TOPICS.iter().filter(|topic| set(selectors).matches(&topic.parse().unwrap()));
    let mut running = topics.count();
    let mut got = Vec::new();
    while running > 0 {
        for _ in 0..i % 3 {
            tokio::task::yield_now().await;
        }
        let Delivery::Items(items) = subscription.next(budget).await.unwrap() else {
            panic!("over before all topics ended: {got:?}");
        };
        for item in items {
            let FeedItem::Event(event) = item else { panic!("{item:?}") };
            running -= usize::from(matches!(event.payload, Payload::End(_)));
            got.push(event.seq);
        }
    }
    let page = station
        .log
        .read(longwave_store::ReadQuery {
            selectors: set(selectors),
            start: longwave_store::Start::After(from),
            max_events: usize::MAX,
            max_bytes: usize::MAX,
        })
        .await
        .unwrap();
    let expected: Vec<Seq> = page.events.iter().map(|event| event.seq).collect();
    assert_eq!(got, expected, "subscriber {i} of {selectors:?} after {from}");
}

//! The load itself: subscribers that note what came and when, and publishes under way. Read [`Load`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use hdrhistogram::{CreationError, Histogram};
use longwave_client::{Client, Event, Item, LossCause, Message, SubscribeError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::EVENTS_MAX;

/// Everything that the tasks of one run share.
pub(super) struct Load {
    client: Client,
    topic: String,
    padding: String,
    started: Instant,
    open: AtomicUsize,
    delivered: AtomicUsize,
    duplicates: AtomicUsize,
    reconnects: AtomicUsize,
    failed: AtomicUsize,
    /// Which events the server has said yes to.
    acknowledged: Mutex<BitSet>,
    /// What each subscriber has seen.
    seen: Mutex<Vec<Arc<Mutex<BitSet>>>>,
    /// Several, so that publishers and subscribers do not wait for each other.
    publish_latency_us: [Mutex<Histogram<u64>>; HISTOGRAMS],
    delivery_latency_us: [Mutex<Histogram<u64>>; HISTOGRAMS],
    failure: Mutex<Option<SubscriberError>>,
    under_way: Arc<Semaphore>,
}

/// Why a subscriber does not stand.
#[derive(Debug)]
pub(super) enum SubscriberError {
    Subscribe(SubscribeError),
    Unreachable(String),
}

impl Load {
    /// # Errors
    /// Never in practice: the bounds of the histograms are fixed.
    pub(super) fn new(client: Client, topic: String, size: u32) -> Result<Load, CreationError> {
        let padding = usize::try_from(size).unwrap_or_default().saturating_sub(HEADER_BYTES);
        let empty = histogram()?;
        Ok(Load {
            client,
            topic,
            padding: ".".repeat(padding),
            started: Instant::now(),
            open: AtomicUsize::new(0),
            delivered: AtomicUsize::new(0),
            duplicates: AtomicUsize::new(0),
            reconnects: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            acknowledged: Mutex::default(),
            seen: Mutex::new(Vec::new()),
            publish_latency_us: std::array::from_fn(|_| Mutex::new(empty.clone())),
            delivery_latency_us: std::array::from_fn(|_| Mutex::new(empty.clone())),
            failure: Mutex::new(None),
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        })
    }

    pub(super) fn open_subscribers(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn delivered(&self) -> usize {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(super) fn duplicates(&self) -> usize {
        self.duplicates.load(Ordering::Relaxed)
    }

    pub(super) fn reconnects(&self) -> usize {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Publishes that the server did not say yes to.
    pub(super) fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn acknowledged(&self) -> usize {
        lock(&self.acknowledged).len()
    }

    /// How many events the server said yes to and some subscriber has not seen, over all subscribers.
    pub(super) fn lost(&self) -> usize {
        let acknowledged = lock(&self.acknowledged);
        let seen = lock(&self.seen);
        seen.iter().map(|seen| acknowledged.missing_in(&lock(seen))).sum()
    }

    pub(super) fn publish_latency(&self) -> Option<Histogram<u64>> {
        sum(&self.publish_latency_us)
    }

    pub(super) fn delivery_latency(&self) -> Option<Histogram<u64>> {
        sum(&self.delivery_latency_us)
    }

    /// The first thing that went wrong with a subscriber.
    pub(super) fn failure(&self) -> Option<SubscriberError> {
        lock(&self.failure).take()
    }

    /// Starts one more subscriber.
    ///
    /// # Errors
    /// [`SubscribeError`] where the topic can't be one.
    pub(super) fn subscribe(self: &Arc<Self>) -> Result<(), SubscribeError> {
        let mut stream = self.client.subscribe([&self.topic]).stream()?;
        let seen = Arc::<Mutex<BitSet>>::default();
        let number = {
            let mut all = lock(&self.seen);
            all.push(seen.clone());
            all.len()
        };
        let load = self.clone();
        tokio::spawn(async move {
            let mut was_open = false;
            while let Some(next) = stream.next().await {
                match next {
                    Ok(Item::Event(event)) => load.take(&event, &seen, number),
                    Ok(Item::Open) if !was_open => {
                        was_open = true;
                        load.open.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(Item::Reconnecting(lost)) => match lost.cause {
                        LossCause::Unreachable(why) if !was_open => {
                            load.fail(SubscriberError::Unreachable(why));
                        }
                        _ => drop(load.reconnects.fetch_add(1, Ordering::Relaxed)),
                    },
                    Ok(_) => {}
                    Err(error) => load.fail(error.into()),
                }
            }
        });
        Ok(())
    }

    /// Publishes the event of this number as soon as fewer than [`UNDER_WAY_MAX`] are under way.
    pub(super) async fn publish(self: &Arc<Self>, number: usize, due: Instant) {
        let Ok(permit) = self.under_way.clone().acquire_owned().await else { return };
        let data = self.data(number, due);
        let load = self.clone();
        tokio::spawn(async move {
            let publish = load.client.publish(&load.topic, Message::text(data)).unkeyed();
            match publish.send().await {
                Ok(_) => load.acknowledge(number, number, due),
                Err(_) => load.count_failed(),
            }
            drop(permit);
        });
    }

    /// The data of the event of this number.
    pub(super) fn data(&self, number: usize, due: Instant) -> String {
        let due_us = (due - self.started).as_micros();
        format!("{number} {due_us} {}", self.padding)
    }

    /// Notes that the server said yes to an event. `publisher` spreads those who note at the same time.
    pub(super) fn acknowledge(&self, number: usize, publisher: usize, due: Instant) {
        lock(&self.acknowledged).insert(number);
        if let Some(histogram) = self.publish_latency_us.get(publisher % HISTOGRAMS) {
            record(histogram, due.elapsed());
        }
    }

    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until no publish is under way.
    pub(super) async fn all_answered(&self) {
        let all = u32::try_from(UNDER_WAY_MAX).unwrap_or(u32::MAX);
        drop(self.under_way.acquire_many(all).await);
    }

    fn take(&self, event: &Event, seen: &Mutex<BitSet>, subscriber: usize) {
        let mut words = event.data.as_text().unwrap_or_default().split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (Some(number), Some(due_us)) = (number(), number()) else { return };
        let Ok(number) = usize::try_from(number) else { return };
        if lock(seen).insert(number) {
            self.delivered.fetch_add(1, Ordering::Relaxed);
        } else {
            self.duplicates.fetch_add(1, Ordering::Relaxed);
        }
        let latency = self.started.elapsed().saturating_sub(Duration::from_micros(due_us));
        if let Some(histogram) = self.delivery_latency_us.get(subscriber % HISTOGRAMS) {
            record(histogram, latency);
        }
    }

    fn fail(&self, error: SubscriberError) {
        lock(&self.failure).get_or_insert(error);
    }
}

/// Which of at most [`EVENTS_MAX`] events. It grows as they come.
#[derive(Debug, Default)]
struct BitSet {
    words: Vec<u64>,
}

impl BitSet {
    /// Whether it is new. Numbers beyond the set's bound never are.
    fn insert(&mut self, bit: usize) -> bool {
        if bit >= EVENTS_MAX {
            return false;
        }
        if self.words.len() <= bit / 64 {
            self.words.resize(bit / 64 + 1, 0);
        }
        let Some(word) = self.words.get_mut(bit / 64) else { return false };
        let mask = 1 << (bit % 64);
        let is_new = *word & mask == 0;
        *word |= mask;
        is_new
    }

    fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn missing_in(&self, other: &BitSet) -> usize {
        let pairs = self.words.iter().zip(other.words.iter().chain(std::iter::repeat(&0)));
        pairs.map(|(ours, theirs)| (ours & !theirs).count_ones() as usize).sum()
    }
}

fn sum(parts: &[Mutex<Histogram<u64>>]) -> Option<Histogram<u64>> {
    parts.iter().map(|part| lock(part).clone()).reduce(|all, part| all + part)
}

fn record(histogram: &Mutex<Histogram<u64>>, latency: Duration) {
    let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    lock(histogram).saturating_record(us.max(1));
}

/// From a microsecond to ten minutes, in steps of a tenth of a per cent.
fn histogram() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;
const HISTOGRAMS: usize = 16;
/// Publishes that wait for an answer at one time. More would measure this machine's queues.
const UNDER_WAY_MAX: usize = 256;
/// What stands before the padding, about.
const HEADER_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_new_once_and_missing_until_then() {
        let mut acknowledged = BitSet::default();
        let mut seen = BitSet::default();
        for bit in [0, 63, 64, 129] {
            assert!(acknowledged.insert(bit));
            assert!(!acknowledged.insert(bit));
        }
        assert_eq!(acknowledged.len(), 4);
        assert!(seen.insert(64));
        assert_eq!(acknowledged.missing_in(&seen), 3);
        assert_eq!(seen.missing_in(&acknowledged), 0);
        assert!(!seen.insert(EVENTS_MAX), "out of bounds");
    }
}

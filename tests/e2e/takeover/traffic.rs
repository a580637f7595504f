//! Publishers and subscribers that take no failure: [`Traffic`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use longwave_e2e::{HANG_LIMIT, POLL_INTERVAL};
use longwave_sse::{Decoded, Decoder};
use reqwest::Client;
use tokio::task::JoinSet;

/// Clients that run until they are told to finish, or until something goes wrong.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    publishers: JoinSet<anyhow::Result<Vec<Event>>>,
    subscribers: JoinSet<anyhow::Result<Vec<Event>>>,
}

struct Shared {
    url: String,
    is_finishing: AtomicBool,
    published: AtomicU64,
    /// How many events each subscriber is to have in the end.
    total: AtomicU64,
    delivered: [AtomicU64; SUBSCRIBERS],
}

/// An event's position, and what it says.
type Event = (u64, String);

impl Traffic {
    pub(super) fn start(url: &str) -> Traffic {
        let shared = Arc::new(Shared {
            url: url.to_owned(),
            is_finishing: AtomicBool::new(false),
            published: AtomicU64::new(0),
            total: AtomicU64::new(u64::MAX),
            delivered: Default::default(),
        });
        let (mut publishers, mut subscribers) = (JoinSet::new(), JoinSet::new());
        for i in 0..PUBLISHERS {
            // Half of them keep their connection, and half need another one for each event.
            let kept_max = if i % 2 == 0 { usize::MAX } else { 0 };
            publishers.spawn(publish(Arc::clone(&shared), i, kept_max));
        }
        for i in 0..SUBSCRIBERS {
            subscribers.spawn(subscribe(Arc::clone(&shared), i));
        }
        Traffic { shared, publishers, subscribers }
    }

    /// Waits until there was more of everything.
    pub(super) async fn wait_for_progress(&self) -> anyhow::Result<()> {
        let counts = || {
            let delivered = self.shared.delivered.iter().map(|count| count.load(Ordering::Relaxed));
            delivered.chain([self.shared.published.load(Ordering::Relaxed)]).collect::<Vec<_>>()
        };
        let before = counts();
        let wait = async {
            while counts().iter().zip(&before).any(|(now, before)| *now < before + PROGRESS) {
                tokio::time::sleep(POLL_INTERVAL).await;
                let ended =
                    PUBLISHERS + SUBSCRIBERS != self.publishers.len() + self.subscribers.len();
                anyhow::ensure!(!ended, "somebody has ended");
            }
            Ok(())
        };
        match tokio::time::timeout(HANG_LIMIT, wait).await {
            Ok(result) => result,
            Err(_) => anyhow::bail!("it came from {before:?} to {:?} only", counts()),
        }
    }

    /// Has all of them finish, and compares what they know. Tells how many events there were.
    pub(super) async fn finish(mut self) -> anyhow::Result<usize> {
        self.shared.is_finishing.store(true, Ordering::Relaxed);
        let mut published = Vec::new();
        while let Some(events) = self.publishers.join_next().await {
            published.extend(events?.context("a publisher")?);
        }
        published.sort_unstable();
        self.shared.total.store(published.len() as u64, Ordering::Relaxed);
        while let Some(events) = self.subscribers.join_next().await {
            let events = events?.context("a subscriber")?;
            let difference = events.iter().zip(&published).position(|(a, b)| a != b);
            anyhow::ensure!(
                difference.is_none() && events.len() == published.len(),
                "{} of {} events, the first difference at {difference:?}",
                events.len(),
                published.len()
            );
        }
        Ok(published.len())
    }
}

async fn publish(shared: Arc<Shared>, i: usize, kept_max: usize) -> anyhow::Result<Vec<Event>> {
    let client = Client::builder()
        .no_proxy()
        .timeout(HANG_LIMIT)
        .pool_max_idle_per_host(kept_max)
        .build()?;
    let mut events = Vec::new();
    while !shared.is_finishing.load(Ordering::Relaxed) {
        let data = format!("{i}: {}", events.len());
        let url = format!("{}/topics/live/{i}", shared.url);
        let response = client.post(url).body(data.clone()).send().await;
        let response = response.with_context(|| format!("after {} events", events.len()))?;
        let status = response.status();
        let body = response.text().await?;
        anyhow::ensure!(status == 201, "{status}: {body}");
        let answer: serde_json::Value = serde_json::from_str(&body)?;
        let id = answer.get("id").and_then(serde_json::Value::as_str).context("no id")?;
        events.push((position(id)?, data));
        shared.published.fetch_add(1, Ordering::Relaxed);
        // Leaves the machine to the others, too: what matters is that somebody always publishes.
        tokio::time::sleep(PAUSE).await;
    }
    Ok(events)
}

/// Follows all topics as an `EventSource` does, which gives up when it is refused or answered anything but a stream.
async fn subscribe(shared: Arc<Shared>, i: usize) -> anyhow::Result<Vec<Event>> {
    let client = Client::builder().no_proxy().build()?;
    let mut events: Vec<Event> = Vec::new();
    let mut last_id = None;
    let mut retry = Duration::ZERO;
    let is_done = |events: &[Event]| events.len() as u64 >= shared.total.load(Ordering::Relaxed);
    while !is_done(&events) {
        tokio::time::sleep(retry).await;
        let url = format!("{}/events?topic=live/**&after=first", shared.url);
        let mut request = client.get(url).header("Accept", "text/event-stream");
        if let Some(id) = &last_id {
            request = request.header("Last-Event-ID", id);
        }
        let mut response = request.send().await.context("refused")?;
        anyhow::ensure!(response.status() == 200, "{}", response.status());
        let mut decoder = Decoder::new();
        while !is_done(&events) {
            // Looks up now and then, since the last event may have been seen before it was known to be the last.
            let Ok(chunk) = tokio::time::timeout(LOOK_UP_INTERVAL, response.chunk()).await else {
                continue;
            };
            // A connection that is lost is lost; the next request tells whether that was all.
            let Ok(Some(chunk)) = chunk else { break };
            let mut input = &chunk[..];
            while let Some(decoded) = decoder.decode(&mut input)? {
                match decoded {
                    Decoded::Event(event) => {
                        anyhow::ensure!(event.event_type() == "message", "{}", event.event_type());
                        last_id = Some(event.last_event_id().to_owned());
                        events.push((position(event.last_event_id())?, event.data().to_owned()));
                        shared.delivered[i].fetch_add(1, Ordering::Relaxed);
                    }
                    Decoded::Retry(time) => retry = time,
                    _ => {}
                }
            }
        }
    }
    Ok(events)
}

fn position(id: &str) -> anyhow::Result<u64> {
    let (_, seq) = id.split_once('-').with_context(|| format!("{id} is no id"))?;
    Ok(seq.parse()?)
}

const PUBLISHERS: usize = 4;
const SUBSCRIBERS: usize = 4;
/// How many events somebody publishes, or is given, before the next thing happens.
const PROGRESS: u64 = 50;
const PAUSE: Duration = Duration::from_millis(1);
const LOOK_UP_INTERVAL: Duration = Duration::from_millis(200);

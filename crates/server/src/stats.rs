//! The server's own figures, once a second, in the topic `$sys/stats`.
//!
//! They are published only while somebody follows the topic. Meanwhile a figure every ten seconds is kept in memory, and
//! published to the first who comes: a plot of the last hour is full when it is opened, and a log that nobody looks at
//! gets nothing of ours. Read [`start`], then [`Recorder`], which has no clock. `/metrics` is for machines and has more.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use longwave_core::{
    Append, Config, DataFormat, Durability, Expected, Message, NewMessage, TopicName, UnixMillis,
};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::http::{App, Phase, rfc3339};
use crate::hub::SubscriberKind;
use crate::transports::now;

/// Publishes figures until the server leaves its log.
///
/// # Panics
/// Outside of a Tokio runtime.
pub(crate) fn start(app: &App) {
    let app = app.clone();
    tokio::spawn(async move {
        let mut phase = app.phase();
        tokio::select! {
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
            () = record(&app) => {}
        }
    });
}

async fn record(app: &App) {
    let Ok(topic) = TopicName::reserved(TOPIC) else { return };
    let mut recorder = Recorder::new(Reading::take(app), Instant::now());
    let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut audience = Audience::Nobody;
    loop {
        ticks.tick().await;
        let before = audience;
        audience = match app.hub().subscribers(&topic) {
            0 => Audience::Nobody,
            _ => Audience::Somebody,
        };
        if !recorder.is_due(Instant::now(), audience) {
            continue;
        }
        recorder.take(Reading::take(app), Instant::now());
        if audience == Audience::Nobody {
            continue;
        }
        if before == Audience::Nobody {
            configure(app, &topic).await;
        }
        publish(app, &topic, recorder.drain()).await;
    }
}

/// Whether there is anybody to publish for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Nobody,
    Somebody,
}

/// What the server's counters and gauges say at one moment.
#[derive(Clone, Debug, Default)]
struct Reading {
    time: UnixMillis,
    published: u64,
    delivered: u64,
    subscribers: Subscribers,
    channels: u64,
    topics: u64,
    events: u64,
    log_bytes: u64,
    bodies_bytes: u64,
    memory_bytes: Option<u64>,
    streams_running: u64,
}

impl Reading {
    fn take(app: &App) -> Reading {
        let log = app.log().status();
        let by = |kind| app.hub().subscribers_by(kind);
        Reading {
            time: now(),
            published: app.metrics().events_published(),
            delivered: app.metrics().events_delivered(),
            subscribers: Subscribers {
                sse: by(SubscriberKind::Sse),
                ndjson: by(SubscriberKind::Ndjson),
                websocket: by(SubscriberKind::WebSocket),
                long_poll: by(SubscriberKind::LongPoll),
            },
            channels: app.hub().channels() as u64,
            topics: log.topics,
            events: log.events,
            log_bytes: log.bytes,
            bodies_bytes: app.bodies().held_bytes() as u64,
            memory_bytes: resident_bytes(),
            streams_running: app.metrics().gateway().running(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
struct Subscribers {
    sse: usize,
    ndjson: usize,
    websocket: usize,
    long_poll: usize,
}

/// An event of the topic, as PROTOCOL.md has it.
#[derive(Debug, Serialize)]
struct Figures {
    time: String,
    interval_ms: u64,
    published_per_second: f64,
    delivered_per_second: f64,
    subscribers: Subscribers,
    channels: u64,
    topics: u64,
    events: u64,
    log_bytes: u64,
    bodies_bytes: u64,
    memory_bytes: Option<u64>,
    streams_running: u64,
}

/// Decides when figures are taken, and keeps those that nobody was there for.
#[derive(Debug)]
struct Recorder {
    last: Reading,
    taken: Instant,
    /// The newest figures that were not published. Never more than [`KEPT_MAX`].
    kept: VecDeque<Figures>,
}

impl Recorder {
    fn new(first: Reading, now: Instant) -> Recorder {
        Recorder { last: first, taken: now, kept: VecDeque::new() }
    }

    /// Whether figures are to be taken now.
    fn is_due(&self, now: Instant, audience: Audience) -> bool {
        match audience {
            Audience::Somebody => now > self.taken,
            Audience::Nobody => now.duration_since(self.taken) >= KEPT_INTERVAL,
        }
    }

    /// Turns what was counted since the last reading into figures.
    fn take(&mut self, reading: Reading, now: Instant) {
        let interval = now.duration_since(self.taken);
        let per_second = |now: u64, before: u64| {
            let counted = u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
            let rate = f64::from(counted) / interval.as_secs_f64().max(f64::EPSILON);
            (rate * 10.0).round() / 10.0
        };
        let figures = Figures {
            time: rfc3339(reading.time),
            interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            published_per_second: per_second(reading.published, self.last.published),
            delivered_per_second: per_second(reading.delivered, self.last.delivered),
            subscribers: reading.subscribers.clone(),
            channels: reading.channels,
            topics: reading.topics,
            events: reading.events,
            log_bytes: reading.log_bytes,
            bodies_bytes: reading.bodies_bytes,
            memory_bytes: reading.memory_bytes,
            streams_running: reading.streams_running,
        };
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(figures);
        (self.last, self.taken) = (reading, now);
    }

    /// What was not published yet, oldest first.
    fn drain(&mut self) -> impl Iterator<Item = Figures> {
        self.kept.drain(..)
    }
}

/// Sets how little of the topic is kept. Each time that somebody comes, since settings go with a wiped log.
async fn configure(app: &App, topic: &TopicName) {
    let config = Config {
        max_age_ms: Some(RETAINED_MS),
        durability: Durability::Memory,
        ..Config::default()
    };
    if let Err(error) = app.log().configure(topic.clone(), config).await {
        tracing::debug!(%error, "it could not be set how long the server's figures are kept");
    }
}

/// What can't be published is lost: a log that takes nothing has worse to tell, and tells it at `/ready`.
async fn publish(app: &App, topic: &TopicName, figures: impl Iterator<Item = Figures>) {
    let message = |data| Message {
        event_type: None,
        format: DataFormat::Json,
        data: Bytes::from(data),
        source: None,
    };
    let messages = figures
        .filter_map(|figures| serde_json::to_vec(&figures).ok())
        .map(|data| NewMessage { message: message(data), key: None })
        .collect();
    let append =
        Append { topic: topic.clone(), messages, end: None, key: None, expected: Expected::Any };
    if let Err(error) = app.log().append(append).await {
        tracing::debug!(%error, "the server's figures could not be published");
    }
}

/// How much of the machine's memory the process has; `None` where the system does not tell in this way.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

const TOPIC: &str = "$sys/stats";
const INTERVAL: Duration = Duration::from_secs(1);
/// How often figures are kept while nobody follows.
const KEPT_INTERVAL: Duration = Duration::from_secs(10);
/// An hour of them.
const KEPT_MAX: usize = 360;
const RETAINED_MS: u64 = 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(published: u64) -> Reading {
        Reading { published, ..Reading::default() }
    }

    #[test]
    fn rates_are_of_the_time_since_the_figures_before() {
        let begin = Instant::now();
        let mut recorder = Recorder::new(reading(10), begin);
        recorder.take(reading(40), begin + Duration::from_secs(10));
        recorder.take(reading(41), begin + Duration::from_millis(10_500));
        // A counter that was begun anew counts as no progress.
        recorder.take(reading(3), begin + Duration::from_millis(11_500));
        let figures: Vec<_> = recorder
            .drain()
            .map(|figures| (figures.interval_ms, figures.published_per_second))
            .collect();
        assert_eq!(figures, [(10_000, 3.0), (500, 2.0), (1000, 0.0)]);
    }

    #[test]
    fn figures_are_taken_each_second_for_somebody_and_every_ten_for_nobody() {
        let begin = Instant::now();
        let recorder = Recorder::new(reading(0), begin);
        let after =
            |seconds, audience| recorder.is_due(begin + Duration::from_secs(seconds), audience);
        assert!(!after(0, Audience::Somebody));
        assert!(after(1, Audience::Somebody));
        assert!(!after(9, Audience::Nobody));
        assert!(after(10, Audience::Nobody));
    }

    #[test]
    fn what_nobody_was_there_for_is_kept_for_an_hour() {
        let begin = Instant::now();
        let mut recorder = Recorder::new(reading(0), begin);
        for count in 1..=400_u32 {
            recorder.take(reading(u64::from(count) * 10), begin + KEPT_INTERVAL * count);
        }
        let kept: Vec<_> = recorder.drain().collect();
        assert_eq!(kept.len(), KEPT_MAX);
        assert!(kept.iter().all(|figures| figures.published_per_second == 1.0));
        assert_eq!(recorder.drain().count(), 0);
    }
}

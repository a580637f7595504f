//! The hub on a real log in memory: [`follow`] for subscriptions, [`storm`] for many at once, [`poll`] for pages.

mod follow;
mod poll;
mod storm;

use std::sync::Arc;

use longwave_core::{
    Append, Budget, DataFormat, EndReason, EventId, EventType, Expected, FeedItem, Message,
    NewMessage, Payload, Selector, SelectorSet, Seq, StartAt, TailLimits, TypeFilter,
};
use longwave_store::{Log, MemoryLog, MemoryOptions};

use super::{Delivery, Hub, Subscribe, SubscriberKind, Subscription};

struct Station {
    hub: Hub,
    log: Arc<MemoryLog>,
}

impl Station {
    fn open() -> Station {
        Station::with_limits(TailLimits::default())
    }

    fn with_limits(limits: TailLimits) -> Station {
        let options = MemoryOptions { retention_interval: None, ..MemoryOptions::default() };
        let (log, commits) = MemoryLog::open(options).unwrap();
        Station { hub: Hub::start(Arc::clone(&log) as Arc<dyn Log>, commits, limits), log }
    }

    /// Publishes to a topic, or to `topic:type`, and says where it went.
    async fn publish(&self, topic: &str) -> EventId {
        let (topic, event_type) = match topic.split_once(':') {
            Some((topic, name)) => (topic, Some(EventType::new(name).unwrap())),
            None => (topic, None),
        };
        let message = Message {
            event_type,
            format: DataFormat::Text,
            data: topic.to_owned().into(),
            source: None,
        };
        self.append(topic, vec![NewMessage { message, key: None }], None).await
    }

    async fn end(&self, topic: &str) -> EventId {
        self.append(topic, Vec::new(), Some(EndReason::Done)).await
    }

    async fn append(
        &self,
        topic: &str,
        messages: Vec<NewMessage>,
        end: Option<EndReason>,
    ) -> EventId {
        let topic = topic.parse().unwrap();
        let append = Append { topic, messages, end, key: None, expected: Expected::Any };
        let seq = self.log.append(append).await.unwrap().last;
        EventId { epoch: self.log.epoch(), seq }
    }

    fn id(&self, seq: u64) -> EventId {
        EventId { epoch: self.log.epoch(), seq: Seq(seq) }
    }

    async fn follow(&self, selectors: &[&str], start: StartAt) -> Subscription {
        self.hub.subscribe(subscribe(selectors, start)).await.unwrap()
    }
}

fn subscribe(selectors: &[&str], start: StartAt) -> Subscribe {
    Subscribe {
        selectors: set(selectors),
        types: TypeFilter::all(),
        start,
        kind: SubscriberKind::Sse,
    }
}

fn set(selectors: &[&str]) -> Arc<SelectorSet> {
    let parsed = selectors.iter().map(|text| text.parse::<Selector>().unwrap());
    Arc::new(SelectorSet::new(parsed).unwrap())
}

fn types(names: &[&str]) -> TypeFilter {
    TypeFilter::only(names.iter().map(|name| EventType::new(name).unwrap()))
}

/// What is delivered next, in short: `5` an event, `5!done` an end, `gap(1..5 retention)`, `draining`, `ended`.
async fn next(subscription: &mut Subscription) -> String {
    match subscription.next(MUCH).await.unwrap() {
        Delivery::Items(items) => items.iter().map(show).collect::<Vec<_>>().join(" "),
        Delivery::Draining => "draining".to_owned(),
        Delivery::Ended => "ended".to_owned(),
    }
}

/// The next so many items, in however many deliveries they come: what is not dispatched yet comes later.
async fn items(subscription: &mut Subscription, count: usize) -> String {
    let mut got = Vec::new();
    while got.len() < count {
        match subscription.next(MUCH).await.unwrap() {
            Delivery::Items(items) => got.extend(items.iter().map(show)),
            over => panic!("{over:?} after {got:?}"),
        }
    }
    got.join(" ")
}

fn show(item: &FeedItem) -> String {
    match item {
        FeedItem::Event(event) => match event.payload {
            Payload::Message(_) => event.seq.to_string(),
            Payload::End(reason) => format!("{}!{reason}", event.seq),
        },
        FeedItem::Gap(gap) => {
            format!("gap({}..{} {})", gap.after.seq, gap.resumed.seq, gap.reason.as_str())
        }
    }
}

const MUCH: Budget = Budget { events_max: 1000, bytes_max: 1 << 20 };

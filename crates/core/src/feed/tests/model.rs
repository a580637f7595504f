//! A log as a list of events, and channels that lag behind it: what feeds are tested against.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::test_events::{end, event, typed};
use crate::*;

pub(super) fn epoch() -> Epoch {
    "7kq2f".parse().unwrap()
}

pub(super) fn other_epoch() -> Epoch {
    "00000".parse().unwrap()
}

pub(super) fn id(seq: u64) -> EventId {
    EventId { epoch: epoch(), seq: Seq(seq) }
}

pub(super) fn set(selectors: &[&str]) -> Arc<SelectorSet> {
    let parsed = selectors.iter().map(|text| text.parse::<Selector>().unwrap());
    Arc::new(SelectorSet::new(parsed).unwrap())
}

pub(super) const ALL: Budget = Budget { events_max: usize::MAX, bytes_max: usize::MAX };

/// A log that committed more than it dispatched.
pub(super) struct World {
    pub(super) channels: Channels,
    pub(super) log: Vec<Arc<Event>>,
    pub(super) committed: Seq,
    /// Up to where each topic's events were removed.
    pub(super) removed: HashMap<TopicName, Seq>,
    /// All events that ever were, also those removed.
    pub(super) history: Vec<Arc<Event>>,
    undispatched: VecDeque<(Vec<Arc<Event>>, Seq)>,
}

impl World {
    pub(super) fn new(limits: TailLimits) -> World {
        World {
            channels: Channels::new(Seq::ZERO, limits),
            log: Vec::new(),
            committed: Seq::ZERO,
            removed: HashMap::new(),
            history: Vec::new(),
            undispatched: VecDeque::new(),
        }
    }

    /// Commits one event for each text: a topic, `topic:type`, or `topic!` for its end.
    pub(super) fn commit(&mut self, texts: &[&str]) {
        let mut events = Vec::new();
        for text in texts {
            self.committed = self.committed.next();
            let seq = self.committed.0;
            events.push(match (text.strip_suffix('!'), text.split_once(':')) {
                (Some(topic), _) => end(seq, topic, EndReason::Done),
                (None, Some((topic, name))) => typed(seq, topic, name),
                (None, None) => event(seq, text),
            });
        }
        self.log.extend(events.iter().cloned());
        self.history.extend(events.iter().cloned());
        self.undispatched.push_back((events, self.committed));
    }

    /// Removes a topic, as a log does: its events go, and only the commit feed tells its end.
    pub(super) fn delete(&mut self, topic: &str) {
        self.committed = self.committed.next();
        self.log.retain(|event| event.topic.as_str() != topic);
        self.removed.insert(topic.parse().unwrap(), self.committed);
        let events = vec![end(self.committed.0, topic, EndReason::Deleted)];
        self.undispatched.push_back((events, self.committed));
    }

    pub(super) fn dispatch_one(&mut self) -> Vec<ChannelId> {
        match self.undispatched.pop_front() {
            Some((events, through)) => self.channels.handle_commit(&events, through),
            None => Vec::new(),
        }
    }

    pub(super) fn dispatch(&mut self) {
        while !self.undispatched.is_empty() {
            self.dispatch_one();
        }
    }

    /// Removes all events up to a position, of all topics or of one.
    pub(super) fn retain_from(&mut self, topic: Option<&str>, removed: Seq) {
        let (gone, kept) = self.log.drain(..).partition(|event| {
            event.seq <= removed && topic.is_none_or(|topic| topic == event.topic.as_str())
        });
        self.log = kept;
        let gone: Vec<Arc<Event>> = gone;
        for event in gone {
            self.removed.insert(event.topic.clone(), event.seq);
        }
    }

    /// Up to where something was removed that a reader at `after` would want.
    pub(super) fn removed_behind(&self, selectors: &SelectorSet, after: Seq) -> Seq {
        let matching = self.removed.iter().filter(|(topic, _)| selectors.matches(topic));
        matching
            .map(|(_, removed)| *removed)
            .filter(|removed| *removed > after)
            .max()
            .unwrap_or_default()
    }

    pub(super) fn is_removed(&self, event: &Event) -> bool {
        self.removed.get(&event.topic).is_some_and(|removed| event.seq <= *removed)
    }

    pub(super) fn read(
        &self,
        selectors: &SelectorSet,
        from: ReadFrom,
        events_max: usize,
    ) -> LogPage {
        let matching = |event: &&Arc<Event>| selectors.matches(&event.topic);
        let (skip, after) = match from {
            ReadFrom::After(after) => {
                (self.log.iter().filter(matching).filter(|e| e.seq <= after).count(), Some(after))
            }
            ReadFrom::Last(count) => {
                let all = self.log.iter().filter(matching).count();
                (all.saturating_sub(usize::try_from(count).unwrap()), None)
            }
            // Time and position are one here.
            ReadFrom::Since(time) => (
                self.log.iter().filter(matching).filter(|e| e.time < time).count(),
                Some(Seq(time.0.saturating_sub(1)).min(self.committed)),
            ),
        };
        let removed = after.map(|after| (self.removed_behind(selectors, after), after));
        let gap = removed
            .filter(|(removed, after)| removed > after)
            .map(|(removed, _)| (removed, GapReason::Retention));
        let mut rest = self.log.iter().filter(matching).skip(skip).cloned();
        let events: Vec<_> = rest.by_ref().take(events_max).collect();
        let whole = rest.next().is_none();
        let next = match events.last() {
            Some(last) if !whole => last.seq,
            _ => self.committed,
        };
        let log_read = if whole { LogRead::Whole } else { LogRead::Partly };
        LogPage { gap, events, next, log_read }
    }

    pub(super) fn ends(&self, selectors: &SelectorSet) -> Vec<(TopicName, TopicEnd)> {
        self.history
            .iter()
            .filter(|event| selectors.matches(&event.topic))
            .filter_map(|event| match event.payload {
                Payload::End(reason) => {
                    let end = TopicEnd { seq: event.seq, time: event.time, reason };
                    Some((event.topic.clone(), end))
                }
                Payload::Message(_) => None,
            })
            .collect()
    }

    pub(super) fn feed(&self, selectors: &[&str], types: TypeFilter, start: StartAt) -> Feed {
        let selectors = set(selectors);
        let ends = self.ends(&selectors);
        Feed::new(FeedQuery {
            selectors,
            types,
            start,
            epoch: epoch(),
            committed: self.committed,
            ends,
        })
    }

    pub(super) fn join(&mut self, selectors: &[&str], start: StartAt) -> Reader {
        self.join_with(selectors, TypeFilter::all(), start)
    }

    pub(super) fn join_with(
        &mut self,
        selectors: &[&str],
        types: TypeFilter,
        start: StartAt,
    ) -> Reader {
        let channel = self.channels.open(&set(selectors));
        let mut feed = self.feed(selectors, types, start);
        feed.join(self.channels.through());
        Reader { feed, channel }
    }
}

/// A feed and the channel it follows.
pub(super) struct Reader {
    pub(super) feed: Feed,
    pub(super) channel: ChannelId,
}

impl Reader {
    pub(super) fn poll(&mut self, world: &World, budget: Budget) -> Step {
        self.feed.poll(world.channels.tail(self.channel), budget)
    }

    /// Polls until there is nothing more, and writes down what came: `5` an event, `5!` an end, `gap 2..5 reason`, and
    /// at last `wait` or `ended`.
    pub(super) fn drain(&mut self, world: &World) -> String {
        let mut out = Vec::new();
        loop {
            match self.poll(world, ALL) {
                Step::Deliver(items) => out.extend(items.iter().map(show)),
                Step::ReadLog(from) => {
                    let page = world.read(self.feed.selectors(), from, 2);
                    self.feed.handle_page(page);
                }
                Step::Wait => out.push("wait".into()),
                Step::Ended => out.push("ended".into()),
            }
            if out.last().is_some_and(|last| last == "wait" || last == "ended") {
                return out.join(" ");
            }
        }
    }
}

pub(super) fn show(item: &FeedItem) -> String {
    match item {
        FeedItem::Event(event) => match event.payload {
            Payload::Message(_) => event.seq.to_string(),
            Payload::End(reason) => format!("{}!{reason}", event.seq),
        },
        FeedItem::Gap(gap) => {
            format!("gap({}..{} {})", gap.after, gap.resumed, gap.reason.as_str())
        }
    }
}

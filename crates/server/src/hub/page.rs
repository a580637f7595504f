//! Events for those who poll: [`Hub::page`].

use std::sync::Arc;
use std::time::Duration;

use longwave_core::{
    Budget, Event, EventId, Feed, FeedGap, FeedItem, SelectorSet, StartAt, Step, TopicEnd,
    TypeFilter,
};
use longwave_delivery::Seat;
use longwave_store::ReadError;

use super::subscription::{Delivery, NextError, Subscription};
use super::{Hub, SubscriberKind, read_into};

/// Which events to get at once.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "transports write it out in full")]
pub struct PageQuery {
    /// Of which topics.
    pub selectors: Arc<SelectorSet>,
    /// Which messages of them.
    pub types: TypeFilter,
    /// From where on.
    pub start: StartAt,
    /// At most this many events; more than [`Page::EVENTS_MAX`] are never given.
    pub limit: usize,
    /// How long to wait if there is nothing; `None`: not at all.
    pub wait: Option<Duration>,
}

/// Events in order, and how to go on behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "transports read all of it")]
pub struct Page {
    /// What is lost in front of the first event.
    pub gap: Option<FeedGap>,
    /// The events.
    pub events: Vec<Arc<Event>>,
    /// Where to go on. Stays the same for the same query for as long as nothing comes, except where the query asks for
    /// the last events or those since a time and there are none.
    pub cursor: EventId,
    /// All topics have ended, and this page is the last with anything in it; of several topics the last one's end.
    pub end: Option<TopicEnd>,
}

impl Page {
    /// The most events in a page.
    pub const EVENTS_MAX: usize = 1000;
    /// No further event once a page has this many bytes, counted by [`Budget::cost`].
    pub const BYTES_MAX: usize = 1 << 20;
    /// How many events are read for a page at most, where a filter hides most of them. The page is cut there, and its
    /// cursor says how far it got.
    pub const EVENTS_READ_MAX: usize = 16_384;
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The log could not be read.
    #[error("the events could not be read")]
    Read(#[from] ReadError),
}

impl Hub {
    /// Gives a page at once where there is something, an end included, and otherwise waits as long as the query says.
    ///
    /// What was acknowledged to a publisher before the call is in it. A page that waits returns early, and empty, when
    /// the hub is drained.
    ///
    /// # Errors
    /// [`PageError`].
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn page(&self, query: PageQuery) -> Result<Page, PageError> {
        let PageQuery { selectors, types, start, limit, wait } = query;
        let limit = limit.clamp(1, Page::EVENTS_MAX);
        let mut feed = self.feed(selectors, types, start).await?;
        let mut draft = Draft::new(limit);
        let filled = self.fill(&mut feed, &mut draft).await?;
        let (Some(wait), Filled::Empty) = (wait, filled) else {
            return Ok(draft.finish(&feed, filled));
        };
        // From what was read until here the channel takes over, as for any subscriber that is a little behind.
        let Ok(seat) = Seat::take(&self.board, feed.selectors(), SubscriberKind::LongPoll) else {
            return Ok(draft.finish(&feed, filled));
        };
        let mut subscription = Subscription::new(Arc::clone(&self.log), feed, seat);
        let delivery = tokio::time::timeout(wait, subscription.next(draft.budget())).await;
        let filled = match delivery {
            Ok(Ok(Delivery::Items(items))) => {
                draft.add(items);
                Filled::Some
            }
            Ok(Err(NextError::Read(error))) => return Err(error.into()),
            Ok(Ok(Delivery::Draining | Delivery::Ended) | Err(NextError::Closed)) | Err(_) => {
                Filled::Empty
            }
        };
        Ok(draft.finish(subscription.feed(), filled))
    }

    /// Fills a page from the log alone: a page must show what was acknowledged even where the dispatcher is not there
    /// yet.
    async fn fill(&self, feed: &mut Feed, draft: &mut Draft) -> Result<Filled, ReadError> {
        let mut events_read = 0;
        while draft.has_room() {
            match feed.poll(None, draft.budget()) {
                Step::Deliver(items) => draft.add(items),
                Step::ReadLog(_) if events_read >= Page::EVENTS_READ_MAX => {
                    return Ok(Filled::Cut);
                }
                Step::ReadLog(from) => {
                    let events_max = draft.budget().events_max;
                    events_read += read_into(feed, &*self.log, from, events_max).await?;
                }
                Step::Ended => return Ok(Filled::Some),
                Step::Wait if draft.is_empty() => return Ok(Filled::Empty),
                Step::Wait => return Ok(Filled::Some),
            }
        }
        Ok(Filled::Some)
    }
}

/// How filling a page went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// There is something to tell.
    Some,
    /// There is nothing yet.
    Empty,
    /// Enough was read, whether or not something was found.
    Cut,
}

struct Draft {
    limit: usize,
    gap: Option<FeedGap>,
    events: Vec<Arc<Event>>,
    bytes: usize,
    room: Room,
}

#[derive(PartialEq, Eq)]
enum Room {
    Left,
    /// What came last, an event that is too large or a second gap, belongs in the next page.
    None,
}

impl Draft {
    fn new(limit: usize) -> Draft {
        Draft { limit, gap: None, events: Vec::new(), bytes: 0, room: Room::Left }
    }

    fn is_empty(&self) -> bool {
        self.gap.is_none() && self.events.is_empty()
    }

    fn has_room(&self) -> bool {
        self.room == Room::Left && self.events.len() < self.limit && self.bytes < Page::BYTES_MAX
    }

    fn budget(&self) -> Budget {
        Budget {
            events_max: self.limit.saturating_sub(self.events.len()),
            bytes_max: Page::BYTES_MAX.saturating_sub(self.bytes),
        }
    }

    fn add(&mut self, items: Vec<FeedItem>) {
        for item in items {
            match item {
                FeedItem::Event(event) => {
                    let bytes = self.bytes + Budget::cost(&event);
                    if bytes > Page::BYTES_MAX && !self.events.is_empty() {
                        self.room = Room::None;
                        return;
                    }
                    self.bytes = bytes;
                    self.events.push(event);
                }
                FeedItem::Gap(gap) if self.is_empty() => self.gap = Some(gap),
                FeedItem::Gap(_) => {
                    self.room = Room::None;
                    return;
                }
            }
        }
    }

    fn finish(self, feed: &Feed, filled: Filled) -> Page {
        let whole = self.room == Room::Left;
        let cursor = match (self.events.last(), self.gap) {
            (Some(event), _) => EventId { seq: event.seq, ..feed.cursor() },
            (None, _) if filled == Filled::Cut => feed.cursor(),
            (None, Some(gap)) => gap.resumed,
            (None, None) => feed.start(),
        };
        let end = feed.end().filter(|_| whole);
        Page { gap: self.gap, events: self.events, cursor, end }
    }
}

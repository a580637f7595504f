//! One subscriber: [`Subscription`].
//!
//! It has no queue: what waits for it lies in the channel's tail or in the log until it asks.

use std::sync::Arc;

use longwave_core::{Budget, EventId, Feed, FeedItem, Step, TopicEnd};
use longwave_delivery::{Refused, Seat};
use longwave_store::{Log, ReadError};

use super::read_into;

/// A place in the streams of some topics. Dropping it frees all that it holds.
pub struct Subscription {
    log: Arc<dyn Log>,
    feed: Feed,
    seat: Seat,
    farewell: Farewell,
}

/// What a subscriber is given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every transport must handle every case")]
pub enum Delivery {
    /// What comes next, at least one item. A gap is always the first.
    Items(Vec<FeedItem>),
    /// The server is going down: say so to the client and close. Given once; what waits can be had elsewhere, by the
    /// cursor.
    Draining,
    /// All exact topics have ended and their ends were delivered. Nothing follows, however often it is asked for.
    Ended,
}

/// Why a subscriber is given nothing more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NextError {
    /// The log could not be read. Trying again is possible.
    #[error("the events could not be read")]
    Read(#[from] ReadError),
    /// The hub was closed, or told the subscriber to go before.
    #[error("the hub is closed")]
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    Due,
    Said,
}

impl Subscription {
    pub(super) fn new(log: Arc<dyn Log>, mut feed: Feed, seat: Seat) -> Subscription {
        feed.join(seat.joined());
        Subscription { log, feed, seat, farewell: Farewell::Due }
    }

    /// The end that finished the subscription, once nothing comes any more; of several topics the last one's.
    ///
    /// Right after [`Hub::subscribe`](super::Hub::subscribe): the topics had all ended at or before the start, so that
    /// there is nothing to deliver (over HTTP: `204 No Content`).
    #[must_use]
    pub fn end(&self) -> Option<TopicEnd> {
        self.feed.end()
    }

    /// What is left of it for somebody who drives the feed himself, from the seat's channel.
    pub(crate) fn into_parts(self) -> (Seat, Feed) {
        (self.seat, self.feed)
    }

    pub(super) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Where it is: everything up to here was delivered, or hidden by the filter, or belongs to a gap that was told.
    #[must_use]
    pub fn cursor(&self) -> EventId {
        self.feed.cursor()
    }

    /// Waits until there is something, and takes as much of it as the budget allows.
    ///
    /// # Errors
    /// [`NextError`].
    ///
    /// # Cancel safety
    /// A dropped call has taken nothing: the next one gives what it would have given.
    pub async fn next(&mut self, budget: Budget) -> Result<Delivery, NextError> {
        let mut last_read = None;
        loop {
            // Made before the look at the channel, so that what comes behind the look wakes it.
            let woken = self.seat.woken();
            match self.seat.poll(&mut self.feed, budget) {
                Ok(Step::Deliver(items)) => return Ok(Delivery::Items(items)),
                Ok(Step::Ended) => return Ok(Delivery::Ended),
                Ok(Step::Wait) => woken.await,
                Ok(Step::ReadLog(from)) => {
                    if last_read.replace(from) == Some(from) {
                        // The dispatcher is ahead of what the log lets be read. That lasts for a moment only.
                        tokio::task::yield_now().await;
                    }
                    read_into(&mut self.feed, &*self.log, from, budget.events_max).await?;
                }
                Err(Refused::Draining) if self.farewell == Farewell::Due => {
                    self.farewell = Farewell::Said;
                    return Ok(Delivery::Draining);
                }
                Err(Refused::Draining | Refused::Closed) => return Err(NextError::Closed),
            }
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("feed", &self.feed).finish_non_exhaustive()
    }
}

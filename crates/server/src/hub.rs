//! The hub: how what is in the log gets to those who follow it, whatever the transport.
//!
//! The rules are `longwave-core`'s ([`Channels`], [`Feed`]); here are the tasks, locks and waits around them. Publishing
//! is not the hub's business: publishers append to the [`Log`], and the hub learns of events from the log's
//! [`CommitFeed`] only. It knows neither HTTP nor sockets. Start with [`Hub::subscribe`], then [`Subscription::next`];
//! [`Hub::page`] serves those who poll.
//!
//! [`Channels`]: longwave_core::Channels
//! [`Feed`]: longwave_core::Feed
//! [`CommitFeed`]: longwave_store::CommitFeed

mod page;
mod subscription;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures_util::future::try_join_all;
use longwave_core::{
    EventId, Feed, FeedQuery, LogPage, LogRead, ReadFrom, SelectorSet, StartAt, TailLimits,
    TopicName, TypeFilter,
};
pub use longwave_delivery::SubscriberKind;
use longwave_delivery::{Board, Refused, Seat};
use longwave_store::{CommitFeed, Log, ReadError, ReadPage, ReadQuery, Start};

pub use self::page::{Page, PageError, PageQuery};
pub use self::subscription::{Delivery, NextError, Subscription};

/// All who follow a log. Clones are the same hub.
#[derive(Clone)]
pub struct Hub {
    log: Arc<dyn Log>,
    board: Arc<Board>,
}

/// A wish to follow topics.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "transports write it out in full")]
pub struct Subscribe {
    /// Which topics.
    pub selectors: Arc<SelectorSet>,
    /// Which messages of them.
    pub types: TypeFilter,
    /// From where on.
    pub start: StartAt,
    /// By which transport.
    pub kind: SubscriberKind,
}

/// Why a subscription could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// What the log knows of the topics could not be read.
    #[error("the topics could not be looked up")]
    Read(#[from] ReadError),
    /// The server is going down; another one, or the same later, will do.
    #[error("the server is shutting down and takes no more subscribers")]
    Draining,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl Hub {
    /// A hub for a log that was just opened, and the task that takes in the log's commits until the log is closed.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn start(log: Arc<dyn Log>, commits: CommitFeed, limits: TailLimits) -> Hub {
        let board = Arc::new(Board::new(log.committed(), limits));
        // The task holds no log: a log that nobody else holds must be able to go, and to end its feed by that.
        tokio::spawn(dispatch(Arc::clone(&board), commits));
        Hub { log, board }
    }

    /// The board that all its subscribers sit at.
    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// Follows topics. What is committed from now on is delivered; what was committed before, as far as `start` says.
    ///
    /// A topic that does not exist can be followed: its first event will be delivered.
    ///
    /// # Errors
    /// [`SubscribeError`].
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription, SubscribeError> {
        let Subscribe { selectors, types, start, kind } = subscribe;
        // First the seat, then the question what is committed and ended: so nothing falls between the two.
        let seat = Seat::take(&self.board, &selectors, kind)?;
        let feed = self.feed(selectors, types, start).await?;
        Ok(Subscription::new(Arc::clone(&self.log), feed, seat))
    }

    /// How many subscribers get the events of a topic, those with wildcards included.
    #[must_use]
    pub fn subscribers(&self, topic: &TopicName) -> usize {
        self.board.subscribers(topic)
    }

    /// How many subscribers there are of exactly these selectors.
    #[must_use]
    pub fn followers(&self, selectors: &Arc<SelectorSet>) -> usize {
        self.board.followers(selectors)
    }

    /// How many subscribers there are by this transport.
    #[must_use]
    pub fn subscribers_by(&self, kind: SubscriberKind) -> usize {
        self.board.subscribers_by(kind)
    }

    /// How many channels there are: different selector sets that somebody follows.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.board.channels()
    }

    /// The cursor of a reader that starts now.
    #[must_use]
    pub fn now(&self) -> EventId {
        EventId { epoch: self.log.epoch(), seq: self.log.committed() }
    }

    /// Refuses new subscribers, and tells each of those there are once, by [`Delivery::Draining`], to go. Idempotent.
    pub fn drain(&self) {
        self.board.drain();
    }

    /// A feed at its start, with what the log knows of its topics.
    async fn feed(
        &self,
        selectors: Arc<SelectorSet>,
        types: TypeFilter,
        start: StartAt,
    ) -> Result<Feed, ReadError> {
        let epoch = self.log.epoch();
        let committed = self.log.committed();
        let topics: Option<Vec<&TopicName>> =
            selectors.iter().map(|selector| selector.as_topic()).collect();
        // With a wildcard in it a feed never ends, so nobody needs to know which topics have.
        let infos = try_join_all(
            topics.unwrap_or_default().into_iter().map(|topic| self.log.topic(topic.clone())),
        )
        .await?;
        let ends = infos
            .into_iter()
            .flatten()
            .filter_map(|info| info.end.map(|end| (info.topic, end)))
            .collect();
        Ok(Feed::new(FeedQuery { selectors, types, start, epoch, committed, ends }))
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("channels", &self.channels()).finish_non_exhaustive()
    }
}

impl From<Refused> for SubscribeError {
    fn from(refused: Refused) -> SubscribeError {
        match refused {
            Refused::Draining => SubscribeError::Draining,
            Refused::Closed => SubscribeError::Closed,
        }
    }
}

/// Takes in all commits, and closes the board when there are no more or this task dies.
async fn dispatch(board: Arc<Board>, mut commits: CommitFeed) {
    struct CloseOnDrop(Arc<Board>);
    impl Drop for CloseOnDrop {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    let board = CloseOnDrop(board);
    while let Some(commit) = commits.next().await {
        board.0.handle_commit(&commit.events, commit.through);
    }
    tracing::debug!("the log was closed");
}

/// Reads what a feed asked for, and gives it to the feed. Returns how many events were read.
///
/// # Cancel safety
/// A dropped call has changed nothing.
async fn read_into(
    feed: &mut Feed,
    log: &dyn Log,
    from: ReadFrom,
    events_max: usize,
) -> Result<usize, ReadError> {
    // A filter may hide most of what is read, so only without one it is known how much is wanted.
    let wanted = if feed.types().is_all() { events_max } else { READ_EVENTS_MAX };
    let page = log
        .read(ReadQuery {
            selectors: Arc::clone(feed.selectors()),
            start: start(from),
            max_events: wanted.clamp(1, READ_EVENTS_MAX),
            max_bytes: READ_BYTES_MAX,
        })
        .await?;
    let events = page.events.len();
    feed.handle_page(log_page(page));
    Ok(events)
}

/// What a feed asks for, as logs are asked for it.
pub(crate) fn start(from: ReadFrom) -> Start {
    match from {
        ReadFrom::After(seq) => Start::After(seq),
        ReadFrom::Last(count) => Start::Last(count),
        ReadFrom::Since(time) => Start::Since(time),
    }
}

/// What a log answered, as feeds take it in.
pub(crate) fn log_page(page: ReadPage) -> LogPage {
    let gap = page.gap.map(|gap| {
        let reason = match gap.reason {
            longwave_store::GapReason::Retention => longwave_core::GapReason::Retention,
            longwave_store::GapReason::Corruption => longwave_core::GapReason::Corruption,
        };
        (gap.through, reason)
    });
    let log_read = if page.caught_up { LogRead::Whole } else { LogRead::Partly };
    LogPage { gap, events: page.events, next: page.next, log_read }
}

/// How many events are read from the log at once: what a reader that is behind holds in memory at most.
const READ_EVENTS_MAX: usize = 256;

/// How many bytes are read from the log at once, but for one event that is larger by itself.
const READ_BYTES_MAX: usize = 256 << 10;

//! One subscriber: [`Subscriber`], and what it is while it is behind, [`Behind`].

use std::sync::Arc;

use longwave_core::{Event, Feed, Seq};
use tokio::sync::OwnedSemaphorePermit;

use crate::board::Place;

use super::LastWords;
use super::lines::LineKey;

/// A socket, a place and a position.
pub(super) struct Subscriber<S> {
    pub(super) socket: S,
    pub(super) line: LineKey,
    /// Where it stands among its line's live subscribers, if it is one.
    pub(super) seat: u32,
    pub(super) condition: Condition,
    /// While it is live: it has all events of its line up to here.
    pub(super) cursor: Seq,
    /// While it is behind, and for one whose feed remembers more than its cursor, always.
    pub(super) behind: Option<Box<Behind>>,
    /// Tells it from others that had or will have the same key.
    pub(super) arrival: u64,
    /// How much the peer said behind its request.
    pub(super) input_bytes: usize,
    /// Until it leaves.
    pub(super) place: Option<Place>,
    /// Counts the connection for as long as it is open.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What a subscriber is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It has all that was dispatched, and stands among its line's live subscribers.
    Live,
    /// It is behind, and its socket is full.
    Blocked,
    /// It is behind and waits for its turn.
    Ready,
    /// It is behind and waits for a page of the log.
    Reading,
    /// Its last words were sent.
    Leaving,
}

/// How a subscriber that is behind goes on.
pub(super) struct Behind {
    pub(super) feed: Feed,
    /// What is to be sent before the next item: words of the server's own, a few hundred bytes at most.
    pub(super) words: Vec<u8>,
    /// The event of which a part was sent, and the feed is already behind.
    pub(super) rest: Option<Rest>,
    pub(super) last_words: LastWords,
}

/// The rest of an event that is owed.
///
/// The event is held, so that it can be had even if the log and the tail lose it: one event is all that a subscriber
/// whose socket is full holds, and others that are stuck in it hold the same. Its bytes are made again.
pub(super) struct Rest {
    pub(super) event: Arc<Event>,
    /// How many bytes of it were sent; not all.
    pub(super) sent: usize,
}

impl Behind {
    /// One that has just come.
    pub(super) fn arriving(feed: Feed, opening: Vec<u8>) -> Behind {
        Behind { feed, words: opening, rest: None, last_words: LastWords::Farewell }
    }

    /// One that was live.
    pub(super) fn at(feed: Feed) -> Behind {
        Behind::arriving(feed, Vec::new())
    }
}

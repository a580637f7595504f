//! A recorded stream read from the log, page by page: [`Replay`], and what can be told of it by that.

use std::sync::Arc;

use longwave_core::{Event, EventType, Message, Payload, SelectorSet, Seq};
use longwave_store::{Log, ReadError, ReadQuery, Start};

use super::Dialect;
use super::dialect::{Piece, Transcript};
use super::stream::{StreamId, is_own};

/// A stream's events from some position to the newest that is committed.
pub(super) struct Replay<'a> {
    log: &'a dyn Log,
    selectors: Arc<SelectorSet>,
    after: Seq,
    is_over: bool,
    has_gap: bool,
}

impl<'a> Replay<'a> {
    /// The events behind `after`.
    pub(super) fn new(log: &'a dyn Log, id: &StreamId, after: Seq) -> Replay<'a> {
        Replay { log, selectors: id.selectors(), after, is_over: false, has_gap: false }
    }

    /// The next events, the gateway's own and the end included; `None` where there are no more.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Arc<Event>>>, ReadError> {
        if self.is_over {
            return Ok(None);
        }
        let query = ReadQuery {
            selectors: Arc::clone(&self.selectors),
            start: Start::After(self.after),
            max_events: PAGE_EVENTS_MAX,
            max_bytes: PAGE_BYTES_MAX,
        };
        let page = self.log.read(query).await?;
        self.after = page.next;
        self.has_gap |= page.gap.is_some();
        self.is_over = page.caught_up;
        Ok(Some(page.events))
    }

    /// Every event up to here was given.
    pub(super) fn position(&self) -> Seq {
        self.after
    }

    /// Whether some of them were not in the log any more.
    pub(super) fn has_gap(&self) -> bool {
        self.has_gap
    }
}

/// Upstream's own message that an event is.
pub(super) fn own(event: &Event) -> Option<&Message> {
    match &event.payload {
        Payload::Message(message) if is_own(message) => Some(message),
        _ => None,
    }
}

/// A message as dialects see it.
pub(super) fn piece(message: &Message) -> Piece<'_> {
    Piece { event_type: message.event_type.as_ref().map(EventType::as_str), data: &message.data }
}

/// What a whole stream's events say, and how many of them are upstream's own.
///
/// # Errors
/// [`ReadError`].
pub(super) async fn transcript(
    log: &dyn Log,
    id: &StreamId,
    dialect: Dialect,
) -> Result<(Transcript, u64), ReadError> {
    let mut transcript = Transcript::new(dialect);
    let mut count = 0;
    let mut replay = Replay::new(log, id, Seq::ZERO);
    while let Some(events) = replay.next().await? {
        for message in events.iter().filter_map(|event| own(event)) {
            transcript.take(piece(message));
            count += 1;
        }
    }
    Ok((transcript, count))
}

/// The text of an answer as far as it goes, as its reader sees it; nothing where the dialect is not known to have one.
///
/// # Errors
/// [`ReadError`].
pub(super) async fn text(
    log: &dyn Log,
    id: &StreamId,
    dialect: Dialect,
) -> Result<String, ReadError> {
    let mut text = String::new();
    let mut replay = Replay::new(log, id, Seq::ZERO);
    while let Some(events) = replay.next().await? {
        for message in events.iter().filter_map(|event| own(event)) {
            dialect.push_text(piece(message), &mut text);
        }
    }
    Ok(text)
}

/// Where a reader goes on that has everything up to number `number`: Responses' own `sequence_number`, and of other
/// dialects the events counted from 0. The position of the last event that it has; zero where it has none.
///
/// # Errors
/// [`ReadError`].
pub(super) async fn position_of(
    log: &dyn Log,
    id: &StreamId,
    dialect: Dialect,
    number: u64,
) -> Result<Seq, ReadError> {
    let mut found = Seq::ZERO;
    let mut index = 0;
    let mut transcript = Transcript::new(dialect);
    let mut replay = Replay::new(log, id, Seq::ZERO);
    while let Some(events) = replay.next().await? {
        for event in &events {
            let Some(message) = own(event) else { continue };
            let counted = if dialect == Dialect::OpenaiResponses {
                transcript.take(piece(message));
                transcript.sequence_number().unwrap_or(index)
            } else {
                index
            };
            if counted > number {
                return Ok(found);
            }
            found = event.seq;
            index += 1;
        }
    }
    Ok(found)
}

const PAGE_EVENTS_MAX: usize = 512;
const PAGE_BYTES_MAX: usize = 1 << 20;

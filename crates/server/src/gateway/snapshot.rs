//! A stream for somebody who joins late: what is recorded so far in a few events, and then what comes: [`then_live`].
//!
//! Runs of deltas become one event each; which events those are is `dialect/compact.rs`'s business. Every event is named
//! by the last one that it stands for, so a reader that loses its connection goes on behind that like any other.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use longwave_core::{Event, FeedItem, Message, Payload, Seq};
use longwave_store::ReadError;
use tokio::task::JoinError;

use super::dialect::{Dialect, Piece, compact};
use super::replay::{self, Replay};
use super::stream::StreamId;
use crate::http::{App, Transport};
use crate::hub::SubscriberKind;
use crate::transports::{NativeFraming, NativeKind};

/// The part of a stream that is compacted.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) id: StreamId,
    pub(super) dialect: Dialect,
    /// It begins behind this position.
    pub(super) after: Seq,
    /// It ends with this position, which is committed.
    pub(super) through: Seq,
}

/// The past, compacted, and behind it the body that goes on from there. The past is read only as fast as the body is.
pub(super) fn then_live(app: &App, past: Past, live: Body) -> Body {
    let app = app.clone();
    let chunks = stream::unfold(Some(past), move |past| next_chunk(app.clone(), past));
    Body::from_stream(chunks.chain(live.into_data_stream()))
}

/// Why the past could not be told. Nobody reads it: that there is an error makes hyper break the body off, and the
/// reader comes back.
#[derive(Debug, thiserror::Error)]
enum PastError {
    #[error("the stream could not be read")]
    Read(#[from] ReadError),
    #[error("events of the stream are lost")]
    Gap,
    #[error("the stream could not be compacted")]
    Compact(#[from] JoinError),
}

/// The next window as bytes, and what is left behind it; nothing where that was all.
async fn next_chunk(
    app: App,
    past: Option<Past>,
) -> Option<(Result<Bytes, axum::Error>, Option<Past>)> {
    let mut past = past?;
    match past.next_window(&app).await {
        Ok(Some(bytes)) => Some((Ok(bytes), Some(past))),
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(stream = %past.id, error = &error as &dyn std::error::Error, "a snapshot was broken off");
            // Hyper throws away on an error what it has not sent yet, which it does when a body has nothing for it.
            tokio::task::yield_now().await;
            Some((Err(axum::Error::new(error)), None))
        }
    }
}

impl Past {
    async fn next_window(&mut self, app: &App) -> Result<Option<Bytes>, PastError> {
        while self.after < self.through {
            let events = self.read_window(app).await?;
            let dialect = self.dialect;
            let written = tokio::task::spawn_blocking(move || write_compacted(dialect, &events));
            let Written { bytes, events } = written.await?;
            if bytes.is_empty() {
                // The gateway's own events, for which there are no bytes.
                continue;
            }
            let kind = match self.dialect.is_lines() {
                true => SubscriberKind::Ndjson,
                false => SubscriberKind::Sse,
            };
            app.metrics().delivered(Transport::Live(kind), events);
            return Ok(Some(bytes.into()));
        }
        Ok(None)
    }

    /// The next events that are compacted together.
    async fn read_window(&mut self, app: &App) -> Result<Vec<Arc<Event>>, PastError> {
        let mut replay = Replay::new(&**app.log(), &self.id, self.after);
        let (mut window, mut bytes) = (Vec::new(), 0);
        while window.len() < WINDOW_EVENTS_MAX
            && bytes < WINDOW_BYTES_MAX
            && replay.position() < self.through
        {
            let Some(events) = replay.next().await? else { break };
            let of_past = events.into_iter().filter(|event| event.seq <= self.through);
            window.extend(of_past.inspect(|event| bytes += size(event)));
        }
        if replay.has_gap() {
            // What is behind it would look like all of it.
            return Err(PastError::Gap);
        }
        self.after = replay.position();
        Ok(window)
    }
}

/// Events as they are sent.
struct Written {
    bytes: Vec<u8>,
    /// How many they are by now.
    events: u64,
}

/// Events of a stream in a row, compacted, in native framing.
fn write_compacted(dialect: Dialect, events: &[Arc<Event>]) -> Written {
    let own: Vec<(&Arc<Event>, &Message)> =
        events.iter().filter_map(|event| Some((event, replay::own(event)?))).collect();
    let pieces: Vec<Piece<'_>> = own.iter().map(|(_, message)| replay::piece(message)).collect();
    let kind = if dialect.is_lines() { NativeKind::Ndjson } else { NativeKind::Sse };
    let mut written = Written { bytes: Vec::new(), events: 0 };
    for compacted in compact(dialect, &pieces) {
        let Some((event, message)) = own.get(compacted.last) else { continue };
        let event = match compacted.merged {
            None => Arc::clone(event),
            Some(data) => Arc::new(merged(event, message, data.into())),
        };
        NativeFraming { kind }.write_item(&mut written.bytes, &FeedItem::Event(event));
        written.events += 1;
    }
    written
}

/// The last event of a run with the run's data, as the gateway writes such an event: the bytes that upstream sent are
/// those of one of many.
fn merged(event: &Event, message: &Message, data: Bytes) -> Event {
    let message = Message { data, source: None, ..message.clone() };
    Event { payload: Payload::Message(message), ..event.clone() }
}

/// How much an event takes of a window.
fn size(event: &Event) -> usize {
    match &event.payload {
        Payload::Message(message) => {
            message.data.len() + message.source.as_ref().map_or(0, Bytes::len)
        }
        _ => 0,
    }
}

/// How much is compacted at once, and so held for one reader, a page more at most; a run that goes on behind it becomes
/// two events. Most answers are less.
const WINDOW_EVENTS_MAX: usize = 4096;
const WINDOW_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;

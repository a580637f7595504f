//! The body of a live stream, for whoever's socket can't be had: [`Pump`], and [`native_body`] for those who view a
//! recorded stream in its provider's own dialect.
//!
//! What is answered before the first byte is `live.rs`'s business, what the bytes are `framing.rs`'s.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use longwave_core::{Budget, EndReason, FeedItem};

use super::{farewell_time, retry_time};
use crate::http::{App, Transport};
use crate::hub::{Delivery, NextError, SubscriberKind, Subscription};
use crate::transports::count_events;
use crate::transports::framing::{Framing, NativeFraming, NativeKind};

/// Moves what a subscription delivers into a body, a chunk at a time and only when the body is asked for more: a reader
/// that is slow holds one chunk, and otherwise nothing but its cursor.
pub(super) struct Pump {
    app: App,
    transport: Transport,
    subscription: Subscription,
    framing: Framing,
    heartbeat: Duration,
    farewell_retry: Duration,
    /// How many events may still be sent.
    left: u64,
    stop: Stop,
    state: State,
}

/// How a body ends whose subscription gives nothing more.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    /// In order: the stream itself tells why, and a client that is told nothing comes back.
    InOrder,
    /// In order only where all of the stream was sent, and by its reason.
    Native(OnBrokenEnd),
}

/// What becomes of a native body whose stream ended with another reason than [`EndReason::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnBrokenEnd {
    /// It ends in order: the recorded events have told why, in the dialect's own words.
    Finish,
    /// It is broken off, for the dialect has no words for it.
    Abort,
}

/// The body of a response to somebody who views a recorded stream in its provider's own dialect. A body that ends in
/// order is whole; where anything but the stream's end stops it, it ends with an error, and so hyper closes the
/// connection without the last chunk, or resets the HTTP/2 stream.
///
/// No such stream is parked in a reactor: that finishes every response in order.
pub(crate) fn native_body(
    app: &App,
    subscription: Subscription,
    framing: NativeFraming,
    on_broken_end: OnBrokenEnd,
) -> Body {
    let (framing, stop) = (Framing::Native(framing), Stop::Native(on_broken_end));
    Pump::new(app.clone(), subscription, framing, None, stop).into_body()
}

/// Why a body was broken off. Nobody reads it: that there is an error makes hyper abort.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Broken {
    #[error("the server is shutting down")]
    Draining,
    #[error("no more could be read")]
    Unreadable,
    #[error("events of the stream are lost")]
    Gap,
    #[error("the stream ended with the reason {0}")]
    Ended(EndReason),
}

enum State {
    /// Nothing was sent. Holds what clients are told to wait before a reconnect.
    Opening(Duration),
    Open,
    /// Nothing more is written. How the body is to end, which is told once.
    Over(Result<(), Broken>),
}

impl Pump {
    pub(super) fn new(
        app: App,
        subscription: Subscription,
        framing: Framing,
        limit: Option<u64>,
        stop: Stop,
    ) -> Pump {
        let options = app.options();
        Pump {
            transport: Transport::Live(match framing {
                Framing::Sse(_) | Framing::Native(NativeFraming { kind: NativeKind::Sse }) => {
                    SubscriberKind::Sse
                }
                Framing::Ndjson { .. }
                | Framing::Native(NativeFraming { kind: NativeKind::Ndjson }) => {
                    SubscriberKind::Ndjson
                }
            }),
            subscription,
            framing,
            heartbeat: Duration::from_millis(options.heartbeat_ms.max(1)),
            farewell_retry: farewell_time(options),
            left: limit.unwrap_or(u64::MAX),
            stop,
            state: State::Opening(retry_time(options, options.retry_jitter_ms)),
            app,
        }
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, async |mut pump| {
            let chunk = pump.next_chunk().await.transpose()?;
            if chunk.is_err() {
                // Hyper sends what it has only when a body has nothing for it at the moment, and throws it away on an
                // error. The viewer is to get what was written before.
                tokio::task::yield_now().await;
            }
            Some((chunk, pump))
        }))
    }

    /// The next bytes, at least one; `None` when the stream is over. A chunk always ends at an event boundary.
    ///
    /// # Errors
    /// [`Broken`], where the body must not end in order. Nothing follows it.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        let mut out = Vec::new();
        if let State::Opening(retry) = self.state {
            self.state = State::Open;
            self.framing.write_opening(&mut out, retry);
        }
        while out.is_empty() {
            match &mut self.state {
                State::Open | State::Opening(_) if self.left == 0 => return Ok(None),
                State::Open | State::Opening(_) => self.write_next(&mut out).await,
                State::Over(over) => return std::mem::replace(over, Ok(())).map(|()| None),
            }
        }
        Ok(Some(out.into()))
    }

    /// Waits for what comes next, or for the time of a heartbeat, and writes it; what that is may take no bytes.
    async fn write_next(&mut self, out: &mut Vec<u8>) {
        let budget = Budget {
            events_max: usize::try_from(self.left).map_or(EVENTS_MAX, |left| left.min(EVENTS_MAX)),
            bytes_max: BYTES_MAX,
        };
        match tokio::time::timeout(self.heartbeat, self.subscription.next(budget)).await {
            Err(_) => self.framing.write_heartbeat(out),
            Ok(Ok(Delivery::Items(items))) => self.write_items(out, &items),
            Ok(Ok(Delivery::Draining)) => {
                self.framing.write_farewell(out, self.farewell_retry);
                self.stop(Broken::Draining);
            }
            Ok(Ok(Delivery::Ended)) => {
                let reason = self.subscription.end().map(|end| end.reason);
                self.state = State::Over(match (self.stop, reason) {
                    (Stop::InOrder, _) | (Stop::Native(_), Some(EndReason::Done)) => Ok(()),
                    // Told by nobody but the server, so no recorded event says it.
                    (Stop::Native(_), Some(EndReason::Deleted)) => {
                        Err(Broken::Ended(EndReason::Deleted))
                    }
                    (Stop::Native(OnBrokenEnd::Finish), Some(_)) => Ok(()),
                    (Stop::Native(OnBrokenEnd::Abort), Some(reason)) => Err(Broken::Ended(reason)),
                    (Stop::Native(_), None) => Err(Broken::Unreadable),
                });
            }
            Ok(Err(NextError::Closed)) => self.stop(Broken::Unreadable),
            Ok(Err(NextError::Read(error))) => {
                // The client comes back with its cursor, and is told with a status if it still can't be read then.
                tracing::error!(error = &error as &dyn std::error::Error, "a live read failed");
                self.stop(Broken::Unreadable);
            }
        }
    }

    fn write_items(&mut self, out: &mut Vec<u8>, items: &[FeedItem]) {
        let is_gap = |item: &FeedItem| matches!(item, FeedItem::Gap(_));
        if matches!(self.stop, Stop::Native(_)) && items.iter().any(is_gap) {
            // What lies behind it would look like a whole stream. A gap is always the first, so nothing lies before.
            return self.stop(Broken::Gap);
        }
        let count = items.len() as u64;
        self.left = self.left.saturating_sub(count);
        self.app.metrics().delivered(self.transport, count_events(items));
        for item in items {
            self.framing.write_item(out, item);
        }
    }

    /// Nothing more is sent, though the topics have not ended.
    fn stop(&mut self, broken: Broken) {
        self.state = State::Over(match self.stop {
            Stop::InOrder => Ok(()),
            Stop::Native(_) => Err(broken),
        });
    }
}

/// The most events in one chunk.
const EVENTS_MAX: usize = 64;
/// No further event enters a chunk that has this many bytes, as events take them in memory.
const BYTES_MAX: usize = 32 * 1024;

#[cfg(test)]
mod tests;

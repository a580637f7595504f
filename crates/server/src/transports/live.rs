//! Live streams over an HTTP response: Server-Sent Events and NDJSON.
//!
//! [`open`] decides what is answered, the opening included. Where the connection's socket can be had, it is parked, and
//! the delivery engine writes to it (`parking.rs`). Else, over HTTP/2 for one, [`Pump`] moves what the subscription
//! delivers into the response's body. What it looks like there is `framing.rs`'s business in either case.
//!
//! [`native_body`] is the same for those who view a recorded stream in its provider's own dialect.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use longwave_core::{Budget, EndReason, FeedItem, SelectorSet, StartAt};

use super::framing::{Framing, NativeFraming, NativeKind};
use super::read_request::ReadRequest;
use super::{LONGWAVE_CURSOR, count_events};
use crate::http::{App, HttpOptions, Problem, Transport};
use crate::hub::{
    Delivery, Hub, NextError, Subscribe, SubscribeError, SubscriberKind, Subscription,
};
use crate::takeover::{Takeover, TakeoverOffer};

/// Answers a live read: `204 No Content` where nothing can come any more, which tells an `EventSource` to stop, and
/// otherwise a stream that lasts until its topics end, the client goes, or the server does.
///
/// # Errors
/// A [`Problem`] where the subscription can't be made.
pub(super) async fn open(
    app: &App,
    parts: &Parts,
    selectors: Arc<SelectorSet>,
    request: ReadRequest,
    kind: SubscriberKind,
) -> Result<Response, Problem> {
    let epoch = app.log().epoch();
    let framing = match kind {
        SubscriberKind::Ndjson => Framing::ndjson(epoch),
        _ => Framing::sse(epoch, &selectors, request.data_shape),
    };
    let start = request.start.unwrap_or(StartAt::Now);
    let subscription = subscribe(app.hub(), selectors, &request, start, kind).await?;
    if subscription.end().is_some() {
        return Ok((StatusCode::NO_CONTENT, [(CACHE_CONTROL, "no-store"), (VARY, "Accept")])
            .into_response());
    }
    let cursor = matches!(start, StartAt::Now | StartAt::After(_)).then(|| subscription.cursor());
    let mut response = stream_response(app, parts, subscription, framing, request.limit);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(framing.content_type()));
    // `no-transform` keeps proxies from compressing, which holds events back; nginx buffers unless told not to.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Some(value) = cursor.and_then(|id| HeaderValue::from_str(&id.to_string()).ok()) {
        headers.insert(LONGWAVE_CURSOR, value);
    }
    Ok(response)
}

/// The response that a subscription's stream is the body of, by whichever way.
fn stream_response(
    app: &App,
    parts: &Parts,
    subscription: Subscription,
    framing: Framing,
    limit: Option<u64>,
) -> Response {
    if parts.method == Method::HEAD {
        // The headers are all that was asked for, and an open subscription would be for nobody.
        return Body::empty().into_response();
    }
    let offer = parts.extensions.get::<TakeoverOffer>();
    // The engine knows no limit: a subscriber there has nothing that counts.
    if let (Some(offer), None) = (offer, limit) {
        let app = app.clone();
        let retry = retry_time(app.options(), app.options().retry_jitter_ms);
        let takeover = Takeover::new(*offer, move |taken| {
            app.parking().park(taken, subscription, framing, retry);
        });
        return Extension(takeover).into_response();
    }
    Pump::new(app.clone(), subscription, framing, limit, Stop::InOrder).into_body().into_response()
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

/// Makes the subscription that a request asks for.
///
/// # Errors
/// [`SubscribeError`].
pub(super) async fn subscribe(
    hub: &Hub,
    selectors: Arc<SelectorSet>,
    request: &ReadRequest,
    start: StartAt,
    kind: SubscriberKind,
) -> Result<Subscription, SubscribeError> {
    let types = request.types.clone();
    hub.subscribe(Subscribe { selectors, types, start, kind }).await
}

/// A time at random, so that clients which lost their streams together don't come back together.
///
/// # Panics
/// Never: where there is no randomness, the shortest time is given.
fn retry_time(options: &HttpOptions, spread_ms: u64) -> Duration {
    let random = getrandom::u64().unwrap_or(0);
    Duration::from_millis(options.retry_ms.saturating_add(random % spread_ms.saturating_add(1)))
}

/// The same for clients of a server that goes down.
pub(super) fn farewell_time(options: &HttpOptions) -> Duration {
    retry_time(options, options.drain_spread_ms)
}

/// Moves what a subscription delivers into a body, a chunk at a time and only when the body is asked for more: a reader
/// that is slow holds one chunk, and otherwise nothing but its cursor.
struct Pump {
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
enum Stop {
    /// In order: the stream itself tells why, and a client that is told nothing comes back.
    InOrder,
    /// In order only where all of the stream was sent, and by its reason.
    Native(OnBrokenEnd),
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
    fn new(
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

    fn into_body(self) -> Body {
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

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// The most events in one chunk.
const EVENTS_MAX: usize = 64;
/// No further event enters a chunk that has this many bytes, as events take them in memory.
const BYTES_MAX: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use longwave_core::{Append, DataFormat, Expected, Message, NewMessage, TypeFilter};
    use longwave_store::{Log, MemoryLog, MemoryOptions};

    use super::*;
    use crate::transports::read_request::DataShape;

    #[tokio::test]
    async fn a_body_takes_no_more_than_one_batch_ahead_of_its_socket() {
        let (log, commits) = MemoryLog::open(MemoryOptions::default()).unwrap();
        let app = App::new(Arc::clone(&log) as _, commits, HttpOptions::default(), &[]).unwrap();
        let new_message = |i: usize| NewMessage {
            message: Message {
                event_type: None,
                format: DataFormat::Text,
                data: format!("{i:01000}").into(),
                source: None,
            },
            key: None,
        };
        let topic: longwave_core::TopicName = "a".parse().unwrap();
        let append = Append {
            topic: topic.clone(),
            messages: (0..1000).map(new_message).collect(),
            end: None,
            key: None,
            expected: Expected::Any,
        };
        log.append(append).await.unwrap();
        let selectors = Arc::new(SelectorSet::topic(topic));
        let framing = Framing::sse(log.epoch(), &selectors, DataShape::Plain);
        let subscribe = Subscribe {
            selectors,
            types: TypeFilter::all(),
            start: StartAt::First,
            kind: SubscriberKind::Sse,
        };
        let subscription = app.hub().subscribe(subscribe).await.unwrap();
        let mut pump = Pump::new(app, subscription, framing, None, Stop::InOrder);
        assert!(pump.next_chunk().await.unwrap().unwrap().ends_with(b":\n"));
        let chunk = pump.next_chunk().await.unwrap().unwrap();
        let text = std::str::from_utf8(&chunk).unwrap();
        let events = text.matches("\n\n").count();
        assert!((1..=EVENTS_MAX).contains(&events), "{events}");
        assert!(chunk.len() <= BYTES_MAX + 2 * 1024, "{}", chunk.len());
        assert!(text.ends_with("\n\n"));
        // What was not asked for was not taken: the cursor is behind the last event in the chunk.
        assert!(text.contains(&format!("id: {}\n", pump.subscription.cursor())));
        assert_eq!(pump.subscription.cursor().seq.0, events as u64);
    }
}

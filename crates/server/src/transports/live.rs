//! Live streams over an HTTP response: Server-Sent Events and NDJSON.
//!
//! [`open`] decides what is answered, the opening included. Where the connection's socket can be had, it is parked, and
//! the delivery engine writes to it (`parking.rs`). Else, over HTTP/2 for one, `live/pump.rs` moves what the subscription
//! delivers into the response's body. What it looks like there is `framing.rs`'s business in either case.

mod pump;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use longwave_core::{SelectorSet, StartAt};

pub(crate) use self::pump::{OnBrokenEnd, native_body};
use self::pump::{Pump, Stop};
use super::LONGWAVE_CURSOR;
use super::framing::Framing;
use super::read_request::ReadRequest;
use crate::http::{App, HttpOptions, Problem};
use crate::hub::{Hub, Subscribe, SubscribeError, SubscriberKind, Subscription};
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

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

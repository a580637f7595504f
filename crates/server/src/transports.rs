//! Reading: five transports over one [`Hub`](crate::hub::Hub), and one set of parameters for all of them.
//!
//! A read is decided in steps that know nothing of each other: `negotiate.rs` finds the format, `read_request.rs` where
//! to start and what to show, and then `page.rs`, `live.rs`, `websocket.rs` or `html.rs` answers. Publishing and
//! managing topics over HTTP is `http/`'s business. Start with [`topic`], the handler of a topic's reads.

mod framing;
mod html;
mod live;
mod negotiate;
mod page;
mod parking;
mod problems;
mod read_request;
mod websocket;
mod wire;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderName;
use http::request::Parts;
use longwave_core::{FeedItem, SelectorSet, TopicName, UnixMillis};

use self::negotiate::Format;
use self::read_request::ReadRequest;
use crate::gateway::Visitor;
use crate::http::{App, Problem, TopicPath};
use crate::hub::SubscriberKind;

/// Reads of one topic: `GET /topics/{topic}`, and the WebSocket handshakes there, `CONNECT` included (RFC 8441).
///
/// # Errors
/// The [`Problem`] that the client is answered.
pub(crate) async fn topic(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let path = parts.uri.path();
    let path = path.strip_prefix(TopicPath::PREFIX).unwrap_or(path);
    let name = TopicName::readable(path).map_err(|error| problems::path_problem(path, error))?;
    let scope = Scope::Topic(name);
    read(app, parts, scope).await
}

/// Reads of several topics: `GET /events?topic=a&topic=b/**`, and the WebSocket handshakes there.
///
/// # Errors
/// The [`Problem`] that the client is answered.
pub(crate) async fn events(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    read(app, parts, Scope::Query).await
}

pub(crate) use self::framing::{NativeFraming, NativeKind, canonical};
pub(crate) use self::html::{console, index};
pub(crate) use self::live::{OnBrokenEnd, native_body};
pub(crate) use self::parking::Parking;

/// Where a read says which topics it means.
enum Scope {
    /// In its path.
    Topic(TopicName),
    /// In its query.
    Query,
}

async fn read(app: App, parts: Parts, scope: Scope) -> Result<Response, Problem> {
    let query = read_request::query(&parts.uri)?;
    let format = negotiate::negotiate(&parts, query.one("format")?)?;
    let request = ReadRequest::parse(&query, &parts.headers, now())?;
    if let (Scope::Topic(_), true) = (&scope, query.has("topic")) {
        return Err(problems::topic_twice());
    }
    let (selectors, home) = match scope {
        Scope::Topic(name) => (Some(SelectorSet::topic(name.clone())), Some(name)),
        // A WebSocket may name its topics later.
        Scope::Query if format == Format::WebSocket && !query.has("topic") => (None, None),
        Scope::Query => (Some(read_request::selectors(&query)?), None),
    };
    let visitor = Visitor::of(&app, &parts.headers, &query)?;
    let Some(selectors) = selectors.map(Arc::new) else {
        return websocket::accept(app, parts, visitor, None, None).await;
    };
    visitor.check_selectors(&app, &selectors).await?;
    match format {
        Format::Sse => live::open(&app, &parts, selectors, request, SubscriberKind::Sse).await,
        Format::Ndjson => {
            live::open(&app, &parts, selectors, request, SubscriberKind::Ndjson).await
        }
        Format::Page => page::answer(&app, &parts.headers, selectors, request).await,
        Format::Html => Ok(html::topic()),
        Format::WebSocket => {
            websocket::accept(app, parts, visitor, Some((selectors, request)), home).await
        }
    }
}

/// The wall clock, from which `?since=10m` counts back, and by which tokens expire.
pub(crate) fn now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// How many events are among the items: gaps are none.
fn count_events(items: &[FeedItem]) -> u64 {
    items.iter().filter(|item| matches!(item, FeedItem::Event(_))).count() as u64
}

/// The cursor behind an answer, or at the start of a live stream: a client that loses the stream before its first event
/// goes on from there.
const LONGWAVE_CURSOR: HeaderName = HeaderName::from_static("longwave-cursor");

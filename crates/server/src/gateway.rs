//! The gateway: put before an endpoint that streams, it makes each answer a recorded, resumable, shareable stream.
//!
//! Which requests it answers, and how, is said by [`RouteOptions`]; what an upstream's events mean, by [`Dialect`]. Where
//! to look:
//!
//! | for | in |
//! |---|---|
//! | a request's way to upstream | `proxy.rs`, `request.rs`, `exchange.rs`, `upstream.rs`, `untouched.rs`, `background.rs` |
//! | upstream's answer into the log, as the topic `streams/<id>` | `recorder.rs`, `cut.rs`, `comeback.rs`, `watch.rs`, `recover.rs` |
//! | what a stream is: its id and heads, its other names, the task that runs it | `stream.rs`, `alias.rs`, `running.rs` |
//! | reading it from the log | `view.rs`, `snapshot.rs`, `replay.rs` |
//! | calls about it: `/streams`, and those of other interfaces | `manage.rs`, `list.rs`, `responses.rs`, `chat.rs` |
//! | who may | `access.rs`, `token.rs`, `mint.rs`, `key.rs` |
//! | what is counted | `tally.rs` |

mod access;
mod alias;
mod background;
mod chat;
mod comeback;
mod cut;
mod dialect;
mod exchange;
mod key;
pub(crate) mod list;
pub(crate) mod manage;
pub(crate) mod mint;
mod proxy;
mod recorder;
mod recover;
mod replay;
mod request;
mod responses;
mod route;
mod running;
mod snapshot;
mod stream;
mod tally;
mod token;
mod untouched;
mod upstream;
mod view;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use longwave_core::{Budget, Config, DataFormat, Event, EventType, FeedItem, Message, NewMessage};

pub(crate) use self::access::{TOKEN_PARAMETER, Visitor, check_writable, is_of_gateway};
pub use self::dialect::{Dialect, ParseDialectError};
pub use self::key::Secret;
use self::list::Index;
pub(crate) use self::proxy::handle;
pub use self::route::{
    AllowRule, Background, Disconnect, GatewayOptions, RouteError, RouteOptions, Viewers,
};
use self::running::{Entered, Running, Stop, Streams};
pub(crate) use self::stream::HEAD_TYPES;
use self::stream::StreamId;
pub(crate) use self::token::Right;
use self::upstream::Upstream;
use crate::http::App;

/// The gateway's routes, and what runs through them.
#[derive(Debug)]
pub(crate) struct Gateway {
    routes: Vec<Arc<Route>>,
    secret: Secret,
    streams: Arc<Streams>,
    index: Index,
}

/// A route and the connections to its upstream.
#[derive(Debug)]
struct Route {
    options: RouteOptions,
    upstream: Upstream,
}

impl Gateway {
    /// # Errors
    /// Where the system gives no randomness, or TLS can't be set up.
    pub(crate) fn new(options: &GatewayOptions) -> io::Result<Gateway> {
        let mut routes = options
            .routes
            .iter()
            .map(|options| {
                let upstream = Upstream::new(options).map_err(io::Error::other)?;
                Ok(Arc::new(Route { options: options.clone(), upstream }))
            })
            .collect::<io::Result<Vec<_>>>()?;
        // The first that fits is then the one that fits best.
        routes.sort_by_key(|route| std::cmp::Reverse(route.options.prefix.len()));
        let secret = options.secret.clone().map_or_else(Secret::random, Ok)?;
        Ok(Gateway { routes, secret, streams: Arc::new(Streams::new()), index: Index::new() })
    }

    /// Ends what a process before this one left unfinished, in the background.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(crate) fn start(app: &App) {
        tokio::spawn(recover::recover(app.clone()));
    }

    /// Waits until no stream runs.
    pub(crate) async fn idle(&self) {
        self.streams.none().await;
    }

    /// Ends all streams that run, as those of a server that goes down, and waits until the log has that.
    pub(crate) async fn stop(&self) {
        self.streams.stop_all(Stop::Shutdown);
        if tokio::time::timeout(STOP_LIMIT, self.streams.none()).await.is_err() {
            tracing::warn!(
                open = self.streams.count(),
                "streams of the gateway could not be ended"
            );
        }
    }

    /// Whether a path is upstream's, and not the server's own.
    pub(crate) fn serves(&self, path: &str) -> bool {
        self.route(path).is_some()
    }

    /// The prefixes of the routes.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| route.options.prefix.as_str())
    }

    fn route(&self, path: &str) -> Option<&Arc<Route>> {
        self.routes.iter().find(|route| route.options.rest_of(path).is_some())
    }

    /// In which headers clients of a route have their credentials; of one that is no more, where they have by default.
    fn principal_headers(&self, prefix: &str) -> &[HeaderName] {
        let mut routes = self.routes.iter();
        let route = routes.find(|route| route.options.prefix == prefix);
        route.map_or(&route::PRINCIPAL_HEADERS, |route| &route.options.principal_headers)
    }

    /// Those of all routes, some of them several times.
    fn all_principal_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let given = self.routes.iter().flat_map(|route| &route.options.principal_headers);
        given.chain(&route::PRINCIPAL_HEADERS)
    }

    fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The streams in order of their beginnings.
    fn index(&self) -> &Index {
        &self.index
    }

    fn enter(&self, id: &StreamId) -> Option<Entered> {
        self.streams.enter(id)
    }

    fn running(&self, id: &StreamId) -> Option<Arc<Running>> {
        self.streams.get(id)
    }
}

/// Sets how long a stream is kept, where its route says.
async fn set_retention(app: &App, id: &StreamId, options: &RouteOptions) {
    let Some(ttl_ms) = options.retention_ms else { return };
    let config = Config { ttl_ms: Some(ttl_ms), ..Config::default() };
    if let Err(error) = app.log().configure(id.topic(), config).await {
        tracing::warn!(stream = %id, %error, "it could not be set how long a stream is kept");
    }
}

/// An event of the gateway's own in upstream's dialect, as a message.
fn closing_message(closing: &dialect::Closing) -> NewMessage {
    let message = Message {
        event_type: closing.event_type.and_then(|text| EventType::new(text).ok()),
        format: DataFormat::Json,
        data: closing.data.clone().into(),
        source: None,
    };
    NewMessage { message, key: None }
}

fn event_of(item: &FeedItem) -> Option<&Event> {
    match item {
        FeedItem::Event(event) => Some(event),
        FeedItem::Gap(_) => None,
    }
}

/// Names the stream that an answer is, as the path at which it is read.
const STREAM_HEADER: HeaderName = HeaderName::from_static("longwave-stream");
/// How much of a stream is read at once where only its beginning is looked for.
const HEAD_BUDGET: Budget = Budget { events_max: 16, bytes_max: 64 * 1024 };
/// How long the log may take to take the ends of all streams.
const STOP_LIMIT: Duration = Duration::from_secs(5);

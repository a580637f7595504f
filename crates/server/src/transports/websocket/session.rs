//! One WebSocket connection: [`Session`].
//!
//! One task does everything, and holds no queue of events: it takes from a subscription only what it writes next, and it
//! reads no further message while as many publishes as allowed wait. So a client that stops reading is left with its lag,
//! and is sent away after `websocket_write_timeout_ms`; it comes back with its cursors.

use std::time::Duration;

use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use longwave_core::{Budget, FeedItem, Selector, SelectorSet, TopicName};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_stream::StreamMap;
use tungstenite::Error as WireError;

use super::message::{self, ClientMessage, Ref, SubscribeOp};
use super::publishes::Publishes;
use crate::gateway::Visitor;
use crate::http::{App, Code, Phase, Problem, Transport};
use crate::hub::{Delivery, NextError, Subscribe, SubscribeError, SubscriberKind, Subscription};
use crate::transports::live::farewell_time;
use crate::transports::{count_events, now};

/// A connection's state besides its socket.
pub(super) struct Session {
    app: App,
    /// Whose connection it is, as far as the handshake shows.
    visitor: Visitor,
    /// The topic that the URL names.
    home: Option<TopicName>,
    /// By the selector that the client asked for; the URL's own subscription has none.
    subscriptions: StreamMap<Option<Selector>, BoxStream<'static, Delivered>>,
    publishes: Publishes,
    last_heard: Instant,
    /// What is to be said before anything else.
    greeting: Vec<Message>,
}

/// What a subscription gives to the session.
enum Delivered {
    Items(Vec<FeedItem>),
    /// It can't go on.
    Failed(Problem),
}

/// What a session goes on with.
enum Turn {
    Received(Option<Result<Message, axum::Error>>),
    Delivered(Option<Selector>, Delivered),
    Published(Vec<String>),
    Heartbeat,
    Draining,
}

/// Why a session is over.
enum Over {
    /// The connection is gone, or the client closed it.
    Gone,
    /// The server closes it.
    Close(CloseCode, &'static str),
}

impl Session {
    pub(super) fn new(
        app: App,
        visitor: Visitor,
        home: Option<TopicName>,
        first: Option<Subscription>,
    ) -> Session {
        let mut session = Session {
            publishes: Publishes::new(app.clone()),
            app,
            visitor,
            home,
            subscriptions: StreamMap::new(),
            last_heard: Instant::now(),
            greeting: Vec::new(),
        };
        if let Some(subscription) = first {
            session.greeting = session.follow(None, subscription).into_iter().map(text).collect();
        }
        session
    }

    /// Talks until the client goes or has to.
    pub(super) async fn run(mut self, mut socket: WebSocket) {
        let over = match self.talk(&mut socket).await {
            Err(over) => over,
            Ok(never) => match never {},
        };
        // What waits to be published is let go: it happens or not, as it does when a connection breaks.
        drop(self);
        let Over::Close(code, reason) = over else { return };
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let goodbye = async {
            if socket.send(close).await.is_ok() {
                // Until the client has answered, so that it reads the reason before the connection goes.
                while let Some(Ok(_)) = socket.recv().await {}
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }

    async fn talk(&mut self, socket: &mut WebSocket) -> Result<std::convert::Infallible, Over> {
        let heartbeat = Duration::from_millis(self.app.options().heartbeat_ms.max(1));
        let mut heartbeats = interval_at(Instant::now() + heartbeat, heartbeat);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut phase = self.app.phase();
        let limit = Duration::from_millis(self.app.options().websocket_write_timeout_ms);
        write(socket, limit, std::mem::take(&mut self.greeting)).await?;
        loop {
            let turn = tokio::select! {
                message = socket.recv(), if self.publishes.has_room() => {
                    Turn::Received(message)
                }
                Some((key, delivered)) = self.subscriptions.next() => {
                    Turn::Delivered(key, delivered)
                }
                answers = self.publishes.next() => Turn::Published(answers),
                _ = heartbeats.tick() => Turn::Heartbeat,
                () = phase.wait_for(|phase| *phase >= Phase::Leaving).map(drop) => Turn::Draining,
            };
            let answers = match turn {
                Turn::Received(message) => self.handle_received(message).await?,
                Turn::Delivered(key, delivered) => self.handle_delivered(key, delivered),
                Turn::Published(answers) => answers.into_iter().map(text).collect(),
                Turn::Heartbeat if !self.publishes.has_room() => {
                    // Whatever the client says is not read just now, so its silence means nothing.
                    self.last_heard = Instant::now();
                    vec![ping()]
                }
                Turn::Heartbeat
                    if self.last_heard.elapsed() > heartbeat * SILENT_HEARTBEATS_MAX =>
                {
                    return Err(Over::Gone);
                }
                Turn::Heartbeat => vec![ping()],
                Turn::Draining => {
                    let retry = farewell_time(self.app.options());
                    let farewell = text(format!("{{\"retry\":{}}}", retry.as_millis()));
                    write(socket, limit, vec![farewell]).await?;
                    return Err(Over::Close(close_code::RESTART, "the server is going down"));
                }
            };
            write(socket, limit, answers).await?;
        }
    }

    async fn handle_received(
        &mut self,
        message: Option<Result<Message, axum::Error>>,
    ) -> Result<Vec<Message>, Over> {
        let message = match message {
            None => return Err(Over::Gone),
            Some(Err(error)) => return Err(over(error)),
            Some(Ok(message)) => message,
        };
        self.last_heard = Instant::now();
        match message {
            Message::Text(text) => Ok(self.handle_text(&text).await),
            Message::Binary(_) => {
                Err(Over::Close(close_code::UNSUPPORTED, "messages are JSON texts"))
            }
            Message::Close(_) => Err(Over::Close(close_code::NORMAL, "")),
            Message::Ping(_) | Message::Pong(_) => Ok(Vec::new()),
        }
    }

    async fn handle_text(&mut self, json: &str) -> Vec<Message> {
        let (reference, parsed) = message::parse(json, self.home.as_ref(), now());
        let reference = reference.as_ref();
        let answers = match parsed {
            Err(problem) => Err(problem),
            Ok(ClientMessage::Ping) => Ok(vec![message::pong(reference)]),
            Ok(ClientMessage::Publish(append)) => {
                self.publishes.push(*append, reference.cloned()).map(|()| Vec::new())
            }
            Ok(ClientMessage::Unsubscribe(selector)) => self
                .unsubscribe(selector)
                .map(|()| reference.map(message::done).into_iter().collect()),
            Ok(ClientMessage::Subscribe(subscribe)) => self.subscribe(subscribe, reference).await,
        };
        let answers = answers.unwrap_or_else(|problem| vec![message::error(reference, &problem)]);
        answers.into_iter().map(text).collect()
    }

    fn unsubscribe(&mut self, selector: Selector) -> Result<(), Problem> {
        match self.subscriptions.remove(&Some(selector)) {
            Some(_) => Ok(()),
            None => Err(Problem::new(
                Code::WebSocketInvalid,
                "there is no such subscription on this connection, or it has ended",
            )
            .with("member", "topic")),
        }
    }

    async fn subscribe(
        &mut self,
        subscribe: SubscribeOp,
        reference: Option<&Ref>,
    ) -> Result<Vec<String>, Problem> {
        let SubscribeOp { selector, start, types } = subscribe;
        if self.subscriptions.contains_key(&Some(selector.clone())) {
            return Err(Problem::new(
                Code::WebSocketInvalid,
                format_args!("this connection follows {selector} already; unsubscribe first"),
            )
            .with("member", "topic"));
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(Problem::new(
                Code::Overloaded,
                format_args!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions"),
            ));
        }
        let selectors = SelectorSet::new([selector.clone()])
            .map_err(|error| Problem::new(Code::SelectorInvalid, error))?;
        self.visitor.check_selectors(&self.app, &selectors).await?;
        let kind = SubscriberKind::WebSocket;
        let selectors = selectors.into();
        let subscription =
            self.app.hub().subscribe(Subscribe { selectors, types, start, kind }).await?;
        let ack = reference.map(|reference| {
            message::subscribed(reference, selector.as_str(), subscription.cursor())
        });
        let ended = self.follow(Some(selector), subscription);
        Ok(ack.into_iter().chain(ended).collect())
    }

    /// Adds a subscription; where its topics have all ended before its start, that is said instead.
    fn follow(&mut self, key: Option<Selector>, subscription: Subscription) -> Option<String> {
        if let Some(end) = subscription.end() {
            let sub = key.as_ref().map(Selector::as_str);
            return Some(message::ended(self.app.log().epoch(), sub, end));
        }
        self.subscriptions.insert(key, deliveries(subscription));
        None
    }

    fn handle_delivered(&self, key: Option<Selector>, delivered: Delivered) -> Vec<Message> {
        let sub = key.as_ref().map(Selector::as_str);
        let epoch = self.app.log().epoch();
        match delivered {
            Delivered::Items(items) => {
                self.app.metrics().delivered(WEBSOCKET, count_events(&items));
                items.iter().map(|item| text(message::item(epoch, sub, item))).collect()
            }
            Delivered::Failed(problem) => {
                vec![text(message::error(None, &problem.with("sub", sub)))]
            }
        }
    }
}

/// What a subscription gives, one batch at a time and not before it is asked for.
fn deliveries(subscription: Subscription) -> BoxStream<'static, Delivered> {
    let budget = Budget { events_max: EVENTS_MAX, bytes_max: BYTES_MAX };
    stream::unfold(Some(subscription), move |subscription| async move {
        let mut subscription = subscription?;
        match subscription.next(budget).await {
            Ok(Delivery::Items(items)) => Some((Delivered::Items(items), Some(subscription))),
            // The session sees for itself that the server is going down.
            Ok(Delivery::Draining | Delivery::Ended) | Err(NextError::Closed) => None,
            Err(NextError::Read(error)) => {
                let problem = Problem::from(SubscribeError::Read(error));
                Some((Delivered::Failed(problem), None))
            }
        }
    })
    .boxed()
}

/// Writes messages, and is done when the kernel has them all. Waits no longer than `limit`.
async fn write(
    socket: &mut WebSocket,
    limit: Duration,
    messages: Vec<Message>,
) -> Result<(), Over> {
    if messages.is_empty() {
        return Ok(());
    }
    let writing = async {
        for message in messages {
            socket.feed(message).await?;
        }
        socket.flush().await
    };
    match timeout(limit, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Over::Gone),
    }
}

/// What a connection that could not be read is closed with (RFC 6455, section 7.4.1).
fn over(error: axum::Error) -> Over {
    let error = error.into_inner();
    match error.downcast_ref::<WireError>() {
        Some(WireError::Capacity(_)) => Over::Close(close_code::SIZE, "the message is too large"),
        Some(WireError::Utf8(_)) => Over::Close(close_code::INVALID, "a text is not UTF-8"),
        Some(WireError::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        )) => Over::Gone,
        Some(WireError::Protocol(_)) => {
            Over::Close(close_code::PROTOCOL, "the frames break the WebSocket protocol")
        }
        _ => Over::Gone,
    }
}

fn ping() -> Message {
    Message::Ping(bytes::Bytes::new())
}

fn text(json: String) -> Message {
    Message::Text(json.into())
}

const WEBSOCKET: Transport = Transport::Live(SubscriberKind::WebSocket);
/// The most subscriptions of one connection, that of its URL included. Wildcards and `/events` follow more than that
/// with one.
const SUBSCRIPTIONS_MAX: usize = 64;
/// The most events that are taken from a subscription at once.
const EVENTS_MAX: usize = 64;
/// No further event is taken at once behind this many bytes, as events take them in memory.
const BYTES_MAX: usize = 32 * 1024;
/// How long a client may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// A client that was not heard from for this many heartbeats is gone: it answers a ping at each.
const SILENT_HEARTBEATS_MAX: u32 = 3;

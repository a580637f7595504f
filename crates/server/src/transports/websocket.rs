//! WebSocket: two-way, over HTTP/1.1 (RFC 6455) and HTTP/2 (RFC 8441).
//!
//! [`accept`] is the handshake; the conversation is `session.rs`, what it publishes goes through
//! `publishes.rs`, and the messages are `message.rs`. Whether a page may
//! talk to this server at all is decided for all requests alike, before a handshake gets here.

mod message;
mod publishes;
mod session;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use http::request::Parts;
use longwave_core::{SelectorSet, StartAt, TopicName};

use self::session::Session;
use super::live::subscribe;
use super::read_request::ReadRequest;
use crate::gateway::Visitor;
use crate::http::{App, Code, Problem};
use crate::hub::SubscriberKind;

/// Answers a handshake. `first` is the subscription that the URL itself asks for, `home` the one topic that it names;
/// `visitor` may read that, and perhaps more that is asked for later.
///
/// # Errors
/// A [`Problem`] where the handshake is none, where the client speaks other subprotocols only, or where the
/// subscription can't be made: a client should learn of that by a status rather than by a connection that closes.
pub(super) async fn accept(
    app: App,
    mut parts: Parts,
    visitor: Visitor,
    first: Option<(Arc<SelectorSet>, ReadRequest)>,
    home: Option<TopicName>,
) -> Result<Response, Problem> {
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|rejection| Problem::new(Code::WebSocketInvalid, rejection))?;
    let offered: Vec<_> = upgrade.requested_protocols().cloned().collect();
    if !offered.is_empty() && !offered.iter().any(|name| name == SUBPROTOCOL) {
        return Err(Problem::new(
            Code::WebSocketInvalid,
            format_args!("the subprotocol here is {SUBPROTOCOL}; offer it, or none at all"),
        )
        .with("protocol", SUBPROTOCOL));
    }
    let first = match first {
        Some((_, ReadRequest { limit: Some(_), .. })) => {
            return Err(Problem::new(
                Code::ParameterInvalid,
                "a WebSocket has no limit: what is not wanted any more is unsubscribed",
            )
            .with("parameter", "limit"));
        }
        Some((selectors, request)) => {
            let start = request.start.unwrap_or(StartAt::Now);
            let hub = app.hub();
            Some(subscribe(hub, selectors, &request, start, SubscriberKind::WebSocket).await?)
        }
        None => None,
    };
    let options = app.options();
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(options.websocket_message_bytes_max)
        .max_frame_size(options.websocket_message_bytes_max)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        // An event of control characters takes six bytes for each of its own. A write waits for the one before it, so
        // this much is held for one message only.
        .max_write_buffer_size(WRITE_BUFFER_BYTES + 8 * options.event_bytes_max.max(1 << 16));
    Ok(upgrade
        .on_upgrade(async move |socket| Session::new(app, visitor, home, first).run(socket).await))
}

/// What this server speaks over WebSocket.
const SUBPROTOCOL: &str = "longwave.v1";
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Messages are gathered up to this size before they are written.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

//! A plain axum server: `Sse` over `tokio::sync::broadcast`, as its documentation and countless programs have it.
//!
//! Nothing is kept: who is not connected misses what is published. It sends small writes at once (`TCP_NODELAY`), which
//! axum leaves off; without that it would wait for acknowledgements, and show latency that its users have fixed.
#![expect(clippy::print_stdout, reason = "its address is all that it says")]

use std::convert::Infallible;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt as _};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let addr = std::env::args().nth(1).context("usage: bench-axum ADDRESS")?;
    let listener = TcpListener::bind(&addr).await.with_context(|| addr.clone())?;
    println!("listening on http://{}", listener.local_addr()?);
    let router = Router::new()
        .route("/events", get(subscribe))
        .route("/publish", post(publish))
        .with_state(broadcast::Sender::new(CHANNEL_EVENTS));
    let listener = listener.tap_io(|stream| {
        // Where the option can't be set, events come later and that is all.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}

async fn subscribe(
    State(channel): State<broadcast::Sender<String>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // A subscriber that fell behind misses events and is not told, as usual.
    let events = BroadcastStream::new(channel.subscribe())
        .filter_map(|data| data.ok().map(|data| Ok(Event::default().data(data))));
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn publish(State(channel): State<broadcast::Sender<String>>, data: String) -> StatusCode {
    // Nobody subscribes: nobody gets it.
    let _ = channel.send(data);
    StatusCode::NO_CONTENT
}

const CHANNEL_EVENTS: usize = 1024;

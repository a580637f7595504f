//! Publishers that each have one publish under way, and send the next when it is acknowledged: [`run`].
//!
//! They share the machine with the server that is measured, so each has one connection and writes requests on it
//! without a pool, redirects or TLS in between. Retrying is left out: a publish that fails counts as failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use longwave_client::Url;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::EVENTS_MAX;
use super::load::Load;

/// Where publishers publish to, and with what.
pub(super) struct Target {
    /// Host and port to connect to.
    address: String,
    path: Uri,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

/// Why there are no publishers.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishersError {
    #[error("publishers need an http:// address, without TLS")]
    Scheme,
    #[error("the address or the token can't be a request")]
    Request(#[from] http::Error),
    #[error("{connected} publishers connected, the next could not")]
    Connect { connected: usize, source: anyhow::Error },
}

impl Target {
    /// # Errors
    /// [`PublishersError::Scheme`] and [`PublishersError::Request`].
    pub(super) fn new(topic: &Url, token: Option<&str>) -> Result<Target, PublishersError> {
        let (Some(host), Some(port), "http") =
            (topic.host_str(), topic.port_or_known_default(), topic.scheme())
        else {
            return Err(PublishersError::Scheme);
        };
        let address = format!("{host}:{port}");
        let header = |text: &str| HeaderValue::try_from(text).map_err(http::Error::from);
        Ok(Target {
            path: Uri::try_from(topic.path()).map_err(http::Error::from)?,
            host: header(&address)?,
            authorization: token.map(|token| header(&format!("Bearer {token}"))).transpose()?,
            address,
        })
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let socket = TcpStream::connect(&self.address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        // It ends when its sender is dropped; what went wrong, the sender tells.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, data: String) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.path.clone())
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, TEXT);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.body(Full::new(Bytes::from(data)))
    }

    /// Publishes, and tells whether the server said yes.
    async fn publish(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        data: String,
    ) -> anyhow::Result<Acknowledged> {
        connection.ready().await?;
        let response = connection.send_request(self.request(data)?).await?;
        let is_success = response.status().is_success();
        // To its end, so that the connection can carry the next request.
        response.into_body().collect().await?;
        Ok(if is_success { Acknowledged::Yes } else { Acknowledged::No })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    Yes,
    No,
}

/// Connects so many publishers, has them publish for so long, and returns when all are answered: how long that took.
///
/// # Errors
/// [`PublishersError::Connect`] before anything is published.
pub(super) async fn run(
    load: &Arc<Load>,
    target: Target,
    publishers: u32,
    duration: Duration,
) -> Result<Duration, PublishersError> {
    let mut connections = Vec::new();
    for connected in 0..publishers as usize {
        let connection = target.connect().await;
        connections
            .push(connection.map_err(|source| PublishersError::Connect { connected, source })?);
    }
    let target = Arc::new(target);
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let until = started + duration;
    let tasks = connections.into_iter().enumerate().map(|(publisher, connection)| {
        tokio::spawn(publish(
            load.clone(),
            target.clone(),
            next.clone(),
            publisher,
            connection,
            until,
        ))
    });
    // A task that panicked has said so on standard error.
    drop(join_all(tasks).await);
    Ok(started.elapsed())
}

/// One publisher.
async fn publish(
    load: Arc<Load>,
    target: Arc<Target>,
    next: Arc<AtomicUsize>,
    publisher: usize,
    mut connection: SendRequest<Full<Bytes>>,
    until: Instant,
) {
    loop {
        let due = Instant::now();
        if due >= until {
            break;
        }
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= EVENTS_MAX {
            break;
        }
        match target.publish(&mut connection, load.data(number, due)).await {
            Ok(Acknowledged::Yes) => load.acknowledge(number, publisher, due),
            refused => {
                load.count_failed();
                sleep(FAILURE_PAUSE).await;
                if refused.is_err()
                    && let Ok(new) = target.connect().await
                {
                    connection = new;
                }
            }
        }
    }
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
/// A server that refuses or is away is not asked as fast as it can refuse.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

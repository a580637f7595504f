//! Requests that come to a server after another one has taken the log over: [`pass_on`] has that one answer them.
//!
//! New connections are the other server's from the start. Here are those of clients which keep one open: their next
//! request is passed on, and the answer asks HTTP/1.1 clients to connect anew. So nobody's request meets a connection
//! that was closed while it was on its way.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::publish::shutting_down;
use super::{App, Code, Problem};

/// Has the successor answer a request.
pub(super) async fn pass_on(successor: SocketAddr, request: Request<Body>) -> Response {
    exchange(successor, request).await.unwrap_or_else(|error| {
        tracing::warn!(%successor, %error, "a request could not be passed on");
        shutting_down("the server is shutting down").into_response()
    })
}

/// The answer to a request whose whole body was read; the successor's, where the log was handed over meanwhile.
pub(super) async fn or_pass_on(
    app: &App,
    result: Result<Response, Problem>,
    request: impl FnOnce() -> WholeRequest,
) -> Result<Response, Problem> {
    let is_closed = matches!(&result, Err(problem) if problem.code() == Code::ShuttingDown);
    match app.successor() {
        Some(successor) if is_closed => Ok(pass_on(successor, request().into_request()).await),
        _ => result,
    }
}

/// What a handler keeps of a request, so that it can be passed on.
pub(in crate::http) struct WholeRequest {
    pub(in crate::http) method: Method,
    pub(in crate::http) uri: Uri,
    pub(in crate::http) headers: HeaderMap,
    pub(in crate::http) body: Bytes,
}

impl WholeRequest {
    fn into_request(self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// How many requests of a server are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    open: AtomicUsize,
    answered: Notify,
}

/// One of them.
pub(super) struct OpenRequest<'a>(&'a Requests);

impl Requests {
    pub(super) fn begin(&self) -> OpenRequest<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(self)
    }

    /// Waits until there is none.
    pub(crate) async fn none_open(&self) {
        loop {
            let answered = self.answered.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            answered.await;
        }
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Release) == 1 {
            self.0.answered.notify_waiters();
        }
    }
}

async fn exchange(successor: SocketAddr, mut request: Request<Body>) -> io::Result<Response> {
    if request.method() == Method::CONNECT {
        return Err(io::Error::other("a tunnel can't be passed on"));
    }
    let client_version = request.version();
    let client_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let host = request.uri().authority().map(|authority| authority.to_string());
    *request.version_mut() = Version::HTTP_11;
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(&host).ok()) {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    let wants_upgrade = request.headers().contains_key(UPGRADE);
    if !wants_upgrade {
        remove_hop_by_hop(request.headers_mut());
    }

    let stream = TcpStream::connect(successor).await?;
    stream.set_nodelay(true)?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
    // It ends with the response's body, or when either side goes.
    tokio::spawn(connection.with_upgrades());
    let mut response = sender.send_request(request).await.map_err(io::Error::other)?;

    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(client) = client_upgrade {
            let server = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
                    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                    // Either side's end is the end of both, whatever the reason.
                    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
                }
            });
        }
    } else {
        remove_hop_by_hop(response.headers_mut());
        if client_version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    Ok(response.map(Body::new))
}

/// Removes what is said of one connection only.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in [CONNECTION, KEEP_ALIVE, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

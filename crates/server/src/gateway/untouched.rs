//! Answers that are not recorded event by event: given to one client as upstream gave them, or read whole.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::dialect::Failure;
use super::stream::is_of_one_exchange;
use crate::http::{Code, Problem};

/// An answer as upstream gave it, byte by byte.
pub(super) fn answer(response: reqwest::Response) -> Response {
    let (status, headers) = (response.status(), response.headers().clone());
    with_head(status, &headers, Body::from_stream(response.bytes_stream()), Keep::Encoding)
}

/// An answer of which this much was read, and nothing is kept.
pub(super) fn begun(
    status: StatusCode,
    headers: &HeaderMap,
    read: Bytes,
    rest: BoxStream<'static, reqwest::Result<Bytes>>,
) -> Response {
    let body = Body::from_stream(stream::iter([Ok(read)]).chain(rest));
    with_head(status, headers, body, Keep::Encoding)
}

/// An error that upstream told within a stream, as an answer of its own.
pub(super) fn failed(headers: &HeaderMap, failure: Failure) -> Response {
    let mut response = with_head(failure.status, headers, Body::from(failure.body), Keep::Nothing);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Which of the headers that are about a body are true of the new one too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// The bytes are the same.
    Encoding,
    Nothing,
}

fn with_head(status: StatusCode, headers: &HeaderMap, body: Body, keep: Keep) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        let is_of_body =
            ["content-encoding", "content-length", "set-cookie", "date"].contains(&name.as_str());
        if !is_of_one_exchange(name) || (is_of_body && keep == Keep::Encoding) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// What was read of a body.
pub(super) enum Read {
    Whole(Bytes),
    /// There is more than may be kept.
    Begun(Bytes),
}

/// Reads a body, up to so many bytes.
///
/// # Errors
/// A [`Problem`] where upstream breaks off, or is silent for longer than `idle`.
pub(super) async fn read_up_to(
    body: &mut BoxStream<'static, reqwest::Result<Bytes>>,
    bytes_max: usize,
    idle: Duration,
) -> Result<Read, Problem> {
    let mut read = BytesMut::new();
    loop {
        match tokio::time::timeout(idle, body.next()).await {
            Ok(Some(Ok(piece))) => read.extend_from_slice(&piece),
            Ok(None) => return Ok(Read::Whole(read.freeze())),
            Ok(Some(Err(_))) => {
                return Err(Problem::new(Code::UpstreamBroken, "upstream broke off in its answer"));
            }
            Err(_) => {
                let detail = format_args!("upstream sent nothing for {idle:?}");
                return Err(Problem::new(Code::UpstreamTimeout, detail));
            }
        }
        if read.len() > bytes_max {
            return Ok(Read::Begun(read.freeze()));
        }
    }
}

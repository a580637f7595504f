//! Upstream: what is sent there, and what comes back. Read [`Upstream::send`].
//!
//! An answer's bytes are given as they come. Only where they are recorded, a compression that upstream applied is undone.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};

use super::RouteOptions;
use crate::http::{Code, Problem};

/// The upstream of a route, with its connections.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    client: reqwest::Client,
}

/// What is asked of upstream.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: reqwest::Body,
}

/// Why upstream did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum SendError {
    /// No connection, or none that lasted to the answer.
    #[error("upstream could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// It let the time pass.
    #[error("upstream did not answer within {0:?}")]
    Silent(Duration),
}

impl SendError {
    pub(super) fn problem(&self, route: &RouteOptions) -> Problem {
        match self {
            SendError::Unreachable(source) => {
                // Told to the client without the cause: it may name hosts that are none of its business.
                tracing::warn!(
                    route = route.prefix,
                    upstream = %route.upstream,
                    error = source as &dyn std::error::Error,
                    "upstream failed"
                );
                let code = if source.is_timeout() {
                    Code::UpstreamTimeout
                } else {
                    Code::UpstreamUnreachable
                };
                Problem::new(code, self)
            }
            SendError::Silent(_) => {
                tracing::warn!(route = route.prefix, upstream = %route.upstream, "{self}");
                Problem::new(Code::UpstreamTimeout, self)
            }
        }
    }
}

impl Upstream {
    /// # Errors
    /// Where TLS can't be set up.
    pub(super) fn new(route: &RouteOptions) -> Result<Upstream, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_millis(route.connect_timeout_ms))
            // Providers close idle connections after about a minute; a request on one that is being closed would fail.
            .pool_idle_timeout(POOL_IDLE)
            .tcp_nodelay(true)
            .build()?;
        Ok(Upstream { client })
    }

    /// Sends a request and waits for the answer's head.
    ///
    /// # Errors
    /// [`SendError`].
    pub(super) async fn send(
        &self,
        ask: Ask,
        timeout: Duration,
    ) -> Result<reqwest::Response, SendError> {
        let request = self.client.request(ask.method, ask.url).headers(ask.headers).body(ask.body);
        match tokio::time::timeout(timeout, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            // Its URL may hold a key of the client's.
            Ok(Err(error)) => Err(SendError::Unreachable(error.without_url())),
            Err(_) => Err(SendError::Silent(timeout)),
        }
    }
}

/// The URL at which upstream has what `rest`, with its query, asks for.
pub(super) fn url(route: &RouteOptions, rest: &str, query: Option<&str>) -> String {
    let base = route.upstream.to_string();
    let base = base.strip_suffix('/').unwrap_or(&base);
    match query {
        Some(query) => format!("{base}{rest}?{query}"),
        None => format!("{base}{rest}"),
    }
}

/// What upstream gets of a client's headers.
pub(super) fn request_headers(route: &RouteOptions, client: &HeaderMap, wants: Wants) -> HeaderMap {
    let mut headers = client.clone();
    let named: Vec<HeaderName> = client
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_ONE_CONNECTION).chain(&route.strip_headers) {
        headers.remove(name);
    }
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("longwave-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    join_cookies(&mut headers);
    // What is recorded must be read, so nothing is asked for that can't be.
    let takes_gzip = client
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.contains("gzip")));
    let encoding = match wants {
        Wants::Anything if takes_gzip => "gzip",
        _ => "identity",
    };
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    for (name, value) in &route.add_headers {
        headers.insert(name, value.clone());
    }
    headers
}

/// Puts cookies into one header, which HTTP/2 sends one by one, and HTTP/1.1 knows only together.
fn join_cookies(headers: &mut HeaderMap) {
    if let Some(Ok(joined)) = cookies(headers).map(|joined| HeaderValue::from_bytes(&joined)) {
        headers.insert(header::COOKIE, joined);
    }
}

/// The cookies of a request, as HTTP/1.1 has them; `None` where it has none.
pub(super) fn cookies(headers: &HeaderMap) -> Option<Vec<u8>> {
    let values: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    (!values.is_empty()).then(|| values.join(&b"; "[..]))
}

/// What kind of answer a request is likely to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// A stream: the request says so.
    Stream,
    /// It does not say.
    Anything,
}

/// An answer's body in plain bytes, as they come.
pub(super) type Pieces = BoxStream<'static, Result<Bytes, BrokenOff>>;

/// A body ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("upstream broke off")]
pub(super) struct BrokenOff(#[source] pub(super) Box<dyn std::error::Error + Send + Sync>);

/// A stream's bytes, decompressed where upstream compressed them.
///
/// # Errors
/// [`Code::UpstreamInvalid`] for a compression that the gateway can't undo.
pub(super) fn pieces(response: reqwest::Response) -> Result<Pieces, Problem> {
    let encoding = response.headers().get(header::CONTENT_ENCODING).cloned();
    let encoding = encoding.as_ref().map_or("", |value| value.to_str().unwrap_or("?")).trim();
    // Its URL may hold a key of the client's.
    let broken = |error: reqwest::Error| BrokenOff(error.without_url().into());
    let plain = response.bytes_stream().map(move |piece| piece.map_err(broken));
    let decoder = match encoding {
        "" | "identity" => return Ok(plain.boxed()),
        "gzip" | "x-gzip" => Decompressor::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
        "deflate" => Decompressor::Zlib(Box::new(ZlibDecoder::new(Vec::new()))),
        other => {
            return Err(Problem::new(
                Code::UpstreamInvalid,
                format_args!(
                    "upstream compressed its stream by {other:?}, though it was not asked to"
                ),
            ));
        }
    };
    let decoded =
        plain.flat_map(|piece| stream::iter(slices(piece))).scan(decoder, |decoder, piece| {
            let piece = piece.and_then(|piece| {
                decoder.decompress(&piece).map_err(|error| BrokenOff(error.into()))
            });
            std::future::ready(Some(piece))
        });
    Ok(decoded.boxed())
}

/// A compressed piece in slices: a few bytes may stand for a thousand times as many, all of which are held at once.
fn slices(piece: Result<Bytes, BrokenOff>) -> impl Iterator<Item = Result<Bytes, BrokenOff>> {
    let (mut rest, mut error) = match piece {
        Ok(bytes) => (bytes, None),
        Err(error) => (Bytes::new(), Some(error)),
    };
    std::iter::from_fn(move || match rest.len() {
        0 => error.take().map(Err),
        len => Some(Ok(rest.split_to(len.min(COMPRESSED_BYTES_MAX)))),
    })
}

/// Undoes a compression, giving all that each piece lets know.
enum Decompressor {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zlib(Box<ZlibDecoder<Vec<u8>>>),
}

impl Decompressor {
    fn decompress(&mut self, piece: &[u8]) -> std::io::Result<Bytes> {
        let out = match self {
            Decompressor::Gzip(decoder) => {
                decoder.write_all(piece)?;
                decoder.flush()?;
                std::mem::take(decoder.get_mut())
            }
            Decompressor::Zlib(decoder) => {
                decoder.write_all(piece)?;
                decoder.flush()?;
                std::mem::take(decoder.get_mut())
            }
        };
        Ok(out.into())
    }
}

/// How much is decompressed at once.
const COMPRESSED_BYTES_MAX: usize = 4096;
const POOL_IDLE: Duration = Duration::from_secs(30);
/// Headers that are not passed on: the next connection has its own.
const OF_ONE_CONNECTION: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
];

//! Bodies that are published as a whole: read to their end first, then appended at once.

use std::time::Duration;

use axum::BoxError;
use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::CONNECTION;
use http_body_util::BodyExt;
use longwave_core::DataFormat;

use super::super::budget::Reservation;
use super::super::{App, Code, Problem};

/// A body, and the memory that is spoken for while it is held.
pub(crate) struct WholeBody {
    pub(in crate::http) bytes: Bytes,
    _held: Reservation,
}

impl WholeBody {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// A request's body, whoever reads the request.
pub(crate) trait RequestBody:
    HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static
{
}

impl<B> RequestBody for B where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static
{
}

/// What is the matter with a body that is too large.
#[derive(Clone, Copy)]
pub(crate) struct BodyLimit {
    pub(crate) bytes_max: usize,
    pub(crate) code: Code,
}

/// Reads a body to its end, within the limit, the time for bodies and the memory for them.
///
/// # Errors
/// The limit's code, [`Code::RequestTimeout`], [`Code::BodyIncomplete`], [`Code::Overloaded`].
pub(crate) async fn read_whole(
    app: &App,
    body: impl RequestBody,
    limit: BodyLimit,
) -> Result<WholeBody, Problem> {
    let announced = body.size_hint().lower();
    if announced > limit.bytes_max as u64 {
        return Err(too_large(limit).with("bytes", announced));
    }
    let timeout = Duration::from_millis(app.options().body_read_timeout_ms);
    tokio::time::timeout(timeout, collect(app, body, limit)).await.map_err(|_| {
        too_slow(format_args!(
            "the body did not arrive within {} seconds; a stream of events must be sent as \
             text/event-stream or with ?lines",
            timeout.as_secs_f32()
        ))
    })?
}

async fn collect(
    app: &App,
    mut body: impl RequestBody,
    limit: BodyLimit,
) -> Result<WholeBody, Problem> {
    let mut held = app.bodies().reserve()?;
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken_off(&*Into::<BoxError>::into(error)))?;
        let Ok(data) = frame.into_data() else { continue };
        let bytes = first.len() + joined.len() + data.len();
        if bytes > limit.bytes_max {
            return Err(too_large(limit));
        }
        held.set(bytes)?;
        if first.is_empty() && joined.is_empty() {
            first = detached(data);
        } else {
            joined.extend_from_slice(&std::mem::take(&mut first));
            joined.extend_from_slice(&data);
        }
    }
    let bytes = if joined.is_empty() { first } else { joined.freeze() };
    Ok(WholeBody { bytes, _held: held })
}

/// Data that holds no more memory than its own, but for a few times that where it is large.
///
/// A body is a piece of the buffer that its connection is read into, which it keeps alive: an event of some bytes would
/// cost 8 KiB or more for as long as it is held, and its connection a new buffer (`bench/publish.md`).
fn detached(data: Bytes) -> Bytes {
    if data.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&data) } else { data }
}

/// Checks that data is what its format says.
///
/// # Errors
/// [`Code::Utf8Invalid`], [`Code::JsonInvalid`].
pub(super) fn check_format(format: DataFormat, data: &[u8]) -> Result<(), Problem> {
    match format {
        DataFormat::Binary => Ok(()),
        DataFormat::Text => check_utf8(data).map(|_| ()),
        DataFormat::Json => serde_json::from_str::<serde::de::IgnoredAny>(check_utf8(data)?)
            .map(|_| ())
            .map_err(|error| Problem::new(Code::JsonInvalid, format_args!("not JSON: {error}"))),
    }
}

fn check_utf8(data: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(data).map_err(|error| {
        Problem::new(
            Code::Utf8Invalid,
            format_args!(
                "the byte at position {} is not UTF-8; send binary data as application/octet-stream",
                error.valid_up_to()
            ),
        )
        .with("position", error.valid_up_to())
    })
}

pub(super) fn broken_off(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::debug!(error, "a request's body broke off");
    Problem::new(Code::BodyIncomplete, "the body broke off before its end")
}

pub(super) fn too_slow(detail: impl std::fmt::Display) -> Problem {
    Problem::new(Code::RequestTimeout, detail)
        .with_header(CONNECTION, HeaderValue::from_static("close"))
}

fn too_large(limit: BodyLimit) -> Problem {
    Problem::new(limit.code, format_args!("the body has more than {} bytes", limit.bytes_max))
        .with("bytes_max", limit.bytes_max)
}

/// Bodies up to this size are copied. Larger ones fill a good part of the buffer that they keep alive.
const COPIED_BYTES_MAX: usize = 4 * 1024;

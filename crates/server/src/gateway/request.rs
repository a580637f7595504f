//! What a request says that may be passed on: its body, its key, and what becomes of its stream.

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri};
use http_body::Body as _;
use longwave_core::IdempotencyKey;

use super::Disconnect;
use crate::http::{
    App, BodyLimit, Code, IDEMPOTENCY_KEY, Problem, WholeBody, parse_duration_ms, read_whole,
};

/// A request's body.
pub(super) enum RequestBody {
    /// Read to its end, because what it says matters here.
    Whole(Bytes),
    /// Passed on as it comes.
    Passing(Body),
}

impl RequestBody {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            RequestBody::Whole(bytes) => bytes,
            RequestBody::Passing(_) => &[],
        }
    }

    /// How long it is, where it is passed on and that is known: not every upstream takes a body in chunks.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            RequestBody::Whole(_) => None,
            RequestBody::Passing(body) => body.size_hint().exact().filter(|bytes| *bytes > 0),
        }
    }

    pub(super) fn into_upstream(self) -> reqwest::Body {
        match self {
            RequestBody::Whole(bytes) => bytes.into(),
            RequestBody::Passing(body) if body.is_end_stream() => Bytes::new().into(),
            RequestBody::Passing(body) => reqwest::Body::wrap_stream(body.into_data_stream()),
        }
    }
}

/// Reads a request's body where something depends on it. The memory of one that was read whole is spoken for as long as
/// the second value is held.
///
/// # Errors
/// A [`Problem`] where it breaks off, or is larger than may be.
pub(super) async fn read_body(
    app: &App,
    parts: &Parts,
    body: Body,
) -> Result<(RequestBody, Option<WholeBody>), Problem> {
    let is_json = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.contains("json"));
    let is_keyed = parts.method == Method::POST && parts.headers.contains_key(IDEMPOTENCY_KEY);
    if !is_json && !is_keyed {
        return Ok((RequestBody::Passing(body), None));
    }
    let bytes_max = app.options().gateway.request_bytes_max;
    let whole = read_whole(app, body, BodyLimit { bytes_max, code: Code::BodyTooLarge }).await?;
    Ok((RequestBody::Whole(whole.bytes().clone()), Some(whole)))
}

/// A path with its query.
pub(super) fn whole_path(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

/// The key of a request, if it has one.
///
/// # Errors
/// [`Code::KeyInvalid`].
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let invalid = |detail: &dyn std::fmt::Display| {
        Problem::new(Code::KeyInvalid, format_args!("the idempotency key: {detail}"))
    };
    let text = value.to_str().map_err(|_| invalid(&"it must be plain ASCII"))?;
    IdempotencyKey::new(text).map(Some).map_err(|error| invalid(&error))
}

/// What a request says of its own stream: `continue`, `cancel`, `grace=30s`.
///
/// # Errors
/// [`Code::HeaderInvalid`].
pub(super) fn disconnect(headers: &HeaderMap) -> Result<Option<Disconnect>, Problem> {
    let Some(value) = headers.get("longwave-disconnect") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let policy = match (text, text.strip_prefix("grace=")) {
        ("continue", _) => Some(Disconnect::Continue),
        ("cancel", _) => Some(Disconnect::Cancel),
        (_, Some(time)) => parse_duration_ms(time).map(|ms| Disconnect::Grace { ms }),
        _ => None,
    };
    match policy {
        Some(policy) => Ok(Some(policy)),
        None => Err(Problem::new(
            Code::HeaderInvalid,
            "Longwave-Disconnect must be continue, cancel, or grace with a time, such as grace=30s",
        )
        .with("header", "Longwave-Disconnect")),
    }
}

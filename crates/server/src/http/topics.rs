//! Managing topics: their settings, what is known of them, their deletion, and the list of all.
//!
//! What goes over the wire is in `topics/document.rs`.

mod document;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use longwave_core::{TopicInfo, TopicName};
use longwave_store::{ConfigureError, Configured, DeleteError, ReadError, TopicsQuery};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use self::document::Quantity;
pub(super) use self::document::{SettingsRequest, TopicDocument};
use super::origin::{
    LONGWAVE_END, LONGWAVE_EVENTS, LONGWAVE_FIRST_ID, LONGWAVE_LAST_ID, LONGWAVE_SUBSCRIBERS,
};
use super::publish::{BodyLimit, disk_full, read_whole, shutting_down};
use super::successor::{WholeRequest, or_pass_on};
use super::{App, Code, Problem, Query, TopicPath};
use crate::gateway::{Right, TOKEN_PARAMETER, Viewers, Visitor, check_writable, is_of_gateway};

/// Topics in order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopicList {
    topics: Vec<TopicDocument>,
    /// What to give as `after` for the next page; null where this is the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// Creates a topic with settings, or replaces its settings.
#[utoipa::path(
    put,
    path = "/topics/{topic}",
    tag = "manage",
    params(("topic" = String, Path, description = "The topic; its slashes stand as they are")),
    request_body(content = Option<SettingsRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "The topic was there and has these settings now", body = TopicDocument),
        (status = 201, description = "The topic was created", body = TopicDocument),
        (status = "default", response = super::openapi::ProblemResponse),
    ),
)]
pub(super) async fn configure(
    State(app): State<App>,
    TopicPath(topic): TopicPath,
    query: Query,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.only(&[])?;
    check_writable(&topic)?;
    check_json(&headers)?;
    let limit = BodyLimit { bytes_max: SETTINGS_BYTES_MAX, code: Code::BodyTooLarge };
    let body = read_whole(&app, body, limit).await?;
    let result = put_settings(&app, topic, &body.bytes).await;
    let whole = WholeRequest { method: Method::PUT, uri, headers, body: body.bytes.clone() };
    or_pass_on(&app, result, || whole).await
}

async fn put_settings(app: &App, topic: TopicName, body: &[u8]) -> Result<Response, Problem> {
    let config = SettingsRequest::parse(body)?;
    let configured = app
        .log()
        .configure(topic.clone(), config)
        .await
        .map_err(|error| configure_problem(&error))?;
    let status = match configured {
        Configured::Created => StatusCode::CREATED,
        Configured::Updated => StatusCode::OK,
    };
    let info = known(app, topic).await?;
    Ok((status, Json(TopicDocument::new(app, &info))).into_response())
}

/// What is known of a topic, in a body: `GET …?info`.
pub(super) async fn info(
    app: &App,
    topic: TopicName,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    query.only(&["info", TOKEN_PARAMETER])?;
    Visitor::of(app, headers, query)?.check_topic(app, &topic, Right::Read).await?;
    let info = known(app, topic).await?;
    let mut response = Json(TopicDocument::new(app, &info)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// What is known of a topic, in headers.
#[utoipa::path(
    head,
    path = "/topics/{topic}",
    tag = "manage",
    params(("topic" = String, Path, description = "The topic; its slashes stand as they are")),
    responses(
        (
            status = 200,
            description = "The topic exists",
            headers(
                ("Longwave-First-Id" = String, description = "The id of the oldest event that can be read"),
                ("Longwave-Last-Id" = String, description = "The id of the newest event that the topic ever had"),
                ("Longwave-Events" = u64, description = "How many events can be read"),
                ("Longwave-Subscribers" = u64, description = "How many live subscriptions get its events"),
                ("Longwave-End" = String, description = "Why it ended, where it has"),
            ),
        ),
        (status = 400, description = "The topic's name is malformed"),
        (status = 401, description = "The token is not valid"),
        (status = 403, description = "There is no right to read this stream"),
        (status = 404, description = "There is no such topic"),
    ),
)]
pub(super) async fn head(
    State(app): State<App>,
    TopicPath(topic): TopicPath,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Visitor::of(&app, &headers, &query)?.check_topic(&app, &topic, Right::Read).await?;
    let info = known(&app, topic).await?;
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, text: String| {
        // Ids, numbers and reasons are plain ASCII.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    if let Some(first) = info.first {
        put(LONGWAVE_FIRST_ID, app.id(first).to_string());
    }
    if info.last.0 > 0 {
        put(LONGWAVE_LAST_ID, app.id(info.last).to_string());
    }
    put(LONGWAVE_EVENTS, info.events.to_string());
    put(LONGWAVE_SUBSCRIBERS, app.hub().subscribers(&info.topic).to_string());
    if let Some(end) = info.end {
        put(LONGWAVE_END, end.reason.to_string());
    }
    headers.insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// Deletes a topic: its events, its settings, its end.
#[utoipa::path(
    delete,
    path = "/topics/{topic}",
    tag = "manage",
    params(("topic" = String, Path, description = "The topic; its slashes stand as they are")),
    responses(
        (status = 204, description = "The topic is gone"),
        (status = "default", response = super::openapi::ProblemResponse),
    ),
)]
pub(super) async fn delete(
    State(app): State<App>,
    TopicPath(topic): TopicPath,
    query: Query,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[TOKEN_PARAMETER])?;
    Visitor::of(&app, &headers, &query)?.check_topic(&app, &topic, Right::Cancel).await?;
    let deleted = app.log().delete(topic.clone()).await;
    let result = deleted
        .map(|()| StatusCode::NO_CONTENT.into_response())
        .map_err(|error| delete_problem(&topic, &error));
    let whole = WholeRequest { method: Method::DELETE, uri, headers, body: Bytes::new() };
    or_pass_on(&app, result, || whole).await
}

/// Lists topics in order of their names.
#[utoipa::path(
    get,
    path = "/topics",
    tag = "manage",
    params(
        ("prefix" = Option<String>, Query, description = "Only topics whose names start with this"),
        ("after" = Option<String>, Query, description = "Only topics behind this one: `next` of the page before"),
        ("limit" = Option<u64>, Query, description = "At most this many", minimum = 1),
    ),
    responses(
        (status = 200, description = "The topics", body = TopicList),
        (status = "default", response = super::openapi::ProblemResponse),
    ),
)]
pub(super) async fn list(State(app): State<App>, query: Query) -> Result<Response, Problem> {
    query.only(&["prefix", "after", "limit"])?;
    let after = query.one("after")?.map(str::parse::<TopicName>).transpose()?;
    let topics_query = TopicsQuery {
        prefix: canonical_prefix(query.one("prefix")?.unwrap_or_default()),
        after,
        limit: limit(&query, app.options().topics_page_max)?,
    };
    let page = app.log().topics(topics_query).await.map_err(|error| read_problem(&error))?;
    let next = page.topics.last().filter(|_| page.more).map(|info| info.topic.to_string());
    // Where each stream takes a right of its own, they are listed at /streams, to those who began them.
    let hides_streams = app.options().gateway.viewers == Viewers::Token;
    let shown = page.topics.iter().filter(|info| !(hides_streams && is_of_gateway(&info.topic)));
    let topics = shown.map(|info| TopicDocument::new(&app, info)).collect();
    let mut response = Json(TopicList { topics, next }).into_response();
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

async fn known(app: &App, topic: TopicName) -> Result<TopicInfo, Problem> {
    match app.log().topic(topic.clone()).await {
        Ok(Some(info)) => Ok(info),
        Ok(None) => Err(not_found(&topic)),
        Err(error) => Err(read_problem(&error)),
    }
}

fn not_found(topic: &TopicName) -> Problem {
    Problem::new(Code::TopicNotFound, format_args!("there is no topic {topic}"))
        .with("topic", topic.as_str())
}

fn limit(query: &Query, limit_max: usize) -> Result<usize, Problem> {
    let Some(text) = query.one("limit")? else { return Ok(LIST_DEFAULT.min(limit_max)) };
    text.parse().ok().filter(|limit| (1..=limit_max).contains(limit)).ok_or_else(|| {
        Problem::new(
            Code::ParameterInvalid,
            format_args!("limit must be a number from 1 to {limit_max}"),
        )
        .with("parameter", "limit")
    })
}

/// A prefix in the spelling of canonical names, wherever it cuts a name off.
fn canonical_prefix(text: &str) -> String {
    let mut canonical = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-' | '/') {
            canonical.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                canonical.push_str(percent_encoding::percent_encode_byte(byte));
            }
        }
    }
    canonical
}

/// Refuses a body that says that it is something else than JSON.
///
/// # Errors
/// [`Code::MediaTypeUnsupported`].
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii();
    // What curl's -d says of everything is let pass: the body must be JSON anyway.
    let known = [b"application/json".as_slice(), b"application/x-www-form-urlencoded"];
    if known.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    Err(Problem::new(Code::MediaTypeUnsupported, "the body must be sent as application/json"))
}

fn configure_problem(error: &ConfigureError) -> Problem {
    match error {
        ConfigureError::Full => disk_full(error),
        ConfigureError::Failed => Problem::new(Code::LogFailed, error),
        ConfigureError::Closed => shutting_down(error),
        // The enum may grow; what is unknown here is the server's fault until it has a line above.
        unknown => Problem::new(Code::Internal, unknown),
    }
}

fn delete_problem(topic: &TopicName, error: &DeleteError) -> Problem {
    match error {
        DeleteError::NotFound => not_found(topic),
        DeleteError::Full => disk_full(error),
        DeleteError::Failed => Problem::new(Code::LogFailed, error),
        DeleteError::Closed => shutting_down(error),
        // The enum may grow; what is unknown here is the server's fault until it has a line above.
        unknown => Problem::new(Code::Internal, unknown),
    }
}

/// The problem that a client is told of for a read that failed.
pub(crate) fn read_problem(error: &ReadError) -> Problem {
    match error {
        ReadError::Io(source) => {
            tracing::error!(%source, "the log could not be read");
            Problem::new(Code::LogUnreadable, error)
        }
        ReadError::Closed => shutting_down(error),
        // The enum may grow; what is unknown here is the server's fault until it has a line above.
        unknown => Problem::new(Code::Internal, unknown),
    }
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// How many topics a list has unless its reader says.
const LIST_DEFAULT: usize = 100;
/// The most bytes of a body with settings.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_spelled_like_the_names_it_is_for() {
        assert_eq!(canonical_prefix("orders/4"), "orders/4");
        assert_eq!(canonical_prefix("café:a b%"), "caf%C3%A9%3Aa%20b%25");
    }
}

//! Reads as the router mounts them, and as the OpenAPI document tells of them. What they do is the transports' business.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::HeaderMap;

use super::{App, Problem, Query, TopicPath, topics};
use crate::transports;

/// What every read may ask for. The handlers read a [`Query`]; this is its description.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes the parameters that transports read one by one")]
struct ReadParameters {
    /// How events are wanted, where `Accept` can't say it.
    #[param(inline)]
    format: Option<Format>,
    /// Start behind this id; or `first`, or `now`. The header `Last-Event-ID` wins.
    after: Option<String>,
    /// Start at the newest this many events.
    #[param(minimum = 1)]
    last: Option<u64>,
    /// Start at this time (RFC 3339), or this long ago (`10m`).
    since: Option<String>,
    /// Only events of these types, separated by commas.
    #[param(rename = "type")]
    types: Option<String>,
    /// At most this many events.
    #[param(minimum = 1)]
    limit: Option<u64>,
    /// How long a JSON page waits for an event, such as `25s`.
    wait: Option<String>,
    /// Give each event's data as its JSON envelope.
    envelope: Option<String>,
    /// A token for a stream of the gateway that is read, and for each further one another.
    token: Option<Vec<String>>,
}

/// What `?format=` may say.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what the transports read")]
enum Format {
    Sse,
    Ndjson,
    Json,
    Html,
}

/// A page of events.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what the transports write")]
pub(super) struct Page {
    /// What is lost in front of the events.
    #[schema(nullable = false)]
    gap: Option<Gap>,
    /// The events, in order.
    events: Vec<Envelope>,
    /// What to give as `after` for the next page.
    cursor: String,
    /// The end that finished the read; null until then.
    #[schema(required)]
    end: Option<End>,
    /// Where several topics are read: the ends within the page.
    #[schema(nullable = false)]
    ends: Option<Vec<EndOfTopic>>,
}

/// An event.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what the transports write")]
struct Envelope {
    id: String,
    topic: String,
    /// When the log accepted it, RFC 3339.
    time: String,
    #[schema(rename = "type", nullable = false)]
    event_type: Option<String>,
    /// JSON as it was published; or text; or base64.
    data: serde_json::Value,
    /// `base64` where the data is binary.
    #[schema(nullable = false)]
    encoding: Option<String>,
}

/// Events that can't be had any more.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what the transports write")]
struct Gap {
    /// Where the reader was.
    after: String,
    /// The cursor behind which everything follows.
    resumed: String,
    /// `retention`, `epoch` or `corruption`.
    reason: String,
}

/// How a read ended.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what the transports write")]
struct End {
    id: String,
    /// RFC 3339.
    time: String,
    /// `done`, `error`, `cancelled`, `truncated`, `timeout`, `crashed` or `deleted`.
    reason: String,
}

/// How one of several topics ended.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what the transports write")]
struct EndOfTopic {
    id: String,
    topic: String,
    /// RFC 3339.
    time: String,
    /// As for an end.
    reason: String,
}

/// What a topic's URL gives as JSON.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what the handlers write")]
enum PageOrTopic {
    Page(Page),
    Topic(topics::TopicDocument),
}

/// Gives a topic's events, live or page by page; or, with `?info`, what is known of it.
#[utoipa::path(
    get,
    path = "/topics/{topic}",
    tag = "subscribe",
    params(
        ("topic" = String, Path, description = "The topic; its slashes stand as they are"),
        ("info" = Option<String>, Query, description = "Give what is known of the topic instead of its events"),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on behind this id"),
        ReadParameters,
    ),
    responses(
        (
            status = 200,
            description = "Events; or, with ?info, the topic",
            content(
                (String = "text/event-stream"),
                (String = "application/x-ndjson"),
                (PageOrTopic = "application/json"),
                (String = "text/html"),
            ),
        ),
        (status = 101, description = "A WebSocket"),
        (status = 204, description = "The topic has ended, and there is nothing behind the cursor"),
        (status = 304, description = "There is nothing behind the cursor in If-None-Match"),
        (status = "default", response = super::openapi::ProblemResponse),
    ),
)]
pub(super) async fn topic(
    State(app): State<App>,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    if query.has("info") {
        let TopicPath(topic) = TopicPath::of(request.uri())?;
        return topics::info(&app, topic, &query, request.headers()).await;
    }
    transports::topic(State(app), request).await
}

/// Gives the events of several topics, in the order of the log and under one cursor.
#[utoipa::path(
    get,
    path = "/events",
    tag = "subscribe",
    params(
        ("topic" = Vec<String>, Query, description = "A topic or a selector, up to 100 of them: * stands for one segment, a last ** for the rest"),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on behind this id"),
        ReadParameters,
    ),
    responses(
        (
            status = 200,
            description = "Events",
            content(
                (String = "text/event-stream"),
                (String = "application/x-ndjson"),
                (Page = "application/json"),
            ),
        ),
        (status = 101, description = "A WebSocket"),
        (status = 204, description = "All the topics have ended, and there is nothing behind the cursor"),
        (status = 304, description = "There is nothing behind the cursor in If-None-Match"),
        (status = "default", response = super::openapi::ProblemResponse),
    ),
)]
pub(super) async fn events(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    transports::events(State(app), request).await
}

/// The console; for programs, the places to go to.
#[utoipa::path(
    get,
    path = "/",
    tag = "operate",
    responses(
        (status = 200, description = "Where to go", content((String = "text/html"), (serde_json::Value = "application/json"))),
        (status = "default", response = super::openapi::ProblemResponse),
    ),
)]
pub(super) async fn index(query: Query, headers: HeaderMap) -> Result<Response, Problem> {
    transports::index(query, headers).await
}

/// A page of the console, or a file that it is made of.
#[utoipa::path(
    get,
    path = "/console/{path}",
    tag = "operate",
    params(("path" = String, Path, description = "A page, or the name of a file")),
    responses(
        (status = 200, description = "The page or file", content((String = "text/html"), (String = "text/javascript"), (String = "text/css"))),
        (status = "default", response = super::openapi::ProblemResponse),
    ),
)]
pub(super) async fn console(path: Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    transports::console(path, headers).await
}

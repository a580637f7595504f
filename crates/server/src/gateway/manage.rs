//! `/streams`: what streams there are, how each is, and stopping one.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};
use longwave_core::{EndReason, TopicInfo};
use longwave_store::TopicsQuery;
use serde::Serialize;
use utoipa::ToSchema;

use super::running::Stop;
use super::stream::{Heads, StreamId, TOPIC_PREFIX};
use super::view::{Position, relay};
use crate::http::{App, Code, Problem, Query, read_problem, rfc3339};

/// A stream as it is now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StreamDocument {
    id: String,
    /// `running`, or how it ended: `done`, `error`, `truncated`, `cancelled`, `timeout`, `crashed`.
    state: &'static str,
    /// The prefix of the route that it came by.
    route: String,
    /// The request that it answers.
    request: String,
    /// Its wire format; absent before upstream has answered, and of an answer that is no stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[schema(format = DateTime)]
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    first_event: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    ended: Option<String>,
    /// How many events upstream has sent, and the gateway at the end in its place.
    events: u64,
    /// How many bytes they take in the log.
    bytes: u64,
    /// How many read it now, as a stream or as a topic.
    viewers: usize,
    /// Where it is read in its provider's own dialect.
    url: String,
    /// The topic that has its events.
    topic: String,
}

/// Streams, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StreamList {
    streams: Vec<StreamDocument>,
    /// What to give as `after` for the next page; null where this is the last.
    #[schema(required = true)]
    next: Option<String>,
}

impl StreamDocument {
    fn new(app: &App, id: &StreamId, info: &TopicInfo, heads: Heads) -> StreamDocument {
        let heads_count = 1 + u64::from(heads.answer.is_some()) + u64::from(info.end.is_some());
        StreamDocument {
            id: id.to_string(),
            state: info.end.map_or("running", |end| end.reason.as_str()),
            request: format!("{} {}", heads.request.method, heads.request.path),
            route: heads.request.route,
            dialect: heads
                .answer
                .and_then(|(_, answer)| answer.body.dialect())
                .map(super::Dialect::as_str),
            model: heads.request.model,
            started: rfc3339(heads.started),
            first_event: heads.first.map(|event| rfc3339(event.time)),
            ended: info.end.map(|end| rfc3339(end.time)),
            events: info.events.saturating_sub(heads_count),
            bytes: info.bytes,
            viewers: app.hub().followers(&id.selectors()),
            url: id.path(),
            topic: info.topic.to_string(),
        }
    }
}

/// Reads a stream in its provider's own dialect: what is recorded, then what comes.
#[utoipa::path(
    get,
    path = "/streams/{id}",
    tag = "gateway",
    params(
        ("id" = String, Path, description = "The stream"),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on behind this id"),
        ("starting_after" = Option<u64>, Query, description = "Go on behind the event of this number"),
        ("info" = Option<bool>, Query, description = "Tell how the stream is, instead"),
    ),
    responses(
        (status = 200, description = "The stream", content((String = "text/event-stream"), (StreamDocument = "application/json"))),
        (status = 204, description = "The stream is over, and nothing is behind the cursor"),
        (status = "default", response = crate::http::ProblemResponse),
    ),
)]
pub(crate) async fn read(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&["info", "starting_after", "stream", "lastEventId", "last_event_id"])?;
    let id = parse_id(&id)?;
    if query.has("info") {
        return info(&app, &id).await;
    }
    let heads = known(&app, &id).await?;
    let Some((_, answer)) = heads.answer else {
        return Err(Problem::new(Code::StreamNotFound, "upstream has not answered yet"));
    };
    let position = Position::of(&app, &id, &headers, &query)?;
    relay(&app, &id, &answer, position).await
}

/// How a stream is.
pub(crate) async fn info(app: &App, id: &StreamId) -> Result<Response, Problem> {
    let (heads, info) = (known(app, id).await?, topic_info(app, id).await?);
    let mut response = Json(StreamDocument::new(app, id, &info, heads)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// Cancels a stream: upstream is stopped, and all its readers are told.
#[utoipa::path(
    delete,
    path = "/streams/{id}",
    tag = "gateway",
    params(("id" = String, Path, description = "The stream")),
    responses(
        (status = 200, description = "It is over, by this or before", body = StreamDocument),
        (status = "default", response = crate::http::ProblemResponse),
    ),
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let id = parse_id(&id)?;
    if let Some(running) = app.gateway().running(&id) {
        running.stop(Stop::Cancelled);
        running.over().await;
    } else {
        let info = topic_info(&app, &id).await?;
        if info.end.is_none() {
            let reason = EndReason::Cancelled;
            let ended =
                super::recover::end(&app, &id, &info, reason, Stop::Cancelled.detail()).await;
            ended.map_err(|error| super::recover::problem(&app, &error))?;
        }
    }
    info(&app, &id).await
}

/// Lists streams.
#[utoipa::path(
    get,
    path = "/streams",
    tag = "gateway",
    params(
        ("after" = Option<String>, Query, description = "Only streams behind this one: `next` of the page before"),
        ("limit" = Option<u64>, Query, description = "At most this many", minimum = 1),
    ),
    responses(
        (status = 200, description = "The streams", body = StreamList),
        (status = "default", response = crate::http::ProblemResponse),
    ),
)]
pub(crate) async fn list(State(app): State<App>, query: Query) -> Result<Response, Problem> {
    query.only(&["after", "limit"])?;
    let after = match query.one("after")? {
        Some(text) => Some(parse_id(text)?.topic()),
        None => None,
    };
    let limit = query.one("limit")?.and_then(|text| text.parse().ok()).unwrap_or(100);
    let topics = TopicsQuery { prefix: TOPIC_PREFIX.to_owned(), after, limit };
    let page = app.log().topics(topics).await.map_err(|error| read_problem(&error))?;
    let next =
        page.topics.last().filter(|_| page.more).and_then(|info| StreamId::of_topic(&info.topic));
    let mut streams = Vec::new();
    for info in &page.topics {
        let Some(id) = StreamId::of_topic(&info.topic) else { continue };
        let heads = Heads::read(&**app.log(), &id).await.map_err(|error| read_problem(&error))?;
        streams.extend(heads.map(|heads| StreamDocument::new(&app, &id, info, heads)));
    }
    let list = StreamList { streams, next: next.map(|id| id.to_string()) };
    let mut response = Json(list).into_response();
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

fn parse_id(text: &str) -> Result<StreamId, Problem> {
    text.parse().map_err(|_| not_found(text))
}

async fn known(app: &App, id: &StreamId) -> Result<Heads, Problem> {
    let heads = Heads::read(&**app.log(), id).await.map_err(|error| read_problem(&error))?;
    heads.ok_or_else(|| not_found(id))
}

async fn topic_info(app: &App, id: &StreamId) -> Result<TopicInfo, Problem> {
    let info = app.log().topic(id.topic()).await.map_err(|error| read_problem(&error))?;
    info.ok_or_else(|| not_found(id))
}

fn not_found(id: impl std::fmt::Display) -> Problem {
    Problem::new(
        Code::StreamNotFound,
        format_args!("there is no stream {id}, or it is kept no more"),
    )
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

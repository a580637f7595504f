//! `/streams/{id}`: reading a stream, how it is, and stopping it. The list of all is in `list.rs`, tokens in `mint.rs`.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};
use longwave_core::{EndReason, TopicInfo, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use super::access::{TOKEN_PARAMETER, Visitor};
use super::dialect::Transcript;
use super::running::Stop;
use super::stream::{Heads, StreamId};
use super::token::Right;
use super::view::{Position, relay, relay_snapshot};
use super::{recover, replay};
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
    /// What upstream says that it is; what was asked for, where upstream does not say and in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// When the client asked.
    #[schema(format = DateTime)]
    requested: String,
    /// When it was in the log: with the first event, or before upstream was asked where the request has a key.
    #[schema(format = DateTime)]
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    first_event: Option<String>,
    /// How long that took, from when the client asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_event_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    ended: Option<String>,
    /// How many events upstream has sent, and the gateway at the end in its place.
    events: u64,
    /// How many bytes they take in the log.
    bytes: u64,
    /// Tokens that it took, as far as upstream has said; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageDocument>,
    /// How many read it now, as a stream or as a topic.
    viewers: usize,
    /// Where it is read in its provider's own dialect.
    url: String,
    /// The topic that has its events.
    topic: String,
}

/// Tokens of a model, as upstream counts them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub(crate) struct UsageDocument {
    input_tokens: u64,
    output_tokens: u64,
}

impl StreamDocument {
    /// A stream by its heads and what the log has of its topic.
    pub(super) fn new(app: &App, id: &StreamId, info: &TopicInfo, heads: Heads) -> StreamDocument {
        let asked = UnixMillis(heads.request.asked_ms);
        let first = heads.first.map(|event| event.time);
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
            requested: rfc3339(asked),
            started: rfc3339(heads.started),
            first_event: first.map(rfc3339),
            first_event_ms: first.map(|time| time.0.saturating_sub(asked.0)),
            ended: info.end.map(|end| rfc3339(end.time)),
            events: info.events.saturating_sub(heads_count),
            bytes: info.bytes,
            usage: None,
            viewers: app.hub().followers(&id.selectors()),
            url: id.path(),
            topic: info.topic.to_string(),
        }
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The same, with what upstream's events say.
    fn told_by(mut self, transcript: &Transcript) -> StreamDocument {
        self.model = transcript.model().map(str::to_owned).or(self.model);
        self.usage = transcript.usage().map(|usage| UsageDocument {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
        });
        self
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
        ("snapshot" = Option<String>, Query, description = "Merge each run of deltas that is recorded into one event"),
        ("text" = Option<String>, Query, description = "Give the text of the answer as far as it goes, instead"),
        ("info" = Option<String>, Query, description = "Tell how the stream is, instead"),
        ("token" = Option<String>, Query, description = "A token with the right to read"),
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
    query.only(&[
        "info",
        "snapshot",
        "text",
        "starting_after",
        "stream",
        "lastEventId",
        "last_event_id",
        TOKEN_PARAMETER,
    ])?;
    let id = parse_id(&id)?;
    Visitor::of(&app, &headers, &query)?.check(&app, &id, Right::Read).await?;
    if query.has("info") {
        return info(&app, &id).await;
    }
    let heads = known(&app, &id).await?;
    let Some((_, answer)) = heads.answer else {
        return Err(Problem::new(Code::StreamNotFound, "upstream has not answered yet"));
    };
    if let Some(dialect) = answer.body.dialect().filter(|_| query.has("text")) {
        let text = replay::text(&**app.log(), &id, dialect).await;
        let text = text.map_err(|error| read_problem(&error))?;
        return Ok(([(CACHE_CONTROL, NO_STORE)], text).into_response());
    }
    let position = Position::of(&app, &id, &headers, &query)?;
    match query.has("snapshot") {
        true => relay_snapshot(&app, &id, &answer, position).await,
        false => relay(&app, &id, &answer, position).await,
    }
}

/// How a stream is.
pub(super) async fn info(app: &App, id: &StreamId) -> Result<Response, Problem> {
    let (heads, info) = (known(app, id).await?, topic_info(app, id).await?);
    let dialect = heads.answer.as_ref().and_then(|(_, answer)| answer.body.dialect());
    let mut document = StreamDocument::new(app, id, &info, heads);
    if let Some(dialect) = dialect {
        let read = replay::transcript(&**app.log(), id, dialect).await;
        let (transcript, _) = read.map_err(|error| read_problem(&error))?;
        document = document.told_by(&transcript);
    }
    let mut response = Json(document).into_response();
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// Cancels a stream: upstream is stopped, and all its readers are told.
#[utoipa::path(
    delete,
    path = "/streams/{id}",
    tag = "gateway",
    params(
        ("id" = String, Path, description = "The stream"),
        ("token" = Option<String>, Query, description = "A token with the right to cancel"),
    ),
    responses(
        (status = 200, description = "It is over, by this or before", body = StreamDocument),
        (status = "default", response = crate::http::ProblemResponse),
    ),
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[TOKEN_PARAMETER])?;
    let id = parse_id(&id)?;
    Visitor::of(&app, &headers, &query)?.check(&app, &id, Right::Cancel).await?;
    stop(&app, &id).await?;
    info(&app, &id).await
}

/// Cancels a stream wherever it runs. It is over then, and the log says so.
///
/// # Errors
/// A [`Problem`] where there is no such stream, or its end could not be recorded.
pub(super) async fn stop(app: &App, id: &StreamId) -> Result<(), Problem> {
    if let Some(running) = app.gateway().running(id) {
        running.stop(Stop::Cancelled);
        running.over().await;
    }
    if topic_info(app, id).await?.end.is_some() {
        return Ok(());
    }
    // Nobody runs it any more, or who did could not record its end.
    let detail = Stop::Cancelled.detail();
    let ended = recover::end(app, id, EndReason::Cancelled, detail).await;
    ended.map_err(|error| recover::problem(app, &error))?;
    match topic_info(app, id).await?.end {
        Some(_) => Ok(()),
        None => Err(Problem::new(
            Code::LogFailed,
            "the stream was stopped, and its end could not be recorded; cancel it again",
        )),
    }
}

/// The same, for clients that can send no `DELETE`.
#[utoipa::path(
    post,
    path = "/streams/{id}/cancel",
    tag = "gateway",
    params(
        ("id" = String, Path, description = "The stream"),
        ("token" = Option<String>, Query, description = "A token with the right to cancel"),
    ),
    responses(
        (status = 200, description = "It is over, by this or before", body = StreamDocument),
        (status = "default", response = crate::http::ProblemResponse),
    ),
)]
pub(crate) async fn cancel_by_post(
    app: State<App>,
    id: Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    cancel(app, id, query, headers).await
}

pub(super) fn parse_id(text: &str) -> Result<StreamId, Problem> {
    text.parse().map_err(|_| not_found(text))
}

pub(super) async fn known(app: &App, id: &StreamId) -> Result<Heads, Problem> {
    let heads = Heads::read(&**app.log(), id).await.map_err(|error| read_problem(&error))?;
    heads.ok_or_else(|| not_found(id))
}

async fn topic_info(app: &App, id: &StreamId) -> Result<TopicInfo, Problem> {
    let info = app.log().topic(id.topic()).await.map_err(|error| read_problem(&error))?;
    info.ok_or_else(|| not_found(id))
}

pub(super) fn not_found(id: impl std::fmt::Display) -> Problem {
    Problem::new(
        Code::StreamNotFound,
        format_args!("there is no stream {id}, or it is kept no more"),
    )
}

pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

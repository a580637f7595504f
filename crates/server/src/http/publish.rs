//! Publishing: `POST /topics/{topic}`. What a body is, is in `content_type.rs`; streams are in `stream.rs`.
//!
//! Start with [`publish`].

mod answer;
mod batch;
mod content_type;
mod event_stream;
mod lines;
mod request;
mod stream;
mod whole;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use longwave_core::{Append, Appended, DataFormat, Message, NewMessage, Outcome};

use self::batch::BatchRules;
use self::content_type::BodyKind;
use self::request::PublishRequest;
use super::successor::or_pass_on;
use super::{App, Code, Problem, Query, TopicPath};
use crate::gateway::check_writable;

pub(crate) use self::answer::append_problem;
pub(super) use self::answer::{PublishAnswer, disk_full, shutting_down};
pub(super) use self::batch::BatchLine;
pub(crate) use self::whole::{BodyLimit, RequestBody, WholeBody, read_whole};

/// Publishes what the body holds, and answers when it is durable.
#[utoipa::path(
    post,
    path = "/topics/{topic}",
    tag = "publish",
    params(
        ("topic" = String, Path, description = "The topic; its slashes stand as they are"),
        ("type" = Option<String>, Query, description = "The type of events that bring none of their own"),
        ("format" = Option<String>, Query, description = "How data is to be read: text, json, binary"),
        ("lines" = Option<String>, Query, description = "Each line of the text is an event, appended as it arrives"),
        ("end" = Option<String>, Query, description = "Ends the topic behind the body: done (which no value means too), error, cancelled, truncated, timeout, crashed"),
        ("ids" = Option<String>, Query, description = "What ids of a published event stream are: keys (the default), ignore"),
        ("Event-Type" = Option<String>, Header, description = "The same as the parameter type"),
        ("Idempotency-Key" = Option<String>, Header, description = "A retry under the same key is answered with the ids of the first time"),
        ("If-Match" = Option<String>, Header, description = "Publish only if this is the id of the topic's last event"),
        ("If-None-Match" = Option<String>, Header, description = "*: publish only if the topic has had no events"),
    ),
    request_body(
        description = "The event, or the events",
        content(
            (String = "text/plain"),
            (serde_json::Value = "application/json"),
            (Vec<u8> = "application/octet-stream"),
            (BatchLine = "application/x-ndjson"),
            (String = "text/event-stream"),
        ),
    ),
    responses(
        (status = 200, description = "All of it had been published before under the same key", body = PublishAnswer,
            headers(("Longwave-Duplicate" = String, description = "true"))),
        (status = 201, description = "It is in the log, as durable as the topic asks", body = PublishAnswer),
        (status = "default", response = super::openapi::ProblemResponse),
    ),
)]
pub(super) async fn publish(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    answer(&app, head, body).await
}

/// Does what a request to publish asks for.
pub(super) async fn answer(
    app: &App,
    head: Parts,
    body: impl RequestBody,
) -> Result<Response, Problem> {
    let TopicPath(topic) = TopicPath::of(&head.uri)?;
    check_writable(&topic)?;
    let query = Query::of(&head.uri)?;
    let request = PublishRequest::parse(topic, &query, &head.headers, app.log().epoch())?;
    // It lies in the connection's buffer, which can be read into again only when nobody needs it any more.
    drop(head);
    app.metrics().publish(request.kind.as_str());
    let limit = match request.kind {
        BodyKind::Single(_) => {
            BodyLimit { bytes_max: app.options().event_bytes_max, code: Code::EventTooLarge }
        }
        BodyKind::Batch => {
            BodyLimit { bytes_max: app.options().batch_bytes_max, code: Code::BatchTooLarge }
        }
        BodyKind::EventStream | BodyKind::Lines => {
            return stream::publish(app.clone(), request, Body::new(body)).await;
        }
    };
    let body = read_whole(app, body, limit).await?;
    let restated = request.clone();
    let result = match request.kind {
        BodyKind::Single(format) => single(app, request, format, &body.bytes).await,
        _ => batch(app, request, &body.bytes).await,
    };
    or_pass_on(app, result, || restated.restate(app.log().epoch(), body.bytes.clone())).await
}

/// A body that is one event; an empty one is none where the topic is to end.
async fn single(
    app: &App,
    request: PublishRequest,
    format: DataFormat,
    body: &Bytes,
) -> Result<Response, Problem> {
    let mut messages = Vec::new();
    if !body.is_empty() || request.end.is_none() {
        whole::check_format(format, body)?;
        let message =
            Message { event_type: request.event_type, format, data: body.clone(), source: None };
        messages.push(NewMessage { message, key: None });
    }
    let append = Append {
        topic: request.topic.clone(),
        messages,
        end: request.end,
        key: request.key,
        expected: request.expected,
    };
    let appended = app.log().append(append).await.map_err(|error| append_problem(app, &error))?;
    if appended.outcome == Outcome::New {
        app.metrics().published(appended.count.into());
    }
    Ok(answer::published(app, &request.topic, appended, request.end))
}

/// A body with an event a line, appended together or not at all.
async fn batch(app: &App, request: PublishRequest, body: &[u8]) -> Result<Response, Problem> {
    let rules = BatchRules {
        event_type: request.event_type.as_ref(),
        strings: request.format.unwrap_or(DataFormat::Text),
        event_bytes_max: app.options().event_bytes_max,
        events_max: app.options().batch_events_max,
    };
    let messages = batch::parse(body, &rules)?;
    // Far below the limit: a batch is bounded.
    let offered =
        u32::try_from(messages.len()).unwrap_or(u32::MAX - 1) + u32::from(request.end.is_some());
    let append = Append {
        topic: request.topic.clone(),
        messages,
        end: request.end,
        key: request.key,
        expected: request.expected,
    };
    let appended = app.log().append(append).await.map_err(|error| append_problem(app, &error))?;
    let (count, duplicates) = match appended.outcome {
        Outcome::New => {
            app.metrics().published(appended.count.into());
            (offered, offered.saturating_sub(appended.count))
        }
        Outcome::Duplicate => (appended.count, appended.count),
    };
    let appended = Appended { count, ..appended };
    Ok(answer::published_many(app, &request.topic, appended, duplicates.into(), request.end))
}

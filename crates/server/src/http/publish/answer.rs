//! What publishers are told: [`Published`], or the problem that an append met.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use longwave_core::{Appended, EndReason, Outcome, TopicName};
use longwave_store::AppendError;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::humane::rfc3339;
use super::super::origin::LONGWAVE_DUPLICATE;
use super::super::{App, Code, Problem};

/// Where a publish went: one event, or the events of a batch or stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum PublishAnswer {
    One(Published),
    Many(PublishedMany),
}

/// Where one event went.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Published {
    /// The event's id; the end's, where there was no other event.
    #[schema(example = "7kq2f-1024")]
    id: String,
    /// The topic, in its canonical spelling.
    topic: String,
    /// When the log accepted the event.
    #[schema(format = DateTime)]
    time: String,
    /// The id of the topic's end, where the request ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

/// Where the events of a batch or stream went.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct PublishedMany {
    /// The id of the first event.
    first: String,
    /// The id of the last event, an end included.
    last: String,
    /// How many events of the body are in the log, an end included.
    count: u64,
    /// How many of them were there before: their keys had been seen.
    #[serde(skip_serializing_if = "is_zero")]
    duplicates: u64,
    /// The topic, in its canonical spelling.
    topic: String,
    /// When the log accepted the last event.
    #[schema(format = DateTime)]
    time: String,
    /// The id of the topic's end, where the request ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The answer to a single event.
pub(super) fn published(
    app: &App,
    topic: &TopicName,
    appended: Appended,
    end: Option<EndReason>,
) -> Response {
    let body = Published {
        id: app.id(appended.first).to_string(),
        topic: topic.to_string(),
        time: rfc3339(appended.time),
        end: end.map(|_| app.id(appended.last).to_string()),
    };
    respond(appended.outcome, PublishAnswer::One(body))
}

/// The answer to a batch or stream. `appended` counts all events of the body, `duplicates` those that were there before.
pub(super) fn published_many(
    app: &App,
    topic: &TopicName,
    appended: Appended,
    duplicates: u64,
    end: Option<EndReason>,
) -> Response {
    let body = PublishedMany {
        first: app.id(appended.first).to_string(),
        last: app.id(appended.last).to_string(),
        count: appended.count.into(),
        duplicates,
        topic: topic.to_string(),
        time: rfc3339(appended.time),
        end: end.map(|_| app.id(appended.last).to_string()),
    };
    respond(appended.outcome, PublishAnswer::Many(body))
}

/// A duplicate is answered `200`, since it created nothing, with the ids that were given the first time.
fn respond(outcome: Outcome, body: PublishAnswer) -> Response {
    match outcome {
        Outcome::New => (StatusCode::CREATED, Json(body)).into_response(),
        Outcome::Duplicate => {
            let mut response = (StatusCode::OK, Json(body)).into_response();
            response.headers_mut().insert(LONGWAVE_DUPLICATE, HeaderValue::from_static("true"));
            response
        }
    }
}

/// The problem that a publisher is told of for an append that failed.
pub(crate) fn append_problem(app: &App, error: &AppendError) -> Problem {
    match error {
        AppendError::Fenced { last } => {
            let problem = Problem::new(Code::Fenced, error);
            match last.0 {
                0 => problem.with("last", serde_json::Value::Null),
                _ => problem.with("last", app.id(*last).to_string()),
            }
        }
        AppendError::Ended { seq, reason } => Problem::new(Code::TopicEnded, error)
            .with("end", app.id(*seq).to_string())
            .with("reason", reason.as_str()),
        AppendError::KeyReused { first } => {
            let problem = Problem::new(Code::KeyReused, error);
            match first.0 {
                0 => problem,
                _ => problem.with("first", app.id(*first).to_string()),
            }
        }
        AppendError::Empty => Problem::new(Code::NothingToPublish, error),
        AppendError::TooLarge { bytes, bytes_max } => Problem::new(Code::BatchTooLarge, error)
            .with("bytes", *bytes)
            .with("bytes_max", *bytes_max),
        AppendError::Full => disk_full(error),
        AppendError::Failed => Problem::new(Code::LogFailed, error),
        AppendError::Closed => shutting_down(error),
        // The enum may grow; what is unknown here is the server's fault until it has a line above.
        unknown => Problem::new(Code::Internal, unknown),
    }
}

pub(in crate::http) fn disk_full(error: impl std::fmt::Display) -> Problem {
    Problem::new(Code::DiskFull, format_args!("{error}; publishing works again when there is room"))
        .with_header(RETRY_AFTER, HeaderValue::from_static("10"))
}

pub(in crate::http) fn shutting_down(error: impl std::fmt::Display) -> Problem {
    Problem::new(Code::ShuttingDown, error).with_header(RETRY_AFTER, HeaderValue::from_static("5"))
}

//! What publishers are told: [`Published`], or the problem that an append met.

use std::fmt::Write as _;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use longwave_core::{Appended, EndReason, EventId, Outcome, TopicName, UnixMillis};
use longwave_store::AppendError;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::humane::rfc3339;
use super::super::origin::LONGWAVE_DUPLICATE;
use super::super::{App, Code, Problem};

/// Where a publish went: one event, or the events of a batch or stream.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum PublishAnswer {
    One(Published),
    Many(PublishedMany),
}

/// Where one event went.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct Published {
    /// The event's id; the end's, where there was no other event.
    #[schema(value_type = String, example = "7kq2f-1024")]
    id: EventId,
    /// The topic, in its canonical spelling.
    #[schema(value_type = String)]
    topic: TopicName,
    /// When the log accepted the event.
    #[schema(value_type = String, format = DateTime)]
    time: UnixMillis,
    /// The id of the topic's end, where the request ended it.
    #[schema(value_type = Option<String>)]
    end: Option<EventId>,
}

impl Published {
    /// Written by hand, since it was a tenth of all that a publish takes besides system calls (`bench/publish.md`).
    /// No part of it has a character that JSON escapes.
    fn to_json(&self) -> String {
        let Published { id, topic, time, end } = self;
        let mut json = String::with_capacity(JSON_BYTES);
        // Writing to a string does not fail.
        let _ = write!(json, r#"{{"id":"{id}","topic":"{topic}","time":"{}""#, rfc3339(*time));
        if let Some(end) = end {
            let _ = write!(json, r#","end":"{end}""#);
        }
        json.push('}');
        json
    }
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
        id: app.id(appended.first),
        topic: topic.clone(),
        time: appended.time,
        end: end.map(|_| app.id(appended.last)),
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
fn respond(outcome: Outcome, answer: PublishAnswer) -> Response {
    let mut response = match answer {
        PublishAnswer::One(published) => {
            let mut response = Response::new(Body::from(published.to_json()));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        PublishAnswer::Many(published) => Json(published).into_response(),
    };
    *response.status_mut() = match outcome {
        Outcome::New => StatusCode::CREATED,
        Outcome::Duplicate => StatusCode::OK,
    };
    if outcome == Outcome::Duplicate {
        response.headers_mut().insert(LONGWAVE_DUPLICATE, HeaderValue::from_static("true"));
    }
    response
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

/// Enough for the answer to an event of a topic whose name is not long.
const JSON_BYTES: usize = 160;

#[cfg(test)]
mod tests {
    use longwave_core::{Epoch, Seq};

    use super::*;

    #[test]
    fn the_answer_to_one_event_is_json_whatever_the_topic_is_called() {
        let id = |seq| EventId { epoch: Epoch::from_random(7), seq: Seq(seq) };
        for name in ["a", "orders/42", "quote%22/back%5Cslash", "\u{e9}t\u{e9}/\u{1f4fb}"] {
            let topic: TopicName = name.parse().unwrap();
            for end in [None, Some(id(u64::MAX))] {
                let time = UnixMillis(1_795_190_400_123);
                let answer = Published { id: id(1), topic: topic.clone(), time, end };
                let json: serde_json::Value = serde_json::from_str(&answer.to_json()).unwrap();
                let mut expected = serde_json::json!({
                    "id": id(1).to_string(),
                    "topic": topic.to_string(),
                    "time": "2026-11-20T16:00:00.123Z",
                });
                if let Some(end) = end {
                    expected["end"] = end.to_string().into();
                }
                assert_eq!(json, expected);
            }
        }
    }
}

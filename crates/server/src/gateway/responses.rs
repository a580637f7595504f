//! OpenAI's own calls to come back to a response, answered from the record of it: [`handle`].
//!
//! `GET …/responses/{id}`, with `stream=true&starting_after=N` or without, and `POST …/responses/{id}/cancel`. A response
//! is known to the client that asked for it, by upstream's own id. What is not known here is upstream's to answer.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use longwave_core::EndReason;
use serde_json::{Value, json};

use super::access::Visitor;
use super::alias::{Caller, decoded};
use super::dialect::Transcript;
use super::key::Principal;
use super::stream::{AnswerHead, Heads, RequestHead, StreamId};
use super::token::Right;
use super::view::{Position, relay, with_head};
use super::{Background, Dialect, Route, manage, replay};
use crate::http::{App, Problem, Query, read_problem};

/// Answers a call about a response; `None` where it is none, or of a response that the log does not have.
///
/// # Errors
/// A [`Problem`] where the call can't be understood, or the log can't be read or written.
pub(super) async fn handle(
    app: &App,
    route: &Route,
    parts: &Parts,
    visitor: &Visitor,
) -> Result<Option<Response>, Problem> {
    let Some(Call { kind, created_at, id }) = Call::of(&parts.method, parts.uri.path()) else {
        return Ok(None);
    };
    let principal = Principal::of(&parts.headers, &route.options.principal_headers);
    let alias = Caller::new(&route.options, principal).response(app, created_at, &id);
    let Some(id) = alias.stream(app).await.map_err(|error| read_problem(&error))? else {
        return Ok(None);
    };
    let Some((request, answer)) = record(app, &id).await? else { return Ok(None) };
    visitor.check_known(app, &id, &request, kind.right())?;
    match kind {
        Kind::Cancel => manage::stop(app, &id).await?,
        Kind::Retrieve => {
            let query = Query::of(&parts.uri)?;
            if query.all("stream").last() == Some("true") {
                let position = Position::of(app, &id, &parts.headers, &query)?;
                return stream(app, &id, &answer, position).await.map(Some);
            }
        }
    }
    object(app, &id, &request, &answer).await.map(Some)
}

/// A response as it stands: the last one that was said whole, and how it is now.
///
/// # Errors
/// A [`Problem`] where the log can't be read.
pub(super) async fn object(
    app: &App,
    id: &StreamId,
    request: &RequestHead,
    answer: &AnswerHead,
) -> Result<Response, Problem> {
    let log = &**app.log();
    // Before the events: where there is an end then, none of them is missing.
    let info = log.topic(id.topic()).await.map_err(|error| read_problem(&error))?;
    let end = info.and_then(|info| info.end).map(|end| end.reason);
    let read = replay::transcript(log, id, Dialect::OpenaiResponses).await;
    let (transcript, _) = read.map_err(|error| read_problem(&error))?;
    let mut standing = standing(&transcript, end);
    if let Some(Value::Object(members)) = request.background.map(|_| &mut standing) {
        members.insert("background".to_owned(), true.into());
    }
    let mut response = with_head(id, answer, Body::from(standing.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A call about a response that there is.
#[derive(Debug, PartialEq, Eq)]
struct Call<'a> {
    kind: Kind,
    created_at: &'a str,
    id: Cow<'a, str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Retrieve,
    Cancel,
}

impl Kind {
    /// What the call takes.
    fn right(self) -> Right {
        match self {
            Kind::Retrieve => Right::Read,
            Kind::Cancel => Right::Cancel,
        }
    }
}

impl<'a> Call<'a> {
    fn of(method: &Method, path: &'a str) -> Option<Call<'a>> {
        let path = path.trim_end_matches('/');
        let (kind, path) = match *method {
            Method::GET => (Kind::Retrieve, path),
            Method::POST => (Kind::Cancel, path.strip_suffix("/cancel")?),
            _ => return None,
        };
        let (created_at, id) = path.rsplit_once('/')?;
        let is_call = created_at.ends_with("/responses");
        is_call.then_some(Call { kind, created_at, id: decoded(id)? })
    }
}

/// The heads of a stream whose record is enough to answer by; `None` where it is gone, or upstream may have more.
async fn record(app: &App, id: &StreamId) -> Result<Option<(RequestHead, AnswerHead)>, Problem> {
    let heads = Heads::read(&**app.log(), id).await.map_err(|error| read_problem(&error))?;
    let Some(Heads { request, answer: Some((_, answer)), .. }) = heads else { return Ok(None) };
    if request.background == Some(Background::Upstream) {
        let info = app.log().topic(id.topic()).await.map_err(|error| read_problem(&error))?;
        let end = info.and_then(|info| info.end).map(|end| end.reason);
        let was_lost = [EndReason::Truncated, EndReason::Timeout, EndReason::Crashed];
        if end.is_some_and(|reason| was_lost.contains(&reason)) {
            return Ok(None);
        }
    }
    Ok(Some((request, answer)))
}

/// A response's events. Where nothing is left of them, an empty stream: SDKs take no other answer.
async fn stream(
    app: &App,
    id: &StreamId,
    answer: &AnswerHead,
    position: Position,
) -> Result<Response, Problem> {
    let mut response = relay(app, id, answer, position).await?;
    if response.status() == StatusCode::NO_CONTENT {
        *response.status_mut() = StatusCode::OK;
        let content_type = answer.header_map().remove(CONTENT_TYPE);
        response.headers_mut().extend(content_type.map(|value| (CONTENT_TYPE, value)));
    }
    Ok(response)
}

/// The last whole response that was said, with the status that fits the stream's end.
fn standing(transcript: &Transcript, end: Option<EndReason>) -> Value {
    let mut response = transcript.response().filter(Value::is_object).unwrap_or_else(|| {
        let id = transcript.response_id().unwrap_or_default();
        json!({ "id": id, "object": "response", "status": "in_progress", "output": [] })
    });
    let said = response.get("status").and_then(Value::as_str).unwrap_or_default();
    let Some(end) = end.filter(|_| !FINAL.contains(&said)) else { return response };
    let (status, error) = match end {
        EndReason::Done => ("completed", Value::Null),
        EndReason::Cancelled => ("cancelled", Value::Null),
        _ => ("failed", error_of(transcript, end)),
    };
    if let Value::Object(members) = &mut response {
        members.insert("status".to_owned(), status.into());
        members.insert("error".to_owned(), error);
    }
    response
}

/// What failed, as responses say it.
fn error_of(transcript: &Transcript, end: EndReason) -> Value {
    let body: Value = transcript
        .error()
        .and_then(|failure| serde_json::from_slice(&failure.body).ok())
        .unwrap_or_default();
    let said = body.get("error").and_then(|error| error.get("message")).and_then(Value::as_str);
    let message = said.map_or_else(|| format!("the stream ended: {end}"), str::to_owned);
    json!({ "code": "server_error", "message": message })
}

/// The statuses of responses that change no more.
const FINAL: [&str; 4] = ["completed", "incomplete", "failed", "cancelled"];

#[cfg(test)]
mod tests {
    use super::super::dialect::Piece;
    use super::*;

    #[test]
    fn calls_about_a_response_are_told_from_others() {
        let of = |method: &str, path: &'static str| {
            let call = Call::of(&method.parse().unwrap(), path)?;
            Some((call.kind, call.created_at, call.id.into_owned()))
        };
        let retrieve = (Kind::Retrieve, "/v1/responses", "resp_1".to_owned());
        assert_eq!(of("GET", "/v1/responses/resp_1"), Some(retrieve.clone()));
        assert_eq!(of("GET", "/v1/responses/resp%5F1/"), Some(retrieve));
        let cancel = (Kind::Cancel, "/v1/responses", "resp_1".to_owned());
        assert_eq!(of("POST", "/v1/responses/resp_1/cancel"), Some(cancel));
        for (method, path) in [
            ("POST", "/v1/responses"),
            ("GET", "/v1/responses/"),
            ("GET", "/v1/responses/resp_1/input_items"),
            ("DELETE", "/v1/responses/resp_1"),
            ("POST", "/v1/responses/resp_1"),
            ("GET", "/v1/models/m"),
            ("GET", "/v1/responses/%ff"),
        ] {
            assert_eq!(of(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn a_response_stands_as_its_stream_does() {
        let mut transcript = Transcript::new(Dialect::OpenaiResponses);
        let status = |transcript: &Transcript, end| standing(transcript, end)["status"].clone();
        assert_eq!(status(&transcript, None), "in_progress");
        let mut take = |data: &str| {
            transcript.take(Piece { event_type: None, data: data.as_bytes() });
        };
        take(r#"{"type":"response.created","response":{"id":"r","status":"queued","x":1}}"#);
        take(r#"{"type":"error","code":"server_error","message":"it broke"}"#);
        assert_eq!(standing(&transcript, None), json!({ "id": "r", "status": "queued", "x": 1 }));
        assert_eq!(
            standing(&transcript, Some(EndReason::Error)),
            json!({
                "id": "r", "status": "failed", "x": 1,
                "error": { "code": "server_error", "message": "it broke" },
            })
        );
        assert_eq!(status(&transcript, Some(EndReason::Cancelled)), "cancelled");
        assert_eq!(status(&transcript, Some(EndReason::Done)), "completed");
        let incomplete =
            r#"{"type":"response.incomplete","response":{"id":"r","status":"incomplete"}}"#;
        transcript.take(Piece { event_type: None, data: incomplete.as_bytes() });
        assert_eq!(status(&transcript, Some(EndReason::Done)), "incomplete");
    }
}

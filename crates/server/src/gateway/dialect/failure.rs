//! An in-band failure as an ordinary HTTP error: [`Failure`].

use bytes::Bytes;
use http::StatusCode;
use longwave_core::EndReason;
use serde_json::{Value, json};

use super::transcript::Notice;

/// An in-band failure as an ordinary HTTP error of that provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub status: StatusCode,
    /// JSON, in the shape of the provider's errors that are no streams.
    pub body: Bytes,
    /// How a stream ended that said this.
    pub(super) reason: EndReason,
}

impl Failure {
    /// A failure in the shape of OpenAI's errors. `error` is the object that says it, or a bare message.
    pub(super) fn openai(error: &Value) -> Failure {
        let body = match error {
            Value::Object(_) => json!({ "error": error }),
            _ => json!({ "error": openai_error(message_of(error), "server_error", None) }),
        };
        Failure::new(error, &body)
    }

    /// A failure with a body of its own. `error` is what tells the status.
    pub(super) fn new(error: &Value, body: &Value) -> Failure {
        let code = error.get("code").and_then(Value::as_str);
        Failure {
            status: status_of(error),
            body: Bytes::from(body.to_string()),
            reason: code.and_then(Notice::reason_of).unwrap_or(EndReason::Error),
        }
    }
}

/// An error object of OpenAI's.
pub(super) fn openai_error(message: &str, kind: &str, code: Option<&str>) -> Value {
    json!({ "message": message, "type": kind, "param": null, "code": code })
}

/// What an error says to people, whether it is an object or a bare text.
pub(super) fn message_of(error: &Value) -> &str {
    let said = error.get("message").unwrap_or(error);
    said.as_str().filter(|text| !text.is_empty()).unwrap_or("the upstream reported an error")
}

/// The status that a provider gives an error of this kind where it answers with it at once.
fn status_of(error: &Value) -> StatusCode {
    let members = ["status_code", "status", "code", "type"].map(|name| error.get(name));
    members
        .into_iter()
        .flatten()
        .find_map(|said| number_status(said).or_else(|| word_status(said.as_str()?)))
        .unwrap_or(StatusCode::BAD_GATEWAY)
}

fn number_status(said: &Value) -> Option<StatusCode> {
    let number = said.as_u64().or_else(|| said.as_str()?.parse().ok())?;
    let status = StatusCode::from_u16(u16::try_from(number).ok()?).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

fn word_status(word: &str) -> Option<StatusCode> {
    let known = WORDS.iter().find(|(words, _)| words.contains(&word));
    known.and_then(|&(_, status)| StatusCode::from_u16(status).ok())
}

/// The types and codes of errors that providers name, and the status that goes with each.
const WORDS: [(&[&str], u16); 12] = [
    (
        &[
            "invalid_request_error",
            "invalid_request",
            "invalid_prompt",
            "bad_request",
            "BadRequestError",
            "context_length_exceeded",
            "content_filter",
            "content_policy_violation",
        ],
        400,
    ),
    (&["authentication_error", "invalid_api_key", "unauthorized"], 401),
    (&["billing_error"], 402),
    (&["permission_error", "permission_denied", "insufficient_permissions"], 403),
    (&["not_found_error", "not_found", "model_not_found", "NotFoundError"], 404),
    (&["request_too_large"], 413),
    (&["rate_limit_error", "rate_limit_exceeded", "insufficient_quota", "requests", "tokens"], 429),
    (&["api_error", "server_error", "internal_error", "internal_server_error"], 500),
    (&["bad_gateway", "stream_error", "stream_truncated", "stream_crashed"], 502),
    (&["service_unavailable", "engine_overloaded", "server_is_overloaded"], 503),
    (&["timeout_error", "timeout", "stream_timeout"], 504),
    (&["overloaded_error"], 529),
];

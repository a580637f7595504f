//! Which dialect a streamed answer speaks.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::text_of;
use super::{Dialect, Piece};

pub(super) fn detect(path: &str, headers: &HeaderMap, first: Piece<'_>) -> Dialect {
    if is_lines(headers) {
        return Dialect::Ollama;
    }
    if headers.contains_key(VERCEL_UI_HEADER) {
        return Dialect::VercelUi;
    }
    by_event(first).or_else(|| by_path(path)).unwrap_or(Dialect::Sse)
}

fn is_lines(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    LINE_TYPES.iter().any(|line_type| essence.trim().eq_ignore_ascii_case(line_type))
}

fn by_event(first: Piece<'_>) -> Option<Dialect> {
    let event: First<'_> = serde_json::from_slice(first.data).ok()?;
    let kind = text_of(event.kind);
    if let Some(kind) = kind.as_deref().or(first.event_type) {
        let is_one_of = |kinds: &[&str]| kinds.contains(&kind);
        if kind.starts_with("response.") {
            return Some(Dialect::OpenaiResponses);
        }
        if is_one_of(&["message_start", "ping", "content_block_start", "content_block_delta"]) {
            return Some(Dialect::Anthropic);
        }
        if is_one_of(&VERCEL_UI_PARTS) || event.error_text.is_some() {
            return Some(Dialect::VercelUi);
        }
        if kind == "error" && event.sequence_number.is_some() {
            return Some(Dialect::OpenaiResponses);
        }
        if event.kind.is_some() && kind == "error" && event.error.is_some() {
            return Some(Dialect::Anthropic);
        }
    }
    let object = text_of(event.object).unwrap_or_default();
    let is_chat =
        ["chat.completion.chunk", "chat.completion", "text_completion"].contains(&&*object);
    (is_chat || event.choices.is_some()).then_some(Dialect::OpenaiChat)
}

fn by_path(path: &str) -> Option<Dialect> {
    let path = path.trim_end_matches('/');
    if path.ends_with("/completions") {
        Some(Dialect::OpenaiChat)
    } else if path.split('/').any(|segment| segment == "responses") {
        Some(Dialect::OpenaiResponses)
    } else if path.ends_with("/messages") {
        Some(Dialect::Anthropic)
    } else {
        None
    }
}

#[derive(Deserialize)]
struct First<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    sequence_number: Option<&'a RawValue>,
    #[serde(borrow, rename = "errorText")]
    error_text: Option<&'a RawValue>,
}

const VERCEL_UI_HEADER: &str = "x-vercel-ai-ui-message-stream";

/// The content types of lines of JSON that are in use; there is no registered one.
const LINE_TYPES: [&str; 5] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json-lines",
];

/// Parts that a UI message stream starts with.
const VERCEL_UI_PARTS: [&str; 6] =
    ["start", "start-step", "text-start", "text-delta", "reasoning-start", "tool-input-start"];

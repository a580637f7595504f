//! Which dialect a streamed answer speaks.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{Text, part_of, text_of};
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

pub(super) fn expected(path: &str, headers: &HeaderMap) -> Dialect {
    if is_lines(headers) {
        // Who has no rows to tell sends no lines, too.
        let is_ollama = OLLAMA_PATHS.iter().any(|end| path.trim_end_matches('/').ends_with(end));
        return if is_ollama { Dialect::Ollama } else { Dialect::Sse };
    }
    if headers.contains_key(VERCEL_UI_HEADER) {
        return Dialect::VercelUi;
    }
    by_path(path).unwrap_or(Dialect::Sse)
}

fn is_lines(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    LINE_TYPES.iter().any(|line_type| essence.trim().eq_ignore_ascii_case(line_type))
}

/// By an event that no other stream is likely to start with: one that is taken for what it is not would be held to
/// rules that it does not know.
fn by_event(first: Piece<'_>) -> Option<Dialect> {
    let event: First<'_> = serde_json::from_slice(first.data).ok()?;
    let kind = text_of(event.kind);
    match kind.as_deref().or(first.event_type).unwrap_or_default() {
        "response.created" | "response.queued" | "response.in_progress" => {
            return Some(Dialect::OpenaiResponses);
        }
        kind if event.sequence_number.is_some()
            && (kind == "error" || kind.starts_with("response.")) =>
        {
            return Some(Dialect::OpenaiResponses);
        }
        "message_start" => return Some(Dialect::Anthropic),
        "start" if event.message_id.is_some() => return Some(Dialect::VercelUi),
        kind if VERCEL_UI_PARTS.contains(&kind) => return Some(Dialect::VercelUi),
        "error" if event.error_text.is_some() => return Some(Dialect::VercelUi),
        "error" if kind.is_some() => {
            let error = part_of(event.error);
            return error.map(|Kind { .. }| Dialect::Anthropic);
        }
        _ => {}
    }
    let is_chunk = text_of(event.object).is_some_and(|object| CHUNKS.contains(&&*object));
    let choices: Vec<Choice<'_>> = part_of(event.choices).unwrap_or_default();
    let has_news = choices.iter().any(|choice| choice.delta.or(choice.text).is_some());
    (is_chunk || has_news).then_some(Dialect::OpenaiChat)
}

pub(super) fn by_path(path: &str) -> Option<Dialect> {
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
    #[serde(borrow, rename = "messageId")]
    message_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    _kind: Text<'a>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
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

const OLLAMA_PATHS: [&str; 2] = ["/api/chat", "/api/generate"];

/// Parts that a UI message stream may start with, besides `start` with a message's id.
const VERCEL_UI_PARTS: [&str; 5] =
    ["start-step", "text-start", "text-delta", "reasoning-start", "tool-input-start"];

/// What chunks of chat and of the older completions call themselves.
const CHUNKS: [&str; 2] = ["chat.completion.chunk", "text_completion"];

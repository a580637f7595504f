//! OpenAI's Responses: typed, numbered events; whole response objects at the start and the end.

use longwave_core::EndReason;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::compact::Delta;
use super::failure::{message_of, openai_error};
use super::json::{Object, Text, part_of, text_of};
use super::shapes::{TextDelta, TokenCounts};
use super::transcript::{Known, Notice};
use super::{Closing, Failure, Meaning, Piece, Rules};

pub(super) struct OpenaiResponses;

impl Rules for OpenaiResponses {
    fn take(&self, known: &mut Known, piece: Piece<'_>) -> Meaning {
        // OpenAI ends without it; some who follow it don't.
        if piece.is_done_marker() {
            return known.finish();
        }
        let Ok(event) = serde_json::from_slice::<Event<'_>>(piece.data) else {
            return Meaning::Content;
        };
        if let Some(number) = part_of(event.sequence_number) {
            known.sequence_number = Some(number);
        }
        let snapshot = event.response.and_then(|response| take_response(known, response));
        match event.kind.as_ref().map(|Text(kind)| &**kind).or(piece.event_type) {
            Some("response.completed" | "response.incomplete") => known.finish(),
            Some("response.cancelled") => known.cancel(),
            Some("response.failed") => fail(known, snapshot.as_ref()),
            Some("error") => known.fail(failure(piece)),
            Some("response.output_item.added") => match part_of(event.item) {
                Some(Item { kind: Text(kind) }) if PLAIN_ITEMS.contains(&&*kind) => {
                    Meaning::Prelude
                }
                _ => Meaning::Content,
            },
            Some(kind) if PRELUDE.contains(&kind) || kind.ends_with(".done") => Meaning::Prelude,
            _ => Meaning::Content,
        }
    }

    fn closing(&self, known: &Known, notice: Notice<'_>) -> Vec<Closing> {
        let number = known.sequence_number.map_or(0, |last| last.saturating_add(1));
        // In both shapes that are met: documented are the members at the top, SDKs raise an error where they see one
        // called `error`. Others hand the event on like any, so one that says the response's state follows.
        let error = json!({
            "type": "error",
            "sequence_number": number,
            "code": notice.code(),
            "message": notice.detail,
            "param": null,
            "error": openai_error(notice.detail, "server_error", Some(&notice.code())),
        });
        let failed = json!({
            "type": "response.failed",
            "sequence_number": number.saturating_add(1),
            "response": failed_response(known, notice),
        });
        vec![
            Closing { event_type: Some("error"), data: error.to_string() },
            Closing { event_type: Some("response.failed"), data: failed.to_string() },
        ]
    }

    fn delta<'a>(&self, piece: Piece<'a>) -> Option<Delta<'a>> {
        let mut event = Object::parse(piece.data)?;
        let kind = event.text("type")?;
        let kind = kind.strip_prefix("response.")?.strip_suffix(".delta")?;
        if !TEXTS.contains(&kind) || !event.is_silent("logprobs") {
            return None;
        }
        // A merged event has the last one's number and random padding. All of a run must have a number, or the last
        // one that was said could be lost.
        part_of::<u64>(event.remove("sequence_number"))?;
        event.remove("obfuscation");
        let text = event.remove_text("delta")?;
        Some(Delta::new(piece, "delta", text)?.within([event]))
    }

    fn push_text(&self, piece: Piece<'_>, text: &mut String) {
        if let Ok(TextDelta { kind: Text(kind), delta: Text(delta) }) =
            serde_json::from_slice(piece.data)
            && kind == "response.output_text.delta"
        {
            text.push_str(&delta);
        }
    }
}

/// An event's number.
pub(super) fn sequence_number(piece: Piece<'_>) -> Option<u64> {
    part_of(serde_json::from_slice::<Event<'_>>(piece.data).ok()?.sequence_number)
}

/// Takes in a whole response object.
fn take_response<'a>(known: &mut Known, response: &'a RawValue) -> Option<Response<'a>> {
    let said: Response<'a> = serde_json::from_str(response.get()).ok()?;
    known.set_response_id(said.id);
    known.set_model(said.model);
    if let Some(TokenCounts { input_tokens, output_tokens }) = part_of(said.usage) {
        known.set_usage(input_tokens, output_tokens);
    }
    known.response = Some(response.to_owned());
    Some(said)
}

fn fail(known: &mut Known, response: Option<&Response<'_>>) -> Meaning {
    if response.and_then(|said| text_of(said.status)).as_deref() == Some("cancelled") {
        return known.cancel();
    }
    let error = response.and_then(|said| serde_json::from_str(said.error?.get()).ok());
    known.fail(error_failure(&error.unwrap_or(Value::Null)))
}

/// The failure that an `error` event says: as documented in its own members, as often met in a member `error`.
fn failure(piece: Piece<'_>) -> Failure {
    let event: Value = serde_json::from_slice(piece.data).unwrap_or(Value::Null);
    match event.get("error") {
        Some(error @ Value::Object(_)) => Failure::openai(error),
        _ => {
            let members =
                ["code", "message", "param"].map(|name| (name.to_owned(), event.get(name)));
            let said = members.into_iter().map(|(name, value)| (name, value.cloned().into()));
            error_failure(&Value::Object(said.collect()))
        }
    }
}

/// A failure by an object with a code and a message, and no type.
fn error_failure(error: &Value) -> Failure {
    let code = error.get("code").and_then(Value::as_str);
    let kind = code.filter(|code| code.ends_with("_error")).unwrap_or("server_error");
    let body = json!({ "error": openai_error(message_of(error), kind, code) });
    Failure::new(error, &body)
}

fn failed_response(known: &Known, notice: Notice<'_>) -> Value {
    let last = known.response.as_deref().and_then(|raw| serde_json::from_str(raw.get()).ok());
    let mut response = match last {
        Some(response @ Value::Object(_)) => response,
        _ => json!({
            "id": known.response_id().unwrap_or_default(),
            "object": "response",
            "created_at": 0,
            "model": known.model().unwrap_or_default(),
            "output": [],
            "incomplete_details": null,
            "tools": [],
            "tool_choice": "auto",
            "parallel_tool_calls": true,
        }),
    };
    let (status, error) = if notice.reason == EndReason::Cancelled {
        ("cancelled", Value::Null)
    } else {
        ("failed", json!({ "code": "server_error", "message": notice.detail }))
    };
    if let Value::Object(members) = &mut response {
        members.insert("status".to_owned(), status.into());
        members.insert("error".to_owned(), error);
    }
    response
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    sequence_number: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// Events around content, besides those whose type ends with `.done`: they say again what deltas said.
const PRELUDE: [&str; 6] = [
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.content_part.added",
    "response.reasoning_summary_part.added",
    "keepalive",
];

/// What is sent in pieces of text. Of other deltas, such as those of base64, the joined pieces are not the whole.
const TEXTS: [&str; 9] = [
    "output_text",
    "refusal",
    "reasoning_text",
    "reasoning_summary_text",
    "function_call_arguments",
    "custom_tool_call_input",
    "mcp_call_arguments",
    "code_interpreter_call_code",
    "audio.transcript",
];

/// Items that are empty as they are added. Any other, such as a call of a function, says something by being there.
const PLAIN_ITEMS: [&str; 2] = ["message", "reasoning"];

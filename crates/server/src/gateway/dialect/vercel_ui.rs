//! The AI SDK's UI message stream: untyped events with a typed part each, `finish` as the end and `[DONE]` behind it.

use longwave_core::EndReason;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::compact::Delta;
use super::failure::message_of;
use super::json::{Object, Text, part_of};
use super::shapes::{TextDelta, TokenCounts};
use super::transcript::{Known, Notice};
use super::{Closing, Failure, Meaning, Piece, Rules};

pub(super) struct VercelUi;

impl Rules for VercelUi {
    fn take(&self, known: &mut Known, piece: Piece<'_>) -> Meaning {
        // The SDK's servers write it behind whatever their stream said, so it does not tell a clean end by itself.
        if piece.is_done_marker() {
            return Meaning::Terminal;
        }
        let Ok(part) = serde_json::from_slice::<Part<'_>>(piece.data) else {
            return Meaning::Content;
        };
        if let Some(metadata) = part_of::<Metadata<'_>>(part.message_metadata) {
            known.set_model(metadata.model);
            if let Some(TokenCounts { input_tokens, output_tokens }) = part_of(metadata.usage) {
                known.set_usage(input_tokens, output_tokens);
            }
        }
        match &*part.kind.0 {
            "start" => {
                known.set_response_id(part.message_id);
                Meaning::Prelude
            }
            "finish" => known.finish(),
            "error" => known.fail(failure(piece)),
            "abort" => known.cancel(),
            kind if PRELUDE.contains(&kind) => Meaning::Prelude,
            _ => Meaning::Content,
        }
    }

    fn closing(&self, _: &Known, notice: Notice<'_>) -> Vec<Closing> {
        let part = if notice.reason == EndReason::Cancelled {
            json!({ "type": "abort", "reason": notice.detail })
        } else {
            json!({ "type": "error", "errorText": notice.detail })
        };
        vec![Closing { event_type: None, data: part.to_string() }]
    }

    fn delta<'a>(&self, piece: Piece<'a>) -> Option<Delta<'a>> {
        let mut part = Object::parse(piece.data)?;
        let name = match &*part.text("type")? {
            "text-delta" | "reasoning-delta" => "delta",
            "tool-input-delta" => "inputTextDelta",
            _ => return None,
        };
        let text = part.remove_text(name)?;
        Some(Delta::new(piece, name, text)?.within([part]))
    }

    fn push_text(&self, piece: Piece<'_>, text: &mut String) {
        if let Ok(TextDelta { kind: Text(kind), delta: Text(delta) }) =
            serde_json::from_slice(piece.data)
            && kind == "text-delta"
        {
            text.push_str(&delta);
        }
    }
}

/// The protocol has no shape for errors that are no parts; this is the one that servers commonly answer with.
fn failure(piece: Piece<'_>) -> Failure {
    let part: Value = serde_json::from_slice(piece.data).unwrap_or(Value::Null);
    let text = part.get("errorText").unwrap_or(&Value::Null);
    Failure::new(&part, &json!({ "error": message_of(text) }))
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, rename = "messageId")]
    message_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "messageMetadata")]
    message_metadata: Option<&'a RawValue>,
}

/// The members of an application's own metadata that the SDK's documents give as examples.
#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow, alias = "totalUsage")]
    usage: Option<&'a RawValue>,
}

const PRELUDE: [&str; 8] = [
    "start-step",
    "finish-step",
    "reset-step",
    "message-metadata",
    "text-start",
    "text-end",
    "reasoning-start",
    "reasoning-end",
];

//! Anthropic's messages: typed events, content in numbered blocks, `message_stop` as the end, a `ping` at any time.

use longwave_core::EndReason;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::compact::Delta;
use super::failure::message_of;
use super::json::{Object, Text, part_of, text_of};
use super::shapes::TokenCounts;
use super::transcript::{Known, Notice};
use super::{Closing, Failure, Meaning, Piece, Rules};

pub(super) struct Anthropic;

impl Rules for Anthropic {
    fn take(&self, known: &mut Known, piece: Piece<'_>) -> Meaning {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(piece.data) else {
            return Meaning::Content;
        };
        match event.kind.as_ref().map(|Text(kind)| &**kind).or(piece.event_type) {
            Some("message_start") => {
                if let Some(message) = part_of::<Message<'_>>(event.message) {
                    known.set_response_id(message.id);
                    known.set_model(message.model);
                    take_usage(known, message.usage);
                }
                Meaning::Prelude
            }
            Some("message_delta") => {
                take_usage(known, event.usage);
                Meaning::Prelude
            }
            Some("content_block_start") => {
                let kind = part_of(event.content_block).and_then(|Block { kind }| text_of(kind));
                match kind.as_deref() {
                    Some("text" | "thinking") => Meaning::Prelude,
                    _ => Meaning::Content,
                }
            }
            Some("ping" | "content_block_stop") => Meaning::Prelude,
            Some("message_stop") => known.finish(),
            Some("error") => known.fail(failure(piece)),
            _ => Meaning::Content,
        }
    }

    fn closing(&self, _: &Known, notice: Notice<'_>) -> Vec<Closing> {
        let kind = match notice.reason {
            EndReason::Timeout => "timeout_error",
            _ => "api_error",
        };
        let error = json!({ "type": kind, "message": notice.detail, "code": notice.code() });
        let data = json!({ "type": "error", "error": error }).to_string();
        vec![Closing { event_type: Some("error"), data }]
    }

    fn delta<'a>(&self, piece: Piece<'a>) -> Option<Delta<'a>> {
        let mut event = Object::parse(piece.data)?;
        if event.text("type")? != "content_block_delta" {
            return None;
        }
        let mut news = event.remove_object("delta")?;
        let name = match &*news.text("type")? {
            "text_delta" => "text",
            "thinking_delta" => "thinking",
            "input_json_delta" => "partial_json",
            _ => return None,
        };
        let text = news.remove_text(name)?;
        Some(Delta::new(piece, name, text)?.within([event, news]))
    }

    fn push_text(&self, piece: Piece<'_>, text: &mut String) {
        if let Ok(Said { delta: SaidDelta { kind: Text(kind), text: Text(said) } }) =
            serde_json::from_slice(piece.data)
            && kind == "text_delta"
        {
            text.push_str(&said);
        }
    }
}

fn take_usage(known: &mut Known, usage: Option<&RawValue>) {
    if let Some(TokenCounts { input_tokens, output_tokens }) = part_of(usage) {
        known.set_usage(input_tokens, output_tokens);
    }
}

/// The event that says it has the shape of the provider's error answers.
fn failure(piece: Piece<'_>) -> Failure {
    let event: Value = serde_json::from_slice(piece.data).unwrap_or(Value::Null);
    match event.get("error") {
        Some(error @ Value::Object(_)) => Failure::new(error, &event),
        error => {
            let error = error.unwrap_or(&event);
            let said = json!({ "type": "api_error", "message": message_of(error) });
            Failure::new(error, &json!({ "type": "error", "error": said }))
        }
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    delta: SaidDelta<'a>,
}

#[derive(Deserialize)]
struct SaidDelta<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
}

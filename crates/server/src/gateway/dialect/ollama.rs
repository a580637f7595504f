//! Ollama: a line of JSON each, the last one with `"done":true`, or `{"error":…}`.
//!
//! Nothing but these lines tells its streams from lines of JSON of other kinds, such as those about a model that is
//! fetched. Of streams without such lines nothing is known but that they are lines, and any end may be their end.

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::compact::Delta;
use super::failure::message_of;
use super::json::{Object, Text, part_of, says};
use super::transcript::{Known, Notice, Shape};
use super::{Closing, Failure, Meaning, Piece, Rules};

pub(super) struct Ollama;

impl Rules for Ollama {
    fn take(&self, known: &mut Known, piece: Piece<'_>) -> Meaning {
        let Ok(line) = serde_json::from_slice::<Line<'_>>(piece.data) else {
            return Meaning::Content;
        };
        if says(line.error) && is_alone(piece) {
            known.shape = Shape::Own;
            return known.fail(failure(piece));
        }
        known.set_model(line.model);
        known.set_usage(line.prompt_eval_count, line.eval_count);
        match part_of::<bool>(line.done).filter(|_| line.model.is_some()) {
            Some(done) => {
                known.shape = Shape::Own;
                if done {
                    known.finish()
                } else if line.says_something() {
                    Meaning::Content
                } else {
                    Meaning::Prelude
                }
            }
            None => {
                if known.shape == Shape::Unknown {
                    known.shape = Shape::Foreign;
                }
                Meaning::Content
            }
        }
    }

    fn closing(&self, _: &Known, notice: Notice<'_>) -> Vec<Closing> {
        vec![Closing { event_type: None, data: json!({ "error": notice.detail }).to_string() }]
    }

    fn delta<'a>(&self, piece: Piece<'a>) -> Option<Delta<'a>> {
        let mut line = Object::parse(piece.data)?;
        if line.is_silent("model") || line.remove("done")?.get() != "false" {
            return None;
        }
        // A merged line has the last one's time.
        line.remove("created_at");
        let mut holder = match line.remove_object("message") {
            Some(message) => message,
            None => std::mem::take(&mut line),
        };
        let (name, text) =
            TEXTS.iter().find_map(|name| Some((*name, holder.remove_text(name)?)))?;
        if !OTHER_NEWS.iter().chain(&TEXTS).all(|name| holder.is_silent(name)) {
            return None;
        }
        Some(Delta::new(piece, name, text)?.within([line, holder]))
    }

    fn push_text(&self, piece: Piece<'_>, text: &mut String) {
        let Ok(Said { response, message }) = serde_json::from_slice(piece.data) else { return };
        let said = [response, message.and_then(|message| message.content)];
        said.into_iter().flatten().for_each(|Text(said)| text.push_str(&said));
    }
}

/// Whether a line holds an error and perhaps its status, and is no row of something that has a member `error`.
fn is_alone(piece: Piece<'_>) -> bool {
    Object::parse(piece.data).is_some_and(|line| line.into_members().len() <= 2)
}

fn failure(piece: Piece<'_>) -> Failure {
    let line: Value = serde_json::from_slice(piece.data).unwrap_or(Value::Null);
    let error = line.get("error").unwrap_or(&Value::Null);
    let mut failure = Failure::new(&line, &json!({ "error": message_of(error) }));
    if failure.status == StatusCode::BAD_GATEWAY {
        failure.status = StatusCode::INTERNAL_SERVER_ERROR;
    }
    failure
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    done: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_eval_count: Option<&'a RawValue>,
    #[serde(borrow)]
    eval_count: Option<&'a RawValue>,
}

impl Line<'_> {
    fn says_something(&self) -> bool {
        let message = self.message.and_then(|raw| Object::parse(raw.get().as_bytes()));
        let message_says = message.is_some_and(|message| !message.is_silent_but("role"));
        message_says || says(self.response) || says(self.thinking)
    }
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    response: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<SaidMessage<'a>>,
}

#[derive(Deserialize)]
struct SaidMessage<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
}

/// The members of a line or of its message that are texts sent in pieces.
const TEXTS: [&str; 3] = ["content", "response", "thinking"];

/// What they may hold besides, and what can't be left out of a run.
const OTHER_NEWS: [&str; 4] = ["tool_calls", "images", "image", "logprobs"];

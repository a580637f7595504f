//! OpenAI's chat completions, and the older completions: untyped events with a chunk each, `[DONE]` as the end.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::compact::Delta;
use super::failure::openai_error;
use super::json::{Object, Text, Weight, part_of, says, text_of};
use super::transcript::{Known, Notice};
use super::{Closing, Failure, Meaning, Piece, Rules};

pub(super) struct OpenaiChat;

impl Rules for OpenaiChat {
    fn take(&self, known: &mut Known, piece: Piece<'_>) -> Meaning {
        if piece.is_done_marker() {
            return known.finish();
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(piece.data) else {
            return Meaning::Content;
        };
        if says(chunk.error)
            || piece.event_type == Some("error")
            || text_of(chunk.object).as_deref() == Some("error")
        {
            return known.fail(failure(piece, chunk.error));
        }
        known.set_response_id(chunk.id);
        known.set_model(chunk.model);
        if let Some(Usage { prompt_tokens, completion_tokens }) = part_of(chunk.usage) {
            known.set_usage(prompt_tokens, completion_tokens);
        }
        match chunk.choices {
            Some(Choices { says: true }) => Meaning::Content,
            None if chunk.usage.is_none() => Meaning::Content,
            _ => Meaning::Prelude,
        }
    }

    fn closing(&self, _: &Known, notice: Notice<'_>) -> Vec<Closing> {
        let error = openai_error(notice.detail, "server_error", Some(&notice.code()));
        vec![Closing { event_type: None, data: json!({ "error": error }).to_string() }]
    }

    fn delta<'a>(&self, piece: Piece<'a>) -> Option<Delta<'a>> {
        if piece.event_type == Some("error") {
            return None;
        }
        let mut chunk = Object::parse(piece.data)?;
        let mut choice = chunk.remove_single("choices")?;
        // Random padding, new in each chunk.
        chunk.remove("obfuscation");
        let is_only_news = ["usage", "error"].iter().all(|name| chunk.is_silent(name))
            && ["finish_reason", "logprobs"].iter().all(|name| choice.is_silent(name));
        if !is_only_news {
            return None;
        }
        if let Some(text) = choice.remove_text("text") {
            if !choice.is_silent("delta") {
                return None;
            }
            return Some(Delta::new(piece, "text", text)?.within([chunk, choice]));
        }
        let mut news = choice.remove_object("delta")?;
        if !news.is_silent("tool_calls") {
            let mut call = news.remove_single("tool_calls")?;
            let mut function = call.remove_object("function")?;
            let arguments = function.remove_text("arguments")?;
            // The first chunk of a call, which names it, stays as it is.
            if !(news.is_silent_but("role") && call.is_silent("id") && function.is_silent("name")) {
                return None;
            }
            let rests = [chunk, choice, news, call, function];
            return Some(Delta::new(piece, "arguments", arguments)?.within(rests));
        }
        let (name, text) = TEXTS.iter().find_map(|name| Some((*name, news.remove_text(name)?)))?;
        if !news.is_silent_but("role") {
            return None;
        }
        Some(Delta::new(piece, name, text)?.within([chunk, choice, news]))
    }

    fn push_text(&self, piece: Piece<'_>, text: &mut String) {
        let Ok(Said { choices }) = serde_json::from_slice(piece.data) else { return };
        for choice in choices.into_iter().filter(|choice| choice.index == 0) {
            let said = [choice.text, choice.delta.and_then(|delta| delta.content)];
            said.into_iter().flatten().for_each(|Text(said)| text.push_str(&said));
        }
    }
}

fn failure(piece: Piece<'_>, error: Option<&RawValue>) -> Failure {
    let json = error.map_or(piece.data, |raw| raw.get().as_bytes());
    Failure::openai(&serde_json::from_slice(json).unwrap_or(Value::Null))
}

/// What of a chunk tells its meaning. Members that may be of any type are left as they are: one that is odd must not
/// hide the others.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    choices: Option<Choices>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Usage<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
}

/// Whether any choice has news that a reader waits for.
struct Choices {
    says: bool,
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Choices, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Choices;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Choices, A::Error> {
                let mut says = false;
                while let Some(choice) = seq.next_element::<Choice>()? {
                    says |= choice.text.says || choice.delta.is_some_and(|delta| delta.says);
                }
                Ok(Choices { says })
            }
        }

        deserializer.deserialize_seq(Any)
    }
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<News>,
    #[serde(default)]
    text: Weight,
}

/// Whether a delta says more than who speaks.
struct News {
    says: bool,
}

impl<'de> Deserialize<'de> for News {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<News, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = News;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a delta")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<News, A::Error> {
                let mut says = false;
                while let Some((Text(name), weight)) = map.next_entry::<Text<'_>, Weight>()? {
                    says |= weight.says && name != "role";
                }
                Ok(News { says })
            }
        }

        deserializer.deserialize_map(Any)
    }
}

/// What of a chunk is text for a reader.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    choices: Vec<SaidChoice<'a>>,
}

#[derive(Deserialize)]
struct SaidChoice<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    delta: Option<SaidDelta<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct SaidDelta<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
}

/// The members of a delta that are texts sent in pieces. The names of reasoning are of servers that follow OpenAI.
const TEXTS: [&str; 4] = ["content", "reasoning_content", "reasoning", "refusal"];

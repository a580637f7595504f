//! Batches: one JSON object a line, `{"data":…,"type":…,"key":…}`. Pure; start with [`parse`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use longwave_core::{DataFormat, EventType, Message, NewMessage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::{Code, JsonObject, Problem};
use super::request::{parse_event_type, parse_key};

/// One line of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct BatchLine<'a> {
    /// The event's data: a string is text, every other value is JSON data.
    #[serde(borrow)]
    #[schema(value_type = Value)]
    data: &'a RawValue,
    /// The event's type.
    #[serde(default, rename = "type")]
    event_type: Option<String>,
    /// The event's own idempotency key: an event whose key was seen before is left out.
    #[serde(default)]
    key: Option<String>,
    /// `base64` where `data` is a string that holds binary data.
    #[serde(default)]
    encoding: Option<Encoding>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Base64,
}

/// What lines are read with.
pub(super) struct BatchRules<'a> {
    /// The type of events that name none.
    pub(super) event_type: Option<&'a EventType>,
    /// What strings are taken for: text, or JSON like all other values.
    pub(super) strings: DataFormat,
    pub(super) event_bytes_max: usize,
    pub(super) events_max: usize,
}

/// Reads a batch, all of it or nothing. Lines of white space are passed over, but counted.
///
/// # Errors
/// [`Code::BatchInvalid`], with the first [`BAD_LINES_MAX`] bad lines in the member `lines`;
/// [`Code::BatchTooLarge`] for too many events; [`Code::NothingToPublish`] is left to the caller.
pub(super) fn parse(body: &[u8], rules: &BatchRules<'_>) -> Result<Vec<NewMessage>, Problem> {
    let mut messages = Vec::new();
    let mut bad_lines = Vec::new();
    let lines = body.split(|byte| *byte == b'\n').zip(1_u64..);
    for (line, number) in lines.filter(|(line, _)| !line.trim_ascii().is_empty()) {
        if messages.len() == rules.events_max {
            return Err(Problem::new(
                Code::BatchTooLarge,
                format_args!("the batch has more than {} events; split it", rules.events_max),
            )
            .with("events_max", rules.events_max));
        }
        match parse_line(line, rules) {
            Ok(message) => messages.push(message),
            Err(problem) => {
                bad_lines.push((number, problem));
                if bad_lines.len() == BAD_LINES_MAX {
                    break;
                }
            }
        }
    }
    let Some((first, problem)) = bad_lines.first() else { return Ok(messages) };
    let detail = format!("line {first}: {}; nothing of the batch was published", problem.detail());
    let lines: Vec<Value> = bad_lines
        .iter()
        .map(|(line, problem)| {
            json!({ "line": line, "code": problem.code().as_str(), "detail": problem.detail() })
        })
        .collect();
    Err(Problem::new(Code::BatchInvalid, detail).with("lines", lines))
}

fn parse_line(line: &[u8], rules: &BatchRules<'_>) -> Result<NewMessage, Problem> {
    let line = std::str::from_utf8(line).map_err(|error| {
        Problem::new(
            Code::Utf8Invalid,
            format_args!("the byte at position {} is not UTF-8", error.valid_up_to()),
        )
    })?;
    let JsonObject(line): JsonObject<BatchLine<'_>> =
        serde_json::from_str(line).map_err(|error| {
            Problem::new(
                Code::JsonInvalid,
                format_args!(
                    "it must be an object such as {{\"data\":…,\"type\":…,\"key\":…}}: {error}"
                ),
            )
        })?;
    let (format, data) = data(line.data, line.encoding, rules.strings)?;
    if data.len() > rules.event_bytes_max {
        return Err(Problem::new(
            Code::EventTooLarge,
            format_args!(
                "its data has {} bytes, and {} is the most",
                data.len(),
                rules.event_bytes_max
            ),
        ));
    }
    let event_type = match line.event_type {
        Some(text) => Some(parse_event_type(&text)?),
        None => rules.event_type.cloned(),
    };
    let key = line.key.as_deref().map(parse_key).transpose()?;
    Ok(NewMessage { message: Message { event_type, format, data, source: None }, key })
}

fn data(
    raw: &RawValue,
    encoding: Option<Encoding>,
    strings: DataFormat,
) -> Result<(DataFormat, Bytes), Problem> {
    let is_string = raw.get().starts_with('"');
    match encoding {
        Some(Encoding::Base64) => {
            let text: String = serde_json::from_str(raw.get()).map_err(|_| not_base64())?;
            let bytes = BASE64.decode(text).map_err(|_| not_base64())?;
            Ok((DataFormat::Binary, bytes.into()))
        }
        None if is_string && strings == DataFormat::Text => {
            // A string may hold half of a surrogate pair, which is JSON but no text.
            let text: String = serde_json::from_str(raw.get())
                .map_err(|error| Problem::new(Code::Utf8Invalid, format_args!("data: {error}")))?;
            Ok((DataFormat::Text, text.into()))
        }
        None => Ok((DataFormat::Json, Bytes::copy_from_slice(raw.get().as_bytes()))),
    }
}

fn not_base64() -> Problem {
    Problem::new(
        Code::JsonInvalid,
        "with the encoding base64, data must be a string of base64 (RFC 4648, section 4)",
    )
}

/// How many bad lines a refusal lists.
pub(super) const BAD_LINES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_with(body: &str, strings: DataFormat) -> Result<Vec<NewMessage>, Problem> {
        let rules = BatchRules { event_type: None, strings, event_bytes_max: 20, events_max: 3 };
        parse(body.as_bytes(), &rules)
    }

    fn data_of(body: &str, strings: DataFormat) -> Vec<(DataFormat, String)> {
        parse_with(body, strings)
            .unwrap()
            .into_iter()
            .map(|new| {
                (new.message.format, String::from_utf8_lossy(&new.message.data).into_owned())
            })
            .collect()
    }

    #[test]
    fn a_string_is_text_and_other_values_are_json_as_they_stand() {
        let body = "{\"data\":\"a\\nb\"}\r\n\n{\"data\": {\"x\": 1.0 }}\n{\"data\":null}";
        assert_eq!(
            data_of(body, DataFormat::Text),
            [
                (DataFormat::Text, "a\nb".into()),
                (DataFormat::Json, "{\"x\": 1.0 }".into()),
                (DataFormat::Json, "null".into()),
            ]
        );
        assert_eq!(
            data_of("{\"data\":\"a\\nb\"}", DataFormat::Json),
            [(DataFormat::Json, "\"a\\nb\"".into())]
        );
        assert_eq!(
            data_of("{\"data\":\"AP8=\",\"encoding\":\"base64\"}", DataFormat::Text),
            [(DataFormat::Binary, "\0\u{fffd}".into())]
        );
    }

    #[test]
    fn every_bad_line_is_told_by_its_number_and_code() {
        let body = concat!(
            "{\"data\":1}\n",
            "\n",
            "nonsense\n",
            "{\"type\":\"x\"}\n",
            "{\"data\":1,\"type\":\"longwave.end\"}\n",
            "{\"data\":1,\"key\":\"\"}\n",
            "{\"data\":1,\"extra\":1}\n",
            "{\"data\":\"123456789012345678901\"}\n",
            "{\"data\":\"\\ud800\"}\n",
            "{\"data\":\"?\",\"encoding\":\"base64\"}\n",
        );
        let problem = parse_with(body, DataFormat::Text).unwrap_err();
        assert_eq!(problem.code(), Code::BatchInvalid);
        let told = problem.to_json();
        let lines: Vec<(u64, &str)> = told["lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| (line["line"].as_u64().unwrap(), line["code"].as_str().unwrap()))
            .collect();
        assert_eq!(
            lines,
            [
                (3, "json-invalid"),
                (4, "json-invalid"),
                (5, "event-type-reserved"),
                (6, "key-invalid"),
                (7, "json-invalid"),
                (8, "event-too-large"),
                (9, "utf8-invalid"),
                (10, "json-invalid"),
            ]
        );
    }

    #[test]
    fn a_batch_with_too_many_events_is_refused() {
        let problem = parse_with(&"{\"data\":1}\n".repeat(4), DataFormat::Text).unwrap_err();
        assert_eq!(problem.code(), Code::BatchTooLarge);
        assert_eq!(parse_with(&"{\"data\":1}\n".repeat(3), DataFormat::Text).unwrap().len(), 3);
    }

    #[test]
    fn a_long_list_of_bad_lines_is_cut() {
        let problem = parse_with(&"x\n".repeat(100), DataFormat::Text).unwrap_err();
        assert_eq!(problem.to_json()["lines"].as_array().unwrap().len(), BAD_LINES_MAX);
    }
}

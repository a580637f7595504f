//! All dialects against the transcripts of `conformance/gateway`, and what has to hold for any bytes at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use http::{HeaderMap, HeaderName};
use longwave_core::EndReason;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Asked, Dialect, Meaning, Piece, Streaming, Transcript, asked, compact, without_background,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    name: String,
    path: String,
    headers: BTreeMap<String, String>,
    dialect: String,
    events: Vec<CaseEvent>,
    end: String,
    text: String,
    usage: Option<CaseUsage>,
    model: Option<String>,
    response_id: Option<String>,
    sequence_number: Option<u64>,
    error: Option<CaseError>,
    compacted: Vec<CaseCompacted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseEvent {
    r#type: Option<String>,
    data: String,
    means: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CaseUsage {
    input_tokens: u64,
    output_tokens: u64,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct CaseError {
    status: u16,
    body: Value,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct CaseCompacted {
    last: usize,
    data: Option<String>,
}

impl Case {
    fn dialect(&self) -> Dialect {
        self.dialect.parse().unwrap()
    }

    fn pieces(&self) -> Vec<Piece<'_>> {
        self.events
            .iter()
            .map(|event| Piece { event_type: event.r#type.as_deref(), data: event.data.as_bytes() })
            .collect()
    }
}

fn cases() -> Vec<Case> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        cases: Vec<Case>,
    }

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/gateway");
    let mut cases = Vec::new();
    for dialect in Dialect::ALL {
        let path = folder.join(format!("{dialect}.json"));
        let file: File = serde_json::from_slice(&fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(file.cases.iter().any(|case| case.dialect() == dialect), "{}", path.display());
        cases.extend(file.cases);
    }
    cases
}

fn word(meaning: Meaning) -> &'static str {
    match meaning {
        Meaning::Prelude => "prelude",
        Meaning::Content => "content",
        Meaning::Terminal => "terminal",
        Meaning::Failed => "failed",
    }
}

fn transcript(dialect: Dialect, pieces: &[Piece<'_>]) -> Transcript {
    let mut transcript = Transcript::new(dialect);
    for &piece in pieces {
        transcript.take(piece);
    }
    transcript
}

#[test]
fn every_transcript_is_read_as_its_case_says() {
    for case in cases() {
        let name = format!("{}: {}", case.dialect, case.name);
        let mut transcript = Transcript::new(case.dialect());
        for (piece, event) in case.pieces().into_iter().zip(&case.events) {
            assert_eq!(word(transcript.take(piece)), event.means, "{name}: {}", event.data);
        }
        assert_eq!(transcript.dialect(), case.dialect());
        assert_eq!(transcript.end().as_str(), case.end, "{name}");
        let usage = transcript.usage().map(|usage| CaseUsage {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
        });
        assert_eq!(usage, case.usage, "{name}");
        assert_eq!(transcript.model(), case.model.as_deref(), "{name}");
        assert_eq!(transcript.response_id(), case.response_id.as_deref(), "{name}");
        assert_eq!(transcript.sequence_number(), case.sequence_number, "{name}");
        let error = transcript.error().map(|failure| CaseError {
            status: failure.status.as_u16(),
            body: serde_json::from_slice(&failure.body).unwrap(),
        });
        assert_eq!(error, case.error, "{name}");
    }
}

#[test]
fn every_transcript_tells_its_dialect() {
    for case in cases() {
        let mut headers = HeaderMap::new();
        for (name, value) in &case.headers {
            headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let first = case.pieces()[0];
        let detected = Dialect::detect(&case.path, &headers, first);
        assert_eq!(detected, case.dialect(), "{}: {}", case.dialect, case.name);
        let is_event_stream = case.headers["content-type"].starts_with("text/event-stream");
        assert_eq!(detected.is_lines(), !is_event_stream);
    }
}

#[test]
fn every_transcript_compacts_as_its_case_says() {
    for case in cases() {
        let name = format!("{}: {}", case.dialect, case.name);
        let pieces = case.pieces();
        let compacted: Vec<CaseCompacted> = compact(case.dialect(), &pieces)
            .into_iter()
            .map(|event| CaseCompacted {
                last: event.last,
                data: event.merged.map(|data| String::from_utf8(data).unwrap()),
            })
            .collect();
        assert_eq!(compacted, case.compacted, "{name}");
        assert_eq!(text(case.dialect(), &pieces), case.text, "{name}");
        check_compaction(case.dialect(), &pieces);
    }
}

/// Wherever a stream is cut, clients are told, unless they were.
#[test]
fn every_cut_of_a_transcript_is_closed_with_a_failure() {
    for case in cases().iter().filter(|case| case.dialect().tells_errors()) {
        for cut in 0..=case.events.len() {
            let pieces = case.pieces();
            let (before, _) = pieces.split_at(cut);
            let told = case.events[..cut].iter().any(|event| {
                event.means == "failed" || event.means == "terminal" && event.data != "[DONE]"
            });
            for reason in REASONS {
                check_closing(case.dialect(), before, reason);
            }
            let transcript = transcript(case.dialect(), before);
            if told {
                assert!(transcript.closing(EndReason::Crashed, "x").is_empty(), "{}", case.name);
            }
        }
    }
}

/// An end that was not told is told once, in the dialect's own words, and is then what a new reader finds.
fn check_closing(dialect: Dialect, before: &[Piece<'_>], reason: EndReason) {
    let detail = "it \"broke\"\nhere";
    let mut transcript = transcript(dialect, before);
    let had_ended = transcript.has_ended();
    let closing = transcript.closing(reason, detail);
    assert_eq!(
        closing.is_empty(),
        had_ended || !dialect.tells_errors() || reason == EndReason::Done
    );
    let is_told = closing.iter().any(|event| event.data.contains("it \\\"broke\\\"\\nhere"));
    assert_eq!(is_told, !closing.is_empty());
    for event in &closing {
        let piece = Piece { event_type: event.event_type, data: event.data.as_bytes() };
        assert_eq!(transcript.take(piece), Meaning::Failed, "{}", event.data);
    }
    if !closing.is_empty() {
        let expected = match dialect {
            Dialect::VercelUi | Dialect::Ollama if reason != EndReason::Cancelled => {
                EndReason::Error
            }
            Dialect::Ollama => EndReason::Error,
            _ => reason,
        };
        assert_eq!(transcript.end(), expected);
        assert!(transcript.closing(reason, detail).is_empty());
    }
}

/// Compaction loses no text and no other event, and has nothing to do on what it made.
fn check_compaction(dialect: Dialect, pieces: &[Piece<'_>]) {
    let compacted = compact(dialect, pieces);
    let merged: Vec<Piece<'_>> = compacted
        .iter()
        .map(|event| Piece {
            event_type: pieces[event.last].event_type,
            data: event.merged.as_deref().unwrap_or(pieces[event.last].data),
        })
        .collect();
    assert!(compacted.is_sorted_by(|one, next| one.last < next.last));
    assert_eq!(compacted.last().map(|event| event.last + 1).unwrap_or(0), pieces.len());
    assert_eq!(text(dialect, &merged), text(dialect, pieces));
    let again = compact(dialect, &merged);
    assert_eq!(again.len(), merged.len());
    assert!(again.iter().all(|event| event.merged.is_none()));
    let (before, after) = (transcript(dialect, pieces), transcript(dialect, &merged));
    assert_eq!(before.end(), after.end());
    assert_eq!(before.usage(), after.usage());
    assert_eq!(before.sequence_number(), after.sequence_number());
    assert_eq!(before.response(), after.response());
    assert_eq!(before.error(), after.error());
}

#[test]
fn a_response_is_what_was_last_said_of_it() {
    let mut transcript = Transcript::new(Dialect::OpenaiResponses);
    assert_eq!(transcript.response(), None);
    let created = json!({
        "type": "response.created",
        "sequence_number": 7,
        "response": { "id": "resp_1", "status": "in_progress", "model": "m", "output": [] },
    });
    transcript.take(Piece { event_type: None, data: created.to_string().as_bytes() });
    assert_eq!(transcript.response().unwrap()["status"], "in_progress");

    let closing = transcript.closing(EndReason::Cancelled, "cancelled by a viewer");
    let data: Vec<Value> =
        closing.iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect();
    assert_eq!(
        closing.iter().map(|event| event.event_type).collect::<Vec<_>>(),
        [Some("error"), Some("response.failed"),]
    );
    assert_eq!(data[0]["sequence_number"], 8);
    assert_eq!(data[1]["sequence_number"], 9);
    assert_eq!(data[1]["response"]["id"], "resp_1");
    for event in &closing {
        transcript.take(Piece { event_type: event.event_type, data: event.data.as_bytes() });
    }
    assert_eq!(transcript.response().unwrap()["status"], "cancelled");
    assert_eq!(transcript.sequence_number(), Some(9));
}

#[test]
fn a_failed_response_says_why_even_where_upstream_said_nothing_at_all() {
    let transcript = Transcript::new(Dialect::OpenaiResponses);
    let closing = transcript.closing(EndReason::Timeout, "nothing came for 30 s");
    let failed: Value = serde_json::from_str(&closing[1].data).unwrap();
    assert_eq!(failed["sequence_number"], 1);
    assert_eq!(failed["response"]["status"], "failed");
    assert_eq!(failed["response"]["error"]["message"], "nothing came for 30 s");
    assert_eq!(failed["response"]["object"], "response");
}

#[test]
fn a_request_says_what_it_asks_for() {
    let nothing = Asked { stream: false, background: false, model: None, chat_id: None };
    for (body, expected) in [
        (r#"{}"#, Some(nothing.clone())),
        (
            r#" {"model":"m\u00e9","stream":true,"background":true,"id":"c1","x":[{}]}"#,
            Some(Asked {
                stream: true,
                background: true,
                model: Some("mé".to_owned()),
                chat_id: Some("c1".to_owned()),
            }),
        ),
        (r#"{"model":1,"stream":"true","background":null,"id":{}}"#, Some(nothing)),
        ("", None),
        ("[true]", None),
        ("{\"stream\":", None),
        ("\"{}\"", None),
    ] {
        assert_eq!(asked(body.as_bytes()), expected, "{body}");
    }
}

#[test]
fn background_is_cut_out_of_a_request_and_nothing_else_is_touched() {
    use Streaming::{AsAsked, Forced};
    for (body, streaming, expected) in [
        (r#"{"a":1,"background":true,"b":2}"#, AsAsked, Some(r#"{"a":1,"b":2}"#)),
        (r#"{"background":true,"b":2}"#, AsAsked, Some(r#"{"b":2}"#)),
        (r#"{ "background" : true , "b" : 2 }"#, AsAsked, Some(r#"{ "b" : 2 }"#)),
        (r#"{"a":1,"background":true}"#, AsAsked, Some(r#"{"a":1}"#)),
        (r#"{"background":true}"#, AsAsked, Some("{}")),
        (r#"{"background":true}"#, Forced, Some(r#"{"stream":true}"#)),
        (r#"{}"#, Forced, Some(r#"{"stream":true}"#)),
        (r#"{"a":1}"#, AsAsked, Some(r#"{"a":1}"#)),
        (r#"{"a":1 }"#, Forced, Some(r#"{"a":1,"stream":true }"#)),
        (
            r#"{"stream":false,"background":true,"a":[1,{"background":1}]}"#,
            Forced,
            Some(r#"{"stream":true,"a":[1,{"background":1}]}"#),
        ),
        (
            r#"{"background":1,"stream":false,"\u0062ackground":2}"#,
            AsAsked,
            Some(r#"{"stream":false}"#),
        ),
        (
            "\n{\"a\":\t1.0e3,\n\"background\":{\"x\":[]},\n\"s\":\"\\u00e9é\"}\n",
            AsAsked,
            Some("\n{\"a\":\t1.0e3,\n\"s\":\"\\u00e9é\"}\n"),
        ),
        ("[]", AsAsked, None),
        ("", Forced, None),
        (r#"{"background":true"#, AsAsked, None),
        (r#"{"a":1}x"#, AsAsked, None),
    ] {
        let cut = without_background(body.as_bytes(), streaming);
        let cut = cut.as_deref().map(|cut| std::str::from_utf8(cut).unwrap());
        assert_eq!(cut, expected, "{body}");
    }
}

proptest! {
    #[test]
    fn any_events_are_read_and_compacted_without_a_panic_or_a_loss(stream in events()) {
        let pieces: Vec<Piece<'_>> = stream
            .iter()
            .map(|(event_type, data)| Piece { event_type: event_type.as_deref(), data })
            .collect();
        for dialect in Dialect::ALL {
            check_compaction(dialect, &pieces);
            for reason in REASONS {
                check_closing(dialect, &pieces, reason);
            }
            if let Some(&first) = pieces.first() {
                Dialect::detect("/v1/responses", &HeaderMap::new(), first);
            }
        }
    }

    #[test]
    fn any_request_is_read_without_a_panic_and_stays_json(body in request()) {
        asked(&body);
        for streaming in [Streaming::AsAsked, Streaming::Forced] {
            let cut = without_background(&body, streaming);
            let Ok(Value::Object(mut before)) = serde_json::from_slice(&body) else { continue };
            let after: Value = serde_json::from_slice(&cut.unwrap()).unwrap();
            before.remove("background");
            if streaming == Streaming::Forced {
                before.insert("stream".to_owned(), true.into());
            }
            prop_assert_eq!(after, Value::Object(before));
        }
    }
}

/// Streams of a few real shapes with random texts and members, so that runs come about, and of junk.
fn events() -> impl Strategy<Value = Vec<(Option<String>, Vec<u8>)>> {
    prop::sample::subsequence(SHAPES.as_slice(), 1..4).prop_flat_map(|shapes| {
        let shaped = (prop::sample::select(shapes), word_json(), number_json())
            .prop_map(|(shape, text, number)| {
                shape.replace("TEXT", &text).replace("NUMBER", number).into_bytes()
            })
            .boxed();
        let cut = (shaped.clone(), any::<prop::sample::Index>()).prop_map(|(mut data, at)| {
            data.truncate(at.index(data.len()));
            data
        });
        let junk = prop::collection::vec(any::<u8>(), 0..40);
        let data = prop_oneof![20 => shaped, 1 => cut, 1 => junk];
        let event_type = prop_oneof![
            20 => Just(None),
            1 => Just(Some("error".to_owned())),
            1 => Just(Some("message_stop".to_owned())),
        ];
        prop::collection::vec((event_type, data), 0..24)
    })
}

fn number_json() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just("0"), 1 => Just("1"), 1 => Just("null"), 1 => Just("\"x\""), 1 => Just("[]")]
}

/// The JSON of a text, mostly; sometimes of half a character or of no text.
fn word_json() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => "[a-z\"\\\\\n\u{e9}\u{1f600}]{0,4}".prop_map(|text| Value::from(text).to_string()),
        1 => Just("\"\\ud83d\"".to_owned()),
        1 => Just("\"\\ude00\"".to_owned()),
        1 => Just("\"\\u00e9\\/\"".to_owned()),
        1 => Just("null".to_owned()),
        1 => Just("{\"a\":1}".to_owned()),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let name =
        prop_oneof![Just("background"), Just("stream"), Just("model"), Just("id"), Just("x")];
    let space = "[ \n\t]{0,2}";
    let value =
        prop_oneof![Just("true"), Just("[1,{\"stream\":2}]"), Just("\"a\\\"b\""), Just("{}")];
    let member = (name, space, value, space)
        .prop_map(|(name, lead, value, trail)| format!("{lead}\"{name}\"{trail}:{value}{lead}"));
    prop_oneof![
        8 => prop::collection::vec(member, 0..6)
            .prop_map(|members| format!(" {{{}}} ", members.join(",")).into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Every reason that a recorder ends a stream with.
const REASONS: [EndReason; 6] = [
    EndReason::Done,
    EndReason::Error,
    EndReason::Cancelled,
    EndReason::Truncated,
    EndReason::Timeout,
    EndReason::Crashed,
];

const SHAPES: [&str; 24] = [
    r#"{"id":"c","choices":[{"index":NUMBER,"delta":{"content":TEXT}}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"content":TEXT},"finish_reason":null}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":TEXT,"reasoning_content":TEXT}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":NUMBER,"function":{"arguments":TEXT}}]}}]}"#,
    r#"{"choices":[{"text":TEXT,"index":0}],"usage":NUMBER}"#,
    r#"{"choices":[{"delta":{"content":TEXT,"content":TEXT}}]}"#,
    r#"{"choices":[],"usage":{"prompt_tokens":NUMBER,"completion_tokens":1}}"#,
    r#"{"error":TEXT}"#,
    r#"{"type":"response.output_text.delta","item_id":"m","sequence_number":NUMBER,"delta":TEXT}"#,
    r#"{"type":"response.output_text.delta","item_id":TEXT,"delta":TEXT,"obfuscation":TEXT}"#,
    r#"{"type":"response.failed","sequence_number":NUMBER,"response":{"status":TEXT,"error":TEXT}}"#,
    r#"{"type":"response.completed","response":NUMBER}"#,
    r#"{"type":"content_block_delta","index":NUMBER,"delta":{"type":"text_delta","text":TEXT}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":TEXT}}"#,
    r#"{"type":"message_start","message":{"id":TEXT,"usage":{"input_tokens":NUMBER}}}"#,
    r#"{"type":"error","error":{"type":TEXT,"code":NUMBER,"message":TEXT}}"#,
    r#"{"type":"text-delta","id":"t","delta":TEXT}"#,
    r#"{"type":"text-delta","id":NUMBER,"delta":TEXT,"providerMetadata":NUMBER}"#,
    r#"{"type":"finish","messageMetadata":TEXT}"#,
    r#"{"model":"m","response":TEXT,"created_at":TEXT,"done":false}"#,
    r#"{"model":"m","message":{"role":"assistant","content":TEXT},"done":false}"#,
    r#"{"model":TEXT,"message":{"content":TEXT,"thinking":TEXT},"response":TEXT,"done":NUMBER}"#,
    r#"{"model":"m","done":true,"eval_count":NUMBER}"#,
    "[DONE]",
];

fn text(dialect: Dialect, pieces: &[Piece<'_>]) -> String {
    let mut text = String::new();
    pieces.iter().for_each(|piece| dialect.push_text(*piece, &mut text));
    text
}

//! Snapshots of the transcripts of `conformance/gateway`, taken after each of their events.

use std::path::Path;
use std::sync::Arc;

use axum::response::Response;
use http::{HeaderMap, StatusCode};
use longwave_core::{Append, Config, EndReason, Expected, NewMessage};
use longwave_sse::{DEFAULT_EVENT_TYPE, Decoded, Decoder};
use longwave_store::{Log as _, MemoryLog, MemoryOptions};
use serde_json::Value;

use super::super::cut::Cutter;
use super::super::dialect::Transcript;
use super::super::running::Entered;
use super::super::stream::{AnswerHead, RequestHead};
use super::super::view::{Position, relay, relay_snapshot};
use super::*;
use crate::http::HttpOptions;

/// One stream in a log in memory.
struct Kit {
    app: App,
    /// The stream runs here, as it would where nothing but an end was missing.
    _entered: Entered,
    log: Arc<MemoryLog>,
    id: StreamId,
    answer: AnswerHead,
}

impl Kit {
    /// A stream without an event.
    async fn start(dialect: Dialect) -> Kit {
        let (log, commits) = MemoryLog::open(MemoryOptions::default()).unwrap();
        let addr = "127.0.0.1:1".parse().unwrap();
        let app = App::new(Arc::clone(&log) as _, commits, HttpOptions::default(), &[addr]);
        let answer = AnswerHead::new(dialect.into(), StatusCode::OK, &HeaderMap::new());
        let (app, id) = (app.unwrap(), StreamId::of_bytes([7; 16]));
        let entered = app.gateway().enter(&id).unwrap();
        let kit = Kit { app, _entered: entered, log, id, answer };
        let request = RequestHead {
            route: "/v1".to_owned(),
            method: "POST".to_owned(),
            path: "/v1".to_owned(),
            model: None,
            owner: String::new(),
            request: String::new(),
            keyed: false,
            asked_ms: 0,
            background: None,
        };
        kit.append(vec![request.message(), kit.answer.message()], None).await;
        kit
    }

    async fn append(&self, messages: Vec<NewMessage>, end: Option<EndReason>) {
        let topic = self.id.topic();
        let append = Append { topic, messages, end, key: None, expected: Expected::Any };
        self.log.append(append).await.unwrap();
    }

    async fn record(&self, messages: &[Message]) {
        for group in messages.chunks(APPENDED_TOGETHER) {
            let new = |message: &Message| NewMessage { message: message.clone(), key: None };
            self.append(group.iter().map(new).collect(), None).await;
        }
    }

    async fn end(&self) {
        self.append(Vec::new(), Some(EndReason::Done)).await;
    }

    async fn snapshot(&self, position: Position) -> Response {
        relay_snapshot(&self.app, &self.id, &self.answer, position).await.unwrap()
    }

    /// The whole stream behind a position, event by event.
    async fn replay(&self, dialect: Dialect, position: Position) -> Vec<Seen> {
        seen(dialect, relay(&self.app, &self.id, &self.answer, position).await.unwrap()).await
    }

    fn seq_of(&self, seen: &Seen) -> Seq {
        let (stream, seq) = seen.id.split_once(':').unwrap();
        assert_eq!(stream, self.id.as_str());
        Seq(seq.parse().unwrap())
    }
}

const APPENDED_TOGETHER: usize = 1000;

/// An event as a client sees it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    event_type: Option<String>,
    data: String,
    /// Empty in lines of JSON.
    id: String,
}

impl Seen {
    fn piece(&self) -> Piece<'_> {
        Piece { event_type: self.event_type.as_deref(), data: self.data.as_bytes() }
    }
}

/// Reads a body that must end in order.
async fn seen(dialect: Dialect, response: Response) -> Vec<Seen> {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    if dialect.is_lines() {
        let lines = std::str::from_utf8(&body).unwrap().lines().map(str::to_owned);
        return lines.map(|data| Seen { event_type: None, data, id: String::new() }).collect();
    }
    let (mut decoder, mut input, mut events) = (Decoder::new(), &body[..], Vec::new());
    while let Some(decoded) = decoder.decode(&mut input).unwrap() {
        let Decoded::Event(event) = decoded else { continue };
        let event_type = Some(event.event_type()).filter(|text| *text != DEFAULT_EVENT_TYPE);
        events.push(Seen {
            event_type: event_type.map(str::to_owned),
            data: event.data().to_owned(),
            id: event.last_event_id().to_owned(),
        });
    }
    events
}

fn text_of(dialect: Dialect, seen: &[Seen]) -> String {
    let mut text = String::new();
    seen.iter().for_each(|seen| dialect.push_text(seen.piece(), &mut text));
    text
}

/// All that the dialect understands of events.
fn told(dialect: Dialect, seen: &[Seen]) -> String {
    let mut transcript = Transcript::new(dialect);
    seen.iter().for_each(|seen| {
        transcript.take(seen.piece());
    });
    format!("{:?} {} {transcript:?}", transcript.end(), text_of(dialect, seen))
}

struct Case {
    name: String,
    dialect: Dialect,
    messages: Vec<Message>,
}

/// The transcripts, every other event with bytes that are not as the gateway writes events itself.
fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/gateway");
    let mut cases = Vec::new();
    for dialect in Dialect::ALL {
        let file = std::fs::read(folder.join(format!("{dialect}.json"))).unwrap();
        let file: Value = serde_json::from_slice(&file).unwrap();
        for case in file["cases"].as_array().unwrap() {
            let dialect: Dialect = case["dialect"].as_str().unwrap().parse().unwrap();
            let events = case["events"].as_array().unwrap();
            let messages = events.iter().enumerate().filter_map(|(at, event)| {
                message(
                    dialect,
                    at % 2 == 1,
                    event["type"].as_str(),
                    event["data"].as_str().unwrap(),
                )
            });
            cases.push(Case {
                name: case["name"].as_str().unwrap().to_owned(),
                dialect,
                messages: messages.collect(),
            });
        }
    }
    cases
}

fn message(
    dialect: Dialect,
    has_source: bool,
    event_type: Option<&str>,
    data: &str,
) -> Option<Message> {
    let line_end = if has_source { "\r\n" } else { "\n" };
    let mut cutter = Cutter::sse(1 << 20);
    let mut upstream = String::new();
    if dialect.is_lines() {
        cutter = Cutter::lines(1 << 20);
        upstream.push_str(data);
    } else {
        upstream.extend(event_type.map(|text| format!("event: {text}{line_end}")));
        upstream.extend(data.split('\n').map(|line| format!("data: {line}{line_end}")));
    }
    cutter.push(format!("{upstream}{line_end}").as_bytes());
    let message = cutter.next_message().unwrap();
    assert!(message.as_ref().is_none_or(|message| message.source.is_some() == has_source));
    message
}

#[tokio::test]
async fn a_snapshot_and_what_follows_say_the_same_as_the_plain_replay_wherever_a_reader_joins() {
    for case in cases() {
        let Case { name, dialect, messages } = case;
        for joined in 0..=messages.len() {
            let kit = Kit::start(dialect).await;
            let (before, after) = messages.split_at(joined);
            kit.record(before).await;
            let snapshot = kit.snapshot(Position::First).await;
            kit.record(after).await;
            kit.end().await;
            let snapshot = seen(dialect, snapshot).await;
            let plain = kit.replay(dialect, Position::First).await;
            let context = format!("{dialect}, {name}, joined after {joined}");
            assert_eq!(told(dialect, &snapshot), told(dialect, &plain), "{context}");
            assert!(
                snapshot.ends_with(&plain[joined..]),
                "{context}: what came live is as it came"
            );
            assert!(snapshot.len() <= plain.len(), "{context}");
            if dialect == Dialect::Sse {
                assert_eq!(snapshot, plain, "{context}: nothing is known to be merged");
            }
        }
    }
}

#[tokio::test]
async fn a_reader_of_a_snapshot_goes_on_behind_any_of_its_events() {
    for case in cases().into_iter().filter(|case| !case.dialect.is_lines()) {
        let Case { name, dialect, messages } = case;
        let kit = Kit::start(dialect).await;
        kit.record(&messages).await;
        kit.end().await;
        let whole = kit.replay(dialect, Position::First).await;
        let snapshot = seen(dialect, kit.snapshot(Position::First).await).await;
        for read in 1..snapshot.len() {
            let behind = Position::After(kit.seq_of(&snapshot[read - 1]));
            let rest = kit.replay(dialect, behind).await;
            let context = format!("{dialect}, {name}, cut behind {read}");
            let all = [&snapshot[..read], &rest].concat();
            assert_eq!(told(dialect, &all), told(dialect, &whole), "{context}");
            let compacted = seen(dialect, kit.snapshot(behind).await).await;
            assert_eq!(compacted, &snapshot[read..], "{context}: the same runs are merged");
        }
    }
}

#[tokio::test]
async fn an_answer_of_many_deltas_is_few_events_window_by_window() {
    let count = 2 * WINDOW_EVENTS_MAX + 10;
    let kit = Kit::start(Dialect::OpenaiChat).await;
    let deltas: Vec<Message> = (0..count)
        .map(|number| {
            let data = format!(
                "{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" {number}\"}}}}]}}"
            );
            message(Dialect::OpenaiChat, false, None, &data).unwrap()
        })
        .collect();
    kit.record(&deltas).await;
    kit.end().await;
    let snapshot = seen(Dialect::OpenaiChat, kit.snapshot(Position::First).await).await;
    let text: String = (0..count).map(|number| format!(" {number}")).collect();
    assert_eq!(text_of(Dialect::OpenaiChat, &snapshot), text);
    assert!((3..=4).contains(&snapshot.len()), "{} events", snapshot.len());
}

#[tokio::test]
async fn a_snapshot_of_a_stream_that_is_over_behind_its_last_event_is_nothing() {
    let kit = Kit::start(Dialect::Anthropic).await;
    let data = r#"{"type":"message_stop"}"#;
    kit.record(&[message(Dialect::Anthropic, false, Some("message_stop"), data).unwrap()]).await;
    kit.end().await;
    let all = seen(Dialect::Anthropic, kit.snapshot(Position::First).await).await;
    assert_eq!(all.len(), 1);
    let response = kit.snapshot(Position::After(kit.seq_of(&all[0]))).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers()["longwave-end"], "done");
}

#[tokio::test]
async fn a_snapshot_of_a_stream_that_broke_off_breaks_off_where_nothing_tells_it() {
    let kit = Kit::start(Dialect::Sse).await;
    kit.record(&[message(Dialect::Sse, true, None, "1").unwrap()]).await;
    kit.append(Vec::new(), Some(EndReason::Truncated)).await;
    let snapshot = kit.snapshot(Position::First).await;
    assert!(axum::body::to_bytes(snapshot.into_body(), usize::MAX).await.is_err());
}

#[tokio::test]
async fn a_snapshot_without_events_that_are_lost_is_broken_off() {
    let kit = Kit::start(Dialect::Ollama).await;
    let line = |text: &str| {
        let data = format!("{{\"model\":\"m\",\"response\":\"{text}\",\"done\":false}}");
        message(Dialect::Ollama, false, None, &data).unwrap()
    };
    kit.record(&["a", "b", "c", "d"].map(line)).await;
    let snapshot = kit.snapshot(Position::First).await;
    let keep_two = Config { max_events: Some(2), ..Config::default() };
    kit.log.configure(kit.id.topic(), keep_two).await.unwrap();
    kit.record(&[line("e")]).await;
    kit.end().await;
    assert!(axum::body::to_bytes(snapshot.into_body(), usize::MAX).await.is_err());
}

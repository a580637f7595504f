//! What is told of an answer before its first content: an error as a status, and a stream no later than it must.

use std::time::Duration;

use serde_json::json;

use super::ends::spoken;
use super::{DONE, Station, Viewer, without_ids, word};
use crate::support::{Answer, Script};

const PRELUDE: &str =
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n";
const ERROR: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"boom\"}}\n\n";

#[tokio::test]
async fn an_error_in_place_of_the_first_content_is_a_status() {
    let station = Station::start().await;
    for spoken in spoken().iter().filter(|spoken| spoken.tells_errors()) {
        station.upstream.script(spoken.head().send(spoken.error).end());
        let answer = Answer::of(station.post(spoken.path, "{\"stream\":true}")).await;
        assert!(answer.status >= 500, "{}: {answer:?}", spoken.name);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.body.contains("boom"), "{}: {answer:?}", spoken.name);
        assert_eq!(answer.header("longwave-stream"), None);
        answer.json();
    }
    assert_eq!(Answer::of(station.get("/streams")).await.ok(200)["streams"], json!([]));
}

#[tokio::test]
async fn an_error_whose_line_does_not_end_is_a_status_too() {
    let station = Station::start().await;
    station.upstream.script(Script::ndjson().send("{\"error\":\"boom\"}").end());
    let answer = Answer::of(station.post("/v1/api/generate", "{}")).await;
    assert_eq!((answer.status, &answer.json()), (500, &json!({ "error": "boom" })));
}

#[tokio::test]
async fn an_error_shortly_behind_the_prelude_is_a_status() {
    let station = Station::start().await;
    station.upstream.script(Script::sse().send(PRELUDE).send(ERROR).end());
    let answer = Answer::of(station.post("/v1/messages", "{\"stream\":true}")).await;
    assert_eq!((answer.status, &answer.json()["error"]["message"]), (529, &json!("boom")));
}

#[tokio::test]
async fn a_stream_is_begun_when_nothing_but_the_prelude_comes() {
    let station = Station::start().await;
    let script = Script::sse().send(PRELUDE).wait("error").send(ERROR).end();
    station.upstream.script(script);
    let mut viewer = Viewer::of(station.post("/v1/messages", "{\"stream\":true}")).await;
    assert_eq!(viewer.status(), 200);
    let id = viewer.id();
    let begun = viewer.until("\n\n").await;
    assert_eq!(without_ids(&id, &begun).0, PRELUDE);
    station.upstream.say("error");
    assert_eq!(without_ids(&id, &viewer.whole().await).0, ERROR);
}

#[tokio::test]
async fn a_stream_that_ends_before_it_said_anything_is_a_bad_gateway() {
    let station = Station::start().await;
    for script in [
        Script::sse().send(PRELUDE).end(),
        Script::sse().send(PRELUDE).cut(),
        Script::sse().send(": hi\n\n").cut(),
        Script::sse().cut(),
    ] {
        station.upstream.script(script);
        let answer = Answer::of(station.post("/v1/messages", "{\"stream\":true}")).await;
        answer.problem(502, "upstream-broken");
    }
    assert_eq!(Answer::of(station.get("/streams")).await.ok(200)["streams"], json!([]));
}

#[tokio::test]
async fn a_providers_stream_without_an_event_is_a_bad_gateway() {
    let station = Station::start().await;
    let ui = [("content-type", "text/event-stream"), ("x-vercel-ai-ui-message-stream", "v1")];
    for (path, script) in [
        ("/v1/chat/completions", Script::sse()),
        ("/v1/responses", Script::sse()),
        ("/v1/messages", Script::sse()),
        ("/v1/messages", Script::sse().send(": hi\n\n")),
        ("/v1/api/chat", Script::ndjson()),
        ("/v1/api/generate", Script::ndjson()),
        ("/v1/chat", Script::new().head(200, &ui)),
    ] {
        station.upstream.script(script.end());
        let answer = Answer::of(station.post(path, "{\"stream\":true}")).await;
        answer.problem(502, "upstream-broken");
    }
    assert_eq!(Answer::of(station.get("/streams")).await.ok(200)["streams"], json!([]));
}

#[tokio::test]
async fn a_generator_that_has_nothing_to_say_is_done() {
    let station = Station::start().await;
    for (path, script) in [("/v1/ticks", Script::sse()), ("/v1/rows", Script::ndjson())] {
        station.upstream.script(script.end());
        let viewer = Viewer::of(station.post(path, "{}")).await;
        assert_eq!(viewer.status(), 200);
        let stream = viewer.path();
        assert_eq!(viewer.whole().await, "");
        assert_eq!(station.info(&stream).await["state"], "done");
    }
}

#[tokio::test]
async fn an_answer_whose_only_event_has_no_blank_line_behind_it_is_a_stream() {
    let station = Station::start().await;
    let viewer = station.stream(Script::sse().send(word("a").trim_end()).end()).await;
    assert_eq!(viewer.status(), 200);
    let (id, path) = (viewer.id(), viewer.path());
    let (plain, ids) = without_ids(&id, &viewer.whole().await);
    assert!(plain.starts_with(&word("a")), "{plain}");
    assert_eq!(ids.len(), 2);
    assert_eq!(station.info(&path).await["state"], "truncated");
}

#[tokio::test]
async fn an_event_beyond_the_limit_in_place_of_content_is_a_bad_gateway() {
    let station = Station::with(|http, _| http.event_bytes_max = 1000).await;
    station.upstream.script(Script::sse().send("x".repeat(30_000)).hang());
    Answer::of(station.chat()).await.problem(502, "upstream-invalid");
    station.upstream.asked(0).await.hung_up().await;
}

#[tokio::test]
async fn thousands_of_events_in_one_piece_are_that_many_events() {
    let station = Station::start().await;
    for sent in [
        [word("a").repeat(5000), DONE.to_owned()].concat(),
        // Nothing but prelude for longer than can be waited with.
        [PRELUDE.repeat(5000), spoken()[2].end.to_owned()].concat(),
    ] {
        let viewer = station.stream(Script::sse().send(&sent).end()).await;
        let (id, path) = (viewer.id(), viewer.path());
        let count = sent.matches("\n\n").count();
        let (plain, ids) = without_ids(&id, &viewer.whole().await);
        let differs = plain.bytes().zip(sent.bytes()).position(|(one, two)| one != two);
        assert_eq!((differs, plain.len()), (None, sent.len()));
        assert_eq!(ids.len(), count);
        assert_eq!(station.info(&path).await["events"], count);
    }
}

#[tokio::test]
async fn an_upstream_that_sends_comments_is_not_silent() {
    let station = Station::with(|_, route| route.first_byte_timeout_ms = 2_000).await;
    let script = Script::sse().send(": thinking\n\n").wait("go").send(word("a")).send(DONE).end();
    station.upstream.script(script);
    let waiting = tokio::spawn(Viewer::of(station.chat()));
    station.upstream.asked(0).await;
    // Beyond the time in which upstream must have said something.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    station.upstream.say("go");
    let viewer = waiting.await.unwrap();
    assert_eq!(viewer.status(), 200);
    assert!(viewer.whole().await.contains("[DONE]"));
}

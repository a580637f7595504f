//! Publishing streams: each event as it arrives.

use std::sync::Arc;

use longwave_store::AppendError;
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, FaultyLog, RawClient, TestServer, eventually};

const SSE: &str = "text/event-stream";

async fn stream(server: &TestServer, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    server.post_as(SSE, path, body).await
}

async fn with_key(server: &TestServer, path: &str, key: &str, body: &str) -> Answer {
    let request = server.request(Method::POST, path).header("content-type", SSE);
    Answer::of(request.header("idempotency-key", key).body(body.to_owned())).await
}

#[tokio::test]
async fn each_event_of_a_stream_is_there_before_the_next_is_sent() {
    let server = TestServer::start().await;
    let mut client = RawClient::connect(server.addr).await;
    client.begin_chunked("/topics/t", "content-type: text/event-stream\r\n").await;
    for count in 1..=3 {
        client.send_chunk(&format!(":\nevent: tick\ndata: {count}\n")).await;
        client.send_chunk("data: more\n\n").await;
        server.has_events("t", count).await;
    }
    client.end_chunks().await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 201);
    let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["count"], 3);
    assert_eq!(server.told("t").await, ["tick:1\nmore", "tick:2\nmore", "tick:3\nmore"]);
    server.shutdown().await;
}

#[tokio::test]
async fn each_line_of_a_text_is_there_before_the_next_is_sent() {
    let server = TestServer::start().await;
    let mut client = RawClient::connect(server.addr).await;
    client.begin_chunked("/topics/log?lines&type=line", "").await;
    client.send_chunk("one\r").await;
    client.send_chunk("\ntw").await;
    server.has_events("log", 1).await;
    client.send_chunk("o\n\nlast").await;
    server.has_events("log", 3).await;
    client.end_chunks().await;
    assert_eq!(client.answer().await.unwrap().status, 201);
    assert_eq!(server.told("log").await, ["line:one", "line:two", "line:", "line:last"]);
    server.shutdown().await;
}

#[tokio::test]
async fn lines_are_read_in_the_format_that_is_asked_for() {
    let server = TestServer::start().await;
    server.post("/topics/t?lines&format=json", "{\"a\":1}\n2\n").await.ok(201);
    server.post("/topics/t?lines&format=binary", vec![0xff, b'\n']).await.ok(201);
    assert_eq!(server.told("t").await, [":json {\"a\":1}", ":json 2", ":binary \u{fffd}"]);
    let problem =
        server.post("/topics/t?lines&format=json", "3\nx\n4\n").await.problem(400, "json-invalid");
    assert_eq!((&problem["line"], &problem["appended"]), (&json!(2), &json!(1)));
    server
        .post_as("application/json", "/topics/t?lines", "1")
        .await
        .problem(400, "parameter-invalid");
    assert_eq!(server.told("t").await.len(), 4);
    server.shutdown().await;
}

#[tokio::test]
async fn data_of_an_event_stream_is_text_unless_asked_otherwise() {
    let server = TestServer::start().await;
    stream(&server, "/topics/t?type=x", "data: {}\n\nevent: message\ndata: a\n\n").await.ok(201);
    stream(&server, "/topics/t?format=json", "data: {\ndata: }\n\n").await.ok(201);
    assert_eq!(server.told("t").await, ["x:{}", "x:a", ":json {\n}"]);
    stream(&server, "/topics/t?format=json", "data: x\n\n").await.problem(400, "json-invalid");
    stream(&server, "/topics/t?format=binary", "data: x\n\n")
        .await
        .problem(400, "parameter-invalid");
    server.shutdown().await;
}

#[tokio::test]
async fn a_stream_says_how_far_it_got_when_an_event_is_wrong() {
    let server = TestServer::with(|options| options.event_bytes_max = 100).await;
    for (bad, code, status) in [
        ("event: longwave.end\ndata: x\n\n", "event-type-reserved", 400),
        (&format!("data: {}\n\n", "x".repeat(101)), "event-too-large", 413),
        (&format!("data: {}", "x".repeat(200_000)), "event-too-large", 413),
        (&format!("event: {}\ndata: x\n\n", "x".repeat(300)), "event-type-invalid", 400),
        (&format!("id: {}\ndata: x\n\n", "x".repeat(300)), "key-invalid", 400),
    ] {
        let before = server.told("t").await.len();
        let body = format!("data: 1\n\ndata: 2\n\n{bad}data: 4\n\n");
        let problem = stream(&server, "/topics/t", body).await.problem(status, code);
        assert_eq!(problem["event"], 3);
        assert_eq!(problem["appended"], 2);
        let last = server.events("t").await.last().unwrap().seq;
        assert_eq!(problem["last"], server.id(last));
        assert_eq!(server.told("t").await.len(), before + 2);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_line_that_is_too_long_or_no_text_stops_the_stream_there() {
    let server = TestServer::with(|options| options.event_bytes_max = 10).await;
    let problem = server
        .post("/topics/t?lines", "1234567890\r\n12345678901\nx\n")
        .await
        .problem(413, "event-too-large");
    assert_eq!(
        (&problem["line"], &problem["appended"], &problem["bytes_max"]),
        (&json!(2), &json!(1), &json!(10))
    );
    let problem = server
        .post("/topics/t?lines", vec![b'a', b'\n', 0xff, b'\n'])
        .await
        .problem(400, "utf8-invalid");
    assert_eq!((&problem["line"], &problem["appended"]), (&json!(2), &json!(1)));
    assert_eq!(server.told("t").await, [":1234567890", ":a"]);
    server.shutdown().await;
}

#[tokio::test]
async fn an_event_stream_that_is_not_utf8_is_read_as_browsers_read_it() {
    let server = TestServer::start().await;
    stream(&server, "/topics/t", b"data: a\xff\n\n".to_vec()).await.ok(201);
    assert_eq!(server.told("t").await, [":a\u{fffd}"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_ends_within_an_event_says_so() {
    let server = TestServer::start().await;
    let problem = stream(&server, "/topics/t?end", "data: 1\n\ndata: 2")
        .await
        .problem(400, "body-incomplete");
    assert_eq!(problem["appended"], 1);
    // Nor is the topic ended by it.
    assert_eq!(server.told("t").await, [":1"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_stream_of_nothing_is_refused() {
    let server = TestServer::start().await;
    stream(&server, "/topics/t", ": only a comment\n\nretry: 5\n\n")
        .await
        .problem(400, "nothing-to-publish");
    server.post("/topics/t?lines", "").await.problem(400, "nothing-to-publish");
    stream(&server, "/topics/t?end", "").await.ok(201);
    assert_eq!(server.told("t").await, ["end:done"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_stream_may_end_the_topic_and_stops_at_an_ended_one() {
    let server = TestServer::start().await;
    let answer = stream(&server, "/topics/t?end=cancelled", "data: 1\n\n").await.ok(201);
    assert_eq!((&answer["count"], &answer["last"]), (&json!(2), &answer["end"]));
    let problem = stream(&server, "/topics/t", "data: 2\n\n").await.problem(409, "topic-ended");
    assert_eq!((&problem["reason"], &problem["appended"]), (&json!("cancelled"), &json!(0)));
    assert_eq!(server.told("t").await, [":1", "end:cancelled"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_reconnecting_generator_does_not_double_the_events_whose_ids_it_repeats() {
    let server = TestServer::start().await;
    stream(&server, "/topics/t", "id: 1\ndata: a\n\nid: 2\ndata: b\n\n").await.ok(201);
    let resumed =
        stream(&server, "/topics/t", "id: 2\ndata: b\n\nid: 3\ndata: c\n\ndata: no id\n\n")
            .await
            .ok(201);
    assert_eq!((&resumed["count"], &resumed["duplicates"]), (&json!(3), &json!(1)));
    assert_eq!(server.told("t").await, [":a", ":b", ":c", ":no id"]);

    let again = stream(&server, "/topics/t", "id: 1\ndata: a\n\n").await;
    assert_eq!(again.header("longwave-duplicate"), Some("true"));
    again.ok(200);
    stream(&server, "/topics/t?ids=ignore", "id: 1\ndata: a\n\n").await.ok(201);
    assert_eq!(server.told("t").await.len(), 5);
    server.shutdown().await;
}

#[tokio::test]
async fn an_id_that_was_used_for_something_else_stops_the_stream_behind_what_came_before() {
    let server = TestServer::start().await;
    stream(&server, "/topics/t", "id: 2\ndata: old\n\n").await.ok(201);
    let body = "id: 1\ndata: a\n\nid: 2\ndata: new\n\nid: 3\ndata: c\n\n";
    let problem = stream(&server, "/topics/t", body).await.problem(422, "key-reused");
    assert_eq!(problem["appended"], 1);
    assert_eq!(server.told("t").await, [":old", ":a"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_is_repeated_under_its_key_is_not_doubled() {
    let server = TestServer::start().await;
    // The first try breaks off.
    with_key(&server, "/topics/t?end", "run-7", "data: a\n\ndata: b\n\ndata: c")
        .await
        .problem(400, "body-incomplete");
    let whole = "data: a\n\ndata: b\n\ndata: c\n\n";
    let answer = with_key(&server, "/topics/t?end", "run-7", whole).await.ok(201);
    assert_eq!((&answer["count"], &answer["duplicates"]), (&json!(4), &json!(2)));
    let again = with_key(&server, "/topics/t?end", "run-7", whole).await;
    assert_eq!(again.header("longwave-duplicate"), Some("true"));
    assert_eq!(again.ok(200)["end"], answer["end"]);
    assert_eq!(server.told("t").await, [":a", ":b", ":c", "end:done"]);
    with_key(&server, "/topics/t", &"k".repeat(240), whole).await.problem(400, "key-invalid");
    server.shutdown().await;
}

#[tokio::test]
async fn the_fence_of_a_stream_is_for_its_first_event() {
    let server = TestServer::start().await;
    let first = server.post("/topics/t", "1").await.ok(201);
    let send = |tag: String| {
        let request = server.request(Method::POST, "/topics/t?lines").header("if-match", tag);
        Answer::of(request.body("2\n3\n"))
    };
    let tag = first["id"].as_str().unwrap().to_owned();
    send(tag.clone()).await.ok(201);
    let problem = send(tag).await.problem(412, "fenced");
    assert_eq!(problem["appended"], 0);
    assert_eq!(server.told("t").await, [":1", ":2", ":3"]);
    server.shutdown().await;
}

#[tokio::test]
async fn what_arrived_of_a_stream_stays_when_its_client_vanishes() {
    let server = TestServer::start().await;
    let mut client = RawClient::connect(server.addr).await;
    client.begin_chunked("/topics/t?lines&end", "").await;
    client.send_chunk("one\ntwo\nthr").await;
    drop(client);
    server.has_events("t", 2).await;
    // Whatever was under way is over when the server is down, and half a line is none.
    let log = Arc::clone(server.log());
    let told = server.told("t").await;
    server.shutdown().await;
    drop(log);
    assert_eq!(told, [":one", ":two"]);
}

#[tokio::test]
async fn what_arrives_while_an_append_is_under_way_is_appended_together_and_in_order() {
    let mut faulty = None;
    let server =
        TestServer::over(|_| {}, |log| Arc::clone(faulty.insert(FaultyLog::new(log)))).await;
    let faulty = faulty.unwrap();
    faulty.hold();
    let mut client = RawClient::connect(server.addr).await;
    client.begin_chunked("/topics/t?lines", "").await;
    client.send_chunk("0\n").await;
    eventually(|| async { faulty.appends() == 1 }).await;
    for count in 1..=500 {
        client.send_chunk(&format!("{count}\n")).await;
    }
    client.end_chunks().await;
    // The digits of all lines.
    server.has_metric("longwave_request_bodies_held_bytes 1393").await;
    faulty.release();
    assert_eq!(client.answer().await.unwrap().status, 201);
    let expected: Vec<String> = (0..=500).map(|count| format!(":{count}")).collect();
    assert_eq!(server.told("t").await, expected);
    assert_eq!(faulty.appends(), 2);
    server.shutdown().await;
}

#[tokio::test]
async fn a_stream_says_how_far_it_got_when_the_disk_fills() {
    let mut faulty = None;
    let server =
        TestServer::over(|_| {}, |log| Arc::clone(faulty.insert(FaultyLog::new(log)))).await;
    let faulty = faulty.unwrap();
    let mut client = RawClient::connect(server.addr).await;
    client.begin_chunked("/topics/t?lines", "").await;
    client.send_chunk("one\n").await;
    server.has_events("t", 1).await;
    faulty.fail(Some(AppendError::Full));
    client.send_chunk("two\n").await;
    let problem = client.answer().await.unwrap().problem(507, "disk-full");
    assert_eq!(
        (&problem["appended"], &problem["last"]),
        (&json!(1), &json!(server.id(longwave_core::Seq(1))))
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_large_stream_arrives_whole() {
    let server = TestServer::start().await;
    let body: String = (0..20_000).map(|count| format!("line {count}\n")).collect();
    let answer = server.post("/topics/t?lines", body).await.ok(201);
    assert_eq!(answer["count"], 20_000);
    let told = server.told("t").await;
    assert!(told.iter().enumerate().all(|(count, told)| *told == format!(":line {count}")));
    server.shutdown().await;
}

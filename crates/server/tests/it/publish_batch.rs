//! Publishing batches: all of it or nothing.

use longwave_core::Seq;
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, RawClient, TestServer};

const NDJSON: &str = "application/x-ndjson";

async fn batch(server: &TestServer, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    server.post_as(NDJSON, path, body).await
}

#[tokio::test]
async fn a_batch_is_appended_together_and_in_order() {
    let server = TestServer::start().await;
    let body = concat!(
        "{\"data\":\"text\"}\n",
        "{\"data\":{\"a\":1},\"type\":\"price\"}\r\n",
        "\n",
        "{\"data\":\"AP8=\",\"encoding\":\"base64\"}",
    );
    let answer = batch(&server, "/topics/t?type=other", body).await.ok(201);
    assert_eq!(answer["first"], server.id(Seq(1)));
    assert_eq!(answer["last"], server.id(Seq(3)));
    assert_eq!(answer["count"], 3);
    assert_eq!(answer["topic"], "t");
    assert_eq!(
        server.told("t").await,
        ["other:text", "price:json {\"a\":1}", "other:binary \0\u{fffd}"]
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_batch_with_a_bad_line_publishes_nothing_and_names_the_line() {
    let server = TestServer::start().await;
    let body = "{\"data\":1}\n{\"data\":2\n{\"data\":3,\"type\":\"longwave.gap\"}\n{\"data\":4}\n";
    let problem = batch(&server, "/topics/t", body).await.problem(400, "batch-invalid");
    let lines: Vec<_> = problem["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (&line["line"], &line["code"]))
        .collect();
    assert_eq!(json!(lines), json!([[2, "json-invalid"], [3, "event-type-reserved"]]));
    assert!(problem["detail"].as_str().unwrap().starts_with("line 2: "), "{problem}");
    assert!(server.told("t").await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_line_that_is_no_object_is_a_bad_one() {
    let server = TestServer::start().await;
    for line in ["[1]", "[1,null,null,null]", "1", "null", "\"a\""] {
        batch(&server, "/topics/t", line).await.problem(400, "batch-invalid");
    }
    server.put("/topics/t", "[null,null,null,null]").await.problem(400, "config-invalid");
    server.get("/topics/t?info").await.problem(404, "topic-not-found");
    server.shutdown().await;
}

#[tokio::test]
async fn a_batch_may_end_the_topic() {
    let server = TestServer::start().await;
    let answer = batch(&server, "/topics/t?end", "{\"data\":1}\n").await.ok(201);
    assert_eq!((&answer["count"], &answer["last"]), (&json!(2), &answer["end"]));
    assert_eq!(server.told("t").await, [":json 1", "end:done"]);
    batch(&server, "/topics/other?end", "").await.ok(201);
    assert_eq!(server.told("other").await, ["end:done"]);
    batch(&server, "/topics/t", "{\"data\":1}\n").await.problem(409, "topic-ended");
    server.shutdown().await;
}

#[tokio::test]
async fn a_batch_of_nothing_is_refused() {
    let server = TestServer::start().await;
    batch(&server, "/topics/t", "").await.problem(400, "nothing-to-publish");
    batch(&server, "/topics/t", "\n \r\n").await.problem(400, "nothing-to-publish");
    server.shutdown().await;
}

#[tokio::test]
async fn a_batch_is_limited_in_events_and_in_bytes() {
    let server = TestServer::with(|options| {
        options.batch_events_max = 3;
        options.batch_bytes_max = 200;
        options.event_bytes_max = 20;
    })
    .await;
    let line = "{\"data\":1}\n";
    batch(&server, "/topics/t", line.repeat(3)).await.ok(201);
    let problem = batch(&server, "/topics/t", line.repeat(4)).await.problem(413, "batch-too-large");
    assert_eq!(problem["events_max"], 3);
    let problem =
        batch(&server, "/topics/t", line.repeat(20)).await.problem(413, "batch-too-large");
    assert_eq!(problem["bytes_max"], 200);
    let long = format!("{line}{{\"data\":\"{}\"}}\n", "x".repeat(21));
    let problem = batch(&server, "/topics/t", long).await.problem(400, "batch-invalid");
    assert_eq!(problem["lines"][0]["code"], "event-too-large");
    assert_eq!(server.told("t").await.len(), 3);
    server.shutdown().await;
}

#[tokio::test]
async fn a_batch_leaves_out_the_events_whose_keys_were_seen() {
    let server = TestServer::start().await;
    let first =
        batch(&server, "/topics/t", "{\"data\":1,\"key\":\"a\"}\n{\"data\":2,\"key\":\"b\"}\n")
            .await
            .ok(201);
    assert_eq!(first.get("duplicates"), None);
    let mixed =
        batch(&server, "/topics/t", "{\"data\":2,\"key\":\"b\"}\n{\"data\":3,\"key\":\"c\"}\n")
            .await;
    assert_eq!(mixed.header("longwave-duplicate"), None);
    let mixed = mixed.ok(201);
    assert_eq!((&mixed["count"], &mixed["duplicates"]), (&json!(2), &json!(1)));
    let again =
        batch(&server, "/topics/t", "{\"data\":1,\"key\":\"a\"}\n{\"data\":2,\"key\":\"b\"}\n")
            .await;
    assert_eq!(again.header("longwave-duplicate"), Some("true"));
    let again = again.ok(200);
    assert_eq!((&again["first"], &again["last"]), (&first["first"], &first["last"]));
    assert_eq!(again["duplicates"], 2);
    batch(&server, "/topics/t", "{\"data\":4}\n{\"data\":9,\"key\":\"a\"}\n")
        .await
        .problem(422, "key-reused");
    assert_eq!(server.told("t").await, [":json 1", ":json 2", ":json 3"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_batch_under_a_key_is_answered_the_same_again() {
    let server = TestServer::start().await;
    let send = || {
        let request = server.request(Method::POST, "/topics/t").header("content-type", NDJSON);
        Answer::of(request.header("idempotency-key", "k").body("{\"data\":1}\n{\"data\":2}\n"))
    };
    let first = send().await.ok(201);
    let again = send().await.ok(200);
    for member in ["first", "last", "count", "time", "topic"] {
        assert_eq!(first[member], again[member]);
    }
    assert_eq!(server.told("t").await.len(), 2);
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_that_vanishes_within_a_batch_publishes_nothing_of_it() {
    let server = TestServer::start().await;
    let mut client = RawClient::connect(server.addr).await;
    client.begin_chunked("/topics/t", "content-type: application/x-ndjson\r\n").await;
    client.send_chunk("{\"data\":1}\n{\"data\":2}\n").await;
    drop(client);
    batch(&server, "/topics/t", "{\"data\":3}\n").await.ok(201);
    server.shutdown().await;
}

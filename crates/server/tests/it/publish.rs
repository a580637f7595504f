//! Publishing single events, and what goes wrong with them.

use longwave_core::{EndReason, Seq};
use longwave_store::Log;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};

use crate::support::{Answer, RawClient, TestServer};

/// Publishes with headers.
async fn post_with(
    server: &TestServer,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = server.request(Method::POST, path).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

#[tokio::test]
async fn a_text_is_one_event_with_its_bytes_unchanged() {
    let server = TestServer::start().await;
    let answer = server.post("/topics/news", "line one\r\n  line two\n").await.ok(201);
    assert_eq!(answer["id"], server.id(Seq(1)));
    assert_eq!(answer["topic"], "news");
    assert!(answer["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(answer.as_object().unwrap().len(), 3);
    assert_eq!(server.told("news").await, [":line one\r\n  line two\n"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_body_is_read_as_its_content_type_says() {
    let server = TestServer::start().await;
    for (content_type, body, told) in [
        ("text/plain; charset=utf-8", "héllo", ":héllo"),
        ("text/html", "<p>", ":<p>"),
        ("application/x-www-form-urlencoded", "a=b&c", ":a=b&c"),
        ("application/json", "{\"a\": 1.0,\n \"a\": 2}", ":json {\"a\": 1.0,\n \"a\": 2}"),
        ("application/vnd.api+json", "[]", ":json []"),
        ("application/octet-stream", "bytes", ":binary bytes"),
        ("image/png", "bytes", ":binary bytes"),
    ] {
        server.post_as(content_type, "/topics/kinds", body).await.ok(201);
        assert_eq!(server.told("kinds").await.last().unwrap(), told, "{content_type}");
    }
    server.post("/topics/kinds?format=json", "{}").await.ok(201);
    assert_eq!(server.told("kinds").await.last().unwrap(), ":json {}");
    server.post_as("application/json", "/topics/kinds?format=text", "{").await.ok(201);
    assert_eq!(server.told("kinds").await.last().unwrap(), ":{");
    server.post("/topics/kinds?format=binary", vec![0, 255]).await.ok(201);
    assert_eq!(server.told("kinds").await.last().unwrap(), ":binary \0\u{fffd}");
    server.shutdown().await;
}

#[tokio::test]
async fn an_empty_body_is_an_event_without_data() {
    let server = TestServer::start().await;
    server.post("/topics/bell?type=ring", "").await.ok(201);
    assert_eq!(server.told("bell").await, ["ring:"]);
    server.shutdown().await;
}

#[tokio::test]
async fn the_type_comes_from_the_url_or_from_a_header() {
    let server = TestServer::start().await;
    server.post("/topics/t?type=price", "1").await.ok(201);
    post_with(&server, "/topics/t", &[("event-type", "größe")], "2").await.ok(201);
    assert_eq!(server.told("t").await, ["price:1", "größe:2"]);

    post_with(&server, "/topics/t?type=a", &[("event-type", "a")], "3")
        .await
        .problem(400, "parameter-invalid");
    for (path, code) in [
        ("/topics/t?type=", "event-type-invalid"),
        ("/topics/t?type=a%0Ab", "event-type-invalid"),
        ("/topics/t?type=longwave.end", "event-type-reserved"),
    ] {
        server.post(path, "x").await.problem(400, code);
    }
    let long = "x".repeat(256);
    server.post(&format!("/topics/t?type={long}"), "x").await.problem(400, "event-type-invalid");
    assert_eq!(server.told("t").await.len(), 2);
    server.shutdown().await;
}

#[tokio::test]
async fn one_topic_has_one_name_however_it_is_spelled() {
    let server = TestServer::start().await;
    for path in ["/topics/caf%c3%a9/%6frders", "/topics/caf%C3%A9/orders"] {
        let answer = server.post(path, "x").await.ok(201);
        assert_eq!(answer["topic"], "caf%C3%A9/orders");
    }
    server.post("/topics/a%2Fb/c", "x").await.ok(201);
    assert_eq!(server.told("a%2Fb/c").await.len(), 1);
    assert!(server.told("a/b/c").await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_malformed_topic_is_refused() {
    let server = TestServer::start().await;
    for (path, status, code) in [
        ("/topics/", 400, "topic-invalid"),
        ("/topics/a//b", 400, "topic-invalid"),
        ("/topics/a/", 400, "topic-invalid"),
        ("/topics/a/%2e%2e/b", 400, "topic-invalid"),
        ("/topics/a*b", 400, "topic-invalid"),
        ("/topics/a/*", 400, "topic-invalid"),
        ("/topics/%", 400, "topic-invalid"),
        ("/topics/%zz", 400, "topic-invalid"),
        ("/topics/%ff", 400, "topic-invalid"),
        ("/topics/%00", 400, "topic-invalid"),
        ("/topics/user:42", 400, "topic-invalid"),
        ("/topics/$sys", 403, "topic-reserved"),
        ("/topics/%24sys/rates", 403, "topic-reserved"),
    ] {
        let mut client = RawClient::connect(server.addr).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx");
        client.send(head.as_bytes()).await;
        client.answer().await.unwrap().problem(status, code);
    }
    let long = "x".repeat(256);
    server.post(&format!("/topics/{long}"), "x").await.problem(400, "topic-invalid");
    assert_eq!(server.log().status().events, 0);
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_no_text_or_no_json_is_refused_and_nothing_is_published() {
    let server = TestServer::start().await;
    let answer = server.post("/topics/t", vec![b'a', 0xff]).await;
    assert_eq!(answer.problem(400, "utf8-invalid")["position"], 1);
    for body in ["{", "", "{} {}", "nul", "{'a':1}", "\u{feff}{}", "[1,]"] {
        server.post_as("application/json", "/topics/t", body).await.problem(400, "json-invalid");
    }
    server
        .post_as("application/json", "/topics/t", vec![b'"', 0xff, b'"'])
        .await
        .problem(400, "utf8-invalid");
    assert!(server.told("t").await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn json_may_be_nested_as_deep_as_an_event_is_long() {
    let server = TestServer::start().await;
    let nested =
        |open: &str, close: &str, depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let (arrays, objects) = (nested("[", "]", 500_000), nested("{\"a\":", "}", 100_000));
    let unclosed = "[".repeat(500_000);
    for deep in [&arrays, &objects] {
        server.post_as("application/json", "/topics/t", deep.clone()).await.ok(201);
        server.post("/topics/t?lines&format=json", format!("{deep}\n")).await.ok(201);
        let line = format!("{{\"data\":{deep}}}\n");
        server.post_as("application/x-ndjson", "/topics/t", line).await.ok(201);
        let told = server.told("t").await;
        assert!(told.iter().rev().take(3).all(|told| *told == format!(":json {deep}")));
    }
    assert_eq!(server.told("t").await.len(), 6);

    server.post_as("application/json", "/topics/t", unclosed).await.problem(400, "json-invalid");
    for line in [
        arrays.clone(),
        format!("{{\"data\":{}}}", "[".repeat(500_000)),
        format!("{{\"data\":1,\"type\":{objects}}}"),
        format!("{{\"data\":1,\"colour\":{objects}}}"),
    ] {
        let answer = server.post_as("application/x-ndjson", "/topics/t", format!("{line}\n")).await;
        answer.problem(400, "batch-invalid");
    }
    for settings in [nested("[", "]", 10_000), nested("{\"max_age\":", "}", 5_000)] {
        server.put("/topics/t", settings).await.problem(400, "config-invalid");
    }
    assert_eq!(server.told("t").await.len(), 6, "nothing that was refused is there");
    server.shutdown().await;
}

#[tokio::test]
async fn bodies_that_can_not_be_published_are_refused_by_their_headers() {
    let server = TestServer::start().await;
    let refused = [
        ("content-type", "multipart/form-data; boundary=x", 415, "media-type-unsupported"),
        ("content-type", "text/plain; charset=latin1", 415, "charset-unsupported"),
        ("content-type", "nonsense", 400, "header-invalid"),
        ("content-encoding", "gzip", 415, "content-encoding-unsupported"),
        ("idempotency-key", "", 400, "key-invalid"),
        ("if-match", "nonsense", 400, "id-invalid"),
        ("if-match", "*", 400, "id-invalid"),
        ("if-match", "W/\"7kq2f-1\"", 400, "id-invalid"),
        ("if-none-match", "\"7kq2f-1\"", 400, "header-invalid"),
    ];
    for (name, value, status, code) in refused {
        post_with(&server, "/topics/t", &[(name, value)], "x").await.problem(status, code);
    }
    let long = "k".repeat(256);
    post_with(&server, "/topics/t", &[("idempotency-key", &long)], "x")
        .await
        .problem(400, "key-invalid");
    let not_utf8 = HeaderValue::from_bytes(&[0xff]).unwrap();
    let request = server.request(Method::POST, "/topics/t").body("x");
    let request = request.header(HeaderName::from_static("event-type"), not_utf8);
    Answer::of(request).await.problem(400, "header-invalid");
    let twice = server.request(Method::POST, "/topics/t").body("x");
    let twice = twice.header("idempotency-key", "a").header("idempotency-key", "b");
    Answer::of(twice).await.problem(400, "header-invalid");
    assert!(server.told("t").await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_misspelled_parameter_is_refused() {
    let server = TestServer::start().await;
    for path in [
        "/topics/t?ends",
        "/topics/t?end=finished",
        "/topics/t?end=deleted",
        "/topics/t?format=xml",
        "/topics/t?type=a&type=b",
        "/topics/t?ids=perhaps",
        "/topics/t?type=%ff",
    ] {
        server.post(path, "x").await.problem(400, "parameter-invalid");
    }
    assert!(server.told("t").await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn an_event_may_be_as_large_as_the_limit_and_no_larger() {
    let server = TestServer::with(|options| options.event_bytes_max = 1000).await;
    server.post("/topics/t", "x".repeat(1000)).await.ok(201);
    let answer = server.post("/topics/t", "x".repeat(1001)).await;
    assert_eq!(answer.problem(413, "event-too-large")["bytes_max"], 1000);
    // The same of a body whose length is not told before.
    let mut client = RawClient::connect(server.addr).await;
    client.begin_chunked("/topics/t", "").await;
    client.send_chunk(&"x".repeat(600)).await;
    client.send_chunk(&"x".repeat(600)).await;
    client.answer().await.unwrap().problem(413, "event-too-large");
    assert_eq!(server.told("t").await.len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn an_oversized_body_is_refused_before_it_is_sent() {
    let server = TestServer::with(|options| options.event_bytes_max = 1000).await;
    let mut client = RawClient::connect(server.addr).await;
    let head = "POST /topics/t HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1001\r\nexpect: 100-continue\r\n\r\n";
    client.send(head.as_bytes()).await;
    client.answer().await.unwrap().problem(413, "event-too-large");
    server.shutdown().await;
}

#[tokio::test]
async fn a_retry_under_the_same_key_is_answered_with_the_first_id() {
    let server = TestServer::start().await;
    let headers = [("idempotency-key", "order-42")];
    let first = post_with(&server, "/topics/t", &headers, "paid").await;
    assert_eq!(first.header("longwave-duplicate"), None);
    let first = first.ok(201);
    server.post("/topics/t", "between").await.ok(201);
    let again = post_with(&server, "/topics/t", &headers, "paid").await;
    assert_eq!(again.header("longwave-duplicate"), Some("true"));
    assert_eq!(again.ok(200), first);
    let other = post_with(&server, "/topics/t", &headers, "refunded").await;
    assert_eq!(other.problem(422, "key-reused")["first"], first["id"]);
    post_with(&server, "/topics/other", &headers, "paid").await.ok(201);
    assert_eq!(server.told("t").await, [":paid", ":between"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_fence_lets_only_one_of_two_writers_through() {
    let server = TestServer::start().await;
    let first = post_with(&server, "/topics/t", &[("if-none-match", "*")], "1").await.ok(201);
    let late = post_with(&server, "/topics/t", &[("if-none-match", "*")], "1").await;
    assert_eq!(late.problem(412, "fenced")["last"], first["id"]);

    let tag = format!("\"{}\"", first["id"].as_str().unwrap());
    let second = post_with(&server, "/topics/t", &[("if-match", &tag)], "2").await.ok(201);
    let late = post_with(&server, "/topics/t", &[("if-match", &tag)], "2").await;
    assert_eq!(late.problem(412, "fenced")["last"], second["id"]);
    // Without quotes it is understood as well.
    let bare = second["id"].as_str().unwrap().to_owned();
    post_with(&server, "/topics/t", &[("if-match", &bare)], "3").await.ok(201);
    assert_eq!(server.told("t").await, [":1", ":2", ":3"]);

    let none = post_with(&server, "/topics/empty", &[("if-match", &bare)], "x").await;
    assert!(none.problem(412, "fenced")["last"].is_null());
    let both = [("if-match", bare.as_str()), ("if-none-match", "*")];
    post_with(&server, "/topics/t", &both, "x").await.problem(400, "header-invalid");
    server.shutdown().await;
}

#[tokio::test]
async fn a_fence_of_another_log_never_matches() {
    let server = TestServer::start().await;
    let first = server.post("/topics/t", "1").await.ok(201);
    let own = first["id"].as_str().unwrap();
    let other = format!("{}{}", if own.starts_with('0') { '1' } else { '0' }, &own[1..]);
    post_with(&server, "/topics/t", &[("if-match", &other)], "2")
        .await
        .problem(412, "epoch-mismatch");
    assert_eq!(server.told("t").await.len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_topic_ends_with_a_last_event_or_without_one() {
    let server = TestServer::start().await;
    let with = server.post("/topics/with?end", "bye").await.ok(201);
    assert_eq!(with["id"], server.id(Seq(1)));
    assert_eq!(with["end"], server.id(Seq(2)));
    assert_eq!(server.told("with").await, [":bye", "end:done"]);

    let without = server.post("/topics/without?end=cancelled", "").await.ok(201);
    assert_eq!(without["id"], without["end"]);
    assert_eq!(server.told("without").await, ["end:cancelled"]);
    server.shutdown().await;
}

#[tokio::test]
async fn an_ended_topic_takes_nothing_more() {
    let server = TestServer::start().await;
    let headers = [("idempotency-key", "k")];
    let ended = post_with(&server, "/topics/t?end=error", &headers, "last").await.ok(201);
    for path in ["/topics/t", "/topics/t?end"] {
        let problem = server.post(path, "x").await.problem(409, "topic-ended");
        assert_eq!(problem["reason"], "error");
        assert_eq!(problem["end"], ended["end"]);
    }
    let again = post_with(&server, "/topics/t?end=error", &headers, "last").await;
    assert_eq!(again.ok(200), ended);
    let info = server.log().topic("t".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(info.end.unwrap().reason, EndReason::Error);
    assert_eq!(info.events, 2);
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_that_vanishes_within_a_body_publishes_nothing() {
    let server = TestServer::start().await;
    let mut client = RawClient::connect(server.addr).await;
    let head =
        "POST /topics/t HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nhalf of it";
    client.send(head.as_bytes()).await;
    drop(client);
    // Whoever comes later is served, so the first was not waited for, and nothing of it is there.
    server.post("/topics/t", "whole").await.ok(201);
    server.shutdown().await;
}

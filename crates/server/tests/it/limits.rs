//! Slow clients, many clients, and memory that is used up. Nothing here measures time: the limits are short, and only
//! what is answered counts.

use reqwest::Method;

use crate::support::{Answer, RawClient, TestServer, eventually};

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_answered_408() {
    let server = TestServer::with(|options| options.header_read_timeout_ms = 200).await;
    // Before and after it is clear which HTTP the client speaks.
    for begun in ["P", "POST /topics/t HTTP/1.1\r\nhost: local"] {
        let mut client = RawClient::connect(server.addr).await;
        client.send(begun.as_bytes()).await;
        client.answer().await.unwrap().problem(408, "request-timeout");
        assert!(client.closed().await.is_empty());
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_that_sends_a_byte_now_and_then_is_answered_408() {
    let server = TestServer::with(|options| options.header_read_timeout_ms = 300).await;
    let mut client = RawClient::connect(server.addr).await;
    let head = b"POST /topics/t HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\nx: yyyyyyyyyyyyyyyyyyyy";
    // Much longer than the limit, were it sent to its end.
    for byte in head {
        if !client.try_send(&[*byte]).await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    client.answer().await.unwrap().problem(408, "request-timeout");
    assert!(server.told("t").await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_said_is_closed_without_a_word() {
    let server = TestServer::with(|options| options.header_read_timeout_ms = 100).await;
    let client = RawClient::connect(server.addr).await;
    assert!(client.closed().await.is_empty());
    // The same after a request was answered.
    let mut client = RawClient::connect(server.addr).await;
    client.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert!(client.closed().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_answered_408_and_not_published() {
    let server = TestServer::with(|options| options.body_read_timeout_ms = 200).await;
    for content_type in ["text/plain", "application/x-ndjson"] {
        let mut client = RawClient::connect(server.addr).await;
        client.begin_chunked("/topics/t", &format!("content-type: {content_type}\r\n")).await;
        client.send_chunk("{\"data\":1}\n").await;
        let answer = client.answer().await.unwrap();
        answer.problem(408, "request-timeout");
        assert!(answer.head.contains("connection: close"), "{answer:?}");
        client.closed().await;
    }
    assert!(server.told("t").await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_stream_may_take_long_but_not_be_silent_for_ever() {
    let server = TestServer::with(|options| {
        options.body_read_timeout_ms = 50;
        options.stream_idle_timeout_ms = 400;
    })
    .await;
    let mut client = RawClient::connect(server.addr).await;
    client.begin_chunked("/topics/t", "content-type: text/event-stream\r\n").await;
    for count in 1..=5 {
        client.send_chunk(&format!("data: {count}\n\n")).await;
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    let problem = client.answer().await.unwrap().problem(408, "request-timeout");
    assert_eq!(problem["appended"], 5);
    assert!(problem["detail"].as_str().unwrap().contains("comment line"), "{problem}");
    assert_eq!(server.told("t").await.len(), 5);
    let mut client = RawClient::connect(server.addr).await;
    client.begin_chunked("/topics/lines?lines", "").await;
    client.send_chunk("one\n").await;
    let problem = client.answer().await.unwrap().problem(408, "request-timeout");
    assert!(problem["detail"].as_str().unwrap().contains("each line"), "{problem}");
    assert_eq!(server.told("lines").await, [":one"]);
    server.shutdown().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let server = TestServer::with(|options| options.connections_max = 2).await;
    let hello = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(server.addr).await;
        client.send(hello).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        clients.push(client);
    }
    let mut third = RawClient::connect(server.addr).await;
    third.try_send(hello).await;
    let refused = third.answer().await.unwrap();
    refused.problem(503, "overloaded");
    assert!(refused.head.contains("retry-after: "), "{refused:?}");
    drop(clients.pop());
    eventually(|| async {
        let mut client = RawClient::connect(server.addr).await;
        client.try_send(hello).await;
        client.answer().await.is_some_and(|answer| answer.status == 200)
    })
    .await;
    server.shutdown().await;
}

#[tokio::test]
async fn memory_for_bodies_is_shared_out_and_given_back() {
    let server = TestServer::with(|options| {
        options.bodies_bytes_max = 10_000;
        options.event_bytes_max = 8_000;
    })
    .await;
    let mut held = RawClient::connect(server.addr).await;
    held.begin_chunked("/topics/t", "").await;
    held.send_chunk(&"x".repeat(6_000)).await;
    server.has_metric("longwave_request_bodies_held_bytes 6000").await;
    let refused = server.post("/topics/other", "y".repeat(6_000)).await;
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    server.post("/topics/small", "y".repeat(100)).await.ok(201);
    held.end_chunks().await;
    assert_eq!(held.answer().await.unwrap().status, 201);
    server.post("/topics/third", "y".repeat(6_000)).await.ok(201);
    server.has_metric("longwave_request_bodies_held_bytes 0").await;
    server.shutdown().await;
}

#[tokio::test]
async fn http2_is_served_without_tls() {
    let server = TestServer::start().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let request = client.request(Method::POST, format!("http://{}/topics/t", server.addr));
    Answer::of(request.body("over h2")).await.ok(201);
    assert_eq!(server.told("t").await, [":over h2"]);
    server.shutdown().await;
}

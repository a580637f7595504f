//! Going down in order.

use std::sync::Arc;

use longwave_store::{AppendError, Log};

use crate::support::{FaultyLog, RawClient, TestServer, eventually, within};

#[tokio::test]
async fn a_server_that_goes_down_frees_its_port() {
    let server = TestServer::start().await;
    let addr = server.addr;
    within(server.shutdown()).await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_a_shutdown() {
    let server = TestServer::with(|options| options.drain_timeout_ms = 1_000_000).await;
    let silent = RawClient::connect(server.addr).await;
    let mut idle = RawClient::connect(server.addr).await;
    idle.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(idle.answer().await.unwrap().status, 200);
    within(server.shutdown()).await;
    assert!(idle.closed().await.is_empty());
    silent.closed().await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_server_is_down() {
    let mut faulty = None;
    let server =
        TestServer::over(|_| {}, |log| Arc::clone(faulty.insert(FaultyLog::new(log)))).await;
    let faulty = faulty.unwrap();
    let log = Arc::clone(server.log());
    faulty.hold();
    let mut client = RawClient::connect(server.addr).await;
    client.send(b"POST /topics/t HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx").await;
    eventually(|| async { faulty.appends() == 1 }).await;
    let down = tokio::spawn(server.shutdown());
    faulty.release();
    assert_eq!(client.answer().await.unwrap().status, 201);
    within(down).await.unwrap();
    assert_eq!(log.status().events, 1);
}

#[tokio::test]
async fn a_stream_being_published_is_told_how_far_it_got() {
    let server = TestServer::with(|options| options.drain_timeout_ms = 1_000_000).await;
    let mut client = RawClient::connect(server.addr).await;
    client.begin_chunked("/topics/t?lines", "").await;
    client.send_chunk("one\ntwo\n").await;
    server.has_events("t", 2).await;
    let down = tokio::spawn(server.shutdown());
    let problem = client.answer().await.unwrap().problem(503, "shutting-down");
    assert_eq!(problem["appended"], 2);
    drop(client);
    within(down).await.unwrap();
}

#[tokio::test]
async fn a_live_stream_does_not_hold_up_a_shutdown() {
    let server = TestServer::with(|options| options.drain_timeout_ms = 1_000_000).await;
    let mut client = RawClient::connect(server.addr).await;
    client
        .send(b"GET /topics/t HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n")
        .await;
    server.has_metric("longwave_subscribers{transport=\"sse\"} 1").await;
    within(server.shutdown()).await;
    let told = String::from_utf8(client.closed().await).unwrap();
    assert!(told.starts_with("HTTP/1.1 200 OK"), "{told}");
    assert!(told.contains("retry: "), "{told}");
}

#[tokio::test]
async fn a_client_that_never_goes_is_cut_off_at_last() {
    let server = TestServer::with(|options| options.drain_timeout_ms = 100).await;
    let mut client = RawClient::connect(server.addr).await;
    // The body that is announced never comes.
    client.send(b"POST /topics/t HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nx").await;
    server.has_metric("longwave_publishes_total{kind=\"text\"} 1").await;
    let log = Arc::clone(server.log());
    within(server.shutdown()).await;
    client.closed().await;
    assert_eq!(log.status().events, 0);
}

#[tokio::test]
async fn a_closed_log_refuses_what_comes_too_late() {
    let server = TestServer::start().await;
    server.log().close().await;
    server.post("/topics/t", "x").await.problem(503, "shutting-down");
    let append = longwave_core::Append {
        topic: "t".parse().unwrap(),
        messages: Vec::new(),
        end: Some(longwave_core::EndReason::Done),
        key: None,
        expected: longwave_core::Expected::Any,
    };
    assert_eq!(server.log().append(append).await, Err(AppendError::Closed));
    server.shutdown().await;
}

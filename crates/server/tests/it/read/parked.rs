//! Live streams whose socket the delivery engine has, and those that have none to give.

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{SSE, TestServer, Wire, hang_limit};

#[tokio::test]
async fn every_reactor_delivers_to_its_own() {
    let server = TestServer::with(|http| http.reactors = 3).await;
    server.publish("a", "one").await;
    let mut readers = Vec::new();
    for i in 0..9 {
        // Some catch up first, some are live from the start.
        let target = ["/topics/a", "/topics/a?after=first", "/events?topic=*"][i % 3];
        let mut reader = server.get(target, &[SSE]).await;
        reader.head().await;
        readers.push((target, reader));
    }
    server.until_subscribers("a", 9).await;
    let two = server.publish("a", "two").await;
    for (target, reader) in &mut readers {
        let ids = reader.ids(if target.ends_with("first") { 2 } else { 1 }).await;
        assert_eq!(ids.last(), Some(&two), "{target}");
    }
    server.end("a").await;
    for (target, reader) in &mut readers {
        if target.starts_with("/topics") {
            assert!(reader.rest().await.contains("longwave.end"), "{target}");
            assert!(!reader.receive().await, "the connection is still open");
        }
    }
}

#[tokio::test]
async fn a_reader_that_hangs_up_on_its_side_is_gone() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    let mut reader = server.get("/topics/a", &[SSE]).await;
    reader.head().await;
    server.until_subscribers("a", 1).await;
    reader.stream.shutdown().await.unwrap();
    server.until_subscribers("a", 0).await;
}

#[tokio::test]
async fn what_a_reader_says_behind_its_request_is_not_answered_and_not_heard_for_long() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    let mut reader = server.get("/topics/a?after=first", &[SSE]).await;
    reader.head().await;
    reader.event().await;
    reader.stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    server.publish("a", "two").await;
    assert!(reader.event().await.ends_with("data: two\n\n"));
    let much = vec![b'x'; 256 << 10];
    // It may be gone before all is written.
    drop(hang_limit(reader.stream.write_all(&much)).await);
    server.until_subscribers("a", 0).await;
}

#[tokio::test]
async fn a_reader_over_http_1_0_gets_the_stream_without_chunks() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let request = b"GET /topics/a?after=first HTTP/1.0\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut reader = Wire { stream, raw: Vec::new(), body: String::new() };
    let head = reader.head().await;
    assert!(!head.contains("transfer-encoding"), "{head}");
    server.end("a").await;
    let mut rest = String::from_utf8(std::mem::take(&mut reader.raw)).unwrap();
    hang_limit(reader.stream.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.starts_with("retry: 3000\n:\nid: "), "{rest}");
    assert!(rest.ends_with("data: {\"reason\":\"done\"}\n\n"), "{rest}");
}

#[tokio::test]
async fn a_reader_over_http_2_gets_the_stream_as_its_body() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::get("http://localhost/topics/a?after=first").header(SSE.0, SSE.1);
    let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    let mut body = hang_limit(response).await.unwrap().into_body();
    server.until_subscribers("a", 1).await;
    server.publish("a", "two").await;
    server.end("a").await;
    let mut text = Vec::new();
    while let Some(data) = hang_limit(body.data()).await {
        let data: Bytes = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("\ndata: ").count(), 3, "{text}");
    assert!(text.ends_with("data: {\"reason\":\"done\"}\n\n"), "{text}");
}

//! What wrong reads are answered: a status, a stable code, and the name of what is wrong.

use longwave_core::Seq;
use tokio::io::AsyncWriteExt;

use super::{SSE, TestServer, Wire, hang_limit};

#[tokio::test]
async fn every_wrong_read_has_its_status_and_code() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    let long_name = format!("/topics/{}", "x".repeat(256));
    let long_id = format!("/topics/a?after={}", "x".repeat(5000));
    let many: String = (0..101).map(|i| format!("topic=t{i}&")).collect();
    let many = format!("/events?{many}");
    let too_many = format!("/topics/a?{}", "type=a&".repeat(129));
    for (target, status, code) in [
        ("/topics/a//b", 400, "topic-invalid"),
        ("/topics/%ff", 400, "topic-invalid"),
        ("/topics/a%2", 400, "topic-invalid"),
        ("/topics/a/*", 400, "topic-invalid"),
        ("/topics/a/%00", 400, "topic-invalid"),
        ("/topics/$", 400, "topic-invalid"),
        ("/topics/a/$sys", 400, "topic-invalid"),
        (&long_name, 400, "topic-invalid"),
        ("/events", 400, "selector-invalid"),
        ("/events?topic=", 400, "selector-invalid"),
        ("/events?topic=a/**/b", 400, "selector-invalid"),
        ("/events?topic=a*", 400, "selector-invalid"),
        (&many, 400, "selector-invalid"),
        ("/topics/a?after=7kq2f", 400, "id-invalid"),
        ("/topics/a?after=7kq2f-18446744073709551616", 400, "id-invalid"),
        ("/topics/a?after=-1", 400, "id-invalid"),
        (&long_id, 400, "id-invalid"),
        ("/topics/a?after=now&last=1", 400, "parameter-invalid"),
        ("/topics/a?last=1&last=2", 400, "parameter-invalid"),
        ("/topics/a?last=1e3", 400, "parameter-invalid"),
        ("/topics/a?since=yesterday", 400, "parameter-invalid"),
        ("/topics/a?limit=0", 400, "parameter-invalid"),
        ("/topics/a?limit=-1", 400, "parameter-invalid"),
        ("/topics/a?wait=soon", 400, "parameter-invalid"),
        ("/topics/a?type=longwave.end", 400, "event-type-invalid"),
        ("/topics/a?format=xml", 400, "parameter-invalid"),
        ("/topics/a?lastEventID=x", 400, "parameter-invalid"),
        ("/topics/a?topic=b", 400, "parameter-invalid"),
        ("/topics/a?after=%ff", 400, "parameter-invalid"),
        (&too_many, 400, "parameter-invalid"),
    ] {
        for headers in [&[][..], &[SSE][..]] {
            let (head, problem) = server.problem(target, headers).await;
            let shown: String = target.chars().take(80).collect();
            assert_eq!(problem["status"], status, "{shown}: {problem}");
            assert_eq!(problem["code"], code, "{shown}: {problem}");
            assert!(head.contains("content-type: application/problem+json\n"), "{head}");
            assert!(problem["detail"].as_str().is_some_and(|text| text.len() > 10), "{problem}");
        }
    }
    let (_, problem) = server.problem("/topics/a/*", &[SSE]).await;
    assert!(problem["detail"].as_str().unwrap().contains("/events?topic=a/*"), "{problem}");
    // Nothing of this did anything.
    assert_eq!(server.page("/topics/a").await["cursor"], *one);
    assert_eq!(longwave_store::Log::committed(&*server.log), Seq(1));
}

#[tokio::test]
async fn every_wrong_header_has_its_status_and_code() {
    let server = TestServer::start().await;
    for (headers, status, code) in [
        (vec![("accept", "image/png")], 406, "not-acceptable"),
        (vec![("accept", "text/event-stream;q=0")], 406, "not-acceptable"),
        (vec![SSE, ("last-event-id", "1")], 400, "id-invalid"),
        (vec![SSE, ("last-event-id", "é")], 400, "header-invalid"),
        (vec![SSE, ("last-event-id", "a-1"), ("last-event-id", "a-2")], 400, "header-invalid"),
        (vec![("connection", "upgrade"), ("upgrade", "websocket")], 400, "websocket-invalid"),
        (vec![("origin", "https://evil.example")], 403, "origin-forbidden"),
        (vec![("origin", "null")], 403, "origin-forbidden"),
    ] {
        let (_, problem) = server.problem("/topics/a", &headers).await;
        assert_eq!(problem["status"], status, "{headers:?}: {problem}");
        assert_eq!(problem["code"], code, "{headers:?}: {problem}");
    }
}

#[tokio::test]
async fn parameters_of_caches_are_left_alone() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    assert_eq!(server.page("/topics/a?_=1700000000&_x").await["events"][0]["data"], "one");
}

#[tokio::test]
async fn a_request_that_comes_a_byte_at_a_time_is_answered() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    let mut stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /topics/a?after=first HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut wire = Wire { stream, raw: Vec::new(), body: String::new() };
    wire.head().await;
    assert!(wire.event().await.ends_with("data: one\n\n"));
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    let mut wires = Vec::new();
    for target in ["/topics/a", "/events?topic=*", "/topics/a?wait=60s&after=now"] {
        wires.push(server.get(target, &[SSE]).await);
    }
    for wire in &mut wires {
        wire.head().await;
    }
    server.until_subscribers("a", 3).await;
    drop(wires);
    hang_limit(server.until_subscribers("a", 0)).await;
}

impl TestServer {
    async fn problem(&self, target: &str, headers: &[(&str, &str)]) -> (String, serde_json::Value) {
        let mut wire = self.get(target, headers).await;
        let head = wire.head().await;
        let body = wire.whole_body(&head).await;
        let problem =
            serde_json::from_str(&body).unwrap_or_else(|_| panic!("{target}: {head}{body}"));
        (head, problem)
    }
}

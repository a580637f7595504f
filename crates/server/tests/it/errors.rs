//! Unknown routes and methods, and how the log's failures are told.

use std::sync::Arc;

use longwave_store::AppendError;
use reqwest::Method;

use crate::support::{Answer, FaultyLog, RawClient, TestServer};

#[tokio::test]
async fn an_unknown_path_is_answered_with_a_problem() {
    let server = TestServer::start().await;
    for path in ["/nothing", "/topic/x", "/health/x", "/favicon.ico"] {
        server.get(path).await.problem(404, "route-not-found");
    }
    server.get("/topics/").await.problem(400, "topic-invalid");
    server.shutdown().await;
}

#[tokio::test]
async fn a_path_that_does_not_take_a_method_says_which_it_takes() {
    let server = TestServer::start().await;
    for (method, path, allow) in [
        (Method::PATCH, "/topics/t", vec!["CONNECT", "DELETE", "GET", "HEAD", "POST", "PUT"]),
        (Method::POST, "/topics", vec!["GET", "HEAD"]),
        (Method::DELETE, "/health", vec!["GET", "HEAD"]),
        (Method::from_bytes(b"BREW").unwrap(), "/metrics", vec!["GET", "HEAD"]),
    ] {
        let answer = Answer::of(server.request(method, path)).await;
        answer.problem(405, "method-not-allowed");
        let mut allowed: Vec<&str> =
            answer.header("allow").unwrap().split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed, allow, "{path}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_the_server_goes_on() {
    let server = TestServer::start().await;
    for nonsense in [
        b"\0\x01\x02\x03\r\n\r\n".as_slice(),
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /topics/t HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
        b"POST /topics/t HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        let mut client = RawClient::connect(server.addr).await;
        client.send(nonsense).await;
        let told = client.closed().await;
        let told = String::from_utf8_lossy(&told);
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 400 "), "{told}");
    }
    server.post("/topics/t", "x").await.ok(201);
    assert_eq!(server.told("t").await, [":x"]);
    server.shutdown().await;
}

#[tokio::test]
async fn heads_are_limited() {
    let server = TestServer::start().await;
    let many = "a: b\r\n".repeat(101);
    let large = format!("a: {}\r\n", "x".repeat(128 * 1024));
    let hardly_too_large = format!("a: {}\r\n", "x".repeat(64 * 1024));
    let path = format!("/{}", "x".repeat(70_000));
    for (target, headers) in [
        ("/health", many),
        ("/health", large),
        ("/health", hardly_too_large),
        (&*path, String::new()),
    ] {
        let mut client = RawClient::connect(server.addr).await;
        let head = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        // The server may have heard enough before it has heard all.
        client.try_send(head.as_bytes()).await;
        assert_eq!(client.answer().await.unwrap().status, 431);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn failures_of_the_log_have_a_status_and_a_code() {
    let mut faulty = None;
    let server =
        TestServer::over(|_| {}, |log| Arc::clone(faulty.insert(FaultyLog::new(log)))).await;
    let faulty = faulty.unwrap();
    server.post("/topics/t", "before").await.ok(201);
    for (fault, status, code, retry) in [
        (AppendError::Full, 507, "disk-full", true),
        (AppendError::Failed, 503, "log-failed", false),
        (AppendError::Closed, 503, "shutting-down", true),
        (AppendError::TooLarge { bytes: 2, bytes_max: 1 }, 413, "batch-too-large", false),
    ] {
        faulty.fail(Some(fault));
        for content_type in ["text/plain", "application/x-ndjson", "text/event-stream"] {
            let body = match content_type {
                "text/plain" => "x",
                "application/x-ndjson" => "{\"data\":1}\n",
                _ => "data: x\n\n",
            };
            let answer = server.post_as(content_type, "/topics/t", body).await;
            answer.problem(status, code);
            assert_eq!(answer.header("retry-after").is_some(), retry, "{code}");
        }
    }
    for (fault, status, code) in
        [(AppendError::Full, 507, "disk-full"), (AppendError::Failed, 503, "log-failed")]
    {
        faulty.fail(Some(fault));
        server.put("/topics/t", "{}").await.problem(status, code);
        Answer::of(server.request(Method::DELETE, "/topics/t")).await.problem(status, code);
    }
    faulty.fail(None);
    server.post("/topics/t", "after").await.ok(201);
    assert_eq!(server.told("t").await, [":before", ":after"]);
    server.shutdown().await;
}

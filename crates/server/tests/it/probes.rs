//! Health, readiness, metrics.

use std::sync::Arc;

use longwave_store::AppendError;
use serde_json::json;

use crate::support::{FaultyLog, TestServer};

#[tokio::test]
async fn a_server_that_is_well_says_so() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/health").await.ok(200), json!({ "status": "ok" }));
    assert_eq!(server.get("/ready").await.ok(200), json!({ "status": "ready" }));
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_can_not_publish_is_not_ready_and_says_why() {
    let mut faulty = None;
    let server =
        TestServer::over(|_| {}, |log| Arc::clone(faulty.insert(FaultyLog::new(log)))).await;
    let faulty = faulty.unwrap();
    for (fault, reason) in [(AppendError::Full, "disk-full"), (AppendError::Failed, "log-failed")] {
        faulty.fail(Some(fault));
        let problem = server.get("/ready").await.problem(503, "not-ready");
        assert_eq!(problem["reason"], reason);
        server.get("/health").await.ok(200);
    }
    faulty.fail(None);
    server.get("/ready").await.ok(200);
    server.shutdown().await;
}

#[tokio::test]
async fn metrics_count_what_happened_and_name_no_topic() {
    let server = TestServer::start().await;
    server.post("/topics/secret-topic", "1").await.ok(201);
    server.post("/topics/secret-topic?lines", "2\n3\n").await.ok(201);
    server.post("/topics/secret-topic?nonsense", "4").await.problem(400, "parameter-invalid");
    server.get("/nowhere/secret-path").await.problem(404, "route-not-found");
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    for line in [
        "longwave_publishes_total{kind=\"text\"} 1",
        "longwave_publishes_total{kind=\"lines\"} 1",
        "longwave_events_published_total 3",
        "longwave_log_events 3",
        "longwave_log_topics 1",
        "longwave_log_corruptions 0",
        "longwave_subscribers{transport=\"sse\"} 0",
        "longwave_http_requests_total{method=\"POST\",route=\"/topics/{*topic}\",status=\"201\"} 2",
        "longwave_http_requests_total{method=\"POST\",route=\"/topics/{*topic}\",status=\"400\"} 1",
        "longwave_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
    ] {
        assert!(answer.body.lines().any(|told| told == line), "{line}\n{}", answer.body);
    }
    assert!(answer.body.contains("longwave_log_bytes "), "{}", answer.body);
    assert!(!answer.body.contains("secret"), "{}", answer.body);
    assert!(answer.body.ends_with("# EOF\n"));
    server.shutdown().await;
}

#[tokio::test]
async fn what_each_transport_delivers_is_counted_and_gaps_are_not() {
    let server = TestServer::start().await;
    server.post("/topics/t", "one").await.ok(201);
    server.post("/topics/t", "two").await.ok(201);
    server.put("/topics/t", r#"{"max_events":2}"#).await.ok(200);
    let first = format!("after={}", server.id(longwave_core::Seq(1)));
    server.post("/topics/t?end", "five").await.ok(201);
    server.log().retain().await;
    server.get(&format!("/topics/t?{first}")).await.ok(200);
    server.get(&format!("/topics/t?{first}&wait=1s")).await.ok(200);
    for format in ["sse", "ndjson"] {
        let stream = server.get(&format!("/topics/t?{first}&format={format}")).await;
        assert!(stream.body.contains("gap") && stream.body.contains("five"), "{stream:?}");
    }
    let url = format!("ws://{}/topics/t?{first}", server.addr);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let page = server.get(&format!("/topics/t?{first}")).await.ok(200);
    let kept = page["events"].as_array().unwrap().len() + 1;
    server
        .has_metric(&format!("longwave_events_delivered_total{{transport=\"websocket\"}} {kept}"))
        .await;
    for (transport, count) in
        [("page", 2 * kept), ("long_poll", kept), ("sse", kept), ("ndjson", kept)]
    {
        let line = format!("longwave_events_delivered_total{{transport=\"{transport}\"}} {count}");
        server.has_metric(&line).await;
    }
    socket.close(None).await.unwrap();
    server.shutdown().await;
}

//! Newline-delimited JSON, live.

use expect_test::expect;
use longwave_core::DataFormat;

use super::{NDJSON, TestServer, message};

#[tokio::test]
async fn a_stream_is_one_object_a_line() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    for text in ["two", "three"] {
        server.publish("a", text).await;
    }
    server.keep("a", 1).await;
    let mut wire = server.get(&format!("/topics/a?after={one}"), &[NDJSON]).await;
    let head = wire.head().await;
    assert!(head.contains("content-type: application/x-ndjson\n"), "{head}");
    assert!(head.contains("cache-control: no-cache, no-transform\n"), "{head}");
    wire.until("three\"}\n").await;
    let json = message(Some("t"), DataFormat::Json, b"[1,\r\n2]");
    server.append("a", Some(json), None).await;
    server.append("a", Some(message(None, DataFormat::Binary, &[0, 255])), None).await;
    server.end("a").await;
    expect![[r#"
        {"id":"EPOCH-5","topic":"a","time":"2023-11-14T22:13:20.000Z","type":"t","data":[1,  2]}
        {"id":"EPOCH-6","topic":"a","time":"2023-11-14T22:13:20.000Z","data":"AP8=","encoding":"base64"}
        {"end":{"id":"EPOCH-7","topic":"a","time":"2023-11-14T22:13:20.000Z","reason":"done"}}
    "#]]
    .assert_eq(&server.blank(&wire.rest().await));
}

#[tokio::test]
async fn a_gap_is_a_line_of_its_own() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    for text in ["two", "three"] {
        server.publish("a", text).await;
    }
    server.keep("a", 1).await;
    let mut wire = server.get(&format!("/topics/a?after={one}"), &[NDJSON]).await;
    wire.head().await;
    assert_eq!(
        server.blank(&wire.until("\n").await),
        "{\"gap\":{\"after\":\"EPOCH-1\",\"resumed\":\"EPOCH-2\",\"reason\":\"retention\"}}\n"
    );
}

#[tokio::test]
async fn silence_is_broken_by_blank_lines() {
    let server = TestServer::with(|http| http.heartbeat_ms = 10).await;
    let mut wire = server.get("/topics/a", &[NDJSON]).await;
    wire.head().await;
    assert_eq!(wire.until("\n\n").await, "\n\n");
    server.publish("a", "one").await;
    let line = wire.until("}\n").await;
    assert!(line.trim_start().starts_with("{\"id\":"), "{line}");
}

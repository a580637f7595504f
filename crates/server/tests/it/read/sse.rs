//! Server-Sent Events as they stand on the wire.

use expect_test::expect;
use longwave_core::{DataFormat, EndReason};

use super::{SSE, TestServer, message};

#[tokio::test]
async fn a_stream_is_what_an_event_source_understands() {
    let server = TestServer::start().await;
    let json = message(Some("price"), DataFormat::Json, b"{\"symbol\":\"ACME\",\n\"price\":102}");
    server.append("a", Some(json), None).await;
    let mut wire = server.get("/topics/a?after=first", &[SSE]).await;
    let head = wire.head().await;
    wire.until("102}\n\n").await;
    // From here on live.
    server.publish("a", "two\r\nlines").await;
    let image = message(Some("image"), DataFormat::Binary, &[0, 255]);
    server.append("a", Some(image), None).await;
    server.end("a").await;
    expect![[r#"
        HTTP/1.1 200 OK
        content-type: text/event-stream; charset=utf-8
        cache-control: no-cache, no-transform
        x-accel-buffering: no
        vary: Accept
        transfer-encoding: chunked
        connection: close
    "#]]
    .assert_eq(&head);
    expect![[r#"
        id: EPOCH-2
        data: two
        data: lines

        id: EPOCH-3
        event: image
        encoding: base64
        data: AP8=

        id: EPOCH-4
        event: longwave.end
        data: {"reason":"done"}

    "#]]
    .assert_eq(&server.blank(&wire.rest().await));
}

#[tokio::test]
async fn the_opening_is_sent_before_there_is_any_event() {
    let server = TestServer::start().await;
    let mut wire = server.get("/topics/a", &[SSE]).await;
    let head = wire.head().await;
    assert!(head.contains("longwave-cursor: "), "{head}");
    assert_eq!(wire.until(":\n").await, "retry: 3000\n:\n");
}

#[tokio::test]
async fn each_connection_is_told_another_time_to_come_back_after() {
    let server = TestServer::with(|http| http.retry_jitter_ms = 1_000_000).await;
    let mut times = std::collections::HashSet::new();
    for _ in 0..5 {
        times.insert(server.get("/topics/a", &[SSE]).await.opening().await);
    }
    assert!(times.len() > 1, "{times:?}");
}

#[tokio::test]
async fn silence_is_broken_by_a_comment_without_a_blank_line() {
    let server = TestServer::with(|http| http.heartbeat_ms = 10).await;
    server.publish("a", "one").await;
    let mut wire = server.get("/topics/a?after=first", &[SSE]).await;
    wire.head().await;
    let opening = wire.until("\n\n").await;
    assert!(opening.ends_with("data: one\n\n"), "{opening}");
    assert_eq!(wire.until(":\n:\n:\n").await, ":\n:\n:\n");
    server.publish("a", "two").await;
    let beats = wire.until("id: ").await;
    assert!(beats.trim_end_matches("id: ").chars().all(|c| c == ':' || c == '\n'), "{beats}");
    assert!(!beats.contains("\n\n"), "{beats}");
}

#[tokio::test]
async fn who_comes_back_behind_the_end_is_told_to_stop() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    let end = server.end("a").await;
    for target in [
        format!("/topics/a?after={end}"),
        "/topics/a".to_owned(),
        "/topics/a?after=now".to_owned(),
        "/topics/a?last=0".to_owned(),
        format!("/events?topic=a&after={end}"),
    ] {
        for format in [SSE, super::NDJSON] {
            let head = server.get(&target, &[format]).await.head().await;
            assert!(head.starts_with("HTTP/1.1 204 No Content\n"), "{target}: {head}");
            assert!(head.contains("cache-control: no-store\n"), "{head}");
        }
    }
    let head = server.get("/topics/a", &[SSE, ("last-event-id", &end)]).await.head().await;
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let mut wire = server.get(&format!("/topics/a?after={one}"), &[SSE]).await;
    wire.head().await;
    assert!(wire.rest().await.contains("event: longwave.end\n"));
}

#[tokio::test]
async fn a_reader_whose_events_are_gone_is_told_so_in_the_stream_and_goes_on_exactly() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    for text in ["two", "three", "four"] {
        server.publish("a", text).await;
    }
    server.keep("a", 1).await;
    let mut wire = server.get("/topics/a", &[SSE, ("last-event-id", &one)]).await;
    wire.head().await;
    let gap = wire.event().await;
    expect![[r#"
        id: EPOCH-3
        event: longwave.gap
        data: {"after":"EPOCH-1","resumed":"EPOCH-3","reason":"retention"}

    "#]]
    .assert_eq(&server.blank(&gap));
    assert!(wire.event().await.ends_with("data: four\n\n"));
    // The gap was told: who got it and lost the connection then is not told again.
    let resumed = gap.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let mut wire = server.get("/topics/a", &[SSE, ("last-event-id", resumed)]).await;
    wire.head().await;
    assert!(wire.event().await.ends_with("data: four\n\n"));
}

#[tokio::test]
async fn a_cursor_of_another_log_or_of_the_future_is_a_gap() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    let other = if server.log_epoch() == "zzzzz" { "yyyyy-1" } else { "zzzzz-1" };
    for cursor in [other.to_owned(), server.id(longwave_core::Seq(1_000_000))] {
        let mut wire = server.get(&format!("/topics/a?after={cursor}"), &[SSE]).await;
        wire.head().await;
        let gap = wire.event().await;
        assert!(gap.contains("event: longwave.gap\n"), "{gap}");
        assert!(gap.contains(&format!("{{\"after\":\"{cursor}\",\"resumed\":")), "{gap}");
        assert!(gap.contains("\"reason\":\"epoch\""), "{gap}");
        assert!(wire.event().await.ends_with("data: one\n\n"));
    }
}

#[tokio::test]
async fn several_topics_share_one_cursor_and_close_with_the_last_end() {
    let server = TestServer::start().await;
    let mut wire = server.get("/events?topic=a&topic=b/c", &[SSE]).await;
    wire.head().await;
    server.publish("a", "one").await;
    server.publish("other", "not this").await;
    server.publish("b/c", "two").await;
    server.append("a", None, Some(EndReason::Error)).await;
    server.publish("b/c", "three").await;
    let end = server.append("b/c", None, Some(EndReason::Done)).await;
    let rest = wire.rest().await;
    expect![[r#"
        retry: 3000
        :
        id: EPOCH-1
        topic: a
        data: one

        id: EPOCH-3
        topic: b/c
        data: two

        id: EPOCH-4
        event: longwave.end
        topic: a
        data: {"reason":"error"}

        id: EPOCH-5
        topic: b/c
        data: three

        id: EPOCH-6
        event: longwave.end
        topic: b/c
        data: {"reason":"done"}

    "#]]
    .assert_eq(&server.blank(&rest));
    let target = format!("/events?topic=a&topic=b/c&after={end}");
    let head = server.get(&target, &[SSE]).await.head().await;
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
}

#[tokio::test]
async fn a_wildcard_follows_topics_that_come_to_be_and_outlives_those_that_end() {
    let server = TestServer::start().await;
    let mut wire = server.get("/events?topic=orders/**&envelope", &[SSE]).await;
    wire.head().await;
    let typed = message(Some("paid"), DataFormat::Json, b"{\"total\":\n 7}");
    server.append("orders/1", Some(typed), None).await;
    server.end("orders/1").await;
    server.publish("orders/2/items", "x").await;
    let mut events = String::new();
    for _ in 0..3 {
        events.push_str(&wire.event().await);
    }
    expect![[r#"
        id: EPOCH-1
        data: {"id":"EPOCH-1","topic":"orders/1","time":"2023-11-14T22:13:20.000Z","type":"paid","data":{"total":  7}}

        id: EPOCH-2
        event: longwave.end
        data: {"id":"EPOCH-2","topic":"orders/1","time":"2023-11-14T22:13:20.000Z","reason":"done"}

        id: EPOCH-3
        data: {"id":"EPOCH-3","topic":"orders/2/items","time":"2023-11-14T22:13:20.000Z","data":"x"}

    "#]]
    .assert_eq(&server.blank(&events));
}

#[tokio::test]
async fn a_type_filter_hides_other_messages_and_never_the_end() {
    let server = TestServer::start().await;
    for event_type in [Some("a"), None, Some("b"), Some("c")] {
        let data = event_type.unwrap_or("untyped").as_bytes();
        server.append("t", Some(message(event_type, DataFormat::Text, data)), None).await;
    }
    server.end("t").await;
    let mut wire = server.get("/topics/t?after=first&type=b,message", &[SSE]).await;
    wire.head().await;
    let body = wire.rest().await;
    let data: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data, ["untyped", "b", "{\"reason\":\"done\"}"]);
}

#[tokio::test]
async fn a_limit_closes_the_stream_and_the_next_one_goes_on() {
    let server = TestServer::start().await;
    for text in ["one", "two", "three"] {
        server.publish("a", text).await;
    }
    let mut wire = server.get("/topics/a?after=first&limit=2", &[SSE]).await;
    wire.head().await;
    let ids = wire.ids(2).await;
    assert_eq!(wire.rest().await, "");
    let mut wire = server.get("/topics/a?limit=2", &[SSE, ("last-event-id", &ids[1])]).await;
    wire.head().await;
    assert!(wire.event().await.ends_with("data: three\n\n"));
}

#[tokio::test]
async fn a_deleted_topic_ends_the_streams_of_those_who_follow_it() {
    use longwave_store::Log as _;
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    let mut wire = server.get("/topics/a?after=first", &[SSE]).await;
    wire.head().await;
    wire.ids(1).await;
    server.log.delete("a".parse().unwrap()).await.unwrap();
    let rest = wire.rest().await;
    assert!(rest.contains("event: longwave.end\ndata: {\"reason\":\"deleted\"}\n\n"), "{rest}");
}

#[tokio::test]
async fn a_server_that_goes_down_asks_its_readers_to_come_back_later() {
    let server = TestServer::start().await;
    let mut wire = server.get("/topics/a", &[SSE]).await;
    wire.head().await;
    wire.until(":\n").await;
    let mut lines = server.get("/topics/a", &[super::NDJSON]).await;
    lines.head().await;
    let TestServer { server, .. } = server;
    let shutdown = tokio::spawn(server.shutdown());
    let farewell = wire.rest().await;
    let retry = farewell.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix('\n'));
    let ms: u64 = retry.unwrap_or_else(|| panic!("{farewell:?}")).parse().unwrap();
    assert!((3_000..=13_000).contains(&ms), "{ms}");
    let farewell: serde_json::Value = serde_json::from_str(&lines.rest().await).unwrap();
    assert!(farewell["retry"].is_u64(), "{farewell}");
    super::hang_limit(shutdown).await.unwrap();
}

#[tokio::test]
async fn a_head_request_gets_an_answer_and_no_stream() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    for target in ["/topics/a", "/events?topic=a"] {
        let mut wire = server.request("HEAD", target, &[SSE, ("connection", "close")]).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        while wire.receive().await {}
        assert!(wire.raw.is_empty(), "{:?}", wire.raw);
    }
}

#[tokio::test]
async fn a_browsers_conditions_do_not_matter_to_a_live_stream() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    let tag = format!("\"{one}\"");
    let mut wire = server.get("/topics/a?after=first", &[SSE, ("if-none-match", &tag)]).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(wire.ids(1).await, [one]);
}

impl TestServer {
    fn log_epoch(&self) -> String {
        longwave_store::Log::epoch(&*self.log).to_string()
    }
}

impl super::Wire {
    async fn opening(&mut self) -> String {
        self.head().await;
        self.until(":\n").await
    }
}

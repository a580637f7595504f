//! JSON pages: short polls and long polls.

use expect_test::expect;
use longwave_core::{DataFormat, EndReason};

use super::{TestServer, hang_limit, message};

#[tokio::test]
async fn a_page_holds_events_a_cursor_and_the_end() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    let json = message(Some("t"), DataFormat::Json, b"{\"x\":\n1.50}");
    server.append("a", Some(json), None).await;
    let two = server.append("a", Some(message(None, DataFormat::Binary, &[0, 255])), None).await;
    let mut wire = server.get("/topics/a", &[("accept", "*/*")]).await;
    let head = wire.head().await;
    let body = wire.whole_body(&head).await;
    expect![[r#"
        HTTP/1.1 200 OK
        content-type: application/json
        vary: Accept
        cache-control: no-cache
        etag: "EPOCH-3"
        longwave-cursor: EPOCH-3
        content-length: 309

        {"events":[{"id":"EPOCH-1","topic":"a","time":"2023-11-14T22:13:20.000Z","data":"one"},{"id":"EPOCH-2","topic":"a","time":"2023-11-14T22:13:20.000Z","type":"t","data":{"x": 1.50}},{"id":"EPOCH-3","topic":"a","time":"2023-11-14T22:13:20.000Z","data":"AP8=","encoding":"base64"}],"cursor":"EPOCH-3","end":null}
    "#]]
    .assert_eq(&server.blank(&format!("{head}\n{body}")));
    server.end("a").await;
    let mut wire = server.get(&format!("/topics/a?after={two}&wait=60s"), &[]).await;
    let head = wire.head().await;
    expect![[r#"
        {"events":[],"cursor":"EPOCH-4","end":{"id":"EPOCH-4","time":"2023-11-14T22:13:20.000Z","reason":"done"}}
    "#]]
    .assert_eq(&server.blank(&wire.whole_body(&head).await));
    // Behind the end there is nothing to wait for.
    let page = server
        .page(&format!("/topics/a?after={}&wait=60s", server.id(longwave_core::Seq(4))))
        .await;
    assert_eq!(page["end"]["reason"], "done");
}

#[tokio::test]
async fn a_topic_that_nobody_published_to_has_an_empty_page() {
    let server = TestServer::start().await;
    let page = server.page("/topics/none").await;
    assert_eq!(page["events"], serde_json::json!([]));
    assert_eq!(page["end"], serde_json::Value::Null);
    server.publish("none", "one").await;
    let cursor = page["cursor"].as_str().unwrap();
    let page = server.page(&format!("/topics/none?after={cursor}")).await;
    assert_eq!(page["events"][0]["data"], "one");
}

#[tokio::test]
async fn pages_are_walked_by_their_cursors() {
    let server = TestServer::with(|http| {
        http.page_events_default = 2;
        http.page_events_max = 3;
    })
    .await;
    for i in 0..7 {
        server.publish("a", &i.to_string()).await;
    }
    for (limit, sizes) in [("", vec![2, 2, 2, 1]), ("&limit=1000", vec![3, 3, 1])] {
        let mut after = "first".to_owned();
        let mut data = Vec::new();
        for size in sizes {
            let page = server.page(&format!("/topics/a?after={after}{limit}")).await;
            let events = page["events"].as_array().unwrap();
            assert_eq!(events.len(), size);
            data.extend(events.iter().map(|event| event["data"].as_str().unwrap().to_owned()));
            after = page["cursor"].as_str().unwrap().to_owned();
        }
        assert_eq!(data.join(","), "0,1,2,3,4,5,6");
    }
}

#[tokio::test]
async fn a_page_that_the_client_has_is_not_sent_again() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    for (tag, status) in [
        (format!("\"{one}\""), "304 Not Modified"),
        (format!("\"x\", W/\"{one}\""), "304 Not Modified"),
        ("*".to_owned(), "304 Not Modified"),
        (format!("\"{one}0\""), "200 OK"),
        (one.clone(), "200 OK"),
    ] {
        let mut wire = server.get("/topics/a", &[("if-none-match", &tag)]).await;
        let head = wire.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\n")), "{tag}: {head}");
        assert!(head.contains(&format!("etag: \"{one}\"\n")), "{head}");
        assert!(head.contains("vary: Accept\n"), "{head}");
    }
    let target = format!("/topics/a?after={one}");
    let tag = format!("\"{one}\"");
    let head = server.get(&target, &[("if-none-match", &tag)]).await.head().await;
    assert!(head.starts_with("HTTP/1.1 304 "), "{head}");
    server.publish("a", "two").await;
    let head = server.get(&target, &[("if-none-match", &tag)]).await.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn a_long_poll_is_answered_by_the_next_event() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    let mut wire = server.get(&format!("/topics/a?after={one}&wait=60s"), &[]).await;
    server.until_subscribers("a", 1).await;
    assert!(wire.raw.is_empty());
    server.publish("other", "not this").await;
    let two = server.publish("a", "two").await;
    let head = hang_limit(wire.head()).await;
    let page: serde_json::Value = serde_json::from_str(&wire.whole_body(&head).await).unwrap();
    assert_eq!(page["events"][0]["id"], *two);
    assert_eq!(page["cursor"], *two);
    server.until_subscribers("a", 0).await;
}

#[tokio::test]
async fn a_long_poll_is_answered_at_once_where_there_is_something() {
    let server = TestServer::start().await;
    server.publish("a", "one").await;
    let page = hang_limit(server.page("/topics/a?wait=60s")).await;
    assert_eq!(page["events"][0]["data"], "one");
}

#[tokio::test]
async fn a_long_poll_that_nothing_came_for_is_an_empty_page_with_the_same_cursor() {
    let server = TestServer::with(|http| http.long_poll_wait_ms_max = 20).await;
    let one = server.publish("a", "one").await;
    // However long somebody wants to wait, the server has its own limit.
    let page = hang_limit(server.page(&format!("/topics/a?after={one}&wait=1h"))).await;
    assert_eq!(page, serde_json::json!({ "events": [], "cursor": one, "end": null }));
    let tag = format!("\"{one}\"");
    let mut wire = server.get("/topics/a?after=now&wait=1ms", &[("if-none-match", &tag)]).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 304 "));
}

#[tokio::test]
async fn a_long_poll_returns_when_the_server_goes_down() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    let mut wire = server.get(&format!("/topics/a?wait=60s&after={one}"), &[]).await;
    server.until_subscribers("a", 1).await;
    let TestServer { server, .. } = server;
    hang_limit(server.shutdown()).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_page_of_several_topics_tells_each_end() {
    let server = TestServer::start().await;
    server.publish("b/1", "one").await;
    server.append("b/1", None, Some(EndReason::Cancelled)).await;
    server.publish("a", "two").await;
    let mut wire = server.get("/events?topic=a&topic=b/1", &[]).await;
    let head = wire.head().await;
    expect![[r#"
        {"events":[{"id":"EPOCH-1","topic":"b/1","time":"2023-11-14T22:13:20.000Z","data":"one"},{"id":"EPOCH-3","topic":"a","time":"2023-11-14T22:13:20.000Z","data":"two"}],"cursor":"EPOCH-3","end":null,"ends":[{"id":"EPOCH-2","topic":"b/1","time":"2023-11-14T22:13:20.000Z","reason":"cancelled"}]}
    "#]]
    .assert_eq(&server.blank(&wire.whole_body(&head).await));
    server.end("a").await;
    let page = server.page("/events?topic=a&topic=b/1").await;
    assert_eq!(page["end"]["reason"], "done");
    assert_eq!(page["ends"].as_array().unwrap().len(), 2);
    let page = server.page("/events?topic=**").await;
    assert_eq!(page["end"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_page_tells_of_a_gap() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    for text in ["two", "three"] {
        server.publish("a", text).await;
    }
    server.keep("a", 1).await;
    let page = server.page(&format!("/topics/a?after={one}")).await;
    assert_eq!(page["gap"]["after"], *one);
    assert_eq!(page["gap"]["reason"], "retention");
    assert_eq!(page["events"][0]["data"], "three");
    // Who asks for what there is does not miss what there is not.
    assert!(server.page("/topics/a").await.get("gap").is_none());
}

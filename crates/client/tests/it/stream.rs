//! Streams through cut connections, refusals and silence.

use std::time::Duration;

use futures_util::StreamExt as _;
use longwave_client::{EventStream, Item, LossCause, Start, SubscribeError};

use crate::script::{Answer, Scripted, answer, stream, within};

/// The next item as a short text.
async fn next(stream: &mut EventStream) -> String {
    match within(stream.next()).await {
        None => "none".to_owned(),
        Some(Err(error)) => format!("error: {error}"),
        Some(Ok(Item::Open)) => "open".to_owned(),
        Some(Ok(Item::Event(event))) => event.data.as_text().unwrap().to_owned(),
        Some(Ok(Item::Gap(gap))) => format!("gap: {}", gap.reason),
        Some(Ok(Item::End(end))) => format!("end: {}", end.reason),
        Some(Ok(Item::Reconnecting(lost))) => match lost.cause {
            LossCause::Closed => "closed".to_owned(),
            LossCause::Broken(_) => "broken".to_owned(),
            LossCause::Unreachable(_) => "unreachable".to_owned(),
            LossCause::Idle(_) => "idle".to_owned(),
            LossCause::Busy(refusal) => format!("busy: {}", refusal.status.as_u16()),
            other => format!("{other:?}"),
        },
        Some(Ok(other)) => format!("{other:?}"),
    }
}

/// Follows the script, and gives the last event id that it leaves.
async fn check(server: &Scripted, start: Start, expected: &[&str]) -> String {
    let mut stream = server.client().follow(server.url()).start(start).stream().unwrap();
    for (i, expected) in expected.iter().enumerate() {
        assert_eq!(next(&mut stream).await, *expected, "item {i}");
    }
    stream.last_event_id().to_owned()
}

const FAST: &str = "retry: 100\n";

#[tokio::test]
async fn a_cut_stream_goes_on_behind_its_last_whole_event() {
    let mut server = Scripted::start(vec![
        Answer::Close(stream(&format!("{FAST}id: a-1\ndata: one\n\nid: a-2\ndata: tw"))),
        Answer::Close(stream("id: a-2\ndata: two\n\n")),
        Answer::Close(answer("204 No Content", "", "")),
    ])
    .await;
    check(&server, Start::Now, &["open", "one", "closed", "open", "two", "closed", "none"]).await;
    assert!(!server.request().await.contains("last-event-id"));
    assert!(server.request().await.contains("last-event-id: a-1\r\n"));
    assert!(server.request().await.contains("last-event-id: a-2\r\n"));
}

#[tokio::test]
async fn an_id_without_an_event_counts_and_an_empty_one_clears_it() {
    let mut server = Scripted::start(vec![
        Answer::Close(stream(&format!("{FAST}id: a-1\ndata: one\n\nid: a-7\n\n"))),
        Answer::Close(stream("id\ndata: two\n\n")),
        Answer::Close(answer("204 No Content", "", "")),
    ])
    .await;
    check(&server, Start::Now, &["open", "one", "closed", "open", "two", "closed", "none"]).await;
    server.request().await;
    assert!(server.request().await.contains("last-event-id: a-7\r\n"));
    assert!(!server.request().await.contains("last-event-id"));
}

#[tokio::test]
async fn a_stream_that_starts_now_loses_nothing_before_its_first_event() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nlongwave-cursor: a-5\r\nconnection: close\r\n\r\n";
    let mut server = Scripted::start(vec![
        Answer::Close(format!("{head}{FAST}:\n")),
        Answer::Close(answer("204 No Content", "", "")),
    ])
    .await;
    let last_event_id = check(&server, Start::Now, &["open", "closed", "none"]).await;
    assert_eq!(last_event_id, "a-5");
    server.request().await;
    assert!(server.request().await.contains("last-event-id: a-5\r\n"));
}

#[tokio::test]
async fn a_stored_id_is_sent_with_the_first_request() {
    let mut server = Scripted::start(vec![Answer::Close(answer("204 No Content", "", ""))]).await;
    check(&server, Start::After("a-9".into()), &["none", "none"]).await;
    assert!(server.request().await.contains("last-event-id: a-9\r\n"));
}

#[tokio::test]
async fn an_id_need_not_be_ascii() {
    let mut server = Scripted::start(vec![
        Answer::Close(stream(&format!("{FAST}id: \u{e4}-1\ndata: one\n\n"))),
        Answer::Close(answer("204 No Content", "", "")),
    ])
    .await;
    check(&server, Start::Now, &["open", "one", "closed", "none"]).await;
    server.request().await;
    assert!(server.request().await.contains("last-event-id: \u{e4}-1\r\n"));
}

#[tokio::test]
async fn a_server_that_restarts_behind_a_proxy_is_asked_again() {
    let server = Scripted::start(vec![
        Answer::Nothing,
        Answer::Close(answer("502 Bad Gateway", "content-type: text/html\r\n", "<html>")),
        Answer::Close(answer("503 Service Unavailable", "retry-after: 1\r\n", "")),
        Answer::Close(stream("data: x\n\n")),
    ])
    .await;
    check(&server, Start::Now, &["unreachable", "busy: 502", "busy: 503", "open", "x"]).await;
}

#[tokio::test]
async fn what_makes_no_sense_to_ask_again_is_an_error() {
    let problem = r#"{"status":404,"code":"topic-not-found","detail":"no such topic"}"#;
    let server = Scripted::start(vec![
        Answer::Close(answer(
            "404 Not Found",
            "content-type: application/problem+json\r\n",
            problem,
        )),
        Answer::Close(answer("200 OK", "content-type: text/html\r\n", "<html>")),
    ])
    .await;
    let mut refused = server.client().follow(server.url()).stream().unwrap();
    match within(refused.next()).await {
        Some(Err(SubscribeError::Refused(refusal))) => {
            assert_eq!(refusal.code.as_deref(), Some("topic-not-found"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut refused).await, "none");

    let mut page = server.client().follow(server.url()).stream().unwrap();
    match within(page.next()).await {
        Some(Err(SubscribeError::NotEventStream { content_type })) => {
            assert_eq!(content_type, "text/html");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_redirect_is_followed() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let target = Scripted::start(vec![Answer::Close(stream("data: x\n\n"))]).await;
        let location = format!("location: {}\r\n", target.url());
        let server = Scripted::start(vec![Answer::Close(answer(status, &location, ""))]).await;
        check(&server, Start::Now, &["open", "x"]).await;
    }
}

#[tokio::test]
async fn a_silent_connection_is_given_up_and_replaced() {
    let mut server = Scripted::start(vec![
        Answer::Silence(stream(&format!("{FAST}id: a-1\ndata: one\n\n"))),
        Answer::Close(stream("data: two\n\n")),
    ])
    .await;
    let idle_timeout = Some(Duration::from_millis(300));
    let mut stream =
        server.client().follow(server.url()).idle_timeout(idle_timeout).stream().unwrap();
    for expected in ["open", "one", "idle", "open", "two"] {
        assert_eq!(next(&mut stream).await, expected);
    }
    server.request().await;
    assert!(server.request().await.contains("last-event-id: a-1\r\n"));
}

#[tokio::test]
async fn a_topics_end_ends_its_stream_and_several_topics_ask_once_more() {
    let end = "event: longwave.end\ndata: {\"reason\":\"done\"}\n\n";
    let mut server = Scripted::start(vec![
        Answer::Close(stream(&format!("{FAST}data: x\n\n{end}"))),
        Answer::Close(stream(&format!("{FAST}id: a-3\ndata: x\n\n{end}"))),
        Answer::Close(answer("204 No Content", "", "")),
    ])
    .await;
    let mut one = server.client().subscribe(["jobs/7"]).stream().unwrap();
    for expected in ["open", "x", "end: done", "none"] {
        assert_eq!(next(&mut one).await, expected);
    }
    assert!(server.request().await.starts_with("get /topics/jobs/7 http"));

    let mut several = server.client().subscribe(["jobs/*"]).stream().unwrap();
    for expected in ["open", "x", "end: done", "closed", "none"] {
        assert_eq!(next(&mut several).await, expected);
    }
    assert!(server.request().await.starts_with("get /events?topic=jobs%2f* http"));
}

#[tokio::test]
async fn an_event_cut_into_single_bytes_is_whole() {
    let text = "id: a-1\r\ndata: gr\u{fc}n\r\ndata: 2\r\n\r\n";
    let server = Scripted::start(vec![Answer::Bytewise(stream(text))]).await;
    let last_event_id = check(&server, Start::Now, &["open", "gr\u{fc}n\n2"]).await;
    assert_eq!(last_event_id, "a-1");
}

//! Publishing to a server that fails in the middle.

use std::time::Duration;

use longwave_client::{Duplicate, EndReason, Message, PublishError};

use crate::script::{Answer, Scripted, answer, within};

const CREATED: &str = r#"{"id":"a-1","topic":"t","time":"2026-01-31T12:00:00Z"}"#;

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn a_publish_without_an_answer_is_sent_again_under_the_same_key() {
    let duplicate = "longwave-duplicate: true\r\n";
    let mut server = Scripted::start(vec![
        Answer::Nothing,
        Answer::Close(answer("503 Service Unavailable", "", "")),
        Answer::Close(answer("201 Created", duplicate, CREATED)),
    ])
    .await;
    let receipt = within(server.client().publish("t", "hello").send()).await.unwrap();
    assert_eq!((receipt.first.as_str(), receipt.duplicate), ("a-1", Duplicate::Yes));
    let first = server.request().await;
    assert!(first.ends_with("hello"));
    assert_eq!(header(&first, "content-type"), Some("text/plain; charset=utf-8"));
    let key = header(&first, "idempotency-key").unwrap().to_owned();
    for _ in 0..2 {
        let again = server.request().await;
        assert_eq!(header(&again, "idempotency-key"), Some(key.as_str()));
        assert!(again.ends_with("hello"));
    }
}

#[tokio::test]
async fn a_publish_without_a_key_is_sent_once() {
    let server = Scripted::start(vec![Answer::Nothing]).await;
    let result = within(server.client().publish("t", "hello").unkeyed().send()).await;
    assert!(matches!(result, Err(PublishError::NoAnswer { .. })), "{result:?}");
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let problem = r#"{"status":409,"code":"topic-ended","detail":"it has ended"}"#;
    let headers = "content-type: application/problem+json\r\n";
    let server =
        Scripted::start(vec![Answer::Close(answer("409 Conflict", headers, problem))]).await;
    match within(server.client().publish("t", "x").send()).await {
        Err(PublishError::Refused(refusal)) => {
            assert_eq!(refusal.code.as_deref(), Some("topic-ended"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_given_up_in_time() {
    let server = longwave_client::Client::new("http://127.0.0.1:1").unwrap();
    let publish = server.publish("t", "x").retry_for(Duration::from_millis(50));
    let result = within(publish.send()).await;
    assert!(matches!(result, Err(PublishError::Unreachable { .. })), "{result:?}");
}

#[tokio::test]
async fn all_that_a_publish_can_say_stands_in_the_request() {
    let mut server = Scripted::start(vec![
        Answer::Close(answer("201 Created", "", r#"{"id":"a-1","end":"a-2"}"#)),
        Answer::Close(answer("201 Created", "", r#"{"first":"a-1","last":"a-3","count":2}"#)),
    ])
    .await;
    let message = Message::raw_json("{\"a\":1}").unwrap().event_type("pr ice");
    let publish = server.client().publish("a b", message).key("k").expect_last("a-0");
    let receipt = within(publish.end(EndReason::Error).send()).await.unwrap();
    assert_eq!((receipt.last.as_str(), receipt.count), ("a-2", 2));
    let request = server.request().await;
    assert!(request.starts_with("post /topics/a%20b?type=pr+ice&end=error http/1.1"), "{request}");
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    assert_eq!(header(&request, "idempotency-key"), Some("k"));
    assert_eq!(header(&request, "if-match"), Some("\"a-0\""));

    let batch = vec![Message::text("x"), Message::binary(vec![0])];
    let receipt = within(server.client().publish("t", batch).send()).await.unwrap();
    assert_eq!((receipt.last.as_str(), receipt.count), ("a-3", 2));
    let request = server.request().await;
    assert_eq!(header(&request, "content-type"), Some("application/x-ndjson"));
    assert!(request.ends_with("{\"data\":\"x\"}\n{\"data\":\"AA==\",\"encoding\":\"base64\"}\n"));
}

#[tokio::test]
async fn a_publisher_keeps_the_order_and_sends_a_batch_again_unchanged() {
    let mut server = Scripted::start(vec![
        Answer::Nothing,
        Answer::Close(answer("201 Created", "", r#"{"first":"a-1","last":"a-1","count":1}"#)),
        Answer::Close(answer("201 Created", "", r#"{"first":"a-2","last":"a-3","count":2}"#)),
    ])
    .await;
    let publisher = server.client().publisher("t").unwrap();
    publisher.push("one").await.unwrap();
    let first = server.request().await;
    publisher.push("two").await.unwrap();
    publisher.push("three").await.unwrap();
    let progress = within(publisher.finish()).await.unwrap();
    assert_eq!((progress.acknowledged, progress.pending), (3, 0));
    assert_eq!(progress.last_id, "a-3");

    let again = server.request().await;
    assert_eq!(header(&again, "idempotency-key"), header(&first, "idempotency-key"));
    assert!(
        first.ends_with("\n\n{\"data\":\"one\"}\n") && again.ends_with("\n\n{\"data\":\"one\"}\n")
    );
    let second = server.request().await;
    assert_ne!(header(&second, "idempotency-key"), header(&first, "idempotency-key"));
    assert!(second.ends_with("\n\n{\"data\":\"two\"}\n{\"data\":\"three\"}\n"), "{second}");
}

#[tokio::test]
async fn a_publisher_stops_where_going_on_makes_no_sense() {
    let server = Scripted::start(vec![Answer::Close(answer("403 Forbidden", "", ""))]).await;
    let publisher = server.client().publisher("t").unwrap();
    publisher.push("one").await.unwrap();
    let result = within(publisher.finish()).await;
    assert!(matches!(result, Err(PublishError::Refused(_))), "{result:?}");
}

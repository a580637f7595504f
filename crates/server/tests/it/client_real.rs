//! The Rust client against the real server.

use std::time::Duration;

use futures_util::StreamExt as _;
use longwave_client::{
    Client, Data, Duplicate, EndReason, EventStream, Framing, Item, Message, PublishError, Start,
    TopicConfig, TopicsError, TopicsQuery,
};

use crate::support::{TestServer, within};

fn client(server: &TestServer) -> Client {
    Client::new(format!("http://{}", server.addr)).unwrap()
}

async fn item(stream: &mut EventStream) -> Item {
    within(stream.next()).await.expect("the stream goes on").unwrap()
}

async fn text(stream: &mut EventStream) -> String {
    match item(stream).await {
        Item::Event(event) => event.data.as_text().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_the_client_publishes_it_reads_back_as_it_was() {
    let server = TestServer::start().await;
    let client = client(&server);
    let json = Message::raw_json("{ \"a\":\n1 }").unwrap().event_type("j");
    let string = Message::raw_json("\"a string\"").unwrap();
    client.publish("t", "two\nlines").send().await.unwrap();
    client
        .publish("t", vec![json.clone(), string, Message::binary(vec![0, 255])])
        .send()
        .await
        .unwrap();
    let receipt = client.publish("t", json).end(EndReason::Done).send().await.unwrap();
    assert_eq!(receipt.count, 2);

    assert_eq!(
        server.told("t").await,
        [
            ":two\nlines",
            "j:json { \"a\": 1 }",
            ":json \"a string\"",
            ":binary \0\u{fffd}",
            "j:json { \"a\":\n1 }",
            "end:done"
        ]
    );
    let mut stream = client.subscribe(["t"]).start(Start::First).stream().unwrap();
    assert_eq!(item(&mut stream).await, Item::Open);
    assert_eq!(text(&mut stream).await, "two\nlines");
    match item(&mut stream).await {
        Item::Event(event) => {
            assert_eq!(event.event_type, "j");
            assert_eq!(event.json::<serde_json::Value>().unwrap()["a"], 1);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(text(&mut stream).await, "\"a string\"");
    match item(&mut stream).await {
        Item::Event(event) => assert_eq!(event.data, Data::Binary(vec![0, 255].into())),
        other => panic!("{other:?}"),
    }
    text(&mut stream).await;
    assert!(matches!(item(&mut stream).await, Item::End(end) if end.reason == "done"));
    assert!(within(stream.next()).await.is_none());
    assert_eq!(stream.last_event_id(), receipt.last);
    server.shutdown().await;
}

#[tokio::test]
async fn a_second_publish_under_a_key_is_a_duplicate_and_a_wrong_fence_refused() {
    let server = TestServer::start().await;
    let client = client(&server);
    let first = client.publish("t", "x").key("k").send().await.unwrap();
    let second = client.publish("t", "x").key("k").send().await.unwrap();
    assert_eq!((first.duplicate, second.duplicate), (Duplicate::No, Duplicate::Yes));
    assert_eq!(first.first, second.first);

    let fenced = client.publish("t", "y").expect_last(first.last.clone()).send().await.unwrap();
    match client.publish("t", "z").expect_last(first.last).send().await {
        Err(PublishError::Refused(refusal)) => assert_eq!(refusal.code.as_deref(), Some("fenced")),
        other => panic!("{other:?}"),
    }
    assert_ne!(fenced.last, second.last);
    assert_eq!(server.told("t").await, [":x", ":y"]);
    server.shutdown().await;
}

#[tokio::test]
async fn several_topics_are_one_stream_that_says_which() {
    let server = TestServer::start().await;
    let client = client(&server);
    let mut stream = client.subscribe(["a/*", "b"]).stream().unwrap();
    assert_eq!(item(&mut stream).await, Item::Open);
    for topic in ["a/1", "b", "c", "a/2"] {
        client.publish(topic, topic).send().await.unwrap();
    }
    for expected in ["a/1", "b", "a/2"] {
        match item(&mut stream).await {
            Item::Event(event) => {
                assert_eq!(event.topic.as_deref(), Some(expected));
                assert_eq!(event.data.as_text(), Some(expected));
            }
            other => panic!("{other:?}"),
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_stream_goes_on_where_a_stored_id_says() {
    let server = TestServer::start().await;
    let client = client(&server);
    for text in ["one", "two", "three"] {
        client.publish("t", text).send().await.unwrap();
    }
    let mut stream = client.subscribe(["t"]).start(Start::First).stream().unwrap();
    assert_eq!(item(&mut stream).await, Item::Open);
    assert_eq!(text(&mut stream).await, "one");
    let stored = stream.last_event_id().to_owned();
    drop(stream);
    let mut stream = client.subscribe(["t"]).start(Start::After(stored)).stream().unwrap();
    assert_eq!(item(&mut stream).await, Item::Open);
    assert_eq!(text(&mut stream).await, "two");

    let mut last =
        client.subscribe(["t"]).start(Start::Last(1)).framing(Framing::Envelope).stream().unwrap();
    assert_eq!(item(&mut last).await, Item::Open);
    let envelope: serde_json::Value = serde_json::from_str(&text(&mut last).await).unwrap();
    assert_eq!(envelope["data"], "three");
    server.shutdown().await;
}

#[tokio::test]
async fn a_cursor_of_another_log_is_told_as_a_gap() {
    let server = TestServer::start().await;
    let client = client(&server);
    client.publish("t", "x").send().await.unwrap();
    let start = Start::After("00000-5".into());
    let mut stream = client.subscribe(["t"]).start(start).stream().unwrap();
    assert_eq!(item(&mut stream).await, Item::Open);
    assert!(matches!(item(&mut stream).await, Item::Gap(gap) if gap.reason == "epoch"));
    assert_eq!(text(&mut stream).await, "x");
    server.shutdown().await;
}

#[tokio::test]
async fn topics_are_configured_listed_and_deleted() {
    let server = TestServer::start().await;
    let client = client(&server);
    let config =
        TopicConfig { max_events: Some(5), max_age: Some("1h".into()), ..TopicConfig::default() };
    client.configure_topic("t", &config).await.unwrap();
    client.publish("t", "x").send().await.unwrap();
    let info = client.topic_info("t").await.unwrap();
    assert_eq!((info.events, info.settings), (1, Some(config)));
    let page = client.topics(&TopicsQuery::default()).await.unwrap();
    assert_eq!(page.topics.len(), 1);
    client.delete_topic("t").await.unwrap();
    match client.topic_info("t").await {
        Err(TopicsError::Refused(refusal)) => {
            assert_eq!(refusal.code.as_deref(), Some("topic-not-found"));
        }
        other => panic!("{other:?}"),
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_publisher_brings_thousands_of_messages_in_order() {
    let server = TestServer::start().await;
    let publisher = client(&server).publisher("t").unwrap();
    for number in 0..5_000 {
        publisher.push(number.to_string()).await.unwrap();
    }
    let progress = tokio::time::timeout(Duration::from_secs(60), publisher.finish()).await;
    assert_eq!(progress.unwrap().unwrap().acknowledged, 5_000);
    let told = server.told("t").await;
    assert!(told.iter().enumerate().all(|(number, told)| *told == format!(":{number}")));
    assert_eq!(told.len(), 5_000);
    server.shutdown().await;
}

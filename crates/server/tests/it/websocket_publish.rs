//! What clients publish over WebSocket, with a log that is slow, or takes appends in another order than they came.

use std::sync::Arc;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use longwave_core::Seq;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::{FaultyLog, TestServer, eventually, within};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn server(
    http: impl FnOnce(&mut longwave::http::HttpOptions),
) -> (TestServer, Arc<FaultyLog>) {
    let mut faulty = None;
    let server = TestServer::over(http, |log| Arc::clone(faulty.insert(FaultyLog::new(log)))).await;
    (server, faulty.unwrap())
}

async fn connect(server: &TestServer) -> (SplitSink<Socket, Message>, SplitStream<Socket>) {
    // Follows another topic than it publishes to, so that all it hears are answers.
    let url = format!("ws://{}/topics/quiet", server.addr);
    let (socket, _) = within(tokio_tungstenite::connect_async(url)).await.unwrap();
    socket.split()
}

async fn say(to: &mut SplitSink<Socket, Message>, message: Value) {
    within(to.send(Message::text(message.to_string()))).await.unwrap();
}

async fn hear(from: &mut SplitStream<Socket>) -> Value {
    loop {
        match within(from.next()).await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn publish(reference: u64, topic: &str) -> Value {
    json!({ "op": "publish", "ref": reference, "topic": topic, "data": reference.to_string() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_publishes_keep_their_order_in_a_log_that_keeps_none() {
    const COUNT: u64 = 2000;
    let (server, faulty) = server(|_| {}).await;
    faulty.overtake();
    let server = Arc::new(server);
    let load: Vec<_> = (0..4)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                loop {
                    server.post("/topics/load", "x").await.ok(201);
                }
            })
        })
        .collect();
    let (mut to, mut from) = connect(&server).await;
    let sending = tokio::spawn(async move {
        for i in 0..COUNT {
            // Every tenth has a key, and so can't go with others.
            let mut message = publish(i, "t");
            if i % 10 == 0 {
                message["key"] = json!(i.to_string());
            }
            say(&mut to, message).await;
        }
        to
    });
    let (mut references, mut ids) = (Vec::new(), Vec::new());
    for _ in 0..COUNT {
        let answer = hear(&mut from).await;
        references.push(answer["ack"]["ref"].as_u64().unwrap_or_else(|| panic!("{answer}")));
        ids.push(answer["ack"]["id"].as_str().unwrap().to_owned());
    }
    drop(sending.await.unwrap());
    for task in load {
        task.abort();
    }
    assert_eq!(references, (0..COUNT).collect::<Vec<_>>());
    let expected: Vec<String> = (0..COUNT).map(|i| format!(":{i}")).collect();
    assert_eq!(server.told("t").await, expected);
    let events = server.events("t").await;
    let stored: Vec<String> = events.iter().map(|event| server.id(event.seq)).collect();
    assert_eq!(ids, stored, "each is acknowledged with its own id");
}

#[tokio::test]
async fn one_append_of_a_connection_is_under_way_and_the_rest_goes_together_behind_it() {
    let (server, faulty) = server(|_| {}).await;
    faulty.hold();
    let (mut to, mut from) = connect(&server).await;
    for i in 0..31 {
        say(&mut to, publish(i, "t")).await;
    }
    // The pong shows that everything before it was read.
    say(&mut to, json!({ "op": "ping", "ref": "p" })).await;
    assert_eq!(hear(&mut from).await, json!({ "pong": { "ref": "p" } }));
    eventually(|| async { faulty.appends() > 0 }).await;
    assert_eq!(faulty.appends(), 1);
    faulty.release();
    for i in 0..31 {
        assert_eq!(hear(&mut from).await["ack"]["ref"], i);
    }
    assert!(faulty.appends() <= 2, "{} appends", faulty.appends());
    let (sent, told) = ((0..31).map(|i| format!(":{i}")), server.told("t").await);
    assert_eq!(told, sent.collect::<Vec<_>>());
}

#[tokio::test]
async fn publishes_that_can_not_go_together_are_answered_each_for_itself() {
    let (server, faulty) = server(|_| {}).await;
    faulty.hold();
    let (mut to, mut from) = connect(&server).await;
    for message in [
        publish(0, "a"),
        publish(1, "a"),
        publish(2, "b"),
        json!({ "op": "publish", "ref": 3, "topic": "b", "data": "k", "key": "k" }),
        json!({ "op": "publish", "ref": 4, "topic": "b", "data": "k", "key": "k" }),
        json!({ "op": "publish", "topic": "b", "data": "unasked" }),
        json!({ "op": "publish", "ref": 5, "topic": "b", "data": "last", "end": "done" }),
        publish(6, "b"),
        publish(7, "b"),
        publish(8, "a"),
    ] {
        say(&mut to, message).await;
    }
    faulty.release();
    let mut seen = Vec::new();
    for _ in 0..9 {
        let answer = hear(&mut from).await;
        let (kind, answer) = answer.as_object().unwrap().iter().next().unwrap();
        let what = answer.get("code").or(answer.get("id")).unwrap().as_str().unwrap();
        let more = if answer["duplicate"] == true { " again" } else { "" };
        seen.push(format!("{} {kind} {what}{more}", answer["ref"]));
    }
    let id = |seq| server.id(Seq(seq));
    assert_eq!(
        seen,
        [
            format!("0 ack {}", id(1)),
            format!("1 ack {}", id(2)),
            format!("2 ack {}", id(3)),
            format!("3 ack {}", id(4)),
            format!("4 ack {} again", id(4)),
            format!("5 ack {}", id(7)),
            "6 error topic-ended".to_owned(),
            "7 error topic-ended".to_owned(),
            format!("8 ack {}", id(8)),
        ]
    );
    assert_eq!(server.told("b").await, [":2", ":k", ":unasked", ":last", "end:done"]);
}

#[tokio::test]
async fn a_client_whose_publishes_wait_for_the_log_is_not_taken_for_gone() {
    let (server, faulty) = server(|http| http.heartbeat_ms = 20).await;
    faulty.hold();
    let (mut to, mut from) = connect(&server).await;
    // More than the connection takes at a time: from here on the server reads nothing, no answer to a ping either.
    for i in 0..40 {
        say(&mut to, publish(i, "t")).await;
    }
    let mut pings = 0;
    while pings < 12 {
        match within(from.next()).await.unwrap().unwrap() {
            Message::Ping(_) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    faulty.release();
    for i in 0..40 {
        assert_eq!(hear(&mut from).await["ack"]["ref"], i);
    }
}

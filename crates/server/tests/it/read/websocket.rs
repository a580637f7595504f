//! WebSocket over HTTP/1.1, by a client that is not ours.

mod bad_input;

use futures_util::{SinkExt, StreamExt};
use longwave_core::Seq;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{TestServer, hang_limit};

struct Chat {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl TestServer {
    async fn chat(&self, target: &str) -> Chat {
        let url = format!("ws://{}{target}", self.addr);
        let (socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
        assert_eq!(response.status(), 101);
        Chat { socket }
    }

    /// How many WebSocket subscriptions there are, as the metrics tell.
    async fn websockets(&self) -> u64 {
        let mut wire = self.get("/metrics", &[]).await;
        let head = wire.head().await;
        let metrics = wire.whole_body(&head).await;
        let name = "longwave_subscribers{transport=\"websocket\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    }

    /// The status and the problem that a handshake with these headers gets.
    async fn refused(&self, target: &str, headers: &[(&'static str, &str)]) -> (u16, Value) {
        let mut request = format!("ws://{}{target}", self.addr).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                (response.status().as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
            }
            other => panic!("not refused: {:?}", other.map(|(_, response)| response)),
        }
    }
}

impl Chat {
    async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn say_raw(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next message that is JSON.
    async fn hear(&mut self) -> Value {
        loop {
            match hang_limit(self.socket.next()).await.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The code with which the server closes.
    async fn closed(&mut self) -> CloseCode {
        loop {
            match hang_limit(self.socket.next()).await.unwrap() {
                Ok(Message::Close(Some(frame))) => return frame.code,
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_chat_room_is_one_url() {
    let server = TestServer::start().await;
    server.publish("room", "earlier").await;
    let mut ann = server.chat("/topics/room?last=1").await;
    assert_eq!(ann.hear().await["data"], "earlier");
    let mut bob = server.chat("/topics/room").await;
    bob.say(json!({ "op": "publish", "ref": 1, "data": { "text": "hi" }, "type": "say" })).await;
    let mut heard = [bob.hear().await, bob.hear().await];
    heard.sort_by_key(|message| message.get("ack").is_none());
    assert_eq!(
        heard[0],
        json!({ "ack": {
            "ref": 1, "id": server.id(Seq(2)), "topic": "room", "time": "2023-11-14T22:13:20.000Z"
        } })
    );
    let event = json!({
        "id": server.id(Seq(2)), "topic": "room", "time": "2023-11-14T22:13:20.000Z",
        "type": "say", "data": { "text": "hi" },
    });
    assert_eq!(heard[1], event);
    assert_eq!(ann.hear().await, event);
}

#[tokio::test]
async fn subscriptions_come_and_go_and_keep_a_cursor_each() {
    let server = TestServer::start().await;
    let one = server.publish("a/1", "one").await;
    server.publish("b", "two").await;
    let mut chat = server.chat("/events").await;
    chat.say(json!({ "op": "subscribe", "ref": "s1", "topic": "a/*", "after": "first" })).await;
    assert_eq!(chat.hear().await["ack"]["topic"], "a/*");
    let event = chat.hear().await;
    assert_eq!((&event["sub"], &event["id"]), (&json!("a/*"), &json!(one)));
    chat.say(json!({ "op": "subscribe", "topic": "b" })).await;
    chat.say(json!({ "op": "subscribe", "ref": 2, "topic": "b" })).await;
    let again = chat.hear().await;
    assert_eq!(again["error"]["code"], "websocket-invalid", "{again}");
    assert_eq!(again["error"]["ref"], 2);
    server.publish("b", "three").await;
    let event = chat.hear().await;
    assert_eq!((&event["sub"], &event["data"]), (&json!("b"), &json!("three")));
    chat.say(json!({ "op": "unsubscribe", "ref": 3, "topic": "b" })).await;
    assert_eq!(chat.hear().await, json!({ "ack": { "ref": 3 } }));
    server.publish("b", "four").await;
    chat.say(json!({ "op": "ping", "ref": 4 })).await;
    assert_eq!(chat.hear().await, json!({ "pong": { "ref": 4 } }));
    chat.say(json!({ "op": "unsubscribe", "ref": 5, "topic": "b" })).await;
    assert_eq!(chat.hear().await["error"]["ref"], 5);
    server.publish("a/2", "five").await;
    assert_eq!(chat.hear().await["data"], "five");
}

#[tokio::test]
async fn an_end_frees_its_subscription_and_the_connection_goes_on() {
    let server = TestServer::start().await;
    let mut chat = server.chat("/topics/a").await;
    let end = server.end("a").await;
    assert_eq!(chat.hear().await["end"]["id"], *end);
    chat.say(json!({ "op": "subscribe", "ref": 1, "topic": "a" })).await;
    assert_eq!(chat.hear().await["ack"]["ref"], 1);
    let again = chat.hear().await;
    assert_eq!((&again["sub"], &again["end"]["reason"]), (&json!("a"), &json!("done")));
    chat.say(json!({ "op": "publish", "ref": 2, "data": "late" })).await;
    assert_eq!(chat.hear().await["error"]["code"], "topic-ended");
    chat.say(json!({ "op": "publish", "ref": 3, "topic": "b", "data": "x", "end": "done" })).await;
    assert_eq!(chat.hear().await["ack"]["ref"], 3);
    let mut late = server.chat("/topics/a").await;
    assert_eq!(late.hear().await["end"]["id"], *end);
}

#[tokio::test]
async fn a_gap_names_its_subscription() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    for text in ["two", "three"] {
        server.publish("a", text).await;
    }
    server.keep("a", 1).await;
    let mut chat = server.chat("/events").await;
    chat.say(json!({ "op": "subscribe", "topic": "a", "after": one })).await;
    let gap = chat.hear().await;
    assert_eq!((&gap["sub"], &gap["gap"]["reason"]), (&json!("a"), &json!("retention")));
    assert_eq!(chat.hear().await["data"], "three");
}

#[tokio::test]
async fn what_one_client_publishes_stands_in_the_log_as_it_sent_it() {
    let server = TestServer::start().await;
    let mut chat = server.chat("/topics/a").await;
    for i in 0..200 {
        chat.say(json!({ "op": "publish", "ref": i, "data": i })).await;
    }
    let (mut acks, mut events) = (Vec::new(), Vec::new());
    while acks.len() + events.len() < 400 {
        let message = chat.hear().await;
        match message.get("ack") {
            Some(ack) => acks.push(ack["ref"].as_u64().unwrap()),
            None => events.push(message["data"].as_u64().unwrap()),
        }
    }
    let expected: Vec<u64> = (0..200).collect();
    assert_eq!((acks, events), (expected.clone(), expected));
}

#[tokio::test]
async fn a_publish_under_a_key_is_there_once() {
    let server = TestServer::start().await;
    let mut chat = server.chat("/events").await;
    let publish = json!({ "op": "publish", "ref": 1, "topic": "a", "data": 1, "key": "k" });
    chat.say(publish.clone()).await;
    chat.say(publish).await;
    let (first, second) = (chat.hear().await, chat.hear().await);
    assert_eq!(first["ack"]["id"], second["ack"]["id"]);
    assert_eq!(
        (&first["ack"]["duplicate"], &second["ack"]["duplicate"]),
        (&Value::Null, &json!(true))
    );
}

#[tokio::test]
async fn a_wrong_message_is_answered_and_the_connection_goes_on() {
    let server = TestServer::with(|http| http.event_bytes_max = 1000).await;
    let mut chat = server.chat("/topics/a").await;
    let large = json!({ "op": "publish", "ref": 9, "data": "x".repeat(1001) }).to_string();
    for (text, code) in [
        ("{", "json-invalid"),
        ("\"hello\"", "websocket-invalid"),
        (r#"{"op":"shout"}"#, "websocket-invalid"),
        (r#"{"op":"publish","topic":"a//b","data":1}"#, "topic-invalid"),
        (r#"{"op":"subscribe","topic":"a","after":"zz"}"#, "id-invalid"),
        (large.as_str(), "event-too-large"),
    ] {
        chat.say_raw(text).await;
        let answer = chat.hear().await;
        assert_eq!(answer["error"]["code"], code, "{text:.60}: {answer}");
    }
    chat.say(json!({ "op": "publish", "ref": 1, "data": "fine" })).await;
    let mut heard = [chat.hear().await, chat.hear().await];
    heard.sort_by_key(|message| message.get("ack").is_none());
    assert_eq!(heard[1]["id"], server.id(Seq(1)));
}

#[tokio::test]
async fn frames_that_break_a_rule_close_the_connection_with_its_code() {
    let server = TestServer::with(|http| http.websocket_message_bytes_max = 1000).await;
    let mut chat = server.chat("/topics/a").await;
    chat.socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(chat.closed().await, CloseCode::Unsupported);

    let mut chat = server.chat("/topics/a").await;
    chat.say_raw(&"x".repeat(1001)).await;
    assert_eq!(chat.closed().await, CloseCode::Size);

    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let mut chat = server.chat("/topics/a").await;
    let frame = Frame::message(Bytes::from_static(&[0xff, 0xfe]), OpCode::Data(Data::Text), true);
    chat.socket.send(Message::Frame(frame)).await.unwrap();
    assert_eq!(chat.closed().await, CloseCode::Invalid);

    let mut chat = server.chat("/topics/a").await;
    let stray = Frame::message(Bytes::from_static(b"x"), OpCode::Data(Data::Continue), true);
    chat.socket.send(Message::Frame(stray)).await.unwrap();
    assert_eq!(chat.closed().await, CloseCode::Protocol);
}

#[tokio::test]
async fn a_handshake_that_can_not_work_is_refused_with_a_status() {
    let server = TestServer::start().await;
    let protocol = "sec-websocket-protocol";
    let (status, problem) = server.refused("/topics/a", &[(protocol, "graphql-ws, mqtt")]).await;
    assert_eq!((status, &problem["code"]), (400, &json!("websocket-invalid")));
    let (status, problem) = server.refused("/topics/a?after=x", &[]).await;
    assert_eq!((status, &problem["code"]), (400, &json!("id-invalid")));
    let (status, problem) = server.refused("/topics/a?limit=3", &[]).await;
    assert_eq!((status, &problem["parameter"]), (400, &json!("limit")));
    let (status, problem) = server.refused("/topics/a", &[("sec-websocket-version", "8")]).await;
    assert_eq!((status, &problem["code"]), (400, &json!("websocket-invalid")));
    let (status, problem) =
        server.refused("/topics/a", &[("origin", "https://evil.example")]).await;
    assert_eq!((status, &problem["code"]), (403, &json!("origin-forbidden")));
}

#[tokio::test]
async fn the_subprotocol_is_chosen_where_it_is_offered() {
    let server = TestServer::start().await;
    let url = format!("ws://{}/topics/a", server.addr);
    let mut request = url.into_client_request().unwrap();
    let offer = "other, longwave.v1".parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", offer);
    let (_, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "longwave.v1");
}

#[tokio::test]
async fn a_connection_has_a_bounded_number_of_subscriptions() {
    let server = TestServer::start().await;
    let mut chat = server.chat("/events").await;
    for i in 0..65 {
        chat.say(json!({ "op": "subscribe", "ref": i, "topic": format!("t/{i}") })).await;
        let answer = chat.hear().await;
        match i {
            64 => assert_eq!(answer["error"]["code"], "overloaded", "{answer}"),
            _ => assert_eq!(answer["ack"]["ref"], i, "{answer}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_goes_down_says_so_and_closes() {
    let server = TestServer::start().await;
    let mut idle = server.chat("/events").await;
    let mut chat = server.chat("/topics/a").await;
    let TestServer { server, .. } = server;
    let shutdown = tokio::spawn(server.shutdown());
    for chat in [&mut idle, &mut chat] {
        assert!(chat.hear().await["retry"].is_u64());
        assert_eq!(chat.closed().await, CloseCode::Restart);
        let _ = chat.socket.flush().await;
    }
    drop((idle, chat));
    hang_limit(shutdown).await.unwrap();
}

#[tokio::test]
async fn a_client_is_pinged_and_one_that_never_answers_is_let_go() {
    let server = TestServer::with(|http| http.heartbeat_ms = 20).await;
    let mut chat = server.chat("/topics/a").await;
    loop {
        if let Message::Ping(_) = hang_limit(chat.socket.next()).await.unwrap().unwrap() {
            break;
        }
    }
    // From here on this client reads nothing, so it answers nothing.
    server.publish("a", "one").await;
    server.until_subscribers("a", 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_a_write_waiting_too_long_is_dropped_and_comes_back_with_its_cursor() {
    let server = TestServer::with(|http| {
        http.websocket_write_timeout_ms = 100;
        // So long that silence can't be the reason.
        http.heartbeat_ms = 3_600_000;
    })
    .await;
    let mut stalled = server.chat("/topics/a").await;
    let mut busy = server.chat("/topics/a").await;
    let first = server.publish("a", "one").await;
    assert_eq!(busy.hear().await["id"], *first);
    assert_eq!(server.websockets().await, 2);
    let data = "x".repeat(64 * 1024);
    let mut ids = vec![first];
    // Until the buffers between the two sockets are full, and then for as long as the server waits for room.
    while server.websockets().await > 1 {
        ids.push(server.publish("a", &data).await);
        assert_eq!(busy.hear().await["id"], *ids[ids.len() - 1]);
    }
    server.until_subscribers("a", 1).await;
    let mut got = Vec::new();
    while let Some(Ok(Message::Text(text))) = hang_limit(stalled.socket.next()).await {
        got.push(serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned());
    }
    assert!(got.len() < ids.len(), "dropped, with {} of {}", got.len(), ids.len());
    let mut back = server.chat(&format!("/topics/a?after={}", got[got.len() - 1])).await;
    while got.len() < ids.len() {
        got.push(back.hear().await["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(got, ids);
    ids.push(server.publish("a", "live").await);
    assert_eq!(busy.hear().await["id"], *ids[ids.len() - 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_costs_the_others_nothing_and_gets_everything_later() {
    const EVENTS: usize = 2000;
    let server = TestServer::start().await;
    let mut stalled = server.chat("/topics/a").await;
    let mut busy = server.chat("/topics/a").await;
    // Far more than all buffers between the two sockets hold.
    let data = "x".repeat(8 * 1024);
    let mut ids = Vec::new();
    for _ in 0..EVENTS {
        ids.push(server.publish("a", &data).await);
        assert_eq!(busy.hear().await["id"], *ids[ids.len() - 1]);
    }
    for id in ids {
        assert_eq!(stalled.hear().await["id"], *id);
    }
}

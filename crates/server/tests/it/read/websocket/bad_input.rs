//! What is wrong, stale or slow over WebSocket: it is answered, and the connection and the others go on.

use std::time::Duration;

use longwave_core::Seq;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::{TestServer, Wire, find, hang_limit};
use super::Chat;

#[tokio::test]
async fn a_topic_with_too_long_a_name_is_refused_and_the_connection_goes_on() {
    let server = TestServer::start().await;
    let longest = "x".repeat(255);
    let too_long = "x".repeat(256);
    let (status, problem) = server.refused(&format!("/topics/{too_long}"), &[]).await;
    assert_eq!((status, &problem["code"]), (400, &json!("topic-invalid")));
    let mut chat = server.chat("/topics/a").await;
    for (op, code) in [
        ("publish", "topic-invalid"),
        ("subscribe", "selector-invalid"),
        ("unsubscribe", "selector-invalid"),
    ] {
        let mut message = json!({ "op": op, "ref": op, "topic": too_long });
        if op == "publish" {
            message["data"] = json!(1);
        }
        chat.say(message).await;
        let answer = chat.hear().await;
        assert_eq!(answer["error"]["ref"], op, "{answer}");
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    chat.say(json!({ "op": "publish", "ref": 1, "topic": longest, "data": 1 })).await;
    let answer = chat.hear().await;
    assert_eq!(answer["ack"]["topic"], longest, "{answer}");
}

#[tokio::test]
async fn json_may_be_nested_as_deep_as_a_message_is_long() {
    let server = TestServer::start().await;
    let mut chat = server.chat("/events").await;
    for (open, close, depth) in [("[", "]", 500_000), ("{\"a\":", "}", 100_000)] {
        let data = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        chat.say_raw(&format!(r#"{{"op":"publish","ref":1,"topic":"deep","data":{data}}}"#)).await;
        let answer = chat.hear().await;
        assert_eq!(answer["ack"]["ref"], 1, "{answer}");
        // Within a message that is something else, or broken off.
        for (text, code) in [
            (data.clone(), "websocket-invalid"),
            (format!(r#"{{"op":{data}}}"#), "websocket-invalid"),
            (format!(r#"{{"op":"ping","ref":{data}}}"#), "websocket-invalid"),
            (format!(r#"{{"op":"ping","colour":{data}}}"#), "websocket-invalid"),
            (
                format!(r#"{{"op":"publish","topic":"deep","data":{}"#, open.repeat(depth)),
                "json-invalid",
            ),
        ] {
            chat.say_raw(&text).await;
            let answer = chat.hear().await;
            assert_eq!(answer["error"]["code"], code, "{text:.60}: {answer}");
        }
        let mut wire = server.get("/topics/deep?last=1", &[]).await;
        let head = wire.head().await;
        let page = wire.whole_body(&head).await;
        assert!(page.contains(&format!("\"data\":{data}")), "it reads back as it was given");
    }
}

#[tokio::test]
async fn a_cursor_of_another_log_or_of_the_future_is_a_gap_before_all_that_is_there() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    let two = server.publish("a", "two").await;
    for cursor in ["7kq2f-1".to_owned(), server.id(Seq(1_000_000)), server.id(Seq(u64::MAX))] {
        let mut by_url = server.chat(&format!("/topics/a?after={cursor}")).await;
        let mut by_message = server.chat("/events").await;
        by_message.say(json!({ "op": "subscribe", "topic": "a", "after": cursor })).await;
        for (chat, sub) in [(&mut by_url, None), (&mut by_message, Some("a"))] {
            let gap = chat.hear().await;
            assert_eq!(gap["sub"].as_str(), sub, "{gap}");
            assert_eq!(gap["gap"]["reason"], "epoch", "{gap}");
            assert_eq!(gap["gap"]["after"], *cursor, "{gap}");
            assert_eq!(chat.hear().await["id"], *one);
            assert_eq!(chat.hear().await["id"], *two);
        }
    }
}

#[tokio::test]
async fn a_url_with_a_cursor_from_before_retention_is_told_of_the_gap() {
    let server = TestServer::start().await;
    let one = server.publish("a", "one").await;
    let two = server.publish("a", "two").await;
    let three = server.publish("a", "three").await;
    server.keep("a", 1).await;
    let mut chat = server.chat(&format!("/topics/a?after={one}")).await;
    let gap = json!({ "gap": { "after": one, "resumed": two, "reason": "retention" } });
    assert_eq!(chat.hear().await, gap);
    assert_eq!(chat.hear().await["id"], *three);
}

#[tokio::test]
async fn frames_may_come_a_byte_at_a_time_and_a_message_in_frames_of_a_byte() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    byte_by_byte(&mut stream, HANDSHAKE.as_bytes()).await;
    let mut wire = Wire { stream, raw: Vec::new(), body: String::new() };
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let Wire { mut stream, raw, .. } = wire;

    let whole = r#"{"op":"publish","ref":1,"topic":"b","data":"slow"}"#;
    byte_by_byte(&mut stream, &frame(FIN | TEXT, whole.as_bytes())).await;
    let pieces = r#"{"op":"publish","ref":2,"topic":"b","data":"é in pieces"}"#.as_bytes();
    for (i, byte) in pieces.iter().enumerate() {
        let opcode = if i == 0 { TEXT } else { CONTINUATION };
        let fin = if i + 1 == pieces.len() { FIN } else { 0 };
        byte_by_byte(&mut stream, &frame(fin | opcode, &[*byte])).await;
        if i == 5 {
            // Control frames may stand between the pieces.
            byte_by_byte(&mut stream, &frame(FIN | PING, b"?")).await;
        }
    }
    let stream = tokio_tungstenite::MaybeTlsStream::Plain(stream);
    let socket = WebSocketStream::from_partially_read(stream, raw, Role::Client, None).await;
    let mut chat = Chat { socket };
    assert_eq!(chat.hear().await["ack"]["ref"], 1);
    assert_eq!(chat.hear().await["ack"]["ref"], 2);
    let page = server.page("/topics/b").await;
    assert_eq!(page["events"][0]["data"], "slow");
    assert_eq!(page["events"][1]["data"], "é in pieces");
}

#[tokio::test]
async fn a_handshake_that_comes_too_slowly_is_answered_408() {
    let server = TestServer::with(|http| http.header_read_timeout_ms = 200).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    // All but the last line's end, so that the head never is whole, however slow this machine.
    for byte in &HANDSHAKE.as_bytes()[..HANDSHAKE.len() - 2] {
        stream.write_all(&[*byte]).await.unwrap();
        if tokio::time::timeout(Duration::from_millis(20), stream.readable()).await.is_ok() {
            break;
        }
    }
    let mut wire = Wire { stream, raw: Vec::new(), body: String::new() };
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(wire.whole_body(&head).await.contains("\"request-timeout\""));
    while hang_limit(wire.receive()).await {}
    assert!(find(&wire.raw, b"HTTP/").is_none(), "and then it is closed");
}

/// A client's frame with a payload of less than 126 bytes. A mask of zeros leaves it as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[first, MASKED | length, 0, 0, 0, 0], payload].concat()
}

async fn byte_by_byte(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
}

const HANDSHAKE: &str = "GET /topics/a HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
// Of a frame's first two bytes (RFC 6455, section 5.2).
const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const PING: u8 = 9;
const MASKED: u8 = 0x80;

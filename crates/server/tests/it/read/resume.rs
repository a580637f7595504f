//! One cursor on every transport.

use futures_util::StreamExt;
use serde_json::Value;

use super::{NDJSON, SSE, TestServer, hang_limit};

#[tokio::test]
async fn a_reader_that_changes_its_transport_in_mid_stream_misses_nothing_and_gets_nothing_twice() {
    let server = TestServer::start().await;
    for round in 0..3 {
        let topic = format!("t/{round}");
        let target =
            if round == 2 { "/events?topic=t/*".to_owned() } else { format!("/topics/{topic}?") };
        let start = server.publish("other", "x").await;
        let mut expected = Vec::new();
        for i in 0..15 {
            expected.push(server.publish(&topic, &i.to_string()).await);
            server.publish("other", "between").await;
        }
        let mut got = Vec::new();
        let mut cursor = start;

        let mut wire = server.get(&target, &[SSE, ("last-event-id", &cursor)]).await;
        wire.head().await;
        got.extend(wire.ids(3).await);
        drop(wire);
        cursor.clone_from(got.last().unwrap());

        let page = server.page(&format!("{target}&after={cursor}&limit=3&wait=60s")).await;
        got.extend(page["events"].as_array().unwrap().iter().map(id));
        cursor = page["cursor"].as_str().unwrap().to_owned();

        let url = format!("ws://{}{target}&after={cursor}", server.addr);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        for _ in 0..3 {
            let message = hang_limit(socket.next()).await.unwrap().unwrap();
            got.push(id(&serde_json::from_str(message.to_text().unwrap()).unwrap()));
        }
        drop(socket);
        cursor.clone_from(got.last().unwrap());

        let mut wire = server.get(&format!("{target}&after={cursor}&limit=3"), &[NDJSON]).await;
        wire.head().await;
        got.extend(wire.rest().await.lines().map(|line| id(&serde_json::from_str(line).unwrap())));
        cursor.clone_from(got.last().unwrap());

        let mut wire = server.get(&format!("{target}&lastEventId={cursor}"), &[SSE]).await;
        wire.head().await;
        got.extend(wire.ids(3).await);
        assert_eq!(got, expected);
    }
}

fn id(envelope: &Value) -> String {
    envelope["id"].as_str().unwrap().to_owned()
}

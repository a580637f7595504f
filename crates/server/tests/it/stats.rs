//! The server's own figures, in the topic `$sys/stats`.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::TestServer;

#[tokio::test]
async fn who_follows_the_figures_gets_them_by_any_transport() {
    let server = TestServer::start().await;
    server.post("/topics/a", "counted").await.ok(201);
    for target in ["/topics/$sys/stats", "/topics/%24sys/stats", "/events?topic=$sys/**"] {
        let separator = if target.contains('?') { '&' } else { '?' };
        let page = server.get(&format!("{target}{separator}after=now&wait=60s")).await.ok(200);
        let event = &page["events"][0];
        assert_eq!(event["topic"], "$sys/stats", "{page}");
        let figures = &event["data"];
        assert_eq!(figures["topics"].as_u64().map(|topics| topics > 0), Some(true), "{page}");
        assert_eq!(figures["subscribers"]["long_poll"], 1, "{page}");
        for rate in ["published_per_second", "delivered_per_second"] {
            assert!(figures[rate].is_f64(), "{page}");
        }
    }
    let live = server.get("/topics/$sys/stats?after=first&limit=1&format=sse").await;
    live.ok_status(200);
    assert!(live.body.contains("\ndata: {\"time\":\""), "{}", live.body);
    server.shutdown().await;
}

#[tokio::test]
async fn the_topic_of_figures_is_listed_nowhere_and_no_pattern_reaches_it() {
    let server = TestServer::start().await;
    server.get("/topics/$sys/stats?after=now&wait=60s").await.ok(200);
    assert_eq!(server.get("/topics").await.ok(200)["topics"], json!([]));
    assert_eq!(server.get("/events?topic=**").await.ok(200)["events"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn nobody_else_publishes_figures_not_even_on_a_connection_that_reads_them() {
    let server = TestServer::start().await;
    server.post("/topics/$sys/stats", "1").await.problem(403, "topic-reserved");
    server.put("/topics/$sys/stats", "{}").await.problem(403, "topic-reserved");
    let url = format!("ws://{}/topics/$sys/stats", server.addr);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let publish = json!({"op": "publish", "ref": 7, "data": 1});
    socket.send(Message::text(publish.to_string())).await.unwrap();
    let refusal = loop {
        let message = socket.next().await.unwrap().unwrap();
        let Ok(told) = serde_json::from_str::<Value>(message.to_text().unwrap()) else { continue };
        if told.get("error").is_some() {
            break told;
        }
    };
    assert_eq!(refusal["error"]["code"], "topic-reserved", "{refusal}");
    assert_eq!(refusal["error"]["ref"], 7, "{refusal}");
    drop(socket);
    server.shutdown().await;
}

//! WebSocket over HTTP/2 (RFC 8441).

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{TestServer, hang_limit};

#[tokio::test]
async fn an_extended_connect_opens_the_same_conversation() {
    let server = TestServer::start().await;
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    hang_limit(async {
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://localhost/topics/a")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "longwave.v1")
        .body(())
        .unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (response, to_server) = client.send_request(request, false).unwrap();
    let response = hang_limit(response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "longwave.v1");

    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(theirs);
    tokio::spawn(send(reader, to_server));
    tokio::spawn(receive(response.into_body(), writer));
    let mut socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;

    let publish = r#"{"op":"publish","ref":1,"data":"over two"}"#;
    socket.send(Message::text(publish)).await.unwrap();
    let (mut acks, mut events) = (0, 0);
    while acks + events < 2 {
        let message = hang_limit(socket.next()).await.unwrap().unwrap();
        let value: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        match value.get("ack") {
            Some(_) => acks += 1,
            None => {
                assert_eq!(value["data"], "over two");
                events += 1;
            }
        }
    }
    assert_eq!((acks, events), (1, 1));
}

async fn send(mut reader: ReadHalf<DuplexStream>, mut stream: h2::SendStream<Bytes>) {
    let mut buffer = vec![0; 4096];
    while let Ok(count) = reader.read(&mut buffer).await {
        let data = Bytes::copy_from_slice(&buffer[..count]);
        if stream.send_data(data, count == 0).is_err() || count == 0 {
            return;
        }
    }
}

async fn receive(mut stream: h2::RecvStream, mut writer: WriteHalf<DuplexStream>) {
    while let Some(Ok(data)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(data.len());
        if writer.write_all(&data).await.is_err() {
            return;
        }
    }
}

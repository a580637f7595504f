//! A server that another one has taken over from: what its kept connections are answered.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use futures_util::StreamExt as _;
use longwave::http::HttpOptions;
use longwave::{Listeners, Server};
use longwave_store::{Hold, Log as _, Preread, Released, SegmentLog, SegmentOptions};
use tokio::task::JoinHandle;

use crate::support::{RawAnswer, RawClient, eventually, within};

/// A server over a log on disk.
struct Old {
    server: Server,
    log: Arc<SegmentLog>,
    addr: SocketAddr,
    dir: tempfile::TempDir,
}

/// The server that took over from it, which is on its way out.
struct New {
    server: Server,
    leaving: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Old {
    async fn start() -> Old {
        let dir = tempfile::tempdir().unwrap();
        let (log, commits) = SegmentLog::open(SegmentOptions::new(dir.path())).unwrap();
        let listen = ["127.0.0.1:0".parse().unwrap()];
        let listeners = Listeners::bind(&listen, Vec::new()).unwrap();
        let server = Server::start_on(listeners, options(), log.clone(), commits).unwrap();
        let addr = server.local_addrs()[0];
        Old { server, log, addr, dir }
    }

    /// A connection that has been used.
    async fn client(&self) -> RawClient {
        let mut client = RawClient::connect(self.addr).await;
        assert_eq!(ask(&mut client, "GET /health", "").await.status, 200);
        client
    }

    async fn release(&mut self) -> Released {
        let hold: Hold = within(self.log.hold()).await.unwrap();
        self.server.pause().await;
        within(hold.release()).await.unwrap()
    }

    /// Has another server take over, in the order in which processes do it.
    async fn hand_over(self, released: Released) -> New {
        let preread = Preread::new(SegmentOptions::new(self.dir.path()));
        let (log, commits) = preread.open().unwrap();
        let sockets = self.server.listeners().sockets();
        let inherited =
            sockets.map(|socket| TcpListener::from(socket.try_clone_to_owned().unwrap())).collect();
        let listeners = Listeners::bind(self.server.local_addrs(), inherited).unwrap();
        self.server.hand_over();
        released.hand_over();
        let server = Server::start_on(listeners, options(), log, commits).unwrap();
        New { server, leaving: tokio::spawn(self.server.leave()), _dir: self.dir }
    }
}

impl New {
    async fn end(self) {
        within(self.leaving).await.unwrap();
        within(self.server.shutdown()).await;
    }
}

fn options() -> HttpOptions {
    // Kept connections stay for as long as a test uses them.
    HttpOptions { drain_timeout_ms: 1_000_000, ..HttpOptions::default() }
}

async fn ask(client: &mut RawClient, line: &str, body: &str) -> RawAnswer {
    begin(client, line, body).await;
    client.answer().await.expect("the server closed")
}

async fn begin(client: &mut RawClient, line: &str, body: &str) {
    let len = body.len();
    let json = "content-type: application/json";
    let text = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\n{json}\r\ncontent-length: {len}\r\n\r\n{body}"
    );
    client.send(text.as_bytes()).await;
}

#[tokio::test]
async fn a_kept_connection_is_answered_by_the_new_server_and_then_closed() {
    let mut old = Old::start().await;
    let requests = [
        ("PUT /topics/set", "{\"max_events\":5}", 201),
        ("POST /topics/set", "1", 201),
        ("GET /topics/set", "", 200),
        ("DELETE /topics/set", "", 204),
        ("GET /topics/set?info", "", 404),
        ("GET /nowhere", "", 404),
        ("GET /ready", "", 200),
    ];
    let mut clients = Vec::new();
    for _ in requests {
        clients.push(old.client().await);
    }
    let released = old.release().await;
    let new = old.hand_over(released).await;
    for ((line, body, status), mut client) in requests.into_iter().zip(clients) {
        let answer = ask(&mut client, line, body).await;
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert!(answer.head.contains("\r\nconnection: close\r\n"), "{line}: {answer:?}");
        assert!(client.closed().await.is_empty());
    }
    new.end().await;
}

#[tokio::test]
async fn what_was_begun_before_is_finished_by_the_new_server() {
    let mut old = Old::start().await;
    let (mut slow, mut waiting, mut deleting) =
        (old.client().await, old.client().await, old.client().await);
    slow.send(b"POST /topics/slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nha")
        .await;
    let released = old.release().await;
    // These are read, and wait for the log.
    begin(&mut waiting, "POST /topics/waiting", "2").await;
    begin(&mut deleting, "DELETE /topics/nothing", "").await;
    let (log, addr) = (Arc::clone(&old.log), old.addr);
    let new = old.hand_over(released).await;
    assert_eq!(waiting.answer().await.unwrap().status, 201);
    assert_eq!(deleting.answer().await.unwrap().status, 404);
    slow.send(b"lf!").await;
    assert_eq!(slow.answer().await.unwrap().status, 201);
    let mut client = RawClient::connect(addr).await;
    for topic in ["slow", "waiting"] {
        let page = ask(&mut client, &format!("GET /topics/{topic}"), "").await;
        assert!(page.body.contains("\"events\":[{"), "{page:?}");
        assert_eq!(within(log.topic(topic.parse().unwrap())).await.unwrap(), None);
    }
    drop((slow, waiting, deleting, client));
    new.end().await;
}

#[tokio::test]
async fn subscribers_are_asked_to_come_back_and_miss_nothing() {
    let mut old = Old::start().await;
    let url = format!("http://{}/topics/news", old.addr);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let follow = |after: String| http.get(&url).query(&[("format", "sse"), ("after", &after)]);
    let mut stream = within(follow("first".to_owned()).send()).await.unwrap().bytes_stream();
    let mut publisher = old.client().await;
    assert_eq!(ask(&mut publisher, "POST /topics/news", "1").await.status, 201);
    let mut text = String::new();
    while !text.contains("data: 1\n\n") {
        text.push_str(std::str::from_utf8(&within(stream.next()).await.unwrap().unwrap()).unwrap());
    }
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    let released = old.release().await;
    let new = old.hand_over(released).await;
    assert_eq!(ask(&mut publisher, "POST /topics/news", "2").await.status, 201);
    let mut farewell = String::new();
    while let Some(chunk) = within(stream.next()).await {
        farewell.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    assert!(farewell.starts_with("retry: ") && !farewell.contains("event"), "{farewell}");
    let mut stream = within(follow(id).send()).await.unwrap().bytes_stream();
    let mut text = String::new();
    while !text.contains("data: 2\n\n") {
        text.push_str(std::str::from_utf8(&within(stream.next()).await.unwrap().unwrap()).unwrap());
    }
    assert!(!text.contains("gap") && !text.contains("data: 1"), "{text}");
    drop((stream, http, publisher));
    new.end().await;
}

#[tokio::test]
async fn a_kept_connection_can_become_a_websocket_of_the_new_server() {
    let mut old = Old::start().await;
    let mut client = old.client().await;
    let released = old.release().await;
    let new = old.hand_over(released).await;
    let addr = new.server.local_addrs()[0];
    client
        .send(
            b"GET /topics/chat HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    assert_eq!(client.answer().await.unwrap().status, 101);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = async || {
        let url = format!("http://{addr}/metrics");
        http.get(url).send().await.unwrap().text().await.unwrap()
    };
    let line = "longwave_subscribers{transport=\"websocket\"} 1\n";
    eventually(|| async { metrics().await.contains(line) }).await;
    drop((client, http));
    new.end().await;
}

#[tokio::test]
async fn a_log_that_is_taken_back_serves_those_who_waited() {
    let mut old = Old::start().await;
    let mut client = old.client().await;
    let released = old.release().await;
    begin(&mut client, "POST /topics/news", "1").await;
    // It comes while nobody accepts.
    let mut late = RawClient::connect(old.addr).await;
    begin(&mut late, "POST /topics/news", "2").await;
    within(released.resume()).await.unwrap();
    old.server.accept().unwrap();
    assert_eq!(client.answer().await.unwrap().status, 201);
    assert_eq!(late.answer().await.unwrap().status, 201);
    drop((client, late));
    within(old.server.shutdown()).await;
}

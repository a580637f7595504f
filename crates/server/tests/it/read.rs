//! Reading over real sockets, whatever the transport. What the tests share is here: a server over a memory log whose
//! time stands still, and a client that sees every byte.

mod bad_input;
mod html;
mod many;
mod ndjson;
mod page;
mod parked;
mod resume;
mod sse;
mod start;
mod websocket;
mod websocket_h2;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longwave::http::HttpOptions;
use longwave::{Server, ServerOptions};
use longwave_core::{
    Append, Config, DataFormat, EndReason, EventId, EventType, Expected, Message, NewMessage, Seq,
    UnixMillis,
};
use longwave_store::{Clock, Log, MemoryLog, MemoryOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server over an empty memory log. Its events are all of one moment.
struct TestServer {
    server: Server,
    log: Arc<MemoryLog>,
    addr: SocketAddr,
}

impl TestServer {
    async fn start() -> TestServer {
        TestServer::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut HttpOptions)) -> TestServer {
        let mut http = HttpOptions { retry_jitter_ms: 0, ..HttpOptions::default() };
        change(&mut http);
        let memory = MemoryOptions {
            retention_interval: None,
            clock: Clock::new(|| UnixMillis(1_700_000_000_000)),
            ..MemoryOptions::default()
        };
        let (log, commits) = MemoryLog::open(memory).unwrap();
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let options = ServerOptions { listen, http };
        let server = Server::start(options, Arc::clone(&log) as _, commits).await.unwrap();
        let addr = server.local_addrs()[0];
        TestServer { server, log, addr }
    }

    fn id(&self, seq: Seq) -> String {
        EventId { epoch: self.log.epoch(), seq }.to_string()
    }

    /// The epoch of each run is another one; in expected texts it is `EPOCH`.
    fn blank(&self, text: &str) -> String {
        text.replace(self.log.epoch().as_str(), "EPOCH")
    }

    async fn append(
        &self,
        topic: &str,
        message: Option<Message>,
        end: Option<EndReason>,
    ) -> String {
        let messages =
            message.into_iter().map(|message| NewMessage { message, key: None }).collect();
        let append = Append {
            topic: topic.parse().unwrap(),
            messages,
            end,
            key: None,
            expected: Expected::Any,
        };
        self.id(self.log.append(append).await.unwrap().last)
    }

    /// Publishes a text and gives its id.
    async fn publish(&self, topic: &str, text: &str) -> String {
        self.append(topic, Some(message(None, DataFormat::Text, text.as_bytes())), None).await
    }

    async fn end(&self, topic: &str) -> String {
        self.append(topic, None, Some(EndReason::Done)).await
    }

    /// Keeps only so many of a topic's events from now on.
    async fn keep(&self, topic: &str, max_events: u64) {
        let config = Config { max_events: Some(max_events), ..Config::default() };
        self.log.configure(topic.parse().unwrap(), config).await.unwrap();
        self.log.retain().await;
    }

    /// Sends a GET and gives the connection.
    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Wire {
        self.request("GET", target, headers).await
    }

    async fn request(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Wire {
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        Wire { stream, raw: Vec::new(), body: String::new() }
    }

    /// Waits until a topic, which must exist, has so many live readers.
    async fn until_subscribers(&self, topic: &str, count: u64) {
        hang_limit(async {
            while self.page(&format!("/topics/{topic}?info")).await["subscribers"] != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// The page at a target.
    async fn page(&self, target: &str) -> serde_json::Value {
        let mut wire = self.get(target, &[]).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        serde_json::from_str(&wire.whole_body(&head).await).unwrap()
    }
}

const SSE: (&str, &str) = ("accept", "text/event-stream");
const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");

fn message(event_type: Option<&str>, format: DataFormat, data: &[u8]) -> Message {
    Message {
        event_type: event_type.map(|text| EventType::new(text).unwrap()),
        format,
        data: data.to_vec().into(),
        source: None,
    }
}

/// One HTTP/1.1 connection, after a request was sent on it.
struct Wire {
    stream: TcpStream,
    /// What was received and not looked at.
    raw: Vec<u8>,
    /// What of a chunked body was received and not taken.
    body: String,
}

impl Wire {
    /// The status line and the headers, in the order in which they came, without the date and what is for browsers.
    async fn head(&mut self) -> String {
        let end = loop {
            if let Some(at) = find(&self.raw, b"\r\n\r\n") {
                break at;
            }
            assert!(self.receive().await, "the head is unfinished: {:?}", self.raw);
        };
        let head: Vec<u8> = self.raw.drain(..end + 4).collect();
        String::from_utf8(head)
            .unwrap()
            .split_terminator("\r\n")
            .filter(|line| {
                let other = ["date: ", "vary: origin", "access-control-"];
                !line.is_empty() && !other.iter().any(|start| line.starts_with(start))
            })
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// What of the chunked body has come, up to and with `mark`.
    async fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = self.body.find(mark) {
                let rest = self.body.split_off(at + mark.len());
                return std::mem::replace(&mut self.body, rest);
            }
            assert!(self.next_chunk().await, "no {mark:?} in {:?}", self.body);
        }
    }

    /// What remains of the chunked body, which must come to its proper end.
    async fn rest(&mut self) -> String {
        while self.next_chunk().await {}
        std::mem::take(&mut self.body)
    }

    /// The next block of an event stream, without lines that stand between blocks.
    async fn event(&mut self) -> String {
        let block = self.until("\n\n").await;
        block
            .lines()
            .filter(|line| !line.starts_with(':') && !line.starts_with("retry: "))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// The ids of the next events of an event stream.
    async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            let block = self.event().await;
            ids.push(block.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned());
        }
        ids
    }

    async fn whole_body(&mut self, head: &str) -> String {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let Some(length) = length else { return self.rest().await };
        let length: usize = length.parse().unwrap();
        while self.raw.len() < length {
            assert!(self.receive().await, "the body is unfinished");
        }
        String::from_utf8(self.raw.drain(..length).collect()).unwrap()
    }

    /// Whether there was another chunk before the end of the body.
    async fn next_chunk(&mut self) -> bool {
        loop {
            if let Some(line) = find(&self.raw, b"\r\n") {
                let size = std::str::from_utf8(&self.raw[..line]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                let end = line + 2 + size + 2;
                if self.raw.len() >= end {
                    let chunk: Vec<u8> = self.raw.drain(..end).collect();
                    let data = &chunk[line + 2..end - 2];
                    self.body.push_str(std::str::from_utf8(data).unwrap());
                    return size > 0;
                }
            }
            assert!(self.receive().await, "the body broke off behind {:?}", self.body);
        }
    }

    /// Whether something came before the end of the connection.
    async fn receive(&mut self) -> bool {
        hang_limit(self.stream.read_buf(&mut self.raw)).await.unwrap() > 0
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

/// Fails a test that would otherwise wait for ever.
async fn hang_limit<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("this hangs")
}

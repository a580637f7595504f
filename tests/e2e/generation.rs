//! The gateway's process goes in the middle of a generation. Whatever its reader saw is kept; the stream is ended as crashed,
//! in the provider's own words, and nothing hangs.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::StreamExt as _;
use longwave_e2e::{HANG_LIMIT, LongwaveServer, POLL_INTERVAL};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_whose_gateway_is_killed_is_ended_as_crashed() {
    let mut server = start().await;
    let mut reader = Reader::begin(&server).await;
    reader.read_events(20).await;
    server.kill().await.unwrap();
    reader.read_until_broken().await;
    server.spawn().unwrap();
    server.wait_until_ready().await.unwrap();
    reader.check_crashed(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_whose_gateway_is_taken_over_is_ended_as_crashed() {
    let mut server = start().await;
    let mut reader = Reader::begin(&server).await;
    reader.read_events(20).await;
    let mut old = server.spawn_heir().unwrap();
    reader.read_until_broken().await;
    let ended = tokio::time::timeout(HANG_LIMIT, old.wait()).await;
    assert!(ended.unwrap().unwrap().success(), "{}", old.last_words());
    server.wait_until_ready().await.unwrap();
    reader.check_crashed(&server).await;
}

async fn start() -> LongwaveServer {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let upstream = format!("/v1=http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(generate(socket));
        }
    });
    LongwaveServer::start(&[("--gateway", &upstream), ("--drain-timeout", "2s")]).await.unwrap()
}

/// An upstream that talks until it is hung up on.
async fn generate(mut socket: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let _ = socket.read(&mut request).await?;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    for number in 0_u64.. {
        let event = format!("data: {}\n\n", chunk_with(number));
        socket.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

fn chunk_with(number: u64) -> String {
    format!(
        r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{number} "}}}}]}}"#
    )
}

/// A client that reads a generation.
struct Reader {
    client: reqwest::Client,
    stream: String,
    body: reqwest::Response,
    text: String,
}

impl Reader {
    async fn begin(server: &LongwaveServer) -> Reader {
        let client = reqwest::Client::builder().no_proxy().timeout(HANG_LIMIT).build().unwrap();
        let url = format!("{}/v1/chat/completions", server.url());
        let body = client.post(url).body(r#"{"stream":true}"#).send().await.unwrap();
        let stream = body.headers()["longwave-stream"].to_str().unwrap().to_owned();
        Reader { client, stream, body, text: String::new() }
    }

    async fn read_events(&mut self, count: usize) {
        while events(&self.text).len() < count {
            let piece = self.body.chunk().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// Reads to the end, which must not look like one.
    async fn read_until_broken(&mut self) {
        loop {
            match self.body.chunk().await {
                Ok(Some(piece)) => self.text.push_str(std::str::from_utf8(&piece).unwrap()),
                Ok(None) => panic!("the stream ended in order: {}", self.text),
                Err(_) => return,
            }
        }
    }

    /// What the server has of the stream goes on where this reader was, and ends with the error.
    async fn check_crashed(&self, server: &LongwaveServer) {
        let seen = events(&self.text);
        let url = format!("{}{}", server.url(), self.stream);
        let whole = self.get(&url, None).await;
        let all = events(&whole);
        assert_eq!(all[..seen.len()], seen[..], "what was seen is kept");
        let (last, said) = all.split_last().unwrap();
        for (number, (data, _)) in (0_u64..).zip(said) {
            assert_eq!(*data, chunk_with(number));
        }
        let error: Value = serde_json::from_str(&last.0).unwrap();
        assert_eq!(error["error"]["code"], "stream_crashed");
        let (_, cursor) = seen.last().unwrap();
        let rest = self.get(&url, Some(cursor)).await;
        assert_eq!(events(&rest)[..], all[seen.len()..], "a resume goes on behind what was seen");
        let info = self.client.get(format!("{url}?info")).send().await.unwrap();
        let info: Value = serde_json::from_str(&info.text().await.unwrap()).unwrap();
        assert_eq!(info["state"], "crashed");
    }

    async fn get(&self, url: &str, cursor: Option<&str>) -> String {
        let mut request = self.client.get(url);
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor);
        }
        let body = request.send().await.unwrap().bytes_stream();
        let whole = body.map(|piece| piece.unwrap().to_vec()).concat();
        let whole = tokio::time::timeout(HANG_LIMIT, whole).await.unwrap();
        String::from_utf8(whole).unwrap()
    }
}

/// Data and id of each event that is whole.
fn events(text: &str) -> Vec<(String, String)> {
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {block:?}")).to_owned()
    };
    let blocks = whole.split("\n\n").filter(|block| !block.is_empty());
    blocks.map(|block| (field(block, "data: "), field(block, "id: "))).collect()
}

const PACE: Duration = POLL_INTERVAL;

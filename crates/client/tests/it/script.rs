//! A server that answers each connection with the next part of a script, and tells what it was asked.

use std::time::Duration;

use longwave_client::{Client, Url};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What happens on one connection, once the request's head and body are read.
pub(crate) enum Answer {
    /// Sends this, and closes.
    Close(String),
    /// Sends this, and stays open without a word.
    Silence(String),
    /// Sends this byte by byte, and stays open without a word.
    Bytewise(String),
    /// Closes without an answer.
    Nothing,
}

/// A server with a script.
pub(crate) struct Scripted {
    pub(crate) base: String,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Scripted {
    /// Answers the connections in turn; after the last answer it accepts no more.
    pub(crate) async fn start(answers: Vec<Answer>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut open = Vec::new();
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                sender.send(read_request(&mut socket).await).unwrap();
                match answer {
                    Answer::Close(text) => socket.write_all(text.as_bytes()).await.unwrap(),
                    Answer::Silence(text) => {
                        socket.write_all(text.as_bytes()).await.unwrap();
                        open.push(socket);
                    }
                    Answer::Bytewise(text) => {
                        socket.set_nodelay(true).unwrap();
                        for byte in text.bytes() {
                            socket.write_all(&[byte]).await.unwrap();
                            tokio::task::yield_now().await;
                        }
                        open.push(socket);
                    }
                    Answer::Nothing => {}
                }
            }
            std::future::pending::<()>().await;
        });
        Scripted { base, requests }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.base).unwrap()
    }

    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("{}/stream", self.base)).unwrap()
    }

    /// The next request: its head in lower case, an empty line, its body.
    pub(crate) async fn request(&mut self) -> String {
        within(self.requests.recv()).await.unwrap()
    }
}

/// The head of an event stream that ends with its connection, and the stream's beginning.
pub(crate) fn stream(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
}

/// A whole answer.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Waits for what must come; a hang fails the test.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("nothing came")
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return format!("{head}\n\n{body}");
            }
        }
        assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "the client went away");
    }
}

const HANG: Duration = Duration::from_secs(30);

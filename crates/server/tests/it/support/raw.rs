//! A client that decides about every byte: [`RawClient`].

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// A connection on which anything may be sent.
pub(crate) struct RawClient {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An HTTP/1.1 response with a body of a known length.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    /// The head in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl RawClient {
    pub(crate) async fn connect(addr: SocketAddr) -> RawClient {
        RawClient { stream: within(TcpStream::connect(addr)).await.unwrap(), read: Vec::new() }
    }

    /// Sends the head of a POST whose body follows in chunks.
    pub(crate) async fn begin_chunked(&mut self, path: &str, headers: &str) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n{headers}\r\n"
        );
        self.send(head.as_bytes()).await;
    }

    pub(crate) async fn send_chunk(&mut self, data: &str) {
        self.send(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes()).await;
    }

    pub(crate) async fn end_chunks(&mut self) {
        self.send(b"0\r\n\r\n").await;
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends what the server may no longer want to have. Tells whether it could be sent.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within(self.stream.write_all(bytes)).await.is_ok()
    }

    /// The next response; `None` where the server closed instead.
    pub(crate) async fn answer(&mut self) -> Option<RawAnswer> {
        loop {
            if let Some(answer) = self.take_answer() {
                return Some(answer);
            }
            let mut buffer = [0; 8192];
            match within(self.stream.read(&mut buffer)).await {
                Ok(0) | Err(_) => return None,
                Ok(bytes) => self.read.extend_from_slice(&buffer[..bytes]),
            }
        }
    }

    /// Waits until a text is in what the server sent.
    pub(crate) async fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.read).contains(text) {
            let mut buffer = [0; 8192];
            let bytes = within(self.stream.read(&mut buffer)).await.unwrap();
            assert!(bytes > 0, "closed before {text:?}");
            self.read.extend_from_slice(&buffer[..bytes]);
        }
    }

    /// Waits until the server closes, and gives what it had left to say.
    pub(crate) async fn closed(mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.read);
        // A reset is as good as an end here.
        let _ = within(self.stream.read_to_end(&mut rest)).await;
        rest
    }

    fn take_answer(&mut self) -> Option<RawAnswer> {
        let head_end = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.read[..head_end]).to_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse().unwrap());
        if self.read.len() < head_end + length {
            return None;
        }
        let body = String::from_utf8_lossy(&self.read[head_end..head_end + length]).into_owned();
        self.read.drain(..head_end + length);
        Some(RawAnswer { status, head, body })
    }
}

impl RawAnswer {
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["code"], code, "{self:?}");
        problem
    }
}

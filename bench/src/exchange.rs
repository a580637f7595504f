//! HTTP/1.1 as far as a load generator needs it: requests as text, answers with a length.
//!
//! [`ResponseReader`] finds where an answer ends, however it was cut; [`Exchange`] is a connection that waits for each
//! answer, for what is done once. The load itself does not block, see [`crate::load`].

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

/// A request with a body.
#[must_use]
pub fn request(method: &str, path: &str, content_type: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request for a stream of events.
#[must_use]
pub fn subscription(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n")
}

/// Puts the pieces of one answer after the other together.
#[derive(Debug, Default)]
pub struct ResponseReader {
    buffer: Vec<u8>,
}

impl ResponseReader {
    /// Takes what has come, and returns the status once the answer is whole.
    ///
    /// # Errors
    /// Where it is no HTTP, or an answer of unknown length.
    pub fn take(&mut self, bytes: &[u8]) -> anyhow::Result<Option<u16>> {
        self.buffer.extend_from_slice(bytes);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.buffer).context("the answer is no HTTP")?;
        let httparse::Status::Complete(head) = parsed else { return Ok(None) };
        let status = response.code.context("the answer has no status")?;
        let length = match status {
            204 | 304 => 0,
            _ => content_length(response.headers)?,
        };
        if self.buffer.len() < head + length {
            return Ok(None);
        }
        anyhow::ensure!(status < 300, "{}", self.refusal(status, head));
        self.buffer.clear();
        Ok(Some(status))
    }

    fn refusal(&self, status: u16, head: usize) -> String {
        let body = self.buffer.get(head..).unwrap_or_default();
        format!("answered {status}: {}", String::from_utf8_lossy(body).trim())
    }
}

/// A connection that waits for each answer.
#[derive(Debug)]
pub struct Exchange {
    stream: TcpStream,
    reader: ResponseReader,
}

impl Exchange {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens.
    pub fn connect(addr: SocketAddr) -> anyhow::Result<Exchange> {
        let stream = TcpStream::connect(addr).with_context(|| addr.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Exchange { stream, reader: ResponseReader::default() })
    }

    /// Sends a request and waits until it is answered with success.
    ///
    /// # Errors
    /// Where it is refused, or the connection fails.
    pub fn send(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request)?;
        let mut buffer = [0; READ_BYTES];
        loop {
            let read = self.stream.read(&mut buffer).context("no answer")?;
            anyhow::ensure!(read > 0, "closed without an answer");
            if let Some(status) = self.reader.take(buffer.get(..read).unwrap_or_default())? {
                return Ok(status);
            }
        }
    }
}

fn content_length(headers: &[httparse::Header<'_>]) -> anyhow::Result<usize> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let header = header.context("the answer has no content-length")?;
    Ok(str::from_utf8(header.value)?.trim().parse()?)
}

const HEADERS_MAX: usize = 64;
const READ_BYTES: usize = 16 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_wherever_it_is_cut() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello";
        for cut in 0..answer.len() {
            let mut reader = ResponseReader::default();
            assert_eq!(reader.take(&answer[..cut]).unwrap(), None, "cut at {cut}");
            assert_eq!(reader.take(&answer[cut..]).unwrap(), Some(201), "cut at {cut}");
            assert_eq!(reader.take(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Some(204));
        }
    }

    #[test]
    fn a_refusal_is_an_error_that_tells_what_the_server_said() {
        let answer = b"HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\ntoo busy\n";
        let error = ResponseReader::default().take(answer).unwrap_err();
        assert_eq!(error.to_string(), "answered 503: too busy");
    }

    #[test]
    fn an_answer_of_unknown_length_is_an_error() {
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(ResponseReader::default().take(answer).is_err());
        assert!(ResponseReader::default().take(b"SSH-2.0-x\r\n").is_err());
    }
}

//! Which HTTP a peer speaks: [`Sniffer`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::socket::{Departure, Socket};

/// A connection's input for HTTP/1.1, unless it begins with the connection preface of HTTP/2 (RFC 9113 §3.4). Then it
/// gives out nothing, and asks the socket to leave HTTP/1.1.
///
/// HTTP/1.1 reads through it from the start, so the usual connection has its first request read in one call and its
/// time to begin one measured by the clock that HTTP/1.1 has for that anyway.
pub(super) struct Sniffer {
    socket: Socket,
    verdict: Verdict,
}

enum Verdict {
    /// This much was read and is the beginning of a preface.
    Undecided(&'static [u8]),
    Http1,
}

impl Sniffer {
    pub(super) fn new(socket: Socket) -> Sniffer {
        Sniffer { socket, verdict: Verdict::Undecided(b"") }
    }
}

impl AsyncRead for Sniffer {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Sniffer { socket, verdict } = self.get_mut();
        let before = buf.filled().len();
        while let Verdict::Undecided(known) = *verdict {
            if buf.remaining() <= PREFACE.len() {
                return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
            }
            buf.put_slice(known);
            let result = Pin::new(&mut *socket).poll_read(cx, buf);
            if !matches!(result, Poll::Ready(Ok(()))) {
                buf.set_filled(before);
                return result;
            }
            let (_, read) = buf.filled().split_at(before);
            if read.starts_with(PREFACE) {
                socket.depart(Departure::Http2 { read: read.to_vec() });
                buf.set_filled(before);
                return Poll::Pending;
            }
            // Nothing new is the end of the input.
            if read.len() == known.len() || !PREFACE.starts_with(read) {
                *verdict = Verdict::Http1;
                return Poll::Ready(Ok(()));
            }
            *verdict = Verdict::Undecided(PREFACE.split_at(read.len()).0);
            buf.set_filled(before);
        }
        Pin::new(socket).poll_read(cx, buf)
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

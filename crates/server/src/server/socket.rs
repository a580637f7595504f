//! A TCP connection that outlives the HTTP library's interest in it: [`Socket`].

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::takeover::AwaitedTakeover;

/// A handle of a connection. Hyper gets some and drops them when it is through; another one can still say goodbye.
#[derive(Clone)]
pub(super) struct Socket {
    shared: Arc<Shared>,
}

struct Shared {
    stream: TcpStream,
    /// Bytes came in since something was last sent: a request was begun.
    read_since_write: AtomicBool,
    /// Hyper flushed since it last wrote and since `departure` was set. It flushes a socket only once it has nothing
    /// left of its own to write.
    flushed: AtomicBool,
    departure: Mutex<Option<Departure>>,
    /// Counts the connection for as long as it is open, in whatever task it ends up.
    permit: OwnedSemaphorePermit,
}

/// Why a connection is to leave the part of hyper that serves HTTP/1.1.
pub(super) enum Departure {
    /// The peer speaks HTTP/2. This was read of it.
    Http2 { read: Vec<u8> },
    /// A handler wants the socket.
    Takeover(AwaitedTakeover),
}

/// What a peer may still be sending when its connection is to be closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Perhaps the rest of a request that was answered early.
    Awaited,
    /// Nothing that anybody answers: no request was under way.
    Unwanted,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, permit: OwnedSemaphorePermit) -> Socket {
        // On Linux it has them from the socket that listened. A failure means that the connection is broken already,
        // which the first read tells.
        #[cfg(not(target_os = "linux"))]
        drop(set_options(&stream));
        Socket {
            shared: Arc::new(Shared {
                stream,
                read_since_write: AtomicBool::new(false),
                flushed: AtomicBool::new(true),
                departure: Mutex::new(None),
                permit,
            }),
        }
    }

    /// Whether the peer sent something that was not answered yet.
    pub(super) fn has_begun_request(&self) -> bool {
        self.shared.read_since_write.load(Ordering::Relaxed)
    }

    /// Asks whoever drives HTTP/1.1 on this socket to give it up.
    pub(super) fn depart(&self, departure: Departure) {
        self.shared.flushed.store(false, Ordering::Relaxed);
        *self.departing() = Some(departure);
    }

    /// What was asked for, once nothing would be lost by it.
    pub(super) fn due_departure(&self) -> Option<Departure> {
        let mut departing = self.departing();
        match *departing {
            Some(Departure::Takeover(_)) if !self.shared.flushed.load(Ordering::Relaxed) => None,
            _ => departing.take(),
        }
    }

    fn departing(&self) -> MutexGuard<'_, Option<Departure>> {
        self.shared.departure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bare connection and what counts it; `None` while another handle is in use.
    pub(super) fn into_parts(self) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        Arc::into_inner(self.shared).map(|shared| (shared.stream, shared.permit))
    }

    /// Sends `last_words` if there is room for it, then closes in a way that lets the peer read it.
    ///
    /// Does nothing while another handle is in use: then the connection was upgraded and goes on.
    pub(super) async fn close(self, last_words: &[u8], rest: Rest) {
        let Some(shared) = Arc::into_inner(self.shared) else { return };
        if !last_words.is_empty() {
            drop(shared.stream.try_write(last_words));
        }
        drop(SockRef::from(&shared.stream).shutdown(Shutdown::Write));
        if rest == Rest::Unwanted {
            return;
        }
        // Closing over unread input resets the connection, and the peer may lose what it was sent last.
        drop(tokio::time::timeout(LINGER, discard_input(&shared.stream)).await);
    }
}

/// Sets what a connection needs: small writes leave at once, and the kernel looks after peers that vanish.
///
/// On Linux, what is set on a socket before it listens holds for all connections that it accepts.
///
/// # Errors
/// That of the option that was refused.
pub(super) fn set_options<S: AsFd>(socket: &S) -> io::Result<()> {
    let options = SockRef::from(socket);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES_MAX);
    options.set_tcp_nodelay(true)?;
    options.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    {
        options.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
        options.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    }
    Ok(())
}

async fn discard_input(stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut left = LINGER_BYTES_MAX;
    while left > 0 {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => left = left.saturating_sub(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.shared.stream.poll_read_ready(cx))?;
            match self.receive(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    if result? > 0 {
                        self.shared.read_since_write.store(true, Ordering::Relaxed);
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |stream| stream.try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.flushed.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.shared.stream).shutdown(Shutdown::Write))
    }
}

impl Socket {
    /// Reads what there is, and knows without asking the kernel again when that was all.
    fn receive(&self, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
        let stream = &self.shared.stream;
        let mut received = 0;
        // Epoll and kqueue tell of new input only, so a read that left room has emptied the socket. Tokio hears of that
        // by this error alone, and then forgets that there was input, unless more came since it was asked.
        let result = stream.try_io(Interest::READABLE, || {
            let room = buf.remaining();
            received = stream.try_read_buf(buf)?;
            if (1..room).contains(&received) {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(())
            }
        });
        match result {
            Err(error) if received == 0 => Err(error),
            _ => Ok(received),
        }
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        send: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.shared.flushed.store(false, Ordering::Relaxed);
        loop {
            ready!(self.shared.stream.poll_write_ready(cx))?;
            match send(&self.shared.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    self.shared.read_since_write.store(false, Ordering::Relaxed);
                    return Poll::Ready(result);
                }
            }
        }
    }
}

/// A peer that nothing was heard from for this long is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How often a peer that does not answer is asked again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// The most questions that a peer may leave unanswered.
const KEEPALIVE_PROBES_MAX: u32 = 4;
/// A peer that does not acknowledge what it was sent, or leaves its window shut, is gone after this. As long as the
/// probes take, because the kernel lets this one decide about both.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(120);
/// How much the kernel takes for a peer beyond what the peer has room for. Without a bound it is megabytes for each that
/// stops reading, until all connections together are short of the kernel's memory (`tcp_mem`).
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 << 10;
/// How long the rest of a peer's input is waited for before its connection is closed.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::server::accept::listen;

    async fn pair() -> (TcpStream, Socket) {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (peer, Socket::new(stream, permit))
    }

    #[tokio::test]
    async fn a_socket_in_other_hands_is_not_given_away() {
        let (_peer, socket) = pair().await;
        let other = socket.clone();
        assert!(socket.into_parts().is_none());
        assert!(other.into_parts().is_some());
    }

    #[tokio::test]
    async fn all_input_is_read_whether_it_fits_the_buffer_or_not() {
        let (mut peer, mut socket) = pair().await;
        let mut buffer = [0; 4];
        for sent in ["ab", "cdefghij", "klmn", "o"] {
            peer.write_all(sent.as_bytes()).await.unwrap();
            let mut read = Vec::new();
            while read.len() < sent.len() {
                let bytes = socket.read(&mut buffer).await.unwrap();
                read.extend_from_slice(&buffer[..bytes]);
            }
            assert_eq!(read, sent.as_bytes());
        }
        peer.write_all(b"end").await.unwrap();
        drop(peer);
        let mut read = Vec::new();
        socket.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"end");
    }

    #[tokio::test]
    async fn the_kernel_looks_after_peers_that_vanish() {
        let (_peer, socket) = pair().await;
        let options = SockRef::from(&socket.shared.stream);
        assert!(options.tcp_nodelay().unwrap());
        assert!(options.keepalive().unwrap());
        assert_eq!(options.tcp_keepalive_time().unwrap(), KEEPALIVE);
        assert_eq!(options.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(options.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES_MAX);
        #[cfg(target_os = "linux")]
        {
            assert_eq!(options.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_TIMEOUT));
            assert_eq!(options.tcp_notsent_lowat().unwrap(), UNSENT_BYTES_MAX);
        }
    }
}

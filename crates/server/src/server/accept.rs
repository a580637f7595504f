//! The accept loop. Read [`Acceptor`].

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::http::{Code, Front, Phase, Problem};

use super::connection::{ConnectionRules, enters, serve};
use super::last_words::last_words;
#[cfg(target_os = "linux")]
use super::socket::set_options;

/// Accepts connections of one listener until the server drains.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) front: Front,
    pub(super) connections: Arc<Semaphore>,
    pub(super) rules: Arc<ConnectionRules>,
    pub(super) phase: watch::Receiver<Phase>,
}

impl Acceptor {
    /// Runs until the phase is no longer [`Phase::Serving`]. The listener is closed then.
    pub(super) async fn run(self) {
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let too_many = Problem::new(
            Code::Overloaded,
            "the server has as many connections as it may have; try again later",
        );
        let answer: Arc<[u8]> = last_words(&too_many).into();
        let mut draining = pin!(enters(self.phase.clone(), Phase::Draining));
        // Told once, not each time that it is tried again.
        let mut starved = false;
        loop {
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if std::mem::take(&mut starved) {
                            tracing::info!("accepting connections again");
                        }
                        stream
                    }
                    Err(error) if is_of_one_connection(&error) => continue,
                    Err(error) => {
                        if !std::mem::replace(&mut starved, true) {
                            tracing::warn!(%error, "can't accept connections; trying until it works");
                        }
                        tokio::time::sleep(ACCEPT_RETRY).await;
                        continue;
                    }
                },
                () = draining.as_mut() => return,
            };
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                if let Ok(refusal) = Arc::clone(&refusals).try_acquire_owned() {
                    let answer = Arc::clone(&answer);
                    tokio::spawn(async move {
                        refuse(stream, &answer).await;
                        drop(refusal);
                    });
                }
                continue;
            };
            let (front, rules, phase) =
                (self.front.clone(), Arc::clone(&self.rules), self.phase.clone());
            // On the heap first: to make a task of it, tokio moves it about several times.
            tokio::spawn(Box::pin(serve(stream, permit, front, rules, phase)));
        }
    }
}

/// A socket that listens at `addr`, with the options that its connections are to have.
pub(super) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Old connections of a server that ran here before don't hinder this one.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    #[cfg(target_os = "linux")]
    if let Err(error) = set_options(&socket) {
        tracing::warn!(%error, "connections go without the TCP options that they should have");
    }
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Whether an accept failed for the connection's own sake, and the next one may well succeed.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Tells a client that there are too many, without reading what it wants.
async fn refuse(mut stream: TcpStream, answer: &[u8]) {
    let conversation = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        // Closing over unread input resets the connection, and the client may lose the answer with it.
        stream.take(REFUSED_INPUT_BYTES_MAX).read_to_end(&mut Vec::new()).await
    };
    // Whether the client hears it is its own affair.
    drop(tokio::time::timeout(REFUSAL_TIMEOUT, conversation).await);
}

/// The most connections that wait to be accepted: a server that restarts is found by all its clients at once. The
/// kernel has a limit too, usually this one.
const BACKLOG: u32 = 4096;
/// How long to wait when the process has no file descriptors, or the kernel no memory, for another connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// The most clients at one time that are told of being too many; others are closed without a word.
const REFUSALS_MAX: usize = 64;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
const REFUSED_INPUT_BYTES_MAX: u64 = 64 * 1024;

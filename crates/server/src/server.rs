//! The server as a whole: it listens, accepts, and goes down in order. Read [`Server`].
//!
//! One connection's life is in `server/connection.rs`; what requests are answered is in `http/`.

mod accept;
mod connection;
mod last_words;
mod listeners;
mod preface;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use longwave_store::{CommitFeed, Log};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::http::{App, Front, HttpOptions, Phase};

use self::accept::Acceptor;
use self::connection::ConnectionRules;
pub use self::listeners::Listeners;

/// Where a server listens, and its limits.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out in full")]
pub struct ServerOptions {
    /// The addresses to listen on, at least one. Port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// The limits and intervals of the HTTP interface.
    pub http: HttpOptions,
}

/// A running server. Dropping it does not stop it; [`Server::shutdown`] does.
pub struct Server {
    app: App,
    front: Front,
    rules: Arc<ConnectionRules>,
    listeners: Listeners,
    acceptors: Vec<JoinHandle<()>>,
    /// One permit a connection, held for as long as its socket is open, upgraded or not.
    connections: Arc<Semaphore>,
    connections_max: u32,
}

impl Server {
    /// Binds all addresses, then serves `log`. `commits` is that log's feed from its opening on.
    ///
    /// # Errors
    /// That of the address which could not be bound, named in the error. Nothing runs then.
    pub async fn start(
        options: ServerOptions,
        log: Arc<dyn Log>,
        commits: CommitFeed,
    ) -> io::Result<Server> {
        let listeners = Listeners::bind(&options.listen, Vec::new())?;
        Server::start_on(listeners, options.http, log, commits)
    }

    /// Serves `log` on sockets that are bound already.
    ///
    /// # Errors
    /// When the system has no file descriptors or threads left. Nothing runs then.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start_on(
        listeners: Listeners,
        options: HttpOptions,
        log: Arc<dyn Log>,
        commits: CommitFeed,
    ) -> io::Result<Server> {
        let connections_max = u32::try_from(options.connections_max).unwrap_or(u32::MAX);
        let connections = Arc::new(Semaphore::new(connections_max as usize));
        let rules = Arc::new(ConnectionRules::new(&options));
        let app = App::new(log, commits, options, listeners.local_addrs())?;
        let front = Front::new(app.clone());
        let acceptors = Vec::new();
        let mut server =
            Server { app, front, rules, listeners, acceptors, connections, connections_max };
        server.accept()?;
        Ok(server)
    }

    /// The addresses it listens on, in the order of [`ServerOptions::listen`], with the ports that were taken.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.listeners.local_addrs()
    }

    /// What it listens on.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Accepts connections after [`Server::pause`]; otherwise it does already.
    ///
    /// # Errors
    /// When the system has no file descriptors left. It is paused then.
    pub fn accept(&mut self) -> io::Result<()> {
        if !self.acceptors.is_empty() {
            return Ok(());
        }
        let acceptors = self.listeners.open()?.into_iter().map(|listener| {
            let acceptor = Acceptor {
                listener,
                front: self.front.clone(),
                connections: Arc::clone(&self.connections),
                rules: Arc::clone(&self.rules),
                phase: self.app.phase(),
            };
            tokio::spawn(acceptor.run())
        });
        self.acceptors = acceptors.collect();
        Ok(())
    }

    /// Accepts no more connections; those that come wait in the listeners' queues. Others go on.
    pub async fn pause(&mut self) {
        for acceptor in self.acceptors.drain(..) {
            // It stops between two connections, since it waits for nothing while it has one in its hands.
            acceptor.abort();
            drop(acceptor.await);
        }
    }

    /// From now on, requests are answered by the server that has the log and the listeners now. What was begun before
    /// is finished here as far as the log allows. Only for a server that is paused.
    pub fn hand_over(&self) {
        let first = self.listeners.local_addrs().first();
        if let Some(addr) = first {
            self.app.set_successor(reachable(*addr));
        }
    }

    /// Goes down after [`Server::hand_over`]: asks subscribers to come back, and waits up to
    /// [`HttpOptions::drain_timeout_ms`] for connections to close, each after its next answer. Closes the log.
    pub async fn leave(self) {
        // Who is about to subscribe shall, and be told to go after that.
        drop(tokio::time::timeout(SETTLE, self.app.requests().none_open()).await);
        self.app.enter(Phase::Leaving);
        let drain = Duration::from_millis(self.app.options().drain_timeout_ms);
        let all_closed = self.connections.acquire_many(self.connections_max);
        drop(tokio::time::timeout(drain, all_closed).await);
        self.shutdown().await;
    }

    /// Stops accepting, asks subscribers to come back later, waits up to [`HttpOptions::drain_timeout_ms`] for
    /// requests under way, cuts off those that are still there, and closes the log.
    pub async fn shutdown(self) {
        self.app.enter(Phase::Draining);
        for acceptor in self.acceptors {
            // Fails only if the acceptor panicked, and then it accepts no more either.
            drop(acceptor.await);
        }
        // Where nobody else holds them, who comes now is refused instead of being left to wait.
        drop(self.listeners);
        let drain = Duration::from_millis(self.app.options().drain_timeout_ms);
        let all_closed = self.connections.acquire_many(self.connections_max);
        let all_done = async { tokio::join!(all_closed, self.app.gateway().idle()) };
        let all_done = tokio::time::timeout(drain, all_done).await;
        self.app.gateway().stop().await;
        if all_done.is_err() {
            let open = self.connections_max as usize - self.connections.available_permits();
            tracing::warn!(open, "cutting off connections that outlasted the drain timeout");
        }
        self.app.enter(Phase::Closed);
        self.app.log().close().await;
    }
}

/// The address under which a client on this machine reaches what listens on `addr`.
#[must_use]
pub fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    addr
}

/// How long requests may take to be answered before subscribers are asked to go. Long polls take longer, and needn't be
/// waited for.
const SETTLE: Duration = Duration::from_millis(250);

//! The server as a whole: it listens, accepts, and goes down in order. Read [`Server`].
//!
//! One connection's life is in `server/connection.rs`; what requests are answered is in `http/`.

mod accept;
mod connection;
mod last_words;
mod preface;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longwave_store::{CommitFeed, Log};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::http::{App, Front, HttpOptions, Phase};

use self::accept::{Acceptor, listen};
use self::connection::ConnectionRules;

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
    local_addrs: Vec<SocketAddr>,
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
        let mut listeners = Vec::with_capacity(options.listen.len());
        for addr in &options.listen {
            listeners.push(bind(*addr)?);
        }
        let local_addrs =
            listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let connections_max = u32::try_from(options.http.connections_max).unwrap_or(u32::MAX);
        let connections = Arc::new(Semaphore::new(connections_max as usize));
        let rules = Arc::new(ConnectionRules::new(&options.http));
        let app = App::new(log, commits, options.http, &local_addrs)?;
        let front = Front::new(app.clone());
        let acceptors = listeners
            .into_iter()
            .map(|listener| {
                let acceptor = Acceptor {
                    listener,
                    front: front.clone(),
                    connections: Arc::clone(&connections),
                    rules: Arc::clone(&rules),
                    phase: app.phase(),
                };
                tokio::spawn(acceptor.run())
            })
            .collect();
        Ok(Server { app, local_addrs, acceptors, connections, connections_max })
    }

    /// The addresses it listens on, in the order of [`ServerOptions::listen`], with the ports that were taken.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Stops accepting, asks subscribers to come back later, waits up to [`HttpOptions::drain_timeout_ms`] for
    /// requests under way, cuts off those that are still there, and closes the log.
    pub async fn shutdown(self) {
        self.app.enter(Phase::Draining);
        for acceptor in self.acceptors {
            // Fails only if the acceptor panicked, and then it accepts no more either.
            drop(acceptor.await);
        }
        let drain = Duration::from_millis(self.app.options().drain_timeout_ms);
        let all_closed = self.connections.acquire_many(self.connections_max);
        if tokio::time::timeout(drain, all_closed).await.is_err() {
            let open = self.connections_max as usize - self.connections.available_permits();
            tracing::warn!(open, "cutting off connections that outlasted the drain timeout");
        }
        self.app.enter(Phase::Closed);
        self.app.log().close().await;
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    listen(addr)
        .map_err(|error| io::Error::new(error.kind(), format!("can't listen on {addr}: {error}")))
}

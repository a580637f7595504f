//! The server as a whole: it listens, accepts, and goes down in order. Read [`Server`].
//!
//! What requests are answered is in `http/`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use longwave_store::{CommitFeed, Log};
use tokio::net::TcpListener;

use crate::http::{App, HttpOptions};

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
}

impl Server {
    /// Binds all addresses, then serves `log`. `commits` is that log's feed from its opening on.
    ///
    /// # Errors
    /// That of the address which could not be bound. Nothing runs then.
    pub async fn start(
        options: ServerOptions,
        log: Arc<dyn Log>,
        commits: CommitFeed,
    ) -> io::Result<Server> {
        let mut local_addrs = Vec::with_capacity(options.listen.len());
        for addr in options.listen {
            let listener = TcpListener::bind(addr).await?;
            local_addrs.push(listener.local_addr()?);
        }
        drop(commits);
        Ok(Server { app: App::new(log, options.http), local_addrs })
    }

    /// The addresses it listens on, in the order of [`ServerOptions::listen`], with the ports that were taken.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Stops accepting, asks subscribers to come back later, waits up to [`HttpOptions::drain_timeout_ms`] for
    /// requests under way, and closes the log.
    pub async fn shutdown(self) {
        self.app.log().close().await;
    }
}

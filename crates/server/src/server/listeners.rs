//! The sockets that a server accepts connections from: [`Listeners`].

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};

use super::accept::listen;

/// Bound sockets, in the order in which addresses were asked for.
///
/// Connections queue up in them from the moment they are bound, whether or not anybody accepts. A socket that several
/// processes hold has one queue for all of them, which is there until the last has closed it: so a listener that is
/// passed on refuses nobody.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    local_addrs: Vec<SocketAddr>,
}

impl Listeners {
    /// Binds all addresses. Those that one of `inherited` is bound to are taken from there; port 0 takes any port of the
    /// same address. What is not asked for is closed.
    ///
    /// # Errors
    /// That of the address which could not be bound, named in the error.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn bind(addrs: &[SocketAddr], mut inherited: Vec<TcpListener>) -> io::Result<Listeners> {
        let mut sockets = Vec::with_capacity(addrs.len());
        for addr in addrs {
            let is_meant = |socket: &TcpListener| {
                socket.local_addr().is_ok_and(|bound| {
                    bound.ip() == addr.ip() && (addr.port() == 0 || bound.port() == addr.port())
                })
            };
            let socket = match inherited.iter().position(is_meant) {
                Some(i) => inherited.remove(i),
                None => bind(*addr)?,
            };
            // Inherited sockets have it too, but nothing says so.
            socket.set_nonblocking(true)?;
            sockets.push(socket);
        }
        let local_addrs = sockets.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        Ok(Listeners { sockets, local_addrs })
    }

    /// Where they are bound.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// The sockets, to be passed on to another process.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }

    /// Further handles of the same sockets, to accept from.
    pub(super) fn open(&self) -> io::Result<Vec<tokio::net::TcpListener>> {
        let open = |socket: &TcpListener| tokio::net::TcpListener::from_std(socket.try_clone()?);
        self.sockets.iter().map(open).collect()
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    listen(addr)
        .and_then(tokio::net::TcpListener::into_std)
        .map_err(|error| io::Error::new(error.kind(), format!("can't listen on {addr}: {error}")))
}

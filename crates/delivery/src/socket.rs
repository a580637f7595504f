//! What the engine needs of a connection, [`Wire`], and the one there is, [`Socket`].

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

/// A peer to which bytes can be sent without waiting.
///
/// The place for connections that are more than a TCP socket, such as TLS: what is encrypted and not yet sent is theirs
/// to keep.
pub(crate) trait Wire {
    /// Sends as much as there is room for.
    fn send(&mut self, bytes: &[u8]) -> Sent;

    /// Takes in what the peer says, which nobody wants to know, as far as `room` goes.
    fn discard_input(&mut self, room: &mut [u8]) -> Input;

    /// Says that nothing more will be sent. The peer can still read what was.
    fn finish(&mut self);
}

/// What became of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All were taken.
    All,
    /// So many of them were taken, maybe none, and there is no room for more until the peer makes some.
    Part(usize),
    /// The peer is gone.
    Gone,
}

/// What a peer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// So many bytes, maybe none, and no more for now.
    Bytes(usize),
    /// More than there was room for.
    Much,
    /// It says nothing more, or is gone: who waits for events does not hang up on one side only.
    Closed,
}

/// A TCP connection of its own.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) TcpStream);

impl Wire for Socket {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        let mut sent = 0;
        // A short write means that there is no more room; only an interruption is worth another try.
        loop {
            match self.0.write(bytes.get(sent..).unwrap_or_default()) {
                Ok(0) if sent < bytes.len() => return Sent::Gone,
                Ok(taken) => {
                    sent += taken;
                    return if sent >= bytes.len() { Sent::All } else { Sent::Part(sent) };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::Part(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Sent::Gone,
            }
        }
    }

    fn discard_input(&mut self, room: &mut [u8]) -> Input {
        let mut bytes = 0;
        loop {
            match self.0.read(room.get_mut(bytes..).unwrap_or_default()) {
                Ok(0) if bytes < room.len() => return Input::Closed,
                Ok(0) => return Input::Much,
                Ok(read) => bytes += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Input::Bytes(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Input::Closed,
            }
        }
    }

    fn finish(&mut self) {
        // Fails only where the peer is gone, which the next event tells.
        drop(self.0.shutdown(Shutdown::Write));
    }
}

//! The words that two processes exchange when one takes over from the other: [`Wire`].
//!
//! Each is a line of text, answered before the next is said. Sockets travel beside a word.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Takeover,
    Held,
    Seal,
    Sealed,
    Release,
    Released,
    Serving,
    Leaving,
    Refused(String),
    /// Of a version that knows more.
    Unknown(String),
}

impl Word {
    fn parse(line: &str) -> Word {
        match line {
            "takeover 1" => Word::Takeover,
            "held" => Word::Held,
            "seal" => Word::Seal,
            "sealed" => Word::Sealed,
            "release" => Word::Release,
            "released" => Word::Released,
            "serving" => Word::Serving,
            "leaving" => Word::Leaving,
            _ => match line.strip_prefix("refused: ") {
                Some(reason) => Word::Refused(reason.to_owned()),
                None => Word::Unknown(line.to_owned()),
            },
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            // The number is of this conversation, as it stands in the module above.
            Word::Takeover => "takeover 1",
            Word::Held => "held",
            Word::Seal => "seal",
            Word::Sealed => "sealed",
            Word::Release => "release",
            Word::Released => "released",
            Word::Serving => "serving",
            Word::Leaving => "leaving",
            Word::Refused(reason) => return write!(f, "refused: {reason}"),
            Word::Unknown(line) => line,
        })
    }
}

/// One end of the conversation.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    /// What came behind the last word.
    received: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: UnixStream) -> Wire {
        Wire { stream, received: Vec::new() }
    }

    pub(super) async fn send(&self, word: &Word) -> io::Result<()> {
        self.send_with(word, &[]).await
    }

    /// Says a word, and passes sockets on.
    pub(super) async fn send_with(
        &self,
        word: &Word,
        sockets: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        if sockets.len() > SOCKETS_MAX {
            return Err(io::Error::other("there are too many sockets to be passed on"));
        }
        let line = format!("{word}\n");
        let mut rest = line.as_bytes();
        let mut sockets = Some(sockets).filter(|sockets| !sockets.is_empty());
        while !rest.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || {
                let mut space =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
                let mut beside = SendAncillaryBuffer::new(&mut space);
                if let Some(sockets) = sockets {
                    beside.push(SendAncillaryMessage::ScmRights(sockets));
                }
                let flags = SendFlags::NOSIGNAL;
                Ok(sendmsg(&self.stream, &[IoSlice::new(rest)], &mut beside, flags)?)
            });
            let sent = sent.await?;
            // They travel with the first byte.
            sockets = None;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// The next word and the sockets that came with it; no word where the other end is closed.
    ///
    /// # Cancel safety
    /// Sockets may be lost with a call that is dropped, words are not.
    pub(super) async fn receive(&mut self) -> io::Result<(Option<Word>, Vec<OwnedFd>)> {
        let mut sockets = Vec::new();
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                return Ok((Some(Word::parse(line.trim_end())), sockets));
            }
            if self.received.len() > WORD_BYTES_MAX {
                return Err(io::Error::other("a word is too long"));
            }
            let mut buffer = [0; WORD_BYTES_MAX];
            let received = self.stream.async_io(Interest::READABLE, || {
                let mut space =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
                let mut beside = RecvAncillaryBuffer::new(&mut space);
                let mut into = [IoSliceMut::new(&mut buffer)];
                // Not for programs that this one may start.
                let flags = RecvFlags::CMSG_CLOEXEC;
                let received = recvmsg(&self.stream, &mut into, &mut beside, flags)?;
                for message in beside.drain() {
                    if let RecvAncillaryMessage::ScmRights(passed) = message {
                        sockets.extend(passed);
                    }
                }
                Ok(received.bytes)
            });
            let received = received.await?;
            if received == 0 {
                return Ok((None, sockets));
            }
            self.received.extend_from_slice(buffer.get(..received).unwrap_or_default());
        }
    }

    /// Receives this word.
    pub(super) async fn expect(&mut self, expected: &Word) -> io::Result<()> {
        match self.receive().await?.0 {
            Some(word) if word == *expected => Ok(()),
            Some(word) => Err(io::Error::other(format!("it said {word}"))),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// How many listeners a server may pass on; more than anybody has.
const SOCKETS_MAX: usize = 64;
const WORD_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use super::*;

    #[tokio::test]
    async fn words_and_sockets_arrive_as_they_were_sent() {
        let (a, b) = UnixStream::pair().unwrap();
        let (a, mut b) = (Wire::new(a), Wire::new(b));
        let listeners: Vec<TcpListener> =
            (0..SOCKETS_MAX).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let sockets: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
        a.send_with(&Word::Held, &sockets).await.unwrap();
        a.send(&Word::Refused("no room".to_owned())).await.unwrap();
        let (word, received) = b.receive().await.unwrap();
        assert_eq!(word, Some(Word::Held));
        let addrs: Vec<_> =
            received.into_iter().map(|s| TcpListener::from(s).local_addr().unwrap()).collect();
        let sent: Vec<_> = listeners.iter().map(|s| s.local_addr().unwrap()).collect();
        assert_eq!(addrs, sent);
        let (word, received) = b.receive().await.unwrap();
        assert_eq!((word, received.len()), (Some(Word::Refused("no room".to_owned())), 0));
        drop(a);
        assert_eq!(b.receive().await.unwrap().0, None);
    }

    #[tokio::test]
    async fn a_word_of_another_version_is_told_as_it_is() {
        let (a, b) = UnixStream::pair().unwrap();
        a.try_write(b"takeover 2 fast\n").unwrap();
        let word = Wire::new(b).receive().await.unwrap().0;
        assert_eq!(word, Some(Word::Unknown("takeover 2 fast".to_owned())));
    }

    #[tokio::test]
    async fn a_word_without_an_end_is_an_error() {
        let (a, b) = UnixStream::pair().unwrap();
        a.try_write(&[b'x'; 2 * WORD_BYTES_MAX]).unwrap();
        assert!(Wire::new(b).receive().await.is_err());
    }
}

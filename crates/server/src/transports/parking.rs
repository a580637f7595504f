//! Live streams on plain HTTP/1.1 sockets: [`Parking`], where the delivery engine has them.
//!
//! HTTP parses, decides and answers; the socket is then taken over, and from there on `longwave-delivery` writes to it.
//! What is written is `framing.rs`'s, in chunks, since the response's head promised that.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use longwave_core::FeedItem;
use longwave_delivery::{Host, PageReply, PageRequest, Parked, ReactorOptions, Reactors};
use longwave_store::{Log, ReadQuery};
use tokio::runtime::Handle;

use super::framing::Framing;
use crate::http::{HttpOptions, Metrics, Transport};
use crate::hub::{self, Hub, SubscriberKind, Subscription};
use crate::takeover::TakenSocket;

/// The subscribers whose sockets are parked.
#[derive(Debug)]
pub(crate) struct Parking {
    reactors: Reactors<Chunked>,
}

impl Parking {
    /// Room for the subscribers of a hub.
    ///
    /// # Errors
    /// Where the system gives no threads for it.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(crate) fn open(
        hub: &Hub,
        options: &HttpOptions,
        metrics: Arc<Metrics>,
    ) -> io::Result<Parking> {
        let host = LogHost { log: Arc::downgrade(hub.log()), runtime: Handle::current(), metrics };
        let options = ReactorOptions {
            reactors: options.reactors,
            epoch: hub.log().epoch(),
            heartbeat_ms: options.heartbeat_ms,
            farewell_retry_ms: options.retry_ms,
            farewell_spread_ms: options.drain_spread_ms,
        };
        let host: Arc<dyn Host> = Arc::new(host);
        Ok(Parking { reactors: Reactors::start(options, hub.board(), &host)? })
    }

    /// Parks a socket whose response is the stream of a subscription. `retry` is how long its client shall wait before
    /// it comes back.
    pub(crate) fn park(
        &self,
        taken: TakenSocket,
        subscription: Subscription,
        framing: Framing,
        retry: Duration,
    ) {
        let TakenSocket { stream: socket, permit, head: mut opening } = taken;
        let framing = Chunked(framing);
        framing.write_chunk(&mut opening, |out| framing.0.write_opening(out, retry));
        let (seat, feed) = subscription.into_parts();
        self.reactors.park(Parked { socket, permit, opening, seat, feed, framing });
    }
}

/// A live stream as the body of an HTTP/1.1 response: each piece is a chunk (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chunked(Framing);

impl Chunked {
    /// Appends what `write` appends as a chunk; nothing where it appends nothing, since an empty chunk is the last.
    fn write_chunk(self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = out.len();
        write(out);
        let bytes = out.len() - begin;
        if bytes == 0 {
            return;
        }
        // The size is known only now, so it is written behind the data, and the two change places.
        let digits = (usize::BITS - bytes.leading_zeros()).div_ceil(4);
        for digit in (0..digits).rev() {
            out.push(HEX_DIGITS.get(bytes >> (4 * digit) & 15).copied().unwrap_or_default());
        }
        out.extend_from_slice(b"\r\n");
        let size = out.len() - begin - bytes;
        if let Some(chunk) = out.get_mut(begin..) {
            chunk.rotate_right(size);
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl longwave_delivery::Framing for Chunked {
    fn write_item(&self, out: &mut Vec<u8>, item: &FeedItem) {
        self.write_chunk(out, |out| self.0.write_item(out, item));
    }

    fn write_heartbeat(&self, out: &mut Vec<u8>) {
        self.write_chunk(out, |out| self.0.write_heartbeat(out));
    }

    fn write_farewell(&self, out: &mut Vec<u8>, retry: Duration) {
        self.write_chunk(out, |out| self.0.write_farewell(out, retry));
    }

    fn write_finish(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The log, as reactors read it, and the counters.
struct LogHost {
    /// Not held: a log that nobody else holds must be able to go, and with it the hub's board and the reactors.
    log: Weak<dyn Log>,
    runtime: Handle,
    metrics: Arc<Metrics>,
}

impl Host for LogHost {
    fn read(&self, request: PageRequest, reply: PageReply) {
        let Some(log) = self.log.upgrade() else { return };
        let query = ReadQuery {
            selectors: request.selectors,
            start: hub::start(request.from),
            max_events: request.events_max,
            max_bytes: request.bytes_max,
        };
        self.runtime.spawn(async move {
            match log.read(query).await {
                Ok(page) => reply.send(hub::log_page(page)),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a live read failed");
                }
            }
        });
    }

    fn delivered(&self, kind: SubscriberKind, events: u64) {
        self.metrics.delivered(Transport::Live(kind), events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_one_chunk_and_nothing_is_none() {
        let framing = Chunked(Framing::ndjson("7kq2f".parse().unwrap()));
        let mut out = b"head".to_vec();
        framing.write_chunk(&mut out, |_| {});
        framing.write_chunk(&mut out, |out| out.extend_from_slice(&[b'x'; 18]));
        framing.write_chunk(&mut out, |out| out.push(b'\n'));
        assert_eq!(out, b"head12\r\nxxxxxxxxxxxxxxxxxx\r\n1\r\n\n\r\n");
        for bytes in [15, 16, 255, 256, 4095, 70_000] {
            out.clear();
            framing.write_chunk(&mut out, |out| out.resize(bytes, b'x'));
            let data = "x".repeat(bytes);
            assert_eq!(out, format!("{bytes:x}\r\n{data}\r\n").into_bytes());
        }
    }
}

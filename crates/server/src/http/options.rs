//! Every limit and interval of the HTTP interface, with the values it has unless somebody sets others.
//!
//! Where settings come from is the configuration's business; what they do is said here. Read [`HttpOptions`].

use std::num::NonZero;
use std::time::Duration;

use crate::gateway::GatewayOptions;
use crate::hub::Page;

/// The limits and intervals of the HTTP interface.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the configuration writes it out in full")]
pub struct HttpOptions {
    /// A live stream with nothing to say sends a sign of life this often. At least 1.
    pub heartbeat_ms: u64,
    /// How long a client that lost its stream is asked to wait before it comes back.
    pub retry_ms: u64,
    /// At most this much is added to `retry_ms` at random for each connection, so that not all come back at once.
    pub retry_jitter_ms: u64,
    /// The most bytes in one event's data, and in one line of a batch or stream.
    pub event_bytes_max: usize,
    /// The most events in a batch.
    pub batch_events_max: usize,
    /// The most bytes in a batch's body.
    pub batch_bytes_max: usize,
    /// The most bytes of request bodies that are held at one time, over all requests.
    pub bodies_bytes_max: usize,
    /// How long a request's head may take to arrive.
    pub header_read_timeout_ms: u64,
    /// How long a body that is published as a whole may take to arrive.
    pub body_read_timeout_ms: u64,
    /// How long a body that is published as it arrives may be silent: for ever where this is [`NO_LIMIT_MS`].
    ///
    /// [`NO_LIMIT_MS`]: HttpOptions::NO_LIMIT_MS
    pub stream_idle_timeout_ms: u64,
    /// The longest that a long poll waits.
    pub long_poll_wait_ms_max: u64,
    /// How many events a page has unless its reader asks for fewer or more.
    pub page_events_default: usize,
    /// The most events in a page; more than [`Page::EVENTS_MAX`] are never given.
    pub page_events_max: usize,
    /// The most topics in a list.
    pub topics_page_max: usize,
    /// The largest WebSocket message that is taken from a client.
    pub websocket_message_bytes_max: usize,
    /// How long a WebSocket client may leave what it is sent unread before its connection is dropped. Counts while
    /// the buffers on the way to it are full. The kernel gives up after 2 minutes in any case.
    pub websocket_write_timeout_ms: u64,
    /// How many threads deliver to live streams.
    pub reactors: usize,
    /// The most connections at one time.
    pub connections_max: usize,
    /// The most HTTP/2 streams of one connection at one time.
    pub http2_streams_max: u32,
    /// How long a shutdown waits for requests under way.
    pub drain_timeout_ms: u64,
    /// Over how much time clients spread their return when the server goes down: at most this much is added to
    /// `retry_ms` at random for each.
    pub drain_spread_ms: u64,
    /// Pages of which sites may use the server.
    pub origins: Origins,
    /// Under which names the server is reached.
    pub hosts: HostNames,
    /// What is proxied, and made resumable on the way.
    pub gateway: GatewayOptions,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions {
            heartbeat_ms: 15_000,
            retry_ms: 3_000,
            retry_jitter_ms: 1_000,
            event_bytes_max: 1024 * 1024,
            batch_events_max: 10_000,
            batch_bytes_max: 8 * 1024 * 1024,
            bodies_bytes_max: 256 * 1024 * 1024,
            header_read_timeout_ms: 15_000,
            body_read_timeout_ms: 60_000,
            stream_idle_timeout_ms: HttpOptions::NO_LIMIT_MS,
            long_poll_wait_ms_max: 60_000,
            page_events_default: 100,
            page_events_max: Page::EVENTS_MAX,
            topics_page_max: 1_000,
            websocket_message_bytes_max: 2 * 1024 * 1024,
            websocket_write_timeout_ms: 60_000,
            reactors: HttpOptions::reactors_default(),
            connections_max: 100_000,
            http2_streams_max: 256,
            drain_timeout_ms: 5_000,
            drain_spread_ms: 10_000,
            origins: Origins::Loopback,
            hosts: HostNames::Bound,
            gateway: GatewayOptions::default(),
        }
    }
}

impl HttpOptions {
    /// A timeout that never comes.
    pub const NO_LIMIT_MS: u64 = u64::MAX;

    /// A reactor for each processor that the process may use.
    #[must_use]
    pub fn reactors_default() -> usize {
        std::thread::available_parallelism().map_or(1, NonZero::get)
    }

    /// How long a body that is published as it arrives may be silent; `None` for as long as it likes.
    pub(crate) fn stream_idle_timeout(&self) -> Option<Duration> {
        let ms = self.stream_idle_timeout_ms;
        (ms != HttpOptions::NO_LIMIT_MS).then(|| Duration::from_millis(ms))
    }
}

/// Pages of which sites may use the server from a browser. Whoever is not a browser sends no `Origin` and is not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every rule must be known where origins are checked")]
pub enum Origins {
    /// Those served from this machine: `localhost`, `127.0.0.0/8`, `[::1]`, on any port.
    Loopback,
    /// All.
    Any,
    /// These, as browsers spell them: `https://example.com`, `http://example.com:8080`.
    List(Vec<String>),
}

/// Under which names the server is reached: the `Host` of requests. Loopback's names are always among them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every rule must be known where hosts are checked")]
pub enum HostNames {
    /// Any, but only loopback's names where the server listens on loopback alone: no page can then reach it by a name
    /// of its own that it points there (DNS rebinding).
    Bound,
    /// Any.
    Any,
    /// These, without ports.
    List(Vec<String>),
}

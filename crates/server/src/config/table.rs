//! The table of settings: each is declared here, once, and nowhere else.
//!
//! A row gives the field of [`Settings`] with its type; flag (`--page-events`) and environment variable
//! (`LONGWAVE_PAGE_EVENTS`) are spelled after the field. Where the server wants another type than people write, the row
//! says `as`. What a setting does to the server is in `cli/serve.rs`. The keys of a route of the gateway are not here but
//! in `route.rs`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use longwave::gateway::Viewers;
use longwave::http::{HostNames, Origins};

use super::error::SettingsError;
use super::resolve::{Resolver, Sourced, Sources};
use super::route::{Route, RouteArgs};
use super::value::{Bounded, Size, Threads, Value, one};
use super::{Row, Setting};

macro_rules! settings {
    (routes of $routes:ident;
        $($field:ident: $type:ty $(as $kept:ty)? = $default:literal
        $(, in $toml:literal)? $(, from $least:literal to $most:literal)?; $help:literal)+) => {
        /// Every setting of `longwave serve`, with where each came from.
        #[derive(Debug)]
        pub(crate) struct Settings {
            $(pub(crate) $field: Sourced<settings!(@kept $type $(, $kept)?)>,)+
            /// The gateway's routes, those of the file too.
            pub(crate) routes: Vec<Route>,
        }

        /// Every setting, in the order in which people read them.
        pub(crate) const TABLE: &[Setting] = &[$(Setting {
            name: stringify!($field),
            toml: settings!(@option $($toml)?),
            default: $default,
            bounds: settings!(@option $(($least, $most))?),
            help: $help,
            kind: <$type as Value>::KIND,
            shape: <$type as Value>::SHAPE,
            form: <$type as Value>::FORM,
        },)+];

        impl Settings {
            /// Reads all settings.
            ///
            /// # Errors
            /// [`SettingsError`] with everything that is wrong, not only the first.
            pub(crate) fn resolve(sources: &Sources) -> Result<Settings, SettingsError> {
                let mut resolver = Resolver::new(sources);
                let mut rows = TABLE.iter();
                $(let $field = rows.next().and_then(|row| resolver.value::<$type>(row)).map(Sourced::keep);)+
                let routes = resolver.routes($routes.as_ref());
                match ($($field,)+) {
                    ($(Some($field),)+) if !resolver.has_failed() => Ok(Settings { $($field,)+ routes }),
                    _ => Err(resolver.into_error()),
                }
            }

            /// Every setting with its value as text and where that came from; then those of each route.
            pub(crate) fn rows(&self) -> Vec<Row> {
                let columns = [$((&self.$field.text, &self.$field.origin),)+];
                let settings = TABLE.iter().zip(columns).map(|(row, (text, origin))| Row {
                    name: row.name.to_owned(),
                    value: text.clone(),
                    origin: origin.to_string(),
                });
                settings.chain(self.routes.iter().flat_map(Route::rows)).collect()
            }
        }
    };
    (@kept $type:ty) => { $type };
    (@kept $type:ty, $kept:ty) => { $kept };
    (@option) => { None };
    (@option $value:expr) => { Some($value) };
}

settings! {
    routes of gateway;
    listen: Vec<SocketAddr> = "127.0.0.1:4480", in "listen";
        "Address and port to listen on, may be repeated; port 0 takes a free one"
    data: PathBuf = "./longwave-data", in "data";
        "Directory of the log's files, created where there is none"
    config: Option<PathBuf> = "";
        "TOML file with settings; ./longwave.toml is not read unless named"
    takeover: bool = "false", in "takeover";
        "Take log and listeners over from the server that has them, if one runs; it goes when this one is ready"
    open: bool = "false", in "open";
        "Let anyone who can reach the server read and publish, also from other machines"
    log: LogKind = "segment", in "log";
        "Where events are kept: segment is durable on disk, memory forgets at exit"
    retention_max_age: Bounded<Duration> = "24h", in "retention.max_age", from "1s" to "100000d";
        "Events older than this are removed"
    retention_max_bytes: Bounded<Size> = "1GiB", in "retention.max_bytes", from "1MiB" to "1000TiB";
        "The oldest events are removed where the log takes more than this"
    segment_size: Size = "64MiB", in "retention.segment_size", from "64KiB" to "256MiB";
        "About how large a file of the log grows before the next is begun; whole files are removed"
    heartbeat: Duration = "15s", in "delivery.heartbeat", from "1s" to "10m";
        "A live stream is never silent for longer: with nothing to say, it sends a sign of life before"
    retry: Duration = "3s", in "delivery.retry", from "100ms" to "1h";
        "How long a client that lost its stream is asked to wait before it comes back"
    retry_jitter: Duration = "1s", in "delivery.retry_jitter", from "0s" to "1h";
        "At most this much is added to retry at random, so that clients don't all come back at once"
    reactors: Threads = "auto", in "delivery.reactors", from "1" to "256";
        "Threads that write to live streams over HTTP/1.1; auto is one for each processor"
    long_poll_max: Duration = "60s", in "delivery.long_poll_max", from "1s" to "1h";
        "The longest that a long poll waits"
    page_events: u64 = "100", in "delivery.page_events", from "1" to "1000";
        "Events on a page whose reader does not ask for more or fewer"
    page_events_max: u64 = "1000", in "delivery.page_events_max", from "1" to "1000";
        "The most events on a page"
    topics_page_max: u64 = "1000", in "delivery.topics_page_max", from "1" to "100000";
        "The most topics in one list"
    event_size: Size = "1MiB", in "limits.event_size", from "1KiB" to "15MiB";
        "The largest event, and the longest line of a batch or stream"
    batch_events: u64 = "10000", in "limits.batch_events", from "1" to "1000000";
        "The most events in a batch"
    batch_size: Size = "8MiB", in "limits.batch_size", from "1KiB" to "16MiB";
        "The largest body of a batch"
    bodies_size: Size = "256MiB", in "limits.bodies_size", from "1MiB" to "1TiB";
        "The most memory for request bodies, over all requests"
    websocket_message_size: Size = "2MiB", in "limits.websocket_message_size", from "1KiB" to "64MiB";
        "The largest WebSocket message that is taken from a client"
    connections: u64 = "100000", in "limits.connections", from "1" to "10000000";
        "The most connections at one time"
    http2_streams: u64 = "256", in "limits.http2_streams", from "1" to "100000";
        "The most streams of one HTTP/2 connection at one time"
    header_timeout: Duration = "15s", in "timeouts.header", from "1s" to "10m";
        "How long the head of a request may take to arrive"
    body_timeout: Duration = "60s", in "timeouts.body", from "1s" to "1h";
        "How long a body that is published as a whole may take to arrive"
    stream_idle_timeout: Bounded<Duration> as Duration = "off", in "timeouts.stream_idle", from "1s" to "7d";
        "How long a body that is published as it arrives may be silent"
    websocket_write_timeout: Duration = "60s", in "timeouts.websocket_write", from "1s" to "2m";
        "How long a WebSocket client may leave what it is sent unread"
    drain_timeout: Duration = "5s", in "timeouts.drain", from "0s" to "10m";
        "How long a shutdown waits for requests under way"
    drain_spread: Duration = "10s", in "timeouts.drain_spread", from "0s" to "1h";
        "Over how much time the clients of a server that goes down spread their return, which begins after retry"
    origins: Origins = "loopback", in "access.origins";
        "Pages of which sites may use the server: loopback, any, or origins such as https://example.com"
    hosts: HostNames = "bound", in "access.hosts";
        "Names that requests may reach the server by: bound (any, but on loopback only its own), any, or host names"
    gateway: RouteArgs = "", in "gateway.routes";
        "Proxy what is below a path to an upstream, and make its streams resumable: /v1=https://api.openai.com/v1"
    gateway_viewers: Viewers = "open", in "gateway.viewers";
        "Who may read and cancel a stream: open, whoever knows its id; token, who began it or has a token for it"
    gateway_request_size: Size = "32MiB", in "gateway.request_size", from "1KiB" to "1GiB";
        "The largest body of a request that is proxied"
    gateway_requests: u64 = "10000", in "gateway.requests", from "1" to "1000000";
        "The most requests that are proxied at one time, generations whose client is gone among them"
    log_format: LogFormat = "text", in "logging.format";
        "How the server's own messages are written: text or json"
    log_level: String = "info", in "logging.level";
        "Which of the server's own messages are written: error, warn, info, debug, trace, or a filter by module"
}

/// Where events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogKind {
    Segment,
    Memory,
}

impl Value for LogKind {
    const KIND: &'static str = "segment or memory";

    fn parse(words: &[String]) -> Result<LogKind, String> {
        match one(words)? {
            "segment" => Ok(LogKind::Segment),
            "memory" => Ok(LogKind::Memory),
            _ => Err("expected segment or memory".to_owned()),
        }
    }

    fn is_within(&self, _: &LogKind, _: &LogKind) -> bool {
        true
    }
}

/// How the server's own messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Value for LogFormat {
    const KIND: &'static str = "text or json";

    fn parse(words: &[String]) -> Result<LogFormat, String> {
        match one(words)? {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("expected text or json".to_owned()),
        }
    }

    fn is_within(&self, _: &LogFormat, _: &LogFormat) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use longwave::hub::Page;
    use longwave_core::{EventType, IdempotencyKey, TopicName};
    use longwave_store::APPEND_BYTES_MAX;

    use super::*;

    fn most<T: Value>(name: &str) -> T {
        let setting = TABLE.iter().find(|setting| setting.name == name).unwrap();
        let (_, most) = setting.bounds.unwrap();
        T::parse(&[most.to_owned()]).unwrap()
    }

    #[test]
    fn a_page_may_be_set_as_large_as_the_hub_gives_and_no_larger() {
        for name in ["page_events", "page_events_max"] {
            assert_eq!(most::<u64>(name), Page::EVENTS_MAX as u64, "{name}");
        }
    }

    #[test]
    fn the_largest_event_that_can_be_set_fits_an_append() {
        // Its topic and type, its own key and its publish's, and what else a record and an end behind it have.
        let names = 2 * TopicName::BYTES_MAX + EventType::BYTES_MAX + 2 * IdempotencyKey::BYTES_MAX;
        let around = names as u64 + 1024;
        assert!(most::<Size>("event_size").0 + around <= APPEND_BYTES_MAX);
    }
}

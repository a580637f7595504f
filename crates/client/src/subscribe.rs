//! Asking for events: [`Subscribe`] says which and from where on, [`EventStream`](crate::EventStream) brings them.

use std::time::Duration;

use reqwest::Url;

use crate::Refusal;
use crate::client::{Client, InvalidTopic, encode_topic};
use crate::decode::DecodeItemError;
use crate::stream::EventStream;

impl Client {
    /// Follows topics of this server, or selectors such as `orders/*` and `jobs/**`.
    ///
    /// Live from now on, unless the answer is told another [`Start`].
    ///
    /// ```no_run
    /// use futures_util::StreamExt;
    /// use longwave_client::{Client, Item, Start};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::new("http://127.0.0.1:4480")?;
    /// let mut stream = client.subscribe(["orders/*"]).start(Start::Last(10)).stream()?;
    /// while let Some(item) = stream.next().await {
    ///     match item? {
    ///         Item::Event(event) => println!("{:?}", event.data),
    ///         Item::Gap(gap) => println!("events are lost: {}", gap.reason),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe<T: Into<String>>(&self, topics: impl IntoIterator<Item = T>) -> Subscribe {
        let topics = topics.into_iter().map(Into::into).collect();
        Subscribe {
            idle_timeout: Some(IDLE_TIMEOUT),
            ..Subscribe::new(self, Source::Topics(topics))
        }
    }

    /// Follows any server's event stream by its URL, with this client's token and connections.
    ///
    /// There is no idle timeout unless one is set, because other servers may send no sign of life.
    pub fn follow(&self, url: Url) -> Subscribe {
        Subscribe::new(self, Source::Url(url))
    }
}

/// A subscription to be. Made by [`Client::subscribe`] and [`Client::follow`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked for until `stream` is called and its stream is polled"]
pub struct Subscribe {
    client: Client,
    source: Source,
    start: Start,
    event_types: Vec<String>,
    framing: Framing,
    idle_timeout: Option<Duration>,
    reconnect_delay_max: Duration,
}

/// Where a subscription starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With what is published from now on.
    #[default]
    Now,
    /// With the oldest event that is retained.
    First,
    /// Behind the event with this id.
    After(String),
    /// With the newest so many events.
    Last(u64),
    /// With the first event of this time or later: an age such as `10m`, or an RFC 3339 time.
    Since(String),
}

/// In which form a Longwave server writes an event's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// As it was published.
    #[default]
    Plain,
    /// As a JSON envelope with id, topic, type, time and data.
    Envelope,
}

/// Why a subscription can't start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// There is nothing to follow.
    #[error("a subscription needs at least one topic")]
    NoTopic,
    /// A topic can't be one.
    #[error(transparent)]
    Topic(#[from] InvalidTopic),
    /// The request could not even be made.
    #[error("the request for the stream can't be made")]
    Request(#[source] reqwest::Error),
    /// The server refused, and would again.
    #[error("the server refused: {0}")]
    Refused(Refusal),
    /// What the URL answers with is not an event stream.
    #[error(
        "the server answered with {content_type}, not with an event stream (text/event-stream)"
    )]
    NotEventStream {
        /// What it is instead.
        content_type: String,
    },
    /// An event is too large to be held.
    #[error("the stream can't be read any further")]
    Decode(#[from] longwave_sse::DecodeError),
    /// The server breaks the protocol.
    #[error("the stream can't be understood")]
    Protocol(#[from] DecodeItemError),
}

impl Subscribe {
    fn new(client: &Client, source: Source) -> Subscribe {
        Subscribe {
            client: client.clone(),
            source,
            start: Start::Now,
            event_types: Vec::new(),
            framing: Framing::Plain,
            idle_timeout: None,
            reconnect_delay_max: RECONNECT_DELAY_MAX,
        }
    }

    /// Where to start.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Only events of these types. Understood by Longwave servers.
    pub fn event_types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.event_types = types.into_iter().map(Into::into).collect();
        self
    }

    /// In which form data is written. Understood by Longwave servers.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Reconnects when nothing, not even a heartbeat, came for this long. `None`: never.
    pub fn idle_timeout(mut self, idle_timeout: Option<Duration>) -> Self {
        self.idle_timeout = idle_timeout;
        self
    }

    /// The longest wait between two attempts to connect, unless the server asks for a longer one. 30 seconds unless
    /// set.
    pub fn reconnect_delay_max(mut self, delay: Duration) -> Self {
        self.reconnect_delay_max = delay;
        self
    }

    /// The stream. It connects when it is polled.
    ///
    /// # Errors
    /// [`SubscribeError::NoTopic`], [`SubscribeError::Topic`].
    pub fn stream(self) -> Result<EventStream, SubscribeError> {
        let request = self.request()?;
        Ok(EventStream::new(request))
    }

    fn request(self) -> Result<StreamRequest, SubscribeError> {
        let (mut url, on_end) = match &self.source {
            Source::Url(url) => (url.clone(), OnEnd::AskServer),
            Source::Topics(topics) => topics_url(&self.client, topics)?,
        };
        let mut last_event_id = None;
        {
            let mut query = url.query_pairs_mut();
            match self.start {
                Start::Now => {}
                Start::First => drop(query.append_pair("after", "first")),
                Start::Last(count) => drop(query.append_pair("last", &count.to_string())),
                Start::Since(since) => drop(query.append_pair("since", &since)),
                Start::After(id) => last_event_id = Some(id),
            }
            if !self.event_types.is_empty() {
                query.append_pair("type", &self.event_types.join(","));
            }
            if self.framing == Framing::Envelope {
                query.append_pair("envelope", "");
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        Ok(StreamRequest {
            client: self.client,
            url,
            last_event_id,
            on_end,
            idle_timeout: self.idle_timeout,
            reconnect_delay_max: self.reconnect_delay_max,
        })
    }
}

/// All that a stream needs to connect, again and again.
#[derive(Debug)]
pub(crate) struct StreamRequest {
    pub(crate) client: Client,
    pub(crate) url: Url,
    pub(crate) last_event_id: Option<String>,
    pub(crate) on_end: OnEnd,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) reconnect_delay_max: Duration,
}

/// What an end event means for the whole subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnEnd {
    /// One topic is followed, so its end is all.
    Stop,
    /// There may be other topics; the server knows.
    AskServer,
}

#[derive(Clone, Debug)]
enum Source {
    Topics(Vec<String>),
    Url(Url),
}

fn topics_url(client: &Client, topics: &[String]) -> Result<(Url, OnEnd), SubscribeError> {
    match topics {
        [] => Err(SubscribeError::NoTopic),
        [topic] if !topic.contains('*') => Ok((client.topic_url(topic)?, OnEnd::Stop)),
        topics => {
            let mut url = client.url("events");
            for topic in topics {
                url.query_pairs_mut().append_pair("topic", &encode_topic(topic)?);
            }
            Ok((url, OnEnd::AskServer))
        }
    }
}

/// Four heartbeats of a Longwave server's default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn url(subscribe: Subscribe) -> String {
        subscribe.request().unwrap().url.to_string()
    }

    #[test]
    fn one_topic_is_its_own_url_and_several_are_a_query() {
        let client = Client::new("http://h").unwrap();
        assert_eq!(url(client.subscribe(["a/b"])), "http://h/topics/a/b");
        assert_eq!(url(client.subscribe(["a/*"])), "http://h/events?topic=a%2F*");
        assert_eq!(
            url(client.subscribe(["a", "user:1"])),
            "http://h/events?topic=a&topic=user%253A1"
        );
        let none = client.subscribe::<String>([]).stream();
        assert!(matches!(none, Err(SubscribeError::NoTopic)));
    }

    #[test]
    fn a_start_is_told_as_the_server_reads_it() {
        let client = Client::new("http://h").unwrap();
        for (start, expected) in [
            (Start::Now, "http://h/topics/a"),
            (Start::First, "http://h/topics/a?after=first"),
            (Start::Last(5), "http://h/topics/a?last=5"),
            (Start::Since("10m".into()), "http://h/topics/a?since=10m"),
            (Start::After("x-1".into()), "http://h/topics/a"),
        ] {
            assert_eq!(url(client.subscribe(["a"]).start(start)), expected);
        }
        let after = client.subscribe(["a"]).start(Start::After("x-1".into())).request().unwrap();
        assert_eq!(after.last_event_id.as_deref(), Some("x-1"));
    }

    #[test]
    fn types_and_framing_join_the_query_of_a_url() {
        let client = Client::new("http://h").unwrap();
        let follow = client.follow(Url::parse("http://x/s?k=v").unwrap());
        assert_eq!(
            url(follow.event_types(["a", "b"]).framing(Framing::Envelope)),
            "http://x/s?k=v&type=a%2Cb&envelope="
        );
        assert_eq!(url(client.follow(Url::parse("http://x/s").unwrap())), "http://x/s");
    }
}

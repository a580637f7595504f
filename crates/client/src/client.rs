//! [`Client`]: a server's address, how to prove who one is, and the connections to it. What can be asked of the server
//! is in `publish.rs`, `subscribe.rs` and `topics.rs`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Url};

/// A client of one Longwave server. Cheap to clone; clones share their connections.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = longwave_client::Client::new("http://127.0.0.1:4480")?;
/// let receipt = client.publish("news", "hello").send().await?;
/// println!("published as {}", receipt.last);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    /// Its path ends in a slash, so that joining keeps what stands before it.
    base: Url,
    authorization: Option<HeaderValue>,
}

/// Settings of a [`Client`], made by [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `build` is called"]
pub struct ClientBuilder {
    base: String,
    token: Option<String>,
    connect_timeout: Duration,
}

impl Client {
    /// A client of the server at `base`, such as `http://127.0.0.1:4480` or `https://example.com/stream`.
    ///
    /// Nothing is connected before something is asked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(base: impl Into<String>) -> Result<Client, ClientError> {
        Client::builder(base).build()
    }

    /// A client with settings.
    pub fn builder(base: impl Into<String>) -> ClientBuilder {
        ClientBuilder { base: base.into(), token: None, connect_timeout: CONNECT_TIMEOUT }
    }

    /// The server's address.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.inner.base
    }

    /// The address of something below the server's.
    pub(crate) fn url(&self, path: &str) -> Url {
        // Joining fails on texts that are URLs of their own only, and no path is.
        self.inner.base.join(&format!("./{path}")).unwrap_or_else(|_| self.inner.base.clone())
    }

    /// The address of a topic, for programs that speak HTTP to it on their own.
    ///
    /// # Errors
    /// [`InvalidTopic`].
    pub fn topic_url(&self, topic: &str) -> Result<Url, InvalidTopic> {
        Ok(self.url(&format!("topics/{}", encode_topic(topic)?)))
    }

    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.inner.http.request(method, url);
        match &self.inner.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization.clone()),
            None => request,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.inner.base.as_str()).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Sends this token with every request, as `Authorization: Bearer`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How long a connection may take to be made. 10 seconds unless set.
    pub fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn build(self) -> Result<Client, ClientError> {
        let mut base = parse_base(&self.base)?;
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let authorization = self.token.as_deref().map(bearer).transpose()?;
        let http = reqwest::Client::builder()
            .connect_timeout(self.connect_timeout)
            .tcp_keepalive(TCP_KEEPALIVE)
            .tcp_nodelay(true)
            .user_agent(USER_AGENT)
            .build()
            .map_err(ClientError::Transport)?;
        Ok(Client { inner: Arc::new(Inner { http, base, authorization }) })
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server's address is none.
    #[error("{base:?} is not the address of a server, which looks like http://127.0.0.1:4480")]
    Base {
        /// What was given.
        base: String,
    },
    /// The token holds bytes that no header can.
    #[error("the token holds characters that an HTTP header can't")]
    Token,
    /// The transport could not be set up.
    #[error("the HTTP client could not be set up")]
    Transport(#[source] reqwest::Error),
}

/// A topic can't stand in a URL. All other rules of topics are the server's to check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{topic:?} can't be a topic: it needs text before, behind and between its slashes, and \".\" and \"..\" mean \
     something else in URLs"
)]
pub struct InvalidTopic {
    /// What was given.
    pub topic: String,
}

/// A topic or selector as it stands in a URL. Percent-encoded bytes stay as they are.
///
/// # Errors
/// [`InvalidTopic`] where a URL library would resolve a segment away, and so reach something else than a topic.
pub(crate) fn encode_topic(topic: &str) -> Result<String, InvalidTopic> {
    let encoded = percent_encode(topic);
    let resolvable = |segment: &str| {
        matches!(segment.replace("%2e", ".").replace("%2E", ".").as_str(), "" | "." | "..")
    };
    if encoded.split('/').any(resolvable) {
        return Err(InvalidTopic { topic: topic.to_owned() });
    }
    Ok(encoded)
}

fn percent_encode(topic: &str) -> String {
    let mut encoded = String::with_capacity(topic.len());
    let mut rest = topic;
    while let Some(at) = rest.find('%') {
        let (before, from_percent) = rest.split_at(at);
        encoded.extend(utf8_percent_encode(before, NOT_IN_TOPIC));
        let after = from_percent.get(1..).unwrap_or_default();
        let is_escape =
            after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == ESCAPE_DIGITS;
        encoded.push_str(if is_escape { "%" } else { "%25" });
        rest = after;
    }
    encoded.extend(utf8_percent_encode(rest, NOT_IN_TOPIC));
    encoded
}

fn parse_base(text: &str) -> Result<Url, ClientError> {
    let error = || ClientError::Base { base: text.to_owned() };
    let url = Url::parse(text).map_err(|_| error())?;
    let plain = url.query().is_none() && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        Ok(url)
    } else {
        Err(error())
    }
}

fn bearer(token: &str) -> Result<HeaderValue, ClientError> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// All but the characters that topics are made of, and the slash between their segments, and the stars of selectors.
const NOT_IN_TOPIC: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'!')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'(')
    .add(b')')
    .add(b'+')
    .add(b',')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
const ESCAPE_DIGITS: usize = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Finds a peer that vanished while a stream is silent.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("longwave-client/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_spelled_as_urls_need_it() {
        for (topic, expected) in [
            ("orders/42", "http://h/topics/orders/42"),
            ("user:42", "http://h/topics/user%3A42"),
            ("café", "http://h/topics/caf%C3%A9"),
            ("caf%C3%A9", "http://h/topics/caf%C3%A9"),
            ("100%", "http://h/topics/100%25"),
            ("a b?c#d", "http://h/topics/a%20b%3Fc%23d"),
            ("$sys/rates", "http://h/topics/$sys/rates"),
        ] {
            let client = Client::new("http://h").unwrap();
            assert_eq!(client.topic_url(topic).unwrap().as_str(), expected);
        }
        assert_eq!(encode_topic("a/*/**").as_deref(), Ok("a/*/**"));
    }

    #[test]
    fn a_topic_never_reaches_another_path() {
        for topic in ["", "/", "a/", "/a", "a//b", ".", "a/../../health", "%2e%2E/health", "a/.%2e"]
        {
            let error = InvalidTopic { topic: topic.to_owned() };
            assert_eq!(encode_topic(topic), Err(error), "{topic:?}");
        }
        assert!(encode_topic("...").is_ok());
    }

    #[test]
    fn a_path_in_front_of_the_server_is_kept() {
        for base in ["https://h/stream", "https://h/stream/"] {
            let client = Client::new(base).unwrap();
            assert_eq!(client.topic_url("a").unwrap().as_str(), "https://h/stream/topics/a");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for base in ["", "localhost:4480", "ftp://h", "http://", "http://h?x", "/topics"] {
            assert!(matches!(Client::new(base), Err(ClientError::Base { .. })), "{base:?}");
        }
        let token = Client::builder("http://h").token("a\nb").build();
        assert!(matches!(token, Err(ClientError::Token)));
    }
}

//! What is proxied where, and how: [`GatewayOptions`] and its [`RouteOptions`].
//!
//! Where settings come from is the configuration's business; what they mean, and which request a route is for, is here.

use http::{HeaderName, HeaderValue, Method, Uri};

use serde::{Deserialize, Serialize};

use super::{Dialect, Secret};

/// The gateway's settings.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the configuration writes it out in full")]
pub struct GatewayOptions {
    /// What is proxied where. Of several routes that fit a path, the one with the longest prefix counts.
    pub routes: Vec<RouteOptions>,
    /// Who may read and cancel a stream.
    pub viewers: Viewers,
    /// The most bytes of a request's body that the gateway reads before it passes it on.
    pub request_bytes_max: usize,
    /// The most requests that are proxied at one time, generations whose client is gone among them.
    pub requests_max: usize,
    /// What ids of streams and tokens are made with; `None` takes one at random, so that no key and no token is known
    /// again after a restart.
    pub secret: Option<Secret>,
}

impl Default for GatewayOptions {
    fn default() -> GatewayOptions {
        GatewayOptions {
            routes: Vec::new(),
            viewers: Viewers::Open,
            request_bytes_max: 32 * 1024 * 1024,
            requests_max: 10_000,
            secret: None,
        }
    }
}

/// Who may read and cancel a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a new rule must be thought of at every check")]
pub enum Viewers {
    /// Whoever can reach the server and knows the stream's id, which can't be guessed.
    #[default]
    Open,
    /// Only who has the credentials of the request that began it, or a token for it.
    Token,
}

/// One route of the gateway.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the configuration writes it out in full")]
pub struct RouteOptions {
    /// The path that it is for, and all paths below: `/v1`. Starts with a slash and ends with none.
    pub prefix: String,
    /// What stands in the prefix's place upstream: scheme, authority and a path without a slash at its end.
    pub upstream: Uri,
    /// The wire format of its streams; `None` finds it out for each stream.
    pub dialect: Option<Dialect>,
    /// Headers that requests to upstream get, instead of what the client sent under these names.
    pub add_headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers of the client that upstream does not get.
    pub strip_headers: Vec<HeaderName>,
    /// What may be asked for; everything where it is empty.
    pub allow: Vec<AllowRule>,
    /// The headers whose values tell one client from another: who may join or resume what.
    pub principal_headers: Vec<HeaderName>,
    /// How long a connection to upstream may take.
    pub connect_timeout_ms: u64,
    /// How long upstream may take until its answer's first byte.
    pub first_byte_timeout_ms: u64,
    /// How long a stream may be silent between two pieces.
    pub idle_timeout_ms: u64,
    /// How long a stream may take in all; `None` for ever.
    pub total_timeout_ms: Option<u64>,
    /// What becomes of a stream that nobody watches.
    pub disconnect: Disconnect,
    /// How long a stream is kept after its end; `None` as long as the log keeps its events.
    pub retention_ms: Option<u64>,
    /// Who runs what is asked for with `background`.
    pub background: Background,
}

impl RouteOptions {
    /// A route with everything as it is by default.
    ///
    /// # Errors
    /// [`RouteError`] where prefix or upstream can't be those of a route.
    pub fn new(prefix: &str, upstream: &str) -> Result<RouteOptions, RouteError> {
        Ok(RouteOptions {
            prefix: parse_prefix(prefix)?,
            upstream: parse_upstream(upstream)?,
            dialect: None,
            add_headers: Vec::new(),
            strip_headers: Vec::new(),
            allow: Vec::new(),
            principal_headers: PRINCIPAL_HEADERS.to_vec(),
            connect_timeout_ms: 10_000,
            first_byte_timeout_ms: 300_000,
            idle_timeout_ms: 120_000,
            total_timeout_ms: None,
            disconnect: Disconnect::Continue,
            retention_ms: None,
            background: Background::Gateway,
        })
    }

    /// The part of a path behind the prefix, empty or with its slash; `None` where the route is not for that path.
    #[must_use]
    pub fn rest_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether a request may be passed on. `rest` is what [`RouteOptions::rest_of`] gave. What could lead out of
    /// upstream's path, or past a rule, never may: `..`, in any spelling that the next one might resolve.
    #[must_use]
    pub fn allows(&self, method: &Method, rest: &str) -> bool {
        if rest.contains('\\') || rest.split('/').any(is_dots) {
            return false;
        }
        self.allow.is_empty() || self.allow.iter().any(|rule| rule.fits(method, rest))
    }
}

/// What becomes of a stream that nobody watches any more, by the native interface or as a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a new policy must be thought of where it is kept")]
pub enum Disconnect {
    /// It goes on to its end.
    #[default]
    Continue,
    /// It is cancelled.
    Cancel,
    /// It is cancelled unless somebody comes back in time.
    Grace {
        /// How long is waited.
        ms: u64,
    },
}

/// Who runs what is asked for with `background: true`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new way must be thought of where requests are passed on"
)]
pub enum Background {
    /// The gateway: upstream is asked for an ordinary stream, and never hears of it.
    #[default]
    Gateway,
    /// Upstream, which offers it; the gateway comes back to it where it loses the connection.
    Upstream,
}

/// A kind of requests that may be passed on: `POST /chat/completions`, `GET /models/*`, `/files/**`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowRule {
    method: Option<Method>,
    /// The path behind the route's prefix, cut at its slashes.
    segments: Vec<String>,
}

impl AllowRule {
    /// Reads a rule: a method, where only that is meant, and a path behind the route's prefix. `*` stands for one
    /// segment, a last `**` for any number of them.
    ///
    /// # Errors
    /// [`RouteError::Allow`].
    pub fn parse(text: &str) -> Result<AllowRule, RouteError> {
        let error = || RouteError::Allow(text.to_owned());
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => {
                let is_method = method.bytes().all(|byte| byte.is_ascii_uppercase());
                let method = Method::from_bytes(method.as_bytes()).ok().filter(|_| is_method);
                (Some(method.ok_or_else(error)?), path.trim())
            }
            None => (None, text),
        };
        let path = path.strip_prefix('/').ok_or_else(error)?;
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        let wild_before_end = segments.iter().rev().skip(1).any(|segment| segment == "**");
        if wild_before_end { Err(error()) } else { Ok(AllowRule { method, segments }) }
    }

    fn fits(&self, method: &Method, rest: &str) -> bool {
        if self.method.as_ref().is_some_and(|only| only != method) {
            return false;
        }
        let mut given = rest.strip_prefix('/').unwrap_or(rest).split('/');
        for segment in &self.segments {
            match (segment.as_str(), given.next()) {
                ("**", Some(_)) => return true,
                (_, None) => return false,
                ("*", Some(_)) => {}
                (exact, Some(found)) if exact == found => {}
                (_, Some(_)) => return false,
            }
        }
        given.next().is_none()
    }
}

/// Why something can't be a route's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The prefix is not one.
    #[error("{0:?} is no prefix: it must start with a slash, such as /v1, and hold no query")]
    Prefix(String),
    /// The prefix is a path of the server's own.
    #[error("{0:?} belongs to the server itself; take another prefix")]
    Taken(String),
    /// The upstream is not one.
    #[error(
        "{0:?} is no upstream: it must be an http or https URL without a query, such as https://api.openai.com/v1"
    )]
    Upstream(String),
    /// A rule of what may be asked for is not one.
    #[error(
        "{0:?} is no rule of what is allowed: write a path behind the prefix, such as /models or POST /chat/completions"
    )]
    Allow(String),
}

/// Whether a segment of a path stands for the one that it is in, or the one above.
fn is_dots(segment: &str) -> bool {
    let dots = segment.replace("%2e", ".").replace("%2E", ".");
    dots == "." || dots == ".."
}

fn parse_prefix(text: &str) -> Result<String, RouteError> {
    let prefix = text.strip_suffix('/').unwrap_or(text);
    let is_path = prefix.starts_with('/')
        && !prefix.contains("//")
        && prefix
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*'));
    if !is_path {
        return Err(RouteError::Prefix(text.to_owned()));
    }
    let first = prefix.split('/').nth(1).unwrap_or_default();
    if OWN_PATHS.contains(&first) {
        return Err(RouteError::Taken(text.to_owned()));
    }
    Ok(prefix.to_owned())
}

fn parse_upstream(text: &str) -> Result<Uri, RouteError> {
    let error = || RouteError::Upstream(text.to_owned());
    let uri: Uri = text.strip_suffix('/').unwrap_or(text).parse().map_err(|_| error())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if is_http && has_host && uri.query().is_none() { Ok(uri) } else { Err(error()) }
}

/// What providers are told who asks by.
pub(super) static PRINCIPAL_HEADERS: [HeaderName; 3] = [
    http::header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// The first segments of the server's own paths.
const OWN_PATHS: [&str; 10] = [
    "topics",
    "events",
    "streams",
    "health",
    "ready",
    "metrics",
    "openapi.json",
    "console",
    "demos",
    "assets",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str) -> RouteOptions {
        RouteOptions::new(prefix, "http://127.0.0.1:9000/base/").unwrap()
    }

    #[test]
    fn a_route_is_for_its_prefix_and_what_is_below() {
        let route = route("/v1/");
        assert_eq!(route.prefix, "/v1");
        assert_eq!(route.upstream.path(), "/base");
        assert_eq!(route.rest_of("/v1/chat/completions"), Some("/chat/completions"));
        assert_eq!(route.rest_of("/v1"), Some(""));
        assert_eq!(route.rest_of("/v10/models"), None);
    }

    #[test]
    fn what_can_be_no_route_is_refused() {
        for prefix in ["", "/", "v1", "/v1?x", "//v1", "/a b", "/é", "/*"] {
            let error = RouteOptions::new(prefix, "http://a").unwrap_err();
            assert_eq!(error, RouteError::Prefix(prefix.to_owned()));
        }
        for prefix in ["/topics", "/streams/x", "/metrics"] {
            let error = RouteOptions::new(prefix, "http://a").unwrap_err();
            assert_eq!(error, RouteError::Taken(prefix.to_owned()));
        }
        for upstream in ["", "host", "ftp://a", "http://", "/v1", "https://a/?q", "http://a b"] {
            let error = RouteOptions::new("/v1", upstream).unwrap_err();
            assert_eq!(error, RouteError::Upstream(upstream.to_owned()));
        }
    }

    #[test]
    fn only_what_is_listed_is_allowed_where_something_is() {
        let mut route = route("/v1");
        assert!(route.allows(&Method::DELETE, "/anything"));
        let rules = ["POST /chat/completions", "/models", "GET /models/*", "/files/**"];
        route.allow = rules.map(|rule| AllowRule::parse(rule).unwrap()).to_vec();
        for (method, rest, allowed) in [
            (Method::POST, "/chat/completions", true),
            (Method::GET, "/chat/completions", false),
            (Method::POST, "/chat/completions/x", false),
            (Method::POST, "/chat", false),
            (Method::GET, "/models", true),
            (Method::GET, "/models/a", true),
            (Method::DELETE, "/models/a", false),
            (Method::GET, "/models/a/b", false),
            (Method::PUT, "/files/a/b/c", true),
            (Method::PUT, "/files", false),
            (Method::GET, "", false),
        ] {
            assert_eq!(route.allows(&method, rest), allowed, "{method} {rest}");
        }
        for rule in ["models", "get /models", "GET", "/a/**/b", "GET models"] {
            assert_eq!(AllowRule::parse(rule), Err(RouteError::Allow(rule.to_owned())));
        }
    }
}

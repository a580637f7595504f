//! Who may do what with a stream: [`Visitor`].
//!
//! By default whoever reaches the server and knows a stream's id may read and cancel it. Where the settings say
//! `viewers = "token"`, that takes the credentials of the request that began the stream, or a token for it. A token that
//! is given counts alone, whatever the settings say: who shows one must not get more than it gives.
//!
//! What a token is, is in `token.rs`; how one is made, in `mint.rs`. All is asked when a request begins; what has begun
//! goes on when its token expires.

use std::fmt;

use aws_lc_rs::constant_time;
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use longwave_core::{Selector, SelectorSet, TopicName, TopicNameError, UnixMillis};

use super::Viewers;
use super::key::Principal;
use super::route::PRINCIPAL_HEADERS;
use super::stream::{Heads, RequestHead, StreamId, TOPIC_PREFIX};
use super::token::{Right, Token, is_token, token_in};
use crate::http::{App, Code, Problem, Query, read_problem};

/// Who sends a request, as far as the request shows it.
#[derive(Clone, Default)]
pub(crate) struct Visitor {
    /// Signed by this server, expired or not.
    tokens: Vec<Token>,
    /// Those headers in which clients of some route have credentials; none where nothing depends on them.
    headers: HeaderMap,
}

impl Visitor {
    /// Who sends a request that is for the server itself. Tokens stand in `?token=`, which may be given for several
    /// streams, and in the headers that are for credentials.
    ///
    /// # Errors
    /// [`Code::TokenInvalid`] where a token is none of this server's.
    pub(crate) fn of(app: &App, headers: &HeaderMap, query: &Query) -> Result<Visitor, Problem> {
        // Those for credentials, so that SDKs take a token in the key's place.
        let carried = PRINCIPAL_HEADERS.iter().flat_map(|name| headers.get_all(name));
        let texts = query.all(TOKEN_PARAMETER).chain(carried.filter_map(token_in));
        Visitor::with(app, headers, texts)
    }

    /// Who sends a request that may be passed on. Tokens are taken off it: they are never recorded, nor sent upstream.
    ///
    /// # Errors
    /// [`Code::TokenInvalid`] where a token is none of this server's.
    pub(super) fn take(app: &App, parts: &mut Parts) -> Result<Visitor, Problem> {
        let mut texts = take_from_headers(&mut parts.headers);
        texts.extend(take_from_uri(&mut parts.uri));
        Visitor::with(app, &parts.headers, texts.iter().map(String::as_str))
    }

    fn with<'a>(
        app: &App,
        headers: &HeaderMap,
        texts: impl Iterator<Item = &'a str>,
    ) -> Result<Visitor, Problem> {
        let secret = app.gateway().secret();
        let tokens = texts
            .map(|text| {
                Token::verify(secret, text).map_err(|error| {
                    let detail = format_args!("{error}; ask who gave it to you for another one");
                    challenge(Problem::new(Code::TokenInvalid, detail), INVALID)
                })
            })
            .collect::<Result<_, Problem>>()?;
        let mut kept = HeaderMap::new();
        if app.options().gateway.viewers == Viewers::Token {
            for name in app.gateway().all_principal_headers() {
                let values = headers.get_all(name).iter().filter(|value| token_in(value).is_none());
                // Routes may have the same name.
                kept.remove(name);
                for value in values {
                    kept.append(name.clone(), value.clone());
                }
            }
        }
        Ok(Visitor { tokens, headers: kept })
    }

    /// Whether the request shows a token.
    pub(super) fn has_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Whether each stream needs a right of its own.
    pub(crate) fn is_bound(&self, app: &App) -> bool {
        self.has_token() || app.options().gateway.viewers == Viewers::Token
    }

    /// Whether the visitor may do this with a stream.
    ///
    /// # Errors
    /// [`Code::RightMissing`], [`Code::TokenExpired`]; [`Code::StreamNotFound`] where nobody can tell whose the stream is.
    pub(super) async fn check(
        &self,
        app: &App,
        id: &StreamId,
        right: Right,
    ) -> Result<(), Problem> {
        if self.has_token() || !self.is_bound(app) {
            return self.check_tokens(id, right);
        }
        let heads = Heads::read(&**app.log(), id).await.map_err(|error| read_problem(&error))?;
        match heads {
            Some(heads) => self.check_known(app, id, &heads.request, right),
            None => Err(super::manage::not_found(id)),
        }
    }

    /// The same, of a stream whose head was read.
    ///
    /// # Errors
    /// [`Code::RightMissing`], [`Code::TokenExpired`].
    pub(super) fn check_known(
        &self,
        app: &App,
        id: &StreamId,
        request: &RequestHead,
        right: Right,
    ) -> Result<(), Problem> {
        if self.has_token() || !self.is_bound(app) {
            return self.check_tokens(id, right);
        }
        match self.began(app, id, request) {
            true => Ok(()),
            false => Err(not_allowed(app, id, request, right)),
        }
    }

    /// Whether these are the credentials of the request that began a stream. Who has none began nothing: all who have
    /// none look alike.
    pub(super) fn began(&self, app: &App, id: &StreamId, request: &RequestHead) -> bool {
        let gateway = app.gateway();
        let principal = Principal::of(&self.headers, gateway.principal_headers(&request.route));
        let owner = gateway.secret().owner_of(id, &principal);
        let is_same =
            constant_time::verify_slices_are_equal(owner.as_bytes(), request.owner.as_bytes());
        !principal.is_empty() && is_same.is_ok()
    }

    /// Whether the visitor may do this with a topic, which may be a stream's.
    ///
    /// # Errors
    /// As [`Visitor::check`].
    pub(crate) async fn check_topic(
        &self,
        app: &App,
        topic: &TopicName,
        right: Right,
    ) -> Result<(), Problem> {
        if !self.is_bound(app) || !is_of_gateway(topic) {
            return Ok(());
        }
        match StreamId::of_topic(topic) {
            Some(id) => self.check(app, &id, right).await,
            None => Err(super::manage::not_found(topic)),
        }
    }

    /// Whether the visitor may read all that these selectors reach.
    ///
    /// # Errors
    /// As [`Visitor::check`]; [`Code::RightMissing`] also for a pattern that reaches streams, whosever they are.
    pub(crate) async fn check_selectors(
        &self,
        app: &App,
        selectors: &SelectorSet,
    ) -> Result<(), Problem> {
        if !self.is_bound(app) {
            return Ok(());
        }
        for selector in selectors.iter() {
            match selector.as_topic() {
                Some(topic) => self.check_topic(app, topic, Right::Read).await?,
                None if reaches_streams(selector) => return Err(too_wide(selector)),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether one of the tokens gives the right; or there are none.
    fn check_tokens(&self, id: &StreamId, right: Right) -> Result<(), Problem> {
        let now = now();
        let mut fitting =
            self.tokens.iter().filter(|token| token.stream == *id && token.rights.has(right));
        match fitting.clone().next() {
            _ if !self.has_token() => Ok(()),
            _ if fitting.any(|token| !token.is_expired(now)) => Ok(()),
            Some(_) => Err(challenge(
                Problem::new(
                    Code::TokenExpired,
                    "the token has expired; ask who gave it to you for another one",
                ),
                INVALID,
            )),
            None => Err(missing(format_args!(
                "the token does not give the right to {} the stream {id}",
                right.as_str()
            ))),
        }
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold credentials.
        f.write_str("Visitor")
    }
}

/// Whether a topic is the gateway's own, for which nobody else publishes or sets anything.
pub(crate) fn is_of_gateway(topic: &TopicName) -> bool {
    topic.as_str().starts_with(TOPIC_PREFIX)
}

/// Refuses what would change a topic of the gateway's own, or one of the server's.
///
/// # Errors
/// [`Code::TopicReserved`].
pub(crate) fn check_writable(topic: &TopicName) -> Result<(), Problem> {
    if topic.is_reserved() {
        // The URL of a WebSocket may name one, to read it.
        return Err(TopicNameError::Reserved.into());
    }
    if is_of_gateway(topic) { Err(reserved(topic)) } else { Ok(()) }
}

/// A refusal for want of a right.
pub(super) fn missing(detail: impl fmt::Display) -> Problem {
    challenge(Problem::new(Code::RightMissing, detail), INSUFFICIENT)
}

/// The wall clock, by which tokens expire.
pub(super) fn now() -> UnixMillis {
    crate::transports::now()
}

/// Apart, since it is hardly ever needed where publishes pass.
#[cold]
fn reserved(topic: &TopicName) -> Problem {
    Problem::new(
        Code::TopicReserved,
        "topics under streams/ belong to the gateway, which alone publishes to them and sets how long they are kept; \
         publish to another topic",
    )
    .with("topic", topic.as_str())
}

fn not_allowed(app: &App, id: &StreamId, request: &RequestHead, right: Right) -> Problem {
    let names: Vec<&str> =
        app.gateway().principal_headers(&request.route).iter().map(HeaderName::as_str).collect();
    missing(format_args!(
        "to {} this stream takes the credentials of the request that began it (in {}), or a token for it: whoever has \
         them makes one by POST /streams/{id}/tokens, and it is given as ?token= or as Authorization: Bearer",
        right.as_str(),
        names.join(", ")
    ))
}

fn too_wide(selector: &Selector) -> Problem {
    missing(format_args!(
        "{selector} reaches streams of the gateway, each of which takes a right of its own here: name each by its topic \
         and give a token for it, or take a pattern that leaves streams/ out"
    ))
    .with("value", selector.as_str())
}

fn challenge(problem: Problem, value: HeaderValue) -> Problem {
    problem.with_header(WWW_AUTHENTICATE, value)
}

/// Whether a pattern matches the topic of some stream: two segments, the first `streams`, the second an id.
fn reaches_streams(pattern: &Selector) -> bool {
    let mut segments = pattern.segments();
    let first = match segments.next() {
        Some("**") => return true,
        first => matches!(first, Some("streams" | "*")),
    };
    let second = match segments.next() {
        Some("**") => return first,
        Some("*") => true,
        other => other.is_some_and(|text| text.parse::<StreamId>().is_ok()),
    };
    // What is longer matches no stream's topic: there is nothing below one.
    first && second && segments.next().is_none()
}

fn take_from_headers(headers: &mut HeaderMap) -> Vec<String> {
    let has_token =
        |(name, value): (&HeaderName, &HeaderValue)| token_in(value).map(|_| name.clone());
    let names: Vec<HeaderName> = headers.iter().filter_map(has_token).collect();
    let mut taken = Vec::new();
    for name in names {
        let values: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        headers.remove(&name);
        for value in values {
            match token_in(&value) {
                Some(text) => taken.push(text.to_owned()),
                None => {
                    headers.append(name.clone(), value);
                }
            }
        }
    }
    taken
}

/// A parameter of the same name that holds anything else is upstream's.
fn take_from_uri(uri: &mut Uri) -> Vec<String> {
    let Some(query) = uri.query() else { return Vec::new() };
    let mut taken = Vec::new();
    let mut left = Vec::new();
    for part in query.split('&') {
        let pair = Query::parse(part).unwrap_or_default();
        match pair.all(TOKEN_PARAMETER).next().filter(|text| is_token(text)) {
            Some(text) => taken.push(text.to_owned()),
            None => left.push(part),
        }
    }
    if taken.is_empty() {
        return taken;
    }
    let path = uri.path();
    let rest = if left.is_empty() { path.to_owned() } else { format!("{path}?{}", left.join("&")) };
    let mut parts = uri.clone().into_parts();
    // Parts of what was a path and a query are these again.
    parts.path_and_query = Some(rest.parse().unwrap_or_else(|_| PathAndQuery::from_static("/")));
    *uri = Uri::from_parts(parts).unwrap_or_default();
    taken
}

/// The parameter that holds a token.
pub(crate) const TOKEN_PARAMETER: &str = "token";
const INVALID: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"longwave\", error=\"invalid_token\"");
const INSUFFICIENT: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"longwave\", error=\"insufficient_scope\"");

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn a_pattern_reaches_streams_where_it_matches_an_id_below_streams() {
        let reaches = |text: &str| reaches_streams(&text.parse().unwrap());
        for text in ["**", "*/**", "*/*", "streams/*", "streams/**", "*/AAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(reaches(text), "{text}");
        }
        // A last ** stands for at least one segment.
        for text in ["*", "chats/*", "chats/**", "*/a", "streams/*/a", "streams/*/*", "*/*/**"] {
            assert!(!reaches(text), "{text}");
        }
    }

    #[test]
    fn tokens_are_taken_off_a_request_and_all_else_stays() {
        let token = "lwv_AA.BB";
        let mut uri: Uri =
            format!("http://h/v1/x?a=1&token={token}&token=upstreams&%74oken={token}")
                .parse()
                .unwrap();
        assert_eq!(take_from_uri(&mut uri), [token, token]);
        assert_eq!(uri, "http://h/v1/x?a=1&token=upstreams");
        let mut alone: Uri = format!("/v1/x?token={token}").parse().unwrap();
        assert_eq!(take_from_uri(&mut alone), [token]);
        assert_eq!(alone, "/v1/x");
        let mut other: Uri = "/v1/x?token=a&&b=%zz".parse().unwrap();
        assert!(take_from_uri(&mut other).is_empty());
        assert_eq!(other, "/v1/x?token=a&&b=%zz");

        let mut headers = HeaderMap::new();
        for (name, value) in [
            (AUTHORIZATION, "Bearer lwv_AA.BB"),
            (AUTHORIZATION, "Bearer sk-1"),
            (HeaderName::from_static("x-api-key"), "lwv_CC.DD"),
            (HeaderName::from_static("accept"), "*/*"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut taken = take_from_headers(&mut headers);
        taken.sort();
        assert_eq!(taken, ["lwv_AA.BB", "lwv_CC.DD"]);
        assert_eq!(headers.len(), 2);
        assert_eq!(headers[AUTHORIZATION], "Bearer sk-1");
    }
}

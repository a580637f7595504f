//! What a request that failed is answered: problem details for HTTP APIs (RFC 9457).
//!
//! [`Problem`] is the answer, [`Code`] its stable name. How the log's errors become problems is in `log_problem.rs`.

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

/// A failure as a client sees it: `{"type", "title", "status", "code", "detail", …}` and the status it travels under.
///
/// `code` is for programs and never changes its meaning; `detail` is for people, says what to do, and may be reworded.
/// Further members hold what a program needs to go on, such as the id that a fence met.
///
/// ```
/// use longwave::http::{Code, Problem};
/// let problem = Problem::new(Code::TopicEnded, "the topic has ended (done)").with("reason", "done");
/// assert_eq!(problem.to_json()["code"], "topic-ended");
/// assert_eq!(problem.to_json()["status"], 409);
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A failure of this kind, told in a sentence.
    pub fn new(code: Code, detail: impl fmt::Display) -> Problem {
        Problem { code, detail: detail.to_string(), members: Map::new(), headers: Vec::new() }
    }

    /// The same, with another member. The standard's own members can't be replaced.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        if !STANDARD_MEMBERS.contains(&name) {
            self.members.insert(name.to_owned(), value.into());
        }
        self
    }

    /// The same with a member `error` as OpenAI writes it: of a body without one its SDKs show the status alone.
    #[must_use]
    pub fn told_to_sdks(self) -> Problem {
        let error = json!({
            "message": self.detail,
            "type": "longwave_error",
            "param": null,
            "code": self.code.as_str(),
        });
        self.with("error", error)
    }

    /// The same, with a response header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The body of the answer; transports that have no status of their own, such as WebSocket, send it alone.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "type": self.code.type_uri(),
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "code": self.code.as_str(),
            "detail": self.detail,
        });
        if let Value::Object(map) = &mut body {
            map.extend(self.members.clone());
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), self.to_json().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

/// The one table of failures: name, code, status, title. A code that was ever released keeps its meaning for good; one
/// that is no longer used leaves a comment here, so that it is not given to something else.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident, $code:literal, $status:ident, $title:literal;)+) => {
        /// The stable name of a kind of failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Code] = &[$(Code::$name),+];

            /// The code as it stands in a problem.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$name => $code,)+
                }
            }

            /// The status that the problem travels under.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self {
                    $(Code::$name => StatusCode::$status,)+
                }
            }

            /// What all failures of this kind have in common.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self {
                    $(Code::$name => $title,)+
                }
            }
        }
    };
}

codes! {
    /// The path behind `/topics/` is no topic's name.
    TopicInvalid, "topic-invalid", BAD_REQUEST, "The topic's name is malformed";
    /// The topic is one of the server's own, or of the gateway's.
    TopicReserved, "topic-reserved", FORBIDDEN, "The topic belongs to the server";
    /// A text is no selector, or there are too many or none.
    SelectorInvalid, "selector-invalid", BAD_REQUEST, "The selector is malformed";
    /// A query parameter is unknown, given twice, or has a value that it can't have.
    ParameterInvalid, "parameter-invalid", BAD_REQUEST, "A query parameter is wrong";
    /// A request header has a value that it can't have.
    HeaderInvalid, "header-invalid", BAD_REQUEST, "A request header is wrong";
    /// A text is no event id.
    IdInvalid, "id-invalid", BAD_REQUEST, "The event id is malformed";
    /// An event type breaks a rule of event types.
    EventTypeInvalid, "event-type-invalid", BAD_REQUEST, "The event type is malformed";
    /// An event type is one of the server's own.
    EventTypeReserved, "event-type-reserved", BAD_REQUEST, "The event type belongs to the server";
    /// An idempotency key breaks a rule of such keys.
    KeyInvalid, "key-invalid", BAD_REQUEST, "The idempotency key is malformed";
    /// A body that must be JSON is not.
    JsonInvalid, "json-invalid", BAD_REQUEST, "The body is not valid JSON";
    /// A body that must be UTF-8 is not.
    Utf8Invalid, "utf8-invalid", BAD_REQUEST, "The body is not valid UTF-8";
    /// At least one line of a batch is wrong.
    BatchInvalid, "batch-invalid", BAD_REQUEST, "A line of the batch is wrong";
    /// The request would publish neither an event nor an end.
    NothingToPublish, "nothing-to-publish", BAD_REQUEST, "There is nothing to publish";
    /// A topic's settings are wrong.
    ConfigInvalid, "config-invalid", BAD_REQUEST, "The topic's settings are wrong";
    /// The request's body broke off.
    BodyIncomplete, "body-incomplete", BAD_REQUEST, "The body broke off";
    /// A WebSocket handshake or message breaks the protocol.
    WebSocketInvalid, "websocket-invalid", BAD_REQUEST, "The WebSocket request is wrong";
    /// A request for a token asks for something that no token can give.
    TokenRequestInvalid, "token-request-invalid", BAD_REQUEST, "No such token can be made";
    /// A token is none of this server's.
    TokenInvalid, "token-invalid", UNAUTHORIZED, "The token is not valid";
    /// A token has expired.
    TokenExpired, "token-expired", UNAUTHORIZED, "The token has expired";
    /// Neither a token nor credentials give the right to do this with the stream.
    RightMissing, "right-missing", FORBIDDEN, "The right to the stream is missing";
    /// A page of a site that may not use this server sent the request.
    OriginForbidden, "origin-forbidden", FORBIDDEN, "The site may not use this server";
    /// The request names a host that this server does not answer for.
    HostForbidden, "host-forbidden", FORBIDDEN, "The server does not answer for this host";
    /// There is no such route.
    RouteNotFound, "route-not-found", NOT_FOUND, "There is nothing at this path";
    /// There is no such stream.
    StreamNotFound, "stream-not-found", NOT_FOUND, "There is no such stream";
    /// The gateway's settings don't allow the request.
    RequestForbidden, "request-forbidden", FORBIDDEN, "The gateway does not pass this on";
    /// What the client goes on with is kept no more.
    StreamGone, "stream-gone", GONE, "The stream is kept no more";
    /// The stream was cancelled before there was anything of it.
    StreamCancelled, "stream-cancelled", CONFLICT, "The stream was cancelled";
    /// Upstream could not be reached.
    UpstreamUnreachable, "upstream-unreachable", BAD_GATEWAY, "Upstream could not be reached";
    /// Upstream broke off.
    UpstreamBroken, "upstream-broken", BAD_GATEWAY, "Upstream broke off";
    /// Upstream sent what the gateway can't record.
    UpstreamInvalid, "upstream-invalid", BAD_GATEWAY, "Upstream's answer can't be recorded";
    /// Upstream let the time pass.
    UpstreamTimeout, "upstream-timeout", GATEWAY_TIMEOUT, "Upstream took too long";
    /// There is no such topic.
    TopicNotFound, "topic-not-found", NOT_FOUND, "There is no such topic";
    /// The route does not take this method.
    MethodNotAllowed, "method-not-allowed", METHOD_NOT_ALLOWED, "The path does not take this method";
    /// None of the media types that the client accepts can be given.
    NotAcceptable, "not-acceptable", NOT_ACCEPTABLE, "No acceptable format";
    /// The client sent its request too slowly.
    RequestTimeout, "request-timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    /// The topic has ended.
    TopicEnded, "topic-ended", CONFLICT, "The topic has ended";
    /// The topic's last event is not the expected one.
    Fenced, "fenced", PRECONDITION_FAILED, "The topic's last event is another one";
    /// The expected id is of another log.
    EpochMismatch, "epoch-mismatch", PRECONDITION_FAILED, "The id belongs to another log";
    /// An event is larger than allowed.
    EventTooLarge, "event-too-large", PAYLOAD_TOO_LARGE, "The event is too large";
    /// A batch has more events or bytes than allowed.
    BatchTooLarge, "batch-too-large", PAYLOAD_TOO_LARGE, "The batch is too large";
    /// A body that is neither event nor batch is larger than allowed.
    BodyTooLarge, "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body's media type can't be published, or is not what the route takes.
    MediaTypeUnsupported, "media-type-unsupported", UNSUPPORTED_MEDIA_TYPE, "The media type is not supported";
    /// The body's charset is not UTF-8.
    CharsetUnsupported, "charset-unsupported", UNSUPPORTED_MEDIA_TYPE, "The charset is not supported";
    /// The body is compressed.
    ContentEncodingUnsupported, "content-encoding-unsupported", UNSUPPORTED_MEDIA_TYPE,
        "The content encoding is not supported";
    /// The idempotency key was used for something else.
    KeyReused, "key-reused", UNPROCESSABLE_ENTITY, "The idempotency key was used for other content";
    /// The client asked for more than its share, or the server has too much to do.
    Overloaded, "overloaded", SERVICE_UNAVAILABLE, "The server has too much to do";
    /// The server is going down.
    ShuttingDown, "shutting-down", SERVICE_UNAVAILABLE, "The server is shutting down";
    /// The server takes no publishes now; the member `reason` says why.
    NotReady, "not-ready", SERVICE_UNAVAILABLE, "The server is not ready";
    /// The log failed and takes nothing until restart.
    LogFailed, "log-failed", SERVICE_UNAVAILABLE, "The log failed";
    /// The log could not be read.
    LogUnreadable, "log-unreadable", INTERNAL_SERVER_ERROR, "The log could not be read";
    /// The disk is full.
    DiskFull, "disk-full", INSUFFICIENT_STORAGE, "The disk is full";
    /// A defect of the server.
    Internal, "internal", INTERNAL_SERVER_ERROR, "The server made a mistake";
}

impl Code {
    /// The URI in a problem's `type`. It identifies and need not be fetched.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("urn:longwave:problem:{}", self.as_str())
    }
}

const STANDARD_MEMBERS: [&str; 6] = ["type", "title", "status", "code", "detail", "instance"];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_kebab_case_and_means_one_thing() {
        let codes: HashSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in codes {
            assert!(
                code.split('-').all(|word| !word.is_empty()
                    && word.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())),
                "{code}"
            );
        }
    }

    #[test]
    fn every_code_is_a_failure() {
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
        }
    }

    #[test]
    fn a_problem_keeps_the_standards_members() {
        let problem = Problem::new(Code::Fenced, "no").with("status", 200).with("last", "7kq2f-3");
        assert_eq!(
            problem.to_json(),
            json!({
                "type": "urn:longwave:problem:fenced",
                "title": "The topic's last event is another one",
                "status": 412,
                "code": "fenced",
                "detail": "no",
                "last": "7kq2f-3",
            })
        );
    }
}

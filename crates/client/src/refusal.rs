//! What a server says when it does not do what it was asked: [`Refusal`], read from problem details (RFC 9457).

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::Deserialize;

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable name of the failure, for programs. `None` where the answer is no problem document: then it comes
    /// from a proxy, or from something that is not a Longwave server.
    pub code: Option<String>,
    /// A sentence for people.
    pub detail: Option<String>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self.status.as_u16(), 408 | 425 | 429 | 500 | 502..=504 | 507)
    }

    /// Reads an answer's body, or as much of it as an honest problem document has.
    pub(crate) async fn read(mut response: reqwest::Response) -> Refusal {
        let refusal = Refusal {
            retry_after: retry_after(&response),
            ..Refusal::without_body(response.status())
        };
        let is_json = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/") && value.contains("json"));
        if !is_json {
            return refusal;
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > PROBLEM_BYTES_MAX {
                return refusal;
            }
        }
        refusal.with_problem(&body)
    }

    /// A refusal of which nothing but the status is known.
    pub(crate) fn without_body(status: StatusCode) -> Refusal {
        Refusal { status, code: None, detail: None, retry_after: None }
    }

    fn with_problem(self, body: &[u8]) -> Refusal {
        let Ok(problem) = serde_json::from_slice::<Problem>(body) else { return self };
        Refusal { code: problem.code, detail: problem.detail.or(problem.title), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.detail, &self.code) {
            (Some(detail), Some(code)) => {
                write!(f, "{detail} ({code}, HTTP {})", self.status.as_u16())
            }
            (Some(detail), None) => write!(f, "{detail} (HTTP {})", self.status.as_u16()),
            _ => write!(f, "HTTP {}, without a reason that Longwave would give", self.status),
        }
    }
}

/// `Retry-After` in seconds. The form with a date needs a clock that agrees with the server's, so it is passed over.
pub(crate) fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
}

/// A problem document that is larger than this is not read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16) -> Refusal {
        Refusal::without_body(StatusCode::from_u16(status).unwrap())
    }

    #[test]
    fn a_problem_document_gives_the_code_and_the_sentence() {
        let body = br#"{"title":"Ended","status":409,"code":"topic-ended","detail":"It has ended.","x":1}"#;
        let read = refusal(409).with_problem(body);
        assert_eq!(read.code.as_deref(), Some("topic-ended"));
        assert_eq!(read.to_string(), "It has ended. (topic-ended, HTTP 409)");
    }

    #[test]
    fn an_answer_of_something_else_says_so() {
        for body in [&b"<html>"[..], b"[]", b"{\"code\":5}", b""] {
            let read = refusal(502).with_problem(body);
            assert_eq!(
                read.to_string(),
                "HTTP 502 Bad Gateway, without a reason that Longwave would give"
            );
        }
    }

    #[test]
    fn what_may_pass_is_temporary() {
        for (status, temporary) in [
            (400, false),
            (404, false),
            (409, false),
            (413, false),
            (429, true),
            (503, true),
            (507, true),
        ] {
            assert_eq!(refusal(status).is_temporary(), temporary, "{status}");
        }
    }
}

//! Answers to clients whose request no handler ever sees: [`last_words`].

use crate::http::Problem;

/// A problem as a whole HTTP/1.1 response, after which the connection closes.
pub(super) fn last_words(problem: &Problem) -> Vec<u8> {
    let body = problem.to_json().to_string();
    let status = problem.code().status();
    let retry = if status.is_server_error() { "retry-after: 5\r\n" } else { "" };
    format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{retry}\
         connection: close\r\n\r\n{body}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    )
    .into_bytes()
}

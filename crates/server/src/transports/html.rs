//! The pages that a person sees who opens the server in a browser: [`topic`] and [`index`].
//!
//! Each is one file with nothing from elsewhere in it, and gets its data over the same interface as everybody else.

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY};

use super::negotiate::{self, Format};
use crate::http::{Problem, Query};

/// The page that follows what its own URL names: a topic, or the selectors of `/events`.
pub(super) fn topic() -> Response {
    page(include_str!("html/topic.html"))
}

/// `GET /`: the page of all topics, or the places to go to for who is no browser.
///
/// # Errors
/// A [`Problem`] where neither is acceptable.
pub(crate) async fn index(query: Query, headers: HeaderMap) -> Result<Response, Problem> {
    match negotiate::negotiate_document(&headers, query.one("format")?)? {
        Format::Html => Ok(page(include_str!("html/index.html"))),
        _ => Ok((
            [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache"), (VARY, "Accept")],
            INDEX_JSON,
        )
            .into_response()),
    }
}

/// Nothing but what stands in the page itself may run, and it may talk to its own server only.
fn page(template: &str) -> Response {
    let mut random = [0; 16];
    if getrandom::fill(&mut random).is_err() {
        return Problem::new(
            crate::http::Code::Internal,
            "there is no randomness for a page's policy",
        )
        .into_response();
    }
    let nonce = BASE64.encode(random);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store".to_owned()),
        (VARY, "Accept".to_owned()),
    ];
    (headers, template.replace("{{nonce}}", &nonce)).into_response()
}

const INDEX_JSON: &str = concat!(
    r#"{"name":"longwave","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","topics":"/topics","topic":"/topics/{topic}","events":"/events{?topic*}","openapi":"/openapi.json"}"#,
    "\n"
);

//! The pages that a person sees who opens the server in a browser: [`topic`], [`index`] and [`console`].
//!
//! Each gets its data over the same interface as everybody else. The console is built from `web/console` by the crate
//! `longwave-console`; where that could not be done, a page that is one file stands at `/`, and says why.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderName, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use longwave_console::File;

use super::negotiate::{self, Format};
use crate::http::{Code, Problem, Query};

/// The page that follows what its own URL names: a topic, or the selectors of `/events`.
pub(super) fn topic() -> Response {
    page(include_str!("html/topic.html"))
}

/// `GET /`: the console, or the places to go to for who is no browser.
///
/// # Errors
/// A [`Problem`] where neither is acceptable.
pub(crate) async fn index(query: Query, headers: HeaderMap) -> Result<Response, Problem> {
    match negotiate::negotiate_document(&headers, query.one("format")?)? {
        Format::Html => Ok(match longwave_console::console() {
            Ok(console) => console.file(CONSOLE_PAGE).map_or_else(
                || no_file(CONSOLE_PAGE).into_response(),
                |file| console_file(file, &headers, "no-cache"),
            ),
            Err(why) => page(&include_str!("html/index.html").replace("{{why}}", &escaped(why))),
        }),
        _ => Ok((
            [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache"), (VARY, "Accept")],
            INDEX_JSON,
        )
            .into_response()),
    }
}

/// `GET /console/{path}`: a file that the console is made of, or one of its pages, which are all in one file.
///
/// # Errors
/// A [`Problem`] where there is no such file, or no console.
pub(crate) async fn console(
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let console = longwave_console::console().map_err(|why| {
        Problem::new(Code::RouteNotFound, format_args!("this server has no console: {why}"))
    })?;
    // Files of the console have names that change with what they hold.
    let (path, caching) = match path.starts_with(CONSOLE_ASSETS) {
        true => (path.as_str(), "public, max-age=31536000, immutable"),
        false if console.file(&path).is_some() => (path.as_str(), "no-cache"),
        false => (CONSOLE_PAGE, "no-cache"),
    };
    let file = console.file(path).ok_or_else(|| no_file(path))?;
    Ok(console_file(file, &headers, caching))
}

fn no_file(path: &str) -> Problem {
    Problem::new(Code::RouteNotFound, format_args!("the console has no {path}; load its page anew"))
}

fn console_file(file: &'static File, headers: &HeaderMap, caching: &'static str) -> Response {
    let (body, encoding) = match takes_gzip(headers) {
        true => (file.gzip, Some(HeaderValue::from_static("gzip"))),
        false => (file.plain, None),
    };
    let fixed: [(HeaderName, &str); 6] = [
        (CONTENT_TYPE, file.media_type),
        (CACHE_CONTROL, caching),
        (CONTENT_SECURITY_POLICY, CONSOLE_POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The page itself stands where others get JSON.
        (VARY, "Accept, Accept-Encoding"),
    ];
    let mut response = (fixed, body).into_response();
    if let Some(encoding) = encoding {
        response.headers_mut().insert(CONTENT_ENCODING, encoding);
    }
    response
}

/// Whether `Accept-Encoding` names gzip, and not only to refuse it.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(ACCEPT_ENCODING).iter();
    codings.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |coding| {
            let mut parts = coding.split(';').map(str::trim);
            let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let refused = parts.filter_map(|part| part.split_once('=')).any(|(name, weight)| {
                name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0_f32)
            });
            is_gzip && !refused
        },
    )
}

/// A text as HTML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Nothing but what stands in the page itself may run, and it may talk to its own server only.
fn page(template: &str) -> Response {
    let mut random = [0; 16];
    if getrandom::fill(&mut random).is_err() {
        return Problem::new(Code::Internal, "there is no randomness for a page's policy")
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

const CONSOLE_PAGE: &str = "index.html";
const CONSOLE_ASSETS: &str = "assets/";
/// Nothing from elsewhere, and no script or style that stands in a page.
const CONSOLE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                              base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_who_takes_it() {
        for (value, expected) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.8", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, br", false),
            ("br", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, value.parse().unwrap())]);
            assert_eq!(takes_gzip(&headers), expected, "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}

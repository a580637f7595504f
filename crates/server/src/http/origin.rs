//! Which web pages may talk to the server, and under which names it is reached.
//!
//! A browser lets any page send requests to `localhost`, and a page that controls a DNS name can point it there. So
//! a request from a page of a site that was not allowed is refused whole, not only kept from being read; and a server
//! on loopback alone answers only for loopback's names. Start with [`check`].

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use super::{App, Code, HostNames, Origins, Problem};

/// Refuses requests for a host that is not the server's, and those of pages of sites that may not use it.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    if let Err(problem) = check_host(&app, request.uri(), request.headers()) {
        return problem.into_response();
    }
    let host = host_of(request.uri(), request.headers());
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        let allowed = is_allowed(&app.options().origins, origin) || is_same_site(origin, host);
        if !allowed {
            let mut response = origin_forbidden(origin).into_response();
            response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
            return response;
        }
        return next.run(request).await;
    }
    let mut response = next.run(request).await;
    // Only browsers that ask for a page heed these. What says that it depends on the origin stays, for caches.
    for name in [header::ACCESS_CONTROL_ALLOW_ORIGIN, header::ACCESS_CONTROL_EXPOSE_HEADERS] {
        response.headers_mut().remove(name);
    }
    response
}

/// Refuses requests for a host that is not the server's.
///
/// # Errors
/// [`Code::HostForbidden`].
pub(crate) fn check_host(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    app.hosts().check(host_of(uri, headers))
}

/// Tells browsers what pages of allowed sites may do.
pub(crate) fn cors(origins: &Origins) -> CorsLayer {
    let allow = match origins {
        Origins::Any => AllowOrigin::any(),
        Origins::Loopback | Origins::List(_) => {
            let origins = origins.clone();
            AllowOrigin::predicate(move |origin, _| is_allowed(&origins, origin))
        }
    };
    CorsLayer::new()
        .allow_origin(allow)
        // Whatever is asked for: through the gateway pages send methods and headers that only upstream knows, such as
        // those of its SDKs. The boundary is the origin, checked with every request: whose page may use the server at
        // all may as well say to it what it likes.
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::ALLOW,
            header::ETAG,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            HeaderName::from_static("longwave-cursor"),
            HeaderName::from_static("longwave-stream"),
            LONGWAVE_DUPLICATE,
            LONGWAVE_END,
            LONGWAVE_EVENTS,
            LONGWAVE_FIRST_ID,
            LONGWAVE_LAST_ID,
            LONGWAVE_SUBSCRIBERS,
            // By these providers find a request again that somebody asks them about.
            HeaderName::from_static("request-id"),
            HeaderName::from_static("x-request-id"),
        ])
        // A preflight's answer depends on what it asks for too, but no cache keeps an answer to OPTIONS (RFC 9110,
        // section 9.3.7).
        .vary([header::ORIGIN])
        .max_age(PREFLIGHT_AGE)
        .allow_private_network(true)
}

/// Which hosts a server answers for.
#[derive(Debug)]
pub(crate) enum Hosts {
    Any,
    /// Names of loopback only.
    Loopback,
    /// These and the names of loopback, in lower case, without ports.
    List(Vec<String>),
}

impl Hosts {
    pub(crate) fn new(names: &HostNames, local_addrs: &[SocketAddr]) -> Hosts {
        match names {
            HostNames::Any => Hosts::Any,
            HostNames::List(names) => {
                Hosts::List(names.iter().map(|name| name.to_ascii_lowercase()).collect())
            }
            HostNames::Bound if local_addrs.iter().all(|addr| addr.ip().is_loopback()) => {
                Hosts::Loopback
            }
            HostNames::Bound => Hosts::Any,
        }
    }

    fn check(&self, host: Option<&str>) -> Result<(), Problem> {
        // Browsers always name a host; who does not is no page.
        let Some(host) = host else { return Ok(()) };
        let name = name_of(host);
        let answered = match self {
            Hosts::Any => true,
            Hosts::Loopback => is_loopback(name),
            Hosts::List(names) => {
                is_loopback(name) || names.iter().any(|known| known.eq_ignore_ascii_case(name))
            }
        };
        if answered {
            return Ok(());
        }
        Err(Problem::new(
            Code::HostForbidden,
            format_args!(
                "this server does not answer for the host {name:?}; allow it in the server's settings (hosts)"
            ),
        ))
    }
}

fn is_allowed(origins: &Origins, origin: &HeaderValue) -> bool {
    match origins {
        Origins::Any => true,
        Origins::Loopback => origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, host)| is_loopback(name_of(host))),
        Origins::List(list) => list.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()),
    }
}

/// Whether a page was served under the very host that the request is for. Which scheme it was does not matter: a proxy
/// in front may have ended TLS.
fn is_same_site(origin: &HeaderValue, host: Option<&str>) -> bool {
    let Some((_, origin_host)) = origin.to_str().ok().and_then(|text| text.split_once("://"))
    else {
        return false;
    };
    host.is_some_and(|host| host.eq_ignore_ascii_case(origin_host))
}

fn origin_forbidden(origin: &HeaderValue) -> Problem {
    Problem::new(
        Code::OriginForbidden,
        format_args!(
            "pages of {} may not use this server; allow them in the server's settings (origins)",
            String::from_utf8_lossy(origin.as_bytes())
        ),
    )
}

/// What the client calls the server, with the port where it names one.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| headers.get(header::HOST).and_then(|host| host.to_str().ok()))
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(address, _)| address);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => {
            name.eq_ignore_ascii_case("localhost")
                || name.to_ascii_lowercase().ends_with(".localhost")
        }
    }
}

pub(crate) const EVENT_TYPE: HeaderName = HeaderName::from_static("event-type");
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const LONGWAVE_DUPLICATE: HeaderName = HeaderName::from_static("longwave-duplicate");
pub(crate) const LONGWAVE_END: HeaderName = HeaderName::from_static("longwave-end");
pub(crate) const LONGWAVE_EVENTS: HeaderName = HeaderName::from_static("longwave-events");
pub(crate) const LONGWAVE_FIRST_ID: HeaderName = HeaderName::from_static("longwave-first-id");
pub(crate) const LONGWAVE_LAST_ID: HeaderName = HeaderName::from_static("longwave-last-id");
pub(crate) const LONGWAVE_SUBSCRIBERS: HeaderName = HeaderName::from_static("longwave-subscribers");

/// How long a browser may remember the answer to a preflight; browsers cap it at two hours or a day.
const PREFLIGHT_AGE: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_many_names_and_others_look_like_them() {
        for name in [
            "localhost",
            "LOCALHOST",
            "app.localhost",
            "localhost.",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
        ] {
            assert!(is_loopback(name), "{name}");
        }
        for name in
            ["localhost.evil.example", "127.0.0.1.evil.example", "evil.example", "10.0.0.1", ""]
        {
            assert!(!is_loopback(name), "{name}");
        }
    }

    #[test]
    fn a_host_is_read_without_its_port() {
        for (host, name) in [
            ("a:80", "a"),
            ("a", "a"),
            ("[::1]:80", "::1"),
            ("[::1]", "::1"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(name_of(host), name);
        }
    }

    #[test]
    fn an_origin_is_allowed_as_the_settings_say() {
        let allowed = |origins: &Origins, origin: &'static str| {
            is_allowed(origins, &HeaderValue::from_static(origin))
        };
        assert!(allowed(&Origins::Loopback, "http://localhost:5173"));
        assert!(allowed(&Origins::Loopback, "http://[::1]:5173"));
        assert!(!allowed(&Origins::Loopback, "https://evil.example"));
        assert!(!allowed(&Origins::Loopback, "null"));
        assert!(allowed(&Origins::Any, "null"));
        let list = Origins::List(vec!["https://example.com".to_owned()]);
        assert!(allowed(&list, "https://example.com"));
        assert!(!allowed(&list, "https://example.com:8443"));
        assert!(!allowed(&list, "http://localhost"));
    }

    #[test]
    fn a_server_on_loopback_alone_answers_only_for_loopbacks_names() {
        let bound = |addr: &str| Hosts::new(&HostNames::Bound, &[addr.parse().unwrap()]);
        assert!(bound("127.0.0.1:1").check(Some("localhost:4480")).is_ok());
        assert!(bound("127.0.0.1:1").check(None).is_ok());
        assert!(bound("127.0.0.1:1").check(Some("evil.example:4480")).is_err());
        assert!(bound("0.0.0.0:1").check(Some("stream.example")).is_ok());
        let list = Hosts::new(&HostNames::List(vec!["Stream.example".into()]), &[]);
        assert!(list.check(Some("stream.EXAMPLE")).is_ok());
        assert!(list.check(Some("localhost")).is_ok());
        assert!(list.check(Some("evil.example")).is_err());
    }
}

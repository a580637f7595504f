//! Content negotiation: in which format a read asks for its events. No I/O: request parts in, [`Format`] out.
//!
//! Start with [`negotiate`]. The other parameters are `read_request.rs`'s business, answering is each transport's module.

use http::header::{ACCEPT, CONNECTION, UPGRADE};
use http::{HeaderMap, Method, request::Parts};
use hyper::ext::Protocol;

/// How a reader wants its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Server-Sent Events, live.
    Sse,
    /// One JSON envelope a line, live.
    Ndjson,
    /// One JSON page: short poll, and long poll with `?wait`.
    Page,
    /// The page that a person sees in a browser.
    Html,
    /// WebSocket, live and two-way.
    WebSocket,
}

impl Format {
    /// What `?format=` calls it; `None` for what a query can't ask for.
    fn from_name(name: &str) -> Option<Format> {
        match name {
            "sse" => Some(Format::Sse),
            "ndjson" => Some(Format::Ndjson),
            "json" => Some(Format::Page),
            "html" => Some(Format::Html),
            _ => None,
        }
    }
}

/// Finds the format: an `Upgrade` to WebSocket decides, else `?format=`, else `Accept` (RFC 9110, section 12.5.1).
///
/// Of several media types that a client likes equally, the one it names first is taken, and where it names none of
/// ours exactly, the JSON page before the live streams. HTML has to be named: `*/*` is what curl and every HTTP library
/// send, and they want events.
///
/// # Errors
/// [`NegotiateError`] where nothing that the client takes is on offer.
pub(crate) fn negotiate(parts: &Parts, format: Option<&str>) -> Result<Format, NegotiateError> {
    if asks_for_websocket(parts) {
        return Ok(Format::WebSocket);
    }
    negotiate_document(&parts.headers, format)
}

/// The same for what can't be a WebSocket: `?format=` decides, else `Accept`.
///
/// # Errors
/// [`NegotiateError`] as for events.
pub(crate) fn negotiate_document(
    headers: &HeaderMap,
    format: Option<&str>,
) -> Result<Format, NegotiateError> {
    match format {
        Some(format) => {
            Format::from_name(format).ok_or_else(|| NegotiateError::Format(format.to_owned()))
        }
        None if headers.contains_key(ACCEPT) => {
            best_offer(&accepted_ranges(headers)).ok_or(NegotiateError::Accept)
        }
        None => Ok(Format::Page),
    }
}

/// Why no format fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NegotiateError {
    /// `Accept` names nothing that is on offer.
    #[error(
        "events are served as text/event-stream, application/x-ndjson, application/json and text/html, and the \
         Accept header takes none of these"
    )]
    Accept,
    /// `?format=` is no format.
    #[error("{0:?} is no format; it is one of sse, ndjson, json, html")]
    Format(String),
}

/// A WebSocket handshake of HTTP/1.1 (RFC 6455, section 4.1) or of HTTP/2 (RFC 8441, section 4). Any other upgrade may
/// be ignored, as RFC 9110, section 7.8 says.
fn asks_for_websocket(parts: &Parts) -> bool {
    if parts.method == Method::CONNECT {
        return parts
            .extensions
            .get::<Protocol>()
            .is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"));
    }
    has_token(&parts.headers, &CONNECTION, "upgrade")
        && has_token(&parts.headers, &UPGRADE, "websocket")
}

fn has_token(headers: &HeaderMap, name: &http::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// One media range of an `Accept` header.
#[derive(Debug, PartialEq, Eq)]
struct MediaRange {
    kind: String,
    subtype: String,
    /// Thousandths; 0 means "not this".
    weight: u16,
}

/// The ranges in the order the client wrote them. A range that can't be read takes nothing, as if it were not there.
fn accepted_ranges(headers: &HeaderMap) -> Vec<MediaRange> {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .take(RANGES_MAX)
        .filter_map(parse_range)
        .collect()
}

fn parse_range(text: &str) -> Option<MediaRange> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let mut weight = WEIGHT_MAX;
    for parameter in parts {
        if let Some(q) =
            parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        {
            weight = parse_weight(q.1.trim())?;
        }
    }
    Some(MediaRange {
        kind: kind.to_ascii_lowercase(),
        subtype: subtype.to_ascii_lowercase(),
        weight,
    })
}

/// `0`, `1`, or either with up to three decimals (RFC 9110, section 12.4.2), in thousandths.
fn parse_weight(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = match whole {
        "0" => 0,
        "1" => WEIGHT_MAX,
        _ => return None,
    };
    let fraction: u16 = format!("{decimals:0<3}").parse().ok()?;
    Some(whole + fraction).filter(|weight| *weight <= WEIGHT_MAX)
}

fn best_offer(ranges: &[MediaRange]) -> Option<Format> {
    OFFERS
        .iter()
        .filter_map(|offer| offer.rank(ranges))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, format)| format)
}

struct Offer {
    kind: &'static str,
    subtype: &'static str,
    format: Format,
    /// Among offers that a client likes equally without naming them, the higher one is taken; `None` must be named.
    by_wildcard: Option<u8>,
}

/// Ordered so that the greatest is the one to take: the client's weight, whether it named the type, how early it did,
/// and our own liking.
type Rank = (u16, bool, std::cmp::Reverse<usize>, u8);

impl Offer {
    const fn new(
        kind: &'static str,
        subtype: &'static str,
        format: Format,
        by_wildcard: Option<u8>,
    ) -> Offer {
        Offer { kind, subtype, format, by_wildcard }
    }

    /// The most specific range that takes this offer decides its weight (RFC 9110, section 12.5.1).
    fn rank(&self, ranges: &[MediaRange]) -> Option<(Rank, Format)> {
        let position = |kind: &str, subtype: &str| {
            ranges.iter().position(|range| range.kind == kind && range.subtype == subtype)
        };
        let (named, at) = match position(self.kind, self.subtype) {
            Some(at) => (true, at),
            None => (false, position(self.kind, "*").or_else(|| position("*", "*"))?),
        };
        let liking = if named { 0 } else { self.by_wildcard? };
        let weight = ranges.get(at)?.weight;
        let order = if named { at } else { 0 };
        (weight > 0).then_some(((weight, named, std::cmp::Reverse(order), liking), self.format))
    }
}

/// What is on offer, under every name that clients call it by.
const OFFERS: [Offer; 6] = [
    Offer::new("application", "json", Format::Page, Some(3)),
    Offer::new("text", "event-stream", Format::Sse, Some(2)),
    Offer::new("application", "x-ndjson", Format::Ndjson, Some(1)),
    Offer::new("application", "ndjson", Format::Ndjson, None),
    Offer::new("application", "jsonl", Format::Ndjson, None),
    Offer::new("text", "html", Format::Html, None),
];

/// The most ranges of an `Accept` header that are looked at; browsers send fewer than ten.
const RANGES_MAX: usize = 32;
const WEIGHT_MAX: u16 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("/topics/a");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn accept(value: &str) -> Result<Format, NegotiateError> {
        negotiate(&parts(&[("accept", value)]), None)
    }

    #[test]
    fn each_kind_of_client_gets_its_format() {
        for (client, value, expected) in [
            ("curl, httpx, fetch", "*/*", Format::Page),
            ("EventSource", "text/event-stream", Format::Sse),
            ("axios", "application/json, text/plain, */*", Format::Page),
            (
                "a browser's address bar",
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
                Format::Html,
            ),
            ("our own client", "application/x-ndjson", Format::Ndjson),
            ("jq", "application/jsonl", Format::Ndjson),
            ("an MCP client", "text/event-stream, application/json", Format::Sse),
            ("another MCP client", "application/json, text/event-stream", Format::Page),
        ] {
            assert_eq!(accept(value), Ok(expected), "{client}");
        }
        assert_eq!(negotiate(&parts(&[]), None), Ok(Format::Page));
    }

    #[test]
    fn weights_decide_and_the_most_specific_range_gives_them() {
        for (value, expected) in [
            ("application/json;q=0.5, text/event-stream;q=0.9", Format::Sse),
            ("application/json; Q=0.5; x=1, application/x-ndjson", Format::Ndjson),
            ("*/*, application/json;q=0", Format::Sse),
            ("text/*", Format::Sse),
            ("application/*", Format::Page),
            ("text/*;q=0.1, application/ndjson;q=0.2", Format::Ndjson),
            ("TEXT/EVENT-STREAM", Format::Sse),
            ("text/html;q=0.2, application/json;q=0.2", Format::Html),
            ("nonsense, text/event-stream;q=0.001", Format::Sse),
            ("text/event-stream;q=2, application/json;q=0.1", Format::Page),
        ] {
            assert_eq!(accept(value), Ok(expected), "{value}");
        }
    }

    #[test]
    fn what_is_not_on_offer_is_refused() {
        for value in
            ["text/plain", "image/*", "application/json;q=0", "json", "", "text/html;q=0.0"]
        {
            assert_eq!(accept(value), Err(NegotiateError::Accept), "{value}");
        }
    }

    #[test]
    fn a_format_in_the_query_wins_over_accept() {
        let html = parts(&[("accept", "text/html")]);
        assert_eq!(negotiate(&html, Some("sse")), Ok(Format::Sse));
        assert_eq!(negotiate(&html, Some("xml")), Err(NegotiateError::Format("xml".to_owned())));
    }

    #[test]
    fn only_an_upgrade_to_websocket_is_an_upgrade() {
        let both = |connection, upgrade| {
            negotiate(&parts(&[("connection", connection), ("upgrade", upgrade)]), Some("json"))
        };
        assert_eq!(both("keep-alive, Upgrade", "websocket"), Ok(Format::WebSocket));
        assert_eq!(both("upgrade", "WebSocket"), Ok(Format::WebSocket));
        assert_eq!(both("upgrade", "h2c"), Ok(Format::Page));
        assert_eq!(both("close", "websocket"), Ok(Format::Page));
        let mut connect = Request::builder().method("CONNECT").uri("/topics/a").body(()).unwrap();
        connect.extensions_mut().insert(Protocol::from_static("websocket"));
        assert_eq!(negotiate(&connect.into_parts().0, None), Ok(Format::WebSocket));
    }
}

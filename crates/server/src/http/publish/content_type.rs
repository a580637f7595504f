//! What a body is by its `Content-Type`: [`BodyKind`]. Pure; the standard's section is RFC 9110, 8.3.1.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use longwave_core::DataFormat;

use super::super::{Code, Problem};

/// How a body is cut into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// It is one event's data.
    Single(DataFormat),
    /// A JSON object a line, all of them or none.
    Batch,
    /// Server-Sent Events, each as it arrives.
    EventStream,
    /// A line an event, each as it arrives.
    Lines,
}

impl BodyKind {
    /// The name in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            BodyKind::Single(DataFormat::Text) => "text",
            BodyKind::Single(DataFormat::Json) => "json",
            BodyKind::Single(DataFormat::Binary) => "binary",
            BodyKind::Batch => "batch",
            BodyKind::EventStream => "event_stream",
            BodyKind::Lines => "lines",
        }
    }

    /// What the headers say that the body is.
    ///
    /// # Errors
    /// [`Code::MediaTypeUnsupported`] for multipart, [`Code::CharsetUnsupported`] for text that is not UTF-8,
    /// [`Code::ContentEncodingUnsupported`] for compressed bodies, [`Code::HeaderInvalid`] for what is no media type.
    pub(super) fn of(headers: &HeaderMap) -> Result<BodyKind, Problem> {
        check_encoding(headers)?;
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let (content_type, more) = (types.next(), types.next());
        if more.is_some() {
            return Err(invalid("Content-Type may be given once"));
        }
        let Some(content_type) = content_type else {
            return Ok(BodyKind::Single(DataFormat::Text));
        };
        let content_type =
            content_type.to_str().map_err(|_| invalid("Content-Type must be ASCII"))?;
        if content_type.trim().is_empty() {
            return Ok(BodyKind::Single(DataFormat::Text));
        }
        let (essence, charset) = parse(content_type)?;
        let kind = kind_of(&essence)?;
        let is_text = kind != BodyKind::Single(DataFormat::Binary);
        match charset {
            Some(charset) if is_text && !is_utf8(&charset) => Err(Problem::new(
                Code::CharsetUnsupported,
                format_args!(
                    "the charset {charset:?} is not supported; send UTF-8, or application/octet-stream"
                ),
            )),
            _ => Ok(kind),
        }
    }
}

fn kind_of(essence: &str) -> Result<BodyKind, Problem> {
    let kind = match essence {
        // What curl's -d says of any text, and nobody publishes forms.
        "application/x-www-form-urlencoded" => BodyKind::Single(DataFormat::Text),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => BodyKind::Batch,
        "text/event-stream" => BodyKind::EventStream,
        "application/json" => BodyKind::Single(DataFormat::Json),
        _ if essence.ends_with("+json") => BodyKind::Single(DataFormat::Json),
        _ if essence.starts_with("text/") => BodyKind::Single(DataFormat::Text),
        _ if essence.starts_with("multipart/") => {
            return Err(Problem::new(
                Code::MediaTypeUnsupported,
                "multipart bodies can't be published; send the event's data alone as the body \
                 (curl: --data-binary @FILE instead of -F)",
            ));
        }
        _ => BodyKind::Single(DataFormat::Binary),
    };
    Ok(kind)
}

/// The media type in lower case, and the charset where one is named.
fn parse(content_type: &str) -> Result<(String, Option<String>), Problem> {
    let mut parts = content_type.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_type = essence
        .split_once('/')
        .is_some_and(|(main, sub)| !main.is_empty() && !sub.is_empty() && !sub.contains('/'))
        && essence.bytes().all(|c| c.is_ascii_graphic());
    if !is_type {
        return Err(invalid("Content-Type is no media type such as text/plain"));
    }
    let charset = parts
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value.trim().trim_matches('"').to_owned());
    Ok((essence, charset))
}

fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"].iter().any(|name| name.eq_ignore_ascii_case(charset))
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_identity = |value: &HeaderValue| {
        value.as_bytes().eq_ignore_ascii_case(b"identity") || value.is_empty()
    };
    if headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
        return Ok(());
    }
    Err(Problem::new(
        Code::ContentEncodingUnsupported,
        "compressed bodies can't be published; send the body as it is, without Content-Encoding",
    ))
}

fn invalid(detail: &str) -> Problem {
    Problem::new(Code::HeaderInvalid, detail).with("header", "Content-Type")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &str) -> Result<BodyKind, Code> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        BodyKind::of(&headers).map_err(|problem| problem.code())
    }

    #[test]
    fn a_body_is_what_its_content_type_says() {
        for (content_type, kind) in [
            ("text/plain", BodyKind::Single(DataFormat::Text)),
            ("Text/Plain; Charset=\"UTF-8\"", BodyKind::Single(DataFormat::Text)),
            ("text/csv", BodyKind::Single(DataFormat::Text)),
            ("application/x-www-form-urlencoded", BodyKind::Single(DataFormat::Text)),
            ("", BodyKind::Single(DataFormat::Text)),
            ("application/json", BodyKind::Single(DataFormat::Json)),
            ("application/json;charset=utf8", BodyKind::Single(DataFormat::Json)),
            ("application/cloudevents+json", BodyKind::Single(DataFormat::Json)),
            ("application/octet-stream", BodyKind::Single(DataFormat::Binary)),
            ("image/png; charset=latin1", BodyKind::Single(DataFormat::Binary)),
            ("application/x-ndjson", BodyKind::Batch),
            ("text/event-stream", BodyKind::EventStream),
        ] {
            assert_eq!(of(content_type), Ok(kind), "{content_type:?}");
        }
        assert_eq!(BodyKind::of(&HeaderMap::new()).unwrap(), BodyKind::Single(DataFormat::Text));
    }

    #[test]
    fn what_can_not_be_published_is_refused_by_its_kind() {
        for (content_type, code) in [
            ("multipart/form-data; boundary=x", Code::MediaTypeUnsupported),
            ("text/plain; charset=iso-8859-1", Code::CharsetUnsupported),
            ("application/json; charset=utf-16", Code::CharsetUnsupported),
            ("text", Code::HeaderInvalid),
            ("text/", Code::HeaderInvalid),
            ("a/b/c", Code::HeaderInvalid),
            ("text /plain", Code::HeaderInvalid),
        ] {
            assert_eq!(of(content_type), Err(code), "{content_type:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        twice.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(BodyKind::of(&twice).unwrap_err().code(), Code::HeaderInvalid);
    }

    #[test]
    fn a_compressed_body_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
        assert!(BodyKind::of(&headers).is_ok());
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(BodyKind::of(&headers).unwrap_err().code(), Code::ContentEncodingUnsupported);
    }
}

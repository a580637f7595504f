//! What a publisher asks for besides the body: [`PublishRequest`]. Headers and parameters in, values out.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method};
use longwave_core::{
    DataFormat, EndReason, Epoch, EventId, EventType, Expected, IdempotencyKey, Seq, TextError,
    TopicName,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::origin::{EVENT_TYPE, IDEMPOTENCY_KEY};
use super::super::successor::WholeRequest;
use super::super::{Code, Problem, Query, TopicPath};
use super::content_type::BodyKind;

/// A publish without its body.
#[derive(Clone, Debug)]
pub(super) struct PublishRequest {
    pub(super) topic: TopicName,
    pub(super) kind: BodyKind,
    /// How data is to be read, where the request says more than its `Content-Type`.
    pub(super) format: Option<DataFormat>,
    /// The type of events that bring none of their own.
    pub(super) event_type: Option<EventType>,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) expected: Expected,
    pub(super) end: Option<EndReason>,
    pub(super) stream_ids: StreamIds,
}

/// What the ids of a published event stream are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamIds {
    /// Idempotency keys of their events.
    Keys,
    /// Nothing.
    Ignored,
}

impl PublishRequest {
    /// Reads a request's headers and parameters.
    ///
    /// # Errors
    /// A [`Problem`] that names the header or parameter.
    pub(super) fn parse(
        topic: TopicName,
        query: &Query,
        headers: &HeaderMap,
        epoch: Epoch,
    ) -> Result<PublishRequest, Problem> {
        query.only(&["type", "format", "end", "lines", "ids"])?;
        let format = query.one("format")?.map(parse_format).transpose()?;
        Ok(PublishRequest {
            topic,
            kind: kind(query, headers, format)?,
            format,
            event_type: event_type(query, headers)?,
            key: key(headers)?,
            expected: expected(headers, epoch)?,
            end: end(query)?,
            stream_ids: stream_ids(query)?,
        })
    }

    /// A request that asks for the same with a body that was read whole.
    pub(super) fn restate(&self, epoch: Epoch, body: Bytes) -> WholeRequest {
        let (content_type, format) = match self.kind {
            BodyKind::Single(format) => ("application/octet-stream", Some(format)),
            _ => ("application/x-ndjson", self.format),
        };
        let mut uri = format!("{}{}?", TopicPath::PREFIX, self.topic);
        if let Some(format) = format {
            uri.push_str(match format {
                DataFormat::Text => "format=text&",
                DataFormat::Json => "format=json&",
                DataFormat::Binary => "format=binary&",
            });
        }
        if let Some(event_type) = &self.event_type {
            let text = utf8_percent_encode(event_type.as_str(), NON_ALPHANUMERIC);
            uri.push_str(&format!("type={text}&"));
        }
        if let Some(reason) = self.end {
            uri.push_str(&format!("end={reason}"));
        }
        let condition = match self.expected {
            Expected::Any => None,
            Expected::Last(Seq::ZERO) => Some((IF_NONE_MATCH, "*".to_owned())),
            Expected::Last(seq) => Some((IF_MATCH, format!("\"{}\"", EventId { epoch, seq }))),
        };
        let key = self.key.as_ref().map(|key| (IDEMPOTENCY_KEY, key.as_str().to_owned()));
        let content_type = (CONTENT_TYPE, content_type.to_owned());
        // Whose it was has been checked, and loopback's names are every server's.
        let host = (HOST, "localhost".to_owned());
        let fields = [Some(host), Some(content_type), condition, key].into_iter().flatten();
        let headers = fields
            .filter_map(|(name, text)| Some((name, HeaderValue::from_bytes(text.as_bytes()).ok()?)))
            .collect();
        // Canonical names and encoded text make no other path than this.
        let uri = uri.parse().unwrap_or_default();
        WholeRequest { method: Method::POST, uri, headers, body }
    }
}

fn kind(
    query: &Query,
    headers: &HeaderMap,
    format: Option<DataFormat>,
) -> Result<BodyKind, Problem> {
    let kind = BodyKind::of(headers)?;
    if query.one("lines")?.is_some() {
        return match kind {
            BodyKind::Single(DataFormat::Text) => Ok(BodyKind::Lines),
            // What an upload without a type is called by some clients; the parameter says more.
            BodyKind::Single(DataFormat::Binary) => Ok(BodyKind::Lines),
            _ => {
                Err(parameter("lines", "lines is for text; this Content-Type has lines of its own"))
            }
        };
    }
    match (kind, format) {
        (BodyKind::Single(_), Some(format)) => Ok(BodyKind::Single(format)),
        (BodyKind::Batch | BodyKind::EventStream, Some(DataFormat::Binary)) => {
            Err(parameter("format", "such a body carries text; binary data can't be in it"))
        }
        (kind, _) => Ok(kind),
    }
}

fn parse_format(text: &str) -> Result<DataFormat, Problem> {
    match text {
        "text" => Ok(DataFormat::Text),
        "json" => Ok(DataFormat::Json),
        "binary" => Ok(DataFormat::Binary),
        _ => Err(parameter("format", "format is one of text, json, binary")),
    }
}

fn end(query: &Query) -> Result<Option<EndReason>, Problem> {
    match query.one("end")? {
        None => Ok(None),
        Some("") => Ok(Some(EndReason::Done)),
        Some(reason) => reason
            .parse()
            .map(Some)
            .map_err(|error| Problem::new(Code::ParameterInvalid, error).with("parameter", "end")),
    }
}

fn stream_ids(query: &Query) -> Result<StreamIds, Problem> {
    match query.one("ids")? {
        None | Some("keys") => Ok(StreamIds::Keys),
        Some("ignore") => Ok(StreamIds::Ignored),
        Some(_) => Err(parameter("ids", "ids is one of keys, ignore")),
    }
}

fn event_type(query: &Query, headers: &HeaderMap) -> Result<Option<EventType>, Problem> {
    let text = match (query.one("type")?, header(headers, &EVENT_TYPE)?) {
        (Some(_), Some(_)) => {
            return Err(parameter(
                "type",
                "give either the parameter type or the header Event-Type",
            ));
        }
        (parameter, header) => parameter.or(header),
    };
    text.map(parse_event_type).transpose()
}

/// Checks an event type from a publisher.
pub(in crate::http) fn parse_event_type(text: &str) -> Result<EventType, Problem> {
    EventType::new(text).map_err(|error| {
        let code = match error {
            TextError::Reserved => Code::EventTypeReserved,
            _ => Code::EventTypeInvalid,
        };
        Problem::new(code, format_args!("the event type can't be used: {error}"))
    })
}

/// Checks an idempotency key from a publisher.
pub(in crate::http) fn parse_key(text: &str) -> Result<IdempotencyKey, Problem> {
    IdempotencyKey::new(text).map_err(|error| {
        Problem::new(Code::KeyInvalid, format_args!("the idempotency key can't be used: {error}"))
    })
}

fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    header(headers, &IDEMPOTENCY_KEY)?.map(parse_key).transpose()
}

fn expected(headers: &HeaderMap, epoch: Epoch) -> Result<Expected, Problem> {
    match (header(headers, &IF_MATCH)?, header(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Expected::Any),
        (None, Some("*")) => Ok(Expected::Last(Seq::ZERO)),
        (None, Some(_)) => Err(invalid(
            &IF_NONE_MATCH,
            "for a publish, If-None-Match can only be *: the topic must have had no events",
        )),
        (Some(tag), None) => {
            let id = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
            let id: EventId = id.parse().map_err(|error| {
                Problem::new(
                    Code::IdInvalid,
                    format_args!("If-Match must be the id of the topic's last event: {error}"),
                )
                .with("header", "If-Match")
            })?;
            if id.epoch != epoch {
                return Err(Problem::new(
                    Code::EpochMismatch,
                    format_args!(
                        "the id {id} belongs to another log than this server's, which was perhaps wiped since"
                    ),
                ));
            }
            Ok(Expected::Last(id.seq))
        }
        (Some(_), Some(_)) => {
            Err(invalid(&IF_MATCH, "give either If-Match or If-None-Match, not both"))
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(name, "the header may be given once"));
    }
    // Header values are bytes; those beyond ASCII are taken for UTF-8, as clients that send any mean it.
    std::str::from_utf8(value.as_bytes())
        .map(|text| Some(text.trim()))
        .map_err(|_| invalid(name, "the header is not UTF-8"))
}

fn invalid(name: &HeaderName, detail: &str) -> Problem {
    Problem::new(Code::HeaderInvalid, format_args!("{name}: {detail}"))
        .with("header", name.as_str())
}

fn parameter(name: &str, detail: &str) -> Problem {
    Problem::new(Code::ParameterInvalid, detail).with("parameter", name)
}

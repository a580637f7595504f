//! What a reader asks for besides the transport: [`ReadRequest`], out of a request's query and headers.
//!
//! No I/O, and no clock: the time is passed in. Which topics are meant stands in the path or, for `/events`, in the
//! query; the transport is found by `negotiate.rs`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Uri};
use jiff::Timestamp;
use longwave_core::{EventId, EventType, Selector, SelectorSet, StartAt, TypeFilter, UnixMillis};

use super::problems::selector_problem;
use crate::gateway::{HEAD_TYPES, TOKEN_PARAMETER};
use crate::http::{Code, Problem, Query, parse_duration_ms};

/// The parameters of a read, checked. Every transport takes the same ones.
#[derive(Clone, Debug)]
pub(crate) struct ReadRequest {
    /// From where on; `None` leaves it to the transport.
    pub(crate) start: Option<StartAt>,
    /// Which messages.
    pub(crate) types: TypeFilter,
    /// The most events that are wanted in this answer. At least 1.
    pub(crate) limit: Option<u64>,
    /// How long a page may wait for its first event.
    pub(crate) wait: Option<Duration>,
    /// What stands in `data:` lines.
    pub(crate) data_shape: DataShape,
}

/// What the `data:` lines of an event stream hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DataShape {
    /// The publisher's data.
    #[default]
    Plain,
    /// The event's JSON envelope, for readers that see nothing of an event but its data.
    Envelope,
}

impl ReadRequest {
    /// Reads the parameters.
    ///
    /// The `Last-Event-ID` header wins over every start in the query, and `lastEventId` or `last_event_id` over the
    /// other ones: a client that reconnects by itself adds them to the URL that it was first given, and goes on where
    /// it was only if they count more than that.
    ///
    /// # Errors
    /// A [`Problem`] that names the parameter. Unknown parameters are refused, since a misspelled start would read
    /// something else in silence.
    pub(crate) fn parse(
        query: &Query,
        headers: &HeaderMap,
        now: UnixMillis,
    ) -> Result<ReadRequest, Problem> {
        query.only(&KNOWN)?;
        Ok(ReadRequest {
            start: start(query, headers, now)?,
            types: type_filter(query.all("type"))?,
            limit: limit(query)?,
            wait: wait(query)?,
            data_shape: data_shape(query)?,
        })
    }
}

/// The query of a read, without the parameters that caches and their busters add: those whose name begins with `_`.
///
/// # Errors
/// A [`Problem`] where the query can't be read at all.
pub(crate) fn query(uri: &Uri) -> Result<Query, Problem> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let meant: Vec<&str> = pairs.filter(|pair| !pair.starts_with('_')).collect();
    Query::parse(&meant.join("&")).map_err(|error| Problem::new(Code::ParameterInvalid, error))
}

/// The topics and patterns that `?topic=` names, for reads of several topics.
///
/// # Errors
/// A [`Problem`] for a malformed selector, for none, and for too many.
pub(crate) fn selectors(query: &Query) -> Result<SelectorSet, Problem> {
    let selectors = query
        .all("topic")
        .map(|text| {
            text.parse::<Selector>().map_err(|error| selector_problem(&error).with("value", text))
        })
        .collect::<Result<Vec<Selector>, Problem>>()?;
    SelectorSet::new(selectors).map_err(|error| selector_problem(&error))
}

fn start(query: &Query, headers: &HeaderMap, now: UnixMillis) -> Result<Option<StartAt>, Problem> {
    if let Some(id) = last_event_id(headers)? {
        return Ok(Some(StartAt::After(id)));
    }
    // A polyfill may append its alias to a URL that has it already: the last one is the newest.
    let resumed = RESUME_ALIASES
        .iter()
        .filter_map(|name| Some((*name, query.all(name).last()?)))
        .find(|(_, text)| !text.is_empty());
    if let Some((name, text)) = resumed {
        return cursor(name, text).map(Some);
    }
    let given: Vec<(&str, &str)> = STARTS
        .into_iter()
        .filter_map(|name| Some(query.one(name).transpose()?.map(|text| (name, text))))
        .collect::<Result<_, Problem>>()?;
    match given.as_slice() {
        [] => Ok(None),
        [("last", text)] => number("last", text).map(|count| Some(StartAt::Last(count))),
        [("since", text)] => since(text, now).map(|time| Some(StartAt::Since(time))),
        [(name, text)] => cursor(name, text).map(Some),
        [(one, _), (other, _), ..] => Err(Problem::new(
            Code::ParameterInvalid,
            format_args!("{one} and {other} both say where to start; give one of them"),
        )
        .with("parameter", *other)),
    }
}

/// The header that a reconnecting `EventSource` sends. An empty one says that it has seen no id yet.
fn last_event_id(headers: &HeaderMap) -> Result<Option<EventId>, Problem> {
    let mut values = headers.get_all(&LAST_EVENT_ID).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(Code::HeaderInvalid, "Last-Event-ID may be given once")
            .with("header", "Last-Event-ID"));
    }
    let text = value.to_str().map_err(|_| {
        Problem::new(Code::HeaderInvalid, "Last-Event-ID must be plain ASCII")
            .with("header", "Last-Event-ID")
    })?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        Problem::new(
            Code::IdInvalid,
            format_args!("Last-Event-ID must be the id of an event: {error}"),
        )
        .with("header", "Last-Event-ID")
    })
}

/// A cursor, or one of the words for the log's two ends.
///
/// # Errors
/// A [`Problem`] that names the parameter.
pub(crate) fn cursor(name: &str, text: &str) -> Result<StartAt, Problem> {
    match text {
        "first" => Ok(StartAt::First),
        "now" => Ok(StartAt::Now),
        _ => text.parse().map(StartAt::After).map_err(|error| {
            Problem::new(
                Code::IdInvalid,
                format_args!("{name} must be first, now, or the id of an event: {error}"),
            )
            .with("parameter", name)
        }),
    }
}

/// An age such as `10m`, or a time in RFC 3339.
///
/// # Errors
/// A [`Problem`] that names the parameter.
pub(crate) fn since(text: &str, now: UnixMillis) -> Result<UnixMillis, Problem> {
    // A number alone could be an age or a time: it is refused below.
    let is_number = text.bytes().all(|c| c.is_ascii_digit());
    if let Some(ago_ms) = parse_duration_ms(text).filter(|_| !is_number) {
        return Ok(now.saturating_sub_ms(ago_ms));
    }
    // A form's `+` is a space, and hardly anybody remembers to encode that of a time zone.
    let time: Timestamp = text.replace(' ', "+").parse().map_err(|_| {
        invalid(
            "since",
            format_args!(
                "since must be a time such as 2026-11-20T13:00:00Z, or an age such as 10m"
            ),
        )
    })?;
    Ok(UnixMillis(time.as_millisecond().try_into().unwrap_or(0)))
}

/// The filter for types that are named in one or several lists with commas. A type that holds a comma can't be named, and
/// of the server's own only [`HEAD_TYPES`], which alone stand in topics: ends and gaps pass every filter.
///
/// # Errors
/// A [`Problem`] for what is no event type.
pub(crate) fn type_filter<'a>(
    lists: impl IntoIterator<Item = &'a str>,
) -> Result<TypeFilter, Problem> {
    let names: Vec<&str> = lists.into_iter().flat_map(|text| text.split(',')).collect();
    if names.is_empty() {
        return Ok(TypeFilter::all());
    }
    if names.len() > TYPES_MAX {
        return Err(invalid("type", format_args!("at most {TYPES_MAX} types may be named")));
    }
    let types = names
        .into_iter()
        .map(|name| {
            let event_type = match name {
                name if HEAD_TYPES.contains(&name) => EventType::control(name),
                name => EventType::new(name),
            };
            event_type.map_err(|error| {
                Problem::new(Code::EventTypeInvalid, format_args!("the type {name:?}: {error}"))
                    .with("parameter", "type")
            })
        })
        .collect::<Result<Vec<EventType>, Problem>>()?;
    Ok(TypeFilter::only(types))
}

fn limit(query: &Query) -> Result<Option<u64>, Problem> {
    match query.one("limit")?.map(|text| number("limit", text)).transpose()? {
        Some(0) => Err(invalid("limit", format_args!("limit must be at least 1"))),
        limit => Ok(limit),
    }
}

fn wait(query: &Query) -> Result<Option<Duration>, Problem> {
    let Some(text) = query.one("wait")? else { return Ok(None) };
    parse_duration_ms(text).map(Duration::from_millis).map(Some).ok_or_else(|| {
        invalid("wait", format_args!("wait must be a time such as 25s, or a number of seconds"))
    })
}

fn data_shape(query: &Query) -> Result<DataShape, Problem> {
    match query.one("envelope")? {
        None | Some("false" | "0") => Ok(DataShape::Plain),
        Some("" | "true" | "1") => Ok(DataShape::Envelope),
        Some(_) => Err(invalid("envelope", format_args!("envelope is given without a value"))),
    }
}

fn number(name: &'static str, text: &str) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| invalid(name, format_args!("{name} must be a whole number below 2^64")))
}

fn invalid(parameter: &str, detail: std::fmt::Arguments<'_>) -> Problem {
    Problem::new(Code::ParameterInvalid, detail).with("parameter", parameter)
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const RESUME_ALIASES: [&str; 2] = ["lastEventId", "last_event_id"];
const STARTS: [&str; 3] = ["after", "last", "since"];
/// The most event types that one read may name.
const TYPES_MAX: usize = 100;
const KNOWN: [&str; 12] = [
    "after",
    "last",
    "since",
    "type",
    "limit",
    "wait",
    "format",
    "envelope",
    "topic",
    "lastEventId",
    "last_event_id",
    TOKEN_PARAMETER,
];

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn parse(query: &str, header: Option<&str>) -> Result<ReadRequest, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(LAST_EVENT_ID, value.parse().unwrap());
        }
        let uri = format!("/topics/a?{query}").parse().unwrap();
        ReadRequest::parse(&super::query(&uri)?, &headers, NOW)
    }

    fn start(query: &str, header: Option<&str>) -> Option<StartAt> {
        parse(query, header).unwrap().start
    }

    fn after(id: &str) -> Option<StartAt> {
        Some(StartAt::After(id.parse().unwrap()))
    }

    #[test]
    fn every_way_to_start_is_understood() {
        for (query, expected) in [
            ("", None),
            ("after=7kq2f-12", after("7kq2f-12")),
            ("lastEventId=7kq2f-12", after("7kq2f-12")),
            ("last_event_id=7kq2f-12", after("7kq2f-12")),
            ("after=first", Some(StartAt::First)),
            ("after=now", Some(StartAt::Now)),
            ("last=10", Some(StartAt::Last(10))),
            ("last=0", Some(StartAt::Last(0))),
            ("since=10m", Some(StartAt::Since(UnixMillis(NOW.0 - 600_000)))),
            ("since=1h30m", Some(StartAt::Since(UnixMillis(NOW.0 - 5_400_000)))),
            ("since=1d", Some(StartAt::Since(UnixMillis(NOW.0 - 86_400_000)))),
            ("since=99999h", Some(StartAt::Since(UnixMillis(NOW.0 - 99_999 * 3_600_000)))),
            ("since=2023-11-14T22:13:20Z", Some(StartAt::Since(NOW))),
            ("since=2023-11-14T23:13:20+01:00", Some(StartAt::Since(NOW))),
            ("since=2023-11-14T23:13:20%2B01:00", Some(StartAt::Since(NOW))),
            ("since=1910-01-01T00:00:00Z", Some(StartAt::Since(UnixMillis(0)))),
        ] {
            assert_eq!(start(query, None), expected, "{query}");
        }
    }

    #[test]
    fn what_a_reconnecting_client_sends_wins_over_the_url_it_was_given() {
        assert_eq!(start("last=5", Some("7kq2f-12")), after("7kq2f-12"));
        assert_eq!(start("after=first&lastEventId=7kq2f-12", None), after("7kq2f-12"));
        assert_eq!(start("lastEventId=7kq2f-3&lastEventId=7kq2f-12", None), after("7kq2f-12"));
        assert_eq!(start("lastEventId=7kq2f-3", Some("7kq2f-12")), after("7kq2f-12"));
        assert_eq!(start("last=5&lastEventId=", Some("")), Some(StartAt::Last(5)));
    }

    #[test]
    fn a_wrong_parameter_is_refused_by_name() {
        for (query, code, parameter) in [
            ("after=7kq2f-12&last=3", Code::ParameterInvalid, "last"),
            ("last=3&since=10m", Code::ParameterInvalid, "since"),
            ("after=7kq2f-1&after=7kq2f-2", Code::ParameterInvalid, "after"),
            ("after=", Code::IdInvalid, "after"),
            ("after=7kq2f", Code::IdInvalid, "after"),
            ("after=last", Code::IdInvalid, "after"),
            ("lastEventId=1", Code::IdInvalid, "lastEventId"),
            ("last=ten", Code::ParameterInvalid, "last"),
            ("last=-1", Code::ParameterInvalid, "last"),
            ("last=18446744073709551616", Code::ParameterInvalid, "last"),
            ("since=yesterday", Code::ParameterInvalid, "since"),
            ("since=-10m", Code::ParameterInvalid, "since"),
            ("since=1mo", Code::ParameterInvalid, "since"),
            ("since=1700000000", Code::ParameterInvalid, "since"),
            ("type=", Code::EventTypeInvalid, "type"),
            ("type=a,,b", Code::EventTypeInvalid, "type"),
            ("type=longwave.gap", Code::EventTypeInvalid, "type"),
            ("limit=0", Code::ParameterInvalid, "limit"),
            ("limit=1.5", Code::ParameterInvalid, "limit"),
            ("wait=soon", Code::ParameterInvalid, "wait"),
            ("wait=-1s", Code::ParameterInvalid, "wait"),
            ("wait=", Code::ParameterInvalid, "wait"),
            ("envelope=maybe", Code::ParameterInvalid, "envelope"),
            ("afetr=first", Code::ParameterInvalid, "afetr"),
        ] {
            let problem = parse(query, None).unwrap_err();
            assert_eq!(problem.code(), code, "{query}: {}", problem.detail());
            assert_eq!(problem.to_json()["parameter"], parameter, "{query}");
        }
    }

    #[test]
    fn a_wrong_header_is_refused_by_name() {
        for (value, code) in
            [("1", Code::IdInvalid), ("first", Code::IdInvalid), ("7kq2f-é", Code::HeaderInvalid)]
        {
            let problem = parse("", Some(value)).unwrap_err();
            assert_eq!(problem.code(), code, "{value}");
            assert_eq!(problem.to_json()["header"], "Last-Event-ID");
        }
        let mut twice = HeaderMap::new();
        twice.append(LAST_EVENT_ID, "7kq2f-1".parse().unwrap());
        twice.append(LAST_EVENT_ID, "7kq2f-2".parse().unwrap());
        let problem = ReadRequest::parse(&Query::default(), &twice, NOW).unwrap_err();
        assert_eq!(problem.code(), Code::HeaderInvalid);
    }

    #[test]
    fn the_other_parameters_are_read() {
        let request = parse("type=a,b&type=message&limit=7&wait=25s&envelope&_=17", None).unwrap();
        assert!(!request.types.is_all());
        assert_eq!(request.limit, Some(7));
        assert_eq!(request.wait, Some(Duration::from_secs(25)));
        assert_eq!(request.data_shape, DataShape::Envelope);
        assert_eq!(parse("wait=25", None).unwrap().wait, Some(Duration::from_secs(25)));
        assert_eq!(parse("wait=500ms", None).unwrap().wait, Some(Duration::from_millis(500)));
        let types = parse("type=longwave.stream,a", None).unwrap().types;
        let wanted =
            [EventType::control("longwave.stream"), EventType::new("a")].map(Result::unwrap);
        assert_eq!(types, TypeFilter::only(wanted));
    }

    #[test]
    fn topics_of_a_query_are_selectors() {
        let parse = |text| selectors(&Query::parse(text).unwrap());
        let set = parse("topic=a&topic=b/**&topic=caf%C3%A9&topic=a").unwrap();
        let names: Vec<&str> = set.iter().map(Selector::as_str).collect();
        assert_eq!(names, ["a", "caf%C3%A9", "b/**"]);
        assert_eq!(parse("").unwrap_err().code(), Code::SelectorInvalid);
        assert_eq!(parse("topic=a/**/b").unwrap_err().to_json()["value"], "a/**/b");
        let many: String = (0..101).map(|i| format!("topic=t{i}&")).collect();
        assert_eq!(parse(&many).unwrap_err().code(), Code::SelectorInvalid);
    }
}

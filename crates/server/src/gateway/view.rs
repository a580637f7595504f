//! Reading a stream in its provider's own dialect: [`relay`], and where to begin: [`Position`]. For those who join late,
//! [`relay_snapshot`].
//!
//! All readers have it from the log, the client that asked for it first included.

use std::sync::Arc;

use axum::BoxError;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, StreamExt as _};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use longwave_core::{EndReason, EventId, Payload, Seq, StartAt, TopicEnd, TopicInfo, TypeFilter};
use longwave_store::{ReadQuery, Start};

use super::running::Running;
use super::snapshot::{self, Past};
use super::stream::{AnswerHead, StreamCursor, StreamId};
use super::{Dialect, STREAM_HEADER, recover, replay};
use crate::http::{App, Code, LONGWAVE_END, Problem, Query, read_problem};
use crate::hub::{Subscribe, SubscriberKind};
use crate::transports::{NativeFraming, NativeKind, OnBrokenEnd, native_body};

/// Where a reader of a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// At the first event.
    First,
    /// Behind this position in the log.
    After(Seq),
    /// Behind the event of this number: [`replay::position_of`].
    AfterNumber(u64),
}

impl Position {
    /// Where a request says that it goes on. Cursors win over numbers: a client that reconnects by itself adds them.
    ///
    /// # Errors
    /// A [`Problem`] for what is no cursor of this stream.
    pub(super) fn of(
        app: &App,
        id: &StreamId,
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Position, Problem> {
        let named = RESUME_PARAMETERS.iter().filter_map(|name| query.all(name).last());
        let cursor = last_event_id(headers).into_iter().chain(named).find(|text| !text.is_empty());
        if let Some(text) = cursor {
            return cursor_position(app, id, text).map(Position::After);
        }
        match query.one("starting_after")? {
            None => Ok(Position::First),
            Some(text) => text.parse().map(Position::AfterNumber).map_err(|_| {
                Problem::new(
                    Code::ParameterInvalid,
                    "starting_after must be the number of an event",
                )
                .with("parameter", "starting_after")
            }),
        }
    }

    async fn seq(self, app: &App, id: &StreamId, dialect: Option<Dialect>) -> Result<Seq, Problem> {
        match (self, dialect) {
            (Position::After(seq), _) => Ok(seq),
            (Position::AfterNumber(number), Some(dialect)) => {
                let found = replay::position_of(&**app.log(), id, dialect, number).await;
                found.map_err(|error| read_problem(&error))
            }
            _ => Ok(Seq::ZERO),
        }
    }
}

/// The header that a reconnecting `EventSource` sends, where it holds text.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(LAST_EVENT_ID)?.to_str().ok()
}

fn cursor_position(app: &App, id: &StreamId, text: &str) -> Result<Seq, Problem> {
    if let Ok(cursor) = text.parse::<StreamCursor>() {
        return match cursor.id == *id {
            true => Ok(cursor.seq),
            false => Err(Problem::new(Code::IdInvalid, "the last event id is of another stream")),
        };
    }
    match text.parse::<EventId>() {
        Ok(event) if event.epoch == app.log().epoch() => Ok(event.seq),
        // Of another log: nothing of it is known here, so everything is new.
        Ok(_) => Ok(Seq::ZERO),
        Err(_) => Err(Problem::new(
            Code::IdInvalid,
            format_args!("the last event id must be one of this stream's, such as {id}:17"),
        )),
    }
}

/// A stream's answer from a position on: what is recorded, and then what comes.
///
/// # Errors
/// A [`Problem`] where the log can't be read, or the server goes down.
pub(super) async fn relay(
    app: &App,
    id: &StreamId,
    answer: &AnswerHead,
    position: Position,
) -> Result<Response, Problem> {
    view(app, id, answer, position, Recorded::AsItCame).await
}

/// The same with what is recorded in a few events, each run of deltas merged into one.
///
/// # Errors
/// As of [`relay`].
pub(super) async fn relay_snapshot(
    app: &App,
    id: &StreamId,
    answer: &AnswerHead,
    position: Position,
) -> Result<Response, Problem> {
    view(app, id, answer, position, Recorded::Compacted).await
}

/// How a reader is given what was recorded before it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recorded {
    AsItCame,
    Compacted,
}

async fn view(
    app: &App,
    id: &StreamId,
    answer: &AnswerHead,
    position: Position,
    recorded: Recorded,
) -> Result<Response, Problem> {
    let dialect = answer.body.dialect();
    let after = position.seq(app, id, dialect).await?;
    let Some(dialect) = dialect else { return whole(app, id, answer).await };
    // Before the end is looked for: so who runs no more has told the log of it, if ever.
    let running = app.gateway().running(id);
    let mut info = topic_info(app, id).await?;
    if running.is_none() && info.as_ref().is_some_and(|info| info.end.is_none()) {
        let ended = recover::end_unfinished(app, id).await;
        ended.map_err(|error| recover::problem(app, &error))?;
        info = topic_info(app, id).await?;
    }
    let end = info.as_ref().and_then(|info| info.end);
    if let Some(end) = end
        && is_at_end(app, id, after).await?
    {
        return Ok(nothing_left(id, end));
    }
    let past = info
        .filter(|info| recorded == Recorded::Compacted && info.last > after)
        .map(|info| Past { id: id.clone(), dialect, after, through: info.last });
    if position != Position::First {
        app.metrics().gateway().resumed();
    }
    let start = match past.as_ref().map_or(after, |past| past.through) {
        // What a claim before this one left behind is no gap in the stream.
        Seq::ZERO => StartAt::First,
        after => StartAt::After(app.id(after)),
    };
    let subscribe = Subscribe {
        selectors: id.selectors(),
        types: TypeFilter::all(),
        start,
        kind: if dialect.is_lines() { SubscriberKind::Ndjson } else { SubscriberKind::Sse },
    };
    let subscription = app.hub().subscribe(subscribe).await?;
    let kind = if dialect.is_lines() { NativeKind::Ndjson } else { NativeKind::Sse };
    let on_broken_end =
        if dialect.tells_errors() { OnBrokenEnd::Finish } else { OnBrokenEnd::Abort };
    let body = native_body(app, subscription, NativeFraming { kind }, on_broken_end);
    // Of a stream that is whole in the log, nothing can be lost by who runs under its id now.
    let body = match running.filter(|_| end.is_none()) {
        Some(running) => until_lost(body, running),
        None => body,
    };
    let body = match past {
        Some(past) => snapshot::then_live(app, past, body),
        None => body,
    };
    let mut response = with_head(id, answer, body);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.extend(end.map(|end| (LONGWAVE_END, reason_value(end.reason))));
    Ok(response)
}

async fn topic_info(app: &App, id: &StreamId) -> Result<Option<TopicInfo>, Problem> {
    app.log().topic(id.topic()).await.map_err(|error| read_problem(&error))
}

/// Breaks a body off where nothing more can be recorded: neither more of the stream nor its end would ever come.
fn until_lost(body: Body, running: Arc<Running>) -> Body {
    let lost = Box::pin(async move { running.lost().await });
    let pieces = stream::unfold(Some((body.into_data_stream(), lost)), async |state| {
        let (mut body, mut lost) = state?;
        tokio::select! {
            biased;
            piece = body.next() => Some((piece?.map_err(BoxError::from), Some((body, lost)))),
            () = &mut lost => {
                // Hyper would throw away what it has not sent yet.
                tokio::task::yield_now().await;
                Some((Err(Lost.into()), None))
            }
        }
    });
    Body::from_stream(pieces)
}

/// Why a body was broken off.
#[derive(Debug, thiserror::Error)]
#[error("the rest of the stream could not be recorded")]
struct Lost;

/// Whether nothing of upstream's own is behind a position in a stream that has ended.
async fn is_at_end(app: &App, id: &StreamId, after: Seq) -> Result<bool, Problem> {
    if after == Seq::ZERO {
        return Ok(false);
    }
    let query = ReadQuery {
        selectors: id.selectors(),
        start: Start::After(after),
        max_events: 1,
        max_bytes: 1,
    };
    let page = app.log().read(query).await.map_err(|error| read_problem(&error))?;
    Ok(page.events.first().is_none_or(|event| matches!(event.payload, Payload::End(_))))
}

/// The answer that was recorded in one piece.
async fn whole(app: &App, id: &StreamId, answer: &AnswerHead) -> Result<Response, Problem> {
    let mut replay = replay::Replay::new(&**app.log(), id, Seq::ZERO);
    let mut body = Body::empty();
    while let Some(events) = replay.next().await.map_err(|error| read_problem(&error))? {
        let found = events.iter().find_map(|event| replay::own(event));
        if let Some(message) = found {
            body = Body::from(message.data.clone());
            break;
        }
    }
    Ok(with_head(id, answer, body))
}

pub(super) fn with_head(id: &StreamId, answer: &AnswerHead, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.header_map();
    name_stream(response.headers_mut(), id);
    response
}

fn nothing_left(id: &StreamId, end: TopicEnd) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(LONGWAVE_END, reason_value(end.reason));
    name_stream(headers, id);
    response
}

/// Tells where a stream can be read again.
pub(super) fn name_stream(headers: &mut HeaderMap, id: &StreamId) {
    let path = id.path();
    // An id has only characters that headers may have.
    let value = |text: String| HeaderValue::try_from(text).ok();
    let named = [
        (STREAM_HEADER, value(path.clone())),
        (header::LOCATION, value(path.clone())),
        (header::LINK, value(format!("<{path}>; rel=\"resume\""))),
    ];
    headers.extend(named.into_iter().filter_map(|(name, value)| Some((name, value?))));
}

fn reason_value(reason: EndReason) -> HeaderValue {
    HeaderValue::from_static(reason.as_str())
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const RESUME_PARAMETERS: [&str; 2] = ["lastEventId", "last_event_id"];
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

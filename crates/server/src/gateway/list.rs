//! `GET /streams`, newest first: [`list`], and the order that it goes by: [`Index`].
//!
//! The log lists topics by name, and names of streams are random. So it is kept in memory which stream began where in the
//! log, and nothing else: how a stream is, is asked of the log when it is listed.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::CACHE_CONTROL;
use longwave_core::{EndReason, Seq, TopicInfo};
use longwave_store::{Log, ReadError};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::access::{TOKEN_PARAMETER, Visitor, missing};
use super::manage::{NO_STORE, StreamDocument};
use super::stream::{Heads, StreamCursor, StreamId};
use crate::http::{App, Code, Problem, Query, read_problem};

/// The streams that there are, in order of their beginnings.
///
/// An entry takes 24 bytes, and as much again at most for the room that the tree leaves: 48 MB for a million streams. An
/// entry whose stream is gone is dropped when it is listed, or when a sweep comes by: each stream that is over has two
/// entries looked at, so that those of streams that are gone never become more than those of streams that are there.
#[derive(Debug)]
pub(super) struct Index {
    entries: Mutex<Entries>,
    /// Whether what was in the log at the start is in it.
    is_filled: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Entries {
    by_start: BTreeMap<Seq, [u8; 16]>,
    /// Where the sweep is.
    swept: Seq,
}

impl Index {
    pub(super) fn new() -> Index {
        Index { entries: Mutex::default(), is_filled: watch::Sender::new(false) }
    }

    /// Enters a stream, by the position of its first event.
    pub(super) fn insert(&self, start: Seq, id: &StreamId) {
        self.with(|entries| entries.by_start.insert(start, id.to_bytes()));
    }

    /// To be held while the streams of the log are entered. Who waits for that waits no longer once it is dropped.
    pub(super) fn filling(&self) -> Filling<'_> {
        Filling(self)
    }

    /// Looks whether some of the streams are still there, and drops the others.
    pub(super) async fn sweep(&self, log: &dyn Log) {
        for (start, id) in self.next_to_sweep() {
            // A log that can't be read now is asked again another time.
            drop(self.look_up(log, start, &id).await);
        }
    }

    /// What the log has of an entry's stream; `None` where that is gone, or has lost its beginning. The entry goes too.
    async fn look_up(
        &self,
        log: &dyn Log,
        start: Seq,
        id: &StreamId,
    ) -> Result<Option<TopicInfo>, ReadError> {
        let info = log.topic(id.topic()).await?.filter(|info| info.first == Some(start));
        if info.is_none() {
            self.with(|entries| entries.by_start.remove(&start));
        }
        Ok(info)
    }

    /// Waits until what was in the log at the start is in it.
    async fn filled(&self) {
        // The sender is here, so it can't be gone.
        drop(self.is_filled.subscribe().wait_for(|is_filled| *is_filled).await);
    }

    /// The next streams that began before a position, the newest of them first.
    fn before(&self, before: Seq, count: usize) -> Vec<(Seq, StreamId)> {
        self.with(|entries| {
            let older = entries.by_start.range(..before).rev().take(count);
            older.map(|(start, bytes)| (*start, StreamId::of_bytes(*bytes))).collect()
        })
    }

    fn next_to_sweep(&self) -> Vec<(Seq, StreamId)> {
        self.with(|entries| {
            let behind = (Bound::Excluded(entries.swept), Bound::Unbounded);
            let next = entries.by_start.range(behind).take(SWEPT_AT_ONCE);
            let next: Vec<_> =
                next.map(|(start, bytes)| (*start, StreamId::of_bytes(*bytes))).collect();
            // Behind the last one it begins again.
            entries.swept = next.last().map_or(Seq::ZERO, |(start, _)| *start);
            next
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> T {
        change(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The index is being filled.
pub(super) struct Filling<'a>(&'a Index);

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.is_filled.send_replace(true);
    }
}

/// Streams, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StreamList {
    streams: Vec<StreamDocument>,
    /// What to give as `after` for the next page; null where this is the last. A page may have fewer streams than asked
    /// for, and even none, though there are more.
    #[schema(required = true)]
    next: Option<String>,
}

/// Lists streams, newest first. Where viewers need a right to each stream, those that the caller began.
#[utoipa::path(
    get,
    path = "/streams",
    tag = "gateway",
    params(
        ("state" = Option<String>, Query, description = "Only streams that are like this: running, done, error, truncated, cancelled, timeout, crashed"),
        ("after" = Option<String>, Query, description = "Only streams that began before: `next` of the page before"),
        ("limit" = Option<u64>, Query, description = "At most this many; 100 unless it is given", minimum = 1, maximum = 1000),
    ),
    responses(
        (status = 200, description = "The streams", body = StreamList),
        (status = "default", response = crate::http::ProblemResponse),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&["state", "after", "limit", TOKEN_PARAMETER])?;
    let visitor = Visitor::of(&app, &headers, &query)?;
    if visitor.has_token() {
        return Err(missing("a token is for one stream, and gives no right to list them"));
    }
    let wish = Wish { state: state(&query)?, limit: limit(&query)? };
    let before = start(&app, &query).await?;
    app.gateway().index().filled().await;
    let list = page(&app, &visitor, wish, before).await.map_err(|error| read_problem(&error))?;
    let mut response = Json(list).into_response();
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// Which streams are wanted.
#[derive(Clone, Copy)]
struct Wish {
    state: Option<StreamState>,
    limit: usize,
}

async fn page(
    app: &App,
    visitor: &Visitor,
    wish: Wish,
    mut before: Seq,
) -> Result<StreamList, ReadError> {
    let index = app.gateway().index();
    let mut list = StreamList { streams: Vec::new(), next: None };
    let mut looked_at = 0;
    loop {
        let entries = index.before(before, BATCH);
        if entries.is_empty() {
            list.next = None;
            return Ok(list);
        }
        for (start, id) in entries {
            if list.streams.len() == wish.limit || looked_at == LOOKED_AT_MAX {
                return Ok(list);
            }
            (before, looked_at) = (start, looked_at + 1);
            list.next = Some(format!("{id}:{start}"));
            list.streams.extend(listed(app, visitor, wish, start, &id).await?);
        }
    }
}

/// A stream as it is listed, where it is there and wanted.
async fn listed(
    app: &App,
    visitor: &Visitor,
    wish: Wish,
    start: Seq,
    id: &StreamId,
) -> Result<Option<StreamDocument>, ReadError> {
    let log = &**app.log();
    let Some(info) = app.gateway().index().look_up(log, start, id).await? else { return Ok(None) };
    if wish.state.is_some_and(|state| !state.is_of(&info)) {
        return Ok(None);
    }
    let Some(heads) = Heads::read(log, id).await? else { return Ok(None) };
    let is_shown = !visitor.is_bound(app) || visitor.began(app, id, &heads.request);
    Ok(is_shown.then(|| StreamDocument::new(app, id, &info, heads)))
}

/// How a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamState {
    Running,
    Ended(EndReason),
}

impl StreamState {
    fn is_of(self, info: &TopicInfo) -> bool {
        match self {
            StreamState::Running => info.end.is_none(),
            StreamState::Ended(reason) => info.end.is_some_and(|end| end.reason == reason),
        }
    }
}

fn state(query: &Query) -> Result<Option<StreamState>, Problem> {
    match query.one("state")? {
        None => Ok(None),
        Some("running") => Ok(Some(StreamState::Running)),
        Some(text) => text.parse().map(|reason| Some(StreamState::Ended(reason))).map_err(|_| {
            invalid(
                "state",
                "state is one of running, done, error, truncated, cancelled, timeout, crashed",
            )
        }),
    }
}

fn limit(query: &Query) -> Result<usize, Problem> {
    let Some(text) = query.one("limit")? else { return Ok(LIMIT_DEFAULT) };
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| {
        invalid("limit", format_args!("limit must be a number from 1 to {LIMIT_MAX}"))
    })
}

/// Where a page begins. A stream's id alone is understood too, as long as the stream is there.
async fn start(app: &App, query: &Query) -> Result<Seq, Problem> {
    let Some(text) = query.one("after")? else { return Ok(Seq(u64::MAX)) };
    if let Ok(cursor) = text.parse::<StreamCursor>() {
        return Ok(cursor.seq);
    }
    let unknown = || invalid("after", "after must be the next of another page, or a stream's id");
    let id: StreamId = text.parse().map_err(|_| unknown())?;
    let info = app.log().topic(id.topic()).await.map_err(|error| read_problem(&error))?;
    info.and_then(|info| info.first).ok_or_else(unknown)
}

fn invalid(parameter: &str, detail: impl std::fmt::Display) -> Problem {
    Problem::new(Code::ParameterInvalid, detail).with("parameter", parameter)
}

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// How many entries are taken from the index at once.
const BATCH: usize = 100;
/// How many streams are looked at for one page, however few of them are wanted.
const LOOKED_AT_MAX: usize = 2 * LIMIT_MAX;
/// How many entries are looked at when a stream is over.
const SWEPT_AT_ONCE: usize = 2;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longwave_core::{Append, Expected};
    use longwave_store::{MemoryLog, MemoryOptions};

    use super::super::stream::RequestHead;
    use super::*;
    use crate::http::HttpOptions;

    async fn begin(log: &MemoryLog, id: &StreamId) -> Seq {
        let head = RequestHead {
            route: "/v1".to_owned(),
            asked_ms: 1,
            method: "POST".to_owned(),
            path: "/v1/x".to_owned(),
            model: None,
            owner: String::new(),
            request: String::new(),
            keyed: false,
            background: None,
        };
        let append = Append {
            topic: id.topic(),
            messages: vec![head.message()],
            end: Some(EndReason::Done),
            key: None,
            expected: Expected::Any,
        };
        log.append(append).await.unwrap().first
    }

    fn ids() -> Vec<StreamId> {
        // Their names are in another order.
        [9, 1, 5, 3, 7].map(|byte| StreamId::of_bytes([byte; 16])).to_vec()
    }

    #[tokio::test]
    async fn what_was_in_the_log_before_is_listed_newest_first() {
        let (log, commits) = MemoryLog::open(MemoryOptions::default()).unwrap();
        for id in ids() {
            begin(&log, &id).await;
        }
        let app = App::new(Arc::clone(&log) as _, commits, HttpOptions::default(), &[]).unwrap();
        app.gateway().index().filled().await;
        let wish = Wish { state: None, limit: 10 };
        let list = page(&app, &Visitor::default(), wish, Seq(u64::MAX)).await.unwrap();
        let listed: Vec<String> =
            list.streams.iter().map(|stream| stream.id().to_owned()).collect();
        let newest_first: Vec<String> = ids().iter().rev().map(StreamId::to_string).collect();
        assert_eq!((listed, list.next), (newest_first, None));
    }

    #[tokio::test]
    async fn sweeps_come_by_every_entry_and_drop_those_of_streams_that_are_gone() {
        let (log, _commits) = MemoryLog::open(MemoryOptions::default()).unwrap();
        let index = Index::new();
        for id in ids() {
            index.insert(begin(&log, &id).await, &id);
        }
        let [gone, again] = [&ids()[1], &ids()[4]];
        for id in [gone, again] {
            log.delete(id.topic()).await.unwrap();
        }
        // Of the same name, and another stream.
        let restarted = begin(&log, again).await;
        index.insert(restarted, again);
        for _ in 0..ids().len() {
            index.sweep(&*log).await;
        }
        let kept = index.before(Seq(u64::MAX), 10);
        let names: Vec<StreamId> = kept.iter().map(|(_, id)| id.clone()).collect();
        assert_eq!(names, [ids()[4].clone(), ids()[3].clone(), ids()[2].clone(), ids()[0].clone()]);
        assert_eq!(kept[0].0, restarted);
    }
}

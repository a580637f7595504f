//! The JSON page: short polls and long polls. [`answer`] is all of it.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use longwave_core::{Epoch, Payload, SelectorSet, StartAt};

use super::LONGWAVE_CURSOR;
use super::read_request::ReadRequest;
use super::wire::{self, Stamp};
use crate::http::{App, Problem, Transport};
use crate::hub::{Page, PageQuery, SubscriberKind};

/// Answers a poll with the events behind its start, from the first retained one unless it says otherwise; with
/// `?wait`, as soon as there is one.
///
/// A topic that nobody published to has an empty page: it may come to be at any moment, and who waits for its first
/// event is no different from who waits for its next.
///
/// # Errors
/// A [`Problem`] where the log can't be read.
pub(super) async fn answer(
    app: &App,
    headers: &HeaderMap,
    selectors: Arc<SelectorSet>,
    request: ReadRequest,
) -> Result<Response, Problem> {
    let options = app.options();
    let limit = match request.limit {
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        None => options.page_events_default,
    };
    let wait_max = Duration::from_millis(options.long_poll_wait_ms_max);
    let wait = request.wait.map(|wait| wait.min(wait_max)).filter(|wait| !wait.is_zero());
    let several = selectors.as_topic().is_none();
    let query = PageQuery {
        selectors,
        types: request.types,
        start: request.start.unwrap_or(StartAt::First),
        limit: limit.min(options.page_events_max),
        wait,
    };
    let transport = match wait {
        Some(_) => Transport::Live(SubscriberKind::LongPoll),
        None => Transport::Page,
    };
    let page = app.hub().page(query).await?;
    app.metrics().delivered(transport, page.events.len() as u64);
    let cursor = page.cursor.to_string();
    let etag = format!("\"{cursor}\"");
    let mut response = if is_known(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let scope = if several { Scope::SeveralTopics } else { Scope::OneTopic };
        let body = encode(app.log().epoch(), &page, scope);
        ([(CONTENT_TYPE, "application/json")], body).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in [(ETAG, etag), (LONGWAVE_CURSOR, cursor)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

/// Which topics' ends are told where.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    OneTopic,
    SeveralTopics,
}

/// `{"events","cursor","end"}`, with `gap` where there is one, and with `ends` where several topics were asked for and
/// some of them ended within the page.
fn encode(epoch: Epoch, page: &Page, scope: Scope) -> Vec<u8> {
    let mut out = Vec::new();
    out.push(b'{');
    if let Some(gap) = &page.gap {
        out.extend_from_slice(b"\"gap\":");
        wire::write_gap(&mut out, gap);
        out.push(b',');
    }
    out.extend_from_slice(b"\"events\":[");
    let mut ends = Vec::new();
    let mut separate = Separator::default();
    for event in &page.events {
        let stamp = Stamp::new(epoch, event.seq, &event.topic, event.time);
        match &event.payload {
            Payload::Message(message) => {
                separate.write(&mut out);
                wire::write_envelope(&mut out, stamp, message);
            }
            Payload::End(reason) => ends.push((stamp, *reason)),
        }
    }
    out.extend_from_slice(format!("],\"cursor\":\"{}\",\"end\":", page.cursor).as_bytes());
    match page.end {
        Some(end) => wire::write_topic_end(&mut out, epoch, end),
        None => out.extend_from_slice(b"null"),
    }
    if scope == Scope::SeveralTopics && !ends.is_empty() {
        out.extend_from_slice(b",\"ends\":[");
        let mut separate = Separator::default();
        for (stamp, reason) in ends {
            separate.write(&mut out);
            wire::write_end(&mut out, stamp, reason);
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}\n");
    out
}

/// The commas of a JSON array.
#[derive(Default)]
struct Separator {
    written: usize,
}

impl Separator {
    fn write(&mut self, out: &mut Vec<u8>) {
        if self.written > 0 {
            out.push(b',');
        }
        self.written += 1;
    }
}

/// Whether the client says that it has this page (RFC 9110, section 13.1.2). The comparison is weak: a proxy that
/// compressed the page may have marked the tag as such.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

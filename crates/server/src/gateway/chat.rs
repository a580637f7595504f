//! The AI SDK's calls to come back to a chat's running answer, and to stop it: [`handle`].
//!
//! `useChat({ resume: true })` asks for `GET <api>/<chat id>/stream` when a page is opened: the whole UI message stream
//! where an answer runs, `204` where none does. Stopping is left to applications there; here it is `POST
//! <api>/<chat id>/stop`, or `DELETE` of what is resumed. A chat is known to the client that wrote in it, by the newest
//! of its streams.

use std::borrow::Cow;

use axum::response::{IntoResponse as _, Response};
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use super::access::Visitor;
use super::alias::{Caller, decoded};
use super::key::Principal;
use super::stream::{AnswerHead, Heads, StreamCursor, StreamId};
use super::token::Right;
use super::view::{Position, last_event_id, relay};
use super::{Dialect, Route, manage};
use crate::http::{App, Problem, read_problem};

/// Answers a call about a chat; `None` where it is none, or of a chat that nobody knows here and that upstream may know.
///
/// # Errors
/// A [`Problem`] where the log can't be read or written.
pub(super) async fn handle(
    app: &App,
    route: &Route,
    parts: &Parts,
    visitor: &Visitor,
) -> Result<Option<Response>, Problem> {
    let is_chats = match route.options.dialect {
        Some(Dialect::VercelUi) => true,
        Some(_) => return Ok(None),
        None => false,
    };
    let Some(Call { kind, api, chat_id }) = Call::of(&parts.method, parts.uri.path()) else {
        return Ok(None);
    };
    // What is asked for lies below the route.
    if route.options.rest_of(api).is_none() {
        return Ok(None);
    }
    let principal = Principal::of(&parts.headers, &route.options.principal_headers);
    let alias = Caller::new(&route.options, principal).chat(app, api, &chat_id);
    let Some(id) = alias.stream(app).await.map_err(|error| read_problem(&error))? else {
        return Ok(is_chats.then(nothing_runs));
    };
    let Some(answer) = running(app, &id).await? else { return Ok(Some(nothing_runs())) };
    visitor.check(app, &id, kind.right()).await?;
    match kind {
        Kind::Resume => relay(app, &id, &answer, position(&id, parts)).await.map(Some),
        Kind::Stop => {
            manage::stop(app, &id).await?;
            manage::info(app, &id).await.map(Some)
        }
    }
}

/// A call about a chat.
#[derive(Debug, PartialEq, Eq)]
struct Call<'a> {
    kind: Kind,
    /// Where the chat's messages are posted.
    api: &'a str,
    chat_id: Cow<'a, str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Resume,
    Stop,
}

impl Kind {
    /// What the call takes.
    fn right(self) -> Right {
        match self {
            Kind::Resume => Right::Read,
            Kind::Stop => Right::Cancel,
        }
    }
}

impl<'a> Call<'a> {
    fn of(method: &Method, path: &'a str) -> Option<Call<'a>> {
        let (path, word) = path.trim_end_matches('/').rsplit_once('/')?;
        let kind = match (method, word) {
            (&Method::GET, "stream") => Kind::Resume,
            (&Method::DELETE, "stream") | (&Method::POST, "stop") => Kind::Stop,
            _ => return None,
        };
        let (api, chat_id) = path.rsplit_once('/')?;
        Some(Call { kind, api, chat_id: decoded(chat_id)? })
    }
}

/// How upstream answered a stream that has not ended; `None` where it has.
async fn running(app: &App, id: &StreamId) -> Result<Option<AnswerHead>, Problem> {
    let info = app.log().topic(id.topic()).await.map_err(|error| read_problem(&error))?;
    if info.is_none_or(|info| info.end.is_some()) {
        return Ok(None);
    }
    let heads = Heads::read(&**app.log(), id).await.map_err(|error| read_problem(&error))?;
    Ok(heads.and_then(|heads| heads.answer).map(|(_, answer)| answer))
}

/// The first event, which is what the SDK expects, unless the client says which of this stream's it has.
fn position(id: &StreamId, parts: &Parts) -> Position {
    last_event_id(&parts.headers)
        .and_then(|text| text.parse::<StreamCursor>().ok())
        .filter(|cursor| cursor.id == *id)
        .map_or(Position::First, |cursor| Position::After(cursor.seq))
}

fn nothing_runs() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_about_a_chat_are_told_from_others() {
        let of = |method: &str, path: &'static str| {
            let call = Call::of(&method.parse().unwrap(), path)?;
            Some((call.kind, call.api, call.chat_id.into_owned()))
        };
        let chat = |kind| Some((kind, "/api/chat", "a b/c".to_owned()));
        assert_eq!(of("GET", "/api/chat/a%20b%2Fc/stream"), chat(Kind::Resume));
        assert_eq!(of("POST", "/api/chat/a%20b%2Fc/stop/"), chat(Kind::Stop));
        assert_eq!(of("DELETE", "/api/chat/a%20b%2Fc/stream"), chat(Kind::Stop));
        for (method, path) in [
            ("POST", "/api/chat/a/stream"),
            ("GET", "/api/chat/a/stop"),
            ("GET", "/stream"),
            ("GET", "/api/chat//stream"),
            ("POST", "/api/chat"),
        ] {
            assert_eq!(of(method, path), None, "{method} {path}");
        }
    }
}

//! Names that clients have for a stream besides its id: [`Alias`].
//!
//! Upstream's own id of a response is one, the id of a chat of the AI SDK another. An alias is a topic of the server's own
//! whose newest event says the stream, so it survives a restart and holds on every server of the log. Its name is a keyed
//! digest that takes in who asked: a client finds only what it began itself.

use std::borrow::Cow;

use bytes::Bytes;
use longwave_core::{
    Append, Config, DataFormat, EndReason, Expected, Message, NewMessage, Payload, SelectorSet,
    Seq, TopicName,
};
use longwave_store::{AppendError, DeleteError, ReadError, ReadQuery, Start};
use serde::{Deserialize, Serialize};

use super::Dialect;
use super::key::Principal;
use super::route::RouteOptions;
use super::stream::StreamId;
use crate::http::App;

/// A name that a client has for a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Alias(String);

/// An alias that says a stream, as is written of that stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    alias: Alias,
    /// Where in the log it was said.
    seq: u64,
}

/// Who asks, and where: what aliases are bound to.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    route: String,
    principal: Principal,
}

/// What of a request its stream gets an alias from.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    pub(super) caller: Caller,
    /// The path of a request that creates something; `None` for any other.
    pub(super) created_at: Option<String>,
    pub(super) chat_id: Option<String>,
}

impl Caller {
    pub(super) fn new(route: &RouteOptions, principal: Principal) -> Caller {
        Caller { route: route.prefix.clone(), principal }
    }

    /// The alias of the response that was created at a path and has this id upstream.
    pub(super) fn response(&self, app: &App, created_at: &str, id: &str) -> Alias {
        self.alias(app, "response", created_at, id)
    }

    /// The alias of the newest stream of a chat.
    pub(super) fn chat(&self, app: &App, created_at: &str, id: &str) -> Alias {
        self.alias(app, "chat", created_at, id)
    }

    fn alias(&self, app: &App, kind: &str, created_at: &str, name: &str) -> Alias {
        let secret = app.gateway().secret();
        let parts = [kind, &self.route, created_at.trim_end_matches('/'), name];
        Alias(secret.alias_of(&self.principal, parts))
    }
}

impl Naming {
    /// The alias of a stream that turned out to be of this dialect, and to have this id upstream.
    pub(super) fn alias(
        &self,
        app: &App,
        dialect: Dialect,
        response_id: Option<&str>,
    ) -> Option<Alias> {
        let created_at = self.created_at.as_deref()?;
        match dialect {
            Dialect::OpenaiResponses => Some(self.caller.response(app, created_at, response_id?)),
            Dialect::VercelUi => Some(self.caller.chat(app, created_at, self.chat_id.as_deref()?)),
            Dialect::OpenaiChat | Dialect::Anthropic | Dialect::Ollama | Dialect::Sse => None,
        }
    }
}

impl Alias {
    /// Says that this is a stream's from now on.
    ///
    /// # Errors
    /// [`AppendError`].
    pub(super) async fn note(self, app: &App, id: &StreamId) -> Result<Noted, AppendError> {
        for _ in 0..NOTES_MAX {
            match self.append(app, id).await {
                // Of a stream that is over: it begins anew, unless somebody else was quicker with that.
                Err(AppendError::Ended { .. }) => match app.log().delete(self.topic()).await {
                    Ok(()) | Err(DeleteError::NotFound) => {}
                    Err(error) => tracing::warn!(%error, "an alias could not be renewed"),
                },
                appended => return appended.map(|seq| Noted { alias: self, seq: seq.0 }),
            }
        }
        self.append(app, id).await.map(|seq| Noted { alias: self, seq: seq.0 })
    }

    async fn append(&self, app: &App, id: &StreamId) -> Result<Seq, AppendError> {
        let message = Message {
            event_type: None,
            format: DataFormat::Text,
            data: Bytes::copy_from_slice(id.as_str().as_bytes()),
            source: None,
        };
        let append = Append {
            topic: self.topic(),
            messages: vec![NewMessage { message, key: None }],
            end: None,
            key: None,
            expected: Expected::Any,
        };
        app.log().append(append).await.map(|appended| appended.last)
    }

    /// The stream that it was said to be last; `None` where there is no such alias.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) async fn stream(&self, app: &App) -> Result<Option<StreamId>, ReadError> {
        let mut found = None;
        let mut after = Seq::ZERO;
        loop {
            let query = ReadQuery {
                selectors: SelectorSet::topic(self.topic()).into(),
                start: Start::After(after),
                max_events: PAGE_EVENTS_MAX,
                max_bytes: usize::MAX,
            };
            let page = app.log().read(query).await?;
            let newest = page.events.iter().rev().find_map(|event| match &event.payload {
                Payload::Message(message) => std::str::from_utf8(&message.data).ok()?.parse().ok(),
                Payload::End(_) => None,
            });
            found = newest.or(found);
            if page.caught_up {
                return Ok(found);
            }
            after = page.next;
        }
    }

    /// # Panics
    /// Never: a digest is a segment of a topic.
    fn topic(&self) -> TopicName {
        #[expect(clippy::unwrap_used, reason = "a digest has only characters that topics may have")]
        TopicName::reserved(&format!("{TOPIC_PREFIX}{}", self.0)).unwrap()
    }
}

impl Noted {
    /// Lets the alias go when its stream is over and gone, after as long as that is kept. Nothing happens where it is
    /// another stream's by now.
    pub(super) async fn end(&self, app: &App, retention_ms: Option<u64>) {
        let append = Append {
            topic: self.alias.topic(),
            messages: Vec::new(),
            end: Some(EndReason::Done),
            key: None,
            expected: Expected::Last(Seq(self.seq)),
        };
        match app.log().append(append).await {
            Ok(_) => {}
            Err(AppendError::Fenced { .. } | AppendError::Ended { .. }) => return,
            Err(error) => {
                tracing::warn!(%error, "an alias could not be ended");
                return;
            }
        }
        let Some(ttl_ms) = retention_ms else { return };
        let config = Config { ttl_ms: Some(ttl_ms), ..Config::default() };
        if let Err(error) = app.log().configure(self.alias.topic(), config).await {
            tracing::warn!(%error, "it could not be set how long an alias is kept");
        }
    }
}

/// A segment of a path, decoded; `None` where it is no text.
pub(super) fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    percent_encoding::percent_decode_str(segment).decode_utf8().ok().filter(|text| !text.is_empty())
}

const TOPIC_PREFIX: &str = "$gateway/alias/";
/// How often an alias is begun anew where others do the same.
const NOTES_MAX: usize = 5;
/// How many of a chat's streams are looked at together.
const PAGE_EVENTS_MAX: usize = 512;

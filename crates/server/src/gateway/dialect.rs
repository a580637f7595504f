//! What an upstream's events mean: [`Dialect`], and the [`Transcript`] that follows one stream.
//!
//! A dialect never changes what upstream sent. It tells content from envelope, a clean end from a broken one, and how
//! clients are told of an end that upstream did not tell them. All here is a function of bytes: cutting a body into
//! events, recording and relaying them is done elsewhere. Read [`Dialect`] first, then [`Transcript`]; each wire
//! format's own rules are in the file of its name.

mod anthropic;
mod asked;
mod compact;
mod detect;
mod failure;
mod json;
mod ollama;
mod openai_chat;
mod openai_responses;
mod shapes;
mod sse;
#[cfg(test)]
mod tests;
mod transcript;
mod vercel_ui;

use std::fmt;
use std::str::FromStr;

use http::HeaderMap;

pub(crate) use self::asked::{Asked, Streaming, asked, without_background};
pub(crate) use self::compact::compact;
pub(crate) use self::failure::Failure;
pub(crate) use self::json::with_members;
pub(crate) use self::transcript::{Closing, Meaning, Transcript, Usage};

/// The wire format of an upstream's streamed answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a new dialect must be thought of at every place")]
pub enum Dialect {
    /// OpenAI's chat completions, and the many servers that speak them.
    OpenaiChat,
    /// OpenAI's Responses.
    OpenaiResponses,
    /// Anthropic's messages.
    Anthropic,
    /// The AI SDK's UI message stream, version 1.
    VercelUi,
    /// Ollama's NDJSON.
    Ollama,
    /// Server-Sent Events of any other kind.
    Sse,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 6] = [
        Dialect::OpenaiChat,
        Dialect::OpenaiResponses,
        Dialect::Anthropic,
        Dialect::VercelUi,
        Dialect::Ollama,
        Dialect::Sse,
    ];

    /// Its name in settings and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::OpenaiChat => "openai-chat",
            Dialect::OpenaiResponses => "openai-responses",
            Dialect::Anthropic => "anthropic",
            Dialect::VercelUi => "vercel-ui",
            Dialect::Ollama => "ollama",
            Dialect::Sse => "sse",
        }
    }

    /// The dialect of a streamed answer, by its headers and its first event; the request's path decides where these
    /// don't tell, as with an error.
    pub(crate) fn detect(path: &str, headers: &HeaderMap, first: Piece<'_>) -> Dialect {
        detect::detect(path, headers, first)
    }

    /// The dialect that is spoken at a path with a name that a provider made known.
    pub(crate) fn of_path(path: &str) -> Option<Dialect> {
        detect::by_path(path)
    }

    /// The dialect that a streamed answer without an event should have had, by its headers and the request's path;
    /// [`Dialect::Sse`], of which nothing is known, where these don't tell.
    pub(crate) fn expected(path: &str, headers: &HeaderMap) -> Dialect {
        detect::expected(path, headers)
    }

    /// Whether its streams are lines of JSON, and no event streams.
    pub(crate) fn is_lines(self) -> bool {
        self == Dialect::Ollama
    }

    /// Whether it has an event for errors. Where it has none, an end that upstream did not tell is told by breaking
    /// the connection.
    pub(crate) fn tells_errors(self) -> bool {
        self != Dialect::Sse
    }

    /// Appends what an event adds to the text that a reader of the answer sees.
    pub(crate) fn push_text(self, piece: Piece<'_>, text: &mut String) {
        self.rules().push_text(piece, text);
    }

    fn rules(self) -> &'static dyn Rules {
        match self {
            Dialect::OpenaiChat => &openai_chat::OpenaiChat,
            Dialect::OpenaiResponses => &openai_responses::OpenaiResponses,
            Dialect::Anthropic => &anthropic::Anthropic,
            Dialect::VercelUi => &vercel_ui::VercelUi,
            Dialect::Ollama => &ollama::Ollama,
            Dialect::Sse => &sse::Sse,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = ParseDialectError;

    fn from_str(text: &str) -> Result<Dialect, ParseDialectError> {
        Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == text).ok_or(ParseDialectError)
    }
}

/// A text is no dialect's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a dialect is one of openai-chat, openai-responses, anthropic, vercel-ui, ollama, sse")]
pub struct ParseDialectError;

/// One event of an upstream's answer: an event's type and data, or a line of NDJSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// What its `event:` line says.
    pub event_type: Option<&'a str>,
    /// Its data, or the line without its end.
    pub data: &'a [u8],
}

impl Piece<'_> {
    /// Whether it is the marker that ends the event streams of OpenAI and of those who follow it.
    fn is_done_marker(self) -> bool {
        self.data.trim_ascii_start().starts_with(b"[DONE]")
    }
}

/// What one wire format has to say. Every function takes whatever bytes come, and has an answer for them.
trait Rules: Sync {
    /// Takes in the next event of a stream.
    fn take(&self, known: &mut transcript::Known, piece: Piece<'_>) -> Meaning;

    /// The events that tell of an end that upstream did not tell.
    fn closing(&self, known: &transcript::Known, notice: transcript::Notice<'_>) -> Vec<Closing>;

    /// What of an event is one more piece of a text that is sent in pieces, where that is all its news.
    fn delta<'a>(&self, piece: Piece<'a>) -> Option<compact::Delta<'a>>;

    /// Appends what an event adds to the text that a reader of the answer sees.
    fn push_text(&self, piece: Piece<'_>, text: &mut String);
}

//! What an upstream's events mean: [`Dialect`].
//!
//! A dialect never changes what upstream sent. It tells content from envelope, a clean end from a broken one, and how
//! clients are told of an end that upstream did not tell them.

use std::fmt;
use std::str::FromStr;

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

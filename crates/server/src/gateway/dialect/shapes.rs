//! Shapes of JSON that several wire formats have: [`TextDelta`], [`TokenCounts`].

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::Text;

/// A piece of text, of the kind that the event's type says.
#[derive(Deserialize)]
pub(super) struct TextDelta<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) delta: Text<'a>,
}

/// What an answer took. Each member by itself: a null must not hide the other.
#[derive(Deserialize)]
pub(super) struct TokenCounts<'a> {
    #[serde(borrow, alias = "inputTokens")]
    pub(super) input_tokens: Option<&'a RawValue>,
    #[serde(borrow, alias = "outputTokens")]
    pub(super) output_tokens: Option<&'a RawValue>,
}

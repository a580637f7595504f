//! What a request's body asks for, as far as the gateway has to know: [`Asked`].

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{Members, part_of, span_of, text_of};

/// What a request's body asks for. A member of another type than it has to be counts as missing: it is upstream that
/// judges requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// An answer in pieces.
    pub stream: bool,
    /// An answer that goes on without its client.
    pub background: bool,
    pub model: Option<String>,
    /// The id of the AI SDK's chat.
    pub chat_id: Option<String>,
}

/// What a request's body asks for; `None` where it is no JSON object.
pub(crate) fn asked(body: &[u8]) -> Option<Asked> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let body: Body<'_> = serde_json::from_slice(body).ok().filter(|_| is_object)?;
    Some(Asked {
        stream: part_of(body.stream).unwrap_or_default(),
        background: part_of(body.background).unwrap_or_default(),
        model: text_of(body.model).map(Into::into),
        chat_id: text_of(body.id).map(Into::into),
    })
}

/// What becomes of a request's member `stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streaming {
    AsAsked,
    /// The answer comes in pieces whatever was asked for.
    Forced,
}

/// The body without its member `background`, all else byte for byte as it was but for `stream`. `None` where it is no
/// JSON object.
pub(crate) fn without_background(body: &[u8], streaming: Streaming) -> Option<Bytes> {
    let Members(members) = serde_json::from_slice(body).ok()?;
    let open = body.iter().position(|&byte| byte == b'{')?.checked_add(1)?;
    let mut kept = Vec::with_capacity(body.len().saturating_add(STREAM.len()));
    kept.extend_from_slice(body.get(..open)?);
    let (mut at, mut is_first, mut is_streaming) = (open, true, streaming == Streaming::AsAsked);
    for (name, value) in members {
        let span = span_of(body, value.get())?;
        // From behind the member before: a comma, spaces, the name, a colon.
        let lead = body.get(at..span.start)?;
        at = span.end;
        if name == "background" {
            continue;
        }
        // Behind a first member that is left out, a comma is too many.
        let comma = lead.iter().position(|&byte| !byte.is_ascii_whitespace()).filter(|_| is_first);
        let lead = comma.and_then(|at| lead.get(at..)?.strip_prefix(b",")).unwrap_or(lead);
        kept.extend_from_slice(lead);
        is_first = false;
        if name == "stream" && streaming == Streaming::Forced {
            kept.extend_from_slice(b"true");
            is_streaming = true;
        } else {
            kept.extend_from_slice(body.get(span)?);
        }
    }
    if !is_streaming {
        kept.extend_from_slice(if is_first { b"" } else { b"," });
        kept.extend_from_slice(STREAM);
    }
    kept.extend_from_slice(body.get(at..)?);
    Some(kept.into())
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    background: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

const STREAM: &[u8] = br#""stream":true"#;

//! What is known of one stream from the events seen so far: [`Transcript`].
//!
//! It keeps no text and holds no more than the last response object that upstream said. Which event means what is
//! each dialect's business.

use longwave_core::EndReason;
use serde_json::value::RawValue;

use super::json::{part_of, text_of};
use super::{Dialect, Failure, Piece, openai_responses};

/// What is known of a stream from the events seen so far.
#[derive(Debug)]
pub(crate) struct Transcript {
    dialect: Dialect,
    known: Known,
}

impl Transcript {
    pub(crate) fn new(dialect: Dialect) -> Transcript {
        Transcript { dialect, known: Known::default() }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Takes in the next event.
    pub(crate) fn take(&mut self, piece: Piece<'_>) -> Meaning {
        self.dialect.rules().take(&mut self.known, piece)
    }

    /// How the stream ended by what its events said, where upstream's body ended in order now.
    pub(crate) fn end(&self) -> EndReason {
        match self.known.end {
            Some(reason) => reason,
            None if self.dialect == Dialect::Sse || self.known.shape == Shape::Foreign => {
                EndReason::Done
            }
            None => EndReason::Truncated,
        }
    }

    /// Whether an event said the end, clean or not. Upstream may say a few more things afterwards.
    pub(crate) fn has_ended(&self) -> bool {
        self.known.end.is_some()
    }

    /// The last figures said.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.known.usage
    }

    pub(crate) fn model(&self) -> Option<&str> {
        self.known.model.as_deref()
    }

    /// Upstream's own id of the answer.
    pub(crate) fn response_id(&self) -> Option<&str> {
        self.known.response_id.as_deref()
    }

    /// The last `sequence_number` of Responses.
    pub(crate) fn sequence_number(&self) -> Option<u64> {
        self.known.sequence_number
    }

    /// Whether an event, by its `sequence_number`, is one that was taken in before.
    pub(crate) fn has_said(&self, piece: Piece<'_>) -> bool {
        let number = openai_responses::sequence_number(piece);
        number.is_some_and(|number| self.known.sequence_number >= Some(number))
    }

    /// The last whole response object of Responses.
    pub(crate) fn response(&self) -> Option<&RawValue> {
        self.known.response.as_deref()
    }

    /// What failed, as an ordinary HTTP answer would say it. `None` also for a stream that somebody stopped.
    pub(crate) fn error(&self) -> Option<&Failure> {
        self.known.failure.as_ref()
    }

    /// The events that tell clients of an end that upstream did not tell them. None for a clean end, where an event
    /// said the end already, and in a dialect without an event for it.
    pub(crate) fn closing(&self, reason: EndReason, detail: &str) -> Vec<Closing> {
        if reason == EndReason::Done || self.has_ended() {
            return Vec::new();
        }
        self.dialect.rules().closing(&self.known, Notice { reason, detail })
    }
}

/// What an event is to who waits for an answer, from what tells least to what tells most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// Envelope: what stands before and around content.
    Prelude,
    /// What a reader waits for, and whatever is not understood.
    Content,
    /// The clean end.
    Terminal,
    /// A failure, or word that somebody stopped it.
    Failed,
}

/// Tokens that an answer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// An event of the gateway's own, in upstream's dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub event_type: Option<&'static str>,
    pub data: String,
}

/// An end that clients are to be told.
#[derive(Clone, Copy)]
pub(super) struct Notice<'a> {
    pub(super) reason: EndReason,
    pub(super) detail: &'a str,
}

impl Notice<'_> {
    /// The word for it where the dialect has a place for one.
    pub(super) fn code(self) -> String {
        format!("{CODE_PREFIX}{}", self.reason)
    }

    /// The reason that [`Notice::code`] stands for.
    pub(super) fn reason_of(code: &str) -> Option<EndReason> {
        code.strip_prefix(CODE_PREFIX)?.parse().ok()
    }
}

/// What the events said.
#[derive(Debug, Default)]
pub(super) struct Known {
    model: Option<Box<str>>,
    response_id: Option<Box<str>>,
    usage: Option<Usage>,
    failure: Option<Failure>,
    end: Option<EndReason>,
    pub(super) sequence_number: Option<u64>,
    pub(super) response: Option<Box<RawValue>>,
    pub(super) shape: Shape,
}

/// Whether events have the dialect's shape, where nothing but that tells its streams from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    #[default]
    Unknown,
    /// They have another, so that the dialect's rules for the end can't be held against them.
    Foreign,
    Own,
}

impl Known {
    /// Upstream's id of the answer; the first that is said counts.
    pub(super) fn set_response_id(&mut self, raw: Option<&RawValue>) {
        keep_first(&mut self.response_id, raw);
    }

    /// The model that answers; the first that is said counts.
    pub(super) fn set_model(&mut self, raw: Option<&RawValue>) {
        keep_first(&mut self.model, raw);
    }

    pub(super) fn response_id(&self) -> Option<&str> {
        self.response_id.as_deref()
    }

    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Takes in figures. What is not said stays as it was said before.
    pub(super) fn set_usage(&mut self, input: Option<&RawValue>, output: Option<&RawValue>) {
        let (input, output) = (part_of::<u64>(input), part_of::<u64>(output));
        if input.is_none() && output.is_none() {
            return;
        }
        let before = self.usage.unwrap_or(Usage { input_tokens: 0, output_tokens: 0 });
        self.usage = Some(Usage {
            input_tokens: input.unwrap_or(before.input_tokens),
            output_tokens: output.unwrap_or(before.output_tokens),
        });
    }

    /// The clean end was said.
    pub(super) fn finish(&mut self) -> Meaning {
        self.end.get_or_insert(EndReason::Done);
        Meaning::Terminal
    }

    /// A failure was said. What was said first counts, a clean end too.
    pub(super) fn fail(&mut self, failure: Failure) -> Meaning {
        if self.end.is_none() {
            self.end = Some(failure.reason);
            self.failure = (failure.reason != EndReason::Cancelled).then_some(failure);
        }
        Meaning::Failed
    }

    /// Word came that somebody stopped it.
    pub(super) fn cancel(&mut self) -> Meaning {
        self.end.get_or_insert(EndReason::Cancelled);
        Meaning::Failed
    }
}

fn keep_first(kept: &mut Option<Box<str>>, raw: Option<&RawValue>) {
    if kept.is_none()
        && let Some(name) = text_of(raw)
        && !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
    {
        *kept = Some(name.into());
    }
}

/// The longest id or name of a model that is kept.
const NAME_BYTES_MAX: usize = 256;

/// What the codes of the gateway's own errors start with; the end reason follows.
const CODE_PREFIX: &str = "stream_";

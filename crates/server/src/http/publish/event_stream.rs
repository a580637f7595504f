//! What the pieces of a streamed body say: [`Source`]. Pure; when to read and append is `stream.rs`'s.

use bytes::{Buf, Bytes};
use longwave_core::{DataFormat, EventType, IdempotencyKey, Message, NewMessage};
use longwave_sse::{DEFAULT_EVENT_TYPE, DecodeError, Decoded, Decoder, EventRef};

use super::super::{Code, Problem};
use super::content_type::BodyKind;
use super::lines::{LineCutter, LineTooLong};
use super::request::{PublishRequest, StreamIds, parse_event_type, parse_key};
use super::whole::check_format;

/// Turns the bytes of a streamed body into messages.
pub(super) struct Source {
    syntax: Syntax,
    format: DataFormat,
    event_type: Option<EventType>,
    key: Option<IdempotencyKey>,
    event_bytes_max: usize,
    /// How many events, or lines, have come; the next one's number is one more.
    count: u64,
}

enum Syntax {
    Lines(LineCutter),
    EventStream {
        decoder: Box<Decoder>,
        ids: StreamIds,
        /// How many bytes came since the last event was whole.
        held_bytes: usize,
    },
}

impl Source {
    /// A source for a request that is a stream.
    ///
    /// # Errors
    /// [`Code::KeyInvalid`] where the key leaves no room for the numbers of events.
    pub(super) fn new(request: &PublishRequest, event_bytes_max: usize) -> Result<Source, Problem> {
        if request.key.as_ref().is_some_and(|key| key.as_str().len() > STREAM_KEY_BYTES_MAX) {
            return Err(Problem::new(
                Code::KeyInvalid,
                format_args!(
                    "the idempotency key of a stream may have {STREAM_KEY_BYTES_MAX} bytes, since each \
                     event's key is made from it"
                ),
            ));
        }
        let syntax = match request.kind {
            BodyKind::EventStream => Syntax::EventStream {
                decoder: Box::new(
                    Decoder::new().with_event_bytes_max(event_bytes_max + EVENT_FIELDS_BYTES_MAX),
                ),
                ids: request.stream_ids,
                held_bytes: 0,
            },
            BodyKind::Lines | BodyKind::Batch | BodyKind::Single(_) => {
                Syntax::Lines(LineCutter::new(event_bytes_max))
            }
        };
        Ok(Source {
            syntax,
            format: request.format.unwrap_or(DataFormat::Text),
            event_type: request.event_type.clone(),
            key: request.key.clone(),
            event_bytes_max,
            count: 0,
        })
    }

    /// The next message, taken from the front of `input`; `None` when more input is needed.
    ///
    /// # Errors
    /// A [`Problem`] that tells which event, or line, is wrong.
    pub(super) fn next_message(
        &mut self,
        input: &mut Bytes,
    ) -> Result<Option<NewMessage>, Problem> {
        match &mut self.syntax {
            Syntax::Lines(cutter) => match cutter.next_line(input) {
                Ok(None) => Ok(None),
                Ok(Some(line)) => self.line(line).map(Some),
                Err(LineTooLong) => Err(self.line_too_long()),
            },
            Syntax::EventStream { .. } => self.next_event(input),
        }
    }

    /// The last message, once the body has ended as it should.
    ///
    /// # Errors
    /// [`Code::BodyIncomplete`] where the body ends within an event.
    pub(super) fn last_message(&mut self) -> Result<Option<NewMessage>, Problem> {
        match &mut self.syntax {
            Syntax::Lines(cutter) => match cutter.last_line() {
                Ok(None) => Ok(None),
                Ok(Some(line)) => self.line(line).map(Some),
                Err(LineTooLong) => Err(self.line_too_long()),
            },
            Syntax::EventStream { decoder, .. } if decoder.is_mid_event() => Err(Problem::new(
                Code::BodyIncomplete,
                "the stream ended within an event; each event must end with a blank line",
            )),
            Syntax::EventStream { .. } => Ok(None),
        }
    }

    /// How a publisher with nothing to say keeps its stream open.
    pub(super) fn sign_of_life(&self) -> &'static str {
        match self.syntax {
            Syntax::Lines(_) => {
                "each line is an event, so publish again when there is one, or raise stream_idle_timeout"
            }
            Syntax::EventStream { .. } => "a comment line (a colon) keeps an event stream open",
        }
    }

    /// How many bytes of an unfinished event are held.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.syntax {
            Syntax::Lines(cutter) => cutter.held_bytes(),
            Syntax::EventStream { held_bytes, .. } => *held_bytes,
        }
    }

    fn line(&mut self, line: Bytes) -> Result<NewMessage, Problem> {
        let number = self.count + 1;
        check_format(self.format, &line).map_err(|problem| at("line", number, &problem))?;
        self.count = number;
        let key = self.numbered_key(number)?;
        let event_type = self.event_type.clone();
        Ok(NewMessage {
            message: Message { event_type, format: self.format, data: line, source: None },
            key,
        })
    }

    fn line_too_long(&self) -> Problem {
        let number = self.count + 1;
        let problem = Problem::new(
            Code::EventTooLarge,
            format_args!("it has more than {} bytes", self.event_bytes_max),
        );
        at("line", number, &problem).with("bytes_max", self.event_bytes_max)
    }

    fn next_event(&mut self, input: &mut Bytes) -> Result<Option<NewMessage>, Problem> {
        let number = self.count + 1;
        let Syntax::EventStream { decoder, ids, held_bytes } = &mut self.syntax else {
            return Ok(None);
        };
        let piece = input.clone();
        let mut rest = &piece[..];
        let found = loop {
            match decoder.decode(&mut rest) {
                Ok(Some(Decoded::Event(event))) => break Some(draft(event, *ids, self.format)),
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(DecodeError::EventTooLarge { .. } | _) => {
                    let problem = Problem::new(
                        Code::EventTooLarge,
                        format_args!("it has more than {} bytes", self.event_bytes_max),
                    );
                    return Err(
                        at("event", number, &problem).with("bytes_max", self.event_bytes_max)
                    );
                }
            }
        };
        let taken = piece.len() - rest.len();
        input.advance(taken);
        *held_bytes = if decoder.is_mid_event() { *held_bytes + taken } else { 0 };
        let Some(draft) = found else { return Ok(None) };
        self.finish_event(draft, number).map(Some).map_err(|problem| at("event", number, &problem))
    }

    fn finish_event(
        &mut self,
        draft: Result<Draft, Problem>,
        number: u64,
    ) -> Result<NewMessage, Problem> {
        let Draft { event_type, data, key } = draft?;
        if data.len() > self.event_bytes_max {
            return Err(Problem::new(
                Code::EventTooLarge,
                format_args!("its data has more than {} bytes", self.event_bytes_max),
            )
            .with("bytes_max", self.event_bytes_max));
        }
        self.count = number;
        let key = if key.is_some() { key } else { self.numbered_key(number)? };
        let event_type = event_type.or_else(|| self.event_type.clone());
        Ok(NewMessage {
            message: Message { event_type, format: self.format, data, source: None },
            key,
        })
    }

    fn numbered_key(&self, number: u64) -> Result<Option<IdempotencyKey>, Problem> {
        self.key.as_ref().map(|key| parse_key(&format!("{}/{number}", key.as_str()))).transpose()
    }
}

/// An event without what the request adds to it.
struct Draft {
    event_type: Option<EventType>,
    data: Bytes,
    key: Option<IdempotencyKey>,
}

fn draft(event: EventRef<'_>, ids: StreamIds, format: DataFormat) -> Result<Draft, Problem> {
    let event_type = match event.event_type() {
        DEFAULT_EVENT_TYPE => None,
        text => Some(parse_event_type(text)?),
    };
    let key = match (ids, event.id()) {
        (StreamIds::Keys, Some(id)) if !id.is_empty() => Some(parse_key(id)?),
        _ => None,
    };
    check_format(format, event.data().as_bytes())?;
    Ok(Draft { event_type, data: Bytes::copy_from_slice(event.data().as_bytes()), key })
}

/// The same problem, told as that of an event or line of a stream.
fn at(what: &str, number: u64, problem: &Problem) -> Problem {
    Problem::new(problem.code(), format_args!("{what} {number}: {}", problem.detail()))
        .with(what, number)
}

/// The longest idempotency key of a stream: a slash and any number must fit behind it.
const STREAM_KEY_BYTES_MAX: usize = IdempotencyKey::BYTES_MAX - "/18446744073709551615".len();

/// What an event's lines may have in bytes besides the data itself: names of fields, type, id, comments.
const EVENT_FIELDS_BYTES_MAX: usize = 64 * 1024;

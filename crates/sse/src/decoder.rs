//! The incremental decoder. Lines are cut in `line.rs`, an event grows in `block.rs`. Read [`Decoder`] first.
//!
//! It follows "interpreting an event stream" of the HTML standard to the letter, with one thing added (a size limit)
//! and one left to the caller (reconnecting).

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use crate::block::{BUFFER_BYTES_KEPT_MAX, Block};
use crate::decoded::{DecodeError, Decoded, UnknownFields};
use crate::event::{EventRef, IdOrigin};
use crate::line::{Field, LineEnd, parse_retry_ms, split_line, unfinished_data_value};
use crate::utf8::{decode_or_borrow, replace_lossy};

/// How large an event may be unless [`Decoder::with_event_bytes_max`] says otherwise: 16 MiB.
pub const EVENT_BYTES_MAX_DEFAULT: usize = 16 * 1024 * 1024;

/// Turns the bytes of an event stream, in pieces of any size, into events.
///
/// Every byte is taken as soon as it is given, and an event comes out with the first byte that ends it: a CR at the
/// end of a piece is not held back to see whether an LF follows. Text that is not UTF-8 is decoded with U+FFFD, as
/// browsers do. An event that the stream's end cuts off never comes out, and its id does not count.
///
/// An event that lies in one piece with one line of data is borrowed from that piece; any other is put together in a
/// buffer that the decoder keeps, so a running stream allocates nothing. Of a buffer that one event made larger than
/// 256 KiB, the rest is given back after it.
///
/// ```
/// use longwave_sse::{Decoded, Decoder};
///
/// let mut decoder = Decoder::new();
/// let mut seen = Vec::new();
/// for piece in ["id: 7\nda", "ta: one\ndata: two\n", "\n:\n"] {
///     let mut input = piece.as_bytes();
///     while let Some(decoded) = decoder.decode(&mut input)? {
///         match decoded {
///             Decoded::Event(event) => seen.push(format!("{} {:?}", event.last_event_id(), event.data())),
///             Decoded::Comment(_) => seen.push("heartbeat".into()),
///             _ => {}
///         }
///     }
/// }
/// assert_eq!(seen, [r#"7 "one\ntwo""#, "heartbeat"]);
/// # Ok::<(), longwave_sse::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    event_bytes_max: usize,
    unknown_fields: UnknownFields,
    phase: Phase,
    /// The event under construction, or the one handed out by the last call while `handed_out`.
    block: Block,
    handed_out: bool,
    /// The start of a line whose end has not arrived. Empty while `in_data_line`.
    line: Vec<u8>,
    /// The line being read is a data line, and its bytes go to `block.data` at once.
    in_data_line: bool,
    /// The last line ended in a CR that was the last byte of its piece.
    swallow_lf: bool,
    last_event_id: String,
    /// Text that could not be borrowed because it had to be changed.
    scratch: String,
}

impl Decoder {
    /// A decoder for a new stream, with no last event id, [`EVENT_BYTES_MAX_DEFAULT`], and unknown fields ignored.
    #[must_use]
    pub fn new() -> Self {
        Self {
            event_bytes_max: EVENT_BYTES_MAX_DEFAULT,
            unknown_fields: UnknownFields::Ignore,
            phase: Phase::Start { bom_bytes: 0 },
            block: Block::default(),
            handed_out: false,
            line: Vec::new(),
            in_data_line: false,
            swallow_lf: false,
            last_event_id: String::new(),
            scratch: String::new(),
        }
    }

    /// Sets how large an event may be.
    ///
    /// Counted are the bytes of the lines between two blank lines, without line ends. A comment counts only while
    /// it is being read, so heartbeats do not add up.
    #[must_use]
    pub fn with_event_bytes_max(mut self, event_bytes_max: usize) -> Self {
        self.event_bytes_max = event_bytes_max;
        self
    }

    /// Sets what happens to fields that the standard does not know.
    #[must_use]
    pub fn with_unknown_fields(mut self, unknown_fields: UnknownFields) -> Self {
        self.unknown_fields = unknown_fields;
        self
    }

    /// Sets the last event id to start from: that of the stream which this one resumes.
    #[must_use]
    pub fn with_last_event_id(mut self, last_event_id: impl Into<String>) -> Self {
        self.last_event_id = last_event_id.into();
        self
    }

    /// Reads on in `input` up to the next thing worth telling, and moves `input` past it.
    ///
    /// `None` means that all of `input` is taken and more is needed. What is found may borrow from the input and
    /// from the decoder. A caller may stop at any time and go on later with what is left of `input`.
    ///
    /// # Errors
    ///
    /// [`DecodeError::EventTooLarge`]. The stream is then lost: the rest of `input` and the unfinished event are
    /// dropped, and every further call fails alike until [`reset`](Self::reset). [`last_event_id`](Self::last_event_id)
    /// is still that of the last whole event.
    pub fn decode<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Decoded<'a>>, DecodeError> {
        if mem::take(&mut self.handed_out) {
            self.block.clear();
            self.scratch.clear();
            self.scratch.shrink_to(BUFFER_BYTES_KEPT_MAX);
        }
        let step = match self.advance(input) {
            Ok(step) => step,
            Err(TooLarge) => {
                *input = &[];
                self.fail();
                return Err(DecodeError::EventTooLarge { event_bytes_max: self.event_bytes_max });
            }
        };
        Ok(match step {
            Step::NeedsInput => None,
            Step::Retry { ms } => Some(Decoded::Retry(Duration::from_millis(ms))),
            Step::Comment(Text::Borrowed(text)) => {
                Some(Decoded::Comment(decode_or_borrow(text, &mut self.scratch)))
            }
            Step::Comment(Text::Buffered) => Some(Decoded::Comment(&self.scratch)),
            Step::Event { data, id_origin } => {
                self.handed_out = true;
                let data = match data {
                    Text::Borrowed(data) => data,
                    Text::Buffered => &self.block.data,
                };
                Some(Decoded::Event(EventRef {
                    event_type: &self.block.event_type,
                    data: decode_or_borrow(data, &mut self.scratch),
                    last_event_id: &self.last_event_id,
                    id_origin,
                    extensions: &self.block.extensions,
                }))
            }
        })
    }

    /// The id that a reconnect sends now. Blocks without data set it too, and an empty id clears it.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Whether the stream, if it ended now, would cut off an event or a line.
    #[must_use]
    pub fn is_mid_event(&self) -> bool {
        self.is_mid_line() || !(self.handed_out || self.block.is_empty())
    }

    /// Makes the decoder ready for a new connection: forgets the unfinished event and any failure, and frees the
    /// buffers.
    ///
    /// The settings stay, and so does the last event id, as in browsers, because the new connection resumes there.
    pub fn reset(&mut self) {
        let settings = (self.event_bytes_max, self.unknown_fields);
        let last_event_id = mem::take(&mut self.last_event_id);
        *self = Self { last_event_id, ..Self::new() };
        (self.event_bytes_max, self.unknown_fields) = settings;
    }

    fn advance<'i>(&mut self, input: &mut &'i [u8]) -> Result<Step<'i>, TooLarge> {
        match self.phase {
            Phase::Running => {}
            Phase::Start { bom_bytes } => self.skip_bom(bom_bytes, input),
            Phase::Failed => return Err(TooLarge),
        }
        if self.swallow_lf && !input.is_empty() {
            self.swallow_lf = false;
            *input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        if self.is_mid_line() {
            let Some(rest_of_line) = self.take_line(input) else {
                self.hold(mem::take(input))?;
                return Ok(Step::NeedsInput);
            };
            if let Some(step) = self.finish_line(rest_of_line)? {
                return Ok(step);
            }
        }
        self.read_lines(input)
    }

    /// Reads lines that lie whole in `input`. An event of one data line is never copied here.
    fn read_lines<'i>(&mut self, input: &mut &'i [u8]) -> Result<Step<'i>, TooLarge> {
        // The only data line so far, still in the input. Whoever leaves this function other than by handing it out
        // has to store it.
        let mut only_data: Option<&'i [u8]> = None;
        loop {
            let Some(line) = self.take_line(input) else {
                self.store(only_data);
                self.hold(mem::take(input))?;
                return Ok(Step::NeedsInput);
            };
            let field = Field::parse(line);
            self.count(line, &field)?;
            match field {
                Field::Data(value) if !self.block.has_data => {
                    self.block.has_data = true;
                    only_data = Some(value);
                }
                Field::Data(value) => {
                    self.store(only_data.take());
                    self.block.begin_data_line();
                    self.block.data.extend_from_slice(value);
                }
                Field::Blank => {
                    if let Some(id_origin) = self.end_block() {
                        let data = only_data.map_or(Text::Buffered, Text::Borrowed);
                        return Ok(Step::Event { data, id_origin });
                    }
                }
                Field::Comment(text) => {
                    self.store(only_data);
                    return Ok(Step::Comment(Text::Borrowed(text)));
                }
                other => {
                    if let Some(ms) = self.apply(&other) {
                        self.store(only_data);
                        return Ok(Step::Retry { ms });
                    }
                }
            }
        }
    }

    /// Ends the line that an earlier piece began.
    fn finish_line<'i>(&mut self, rest_of_line: &[u8]) -> Result<Option<Step<'i>>, TooLarge> {
        if self.in_data_line {
            self.extend_data_line(rest_of_line)?;
            self.in_data_line = false;
            return Ok(None);
        }
        self.check_fits(rest_of_line.len())?;
        let mut line = mem::take(&mut self.line);
        line.extend_from_slice(rest_of_line);
        let field = Field::parse(&line);
        self.count(&line, &field)?;
        let step = match field {
            // A line with a beginning is not blank.
            Field::Blank => None,
            Field::Data(value) => {
                self.block.begin_data_line();
                self.block.data.extend_from_slice(value);
                None
            }
            Field::Comment(text) => {
                replace_lossy(&mut self.scratch, text);
                Some(Step::Comment(Text::Buffered))
            }
            other => self.apply(&other).map(|ms| Step::Retry { ms }),
        };
        line.clear();
        line.shrink_to(BUFFER_BYTES_KEPT_MAX);
        self.line = line;
        Ok(step)
    }

    /// Keeps the beginning of a line whose end is still to come.
    fn hold(&mut self, part: &[u8]) -> Result<(), TooLarge> {
        if self.in_data_line {
            return self.extend_data_line(part);
        }
        self.check_fits(part.len())?;
        if self.line.is_empty() && self.begin_long_data_line(part) {
            return Ok(());
        }
        self.line.extend_from_slice(part);
        let mut line = mem::take(&mut self.line);
        if self.begin_long_data_line(&line) {
            line.clear();
        }
        self.line = line;
        Ok(())
    }

    /// Sends an unfinished line straight to the data buffer if it is sure to be a data line.
    fn begin_long_data_line(&mut self, line: &[u8]) -> bool {
        let Some(value) = unfinished_data_value(line) else { return false };
        self.block.begin_data_line();
        self.block.data.extend_from_slice(value);
        self.block.bytes += line.len();
        self.in_data_line = true;
        true
    }

    fn extend_data_line(&mut self, part: &[u8]) -> Result<(), TooLarge> {
        self.check_fits(part.len())?;
        self.block.data.extend_from_slice(part);
        self.block.bytes += part.len();
        Ok(())
    }

    /// Takes in a field other than data, comments and blank lines. Returns the reconnection time if it was that.
    fn apply(&mut self, field: &Field<'_>) -> Option<u64> {
        match field {
            Field::EventType(value) => replace_lossy(&mut self.block.event_type, value),
            Field::Id(value) => self.block.set_id(value),
            Field::Retry(value) => return parse_retry_ms(value),
            Field::Unknown { name, value } if self.unknown_fields == UnknownFields::Keep => {
                self.block.extensions.push(name, value);
            }
            Field::Unknown { .. } | Field::Blank | Field::Comment(_) | Field::Data(_) => {}
        }
        None
    }

    /// What a blank line does: commits the id, and says whether there is an event.
    fn end_block(&mut self) -> Option<IdOrigin> {
        let id_origin = self.block.commit_id(&mut self.last_event_id);
        if self.block.has_data {
            return Some(id_origin);
        }
        self.block.clear();
        None
    }

    /// Cuts the next whole line off the input.
    #[inline]
    fn take_line<'i>(&mut self, input: &mut &'i [u8]) -> Option<&'i [u8]> {
        let found = split_line(input)?;
        *input = found.rest;
        self.swallow_lf = found.end == LineEnd::CarriageReturnLast;
        Some(found.line)
    }

    /// Counts a whole line towards the event's size.
    #[inline]
    fn count(&mut self, line: &[u8], field: &Field<'_>) -> Result<(), TooLarge> {
        self.check_fits(line.len())?;
        if !matches!(field, Field::Comment(_)) {
            self.block.bytes += line.len();
        }
        Ok(())
    }

    #[inline]
    fn check_fits(&self, more_bytes: usize) -> Result<(), TooLarge> {
        let bytes = self.block.bytes.saturating_add(self.line.len()).saturating_add(more_bytes);
        if bytes > self.event_bytes_max { Err(TooLarge) } else { Ok(()) }
    }

    fn store(&mut self, only_data: Option<&[u8]>) {
        if let Some(value) = only_data {
            self.block.data.extend_from_slice(value);
        }
    }

    /// Moves `input` past a byte order mark at the very start of the stream, however it is cut.
    fn skip_bom(&mut self, mut bom_bytes: usize, input: &mut &[u8]) {
        while let Some(expected) = BOM.get(bom_bytes) {
            match input.split_first() {
                None => {
                    self.phase = Phase::Start { bom_bytes };
                    return;
                }
                Some((byte, rest)) if byte == expected => {
                    *input = rest;
                    bom_bytes += 1;
                }
                Some(_) => {
                    // Not a mark after all, so what looked like one begins the first line.
                    self.line.extend(BOM.iter().take(bom_bytes));
                    break;
                }
            }
        }
        self.phase = Phase::Running;
    }

    fn fail(&mut self) {
        self.reset();
        self.phase = Phase::Failed;
    }

    fn is_mid_line(&self) -> bool {
        self.in_data_line || !self.line.is_empty()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing but the first `bom_bytes` bytes of a byte order mark has been seen.
    Start {
        bom_bytes: usize,
    },
    Running,
    /// An event was too large; only a reset helps.
    Failed,
}

/// What a step through the input found, without borrowing from the decoder.
enum Step<'i> {
    NeedsInput,
    Event { data: Text<'i>, id_origin: IdOrigin },
    Comment(Text<'i>),
    Retry { ms: u64 },
}

enum Text<'i> {
    /// Still in the input.
    Borrowed(&'i [u8]),
    /// An event's data in `block.data`, a comment in `scratch`.
    Buffered,
}

struct TooLarge;

const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes everything and counts the events.
    fn decode_all<'p>(decoder: &mut Decoder, pieces: impl Iterator<Item = &'p [u8]>) -> usize {
        let mut events = 0;
        for mut input in pieces {
            while let Some(decoded) = decoder.decode(&mut input).unwrap() {
                events += usize::from(matches!(decoded, Decoded::Event(_)));
            }
        }
        events
    }

    fn buffers(decoder: &Decoder) -> [(*const u8, usize); 4] {
        let Decoder { block, line, scratch, .. } = decoder;
        [
            (block.data.as_ptr(), block.data.capacity()),
            (block.event_type.as_ptr(), block.event_type.capacity()),
            (line.as_ptr(), line.capacity()),
            (scratch.as_ptr(), scratch.capacity()),
        ]
    }

    #[test]
    fn a_running_stream_reuses_its_buffers() {
        let stream = b"event: delta\ndata: one\ndata: tw\xFF\n\n: alive \xFF\n".repeat(1000);
        let mut decoder = Decoder::new();
        assert_eq!(decode_all(&mut decoder, stream.chunks(7)), 1000);
        let before = buffers(&decoder);
        assert!(before.iter().all(|(_, capacity)| *capacity > 0));
        assert_eq!(decode_all(&mut decoder, stream.chunks(7)), 1000);
        assert_eq!(buffers(&decoder), before);
    }

    #[test]
    fn a_huge_event_does_not_leave_its_memory_behind() {
        let huge = "\u{E9}".repeat(BUFFER_BYTES_KEPT_MAX);
        let stream = [
            alloc::format!("data: {huge}\nevent: {huge}\ntopic: {huge}\n: {huge}\n").as_bytes(),
            b"data: \xFF\n\ndata: small\n\n",
        ]
        .concat();
        let mut decoder = Decoder::new().with_unknown_fields(UnknownFields::Keep);
        assert_eq!(decode_all(&mut decoder, stream.chunks(4096)), 2);
        for (_, capacity) in buffers(&decoder) {
            assert!(capacity <= BUFFER_BYTES_KEPT_MAX, "{capacity} bytes are kept");
        }
    }
}

//! An answer's bytes, cut into its events without changing one: [`Cutter`].
//!
//! What an event says is read by `longwave-sse`; what it means is the dialect's business. Kept is what the event says,
//! and its bytes where these can't be made from that again.

use bytes::{Bytes, BytesMut};
use longwave_core::{DataFormat, EventType, Message};
use longwave_sse::{DEFAULT_EVENT_TYPE, Decoded, Decoder};

use crate::transports::canonical;

/// Cuts an answer that comes in pieces of any size.
///
/// Lines of an event stream that are no event by the standard (comments, a `retry:` alone) are put in front of the next
/// event, without the blank line behind them: known SDKs take that for an event of its own.
#[derive(Debug)]
pub(super) struct Cutter {
    kind: Kind,
    event_bytes_max: usize,
    /// What came and is not part of a whole line yet.
    rest: BytesMut,
    /// Up to where `rest` was searched for a line's end.
    searched: usize,
}

#[derive(Debug)]
enum Kind {
    Sse {
        /// The lines of the block that has begun.
        block: Vec<u8>,
        /// Lines that are put in front of the next event.
        carried: Vec<u8>,
        /// How the block's last line ended.
        line_end: LineEnd,
        is_start: bool,
    },
    Lines,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    Unknown,
    /// No LF need be waited for behind the next CR.
    Cr,
    Lf,
    CrLf,
}

impl LineEnd {
    fn of(line: &[u8]) -> LineEnd {
        match line {
            [.., b'\r', b'\n'] => LineEnd::CrLf,
            [.., b'\r'] => LineEnd::Cr,
            [.., b'\n'] => LineEnd::Lf,
            _ => LineEnd::Unknown,
        }
    }

    fn as_bytes(self) -> &'static [u8] {
        match self {
            LineEnd::Cr => b"\r",
            LineEnd::Lf | LineEnd::Unknown => b"\n",
            LineEnd::CrLf => b"\r\n",
        }
    }
}

/// An event is larger than events may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("upstream sent an event of more than {event_bytes_max} bytes")]
pub(super) struct TooLarge {
    event_bytes_max: usize,
}

impl Cutter {
    /// For `text/event-stream`.
    pub(super) fn sse(event_bytes_max: usize) -> Cutter {
        let kind = Kind::Sse {
            block: Vec::new(),
            carried: Vec::new(),
            line_end: LineEnd::Unknown,
            is_start: true,
        };
        Cutter { kind, event_bytes_max, rest: BytesMut::new(), searched: 0 }
    }

    /// For JSON in lines.
    pub(super) fn lines(event_bytes_max: usize) -> Cutter {
        Cutter { kind: Kind::Lines, event_bytes_max, rest: BytesMut::new(), searched: 0 }
    }

    /// Takes in what came.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.rest.extend_from_slice(piece);
    }

    /// The next whole event; `None` where more is needed.
    ///
    /// # Errors
    /// [`TooLarge`]. The stream can't be cut any further then.
    pub(super) fn next_message(&mut self) -> Result<Option<Message>, TooLarge> {
        while let Some(line) = self.next_line() {
            if let Some(message) = self.take_line(&line) {
                return Ok(Some(message));
            }
            self.check_size(0)?;
        }
        self.check_size(self.rest.len())?;
        Ok(None)
    }

    /// The event that the answer's end completes: some servers leave the last line's or block's end out. Only for an
    /// answer whose body ended in order.
    pub(super) fn finish(&mut self) -> Option<Message> {
        let mut rest = self.rest.split();
        self.searched = 0;
        let Kind::Sse { line_end, .. } = &self.kind else { return line_message(&rest) };
        if !rest.is_empty() {
            if !ends_line(&rest) {
                rest.extend_from_slice(line_end.as_bytes());
            }
            if let Some(message) = self.take_line(&rest) {
                return Some(message);
            }
        }
        match &self.kind {
            // With the line's own end: another one behind a CR could be taken for a part of it.
            Kind::Sse { block, line_end, .. } if !block.is_empty() => {
                self.take_line(line_end.as_bytes())
            }
            _ => None,
        }
    }

    /// `rest` is how much came of the event's next line. What stands behind the line is of other events.
    fn check_size(&self, rest: usize) -> Result<(), TooLarge> {
        let held = match &self.kind {
            Kind::Sse { block, .. } => block.len(),
            Kind::Lines => 0,
        };
        match held + rest > self.event_bytes_max + FIELDS_BYTES_MAX {
            true => Err(TooLarge { event_bytes_max: self.event_bytes_max }),
            false => Ok(()),
        }
    }

    /// The next line with its end.
    fn next_line(&mut self) -> Option<Bytes> {
        let fresh = self.rest.get(self.searched..)?;
        let found = match &self.kind {
            Kind::Lines => memchr::memchr(b'\n', fresh).map(|at| at + 1),
            Kind::Sse { line_end, .. } => match memchr::memchr2(b'\n', b'\r', fresh) {
                Some(at) => match (fresh.get(at), fresh.get(at + 1)) {
                    (Some(b'\n'), _) => Some(at + 1),
                    (_, Some(b'\n')) => Some(at + 2),
                    (_, Some(_)) => Some(at + 1),
                    // The LF that belongs to this CR may come with the next piece. That is not waited for where a blank
                    // line would end an event, and the line before it had none either.
                    (_, None) if *line_end == LineEnd::Cr && at + self.searched == 0 => {
                        Some(at + 1)
                    }
                    (_, None) => {
                        self.searched += at;
                        return None;
                    }
                },
                None => None,
            },
        };
        match found {
            Some(bytes) => {
                let line = self.rest.split_to(self.searched + bytes).freeze();
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.rest.len();
                None
            }
        }
    }

    /// Takes a line in, and gives the event that it ends.
    fn take_line(&mut self, line: &[u8]) -> Option<Message> {
        let Kind::Sse { block, carried, line_end, is_start } = &mut self.kind else {
            return line_message(line);
        };
        let line = match std::mem::take(is_start) {
            true => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            false => line,
        };
        *line_end = LineEnd::of(line);
        if !is_blank(line) {
            block.extend_from_slice(line);
            return None;
        }
        let mut whole = std::mem::take(block);
        whole.extend_from_slice(line);
        match block_message(&whole, carried) {
            Some(message) => {
                carried.clear();
                Some(message)
            }
            None => {
                carry(carried, &whole);
                None
            }
        }
    }
}

/// What a block says; `None` where it is no event by the standard.
fn block_message(block: &[u8], carried: &[u8]) -> Option<Message> {
    let mut decoder = Decoder::new().with_event_bytes_max(block.len());
    let mut input = block;
    while let Ok(Some(decoded)) = decoder.decode(&mut input) {
        let Decoded::Event(event) = decoded else { continue };
        let type_said = Some(event.event_type()).filter(|text| *text != DEFAULT_EVENT_TYPE);
        // A type that no event of a topic can have is still in the bytes.
        let event_type = type_said.and_then(|text| EventType::new(text).ok());
        let data = event.data().as_bytes();
        let mut written = Vec::with_capacity(block.len());
        canonical(event_type.as_ref().map(EventType::as_str), data, &mut written);
        let is_canonical = carried.is_empty() && written == block;
        let source = (!is_canonical).then(|| [carried, block].concat().into());
        return Some(Message {
            event_type,
            format: format_of(data),
            data: data.to_vec().into(),
            source,
        });
    }
    None
}

/// What a line of JSON says; `None` where it is blank.
fn line_message(line: &[u8]) -> Option<Message> {
    let data = line.trim_ascii_end();
    if data.is_empty() {
        return None;
    }
    let is_canonical = line.strip_suffix(b"\n") == Some(data);
    let source = (!is_canonical).then(|| Bytes::copy_from_slice(line));
    Some(Message {
        event_type: None,
        format: format_of(data),
        data: Bytes::copy_from_slice(data),
        source,
    })
}

fn format_of(data: &[u8]) -> DataFormat {
    match std::str::from_utf8(data) {
        Ok(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => DataFormat::Json,
        Ok(_) => DataFormat::Text,
        Err(_) => DataFormat::Binary,
    }
}

/// Keeps a block's lines for the next event, but for those that would name it, and for its blank line.
fn carry(carried: &mut Vec<u8>, block: &[u8]) {
    for line in block.split_inclusive(|byte| *byte == b'\n') {
        for line in line.split_inclusive(|byte| *byte == b'\r') {
            // The LF of a CRLF stands alone here, behind its line.
            let is_lf_of_kept = line == b"\n" && carried.ends_with(b"\r");
            let names_event = line.starts_with(b"event");
            let fits = carried.len() + line.len() <= CARRIED_BYTES_MAX;
            if (is_lf_of_kept || !is_blank(line)) && !names_event && fits {
                carried.extend_from_slice(line);
            }
        }
    }
}

fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r" | b"\r\n")
}

fn ends_line(block: &[u8]) -> bool {
    matches!(block.last(), Some(b'\n' | b'\r'))
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// What a block may have in bytes besides the data itself.
const FIELDS_BYTES_MAX: usize = 16 * 1024;
/// How much is put in front of an event at most; more lines that are none are dropped.
const CARRIED_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Type, data, and the source where there is one.
    type Seen = (Option<String>, String, Option<String>);

    fn cut(mut cutter: Cutter, pieces: &[&[u8]]) -> Vec<Seen> {
        let mut messages = Vec::new();
        for piece in pieces {
            cutter.push(piece);
            while let Some(message) = cutter.next_message().unwrap() {
                messages.push(message);
            }
        }
        messages.extend(cutter.finish());
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        messages
            .iter()
            .map(|message| {
                let event_type = message.event_type.as_ref().map(|t| t.as_str().to_owned());
                (event_type, text(&message.data), message.source.as_ref().map(text))
            })
            .collect()
    }

    fn sse(text: &str) -> Vec<Seen> {
        cut(Cutter::sse(1000), &[text.as_bytes()])
    }

    fn seen(event_type: Option<&str>, data: &str, source: Option<&str>) -> Seen {
        (event_type.map(str::to_owned), data.to_owned(), source.map(str::to_owned))
    }

    #[test]
    fn an_event_as_we_would_write_it_is_kept_without_its_bytes() {
        assert_eq!(sse("data: {}\n\n"), [seen(None, "{}", None)]);
        assert_eq!(sse("event: a\ndata: 1\ndata: 2\n\n"), [seen(Some("a"), "1\n2", None)]);
    }

    #[test]
    fn any_other_event_keeps_its_bytes() {
        for block in [
            "data:{}\n\n",
            "data: {}\r\n\r\n",
            "data: {}\r\r",
            "data: {}\nevent: a\n\n",
            "id: 7\ndata: {}\n\n",
            "retry: 7\ndata: {}\n\n",
            ": hi\ndata: {}\n\n",
            "event: longwave.gap\ndata: {}\n\n",
            "event:\ndata: {}\n\n",
        ] {
            let found = sse(block);
            assert_eq!(found.len(), 1, "{block:?}");
            assert_eq!(found[0].2.as_deref(), Some(block));
        }
    }

    #[test]
    fn what_is_no_event_goes_in_front_of_the_next_without_its_blank_line() {
        assert_eq!(
            sse(": one\n\nretry: 5\n\n\n\nevent: ping\n\ndata: 1\n\ndata: 2\n\n: late\n\n"),
            [seen(None, "1", Some(": one\nretry: 5\ndata: 1\n\n")), seen(None, "2", None)]
        );
        assert_eq!(
            sse(": one\r\n\r\ndata: 1\r\n\r\n"),
            [seen(None, "1", Some(": one\r\ndata: 1\r\n\r\n"))]
        );
    }

    #[test]
    fn an_end_that_is_missing_is_made_up_for() {
        assert_eq!(sse("data: 1\n"), [seen(None, "1", None)]);
        assert_eq!(sse("data: 1"), [seen(None, "1", None)]);
        assert_eq!(sse("data: 1\r"), [seen(None, "1", Some("data: 1\r\r"))]);
        assert_eq!(sse("data: 1\r\n\r"), [seen(None, "1", Some("data: 1\r\n\r"))]);
        assert_eq!(sse(""), []);
        assert_eq!(cut(Cutter::lines(99), &[b"{}\n{}"])[1], seen(None, "{}", Some("{}")));
    }

    #[test]
    fn lines_are_json_each_and_blank_ones_are_none() {
        let found = cut(Cutter::lines(1000), &[b"{\"a\":1}\n\n{\"b\"", b":2}\r\n"]);
        assert_eq!(
            found,
            [seen(None, "{\"a\":1}", None), seen(None, "{\"b\":2}", Some("{\"b\":2}\r\n"))]
        );
    }

    #[test]
    fn an_event_beyond_the_limit_is_refused() {
        let mut cutter = Cutter::sse(10);
        cutter.push(b"data: ");
        cutter.push(&[b'x'; 10 + FIELDS_BYTES_MAX]);
        assert_eq!(cutter.next_message(), Err(TooLarge { event_bytes_max: 10 }));
    }

    proptest! {
        #[test]
        fn events_are_the_same_wherever_the_answer_is_cut(
            lines in prop::collection::vec("(data|event|id|retry|:)?:? ?[a-z]{0,3}", 0..12),
            ends in prop::sample::select(vec![["\n", "\n"], ["\r\n", "\r\n"], ["\r", "\r"], ["\n", "\r\n"]]),
            picks in prop::collection::vec((0..2_usize, 1..3_usize), 12),
            at in any::<prop::sample::Index>(),
        ) {
            // A carriage return alone is not mixed with others: whether a line feed belongs to it can't be known in time.
            let end = |(pick, times): &(usize, usize)| ends[*pick].repeat(*times);
            let text: String = lines.iter().zip(&picks).map(|(line, pick)| line.clone() + &end(pick)).collect();
            let bytes = text.as_bytes();
            let (one, two) = bytes.split_at(at.index(bytes.len() + 1));
            prop_assert_eq!(cut(Cutter::sse(1000), &[one, two]), cut(Cutter::sse(1000), &[bytes]));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(cut(Cutter::sse(1000), &single), cut(Cutter::sse(1000), &[bytes]));
        }
    }
}

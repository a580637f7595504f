//! A recorded stream as its provider sent it: [`NativeFraming`].
//!
//! An event is written as the block or line that it came in as, or as [`canonical`] has it, which is the same. Nothing
//! is said about gaps, ends and a server that goes down, since no provider's clients know such words: whoever moves the
//! bytes breaks the stream off instead (`live.rs`).

use longwave_core::{Event, EventType, FeedItem, Message, Payload};

/// What the events of a recorded stream look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NativeFraming {
    /// How one event is told from the next.
    pub(crate) kind: NativeKind,
}

/// The syntaxes in which providers stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NativeKind {
    /// Blocks of Server-Sent Events. Each is given an id, by which a reader resumes.
    Sse,
    /// A line for each event. There is no place for an id.
    Ndjson,
}

impl NativeFraming {
    pub(super) fn write_item(self, out: &mut Vec<u8>, item: &FeedItem) {
        let FeedItem::Event(event) = item else { return };
        let Payload::Message(message) = &event.payload else { return };
        if message.event_type.as_ref().is_some_and(EventType::is_control) {
            return;
        }
        match self.kind {
            NativeKind::Sse => write_block(out, event, message),
            NativeKind::Ndjson => match &message.source {
                Some(source) => out.extend_from_slice(source),
                None => {
                    out.extend_from_slice(&message.data);
                    out.push(b'\n');
                }
            },
        }
    }

    /// A comment without a blank line behind it, as in Longwave's own streams. What lines of JSON may have between them
    /// differs from parser to parser, so there is none there.
    pub(super) fn write_heartbeat(self, out: &mut Vec<u8>) {
        match self.kind {
            NativeKind::Sse => super::sse::write_heartbeat(out),
            NativeKind::Ndjson => {}
        }
    }
}

/// Appends the block of Server-Sent Events that an event is taken to have come in as, unless another one was kept: the
/// type if there is one, a `data` line for each line, a blank line. `data` holds no carriage return, as the data of an
/// event that was parsed never does.
pub(crate) fn canonical(event_type: Option<&str>, data: &[u8], out: &mut Vec<u8>) {
    if let Some(event_type) = event_type {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event_type.as_bytes());
        out.push(b'\n');
    }
    for line in data.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// The event's block with its id in the last line before the blank one: the last `id` of a block is the one that counts.
fn write_block(out: &mut Vec<u8>, event: &Event, message: &Message) {
    let begin = out.len();
    match &message.source {
        Some(source) => out.extend_from_slice(source),
        None => {
            let event_type = message.event_type.as_ref().map(EventType::as_str);
            canonical(event_type, &message.data, out);
        }
    }
    // Put in front of the blank line, which is its line end and nothing else, and with the same line end, so that no
    // carriage return gets a line feed behind it that it did not have.
    let line_end = line_end(out.get(begin..).unwrap_or_default());
    out.truncate(out.len() - line_end.len());
    let topic = event.topic.as_str();
    let stream = topic.rsplit_once('/').map_or(topic, |(_, last)| last);
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(stream.as_bytes());
    out.push(b':');
    out.extend_from_slice(event.seq.to_string().as_bytes());
    out.extend_from_slice(line_end);
    out.extend_from_slice(line_end);
}

/// How the last line of a block ends.
fn line_end(block: &[u8]) -> &'static [u8] {
    if block.ends_with(b"\r\n") {
        b"\r\n"
    } else if block.ends_with(b"\r") {
        b"\r"
    } else {
        b"\n"
    }
}

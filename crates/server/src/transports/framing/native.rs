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
    /// Appends an event; nothing where it is none of the provider's.
    pub(crate) fn write_item(self, out: &mut Vec<u8>, item: &FeedItem) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longwave_core::{DataFormat, EndReason, FeedGap, GapReason, Seq, UnixMillis};
    use longwave_sse::{Decoded, Decoder};
    use proptest::prelude::*;

    use super::*;

    const SSE: NativeFraming = NativeFraming { kind: NativeKind::Sse };
    const NDJSON: NativeFraming = NativeFraming { kind: NativeKind::Ndjson };

    fn item(seq: u64, payload: Payload) -> FeedItem {
        FeedItem::Event(Arc::new(Event {
            seq: Seq(seq),
            time: UnixMillis(0),
            topic: "streams/Ab-_9".parse().unwrap(),
            payload,
        }))
    }

    fn message(event_type: Option<&str>, data: &str, source: Option<&[u8]>) -> Message {
        Message {
            event_type: event_type.map(|text| EventType::recorded(text).unwrap()),
            format: DataFormat::Text,
            data: data.to_owned().into(),
            source: source.map(|source| source.to_vec().into()),
        }
    }

    fn written(framing: NativeFraming, item: &FeedItem) -> Vec<u8> {
        let mut out = Vec::new();
        framing.write_item(&mut out, item);
        out
    }

    #[track_caller]
    fn check(message: Message, sse: &str, ndjson: &str) {
        let item = item(70, Payload::Message(message));
        assert_eq!(String::from_utf8(written(SSE, &item)).unwrap(), sse);
        assert_eq!(String::from_utf8(written(NDJSON, &item)).unwrap(), ndjson);
    }

    #[test]
    fn an_event_without_a_source_is_written_canonically() {
        check(message(None, "{}", None), "data: {}\nid: Ab-_9:70\n\n", "{}\n");
        check(
            message(Some("delta"), "a\n\nb", None),
            "event: delta\ndata: a\ndata: \ndata: b\nid: Ab-_9:70\n\n",
            "a\n\nb\n",
        );
        check(message(None, "", None), "data: \nid: Ab-_9:70\n\n", "\n");
    }

    #[test]
    fn an_event_with_a_source_is_written_as_it_came_with_its_own_line_ends() {
        for (source, sse) in [
            ("data:x\n\n", "data:x\nid: Ab-_9:70\n\n"),
            ("data:x\r\n\r\n", "data:x\r\nid: Ab-_9:70\r\n\r\n"),
            ("data:x\r\r", "data:x\rid: Ab-_9:70\r\r"),
            ("data:x\n\r\n", "data:x\nid: Ab-_9:70\r\n\r\n"),
            ("data:x\r\n\r", "data:x\r\nid: Ab-_9:70\r\r"),
            ("id: 7\n: hi\ndata:x\n\n", "id: 7\n: hi\ndata:x\nid: Ab-_9:70\n\n"),
        ] {
            check(message(None, "x", Some(source.as_bytes())), sse, source);
        }
    }

    #[test]
    fn what_providers_have_no_words_for_is_not_written() {
        let gap = FeedItem::Gap(FeedGap {
            after: "7kq2f-1".parse().unwrap(),
            resumed: "7kq2f-2".parse().unwrap(),
            reason: GapReason::Retention,
        });
        let head = item(1, Payload::Message(message(Some("longwave.stream"), "{}", None)));
        let end = item(9, Payload::End(EndReason::Truncated));
        for item in [gap, head, end] {
            assert_eq!(written(SSE, &item), b"");
            assert_eq!(written(NDJSON, &item), b"");
        }
    }

    /// The events in some bytes: type, data, last event id.
    fn events(bytes: &[u8]) -> Vec<(String, String, String)> {
        let (mut decoder, mut input, mut events) = (Decoder::new(), bytes, Vec::new());
        while let Some(decoded) = decoder.decode(&mut input).unwrap() {
            if let Decoded::Event(event) = decoded {
                events.push((
                    event.event_type().to_owned(),
                    event.data().to_owned(),
                    event.last_event_id().to_owned(),
                ));
            }
        }
        events
    }

    /// A block that is one event, with lines of every kind and line ends in any mixture.
    fn block() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => "data: [a-z{}\":]{0,9}".prop_map(String::into_bytes),
            1 => "data:? {0,2}[^\r\n]{0,5}".prop_map(String::into_bytes),
            1 => "event:? ?[^\r\n]{0,5}".prop_map(String::into_bytes),
            1 => "id: ?[^\r\n]{0,5}".prop_map(String::into_bytes),
            1 => "(retry: 10|:|: ping|data|other: x)".prop_map(String::into_bytes),
            1 => "[^\r\n]{1,5}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 1..6)
                .prop_map(|bytes| [b"data: ", &*bytes].concat())
                .prop_filter("one line", |line| !line.iter().any(|byte| b"\r\n".contains(byte))),
        ];
        let end =
            || prop_oneof![4 => Just(&b"\n"[..]), 2 => Just(&b"\r\n"[..]), 1 => Just(&b"\r"[..])];
        let lines = proptest::collection::vec((line, end()), 1..6);
        (lines, end())
            .prop_map(|(lines, blank)| {
                let lines = lines.into_iter().map(|(line, end)| [&*line, end].concat());
                [&*lines.collect::<Vec<_>>().concat(), blank].concat()
            })
            .prop_filter("one event", |block| events(block).len() == 1)
    }

    /// The event that a block is, as it is recorded.
    fn recorded(block: &[u8]) -> Message {
        let (event_type, data, _) = events(block).remove(0);
        let event_type = Some(&*event_type).filter(|text| *text != "message");
        let named = event_type.filter(|text| EventType::new(text).is_ok());
        let mut plain = Vec::new();
        canonical(named, data.as_bytes(), &mut plain);
        message(named, &data, (plain != block).then_some(block))
    }

    proptest! {
        #[test]
        fn a_block_gets_an_id_and_is_otherwise_as_it_came(
            blocks in proptest::collection::vec(block(), 1..5)
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for (block, seq) in blocks.iter().zip(1000..) {
                let item = item(seq, Payload::Message(recorded(block)));
                let out = written(SSE, &item);
                let id = format!("Ab-_9:{seq}");
                let (event_type, data, _) = events(block).remove(0);
                expected.push((event_type, data, id.clone()));

                let id_line = format!("id: {id}").into_bytes();
                let at = out.windows(id_line.len()).rposition(|bytes| bytes == id_line).unwrap();
                let line_end = (out.len() - at - id_line.len()) / 2;
                let mut without = out.clone();
                without.drain(at..at + id_line.len() + line_end);
                prop_assert_eq!(&without, block);

                prop_assert_eq!(events(&out).len(), 1);
                stream.extend_from_slice(&out);
                SSE.write_heartbeat(&mut stream);
            }
            // A byte order mark counts only at the start of a stream, and is part of a line elsewhere.
            if !blocks.iter().skip(1).any(|block| block.starts_with("\u{feff}".as_bytes())) {
                prop_assert_eq!(events(&stream), expected);
            }
        }
    }
}

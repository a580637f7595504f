//! The JSON of events, gaps and ends as pages, NDJSON lines, WebSocket messages and `?envelope` streams show them.
//!
//! Pure: values in, bytes appended. Start with [`write_envelope`]. Problems are `http/problem.rs`'s.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use longwave_core::{
    DataFormat, EndReason, Epoch, EventId, FeedGap, Message, Seq, TopicEnd, TopicName, UnixMillis,
};

use crate::http::rfc3339;

/// What stands around a message in its envelope, or around an end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp<'a> {
    /// The event's id.
    pub(crate) id: EventId,
    /// Its topic.
    pub(crate) topic: &'a TopicName,
    /// When the log accepted it.
    pub(crate) time: UnixMillis,
}

impl<'a> Stamp<'a> {
    pub(crate) fn new(epoch: Epoch, seq: Seq, topic: &'a TopicName, time: UnixMillis) -> Self {
        Stamp { id: EventId { epoch, seq }, topic, time }
    }
}

/// Appends `{"id","topic","type","time","data","encoding"}`, on one line.
///
/// JSON data stands there as it was published, but for line breaks between its tokens, which become spaces; text is a
/// string; binary data is a string of base64 and has `"encoding":"base64"` behind it. `type` is left out where the
/// event has none.
pub(crate) fn write_envelope(out: &mut Vec<u8>, stamp: Stamp<'_>, message: &Message) {
    out.push(b'{');
    write_stamp(out, stamp);
    if let Some(event_type) = &message.event_type {
        out.extend_from_slice(b",\"type\":");
        write_string(out, event_type.as_str());
    }
    out.extend_from_slice(b",\"data\":");
    match message.format {
        DataFormat::Json => write_json_line(out, &message.data),
        DataFormat::Text => write_string(out, &String::from_utf8_lossy(&message.data)),
        DataFormat::Binary => {
            out.push(b'"');
            out.extend_from_slice(base64(&message.data).as_bytes());
            out.extend_from_slice(b"\",\"encoding\":\"base64\"");
        }
    }
    out.push(b'}');
}

/// Appends `{"id","topic","time","reason"}`.
pub(crate) fn write_end(out: &mut Vec<u8>, stamp: Stamp<'_>, reason: EndReason) {
    out.push(b'{');
    write_stamp(out, stamp);
    put(out, format_args!(",\"reason\":\"{reason}\"}}"));
}

/// Appends `{"id","time","reason"}`, for where the topic is known or several ended.
pub(crate) fn write_topic_end(out: &mut Vec<u8>, epoch: Epoch, end: TopicEnd) {
    let id = EventId { epoch, seq: end.seq };
    let time = rfc3339(end.time);
    put(out, format_args!("{{\"id\":\"{id}\",\"time\":\"{time}\",\"reason\":\"{}\"}}", end.reason));
}

/// Appends `{"after","resumed","reason"}`.
pub(crate) fn write_gap(out: &mut Vec<u8>, gap: &FeedGap) {
    put(
        out,
        format_args!(
            "{{\"after\":\"{}\",\"resumed\":\"{}\",\"reason\":\"{}\"}}",
            gap.after,
            gap.resumed,
            gap.reason.as_str()
        ),
    );
}

/// Bytes as they travel where only text can.
pub(crate) fn base64(data: &[u8]) -> String {
    BASE64.encode(data)
}

fn write_stamp(out: &mut Vec<u8>, stamp: Stamp<'_>) {
    put(
        out,
        format_args!(
            "\"id\":\"{}\",\"topic\":\"{}\",\"time\":\"{}\"",
            stamp.id,
            // Canonical names hold nothing that JSON would escape.
            stamp.topic,
            rfc3339(stamp.time)
        ),
    );
}

/// A line break in JSON can only stand between tokens: within strings it must be escaped.
fn write_json_line(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(json);
    for byte in out.iter_mut().skip(start) {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    // Memory takes everything, and a string has no case that JSON lacks.
    let _ = serde_json::to_writer(out, text);
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Memory takes everything.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use longwave_core::{EventType, GapReason};

    fn envelope(event_type: Option<&str>, format: DataFormat, data: &'static [u8]) -> String {
        let message = Message {
            event_type: event_type.map(|text| EventType::new(text).unwrap()),
            format,
            data: data.into(),
            source: None,
        };
        let topic = "caf%C3%A9/1".parse().unwrap();
        let mut out = Vec::new();
        write_envelope(&mut out, stamp(&topic), &message);
        String::from_utf8(out).unwrap()
    }

    fn stamp(topic: &TopicName) -> Stamp<'_> {
        Stamp::new("7kq2f".parse().unwrap(), Seq(12), topic, UnixMillis(1_700_000_000_050))
    }

    #[test]
    fn an_envelope_embeds_each_format_in_its_own_way() {
        expect_test::expect![[r#"
            {"id":"7kq2f-12","topic":"caf%C3%A9/1","time":"2023-11-14T22:13:20.050Z","data":"two\nlines \"quoted\" \u0001 é"}
            {"id":"7kq2f-12","topic":"caf%C3%A9/1","time":"2023-11-14T22:13:20.050Z","type":"a \"b\"","data":{ "big": 12345678901234567890.10,   "x": [1, 2] }}
            {"id":"7kq2f-12","topic":"caf%C3%A9/1","time":"2023-11-14T22:13:20.050Z","data":"AP8=","encoding":"base64"}
        "#]]
        .assert_eq(&format!(
            "{}\n{}\n{}\n",
            envelope(None, DataFormat::Text, "two\nlines \"quoted\" \u{1} é".as_bytes()),
            envelope(
                Some("a \"b\""),
                DataFormat::Json,
                b"{ \"big\": 12345678901234567890.10,\r\n \"x\": [1,\n2] }"
            ),
            envelope(None, DataFormat::Binary, &[0, 255]),
        ));
    }

    #[test]
    fn ends_and_gaps_are_objects() {
        let topic = "a".parse().unwrap();
        let mut out = Vec::new();
        write_end(&mut out, stamp(&topic), EndReason::Done);
        out.push(b'\n');
        let gap = FeedGap {
            after: "abcde-7".parse().unwrap(),
            resumed: "7kq2f-11".parse().unwrap(),
            reason: GapReason::Epoch,
        };
        write_gap(&mut out, &gap);
        expect_test::expect![[r#"
            {"id":"7kq2f-12","topic":"a","time":"2023-11-14T22:13:20.050Z","reason":"done"}
            {"after":"abcde-7","resumed":"7kq2f-11","reason":"epoch"}"#]]
        .assert_eq(std::str::from_utf8(&out).unwrap());
    }
}

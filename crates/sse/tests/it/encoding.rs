//! What the encoder promises beyond the cases.

use std::time::Duration;

use longwave_sse::{EventId, FieldError, FieldName, FieldValue, Frame, Output, encode_retry};

use crate::record::Record;

#[test]
fn refusals_say_what_is_wrong_and_where() {
    let line_end = FieldValue::new("ab\rc").unwrap_err();
    assert_eq!(line_end, FieldError::LineEnd { at: 2 });
    assert_eq!(
        line_end.to_string(),
        "a line end at byte 2: CR and LF can't be part of a field's value"
    );
    assert_eq!(EventId::new("a\0\n").unwrap_err(), FieldError::LineEnd { at: 2 });
    assert_eq!(EventId::new("a\0").unwrap_err(), FieldError::Nul { at: 1 });
    assert_eq!(FieldName::new("data").unwrap_err(), FieldError::NameReserved);
    for name in ["", "a b", "a:b", "a\n", "é", "\u{FEFF}data"] {
        assert_eq!(FieldName::new(name).unwrap_err(), FieldError::NameSyntax, "{name:?}");
    }
}

#[test]
fn values_that_the_standard_allows_are_taken() {
    assert_eq!(FieldValue::new(" a:b\0é ").unwrap().as_str(), " a:b\0é ");
    assert_eq!(EventId::new("").unwrap().as_str(), "");
    assert_eq!(FieldName::new("Content-Encoding_2.x").unwrap().as_str(), "Content-Encoding_2.x");
}

#[test]
fn a_name_can_be_checked_at_compile_time() {
    const TOPIC: Result<FieldName<'_>, FieldError> = FieldName::new("topic");
    assert!(matches!(TOPIC, Ok(name) if name.as_str() == "topic"));
}

#[test]
fn data_that_is_not_utf_8_stays_in_its_lines() {
    let mut out = Vec::new();
    Frame::new().data(&b"\xE2\x82\n\xFFid: 1\r\xF0\x9F"[..]).encode(&mut out);
    let seen = Record::of([out.as_slice()]);
    assert_eq!(seen.events.len(), 1);
    assert_eq!(seen.events[0].data, "\u{FFFD}\n\u{FFFD}id: 1\n\u{FFFD}");
    assert_eq!(seen.last_event_id, "");
}

#[test]
fn the_longest_delay_is_written_in_full_and_part_milliseconds_are_dropped() {
    let encoded = |delay| {
        let mut out = Vec::new();
        encode_retry(&mut out, delay);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(encoded(Duration::from_micros(1999)), "retry: 1\n");
    assert_eq!(encoded(Duration::MAX), format!("retry: {}\n", Duration::MAX.as_millis()));
}

#[test]
fn any_buffer_can_be_written_to() {
    struct Pieces(Vec<Vec<u8>>);
    impl Output for Pieces {
        fn put(&mut self, bytes: &[u8]) {
            self.0.push(bytes.to_vec());
        }
    }
    let mut pieces = Pieces(Vec::new());
    let output: &mut dyn Output = &mut pieces;
    Frame::new().data("a\nb").encode(output);
    assert_eq!(pieces.0.concat(), b"data: a\ndata: b\n\n");
}

//! What holds for every input: round trips, cuts that make no difference, nothing injected, no panic.

use std::time::Duration;

use longwave_sse::{
    DEFAULT_EVENT_TYPE, Decoder, EventId, FieldName, FieldValue, Frame, UnknownFields,
    encode_comment, encode_retry,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::record::{Record, RecordedEvent};

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(items in vec(item(), 0..8), cuts in vec(any::<Index>(), 0..6)) {
        let mut stream = Vec::new();
        let mut expected = Record::default();
        for item in &items {
            item.encode(&mut stream);
            item.expect(&mut expected);
        }
        prop_assert_eq!(Record::of(cut(&stream, &cuts)), expected);
    }

    #[test]
    fn any_bytes_decode_alike_however_they_are_cut(stream in stream(), cuts in vec(any::<Index>(), 0..12), limit in limit()) {
        let decoder = || Decoder::new().with_unknown_fields(UnknownFields::Keep).with_event_bytes_max(limit);
        let whole = Record::of_decoder(&mut decoder(), [stream.as_slice()]);
        prop_assert_eq!(&Record::of_decoder(&mut decoder(), cut(&stream, &cuts)), &whole);
        prop_assert_eq!(&Record::of_decoder(&mut decoder(), stream.chunks(1)), &whole);
    }

    #[test]
    fn any_bytes_decode_as_a_plain_reading_of_the_standard(stream in stream()) {
        prop_assert_eq!(Record::of([stream.as_slice()]), plain_reading(&stream));
    }

    #[test]
    fn no_data_reaches_outside_its_event(data in vec(hostile_byte(), 0..64)) {
        let mut stream = Vec::new();
        Frame::new().data(&data).encode(&mut stream);
        encode_comment(&mut stream, &String::from_utf8_lossy(&data));
        let seen = Record::of([stream.as_slice()]);
        let normalised = normalise(&String::from_utf8_lossy(&data));
        prop_assert_eq!(seen.comments.len(), normalised.matches('\n').count() + 1);
        let event = RecordedEvent { event_type: DEFAULT_EVENT_TYPE.into(), data: normalised, ..Default::default() };
        prop_assert_eq!(seen.events, [event]);
        prop_assert_eq!((seen.retries.len(), seen.last_event_id.as_str()), (0, ""));
    }

    #[test]
    fn a_field_takes_exactly_the_text_that_survives_it(text in hostile_text()) {
        let breaks_line = text.contains(['\n', '\r']);
        prop_assert_eq!(FieldValue::new(&text).is_ok(), !breaks_line);
        prop_assert_eq!(EventId::new(&text).is_ok(), !breaks_line && !text.contains('\0'));
        if let Ok(value) = FieldValue::new(&text) {
            let topic = [(FieldName::new("topic").unwrap(), value)];
            let mut stream = Vec::new();
            Frame::new().event_type(value).extensions(&topic).data("").encode(&mut stream);
            let seen = Record::of([stream.as_slice()]);
            prop_assert_eq!(seen.events.len(), 1);
            prop_assert_eq!(&seen.events[0].event_type, if text.is_empty() { DEFAULT_EVENT_TYPE } else { &text });
            prop_assert_eq!(&seen.events[0].extensions["topic"], &text);
            prop_assert_eq!(&seen.events[0].data, "");
        }
    }

    #[test]
    fn a_name_that_is_taken_never_reads_as_a_field_of_the_standard(name in "\u{FEFF}?[ \\-._:a-z\n\r\0]{0,3}(data|event|id|retry)?") {
        if let Ok(checked) = FieldName::new(&name) {
            let fields = [(checked, FieldValue::new("5").unwrap())];
            let mut stream = Vec::new();
            Frame::new().extensions(&fields).data("a").encode(&mut stream);
            let seen = Record::of([stream.as_slice()]);
            prop_assert_eq!(seen.events.len(), 1);
            prop_assert_eq!(&seen.events[0].extensions[&name], "5");
            prop_assert_eq!((seen.events[0].data.as_str(), seen.events[0].id.as_ref(), seen.retries.len()), ("a", None, 0));
        }
    }
}

/// Something to encode.
#[derive(Clone, Debug)]
enum Item {
    Event {
        id: Option<String>,
        event_type: Option<String>,
        topic: Option<String>,
        data: Option<String>,
    },
    Comment(String),
    Retry(u64),
}

impl Item {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Comment(text) => encode_comment(out, text),
            Self::Retry(ms) => encode_retry(out, Duration::from_millis(*ms)),
            Self::Event { id, event_type, topic, data } => {
                let name = FieldName::new("topic").unwrap();
                let extensions: Vec<_> =
                    topic.iter().map(|topic| (name, FieldValue::new(topic).unwrap())).collect();
                let mut frame = Frame::new().extensions(&extensions);
                if let Some(id) = id {
                    frame = frame.id(EventId::new(id).unwrap());
                }
                if let Some(event_type) = event_type {
                    frame = frame.event_type(FieldValue::new(event_type).unwrap());
                }
                if let Some(data) = data {
                    frame = frame.data(data);
                }
                let len_before = out.len();
                frame.encode(out);
                assert_eq!(out.len() - len_before, frame.encoded_len());
            }
        }
    }

    /// Adds what a decoder has to make of it.
    fn expect(&self, record: &mut Record) {
        match self {
            Self::Comment(text) => {
                record.comments.extend(normalise(text).split('\n').map(Into::into))
            }
            Self::Retry(ms) => record.retries.push(*ms),
            Self::Event { id, event_type, topic, data } => {
                if let Some(id) = id {
                    record.last_event_id.clone_from(id);
                }
                if let Some(data) = data {
                    record.events.push(RecordedEvent {
                        event_type: event_type
                            .clone()
                            .filter(|t| !t.is_empty())
                            .unwrap_or(DEFAULT_EVENT_TYPE.into()),
                        data: normalise(data),
                        last_event_id: record.last_event_id.clone(),
                        id: id.clone(),
                        extensions: topic
                            .iter()
                            .map(|topic| ("topic".into(), topic.clone()))
                            .collect(),
                    });
                }
            }
        }
    }
}

fn item() -> impl Strategy<Value = Item> {
    let value = || option::of("[^\r\n]{0,12}");
    let event = (option::of("[^\r\n\0]{0,12}"), value(), value(), option::of(hostile_text()))
        .prop_map(|(id, event_type, topic, data)| Item::Event { id, event_type, topic, data });
    prop_oneof![4 => event, 1 => hostile_text().prop_map(Item::Comment), 1 => any::<u64>().prop_map(Item::Retry)]
}

/// Text rich in what has a meaning to the format.
fn hostile_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\r\n".to_owned()),
        Just("\0".to_owned()),
        Just("\u{FEFF}".to_owned()),
        Just(" ".to_owned()),
        Just(":".to_owned()),
        Just("id: 1".to_owned()),
        Just("data: x".to_owned()),
        "\\PC{0,4}",
    ];
    vec(part, 0..10).prop_map(|parts| parts.concat())
}

fn hostile_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        prop::sample::select(&b"\r\n\0: adtieyrv\xEF\xBB\xBF\xE2\x82\xF0\x9F"[..]),
        any::<u8>()
    ]
}

/// Bytes that are close to an event stream, and now and then far from it.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        8 => prop::sample::select(STREAM_TOKENS).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..6),
    ];
    vec(token, 0..48).prop_map(|tokens| tokens.concat())
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![1 => 0..40_usize, 1 => Just(usize::MAX)]
}

/// The stream in pieces, cut at the given places.
fn cut<'s>(stream: &'s [u8], cuts: &[Index]) -> Vec<&'s [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter().map(|end| &stream[std::mem::replace(&mut start, end)..end]).collect()
}

fn normalise(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// The standard's steps one by one over the whole stream, with no thought of speed.
fn plain_reading(stream: &[u8]) -> Record {
    let text = String::from_utf8_lossy(stream);
    let text = normalise(text.strip_prefix('\u{FEFF}').unwrap_or(&text));
    let whole_lines = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut record = Record::default();
    let mut block = RecordedEvent::default();
    let mut data = String::new();
    for line in whole_lines.split_terminator('\n') {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" if line.is_empty() => {
                let mut event = std::mem::take(&mut block);
                if let Some(id) = &event.id {
                    record.last_event_id.clone_from(id);
                }
                let data = std::mem::take(&mut data);
                if let Some(data) = data.strip_suffix('\n') {
                    event.data = data.into();
                    event.last_event_id.clone_from(&record.last_event_id);
                    if event.event_type.is_empty() {
                        event.event_type = DEFAULT_EVENT_TYPE.into();
                    }
                    record.events.push(event);
                }
            }
            "" => record.comments.push(value.into()),
            "event" => block.event_type = value.into(),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => block.id = Some(value.into()),
            "id" => {}
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                record.retries.push(value.parse().unwrap_or(u64::MAX));
            }
            "retry" => {}
            _ => {
                block.extensions.insert(name.into(), value.into());
            }
        }
    }
    record
}

const STREAM_TOKENS: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"data",
    b"data:",
    b"data: ",
    b"event: ",
    b"id: ",
    b"id",
    b"retry: ",
    b": ",
    b":",
    b" ",
    b"1",
    b"42",
    b"topic: ",
    b"\0",
    b"\xEF\xBB\xBF",
    b"\xEF\xBB",
    b"\xE2\x82",
    b"\xAC",
    b"\xFF",
    b"text",
    "é€😀".as_bytes(),
];

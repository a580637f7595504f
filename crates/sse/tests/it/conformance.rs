//! The language-neutral cases of `conformance/`, whose README describes the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use longwave_sse::{
    EventId, FieldError, FieldName, FieldValue, Frame, encode_comment, encode_retry,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::record::Record;

#[test]
fn every_stream_decodes_as_its_case_says_however_it_is_cut() {
    let cases: Vec<DecodeCase> = read_cases("sse", 13);
    assert!(cases.len() >= 169, "only {} cases", cases.len());
    for case in cases {
        let bytes = case.bytes();
        case.check(&Record::of([bytes.as_slice()]), "whole");
        case.check(&Record::of(bytes.chunks(1)), "byte by byte");
        for at in 0..=bytes.len() {
            let (before, after) = bytes.split_at(at);
            case.check(&Record::of([before, after]), &format!("cut at {at}"));
        }
    }
}

#[test]
fn every_frame_encodes_as_its_case_says() {
    let cases: Vec<EncodeCase> = read_cases("sse-encode", 1);
    assert!(cases.len() >= 33, "only {} cases", cases.len());
    for case in cases {
        let output = case.encode().ok();
        assert_eq!(output, case.output, "{}", case.name);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DecodeCase {
    name: String,
    input: Option<String>,
    input_base64: Option<String>,
    events: Vec<ExpectedEvent>,
    last_event_id: String,
    retry_ms: Option<u64>,
    comments: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExpectedEvent {
    r#type: String,
    data: String,
    last_event_id: String,
    extensions: Option<BTreeMap<String, String>>,
}

impl DecodeCase {
    fn bytes(&self) -> Vec<u8> {
        match (&self.input, &self.input_base64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(base64)) => BASE64_STANDARD.decode(base64).unwrap(),
            _ => panic!("{}: one of input and inputBase64", self.name),
        }
    }

    fn check(&self, seen: &Record, how: &str) {
        let context = format!("{:?}, {how}", self.name);
        assert_eq!(seen.error, None, "{context}");
        assert_eq!(seen.last_event_id, self.last_event_id, "{context}");
        assert_eq!(seen.retries.last().copied(), self.retry_ms, "{context}");
        if let Some(comments) = &self.comments {
            assert_eq!(&seen.comments, comments, "{context}");
        }
        assert_eq!(seen.events.len(), self.events.len(), "{context}: {seen:?}");
        for (event, expected) in iter::zip(&seen.events, &self.events) {
            assert_eq!(event.event_type, expected.r#type, "{context}");
            assert_eq!(event.data, expected.data, "{context}");
            assert_eq!(event.last_event_id, expected.last_event_id, "{context}");
            if let Some(extensions) = &expected.extensions {
                assert_eq!(&event.extensions, extensions, "{context}");
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EncodeCase {
    name: String,
    items: Vec<Item>,
    output: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Item {
    Event(EventItem),
    Comment(String),
    RetryMs(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventItem {
    id: Option<String>,
    r#type: Option<String>,
    data: Option<String>,
    #[serde(default)]
    extensions: Vec<(String, String)>,
}

impl EncodeCase {
    fn encode(&self) -> Result<String, FieldError> {
        let mut out = Vec::new();
        for item in &self.items {
            match item {
                Item::Comment(text) => encode_comment(&mut out, text),
                Item::RetryMs(ms) => encode_retry(&mut out, Duration::from_millis(*ms)),
                Item::Event(event) => event.encode(&mut out)?,
            }
        }
        Ok(String::from_utf8(out).unwrap())
    }
}

impl EventItem {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), FieldError> {
        let extensions = self
            .extensions
            .iter()
            .map(|(name, value)| Ok((FieldName::new(name)?, FieldValue::new(value)?)))
            .collect::<Result<Vec<_>, FieldError>>()?;
        let mut frame = Frame::new().extensions(&extensions);
        if let Some(id) = &self.id {
            frame = frame.id(EventId::new(id)?);
        }
        if let Some(event_type) = &self.r#type {
            frame = frame.event_type(FieldValue::new(event_type)?);
        }
        if let Some(data) = &self.data {
            frame = frame.data(data);
        }
        let len_before = out.len();
        frame.encode(out);
        assert_eq!(out.len() - len_before, frame.encoded_len());
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile<T> {
    cases: Vec<T>,
}

/// Every case of a folder, which has at least `files_min` files.
fn read_cases<T: DeserializeOwned>(folder: &str, files_min: usize) -> Vec<T> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance").join(folder);
    let paths: BTreeSet<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= files_min, "only {} files in {}", paths.len(), folder.display());
    let mut cases = Vec::new();
    for path in paths {
        let file: CaseFile<T> = serde_json::from_slice(&fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!file.cases.is_empty(), "{} has no case", path.display());
        cases.extend(file.cases);
    }
    cases
}

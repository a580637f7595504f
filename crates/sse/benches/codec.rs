//! Decoding speed beside the crates `sse-stream` and `eventsource-stream`, and encoding speed. Start at `decode`.
//!
//! Every contestant reads the same stream in the same 16 KiB pieces, which are cut and put into `Bytes` beforehand.
//! Two ways of consuming are measured:
//!
//! - `read`: every event's data is looked at and then dropped. The peers have no other form than owned `String`s, and
//!   are measured with those; this crate hands out borrowed events.
//! - `owned`: every event ends as an owned value, so this crate pays for the same allocations as the peers.
//!
//! The peers are streams, driven here without a runtime: their source is always ready, so every poll returns at once.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that can't go on may panic"
)]

use std::convert::Infallible;
use std::fmt::Write as _;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use longwave_sse::{Decoded, Decoder, EventId, EventRef, FieldValue, Frame};
use sse_stream::SseByteStream;

criterion_group!(benches, decode, encode);
criterion_main!(benches);

fn decode(criterion: &mut Criterion) {
    for workload in workloads() {
        let mut group = criterion.benchmark_group(format!("decode/{}", workload.name));
        group.throughput(Throughput::Bytes(workload.bytes));
        let (pieces, expected) = (&workload.pieces, workload.expected);
        group.bench_function("longwave-sse/read", |bench| {
            bench.iter(|| expected.check(longwave_read(pieces)))
        });
        group.bench_function("longwave-sse/owned", |bench| {
            bench.iter(|| expected.check(longwave_owned(pieces)))
        });
        group.bench_function("sse-stream", |bench| {
            bench.iter(|| expected.check(sse_stream(pieces)))
        });
        group.bench_function("eventsource-stream", |bench| {
            bench.iter(|| expected.check(eventsource_stream(pieces)))
        });
        group.finish();
    }
}

fn encode(criterion: &mut Criterion) {
    for (name, data, count) in
        [("llm", llm_data(7, ENGLISH), 4096_usize), ("large", large_json(), 64)]
    {
        let mut group = criterion.benchmark_group(format!("encode/{name}"));
        let mut out = Vec::new();
        encode_all(&data, count, &mut out);
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function("longwave-sse", |bench| {
            bench.iter(|| {
                out.clear();
                encode_all(black_box(&data), count, &mut out);
                black_box(out.len())
            });
        });
        group.finish();
    }
}

fn encode_all(data: &str, count: usize, out: &mut Vec<u8>) {
    let id = EventId::new("7kq2f-1024").unwrap();
    let event_type = FieldValue::new("delta").unwrap();
    for _ in 0..count {
        Frame::new().id(id).event_type(event_type).data(data).encode(out);
    }
}

struct Workload {
    name: &'static str,
    pieces: Vec<Bytes>,
    bytes: u64,
    expected: Tally,
}

/// What a contestant saw, so that one that drops or cuts events can't win.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    events: usize,
    data_bytes: usize,
}

impl Tally {
    fn add(&mut self, data: &str) {
        self.events += 1;
        self.data_bytes += black_box(data).len();
    }

    fn check(self, seen: Self) {
        assert_eq!(self, seen);
    }
}

fn longwave_read(pieces: &[Bytes]) -> Tally {
    let mut tally = Tally::default();
    longwave(pieces, |event| tally.add(event.data()));
    tally
}

fn longwave_owned(pieces: &[Bytes]) -> Tally {
    let mut tally = Tally::default();
    longwave(pieces, |event| tally.add(black_box(event.to_owned()).data()));
    tally
}

fn longwave(pieces: &[Bytes], mut each: impl FnMut(EventRef<'_>)) {
    let mut decoder = Decoder::new();
    for piece in pieces {
        let mut input = piece.as_ref();
        while let Some(decoded) = decoder.decode(&mut input).unwrap() {
            if let Decoded::Event(event) = decoded {
                each(event);
            }
        }
    }
}

fn sse_stream(pieces: &[Bytes]) -> Tally {
    let mut tally = Tally::default();
    drain(SseByteStream::new(source(pieces)), |event| {
        tally.add(event.unwrap().data.as_deref().unwrap())
    });
    tally
}

fn eventsource_stream(pieces: &[Bytes]) -> Tally {
    let mut tally = Tally::default();
    drain(source(pieces).eventsource(), |event| tally.add(&event.unwrap().data));
    tally
}

/// Cloning a `Bytes` is a reference count, not a copy.
fn source(pieces: &[Bytes]) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin {
    stream::iter(pieces.iter().cloned().map(Ok))
}

fn drain<S: Stream + Unpin>(mut events: S, mut each: impl FnMut(S::Item)) {
    while let Some(event) = events.next().now_or_never().unwrap() {
        each(event);
    }
}

fn workloads() -> Vec<Workload> {
    vec![
        workload("llm", (0..40_000).map(|n| (None, llm_data(n, ENGLISH))).collect()),
        workload("llm-unicode", (0..40_000).map(|n| (None, llm_data(n, WORLD))).collect()),
        workload("llm-typed", (0..40_000).map(|n| (Some(n), llm_data(n, ENGLISH))).collect()),
        workload("large", (0..128).map(|_| (None, large_json())).collect()),
        workload("large-lines", (0..128).map(|_| (None, large_lines())).collect()),
    ]
}

/// Encodes the events, with id and type where there is a number, and cuts the stream into pieces.
fn workload(name: &'static str, events: Vec<(Option<usize>, String)>) -> Workload {
    let mut encoded = Vec::new();
    let mut expected = Tally::default();
    for (number, data) in &events {
        let id = number.map(|number| format!("7kq2f-{number}"));
        let mut frame = Frame::new().data(data);
        if let Some(id) = &id {
            frame = frame
                .id(EventId::new(id).unwrap())
                .event_type(FieldValue::new("content_block_delta").unwrap());
        }
        frame.encode(&mut encoded);
        expected.add(data);
    }
    let pieces = encoded.chunks(PIECE_BYTES).map(Bytes::copy_from_slice).collect();
    Workload { name, pieces, bytes: encoded.len() as u64, expected }
}

/// A chat completion chunk as LLM providers send them: 150 to 300 bytes of JSON with a few words in it.
fn llm_data(number: usize, words: &[&str]) -> String {
    let mut content = String::new();
    for word in 0..=number % 7 {
        content.push_str(words[(number * 7 + word * 3) % words.len()]);
    }
    format!(
        r#"{{"id":"chatcmpl-9x{number:08}","object":"chat.completion.chunk","created":1795176000,"model":"some-model-4","choices":[{{"index":0,"delta":{{"content":"{content}"}},"logprobs":null,"finish_reason":null}}]}}"#
    )
}

/// 96 KiB of JSON on one line.
fn large_json() -> String {
    let mut json = String::from("[");
    for row in 0.. {
        write!(
            json,
            r#"{{"row":{row},"symbol":"ACME","price":{}.25,"note":"nothing to see"}},"#,
            row * 31 % 977
        )
        .unwrap();
        if json.len() >= LARGE_BYTES {
            break;
        }
    }
    json
}

/// 96 KiB of log lines of about 100 bytes.
fn large_lines() -> String {
    let mut text = String::new();
    for row in 0.. {
        let status = 200 + row % 5;
        writeln!(text, "2026-11-20T12:00:00.{row:06}Z INFO request served path=/topics/orders/{row} status={status} bytes=1832")
            .unwrap();
        if text.len() >= LARGE_BYTES {
            break;
        }
    }
    text
}

/// What most streams carry: nothing but ASCII.
const ENGLISH: &[&str] =
    &["the", " quick", " brown", " fox", " said:", " \\\"hello\\\"", " jumps", " over", "\\n\\n"];
/// Nearly every event has a character beyond ASCII, which is what slows the check for UTF-8 down.
const WORLD: &[&str] =
    &["the", " über", " naïve", " fox", " → jumps", " 你好", " señor", " — über", " 😀"];
const PIECE_BYTES: usize = 16 * 1024;
const LARGE_BYTES: usize = 96 * 1024;

//! Bodies of live streams, over a log in memory.

use std::sync::Arc;

use http_body_util::BodyExt;
use longwave_core::{
    Append, Config, DataFormat, EventId, EventType, Expected, Message, NewMessage, SelectorSet,
    Seq, StartAt, TopicName, TypeFilter,
};
use longwave_store::{Log, MemoryLog, MemoryOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::http::HttpOptions;
use crate::hub::Subscribe;
use crate::transports::read_request::DataShape;

struct Bench {
    app: App,
    log: Arc<MemoryLog>,
}

impl Bench {
    fn open() -> Bench {
        let options = MemoryOptions { retention_interval: None, ..MemoryOptions::default() };
        let (log, commits) = MemoryLog::open(options).unwrap();
        let app = App::new(Arc::clone(&log) as _, commits, HttpOptions::default(), &[]).unwrap();
        Bench { app, log }
    }

    async fn append(&self, messages: Vec<Message>, end: Option<EndReason>) {
        let messages =
            messages.into_iter().map(|message| NewMessage { message, key: None }).collect();
        let append = Append { topic: topic(), messages, end, key: None, expected: Expected::Any };
        self.log.append(append).await.unwrap();
    }

    async fn subscribe(&self, start: StartAt) -> Subscription {
        let subscribe = Subscribe {
            selectors: Arc::new(SelectorSet::topic(topic())),
            types: TypeFilter::all(),
            start,
            kind: SubscriberKind::Sse,
        };
        self.app.hub().subscribe(subscribe).await.unwrap()
    }

    async fn native(&self, kind: NativeKind, on_broken_end: OnBrokenEnd) -> Body {
        let subscription = self.subscribe(StartAt::First).await;
        native_body(&self.app, subscription, NativeFraming { kind }, on_broken_end)
    }
}

fn topic() -> TopicName {
    "streams/abc".parse().unwrap()
}

fn text(data: &str) -> Message {
    let data = data.to_owned().into();
    Message { event_type: None, format: DataFormat::Text, data, source: None }
}

/// All of a body, and how it ended.
async fn drain(mut body: Body) -> (String, Result<(), String>) {
    let mut bytes = Vec::new();
    let all = async {
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    };
    let end = tokio::time::timeout(Duration::from_secs(60), all).await.expect("it hangs");
    (String::from_utf8(bytes).unwrap(), end)
}

const SENT: &str = "data: one\nid: abc:2\n\nevent: x\r\ndata:two\r\nid: abc:3\r\n\r\n";

fn recorded() -> Vec<Message> {
    let head = Message { event_type: EventType::control("longwave.stream").ok(), ..text("{}") };
    let two = Message {
        event_type: EventType::new("x").ok(),
        source: Some("event: x\r\ndata:two\r\n\r\n".into()),
        ..text("two")
    };
    vec![head, text("one"), two]
}

#[tokio::test]
async fn a_native_body_ends_in_order_where_the_stream_is_done() {
    let bench = Bench::open();
    bench.append(recorded(), Some(EndReason::Done)).await;
    for on_broken_end in [OnBrokenEnd::Finish, OnBrokenEnd::Abort] {
        let body = bench.native(NativeKind::Sse, on_broken_end).await;
        assert_eq!(drain(body).await, (SENT.to_owned(), Ok(())));
        let body = bench.native(NativeKind::Ndjson, on_broken_end).await;
        let (lines, end) = drain(body).await;
        assert_eq!((&*lines, end), ("one\nevent: x\r\ndata:two\r\n\r\n", Ok(())));
    }
}

#[tokio::test]
async fn a_native_body_of_a_broken_stream_ends_as_the_caller_says() {
    for reason in [
        EndReason::Error,
        EndReason::Cancelled,
        EndReason::Truncated,
        EndReason::Timeout,
        EndReason::Crashed,
    ] {
        let bench = Bench::open();
        bench.append(recorded(), Some(reason)).await;
        let body = bench.native(NativeKind::Sse, OnBrokenEnd::Finish).await;
        assert_eq!(drain(body).await, (SENT.to_owned(), Ok(())));
        let body = bench.native(NativeKind::Sse, OnBrokenEnd::Abort).await;
        let (sent, end) = drain(body).await;
        assert_eq!((&*sent, end), (SENT, Err(Broken::Ended(reason).to_string())));
    }
}

#[tokio::test]
async fn a_native_body_is_broken_off_where_anything_but_an_end_stops_it() {
    let on_broken_end = OnBrokenEnd::Finish;
    let drained = Bench::open();
    drained.append(recorded(), None).await;
    let body = drained.native(NativeKind::Sse, on_broken_end).await;
    drained.app.hub().drain();
    let (sent, end) = drain(body).await;
    // What it had yet to read is read elsewhere, by the id of what it has.
    assert!(SENT.starts_with(&sent), "{sent}");
    assert_eq!(end, Err(Broken::Draining.to_string()));

    let closed = Bench::open();
    closed.append(recorded(), None).await;
    let body = closed.native(NativeKind::Sse, on_broken_end).await;
    closed.log.close().await;
    assert_eq!(drain(body).await.1, Err(Broken::Unreadable.to_string()));

    let deleted = Bench::open();
    deleted.append(recorded(), None).await;
    let body = deleted.native(NativeKind::Sse, on_broken_end).await;
    deleted.log.delete(topic()).await.unwrap();
    let end = drain(body).await.1;
    let gone = [Broken::Gap, Broken::Ended(EndReason::Deleted)].map(|broken| broken.to_string());
    assert!(gone.contains(end.as_ref().unwrap_err()), "{end:?}");

    let cut = Bench::open();
    let config = Config { max_events: Some(1), ..Config::default() };
    cut.log.configure(topic(), config).await.unwrap();
    cut.append(recorded(), None).await;
    // What was committed is dispatched by now, so that it can be had from the log only.
    let mut early = cut.native(NativeKind::Sse, on_broken_end).await;
    let _ = early.frame().await;
    drop(early);
    let start = EventId { epoch: cut.log.epoch(), seq: Seq(1) };
    let subscription = cut.subscribe(StartAt::After(start)).await;
    let framing = NativeFraming { kind: NativeKind::Sse };
    let body = native_body(&cut.app, subscription, framing, on_broken_end);
    assert_eq!(drain(body).await, (String::new(), Err(Broken::Gap.to_string())));
}

#[tokio::test]
async fn an_http_client_of_a_body_that_is_broken_off_gets_all_events_and_no_last_chunk() {
    for (reason, is_whole) in [(EndReason::Done, true), (EndReason::Truncated, false)] {
        let bench = Bench::open();
        bench.append(recorded(), Some(reason)).await;
        let body = bench.native(NativeKind::Sse, OnBrokenEnd::Abort).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client =
            tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let body = std::sync::Mutex::new(Some(body));
        let service = hyper::service::service_fn(move |_| {
            let response = http::Response::new(body.lock().unwrap().take().unwrap());
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(hyper_util::rt::TokioIo::new(socket), service);
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        let (served, read) = tokio::join!(connection, client.read_to_string(&mut answer));
        read.unwrap();
        assert_eq!(served.is_ok(), is_whole);
        assert!(answer.contains(SENT), "{answer}");
        assert_eq!(answer.ends_with("0\r\n\r\n"), is_whole, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_native_event_stream_gives_a_sign_of_life_and_a_native_stream_of_lines_does_not() {
    let bench = Bench::open();
    let mut body = bench.native(NativeKind::Sse, OnBrokenEnd::Finish).await;
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), ":\n");
    let mut body = bench.native(NativeKind::Ndjson, OnBrokenEnd::Finish).await;
    let silence = Duration::from_millis(5 * HttpOptions::default().heartbeat_ms);
    assert!(tokio::time::timeout(silence, body.frame()).await.is_err());
    bench.append(recorded(), None).await;
    let frame = body.frame().await.unwrap().unwrap();
    assert!(frame.into_data().unwrap().starts_with(b"one\n"));
}

#[tokio::test]
async fn a_body_takes_no_more_than_one_batch_ahead_of_its_socket() {
    let bench = Bench::open();
    bench.append((0..1000).map(|i| text(&format!("{i:01000}"))).collect(), None).await;
    let subscription = bench.subscribe(StartAt::First).await;
    let selectors = SelectorSet::topic(topic());
    let framing = Framing::sse(bench.log.epoch(), &selectors, DataShape::Plain);
    let mut pump = Pump::new(bench.app, subscription, framing, None, Stop::InOrder);
    assert!(pump.next_chunk().await.unwrap().unwrap().ends_with(b":\n"));
    let chunk = pump.next_chunk().await.unwrap().unwrap();
    let text = std::str::from_utf8(&chunk).unwrap();
    let events = text.matches("\n\n").count();
    assert!((1..=EVENTS_MAX).contains(&events), "{events}");
    assert!(chunk.len() <= BYTES_MAX + 2 * 1024, "{}", chunk.len());
    assert!(text.ends_with("\n\n"));
    // What was not asked for was not taken: the cursor is behind the last event in the chunk.
    assert!(text.contains(&format!("id: {}\n", pump.subscription.cursor())));
    assert_eq!(pump.subscription.cursor().seq.0, events as u64);
}

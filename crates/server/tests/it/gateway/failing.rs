//! When the ground gives way: a crash, a failing log, a topic deleted in mid-stream, a server that goes down.

use std::sync::Arc;

use longwave::gateway::{RouteOptions, Secret};
use longwave::http::HttpOptions;
use longwave_core::{Append, Event, Expected, NewMessage, Payload};
use longwave_store::{AppendError, Log, MemoryLog};
use reqwest::Method;
use serde_json::json;

use super::ends::{Spoken, spoken};
use super::{DONE, Ending, Station, Viewer, client, word};
use crate::support::{Answer, FaultyLog, Script, TestServer, Upstream, within};

const CRASHED: &str = "the gateway went down in the middle of the stream";

impl Station {
    /// A station whose log fails on demand.
    async fn faulty() -> (Station, Arc<FaultyLog>) {
        Station::draining_for(5_000).await
    }

    async fn draining_for(drain_timeout_ms: u64) -> (Station, Arc<FaultyLog>) {
        let upstream = Upstream::start().await;
        let mut faulty = None;
        let change = |http: &mut HttpOptions| {
            configure(http, &upstream);
            http.drain_timeout_ms = drain_timeout_ms;
        };
        let wrap = |log| Arc::clone(faulty.insert(FaultyLog::new(log)));
        let server = TestServer::over(change, wrap).await;
        (Station { server, upstream, client: client() }, faulty.unwrap())
    }

    /// A station over a log that holds these events already.
    async fn after(events: &[Arc<Event>]) -> Station {
        let upstream = Upstream::start().await;
        let change = |http: &mut HttpOptions| configure(http, &upstream);
        let server = TestServer::after(change, async |log| copy(events, log).await).await;
        Station { server, upstream, client: client() }
    }
}

fn configure(http: &mut HttpOptions, upstream: &Upstream) {
    http.gateway.routes.push(RouteOptions::new("/v1", &upstream.url("/v1")).unwrap());
    http.gateway.secret = Some(Secret::new(&[7; Secret::BYTES]));
}

async fn copy(events: &[Arc<Event>], log: &MemoryLog) {
    for event in events {
        let (messages, end) = match &event.payload {
            Payload::Message(message) => {
                (vec![NewMessage { message: message.clone(), key: None }], None)
            }
            Payload::End(reason) => (Vec::new(), Some(*reason)),
        };
        let topic = event.topic.clone();
        let append = Append { topic, messages, end, key: None, expected: Expected::Any };
        log.append(append).await.unwrap();
    }
}

/// What the log has of a stream of this dialect that a crash cut off, and the stream's path.
async fn cut_off(spoken: &Spoken, sent: &str) -> (Vec<Arc<Event>>, String) {
    let station = Station::after(&[]).await;
    let viewer = spoken.view(&station, spoken.head().send(sent).hang()).await;
    let path = viewer.path();
    (station.server.events(&path[1..]).await, path)
}

#[tokio::test]
async fn a_stream_that_a_crash_cut_off_is_ended_as_crashed() {
    for spoken in spoken() {
        let (events, path) = cut_off(&spoken, &spoken.content).await;
        assert_eq!(events.len(), 3);
        let station = Station::after(&events).await;
        // Who comes before it is ended is told too.
        let viewer = Viewer::of(station.get(&path)).await;
        station.has_state(&path, "crashed").await;
        spoken.check_told(&station, viewer, "crashed", CRASHED).await;
        assert_eq!(station.upstream.count(), 0);
    }
}

#[tokio::test]
async fn a_stream_that_had_said_its_end_before_a_crash_has_that_end() {
    for spoken in spoken().into_iter().filter(Spoken::tells_errors) {
        for (end, state) in [(spoken.end, "done"), (spoken.error, "error")] {
            let sent = [spoken.content.as_str(), end].concat();
            let (events, path) = cut_off(&spoken, &sent).await;
            let events: Vec<_> = events
                .into_iter()
                .filter(|event| matches!(event.payload, Payload::Message(_)))
                .collect();
            let station = Station::after(&events).await;
            station.has_state(&path, state).await;
            let id = path.strip_prefix("/streams/").unwrap();
            let body = Viewer::of(station.get(&path)).await.whole().await;
            assert_eq!(super::without_ids(id, &body).0, sent, "{}", spoken.name);
        }
    }
}

#[tokio::test]
async fn a_claim_that_was_not_answered_before_a_crash_is_forgotten() {
    let station = Station::after(&[]).await;
    station.upstream.script(Script::new().hang());
    let request = station.chat().header("idempotency-key", "k").send();
    let waiting = tokio::spawn(request);
    station.upstream.asked(0).await;
    let id = station.first_id().await;
    let events = station.server.events(&format!("streams/{id}")).await;
    assert_eq!(events.len(), 1);
    waiting.abort();

    let station = Station::after(&events).await;
    station.upstream.script(Script::sse().send(word("a")).send(DONE).end());
    let viewer = Viewer::of(station.chat().header("idempotency-key", "k")).await;
    assert_eq!((viewer.status(), viewer.id()), (200, id));
    viewer.whole().await;
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn a_key_is_known_again_after_a_restart() {
    let station = Station::after(&[]).await;
    station.upstream.script(Script::sse().send(word("a")).send(DONE).end());
    let viewer = Viewer::of(station.chat().header("idempotency-key", "k")).await;
    let path = viewer.path();
    viewer.whole().await;
    let station = Station::after(&station.server.events(&path[1..]).await).await;
    let viewer = Viewer::of(station.chat().header("idempotency-key", "k")).await;
    assert_eq!(viewer.header("longwave-duplicate"), Some("true"));
    assert!(viewer.whole().await.starts_with(word("a").trim_end()));
    assert_eq!(station.upstream.count(), 0);
}

#[tokio::test]
async fn a_stream_that_cannot_be_recorded_any_more_is_broken_off_and_upstream_stopped() {
    for (number, spoken) in spoken().into_iter().enumerate() {
        let (station, log) = Station::faulty().await;
        let script = spoken.head().send(&spoken.content).wait("more").send(&spoken.content);
        let viewer = spoken.view(&station, script.hang()).await;
        let path = viewer.path();
        let other = Viewer::of(station.get(&path)).await;
        log.fail(Some(AppendError::Failed));
        station.upstream.say("more");
        for viewer in [viewer, other] {
            let id = path.strip_prefix("/streams/").unwrap();
            let (body, ending) = viewer.rest().await;
            assert_eq!(ending, Ending::Aborted, "{number}");
            assert_eq!(super::without_ids(id, &body).0, spoken.content);
        }
        station.upstream.asked(0).await.hung_up().await;
        assert!(Answer::of(station.get(&path)).await.status >= 500);
        // As soon as the log takes something again, the stream has its end.
        log.fail(None);
        let viewer = Viewer::of(station.get(&path)).await;
        spoken.check_told(&station, viewer, "crashed", CRASHED).await;
    }
}

#[tokio::test]
async fn a_log_that_fails_before_the_answer_is_told_as_a_status() {
    let (station, log) = Station::faulty().await;
    log.fail(Some(AppendError::Failed));
    for keyed in [false, true] {
        station.upstream.script(Script::sse().send(word("a")).hang());
        let request = station.chat();
        let request = if keyed { request.header("idempotency-key", "k") } else { request };
        assert!(Answer::of(request).await.status >= 500);
    }
    assert_eq!(station.upstream.count(), 1);
    station.upstream.asked(0).await.hung_up().await;
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let (station, log) = Station::faulty().await;
    let script = Script::sse().send(word("a")).wait("more").send(word("b")).send(DONE).end();
    let mut viewer = station.stream(script).await;
    viewer.until("\n\n").await;
    let before = log.appends();
    log.fail(Some(AppendError::Full));
    station.upstream.say("more");
    crate::support::eventually(async || log.appends() > before).await;
    log.fail(None);
    let rest = viewer.whole().await;
    assert!(rest.contains("\"b\"") && rest.contains("[DONE]"), "{rest}");
}

#[tokio::test]
async fn a_stream_whose_topic_is_deleted_is_recorded_no_more() {
    let station = Station::start().await;
    let script = Script::sse().send(word("a")).wait("more").send(word("b")).hang();
    let mut viewer = station.stream(script).await;
    viewer.until("\n\n").await;
    let path = viewer.path();
    let answer = station.request(Method::DELETE, &format!("/topics{path}"));
    assert!(within(answer.send()).await.unwrap().status().is_success());
    assert_eq!(viewer.rest().await, (String::new(), Ending::Aborted));
    station.upstream.say("more");
    station.upstream.asked(0).await.hung_up().await;
    assert!(station.server.events(&path[1..]).await.is_empty());
    Answer::of(station.get(&path)).await.problem(404, "stream-not-found");
}

#[tokio::test]
async fn a_server_that_goes_down_waits_for_its_streams_and_then_ends_them() {
    for (spoken, drain_timeout_ms) in spoken().into_iter().zip([0, 50].repeat(3)) {
        let (station, log) = Station::draining_for(drain_timeout_ms).await;
        log.stay_open();
        let viewer = spoken.view(&station, spoken.head().send(&spoken.content).hang()).await;
        let path = viewer.path();
        let Station { server, upstream, .. } = station;
        within(server.shutdown()).await;
        let info = log.topic(path[1..].parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(info.end.unwrap().reason.as_str(), "crashed", "{}", spoken.name);
        upstream.asked(0).await.hung_up().await;
        // It is to come back elsewhere, so it must not take this for the whole.
        let (_, ending) = viewer.rest().await;
        assert_eq!(ending, Ending::Aborted, "{}", spoken.name);
    }
}

#[tokio::test]
async fn a_stream_that_ends_while_the_server_goes_down_is_whole_in_the_log() {
    let (station, log) = Station::draining_for(1_000_000).await;
    log.stay_open();
    let script = Script::sse().send(word("a")).wait("more").send(word("b")).send(DONE).end();
    let mut viewer = station.stream(script).await;
    viewer.until("\n\n").await;
    let path = viewer.path();
    let Station { server, upstream, .. } = station;
    let down = tokio::spawn(server.shutdown());
    // Its viewers are sent away, which shows that it is going down.
    assert_eq!(viewer.rest().await.1, Ending::Aborted);
    upstream.say("more");
    within(down).await.unwrap();
    let info = log.topic(path[1..].parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(json!(info.end.unwrap().reason.as_str()), "done");
    assert_eq!(info.events, 6);
}

#[tokio::test]
async fn upstream_is_stopped_at_once_though_the_end_waits_for_a_full_disk() {
    let (station, log) = Station::faulty().await;
    let script = Script::sse().send(word("a")).wait("more").send(word("b")).hang();
    let mut viewer = station.stream(script).await;
    viewer.until("\n\n").await;
    let before = log.appends();
    log.fail(Some(AppendError::Full));
    station.upstream.say("more");
    crate::support::eventually(async || log.appends() > before).await;
    let path = viewer.path();
    let cancelled = tokio::spawn(Answer::of(station.request(Method::DELETE, &path)));
    station.upstream.asked(0).await.hung_up().await;
    log.fail(None);
    assert_eq!(cancelled.await.unwrap().ok(200)["state"], "cancelled");
}

#[tokio::test]
async fn a_cancel_that_could_not_be_recorded_is_no_success() {
    let (station, log) = Station::faulty().await;
    let mut viewer = station.stream(Script::sse().send(word("a")).hang()).await;
    viewer.until("\n\n").await;
    let path = viewer.path();
    log.fail(Some(AppendError::Failed));
    let cancel = || Answer::of(station.request(Method::DELETE, &path));
    let answer = cancel().await;
    assert!(answer.status >= 500, "{answer:?}");
    station.upstream.asked(0).await.hung_up().await;
    log.fail(None);
    assert_eq!(cancel().await.ok(200)["state"], "cancelled");
}

#[tokio::test]
async fn who_waits_under_a_key_hears_of_it_where_the_key_could_not_be_given_back() {
    let (station, log) = Station::faulty().await;
    let keyed = || station.chat().header("idempotency-key", "k");
    let script = Script::new().wait("fail").head(429, &[("content-length", "0")]).end();
    station.upstream.script(script);
    let first = tokio::spawn(Answer::of(keyed()));
    station.upstream.asked(0).await;
    let second = tokio::spawn(Answer::of(keyed()));
    let path = format!("/streams/{}", station.first_id().await);
    station.has_viewers(&path, 1).await;
    log.fail(Some(AppendError::Failed));
    station.upstream.say("fail");
    assert_eq!(within(first).await.unwrap().status, 429);
    assert!(within(second).await.unwrap().status >= 500);
    log.fail(None);
    station.upstream.script(Script::sse().send(word("a")).send(DONE).end());
    assert!(Viewer::of(keyed()).await.whole().await.contains("[DONE]"));
}

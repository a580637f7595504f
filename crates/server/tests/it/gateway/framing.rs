//! What a viewer gets of what upstream sent, byte by byte.

use super::{DONE, Station, Viewer, without_ids, word};
use crate::support::Script;

/// Sends the text, in pieces of this size, as an answer of dialect `sse`, and checks what a viewer gets of it, and who
/// reads it again. The id lines are taken out, each of which must be the last before the blank line.
async fn check(station: &Station, size: usize, sent: &str, relayed: &str, events: usize) {
    station.upstream.script(Script::sse().send_in_pieces_of(size, sent).end());
    let viewer = Viewer::of(station.get("/v1/events")).await;
    assert_eq!(viewer.status(), 200, "{sent:?}");
    let (id, path) = (viewer.id(), viewer.path());
    let body = viewer.whole().await;
    let (plain, ids) = without_ids(&id, &body);
    assert_eq!(plain, relayed, "{sent:?} in pieces of {size}: {body:?}");
    assert_eq!(ids.len(), events, "{body:?}");
    let again = Viewer::of(station.get(&path)).await.whole().await;
    assert_eq!(again, body);
}

#[tokio::test]
async fn events_are_relayed_byte_by_byte_however_they_are_cut() {
    let station = Station::start().await;
    for (sent, relayed, events) in [
        // As we would write it, and not.
        ("data: 1\n\ndata: 2\n\n", "data: 1\n\ndata: 2\n\n", 2),
        ("data:1\n\ndata:  2\n\n", "data:1\n\ndata:  2\n\n", 2),
        ("data: 1\r\n\r\ndata: 2\r\n\r\n", "data: 1\r\n\r\ndata: 2\r\n\r\n", 2),
        ("data: 1\r\rdata: 2\r\r", "data: 1\r\rdata: 2\r\r", 2),
        ("data: 1\n\r\ndata: 2\r\n\n", "data: 1\n\r\ndata: 2\r\n\n", 2),
        ("event: a\ndata: 1\ndata\ndata: 3\n\n", "event: a\ndata: 1\ndata\ndata: 3\n\n", 1),
        // Known by the whole field, and relayed whatever it is called.
        ("event: longwave.x\ndata: 1\n\n", "event: longwave.x\ndata: 1\n\n", 1),
        ("event: longwave.end\ndata: {}\n\n", "event: longwave.end\ndata: {}\n\n", 1),
        ("data: ü€😀\n\n", "data: ü€😀\n\n", 1),
        ("other: x\ndata: 1\nnonsense\n\n", "other: x\ndata: 1\nnonsense\n\n", 1),
        ("data: 1\nretry: 5\n\n", "data: 1\nretry: 5\n\n", 1),
        // Upstream's own ids stay; the last of a block counts, which is ours.
        ("id: 7\ndata: 1\n\ndata: 2\nid: 8\n\n", "id: 7\ndata: 1\n\ndata: 2\nid: 8\n\n", 2),
        // What is no event goes in front of the next, without its blank line.
        (": hi\n\ndata: 1\n\n", ": hi\ndata: 1\n\n", 1),
        (": hi\n: ho\n\n:\n\ndata: 1\n\n", ": hi\n: ho\n:\ndata: 1\n\n", 1),
        ("retry: 5\n\ndata: 1\n\n", "retry: 5\ndata: 1\n\n", 1),
        ("retry: 5\r\n\r\ndata: 1\r\n\r\n", "retry: 5\r\ndata: 1\r\n\r\n", 1),
        ("retry: 5\r\rdata: 1\r\r", "retry: 5\rdata: 1\r\r", 1),
        ("id: 7\n\ndata: 1\n\n", "id: 7\ndata: 1\n\n", 1),
        ("event: a\n\ndata: 1\n\n", "data: 1\n\n", 1),
        ("\n\n\ndata: 1\n\n\n\ndata: 2\n\n", "data: 1\n\ndata: 2\n\n", 2),
        // And behind the last event nowhere.
        ("data: 1\n\n: late\n\nretry: 7\n\n", "data: 1\n\n", 1),
        ("\u{feff}data: 1\n\ndata: 2\n\n", "data: 1\n\ndata: 2\n\n", 2),
        // An end that is missing is made up for.
        ("data: 1\n\ndata: 2\n", "data: 1\n\ndata: 2\n\n", 2),
        ("data: 1\n\ndata: 2", "data: 1\n\ndata: 2\n\n", 2),
        ("data: 1\r\n\r\ndata: 2\r\n", "data: 1\r\n\r\ndata: 2\r\n\r\n", 2),
        ("data: 1\r\rdata: 2\r", "data: 1\r\rdata: 2\r\r", 2),
        ("data: 1\r\n\r\ndata: 2", "data: 1\r\n\r\ndata: 2\r\n\r\n", 2),
        ("data: 1\r\n\r\ndata: 2\r\n\r", "data: 1\r\n\r\ndata: 2\r\n\r", 2),
        ("", "", 0),
    ] {
        for size in [1, 2, 3, 1000] {
            check(&station, size, sent, relayed, events).await;
        }
    }
}

#[tokio::test]
async fn an_answer_is_the_same_at_every_border_between_two_pieces() {
    let station = Station::start().await;
    let sent = ": hi\r\n\r\nretry: 5\n\nid: 7\nevent: a\r\ndata: 1\rdata: 2\n\r\n\ndata: ü\r\r";
    let relayed = ": hi\r\nretry: 5\nid: 7\nevent: a\r\ndata: 1\rdata: 2\n\r\ndata: ü\r\r";
    for at in 1..sent.len() {
        let (one, two) = sent.as_bytes().split_at(at);
        station.upstream.script(Script::sse().send(one).send(two).end());
        let viewer = Viewer::of(station.get("/v1/events")).await;
        let id = viewer.id();
        let (plain, ids) = without_ids(&id, &viewer.whole().await);
        assert_eq!((plain.as_str(), ids.len()), (relayed, 2), "cut at {at}");
    }
}

#[tokio::test]
async fn each_event_has_one_id_of_its_own_stream_and_of_its_place_in_the_log() {
    let station = Station::start().await;
    let sent = [word("a"), word("b"), DONE.to_owned()].concat();
    let viewer = station.stream(Script::sse().send(&sent).end()).await;
    let (id, path) = (viewer.id(), viewer.path());
    assert_eq!(viewer.header("location"), Some(path.as_str()));
    assert_eq!(viewer.header("link"), Some(format!("<{path}>; rel=\"resume\"").as_str()));
    assert_eq!(viewer.header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(viewer.header("x-accel-buffering"), Some("no"));
    assert_eq!(viewer.header("content-type"), Some("text/event-stream"));
    let (plain, ids) = without_ids(&id, &viewer.whole().await);
    assert_eq!(plain, sent);
    let events = station.server.events(&path[1..]).await;
    // Behind the two heads, before the end.
    let seqs = events[2..5].iter().map(|event| format!("{id}:{}", event.seq));
    assert_eq!(ids, seqs.collect::<Vec<_>>());
    assert_eq!(events.len(), 6);
}

#[tokio::test]
async fn large_events_are_relayed_whole() {
    let station = Station::start().await;
    let line = "x".repeat(300_000);
    let sent = format!("data: {line}\n\ndata: {line}\r\ndata: {line}\r\n\r\ndata: 3\n\n");
    station.upstream.script(Script::sse().send_in_pieces_of(50_001, &sent).end());
    let viewer = Viewer::of(station.get("/v1/events")).await;
    let id = viewer.id();
    let (plain, ids) = without_ids(&id, &viewer.whole().await);
    assert!(plain == sent);
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn silence_is_broken_at_event_borders_by_comments_without_a_blank_line() {
    let station = Station::with(|http, _| http.heartbeat_ms = 5).await;
    let script = Script::sse().send(word("a")).wait("beat").send("data: ").wait("half");
    let mut viewer = station.stream(script.send("1\n\n").send(DONE).end()).await;
    let id = viewer.id();
    viewer.until("\n\n").await;
    viewer.until(":\n:\n:\n").await;
    station.upstream.say("beat");
    // Upstream's half of an event is nothing that a viewer sees.
    viewer.until(":\n:\n:\n").await;
    station.upstream.say("half");
    let (plain, ids) = without_ids(&id, &viewer.whole().await);
    let beats = plain.strip_suffix(&format!("data: 1\n\n{DONE}")).unwrap();
    assert!(beats.as_bytes().chunks(2).all(|beat| beat == b":\n"), "{beats:?}");
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn lines_of_json_get_neither_ids_nor_heartbeats() {
    let station = Station::with(|http, _| http.heartbeat_ms = 1).await;
    let first = "{\"response\":\"a\",\"done\":false}\r\n";
    let rest = "\n{\"response\":\"b\",\"done\":false}\n{\"done\":true}\n";
    let script = Script::ndjson().send(first).wait("go").send_in_pieces_of(5, rest).end();
    station.upstream.script(script);
    let mut viewer = Viewer::of(station.post("/v1/api/generate", "{}")).await;
    assert_eq!(viewer.header("content-type"), Some("application/x-ndjson"));
    let path = viewer.path();
    assert_eq!(viewer.until("\n").await, first);
    // Nothing but a heartbeat could come before the state is asked for often enough.
    for _ in 0..5 {
        station.has_state(&path, "running").await;
    }
    station.upstream.say("go");
    assert_eq!(viewer.whole().await, rest.trim_start());
    let again = Viewer::of(station.get(&path)).await.whole().await;
    assert_eq!(again, [first, rest.trim_start()].concat());
}

#[tokio::test]
async fn what_upstream_says_behind_its_end_is_relayed_and_nothing_else() {
    let station = Station::with(|http, _| http.heartbeat_ms = 1).await;
    let late = "data: {\"late\":1}\n\n";
    let script = Script::sse().send(word("a")).send(DONE).wait("late").send(late).end();
    let mut viewer = station.stream(script).await;
    let id = viewer.id();
    viewer.until(DONE.trim_end()).await;
    station.upstream.say("late");
    let (plain, _) = without_ids(&id, &viewer.whole().await);
    assert_eq!(plain.replace(":\n", ""), format!("\n\n{late}").replace(":\n", ""));
}

#[tokio::test]
async fn a_connection_that_breaks_behind_the_end_does_not_spoil_it() {
    let station = Station::start().await;
    let sent = [word("a"), DONE.to_owned()].concat();
    let viewer = station.stream(Script::sse().send(&sent).cut()).await;
    let (id, path) = (viewer.id(), viewer.path());
    assert_eq!(without_ids(&id, &viewer.whole().await).0, sent);
    assert_eq!(station.info(&path).await["state"], "done");
}

#[tokio::test]
async fn an_end_is_not_waited_for_when_upstream_leaves_its_body_open() {
    let station = Station::start().await;
    let sent = [word("a"), DONE.to_owned()].concat();
    let viewer = station.stream(Script::sse().send(&sent).hang()).await;
    let (id, path) = (viewer.id(), viewer.path());
    assert_eq!(without_ids(&id, &viewer.whole().await), (sent, viewer_ids(&station, &path).await));
    assert_eq!(station.info(&path).await["state"], "done");
    station.upstream.asked(0).await.hung_up().await;
}

/// The cursors of upstream's own events in the log.
async fn viewer_ids(station: &Station, path: &str) -> Vec<String> {
    let events = station.server.events(&path[1..]).await;
    let id = path.strip_prefix("/streams/").unwrap();
    let own = &events[2..events.len() - 1];
    own.iter().map(|event| format!("{id}:{}", event.seq)).collect()
}

#[tokio::test]
async fn many_small_events_in_one_piece_are_no_large_event() {
    let station = Station::with(|http, _| http.event_bytes_max = 1000).await;
    let sent = [word("a").repeat(5000), DONE.to_owned()].concat();
    let viewer = station.stream(Script::sse().send(&sent).end()).await;
    let id = viewer.id();
    assert_eq!(without_ids(&id, &viewer.whole().await).0.len(), sent.len());
}

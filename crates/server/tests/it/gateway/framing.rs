//! What a viewer gets of what upstream sent, byte by byte.

use super::{DONE, Ending, Station, Viewer, without_ids, word};
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

//! `?snapshot`: the answer so far in a few events, then the rest as it comes.

use serde_json::Value;

use super::{DONE, Station, Viewer, without_ids, word};
use crate::support::Script;

#[tokio::test]
async fn who_joins_late_gets_the_text_so_far_in_one_event_and_then_each_as_it_comes() {
    let station = Station::start().await;
    let begun = [word("Hel"), word("lo"), word(", ")].concat();
    let rest = [&word("wor"), &word("ld"), DONE].concat();
    let script = Script::sse().send(begun).wait("go on").send(rest).end();
    let first = station.stream(script).await;
    let (id, path) = (first.id(), first.path());
    station.has_own_events(&path, 3).await;

    let mut late = Viewer::of(station.get(&format!("{path}?snapshot"))).await;
    assert_eq!(late.header("content-type"), first.header("content-type"));
    let so_far = late.until("\n\n").await;
    let (plain, ids) = without_ids(&id, &so_far);
    assert_eq!(plain, word("Hello, "));
    station.upstream.say("go on");
    let (live, _) = without_ids(&id, &late.whole().await);
    assert_eq!(live, [&word("wor"), &word("ld"), DONE].concat());

    // Its ids are those of the plain stream, so that it is gone on with like that.
    let all = first.whole().await;
    let (_, plain_ids) = without_ids(&id, &all);
    assert_eq!(ids, plain_ids[2..3]);
    let resume = |query| station.get(&format!("{path}{query}")).header("last-event-id", &ids[0]);
    let (resumed, _) = without_ids(&id, &Viewer::of(resume("")).await.whole().await);
    assert_eq!(resumed, live);
    let (compacted, _) = without_ids(&id, &Viewer::of(resume("?snapshot")).await.whole().await);
    assert_eq!(compacted, [&word("world"), DONE].concat());

    let over = Viewer::of(station.get(&format!("{path}?snapshot"))).await;
    assert_eq!(over.header("longwave-end"), Some("done"));
    let (over, _) = without_ids(&id, &over.whole().await);
    assert_eq!(over, [&word("Hello, world"), DONE].concat());
    let behind = station.get(&format!("{path}?snapshot"));
    let behind = behind.header("last-event-id", plain_ids.last().unwrap());
    assert_eq!(Viewer::of(behind).await.status(), 204);
}

#[tokio::test]
async fn lines_of_json_are_merged_into_lines_of_json() {
    let station = Station::start().await;
    let line = |text: &str| {
        format!("{{\"model\":\"m\",\"message\":{{\"content\":\"{text}\"}},\"done\":false}}\n")
    };
    let end = "{\"model\":\"m\",\"done\":true}\n";
    let script = Script::ndjson().send([line("a"), line("b"), line("c")].concat()).wait("go on");
    let script = script.send([&line("d"), end].concat()).end();
    station.upstream.script(script);
    let first = Viewer::of(station.post("/v1/api/chat", super::CHAT)).await;
    let path = first.path();
    station.has_own_events(&path, 3).await;
    let late = Viewer::of(station.get(&format!("{path}?snapshot"))).await;
    station.upstream.say("go on");
    assert_eq!(late.whole().await, [&line("abc"), &line("d"), end].concat());
    first.whole().await;
    // The same as number of an event: behind the second.
    let resumed = Viewer::of(station.get(&format!("{path}?snapshot&starting_after=1"))).await;
    let body = resumed.whole().await;
    assert_eq!(body, [&line("cd"), end].concat());
    assert!(body.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[tokio::test]
async fn the_text_so_far_is_given_by_itself() {
    let station = Station::start().await;
    let script = Script::sse().send([word("Hel"), word("lo")].concat()).wait("go on");
    let viewer = station.stream(script.send([&word("!"), DONE].concat()).end()).await;
    let path = viewer.path();
    station.has_own_events(&path, 2).await;
    let text = async || Viewer::of(station.get(&format!("{path}?text"))).await;
    let so_far = text().await;
    assert_eq!(so_far.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(so_far.whole().await, "Hello");
    station.upstream.say("go on");
    viewer.whole().await;
    assert_eq!(text().await.whole().await, "Hello!");
}

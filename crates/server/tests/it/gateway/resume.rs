//! Going on with a stream: anywhere in it, while it runs and after, by every kind of cursor and reader.

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use longwave_core::Config;
use longwave_store::Log as _;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::ends::spoken;
use super::{DONE, Station, Viewer, without_ids, word};
use crate::support::{Answer, Script, within};

/// A body's blocks, each with the cursor of its event.
fn blocks(body: &str) -> Vec<(String, String)> {
    let cursor = |block: &str| block.rsplit_once("id: ").unwrap().1.trim_end().to_owned();
    body.split_inclusive("\n\n").map(|block| (block.to_owned(), cursor(block))).collect()
}

/// Every way to say that a client has the event of this cursor, and of this number.
fn ways(station: &Station, path: &str, cursor: &str, number: usize) -> Vec<RequestBuilder> {
    let seq: u64 = cursor.split_once(':').unwrap().1.parse().unwrap();
    let event_id = station.server.id(longwave_core::Seq(seq));
    vec![
        station.get(path).header("last-event-id", cursor),
        station.get(path).header("last-event-id", &event_id),
        station.get(&format!("{path}?lastEventId={cursor}")),
        station.get(&format!("{path}?last_event_id={event_id}")),
        station.get(&format!("{path}?starting_after={number}")),
        // What a client that reconnects by itself adds is newer than the URL that it was given.
        station.get(&format!("{path}?starting_after=0")).header("last-event-id", cursor),
    ]
}

#[tokio::test]
async fn a_finished_stream_is_read_on_behind_each_of_its_events() {
    let station = Station::start().await;
    let words = ["a", "b", "c", "d"].map(word).concat();
    let viewer = station.stream(Script::sse().send(words).send(DONE).end()).await;
    let path = viewer.path();
    let body = viewer.whole().await;
    let blocks = blocks(&body);
    assert_eq!(blocks.len(), 5);
    let mut rest = body.as_str();
    for (number, (block, cursor)) in blocks.iter().enumerate() {
        rest = rest.strip_prefix(block.as_str()).unwrap();
        for request in ways(&station, &path, cursor, number) {
            let viewer = Viewer::of(request).await;
            assert_eq!(viewer.header("longwave-end"), Some("done"));
            assert_eq!(viewer.header("longwave-stream"), Some(path.as_str()));
            assert_eq!(viewer.status(), if rest.is_empty() { 204 } else { 200 });
            assert_eq!(viewer.whole().await, rest);
        }
    }
    let far = Viewer::of(station.get(&format!("{path}?starting_after=99"))).await;
    assert_eq!(far.status(), 204);
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn many_viewers_read_a_running_stream_on_from_wherever_they_are() {
    let station = Station::start().await;
    let words: Vec<String> = (0..10).map(|number| word(&number.to_string())).collect();
    let script = Script::sse().send(words[..5].concat()).wait("more");
    let script = script.send_in_pieces_of(7, words[5..].concat()).send(DONE).end();
    let mut first = station.stream(script).await;
    let path = first.path();
    let mut begun = String::new();
    for _ in 0..5 {
        begun.push_str(&first.until("\n\n").await);
    }
    let cursors = blocks(&begun);
    let mut viewers = Vec::new();
    for turn in 0..10 {
        viewers.push((Viewer::of(station.get(&path)).await, 0));
        for (number, (_, cursor)) in cursors.iter().enumerate() {
            let request = ways(&station, &path, cursor, number).remove(turn % 6);
            viewers.push((Viewer::of(request).await, number + 1));
        }
    }
    assert!(viewers.iter().all(|(viewer, _)| viewer.header("longwave-end").is_none()));
    assert_eq!(station.info(&path).await["viewers"], 61);
    station.upstream.say("more");
    let whole = begun + &first.whole().await;
    let blocks = blocks(&whole);
    for (viewer, skipped) in viewers {
        let expected: String = blocks[skipped..].iter().map(|(block, _)| block.as_str()).collect();
        assert_eq!(viewer.whole().await, expected);
    }
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn responses_are_read_on_by_their_own_numbers() {
    let station = Station::start().await;
    let event = |kind: &str, number: u64| {
        format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number}}}\n\n")
    };
    let events =
        [("response.created", 0), ("response.x", 3), ("response.y", 7), ("response.completed", 8)]
            .map(|(kind, number)| event(kind, number));
    station.upstream.script(Script::sse().send(events.concat()).end());
    let viewer = Viewer::of(station.post("/v1/responses", "{\"stream\":true}")).await;
    let (id, path) = (viewer.id(), viewer.path());
    viewer.whole().await;
    for (number, skipped) in [(0, 1), (1, 1), (3, 2), (6, 2), (7, 3), (8, 4), (99, 4)] {
        let target = format!("{path}?starting_after={number}&stream=true");
        let viewer = Viewer::of(station.get(&target)).await;
        let (plain, _) = without_ids(&id, &viewer.whole().await);
        assert_eq!(plain, events[skipped..].concat(), "{number}");
    }
}

#[tokio::test]
async fn lines_of_json_are_read_on_by_number() {
    let station = Station::start().await;
    let [.., ollama, _] = spoken();
    let script = ollama.head().send(ollama.content.repeat(3)).send(ollama.end).end();
    let viewer = ollama.view(&station, script).await;
    let path = viewer.path();
    viewer.whole().await;
    for (number, left) in [(0, 2), (1, 1), (2, 0)] {
        let viewer = Viewer::of(station.get(&format!("{path}?starting_after={number}"))).await;
        assert_eq!(viewer.whole().await, ollama.content.repeat(left) + ollama.end);
    }
    assert_eq!(Viewer::of(station.get(&format!("{path}?starting_after=3"))).await.status(), 204);
}

#[tokio::test]
async fn what_is_no_cursor_of_the_stream_is_refused() {
    let station = Station::start().await;
    let [one, two] = [word("a"), word("b")].map(|word| Script::sse().send(word + DONE).end());
    let path = station.stream(one).await.path();
    let other = station.stream(two).await;
    let cursor = blocks(&other.whole().await)[0].1.clone();
    for cursor in [cursor.as_str(), "7", "x:y", ":", "a-b-c"] {
        let request = station.get(&path).header("last-event-id", cursor);
        Answer::of(request).await.problem(400, "id-invalid");
    }
    for (query, code) in [
        ("starting_after=x", "parameter-invalid"),
        ("starting_after=-1", "parameter-invalid"),
        ("nonsense=1", "parameter-invalid"),
    ] {
        Answer::of(station.get(&format!("{path}?{query}"))).await.problem(400, code);
    }
    for id in ["AAAAAAAAAAAAAAAAAAAAAA", "x"] {
        for target in [format!("/streams/{id}"), format!("/streams/{id}?info")] {
            Answer::of(station.get(&target)).await.problem(404, "stream-not-found");
        }
    }
    // A cursor of another log: everything is new.
    let request = station.get(&path).header("last-event-id", "zzzzz-9");
    assert_eq!(blocks(&Answer::of(request).await.body).len(), 2);
}

#[tokio::test]
async fn a_plain_event_source_goes_on_at_the_url_that_it_was_given() {
    let station = Station::start().await;
    let script =
        Script::sse().send("data: 1\n\ndata: 2\n\n").wait("more").send("data: 3\n\n").end();
    station.upstream.script(script);
    let mut viewer = Viewer::of(station.get("/v1/progress?job=7")).await;
    let path = viewer.path();
    let first = blocks(&viewer.until("\n\n").await)[0].1.clone();
    drop(viewer);
    let resumed = |cursor: &str| station.get("/v1/progress?job=7").header("last-event-id", cursor);
    let mut viewer = Viewer::of(resumed(&first)).await;
    assert_eq!(viewer.path(), path);
    assert!(viewer.until("\n\n").await.starts_with("data: 2\n"));
    station.upstream.say("more");
    let last = blocks(&viewer.whole().await)[0].1.clone();
    // That is how an EventSource is told that it may stop.
    assert_eq!(Viewer::of(resumed(&last)).await.status(), 204);
    assert_eq!(station.upstream.count(), 1);

    // Elsewhere the cursor is nobody's business but upstream's.
    for (number, target) in ["/v1/progress?job=8", "/v1/other"].into_iter().enumerate() {
        station.upstream.script(Script::whole(200, "text/plain", "own"));
        let request = station.get(target).header("last-event-id", &first);
        assert_eq!(Answer::of(request).await.body, "own");
        let asked = station.upstream.asked(number + 1).await;
        assert_eq!(asked.header("last-event-id"), [first.as_str()]);
    }
    station.server.log().delete(path[1..].parse().unwrap()).await.unwrap();
    Answer::of(resumed(&first)).await.problem(410, "stream-gone");
}

#[tokio::test]
async fn a_stream_whose_beginning_is_kept_no_more_is_unknown() {
    let station = Station::start().await;
    let viewer = station.stream(Script::sse().send(word("a")).send(DONE).end()).await;
    let path = viewer.path();
    viewer.whole().await;
    let config = Config { max_events: Some(2), ..Config::default() };
    station.server.log().configure(path[1..].parse().unwrap(), config).await.unwrap();
    station.server.log().retain().await;
    Answer::of(station.get(&path)).await.problem(404, "stream-not-found");
}

#[tokio::test]
async fn the_same_record_is_a_topic_for_every_transport() {
    let station = Station::start().await;
    let sent = "event: tick\ndata: 1\n\ndata: two\n\n";
    station.upstream.script(Script::sse().send(sent).wait("end").end());
    let mut viewer = Viewer::of(station.get("/v1/events")).await;
    let topic = format!("/topics{}", viewer.path());
    for _ in 0..2 {
        viewer.until("\n\n").await;
    }
    let from_first = format!("{topic}?after=first");
    let sse = station.get(&from_first).header("accept", "text/event-stream");
    let ndjson = station.get(&from_first).header("accept", "application/x-ndjson");
    let (sse, ndjson) = (Viewer::of(sse).await, Viewer::of(ndjson).await);
    let url = format!("ws://{}{from_first}", station.server.addr);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();

    let page = Answer::of(station.get(&from_first)).await.ok(200);
    let types = |events: &Value| -> Vec<Value> {
        events.as_array().unwrap().iter().map(|event| event["type"].clone()).collect()
    };
    let expected = [json!("longwave.stream"), json!("longwave.answer"), json!("tick"), Value::Null];
    assert_eq!(types(&page["events"]), expected);
    let cursor = page["cursor"].as_str().unwrap();
    let poll = station.get(&format!("{topic}?after={cursor}&wait=60s"));
    let poll = tokio::spawn(Answer::of(poll));
    station.upstream.say("end");
    assert_eq!(within(poll).await.unwrap().ok(200)["end"]["reason"], "done");

    let sse = sse.whole().await;
    assert!(sse.contains("event: tick\ndata: 1\n\n"), "{sse}");
    assert!(sse.ends_with("event: longwave.end\ndata: {\"reason\":\"done\"}\n\n"), "{sse}");
    let lines = ndjson.whole().await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[2]["data"], 1);
    assert_eq!(lines[3]["data"], "two");
    let mut told: Vec<Value> = Vec::new();
    while !told.last().is_some_and(|told| told.to_string().contains("\"done\"")) {
        if let Message::Text(text) = within(socket.next()).await.unwrap().unwrap() {
            told.push(serde_json::from_str(&text).unwrap());
        }
    }
    let data: Vec<&Value> = told.iter().filter_map(|event| event.get("data")).collect();
    assert!(data.contains(&&json!(1)) && data.contains(&&json!("two")), "{told:?}");
}

#[tokio::test]
async fn a_stream_is_whole_for_who_comes_in_the_very_moment_it_ends() {
    let station = Station::start().await;
    for end in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"] {
        let script = Script::sse().send(word("a")).wait(end).send(DONE).end();
        station.upstream.script(script);
        let viewer = Viewer::of(station.chat()).await;
        let (id, path) = (viewer.id(), viewer.path());
        let queries = ["", "?snapshot"].repeat(15);
        let late = queries.iter().enumerate().map(async |(turn, query)| {
            for _ in 0..turn * 4 {
                tokio::task::yield_now().await;
            }
            Viewer::of(station.get(&format!("{path}{query}"))).await.whole().await
        });
        let say = async { station.upstream.say(end) };
        let (late, (), own) = tokio::join!(join_all(late), say, viewer.whole());
        for body in late.iter().chain([&own]) {
            assert_eq!(without_ids(&id, body).0, [&word("a"), DONE].concat());
        }
    }
}

#[tokio::test]
async fn spaces_around_a_cursor_are_no_part_of_it_and_within_it_none_is_read() {
    let station = Station::start().await;
    let viewer = station.stream(Script::sse().send(word("a")).send(DONE).end()).await;
    let path = viewer.path();
    let ids = without_ids(&viewer.id(), &viewer.whole().await).1;
    let behind = |cursor: String| station.get(&path).header("last-event-id", cursor);
    let rest = Viewer::of(behind(format!("  {}\t", ids[0]))).await.whole().await;
    assert!(rest.starts_with("data: [DONE]\n"), "{rest}");
    let apart = ids[0].replace(':', " : ");
    Answer::of(behind(apart)).await.problem(400, "id-invalid");
}

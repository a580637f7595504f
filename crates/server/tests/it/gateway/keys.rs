//! One generation per idempotency key: joining it, replaying it, and asking again where it came to nothing.

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::{CHAT, DONE, Ending, Station, Viewer, word};
use crate::support::{Answer, RawClient, Script, eventually};

impl Station {
    fn keyed(&self, key: &str) -> RequestBuilder {
        self.chat().header("idempotency-key", key)
    }

    /// Whether the log has a stream that has not ended.
    async fn has_running(&self) -> bool {
        let list = Answer::of(self.get("/streams")).await.ok(200);
        list["streams"].as_array().unwrap().iter().any(|stream| stream["state"] == "running")
    }
}

#[tokio::test]
async fn requests_under_one_key_at_the_same_time_share_one_generation() {
    for count in [2, 20] {
        let station = Station::start().await;
        let script = Script::new().wait("head").head(200, &[("content-type", "text/event-stream")]);
        let script = script.send(word("a")).wait("more").send(word("b")).send(DONE).end();
        station.upstream.script(script);
        let requests = (0..count).map(|_| Viewer::of(station.keyed("k")));
        let say = async {
            station.upstream.asked(0).await;
            station.upstream.say("head");
        };
        let (viewers, ()) = tokio::join!(join_all(requests), say);
        let duplicates =
            viewers.iter().filter(|viewer| viewer.header("longwave-duplicate") == Some("true"));
        assert_eq!(duplicates.count(), count - 1);
        station.upstream.say("more");
        let path = viewers[0].path();
        let mut bodies = Vec::new();
        for viewer in viewers {
            assert_eq!((viewer.status(), viewer.path()), (200, path.clone()));
            bodies.push(viewer.whole().await);
        }
        assert!(bodies.iter().all(|body| *body == bodies[0]));
        let again = Viewer::of(station.keyed("k")).await;
        assert_eq!(again.header("longwave-duplicate"), Some("true"));
        assert_eq!(again.whole().await, bodies[0]);
        assert_eq!(station.upstream.count(), 1);
    }
}

#[tokio::test]
async fn a_retry_goes_on_behind_what_the_client_has() {
    let station = Station::start().await;
    let script = Script::sse().send(word("a")).send(word("b")).wait("more").send(DONE).end();
    station.upstream.script(script);
    let mut viewer = Viewer::of(station.keyed("k")).await;
    let first = viewer.until("\n\n").await;
    let cursor = first.rsplit_once("id: ").unwrap().1.trim().to_owned();
    drop(viewer);
    let mut viewer = Viewer::of(station.keyed("k").header("last-event-id", &cursor)).await;
    assert!(viewer.until("\n\n").await.starts_with(word("b").trim_end()));
    station.upstream.say("more");
    viewer.whole().await;
    let foreign = station.keyed("k").header("last-event-id", "AAAAAAAAAAAAAAAAAAAAAA:1");
    Answer::of(foreign).await.problem(400, "id-invalid");
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn another_request_under_a_key_is_refused() {
    let station = Station::start().await;
    station.upstream.script(Script::sse().send(word("a")).wait("more").send(DONE).end());
    let viewer = Viewer::of(station.keyed("k")).await;
    let other = |path: &str, body| station.post(path, body).header("idempotency-key", "k");
    let check = async || {
        for (path, body) in [
            ("/v1/chat/completions", "{}"),
            ("/v1/chat/completions?x=1", CHAT),
            ("/v1/embeddings", CHAT),
        ] {
            Answer::of(other(path, body)).await.problem(422, "key-reused");
        }
    };
    check().await;
    station.upstream.say("more");
    viewer.whole().await;
    check().await;
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn a_key_is_each_principals_own() {
    let station = Station::start().await;
    let mut paths = Vec::new();
    for (number, token) in ["one", "two"].into_iter().enumerate() {
        station.upstream.script(Script::sse().send(word(token)).send(DONE).end());
        let request = station.keyed("k").header("authorization", format!("Bearer sk-{token}"));
        let viewer = Viewer::of(request).await;
        paths.push(viewer.path());
        assert!(viewer.whole().await.starts_with(word(token).trim_end()));
        assert_eq!(station.upstream.count(), number + 1);
    }
    assert_ne!(paths[0], paths[1]);
    let told = station.server.told(&paths[0][1..]).await.concat();
    assert!(!told.contains("sk-"), "{told}");
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let station = Station::start().await;
    for key in ["", "\u{fc}", &"k".repeat(5000)] {
        let request = station.chat().header("idempotency-key", key.as_bytes());
        Answer::of(request).await.problem(400, "key-invalid");
    }
    assert_eq!(station.upstream.count(), 0);
}

#[tokio::test]
async fn a_failure_before_the_answer_leaves_the_key_free() {
    let station = Station::start().await;
    let error = "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n\n";
    for (key, script, status) in [
        ("429", Script::whole(429, "application/json", "{\"error\":{}}"), 429),
        ("500", Script::whole(500, "application/json", "{}"), 500),
        ("cut", Script::new().cut(), 502),
        ("broken", Script::sse().cut(), 502),
        ("error", Script::sse().send(error).end(), 500),
        (
            "half",
            Script::new().head(200, &[("content-type", "application/json")]).send("{").cut(),
            502,
        ),
    ] {
        station.upstream.script(script);
        assert_eq!(Answer::of(station.keyed(key)).await.status, status, "{key}");
        station.upstream.script(Script::sse().send(word(key)).send(DONE).end());
        let viewer = Viewer::of(station.keyed(key)).await;
        assert_eq!((viewer.status(), viewer.header("longwave-duplicate")), (200, None), "{key}");
        assert!(viewer.whole().await.contains(key));
    }
    assert!(!station.has_running().await);
}

#[tokio::test]
async fn who_waited_for_a_request_that_failed_asks_again() {
    let station = Station::start().await;
    let failed = Script::new().wait("fail").head(429, &[("content-length", "0")]).end();
    station.upstream.script(failed);
    station.upstream.script(Script::sse().send(word("a")).send(DONE).end());
    let requests = (0..10).map(|_| Viewer::of(station.keyed("k")));
    let say = async {
        station.upstream.asked(0).await;
        station.upstream.say("fail");
    };
    let (viewers, ()) = tokio::join!(join_all(requests), say);
    let (failed, served): (Vec<_>, Vec<_>) =
        viewers.into_iter().partition(|viewer| viewer.status() == 429);
    assert_eq!((failed.len(), served.len()), (1, 9));
    for viewer in served {
        assert!(viewer.whole().await.starts_with(word("a").trim_end()));
    }
    assert_eq!(station.upstream.count(), 2);
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_kept_whole_for_a_retry() {
    let station = Station::start().await;
    let body: Vec<u8> = (0..=255).collect();
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("content-length", "256"),
        ("x-request-id", "r1"),
        ("set-cookie", "secret=1"),
    ];
    station.upstream.script(Script::new().head(201, &headers).send(&body).end());
    for duplicate in [None, Some("true")] {
        let response = station.keyed("k").send().await.unwrap();
        assert_eq!(response.status(), 201);
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("content-encoding"), Some("gzip"));
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(header("x-request-id"), Some("r1"));
        assert_eq!(header("longwave-duplicate"), duplicate);
        assert_eq!(response.bytes().await.unwrap(), body);
    }
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn a_whole_answer_that_is_too_large_is_not_kept() {
    let station = Station::with(|http, _| http.event_bytes_max = 1000).await;
    let body = "x".repeat(200_000);
    for number in 0..2 {
        station.upstream.script(Script::whole(200, "text/plain", &body));
        let answer = Answer::of(station.keyed("k")).await;
        assert!(answer.status == 200 && answer.body == body);
        assert_eq!(station.upstream.count(), number + 1);
    }
    // Broken off, it is no whole one here either.
    let head = Script::new().head(200, &[("content-type", "text/plain")]);
    station.upstream.script(head.send("x".repeat(5000)).wait("cut").cut());
    let mut viewer = Viewer::of(station.keyed("k")).await;
    viewer.until("x").await;
    station.upstream.say("cut");
    let (_, ending) = viewer.rest().await;
    assert_eq!(ending, Ending::Aborted);
}

#[tokio::test]
async fn a_whole_answer_that_stalls_is_given_up() {
    let station = Station::with(|_, route| route.idle_timeout_ms = 50).await;
    let head = || Script::new().head(200, &[("content-type", "application/json")]).send("{");
    station.upstream.script(head().hang());
    Answer::of(station.keyed("k")).await.problem(504, "upstream-timeout");
    station.upstream.asked(0).await.hung_up().await;
    assert_eq!(Answer::of(station.get("/streams")).await.ok(200)["streams"], json!([]));
}

#[tokio::test]
async fn a_whole_answer_can_be_cancelled_while_it_comes() {
    let station = Station::start().await;
    let head = Script::new().head(200, &[("content-type", "application/json")]).send("{");
    station.upstream.script(head.hang());
    let request = station.keyed("k");
    let waiting = tokio::spawn(Answer::of(request));
    station.upstream.asked(0).await;
    let id = station.first_id().await;
    let answer = Answer::of(station.request(Method::DELETE, &format!("/streams/{id}"))).await;
    // Nothing had come of it, so nothing is kept.
    answer.problem(404, "stream-not-found");
    station.upstream.asked(0).await.hung_up().await;
    assert!(waiting.await.unwrap().status >= 400);
}

#[tokio::test]
async fn a_client_that_is_gone_at_any_moment_leaves_no_claim_behind() {
    let station = Station::start().await;
    let request = |key: usize, policy: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nidempotency-key: k{key}\r\n\
             longwave-disconnect: {policy}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{CHAT}",
            CHAT.len()
        )
    };
    for (turn, policy) in ["continue", "cancel", "grace=1ms"].repeat(20).into_iter().enumerate() {
        let script = Script::new().head(200, &[("content-type", "text/event-stream")]);
        let script = script.send(word("a")).send(word("b")).send(DONE).end();
        let asked = station.upstream.count();
        station.upstream.script(script.clone());
        let mut client = RawClient::connect(station.server.addr).await;
        client.send(request(turn, policy).as_bytes()).await;
        // At another moment each time, by so many turns of this task.
        for _ in 0..turn * 3 {
            tokio::task::yield_now().await;
        }
        drop(client);
        eventually(async || !station.has_running().await).await;
        // The script may be left where upstream was not asked yet.
        if station.upstream.count() > asked {
            station.upstream.script(script);
        }
        let body = CHAT;
        let retry = station.post("/v1/chat/completions", body);
        let viewer = Viewer::of(retry.header("idempotency-key", format!("k{turn}"))).await;
        assert_eq!(viewer.status(), 200, "turn {turn}");
        viewer.whole().await;
        station.upstream.forget_scripts();
    }
    assert!(!station.has_running().await);
}

#[tokio::test]
async fn a_generation_goes_on_for_as_long_as_anybody_waits_for_it() {
    let station = Station::start().await;
    let script = Script::new().wait("head").head(200, &[("content-type", "text/event-stream")]);
    station.upstream.script(script.send(word("a")).send(DONE).end());
    let request = || station.keyed("k").header("longwave-disconnect", "grace=1ms");
    let first = tokio::spawn(request().send());
    station.upstream.asked(0).await;
    let second = tokio::spawn(Viewer::of(request()));
    let path = format!("/streams/{}", station.first_id().await);
    station.has_viewers(&path, 1).await;
    first.abort();
    // Long enough for it to be given up by mistake.
    for _ in 0..100 {
        assert_eq!(station.info(&path).await["state"], "running");
    }
    station.upstream.say("head");
    assert!(second.await.unwrap().whole().await.contains("[DONE]"));
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn a_finished_stream_is_read_whole_while_others_repeat_its_request() {
    let station = Station::start().await;
    let sent = [word("a").repeat(500), DONE.to_owned()].concat();
    station.upstream.script(Script::sse().send(sent).end());
    let first = Viewer::of(station.keyed("k")).await;
    let path = first.path();
    let body = first.whole().await;
    for _ in 0..20 {
        let readers = (0..10).flat_map(|_| [station.keyed("k"), station.get(&path)]);
        let read = readers.map(async |request| Viewer::of(request).await.rest().await);
        for (read, ending) in join_all(read).await {
            assert_eq!((read.len(), ending), (body.len(), Ending::InOrder));
        }
    }
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn twenty_requests_get_the_first_generation_that_comes_to_something() {
    let station = Station::start().await;
    for status in [500, 429, 503] {
        station.upstream.script(Script::whole(status, "application/json", "{}"));
    }
    let script = Script::sse().send(word("a")).wait("more").send(DONE).end();
    station.upstream.script(script);
    let requests = join_all((0..20).map(|_| Viewer::of(station.keyed("k")))).await;
    let (failed, served): (Vec<_>, Vec<_>) =
        requests.into_iter().partition(|viewer| viewer.status() != 200);
    assert_eq!((failed.len(), served.len()), (3, 17));
    station.upstream.say("more");
    let path = served[0].path();
    for viewer in served {
        assert_eq!(viewer.path(), path);
        assert!(viewer.whole().await.contains("[DONE]"));
    }
    assert_eq!(station.upstream.count(), 4);
}

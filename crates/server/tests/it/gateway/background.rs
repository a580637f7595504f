//! What is asked for with `background`, and OpenAI's own calls to come back to a response.

use longwave::gateway::{AllowRule, Background, Disconnect, Viewers};
use longwave_store::Log as _;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::{CHAT, DONE, Ending, Station, Viewer, client, word};
use crate::support::process::ServeProcess;
use crate::support::{Answer, Script, Upstream, eventually};

#[tokio::test]
async fn a_response_in_the_background_is_polled_and_followed_by_upstreams_own_id() {
    let station = Station::start().await;
    let script = Script::sse().send(begun("r1")).send(delta(2)).wait("more").send(delta(3));
    station.upstream.script(script.send(completed("r1", 4)).end());
    let answer = Answer::of(create(&station, POLLED)).await;
    let path = answer.header("longwave-stream").unwrap().to_owned();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let object = answer.ok(200);
    assert_eq!((&object["id"], &object["status"]), (&"r1".into(), &"in_progress".into()));
    assert_eq!(object["background"], true);

    let asked = station.upstream.asked(0).await;
    let body: Value = serde_json::from_slice(&asked.body().await).unwrap();
    assert_eq!(body, serde_json::json!({ "model": "m", "input": "hi", "stream": true }));

    station.has_own_events(&path, 3).await;
    let retrieved = Answer::of(retrieve(&station, "r1", "")).await.ok(200);
    assert_eq!(retrieved, object);
    let mut viewer = Viewer::of(retrieve(&station, "r1", "?stream=true&starting_after=1")).await;
    assert_eq!(viewer.header("content-type"), Some("text/event-stream"));
    assert_eq!(numbers(&viewer.until("\n\n").await), [2]);
    station.upstream.say("more");
    assert_eq!(numbers(&viewer.whole().await), [3, 4]);
    station.has_state(&path, "done").await;
    let whole = Answer::of(retrieve(&station, "r1", "")).await.ok(200);
    assert_eq!((&whole["status"], &whole["output"][0]["text"]), (&"completed".into(), &"A".into()));

    let again = Answer::of(retrieve(&station, "r1", "?stream=true")).await;
    assert_eq!(numbers(&again.body), [0, 1, 2, 3, 4]);
    // SDKs want a body, even if nothing is in it.
    let nothing = Answer::of(retrieve(&station, "r1", "?stream=true&starting_after=4")).await;
    assert_eq!((nothing.status, nothing.body.as_str()), (200, ""));
    assert_eq!(nothing.header("content-type"), Some("text/event-stream"));
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn what_runs_in_the_background_goes_on_when_its_client_leaves() {
    let station = Station::with(|_, route| route.disconnect = Disconnect::Cancel).await;
    let script = Script::sse().send(begun("r1")).send(delta(2)).wait("more");
    station.upstream.script(script.send(completed("r1", 3)).end());
    let mut viewer = Viewer::of(create(&station, STREAMED)).await;
    viewer.until("\n\n").await;
    let path = viewer.path();
    drop(viewer);
    // By the same rules another one, begun later, is cancelled meanwhile.
    let mut other = station.stream(Script::sse().send(word("A")).hang()).await;
    other.until("\n\n").await;
    drop(other);
    station.upstream.asked(1).await.hung_up().await;
    assert!(station.upstream.asked(0).await.is_connected());
    station.upstream.say("more");
    station.has_state(&path, "done").await;
}

#[tokio::test]
async fn a_cancelled_response_stops_upstream_and_says_so_however_often_it_is_cancelled() {
    let station = Station::start().await;
    station.upstream.script(Script::sse().send(begun("r1")).send(delta(2)).hang());
    let viewer = Viewer::of(create(&station, STREAMED)).await;
    for _ in 0..2 {
        let cancelled = Answer::of(cancel(&station, "r1")).await.ok(200);
        assert_eq!((&cancelled["id"], &cancelled["status"]), (&"r1".into(), &"cancelled".into()));
    }
    station.upstream.asked(0).await.hung_up().await;
    let seen = viewer.whole().await;
    assert!(seen.contains("event: response.failed"), "{seen}");
    let object = Answer::of(retrieve(&station, "r1", "")).await.ok(200);
    assert_eq!((&object["status"], &object["error"]), (&"cancelled".into(), &Value::Null));
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn a_response_that_broke_off_has_failed() {
    let station = Station::start().await;
    station.upstream.script(Script::sse().send(begun("r1")).send(delta(2)).cut());
    let viewer = Viewer::of(create(&station, STREAMED)).await;
    viewer.whole().await;
    let object = Answer::of(retrieve(&station, "r1", "")).await.ok(200);
    assert_eq!(object["status"], "failed");
    assert_eq!(object["error"]["code"], "server_error");
    // What is over stays as it is.
    assert_eq!(Answer::of(cancel(&station, "r1")).await.ok(200), object);
}

#[tokio::test]
async fn a_response_is_known_to_its_own_client_only_and_others_are_asked_of_upstream() {
    let station = Station::start().await;
    station.upstream.script(Script::sse().send(begun("r1")).send(completed("r1", 2)).end());
    Viewer::of(create(&station, STREAMED)).await.whole().await;
    station.upstream.script(Script::whole(404, "application/json", "{\"theirs\":1}"));
    let other = retrieve(&station, "r1", "").header("authorization", "Bearer b");
    assert_eq!(Answer::of(other).await.ok(404)["theirs"], 1);
    station.upstream.script(Script::whole(404, "application/json", "{\"theirs\":2}"));
    assert_eq!(Answer::of(retrieve(&station, "r2", "")).await.ok(404)["theirs"], 2);
    station.upstream.script(Script::whole(404, "application/json", "{\"theirs\":3}"));
    assert_eq!(Answer::of(cancel(&station, "r2")).await.ok(404)["theirs"], 3);
    assert_eq!(station.upstream.asked(3).await.target, "/v1/responses/r2/cancel");
    assert_eq!(Answer::of(retrieve(&station, "r1", "")).await.ok(200)["status"], "completed");
}

#[tokio::test]
async fn who_has_no_credentials_needs_a_token_where_viewers_do() {
    let station = Station::with(|http, route| {
        http.gateway.viewers = Viewers::Token;
        route.principal_headers = vec![AUTHORIZATION];
    })
    .await;
    for (id, credentials) in [("mine", Some("Bearer a")), ("anyones", None)] {
        station.upstream.script(Script::sse().send(begun(id)).send(delta(2)).hang());
        let mut request = station.post("/v1/responses", POLLED);
        if let Some(credentials) = credentials {
            request = request.header("authorization", credentials);
        }
        Answer::of(request).await.ok(200);
    }
    Answer::of(retrieve(&station, "mine", "")).await.ok(200);
    // All who have none look alike.
    for (method, rest) in
        [(Method::GET, ""), (Method::GET, "?stream=true"), (Method::POST, "/cancel")]
    {
        let request = station.request(method, &format!("/v1/responses/anyones{rest}"));
        Answer::of(request).await.problem(403, "right-missing");
    }
    assert!(station.upstream.asked(1).await.is_connected());
    assert_eq!(Answer::of(cancel(&station, "mine")).await.ok(200)["status"], "cancelled");
    assert_eq!(station.upstream.count(), 2);
}

#[tokio::test]
async fn what_was_allowed_may_be_come_back_to() {
    let station = Station::with(|_, route| {
        route.allow = vec![AllowRule::parse("POST /responses").unwrap()];
    })
    .await;
    station.upstream.script(Script::sse().send(begun("r1")).send(completed("r1", 2)).end());
    Viewer::of(create(&station, STREAMED)).await.whole().await;
    assert_eq!(Answer::of(retrieve(&station, "r1", "")).await.status, 200);
    Answer::of(retrieve(&station, "r2", "")).await.problem(403, "request-forbidden");
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn a_repeated_request_in_the_background_gets_the_one_response() {
    let station = Station::start().await;
    station.upstream.script(Script::sse().send(begun("r1")).send(delta(2)).hang());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let answer = Answer::of(create(&station, POLLED).header("idempotency-key", "k")).await;
        seen.push((answer.ok(200)["id"].clone(), answer.header("longwave-duplicate").is_some()));
    }
    assert_eq!(seen, [("r1".into(), false), ("r1".into(), true)]);
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn other_dialects_run_in_the_background_under_the_streams_own_url() {
    let station = Station::start().await;
    station
        .upstream
        .script(Script::sse().send(word("A")).wait("more").send(word("B")).send(DONE).end());
    let body = r#"{"model":"m","background":true}"#;
    let answer = Answer::of(station.post("/v1/chat/completions", body)).await;
    let info = answer.ok(202);
    let path = answer.header("longwave-stream").unwrap();
    assert_eq!((answer.header("location"), &info["url"]), (Some(path), &path.into()));
    assert_eq!((&info["state"], &info["dialect"]), (&"running".into(), &"openai-chat".into()));
    let sent = station.upstream.asked(0).await.body().await;
    assert_eq!(sent, CHAT.as_bytes());

    let mut viewer = Viewer::of(station.get(&format!("{path}?stream=true&starting_after=0"))).await;
    station.upstream.say("more");
    assert!(viewer.until("\n\n").await.contains("\"B\""));
    station.has_state(path, "done").await;
    let cancelled = Answer::of(station.request(Method::POST, &format!("{path}/cancel"))).await;
    assert_eq!(cancelled.ok(200)["state"], "done");
}

#[tokio::test]
async fn an_error_before_the_first_event_is_the_answer_in_the_background_too() {
    let station = Station::start().await;
    station.upstream.script(Script::whole(429, "application/json", "{\"error\":1}"));
    assert_eq!(Answer::of(create(&station, POLLED)).await.ok(429)["error"], 1);
    let body = r#"{"model":"m","background":true}"#;
    station.upstream.script(Script::whole(500, "application/json", "{\"error\":2}"));
    let answer = Answer::of(station.post("/v1/messages", body)).await;
    assert_eq!(answer.ok(500)["error"], 2);
}

#[tokio::test]
async fn the_servers_own_topics_are_not_listed() {
    let station = Station::start().await;
    station.upstream.script(Script::sse().send(begun("r1")).send(completed("r1", 2)).end());
    let viewer = Viewer::of(create(&station, STREAMED)).await;
    let topic = viewer.path()[1..].to_owned();
    viewer.whole().await;
    let list = station.server.get("/topics").await.ok(200);
    let names: Vec<&Value> =
        list["topics"].as_array().unwrap().iter().map(|topic| &topic["topic"]).collect();
    assert_eq!(names, [&topic]);
}

/// A station whose upstream runs in the background itself.
async fn upstreams_own() -> Station {
    Station::with(|_, route| route.background = Background::Upstream).await
}

#[tokio::test]
async fn an_upstream_that_runs_a_response_itself_is_asked_for_the_rest_where_the_connection_broke()
{
    let station = upstreams_own().await;
    let cut_off = r#"data: {"type":"response.output_text.delta","sequ"#;
    station.upstream.script(Script::sse().send(begun("r/1")).send(delta(2)).send(cut_off).cut());
    // Not yet; then with an event that was there already; then whole.
    station.upstream.script(Script::whole(503, "text/plain", "later"));
    let second = Script::sse().send(delta(2)).send(delta(3)).send(delta(4));
    station.upstream.script(second.send(cut_off).end());
    station.upstream.script(Script::sse().send(completed("r/1", 5)).end());
    let viewer = Viewer::of(create(&station, STREAMED)).await;
    let path = viewer.path();
    let seen = viewer.whole().await;
    assert_eq!(numbers(&seen), [0, 1, 2, 3, 4, 5], "{seen}");
    station.has_state(&path, "done").await;

    let sent = station.upstream.asked(0).await.body().await;
    assert_eq!(sent, STREAMED.as_bytes(), "the body is upstream's to understand");
    for (number, after) in [(1, 2), (2, 2), (3, 4)] {
        let asked = station.upstream.asked(number).await;
        let target = format!("/v1/responses/r%2F1?stream=true&starting_after={after}");
        assert_eq!((asked.method.as_str(), &asked.target), ("GET", &target));
        assert_eq!(asked.header("authorization"), ["Bearer a"]);
        assert_eq!(asked.header("accept"), ["text/event-stream"]);
        assert!(asked.header("content-type").is_empty());
    }
    assert_eq!(Answer::of(retrieve(&station, "r%2F1", "")).await.ok(200)["status"], "completed");
    assert_eq!(station.upstream.count(), 4);
}

#[tokio::test]
async fn what_upstream_has_and_the_record_does_not_is_asked_of_upstream() {
    let station = upstreams_own().await;
    station.upstream.script(Script::sse().send(begun("r1")).send(delta(2)).cut());
    station.upstream.script(Script::whole(404, "text/plain", "not streamed any more"));
    let viewer = Viewer::of(create(&station, STREAMED)).await;
    let path = viewer.path();
    assert_eq!(viewer.rest().await.1, Ending::InOrder);
    station.has_state(&path, "truncated").await;
    station.upstream.script(Script::whole(200, "application/json", "{\"theirs\":1}"));
    assert_eq!(Answer::of(retrieve(&station, "r1", "")).await.ok(200)["theirs"], 1);
}

#[tokio::test]
async fn an_upstream_that_runs_a_response_itself_is_told_to_stop() {
    let station = upstreams_own().await;
    station.upstream.script(Script::sse().send(begun("r1")).send(delta(2)).hang());
    station.upstream.script(Script::whole(500, "text/plain", "not now"));
    station.upstream.script(Script::whole(200, "application/json", "{}"));
    let viewer = Viewer::of(create(&station, STREAMED)).await;
    assert_eq!(Answer::of(cancel(&station, "r1")).await.ok(200)["status"], "cancelled");
    for number in [1, 2] {
        let asked = station.upstream.asked(number).await;
        assert_eq!((&*asked.method, &*asked.target), ("POST", "/v1/responses/r1/cancel"));
        assert_eq!(asked.header("authorization"), ["Bearer a"]);
    }
    viewer.whole().await;
    assert_eq!(Answer::of(retrieve(&station, "r1", "")).await.ok(200)["status"], "cancelled");
}

#[tokio::test]
async fn what_upstream_runs_and_answers_without_a_stream_is_upstreams() {
    let station = upstreams_own().await;
    station.upstream.script(Script::whole(200, "application/json", "{\"status\":\"queued\"}"));
    let answer = Answer::of(create(&station, POLLED)).await;
    assert_eq!(
        (answer.header("longwave-stream"), &answer.ok(200)["status"]),
        (None, &"queued".into())
    );
    assert_eq!(station.upstream.asked(0).await.body().await, POLLED.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_found_after_the_server_was_killed() {
    let upstream = Upstream::start().await;
    let route = format!("/v1={}", upstream.url("/v1"));
    let mut server = ServeProcess::start(&["--gateway", &route]);
    let url =
        |server: &ServeProcess, rest: &str| format!("http://{}/v1/responses{rest}", server.addr);
    let client = client();
    let post = |server: &ServeProcess| {
        let request = client.post(url(server, "")).header("content-type", "application/json");
        request.body(STREAMED).header("authorization", "Bearer a")
    };
    upstream.script(Script::sse().send(begun("whole")).send(completed("whole", 2)).end());
    Viewer::of(post(&server)).await.whole().await;
    upstream.script(Script::sse().send(begun("cut")).send(delta(2)).hang());
    Viewer::of(post(&server)).await.until("\n\n").await;
    server.kill_and_restart();

    let get = |rest: &str| client.get(url(&server, rest)).header("authorization", "Bearer a");
    assert_eq!(Answer::of(get("/whole")).await.ok(200)["status"], "completed");
    let streamed = Answer::of(get("/whole?stream=true")).await;
    assert_eq!(numbers(&streamed.body), [0, 1, 2]);
    // It is ended as the server starts, beside all else.
    eventually(|| async { Answer::of(get("/cut")).await.ok(200)["status"] == "failed" }).await;
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_response_is_forgotten_with_its_stream() {
    let station = Station::with(|_, route| route.retention_ms = Some(1)).await;
    station.upstream.script(Script::sse().send(begun("r1")).send(completed("r1", 2)).end());
    Viewer::of(create(&station, STREAMED)).await.whole().await;
    eventually(|| async { station.server.log().status().topics == 0 }).await;
    station.upstream.script(Script::whole(404, "application/json", "{\"theirs\":1}"));
    assert_eq!(Answer::of(retrieve(&station, "r1", "")).await.ok(404)["theirs"], 1);
}

fn create(station: &Station, body: &'static str) -> RequestBuilder {
    station.post("/v1/responses", body).header("authorization", "Bearer a")
}

fn retrieve(station: &Station, id: &str, query: &str) -> RequestBuilder {
    let request = station.get(&format!("/v1/responses/{id}{query}"));
    request.header("authorization", "Bearer a")
}

fn cancel(station: &Station, id: &str) -> RequestBuilder {
    let request = station.request(Method::POST, &format!("/v1/responses/{id}/cancel"));
    request.header("authorization", "Bearer a")
}

/// The first two events of a response.
fn begun(id: &str) -> String {
    let event = |kind: &str, number: u64, status: &str| {
        event(
            kind,
            number,
            &format!(r#""response":{{"id":"{id}","status":"{status}","output":[]}}"#),
        )
    };
    event("created", 0, "queued") + &event("in_progress", 1, "in_progress")
}

fn delta(number: u64) -> String {
    event("output_text.delta", number, r#""delta":"A""#)
}

fn completed(id: &str, number: u64) -> String {
    let output = r#"[{"type":"message","text":"A"}]"#;
    let response = format!(r#""response":{{"id":"{id}","status":"completed","output":{output}}}"#);
    event("completed", number, &response)
}

fn event(kind: &str, number: u64, rest: &str) -> String {
    let kind = format!("response.{kind}");
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{rest}}}\n\n")
}

/// The numbers of the events in a stream's text.
fn numbers(text: &str) -> Vec<u64> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| {
        let event: Value = serde_json::from_str(data).unwrap();
        event["sequence_number"].as_u64().unwrap()
    })
    .collect()
}

const POLLED: &str = r#"{"model":"m","background":true,"input":"hi"}"#;
const STREAMED: &str = r#"{"model":"m","background":true,"input":"hi","stream":true}"#;

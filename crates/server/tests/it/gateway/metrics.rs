//! What `/metrics` tells of streams.

use reqwest::Method;

use super::{DONE, Station, Viewer, without_ids, word};
use crate::support::{Answer, Nowhere, Script};

#[tokio::test]
async fn streams_are_counted_once_however_often_they_are_read() {
    let nowhere = Nowhere::new();
    let station = Station::with(|http, _| {
        let gone = longwave::gateway::RouteOptions::new("/gone", &nowhere.url("/v1")).unwrap();
        http.gateway.routes.push(gone);
    })
    .await;
    replayed_and_resumed(&station).await;
    joined(&station).await;
    failed(&station).await;
    cancelled(&station).await;
    not_streamed(&station).await;

    station.server.has_metric("longwave_gateway_streams_running 0").await;
    let stream = "{route=\"/v1\",dialect=\"openai-chat\"}";
    let expected = [
        "answers_total{route=\"/v1\",status=\"2xx\"} 1".to_owned(),
        "answers_total{route=\"/v1\",status=\"4xx\"} 2".to_owned(),
        "cancels_total 1".to_owned(),
        format!("events_per_second_count{stream} 1"),
        "events_total 13".to_owned(),
        format!("first_token_seconds_count{stream} 5"),
        "input_tokens_total 30".to_owned(),
        "joins_total 1".to_owned(),
        "output_tokens_total 8".to_owned(),
        "resumes_total 1".to_owned(),
        format!("streams_begun_total{stream} 5"),
        "streams_ended_total{reason=\"cancelled\"} 1".to_owned(),
        "streams_ended_total{reason=\"done\"} 2".to_owned(),
        "streams_ended_total{reason=\"error\"} 1".to_owned(),
        "streams_ended_total{reason=\"truncated\"} 1".to_owned(),
        "streams_running 0".to_owned(),
        "upstream_errors_total{route=\"/gone\",kind=\"unreachable\"} 1".to_owned(),
        "upstream_errors_total{route=\"/v1\",kind=\"4xx\"} 1".to_owned(),
        "upstream_errors_total{route=\"/v1\",kind=\"broken\"} 1".to_owned(),
        "upstream_errors_total{route=\"/v1\",kind=\"in-band\"} 2".to_owned(),
    ];
    let metrics = station.server.get("/metrics").await.body;
    let mut told: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("longwave_gateway_"))
        .filter(|line| !line.contains("_bucket{") && !line.contains("_sum{"))
        .collect();
    told.sort_unstable();
    assert_eq!(told, expected, "{metrics}");
    for (status, count) in [(200, 7), (429, 1), (401, 1), (502, 1)] {
        let labels = format!("method=\"POST\",route=\"gateway\",status=\"{status}\"");
        let line = format!("longwave_http_requests_total{{{labels}}} {count}");
        assert!(metrics.lines().any(|told| told == line), "{line} is not in {metrics}");
    }
}

/// Four events, two of them content, that come one after the other.
async fn replayed_and_resumed(station: &Station) {
    let script = Script::sse().send(word("a")).wait("go on");
    let rest = [&word("b"), &usage(10, 3), DONE].concat();
    let mut viewer = station.stream(script.send(rest).end()).await;
    let (id, path) = (viewer.id(), viewer.path());
    let first = viewer.until("\n\n").await;
    station.upstream.say("go on");
    viewer.whole().await;
    for _ in 0..3 {
        Viewer::of(station.get(&path)).await.whole().await;
    }
    let (_, ids) = without_ids(&id, &first);
    let resume = station.get(&path).header("last-event-id", &ids[0]);
    assert!(Viewer::of(resume).await.whole().await.contains("\"b\""));
    // There is nothing to go on with.
    let (_, ids) = without_ids(&id, &Viewer::of(station.get(&path)).await.whole().await);
    let over = station.get(&path).header("last-event-id", ids.last().unwrap());
    assert_eq!(Viewer::of(over).await.status(), 204);
}

async fn joined(station: &Station) {
    station.upstream.script(Script::sse().send([&word("c"), &usage(20, 5), DONE].concat()).end());
    let keyed = || station.chat().header("idempotency-key", "one");
    let first = Viewer::of(keyed()).await.whole().await;
    let again = Viewer::of(keyed()).await;
    assert_eq!(again.header("longwave-duplicate"), Some("true"));
    assert_eq!(again.whole().await, first);
}

async fn failed(station: &Station) {
    let error = "data: {\"error\":{\"message\":\"no\",\"type\":\"server_error\"}}\n\n";
    station.stream(Script::sse().send([&word("d"), error].concat()).end()).await.whole().await;
    station.stream(Script::sse().send(word("e")).cut()).await.whole().await;
}

async fn cancelled(station: &Station) {
    let mut viewer = station.stream(Script::sse().send(word("f")).hang()).await;
    let path = viewer.path();
    viewer.until("\n\n").await;
    for _ in 0..2 {
        let info = Answer::of(station.request(Method::DELETE, &path)).await.ok(200);
        assert_eq!(info["state"], "cancelled");
    }
    viewer.whole().await;
}

async fn not_streamed(station: &Station) {
    station.upstream.script(Script::whole(200, "application/json", "{}"));
    assert_eq!(Viewer::of(station.chat()).await.status(), 200);
    station.upstream.script(Script::whole(429, "application/json", "{}"));
    assert_eq!(Viewer::of(station.chat()).await.status(), 429);
    let error = "data: {\"error\":{\"message\":\"no\",\"code\":\"invalid_api_key\"}}\n\n";
    station.upstream.script(Script::sse().send(error).end());
    assert_eq!(Viewer::of(station.chat()).await.status(), 401);
    let gone = station.post("/gone/chat/completions", super::CHAT);
    assert_eq!(Viewer::of(gone).await.status(), 502);
}

/// The chunk that tells what an answer took.
fn usage(input: u32, output: u32) -> String {
    let usage = format!("{{\"prompt_tokens\":{input},\"completion_tokens\":{output}}}");
    format!("data: {{\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{usage}}}\n\n")
}

//! What the gateway keeps of a request, and how many it has at one time.

use super::{DONE, Station, Viewer, word};
use crate::support::{Answer, Script};

#[tokio::test]
async fn a_key_in_the_query_is_passed_on_and_kept_nowhere() {
    let station = Station::start().await;
    let url = "/v1/models/x:streamGenerateContent?alt=sse&key=SECRET";
    station.upstream.script(Script::sse().send(word("a")).send(DONE).end());
    let viewer = Viewer::of(station.get(url)).await;
    let path = viewer.path();
    viewer.whole().await;
    assert_eq!(station.upstream.asked(0).await.target, url);

    let info = station.info(&path).await;
    assert_eq!(info["request"], "GET /v1/models/x:streamGenerateContent");
    let topic = Answer::of(station.get(&format!("/topics{path}"))).await;
    for told in [info.to_string(), topic.body] {
        assert!(!told.contains("SECRET"), "{told}");
    }
}

#[tokio::test]
async fn no_more_requests_are_proxied_at_one_time_than_allowed() {
    let station = Station::with(|http, _| http.gateway.requests_max = 1).await;
    let script = Script::sse().send(word("a")).wait("go").send(DONE).end();
    let mut viewer = station.stream(script).await;
    let path = viewer.path();
    viewer.until("\n\n").await;
    let refused = Answer::of(station.chat()).await;
    assert_eq!(refused.header("retry-after"), Some("5"));
    refused.problem(503, "overloaded");
    station.upstream.say("go");
    viewer.whole().await;
    station.has_state(&path, "done").await;
    station.upstream.script(Script::sse().send(word("b")).send(DONE).end());
    crate::support::eventually(|| async { Viewer::of(station.chat()).await.status() == 200 }).await;
}

#[tokio::test]
async fn what_was_begun_is_joined_however_many_requests_are_proxied() {
    let station = Station::with(|http, _| http.gateway.requests_max = 1).await;
    let keyed = |key| station.chat().header("idempotency-key", key);
    station.upstream.script(Script::sse().send(word("a")).send(DONE).end());
    let over = Viewer::of(keyed("over")).await;
    let path = over.path();
    over.whole().await;
    station.has_state(&path, "done").await;
    let script = Script::sse().send(word("b")).wait("go").send(DONE).end();
    station.upstream.script(script);
    crate::support::eventually(|| async { Viewer::of(keyed("running")).await.status() == 200 })
        .await;
    for key in ["over", "running"] {
        let viewer = Viewer::of(keyed(key)).await;
        assert_eq!(viewer.header("longwave-duplicate"), Some("true"), "{key}");
        station.upstream.say("go");
        assert!(viewer.whole().await.contains("[DONE]"));
    }
    assert_eq!(station.upstream.count(), 2);
}

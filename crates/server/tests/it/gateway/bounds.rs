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

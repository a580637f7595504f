//! Stopping a stream: by word of a viewer, and by its policy when nobody views it.

use longwave::gateway::Disconnect;
use reqwest::Method;

use super::{DONE, Station, Viewer, word};
use crate::support::{Answer, Script};

#[tokio::test]
async fn cancelling_is_the_same_by_either_call_and_however_often() {
    let station = Station::start().await;
    for (number, call) in ["DELETE", "POST"].into_iter().enumerate() {
        let mut viewer = station.stream(Script::sse().send(word("a")).hang()).await;
        viewer.until("\n\n").await;
        let path = viewer.path();
        let cancel = || match call {
            "DELETE" => station.request(Method::DELETE, &path),
            _ => station.request(Method::POST, &format!("{path}/cancel")),
        };
        let one = Answer::of(cancel()).await.ok(200);
        assert_eq!(one["state"], "cancelled");
        // Durable before it was answered.
        let told = station.server.told(&path[1..]).await;
        assert_eq!(told.last().unwrap(), "end:cancelled");
        station.upstream.asked(number).await.hung_up().await;
        let two = Answer::of(cancel()).await.ok(200);
        assert_eq!((&two["state"], &two["ended"]), (&one["state"], &one["ended"]));
        assert_eq!(station.server.told(&path[1..]).await, told);
        assert!(viewer.whole().await.contains("stream_cancelled"));
    }
}

#[tokio::test]
async fn cancelling_what_is_over_changes_nothing() {
    let station = Station::start().await;
    let viewer = station.stream(Script::sse().send(word("a")).send(DONE).end()).await;
    let path = viewer.path();
    viewer.whole().await;
    let answer = Answer::of(station.request(Method::DELETE, &path)).await;
    assert_eq!(answer.ok(200)["state"], "done");
    for id in ["AAAAAAAAAAAAAAAAAAAAAA", "x"] {
        for (method, target) in [
            (Method::DELETE, format!("/streams/{id}")),
            (Method::POST, format!("/streams/{id}/cancel")),
        ] {
            Answer::of(station.request(method, &target)).await.problem(404, "stream-not-found");
        }
    }
}

#[tokio::test]
async fn a_stream_goes_on_unwatched_where_its_policy_says_so() {
    let station = Station::with(|_, route| route.disconnect = Disconnect::Cancel).await;
    for (header, state) in [(Some("continue"), "done"), (None, "cancelled")] {
        let number = station.upstream.count();
        let script = Script::sse().send(word("a"));
        station.upstream.script(match state {
            "done" => script.wait("more").send(DONE).end(),
            _ => script.hang(),
        });
        let request = header
            .map_or(station.chat(), |policy| station.chat().header("longwave-disconnect", policy));
        let mut viewer = Viewer::of(request).await;
        viewer.until("\n\n").await;
        let path = viewer.path();
        drop(viewer);
        if state == "done" {
            station.has_viewers(&path, 0).await;
            station.upstream.say("more");
        } else {
            station.upstream.asked(number).await.hung_up().await;
        }
        station.has_state(&path, state).await;
    }
}

#[tokio::test]
async fn a_stream_is_kept_running_by_any_of_its_viewers() {
    let station = Station::start().await;
    let script = Script::sse().send(word("a")).wait("more").send(word("b")).hang();
    station.upstream.script(script);
    let request = station.chat().header("longwave-disconnect", "cancel");
    let mut first = Viewer::of(request).await;
    first.until("\n\n").await;
    let path = first.path();
    let topic = station.get(&format!("/topics{path}")).header("accept", "text/event-stream");
    let topic = Viewer::of(topic).await;
    station.has_viewers(&path, 2).await;
    drop(first);
    station.has_viewers(&path, 1).await;
    station.upstream.say("more");
    station.has_own_events(&path, 2).await;
    assert_eq!(station.info(&path).await["state"], "running");
    drop(topic);
    station.has_state(&path, "cancelled").await;
}

#[tokio::test]
async fn a_stream_outlives_a_short_absence_within_its_grace() {
    let station = Station::start().await;
    let script = Script::sse().send(word("a")).wait("more").send(DONE).end();
    station.upstream.script(script);
    let request = station.chat().header("longwave-disconnect", "grace=1h");
    let mut viewer = Viewer::of(request).await;
    viewer.until("\n\n").await;
    let path = viewer.path();
    drop(viewer);
    station.has_viewers(&path, 0).await;
    let viewer = Viewer::of(station.get(&path)).await;
    station.upstream.say("more");
    assert!(viewer.whole().await.contains("[DONE]"));

    station.upstream.script(Script::sse().send(word("a")).hang());
    let request = station.chat().header("longwave-disconnect", "grace=1ms");
    let mut viewer = Viewer::of(request).await;
    viewer.until("\n\n").await;
    let path = viewer.path();
    drop(viewer);
    station.has_state(&path, "cancelled").await;
}

#[tokio::test]
async fn a_policy_that_is_none_is_refused() {
    let station = Station::start().await;
    for policy in ["", "never", "grace", "grace=", "grace=x", "Continue", "grace=-1s"] {
        let request = station.chat().header("longwave-disconnect", policy);
        let problem = Answer::of(request).await.problem(400, "header-invalid");
        assert_eq!(problem["header"], "Longwave-Disconnect");
    }
    assert_eq!(station.upstream.count(), 0);
}

#[tokio::test]
async fn a_generation_that_nobody_waits_for_is_not_asked_for_any_longer() {
    let station = Station::start().await;
    station.upstream.script(Script::new().hang());
    let request = station.chat().header("longwave-disconnect", "cancel");
    let waiting = tokio::spawn(request.send());
    let asked = station.upstream.asked(0).await;
    waiting.abort();
    asked.hung_up().await;
}

#[tokio::test]
async fn a_stream_that_says_nothing_is_not_waited_for_when_its_client_is_gone() {
    let station = Station::start().await;
    for (number, policy) in ["cancel", "grace=1ms"].into_iter().enumerate() {
        station.upstream.script(Script::sse().hang());
        let request = station.chat().header("longwave-disconnect", policy);
        let waiting = tokio::spawn(request.send());
        let asked = station.upstream.asked(number).await;
        waiting.abort();
        asked.hung_up().await;
    }
}

#[tokio::test]
async fn a_request_that_is_cancelled_before_its_first_event_leaves_its_key_free() {
    let station = Station::start().await;
    let keyed = || station.chat().header("idempotency-key", "k");
    station.upstream.script(Script::sse().send(": thinking\n\n").hang());
    let waiting = tokio::spawn(Answer::of(keyed()));
    station.upstream.asked(0).await;
    let path = format!("/streams/{}", station.first_id().await);
    // Nothing is there by then that could be told of.
    let cancelled = Answer::of(station.request(Method::DELETE, &path)).await;
    cancelled.problem(404, "stream-not-found");
    station.upstream.asked(0).await.hung_up().await;
    waiting.await.unwrap().problem(409, "stream-cancelled");
    station.upstream.script(Script::sse().send(word("a")).send(DONE).end());
    assert!(Viewer::of(keyed()).await.whole().await.contains("[DONE]"));
}

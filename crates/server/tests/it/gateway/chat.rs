//! The AI SDK's calls to come back to a chat's running answer, and to stop it.

use longwave::gateway::{Dialect, Viewers};
use reqwest::{Method, RequestBuilder};

use super::{DONE, Station, Viewer, without_ids};
use crate::support::{Answer, Script, eventually, within};

/// A station whose route is for chats.
async fn station() -> Station {
    Station::with(|_, route| route.dialect = Some(Dialect::VercelUi)).await
}

#[tokio::test]
async fn a_running_answer_is_given_from_its_first_chunk_and_nothing_where_none_runs() {
    let station = station().await;
    let script = ui().send(part("start")).send(text("A")).wait("more").send(text("B"));
    station.upstream.script(script.send(part("finish")).send(DONE).end());
    nothing_runs(&station, "c1").await;
    let mut viewer = Viewer::of(post(&station, "c1")).await;
    viewer.until("\"A\"}\n").await;
    let resumed = Viewer::of(resume(&station, "c1")).await;
    assert_eq!(resumed.status(), 200);
    assert_eq!(resumed.header("x-vercel-ai-ui-message-stream"), Some("v1"));
    assert_eq!((resumed.path(), resumed.id()), (viewer.path(), viewer.id()));
    nothing_runs(&station, "c2").await;

    station.upstream.say("more");
    let id = resumed.id();
    let (plain, _) = without_ids(&id, &resumed.whole().await);
    let sent = [part("start"), text("A"), text("B"), part("finish"), DONE.to_owned()].concat();
    assert_eq!(plain, sent);
    viewer.whole().await;
    nothing_runs(&station, "c1").await;
    assert_eq!(station.upstream.count(), 1, "upstream knows nothing of resuming");
}

#[tokio::test]
async fn of_several_answers_in_a_chat_the_newest_counts() {
    let station = station().await;
    for word in ["first", "second"] {
        station.upstream.script(ui().send(part("start")).send(text(word)).wait(word).end());
    }
    let first = Viewer::of(post(&station, "c1")).await;
    let second = Viewer::of(post(&station, "c1")).await;
    assert_ne!(first.id(), second.id());
    assert_eq!(Viewer::of(resume(&station, "c1")).await.id(), second.id());
    // That the older one is over changes nothing.
    station.upstream.say("first");
    first.whole().await;
    assert_eq!(Viewer::of(resume(&station, "c1")).await.id(), second.id());
    station.upstream.say("second");
    second.whole().await;
    nothing_runs(&station, "c1").await;

    station.upstream.script(ui().send(part("start")).send(text("third")).hang());
    let third = Viewer::of(post(&station, "c1")).await;
    assert_eq!(Viewer::of(resume(&station, "c1")).await.id(), third.id());
}

#[tokio::test]
async fn a_running_answer_is_stopped_for_all_who_read_it() {
    let station = station().await;
    for (method, rest) in [(Method::POST, "stop"), (Method::DELETE, "stream")] {
        station.upstream.script(ui().send(part("start")).send(text("A")).hang());
        let viewer = Viewer::of(post(&station, "c1")).await;
        let resumed = Viewer::of(resume(&station, "c1")).await;
        let path = format!("/v1/chat/c1/{rest}");
        let stopped = Answer::of(station.request(method.clone(), &path)).await.ok(200);
        assert_eq!((&stopped["id"], &stopped["state"]), (&viewer.id().into(), &"cancelled".into()));
        for viewer in [viewer, resumed] {
            let seen = viewer.whole().await;
            assert!(seen.contains(r#""type":"abort""#), "{seen}");
        }
        let again = Answer::of(station.request(method, &path)).await;
        assert_eq!((again.status, again.body.as_str()), (204, ""));
        nothing_runs(&station, "c1").await;
    }
    for number in [0, 1] {
        station.upstream.asked(number).await.hung_up().await;
    }
    assert_eq!(station.upstream.count(), 2);
}

#[tokio::test]
async fn a_chat_is_known_to_its_own_client_only() {
    let station = station().await;
    station.upstream.script(ui().send(part("start")).send(text("A")).hang());
    let as_client = |request: RequestBuilder| request.header("authorization", "Bearer a");
    let viewer = Viewer::of(as_client(post(&station, "c1"))).await;
    nothing_runs(&station, "c1").await;
    let stop = station.request(Method::POST, "/v1/chat/c1/stop");
    assert_eq!(Answer::of(stop).await.status, 204);
    let resumed = Viewer::of(as_client(resume(&station, "c1"))).await;
    assert_eq!(resumed.id(), viewer.id());
}

#[tokio::test]
async fn a_chat_without_credentials_needs_a_token_where_viewers_do() {
    let station = Station::with(|http, route| {
        http.gateway.viewers = Viewers::Token;
        route.dialect = Some(Dialect::VercelUi);
    })
    .await;
    station.upstream.script(ui().send(part("start")).send(text("A")).hang());
    let viewer = Viewer::of(post(&station, "c1")).await;
    Answer::of(resume(&station, "c1")).await.problem(403, "right-missing");
    let stop = station.request(Method::POST, "/v1/chat/c1/stop");
    Answer::of(stop).await.problem(403, "right-missing");
    assert!(station.upstream.asked(0).await.is_connected());
    drop(viewer);
}

#[tokio::test]
async fn where_the_dialect_is_found_out_chats_that_nobody_knows_are_upstreams() {
    let station = Station::start().await;
    station.upstream.script(Script::whole(404, "application/json", "{\"theirs\":1}"));
    assert_eq!(Answer::of(resume(&station, "c1")).await.ok(404)["theirs"], 1);
    station.upstream.script(ui().send(part("start")).send(text("A")).wait("more").end());
    let viewer = Viewer::of(post(&station, "c1")).await;
    assert_eq!(Viewer::of(resume(&station, "c1")).await.id(), viewer.id());
    station.upstream.say("more");
    viewer.whole().await;
    nothing_runs(&station, "c1").await;
    assert_eq!(station.upstream.count(), 2);
}

#[tokio::test]
async fn on_routes_of_other_dialects_the_calls_are_upstreams() {
    let station = Station::with(|_, route| route.dialect = Some(Dialect::Sse)).await;
    station.upstream.script(Script::whole(200, "text/plain", "theirs"));
    assert_eq!(Answer::of(resume(&station, "c1")).await.body, "theirs");
}

#[tokio::test]
async fn a_page_that_is_left_before_the_answer_begins_can_come_back_to_it() {
    let station = station().await;
    let script = Script::new().wait("go").head(200, &UI_HEADERS);
    station.upstream.script(script.send(part("start")).send(text("A")).hang());
    let request = tokio::spawn(post(&station, "c1").send());
    let asked = station.upstream.asked(0).await;
    request.abort();
    assert!(within(request).await.unwrap_err().is_cancelled());
    station.upstream.say("go");
    eventually(|| async { Viewer::of(resume(&station, "c1")).await.status() == 200 }).await;
    assert!(asked.is_connected());
}

/// What `useChat` sends.
fn post(station: &Station, chat: &str) -> RequestBuilder {
    let body = format!(r#"{{"id":"{chat}","messages":[],"trigger":"submit-message"}}"#);
    let request = station.request(Method::POST, "/v1/chat");
    request.header("content-type", "application/json").body(body)
}

/// What `useChat` asks for when a page is opened.
fn resume(station: &Station, chat: &str) -> RequestBuilder {
    station.get(&format!("/v1/chat/{chat}/stream"))
}

async fn nothing_runs(station: &Station, chat: &str) {
    let answer = Answer::of(resume(station, chat)).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
}

fn ui() -> Script {
    Script::new().head(200, &UI_HEADERS)
}

fn part(kind: &str) -> String {
    format!("data: {{\"type\":\"{kind}\"}}\n\n")
}

fn text(delta: &str) -> String {
    format!("data: {{\"type\":\"text-delta\",\"id\":\"t\",\"delta\":\"{delta}\"}}\n\n")
}

const UI_HEADERS: [(&str, &str); 2] =
    [("content-type", "text/event-stream"), ("x-vercel-ai-ui-message-stream", "v1")];

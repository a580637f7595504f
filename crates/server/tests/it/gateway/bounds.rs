//! What the gateway keeps of a request, and how many it has at one time.

use reqwest::RequestBuilder;

use super::{DONE, Station, Viewer, client, word};
use crate::support::process::ServeProcess;
use crate::support::{Answer, Nowhere, Script, Upstream, eventually};

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
    eventually(|| async { Viewer::of(station.chat()).await.status() == 200 }).await;
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
    eventually(|| async { Viewer::of(keyed("running")).await.status() == 200 }).await;
    for key in ["over", "running"] {
        let viewer = Viewer::of(keyed(key)).await;
        assert_eq!(viewer.header("longwave-duplicate"), Some("true"), "{key}");
        station.upstream.say("go");
        assert!(viewer.whole().await.contains("[DONE]"));
    }
    assert_eq!(station.upstream.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_log_nor_the_disk_has_keys_tokens_or_prompts() {
    let (upstream, nowhere) = (Upstream::start().await, Nowhere::new());
    let routes = [("/v1", upstream.url("/v1")), ("/gone", nowhere.url("/v1"))];
    let routes = routes.map(|(prefix, url)| format!("{prefix}={url}"));
    let [route, gone] = routes.each_ref().map(String::as_str);
    let mut server =
        ServeProcess::start(&["--gateway", route, "--gateway", gone, "--log-level", "debug"]);
    let client = client();
    let base = format!("http://{}", server.addr);
    let ask = |path: &str| {
        let request = client.post(format!("{base}{path}?key=SECRET-query"));
        let request = request.header("content-type", "application/json").bearer_auth("SECRET-key");
        request.body(r#"{"stream":true,"messages":[{"content":"SECRET-prompt"}]}"#)
    };
    let keyed = |request: RequestBuilder| request.header("idempotency-key", "SECRET-name");
    upstream.script(Script::sse().send(word("a")).cut());
    let viewer = Viewer::of(keyed(ask("/v1/chat/completions"))).await;
    let path = viewer.path();
    viewer.whole().await;
    upstream.script(Script::sse().cut());
    assert_eq!(Answer::of(ask("/v1/chat/completions")).await.status, 502);
    assert_eq!(Answer::of(ask("/gone/chat/completions")).await.status, 502);
    let minted = Answer::of(client.post(format!("{base}{path}/tokens"))).await.ok(201);
    let token = minted["token"].as_str().unwrap();
    assert_eq!(Viewer::of(client.get(format!("{base}{path}?token={token}"))).await.status(), 200);
    server.kill_and_restart();

    let told = ["upstream broke off", "upstream failed"];
    eventually(async || told.iter().all(|text| server.logged().contains(text))).await;
    let mut kept = vec![("the log".to_owned(), server.logged().into_bytes())];
    let mut folders = vec![server.dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                kept.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|at| at == text.as_bytes());
    assert!(kept.iter().any(|(_, bytes)| has(bytes, "longwave.stream")), "the stream is nowhere");
    for (place, bytes) in &kept {
        for secret in ["SECRET", token] {
            assert!(!has(bytes, secret), "{secret} is in {place}");
        }
    }
}

#[tokio::test]
async fn bodies_that_wait_for_their_answers_take_no_more_memory_than_allowed() {
    let station = Station::with(|http, _| http.bodies_bytes_max = super::CHAT.len() + 1).await;
    let script = Script::new().wait("go").head(200, &[("content-type", "text/plain")]).send("a");
    station.upstream.script(script.end());
    let first = tokio::spawn(Answer::of(station.chat()));
    station.upstream.asked(0).await;
    Answer::of(station.chat()).await.problem(503, "overloaded");
    station.upstream.say("go");
    assert_eq!(first.await.unwrap().body, "a");
}

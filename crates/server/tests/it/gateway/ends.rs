//! How streams end: what the log has, what viewers get in each dialect, and how the body of the answer ends.

use longwave::http::HttpOptions;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Ending, Station, Viewer, without_ids, word};
use crate::support::{Answer, Script};

/// A dialect as an upstream speaks it.
pub(super) struct Spoken {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) content: String,
    pub(super) error: &'static str,
    pub(super) end: &'static str,
}

/// Each dialect.
pub(super) fn spoken() -> [Spoken; 6] {
    [
        Spoken {
            name: "openai-chat",
            path: "/v1/chat/completions",
            content: word("a"),
            error: "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n\n",
            end: "data: [DONE]\n\n",
        },
        Spoken {
            name: "openai-responses",
            path: "/v1/responses",
            content: "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"delta\":\"a\"}\n\n".into(),
            error: "event: error\ndata: {\"type\":\"error\",\"sequence_number\":5,\"code\":null,\"message\":\"boom\",\"param\":null}\n\n",
            end: "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":5,\"response\":{\"id\":\"r\",\"status\":\"completed\"}}\n\n",
        },
        Spoken {
            name: "anthropic",
            path: "/v1/messages",
            content: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n".into(),
            error: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"boom\"}}\n\n",
            end: "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        },
        Spoken {
            name: "vercel-ui",
            path: "/v1/chat",
            content: "data: {\"type\":\"text-delta\",\"id\":\"t\",\"delta\":\"a\"}\n\n".into(),
            error: "data: {\"type\":\"error\",\"errorText\":\"boom\"}\n\n",
            end: "data: {\"type\":\"finish\"}\n\ndata: [DONE]\n\n",
        },
        Spoken {
            name: "ollama",
            path: "/v1/api/generate",
            content: "{\"model\":\"m\",\"response\":\"a\",\"done\":false}\n".into(),
            error: "{\"error\":\"boom\"}\n",
            end: "{\"model\":\"m\",\"response\":\"\",\"done\":true,\"done_reason\":\"stop\"}\n",
        },
        Spoken {
            name: "sse",
            path: "/v1/events",
            content: "event: tick\ndata: 1\n\n".into(),
            error: "event: error\ndata: boom\n\n",
            end: "data: bye\n\n",
        },
    ]
}

impl Spoken {
    /// The beginning of a script: a head by which the dialect is known.
    pub(super) fn head(&self) -> Script {
        match self.name {
            "ollama" => Script::ndjson(),
            "vercel-ui" => Script::new().head(
                200,
                &[("content-type", "text/event-stream"), ("x-vercel-ai-ui-message-stream", "v1")],
            ),
            _ => Script::sse(),
        }
    }

    pub(super) fn tells_errors(&self) -> bool {
        self.name != "sse"
    }

    pub(super) async fn view(&self, station: &Station, script: Script) -> Viewer {
        station.upstream.script(script);
        let viewer = Viewer::of(station.post(self.path, "{\"stream\":true}")).await;
        assert_eq!(viewer.status(), 200, "{}", self.name);
        viewer
    }

    /// Checks that these are the dialect's events for an end that upstream did not tell.
    #[track_caller]
    pub(super) fn check_closing(&self, text: &str, reason: &str, detail: &str) {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("id: "));
        let (events, data): (Vec<&str>, Vec<&str>) =
            lines.partition(|line| line.starts_with("event: "));
        let data: Vec<Value> = data
            .iter()
            .map(|line| line.strip_prefix("data: ").unwrap_or(line))
            .map(|data| serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {text:?}")))
            .collect();
        let code = format!("stream_{reason}");
        let is_cancelled = reason == "cancelled";
        match self.name {
            "openai-chat" => {
                let error = json!({ "message": detail, "type": "server_error", "param": null, "code": code });
                assert_eq!(data, [json!({ "error": error })], "{text}");
                assert_eq!(events, [""; 0]);
            }
            "openai-responses" => {
                assert_eq!(events, ["event: error", "event: response.failed"]);
                assert_eq!(
                    (&data[0]["type"], &data[0]["sequence_number"]),
                    (&json!("error"), &json!(5))
                );
                assert_eq!((&data[0]["code"], &data[0]["message"]), (&json!(code), &json!(detail)));
                assert_eq!(
                    (&data[1]["type"], &data[1]["sequence_number"]),
                    (&json!("response.failed"), &json!(6))
                );
                let status = if is_cancelled { "cancelled" } else { "failed" };
                assert_eq!(data[1]["response"]["status"], status);
                assert_eq!(data.len(), 2);
            }
            "anthropic" => {
                assert_eq!(events, ["event: error"]);
                let kind = if reason == "timeout" { "timeout_error" } else { "api_error" };
                let error = json!({ "type": kind, "message": detail, "code": code });
                assert_eq!(data, [json!({ "type": "error", "error": error })], "{text}");
            }
            "vercel-ui" if is_cancelled => {
                assert_eq!(data, [json!({ "type": "abort", "reason": detail })]);
            }
            "vercel-ui" => assert_eq!(data, [json!({ "type": "error", "errorText": detail })]),
            "ollama" => assert_eq!(data, [json!({ "error": detail })]),
            other => panic!("{other} has no event for it: {text:?}"),
        }
    }

    /// Checks what viewers get of a stream of `content` that upstream did not end: the one that asked, and a later one.
    pub(super) async fn check_told(
        &self,
        station: &Station,
        viewer: Viewer,
        reason: &str,
        detail: &str,
    ) {
        let (id, path) = (viewer.id(), viewer.path());
        let (body, ending) = viewer.rest().await;
        let again = Viewer::of(station.get(&path)).await;
        assert_eq!(again.header("longwave-end"), Some(reason), "{}", self.name);
        assert_eq!(again.rest().await, (body.clone(), ending), "{}", self.name);
        let (plain, _) = without_ids(&id, &body);
        let closing = plain.strip_prefix(&self.content).unwrap_or_else(|| panic!("{plain:?}"));
        if self.tells_errors() {
            assert_eq!(ending, Ending::InOrder, "{}", self.name);
            self.check_closing(closing, reason, detail);
        } else {
            assert_eq!((closing, ending), ("", Ending::Aborted), "{}", self.name);
        }
        let info = station.info(&path).await;
        assert_eq!((&info["state"], &info["dialect"]), (&json!(reason), &json!(self.name)));
        let told = station.server.told(&path[1..]).await;
        assert_eq!(told.last().unwrap(), &format!("end:{reason}"));
    }
}

const TRUNCATED: &str = "upstream ended the stream before it was complete";

#[tokio::test]
async fn a_clean_end_is_upstreams_own() {
    let station = Station::start().await;
    for spoken in spoken() {
        let sent = [spoken.content.as_str(), spoken.end].concat();
        let viewer = spoken.view(&station, spoken.head().send(&sent).end()).await;
        let (id, path) = (viewer.id(), viewer.path());
        assert_eq!(without_ids(&id, &viewer.whole().await).0, sent, "{}", spoken.name);
        let info = station.info(&path).await;
        assert_eq!((&info["state"], &info["dialect"]), (&json!("done"), &json!(spoken.name)));
        assert_eq!(info["route"], "/v1");
        let again = Viewer::of(station.get(&path)).await;
        assert_eq!(again.header("longwave-end"), Some("done"));
        assert_eq!(without_ids(&id, &again.whole().await).0, sent);
    }
}

#[tokio::test]
async fn a_body_that_ends_early_in_order_is_told_as_an_error() {
    let station = Station::start().await;
    for spoken in spoken() {
        let viewer = spoken.view(&station, spoken.head().send(&spoken.content).end()).await;
        if spoken.tells_errors() {
            spoken.check_told(&station, viewer, "truncated", TRUNCATED).await;
        } else {
            // Any end may be the end there.
            let path = viewer.path();
            viewer.whole().await;
            assert_eq!(station.info(&path).await["state"], "done");
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_as_an_error() {
    let station = Station::start().await;
    for spoken in spoken() {
        // What came of the next event is nobody's business.
        let script = spoken.head().send(&spoken.content).send("data: {\"half").cut();
        let viewer = spoken.view(&station, script).await;
        spoken.check_told(&station, viewer, "truncated", TRUNCATED).await;
    }
}

#[tokio::test]
async fn an_error_that_upstream_tells_is_its_own_and_the_end() {
    let station = Station::start().await;
    for spoken in spoken() {
        let sent = [spoken.content.as_str(), spoken.error].concat();
        let script = spoken.head().send(&spoken.content).wait("error").send(spoken.error);
        let viewer = spoken.view(&station, script.end()).await;
        station.upstream.say("error");
        let (id, path) = (viewer.id(), viewer.path());
        let body = viewer.whole().await;
        assert_eq!(without_ids(&id, &body).0, sent, "{}", spoken.name);
        let state = if spoken.tells_errors() { "error" } else { "done" };
        assert_eq!(station.info(&path).await["state"], state, "{}", spoken.name);
    }
}

#[tokio::test]
async fn a_silent_upstream_is_stopped_in_time() {
    let station = Station::with(|_, route| route.idle_timeout_ms = 50).await;
    for (number, spoken) in spoken().iter().enumerate() {
        let viewer = spoken.view(&station, spoken.head().send(&spoken.content).hang()).await;
        let detail = "upstream sent nothing for 50ms";
        spoken.check_told(&station, viewer, "timeout", detail).await;
        station.upstream.asked(number).await.hung_up().await;
    }
}

#[tokio::test]
async fn a_stream_that_takes_too_long_is_stopped() {
    let station = Station::with(|_, route| route.total_timeout_ms = Some(50)).await;
    for (number, spoken) in spoken().iter().enumerate() {
        let viewer = spoken.view(&station, spoken.head().send(&spoken.content).hang()).await;
        let detail = "the stream took longer than 50ms";
        spoken.check_told(&station, viewer, "timeout", detail).await;
        station.upstream.asked(number).await.hung_up().await;
    }
}

#[tokio::test]
async fn a_cancelled_stream_tells_its_viewers_and_stops_upstream() {
    let station = Station::start().await;
    for (number, spoken) in spoken().iter().enumerate() {
        let viewer = spoken.view(&station, spoken.head().send(&spoken.content).hang()).await;
        let path = viewer.path();
        let answer = Answer::of(station.request(Method::DELETE, &path)).await;
        assert_eq!(answer.ok(200)["state"], "cancelled");
        station.upstream.asked(number).await.hung_up().await;
        spoken.check_told(&station, viewer, "cancelled", "the stream was cancelled").await;
    }
}

#[tokio::test]
async fn an_event_beyond_the_limit_ends_the_stream_as_an_error() {
    let limited = |http: &mut HttpOptions| http.event_bytes_max = 1000;
    let station = Station::with(|http, _| limited(http)).await;
    let detail = "upstream sent an event of more than 1000 bytes";
    for (number, spoken) in spoken().iter().enumerate() {
        let script = spoken.head().send(&spoken.content).wait("more").send("x".repeat(30_000));
        let viewer = spoken.view(&station, script.hang()).await;
        station.upstream.say("more");
        spoken.check_told(&station, viewer, "error", detail).await;
        station.upstream.asked(number).await.hung_up().await;
    }
}

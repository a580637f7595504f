//! What is no stream goes through as it is, in both directions.

use std::io::Write as _;

use http::{HeaderName, HeaderValue};
use longwave::gateway::AllowRule;
use reqwest::Method;

use super::{CHAT, DONE, Ending, Station, Viewer, word};
use crate::support::{Answer, Nowhere, RawClient, Script};

#[tokio::test]
async fn answers_of_every_kind_keep_status_headers_and_bytes() {
    let station = Station::start().await;
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let gzip = gzip(b"{\"compressed\":true}");
    for (status, content_type, encoding, body) in [
        (200, "application/json", None, b"{ \"a\" : 1 }\r\n".to_vec()),
        (201, "application/octet-stream", None, binary),
        (200, "application/json", Some("gzip"), gzip),
        (404, "application/json", None, b"{\"error\":{\"message\":\"no\"}}".to_vec()),
        (429, "text/event-stream", None, b"data: slow down\n\n".to_vec()),
        (500, "text/html; charset=latin1", None, b"<p>\xe4</p>".to_vec()),
        (529, "application/json", None, b"{}".to_vec()),
    ] {
        let length = body.len().to_string();
        let mut headers = vec![
            ("content-type", content_type),
            ("content-length", &length),
            ("x-request-id", "r1"),
            ("retry-after", "7"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("date", "Fri, 20 Nov 2026 00:00:00 GMT"),
        ];
        headers.extend(encoding.map(|encoding| ("content-encoding", encoding)));
        station.upstream.script(Script::new().head(status, &headers).send(&body).end());
        let answer = station.chat().header("accept-encoding", "gzip").send().await.unwrap();
        assert_eq!(answer.status(), status);
        for (name, value) in headers {
            let found: Vec<_> = answer.headers().get_all(name).iter().collect();
            assert!(found.contains(&&HeaderValue::from_str(value).unwrap()), "{name}: {found:?}");
        }
        for name in ["longwave-stream", "location", "link", "cache-control"] {
            assert!(!answer.headers().contains_key(name), "{name}");
        }
        assert!(answer.bytes().await.unwrap() == body, "{content_type}");
    }
    assert_eq!(Answer::of(station.get("/streams")).await.ok(200)["streams"], serde_json::json!([]));
}

#[tokio::test]
async fn a_body_without_a_known_length_goes_through_piece_by_piece() {
    let station = Station::start().await;
    let script = Script::new().head(200, &[("content-type", "text/plain")]).send("one ");
    station.upstream.script(script.wait("more").send("two").end());
    let mut viewer = Viewer::of(station.get("/v1/text")).await;
    viewer.until("one ").await;
    station.upstream.say("more");
    assert_eq!(viewer.whole().await, "two");
}

#[tokio::test]
async fn a_body_that_breaks_off_breaks_off_here_too() {
    let station = Station::start().await;
    let script = Script::new().head(200, &[("content-type", "text/plain")]).send("one");
    station.upstream.script(script.cut());
    let viewer = Viewer::of(station.get("/v1/text")).await;
    assert_eq!(viewer.rest().await, ("one".to_owned(), Ending::Aborted));
}

#[tokio::test]
async fn a_redirect_is_the_clients_business() {
    let station = Station::start().await;
    let location = ("location", "https://elsewhere.test/x?y=1");
    for status in [301, 302, 307, 308] {
        station.upstream.script(Script::new().head(status, &[location]).end());
        let viewer = Viewer::of(station.get("/v1/old")).await;
        assert_eq!((viewer.status(), viewer.header("location")), (status, Some(location.1)));
    }
    assert_eq!(station.upstream.count(), 4);
}

#[tokio::test]
async fn every_method_is_passed_on_with_its_path_query_and_body() {
    let station = Station::start().await;
    for (number, method) in
        ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"].into_iter().enumerate()
    {
        station.upstream.script(Script::whole(200, "text/plain", method));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let target = "/v1/a%2Fb/%C3%BC?x=1&x=2&y=%26&z";
        let request = station.request(method.clone(), target).body("{ \"as\": \"it is\" }");
        assert_eq!(Answer::of(request).await.body, method.as_str());
        let asked = station.upstream.asked(number).await;
        assert_eq!((asked.method.as_str(), asked.target.as_str()), (method.as_str(), target));
        assert_eq!(asked.body().await, b"{ \"as\": \"it is\" }");
        assert_eq!(asked.header("host"), [station.upstream.authority()]);
    }
    // The prefix itself.
    station.upstream.script(Script::whole(200, "text/plain", ""));
    Viewer::of(station.get("/v1")).await;
    assert_eq!(station.upstream.asked(7).await.target, "/v1");
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let station = Station::start().await;
    station.upstream.script(Script::new().head(204, &[("x-a", "1")]).end());
    let viewer = Viewer::of(station.request(Method::DELETE, "/v1/thing")).await;
    assert_eq!((viewer.status(), viewer.header("x-a")), (204, Some("1")));
    assert_eq!(viewer.whole().await, "");
    for content_type in ["text/plain", "text/event-stream"] {
        let headers = [("content-length", "12"), ("content-type", content_type)];
        station.upstream.script(Script::new().head(200, &headers).end());
        let viewer = Viewer::of(station.request(Method::HEAD, "/v1/thing")).await;
        assert_eq!((viewer.status(), viewer.header("content-length")), (200, Some("12")));
        assert_eq!(viewer.header("longwave-stream"), None);
        assert_eq!(viewer.whole().await, "");
    }
}

#[tokio::test]
async fn an_upload_is_passed_on_while_it_comes() {
    let station = Station::start().await;
    station.upstream.script(Script::whole(200, "text/plain", "thanks"));
    let mut client = RawClient::connect(station.server.addr).await;
    client.begin_chunked("/v1/files", "content-type: application/octet-stream\r\n").await;
    let piece = "x".repeat(64 * 1024);
    for count in 1..=20 {
        client.send_chunk(&piece).await;
        station.upstream.asked(0).await.has_body_bytes(count * piece.len()).await;
    }
    client.end_chunks().await;
    assert_eq!(client.answer().await.unwrap().body, "thanks");
    assert_eq!(station.upstream.asked(0).await.body().await.len(), 20 * piece.len());
}

#[tokio::test]
async fn an_answer_need_not_wait_for_the_whole_upload() {
    let station = Station::start().await;
    let refusal = Script::whole(413, "text/plain", "enough").early();
    station.upstream.script(refusal);
    let mut client = RawClient::connect(station.server.addr).await;
    client.begin_chunked("/v1/files", "content-type: application/octet-stream\r\n").await;
    client.send_chunk("x").await;
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (413, "enough"));
}

#[tokio::test]
async fn an_upload_larger_than_any_limit_goes_through() {
    let station = Station::with(|http, _| {
        http.gateway.request_bytes_max = 1000;
        http.event_bytes_max = 1000;
    })
    .await;
    station.upstream.script(Script::whole(200, "text/plain", "thanks"));
    let body = "x".repeat(3_000_000);
    let request = station.request(Method::PUT, "/v1/files/1").body(body.clone());
    assert_eq!(Answer::of(request).await.body, "thanks");
    assert!(station.upstream.asked(0).await.body().await == body.as_bytes());
}

#[tokio::test]
async fn a_request_whose_body_must_be_read_may_only_be_so_large() {
    let station = Station::with(|http, _| http.gateway.request_bytes_max = CHAT.len()).await;
    station.upstream.script(Script::whole(200, "text/plain", "ok"));
    assert_eq!(Answer::of(station.chat()).await.status, 200);
    let request = station.post("/v1/chat/completions", "{\"model\":\"m\",\"stream\":false}");
    Answer::of(request).await.problem(413, "body-too-large");
    let keyed = station.request(Method::POST, "/v1/x").header("idempotency-key", "k");
    Answer::of(keyed.body("x".repeat(100))).await.problem(413, "body-too-large");
    assert_eq!(station.upstream.count(), 1);
}

#[tokio::test]
async fn headers_of_one_connection_and_of_the_gateway_stay_behind() {
    let station = Station::with(|_, route| {
        route.add_headers = vec![
            (HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer ours")),
            (HeaderName::from_static("x-added"), HeaderValue::from_static("yes")),
        ];
        route.strip_headers = vec![HeaderName::from_static("cookie")];
    })
    .await;
    let head = Script::new()
        .head(200, &[("keep-alive", "timeout=5"), ("x-kept", "1"), ("longwave-end", "forged")]);
    station.upstream.script(head.send("ok").end());
    let request = station
        .get("/v1/x")
        .header("authorization", "Bearer theirs")
        .header("cookie", "a=1")
        .header("connection", "close, x-hop")
        .header("x-hop", "1")
        .header("te", "trailers")
        .header("proxy-authorization", "Basic x")
        .header("longwave-disconnect", "continue")
        .header("x-client", "1")
        .header("user-agent", "test");
    let viewer = Viewer::of(request).await;
    assert_eq!(viewer.header("x-kept"), Some("1"));
    for name in ["keep-alive", "longwave-end"] {
        assert_eq!(viewer.header(name), None, "{name}");
    }
    assert_eq!(viewer.whole().await, "ok");
    let asked = station.upstream.asked(0).await;
    assert_eq!(asked.header("authorization"), ["Bearer ours"]);
    assert_eq!(asked.header("x-added"), ["yes"]);
    assert_eq!(asked.header("x-client"), ["1"]);
    assert_eq!(asked.header("user-agent"), ["test"]);
    for name in ["cookie", "x-hop", "te", "proxy-authorization", "longwave-disconnect"] {
        assert!(asked.header(name).is_empty(), "{name}");
    }
    assert!(asked.header("connection").iter().all(|value| !value.contains("x-hop")));
}

#[tokio::test]
async fn only_what_is_allowed_is_passed_on() {
    let station = Station::with(|_, route| {
        route.allow = ["POST /chat/completions", "/models", "/files/**"]
            .map(|rule| AllowRule::parse(rule).unwrap())
            .to_vec();
    })
    .await;
    for (method, path, is_allowed) in [
        (Method::POST, "/v1/chat/completions", true),
        (Method::GET, "/v1/chat/completions", false),
        (Method::GET, "/v1/models", true),
        (Method::GET, "/v1/models/a", false),
        (Method::DELETE, "/v1/files/a/b", true),
        (Method::GET, "/v1/modelsx", false),
        (Method::GET, "/v1/models/../embeddings", false),
        (Method::GET, "/v1/files/%2e%2e/embeddings", false),
        (Method::GET, "/v1/files/..", false),
        (Method::GET, "/v1/files/a\\..\\..\\embeddings", false),
        (Method::GET, "/v1", false),
    ] {
        station.upstream.script(Script::whole(200, "text/plain", "ok"));
        // Written by hand, since clients resolve the dots in a path by themselves.
        let mut client = RawClient::connect(station.server.addr).await;
        client
            .send(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
            .await;
        let answer = client.answer().await.unwrap();
        match is_allowed {
            true => assert_eq!(answer.status, 200, "{path}: {answer:?}"),
            false => drop(answer.problem(403, "request-forbidden")),
        }
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_connections_is_a_bad_gateway() {
    let nowhere = Nowhere::new();
    let station = Station::with(|_, route| {
        route.upstream = nowhere.url("/secret").parse().unwrap();
    })
    .await;
    let answer = Answer::of(station.chat()).await;
    let problem = answer.problem(502, "upstream-unreachable");
    assert_eq!(problem["error"]["message"], problem["detail"]);
    assert!(!problem.to_string().contains("secret"), "{problem}");
    assert!(!problem.to_string().contains("127.0.0.1"), "{problem}");
}

#[tokio::test]
async fn a_path_outside_all_routes_names_the_prefixes_that_there_are() {
    let station = Station::start().await;
    let answer = Answer::of(station.request(Method::POST, "/chat/completions").body(CHAT)).await;
    let problem = answer.problem(404, "route-not-found");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.ends_with("the gateway passes on what is under /v1"), "{detail}");
    assert_eq!(problem["error"]["message"], detail);
    assert_eq!(problem["error"]["code"], "route-not-found");
}

#[tokio::test]
async fn an_upstream_that_closes_instead_of_answering_is_a_bad_gateway() {
    let station = Station::start().await;
    station.upstream.script(Script::new().cut());
    Answer::of(station.chat()).await.problem(502, "upstream-unreachable");
}

#[tokio::test]
async fn an_upstream_that_is_silent_is_a_gateway_timeout() {
    let station = Station::with(|_, route| route.first_byte_timeout_ms = 500).await;
    station.upstream.script(Script::new().hang());
    Answer::of(station.chat()).await.problem(504, "upstream-timeout");
    station.upstream.asked(0).await.hung_up().await;
    // A head alone is not what was waited for.
    station.upstream.script(Script::sse().hang());
    Answer::of(station.chat()).await.problem(504, "upstream-timeout");
    station.upstream.asked(1).await.hung_up().await;
}

#[tokio::test]
async fn upstream_hears_that_the_client_of_an_ordinary_request_is_gone() {
    let station = Station::start().await;
    for (script, has_begun) in [
        (Script::new().hang(), false),
        (Script::new().head(200, &[("content-type", "text/plain")]).send("one").hang(), true),
    ] {
        let number = station.upstream.count();
        station.upstream.script(script);
        let mut client = RawClient::connect(station.server.addr).await;
        client.send(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let asked = station.upstream.asked(number).await;
        if has_begun {
            client.until("one").await;
        }
        assert!(asked.is_connected());
        drop(client);
        asked.hung_up().await;
    }
}

#[tokio::test]
async fn compressed_streams_are_recorded_and_relayed_plain() {
    let station = Station::start().await;
    let sent = [word("a"), word("b"), DONE.to_owned()].concat();
    for (encoding, body) in [("gzip", gzip(sent.as_bytes())), ("deflate", zlib(sent.as_bytes()))] {
        let headers = [("content-type", "text/event-stream"), ("content-encoding", encoding)];
        for size in [1, 1000] {
            let script = Script::new().head(200, &headers);
            let viewer = station.stream(script.send_in_pieces_of(size, &body).end()).await;
            assert_eq!(viewer.header("content-encoding"), None);
            let (id, path) = (viewer.id(), viewer.path());
            let body = viewer.whole().await;
            assert_eq!(super::without_ids(&id, &body).0, sent);
            assert_eq!(Viewer::of(station.get(&path)).await.whole().await, body);
        }
    }
    // What came before the compressed bytes made no sense any more counts.
    let mut broken = gzip(sent.as_bytes());
    broken.truncate(broken.len() - 8);
    broken.extend_from_slice(b"nonsense");
    let headers = [("content-type", "text/event-stream"), ("content-encoding", "gzip")];
    let viewer = station.stream(Script::new().head(200, &headers).send(broken).end()).await;
    assert_eq!(super::without_ids(&viewer.id(), &viewer.whole().await).0, sent);
}

#[tokio::test]
async fn a_compressed_event_is_seen_before_the_next_one_comes() {
    let station = Station::start().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(word("a").as_bytes()).unwrap();
    encoder.flush().unwrap();
    let first = std::mem::take(encoder.get_mut());
    encoder.write_all(DONE.as_bytes()).unwrap();
    let rest = encoder.finish().unwrap();
    let headers = [("content-type", "text/event-stream"), ("content-encoding", "gzip")];
    let script = Script::new().head(200, &headers).send(first).wait("go").send(rest).end();
    let mut viewer = station.stream(script).await;
    viewer.until("\n\n").await;
    station.upstream.say("go");
    assert!(viewer.whole().await.starts_with("data: [DONE]\n"));
}

#[tokio::test]
async fn a_compression_that_cannot_be_undone_is_refused() {
    let station = Station::start().await;
    let headers = [("content-type", "text/event-stream"), ("content-encoding", "br")];
    station.upstream.script(Script::new().head(200, &headers).send("?").hang());
    Answer::of(station.chat()).await.problem(502, "upstream-invalid");
    station.upstream.asked(0).await.hung_up().await;
    let asked = station.upstream.asked(0).await;
    assert_eq!(asked.header("accept-encoding"), ["identity"]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_client_of_http2_is_served_as_any_other() {
    let station = Station::start().await;
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/v1/chat/completions", station.server.addr);
    let ask = || {
        let request = http2.post(&url).header("content-type", "application/json").body(CHAT);
        // A browser sends each cookie in a header of its own.
        request.header("cookie", "a=1").header("cookie", "b=2")
    };
    station.upstream.script(Script::sse().send(word("a")).send(DONE).end());
    let viewer = Viewer::of(ask()).await;
    assert_eq!(viewer.response.version(), reqwest::Version::HTTP_2);
    assert!(viewer.whole().await.contains("[DONE]"));
    assert_eq!(station.upstream.asked(0).await.header("cookie"), ["a=1; b=2"]);
    station.upstream.script(Script::sse().send("data: x\n\n").wait("cut").cut());
    let events = http2.get(format!("http://{}/v1/ticks", station.server.addr));
    let mut viewer = Viewer::of(events).await;
    viewer.until("\n\n").await;
    station.upstream.say("cut");
    assert_eq!(viewer.rest().await.1, Ending::Aborted);
    station.upstream.script(Script::whole(200, "application/json", "{}"));
    assert_eq!(Viewer::of(ask()).await.whole().await, "{}");
}

#[tokio::test]
async fn a_streams_answer_has_upstreams_headers_in_any_script_and_number() {
    let station = Station::start().await;
    let names: Vec<String> = (0..80).map(|number| format!("x-many-{number}")).collect();
    let value = "v".repeat(1000);
    let many = names.iter().map(|name| (name.as_str(), value.as_str()));
    let headers = [("content-type", "text/event-stream"), ("x-city", "Z\u{fc}rich")];
    let headers: Vec<_> = headers.into_iter().chain(many).collect();
    station.upstream.script(Script::new().head(200, &headers).send(word("a")).send(DONE).end());
    let viewer = Viewer::of(station.chat()).await;
    let path = viewer.path();
    let replay = Viewer::of(station.get(&path)).await;
    for viewer in [viewer, replay] {
        assert_eq!(viewer.headers()["x-city"].as_bytes(), "Z\u{fc}rich".as_bytes());
        assert!(names.iter().all(|name| viewer.header(name) == Some(&value)));
        assert!(viewer.whole().await.contains("[DONE]"));
    }
}

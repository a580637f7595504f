//! Which pages may talk to the server, and under which names.

use longwave::gateway::RouteOptions;
use longwave::http::{HostNames, HttpOptions, Origins};
use reqwest::Method;

use crate::support::{Answer, TestServer};

async fn from_page(server: &TestServer, method: Method, path: &str, origin: &str) -> Answer {
    Answer::of(server.request(method, path).header("origin", origin).body("x")).await
}

async fn preflight(server: &TestServer, origin: &str) -> Answer {
    let headers = "content-type,idempotency-key,last-event-id,if-match,event-type";
    preflight_of(server, "/topics/t", origin, "POST", headers).await
}

async fn preflight_of(
    server: &TestServer,
    path: &str,
    origin: &str,
    method: &str,
    headers: &str,
) -> Answer {
    let request = server
        .request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers);
    Answer::of(request).await
}

#[tokio::test]
async fn a_page_of_this_machine_may_publish_and_read_the_answer() {
    let server = TestServer::start().await;
    let origin = "http://localhost:5173";
    let answer = from_page(&server, Method::POST, "/topics/t", origin).await;
    answer.ok(201);
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for header in ["etag", "longwave-duplicate", "longwave-last-id", "longwave-cursor"] {
        assert!(exposed.contains(header), "{exposed}");
    }
    let answer = preflight(&server, origin).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    let headers = answer.header("access-control-allow-headers").unwrap();
    for header in ["last-event-id", "idempotency-key", "if-match", "event-type", "content-type"] {
        assert!(headers.contains(header), "{headers}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_page_may_send_through_the_gateway_what_upstreams_sdk_sends() {
    let server = TestServer::with(|http| {
        let route = RouteOptions::new("/v1", "http://127.0.0.1:9/v1").unwrap();
        http.gateway.routes.push(route);
    })
    .await;
    let sent = "authorization,x-api-key,anthropic-version,anthropic-dangerous-direct-browser-access,\
                x-stainless-retry-count,longwave-disconnect,content-type";
    for (path, method) in
        [("/v1/messages", "POST"), ("/v1/files/a", "PATCH"), ("/streams/a", "DELETE")]
    {
        let answer = preflight_of(&server, path, "http://localhost:1", method, sent).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:1"));
        assert_eq!(answer.header("access-control-allow-methods"), Some(method));
        assert_eq!(answer.header("access-control-allow-headers"), Some(sent));
        let refused = preflight_of(&server, path, "https://evil.example", method, sent).await;
        refused.problem(403, "origin-forbidden");
    }
    let answer = from_page(&server, Method::GET, "/streams", "http://localhost:1").await;
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for header in ["longwave-stream", "longwave-end", "location", "link", "x-request-id"] {
        assert!(exposed.contains(header), "{exposed}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_page_of_another_site_can_not_publish_to_somebodys_localhost() {
    let server = TestServer::start().await;
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
    ] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::GET] {
            let answer = from_page(&server, method, "/topics/t", origin).await;
            answer.problem(403, "origin-forbidden");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        assert_eq!(preflight(&server, origin).await.header("access-control-allow-origin"), None);
    }
    assert!(server.told("t").await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn the_sites_in_the_settings_may_use_the_server_and_no_others() {
    let list = |options: &mut HttpOptions| {
        options.origins = Origins::List(vec!["https://app.example".to_owned()]);
    };
    let server = TestServer::with(list).await;
    let answer = from_page(&server, Method::POST, "/topics/t", "https://app.example").await;
    answer.ok(201);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    from_page(&server, Method::POST, "/topics/t", "http://localhost:1")
        .await
        .problem(403, "origin-forbidden");
    // A page that the server itself gave, under whatever name it was asked for.
    let own = format!("http://{}", server.addr);
    from_page(&server, Method::POST, "/topics/t", &own).await.ok(201);
    server.shutdown().await;

    let server = TestServer::with(|options| options.origins = Origins::Any).await;
    let answer = from_page(&server, Method::POST, "/topics/t", "https://any.example").await;
    answer.ok(201);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    server.shutdown().await;
}

#[tokio::test]
async fn a_name_that_somebody_pointed_at_loopback_is_not_answered_for() {
    let server = TestServer::start().await;
    let with_host = |host: &'static str| {
        Answer::of(server.request(Method::POST, "/topics/t").header("host", host).body("x"))
    };
    with_host("evil.example:4480").await.problem(403, "host-forbidden");
    with_host("localhost:4480").await.ok(201);
    with_host("[::1]:4480").await.ok(201);
    server.shutdown().await;

    let named = |options: &mut HttpOptions| {
        options.hosts = HostNames::List(vec!["stream.example".to_owned()]);
    };
    let server = TestServer::with(named).await;
    let request = server.request(Method::POST, "/topics/t").header("host", "stream.example");
    Answer::of(request.body("x")).await.ok(201);
    let request = server.request(Method::POST, "/topics/t").header("host", "evil.example");
    Answer::of(request.body("x")).await.problem(403, "host-forbidden");
    server.shutdown().await;
}

#[tokio::test]
async fn only_pages_are_told_what_pages_may_do_and_caches_are_told_why() {
    for origins in [Origins::Loopback, Origins::Any] {
        let server = TestServer::with(|options| options.origins = origins).await;
        let varies = |answer: &Answer| {
            let vary = answer.headers.get_all("vary").iter();
            vary.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let plain = server.get("/topics/t").await;
        let cors = plain.headers.keys().find(|name| name.as_str().starts_with("access-control"));
        assert_eq!(cors, None);
        let page = from_page(&server, Method::GET, "/topics/t", "http://localhost:1").await;
        assert!(page.header("access-control-allow-origin").is_some());
        assert!(page.header("access-control-expose-headers").is_some());
        for answer in [&plain, &page] {
            let mut vary = varies(answer);
            vary.sort();
            assert_eq!(vary, ["Accept", "origin"]);
        }
        assert_eq!(varies(&preflight(&server, "http://localhost:1").await), ["origin"]);
        server.shutdown().await;
    }
    let server = TestServer::start().await;
    let refused = from_page(&server, Method::GET, "/topics/t", "https://evil.example").await;
    refused.problem(403, "origin-forbidden");
    assert_eq!(refused.header("vary"), Some("origin"));
    server.shutdown().await;
}

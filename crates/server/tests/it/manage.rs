//! Settings, information, deletion, lists.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, TestServer};

#[tokio::test]
async fn settings_are_answered_in_their_canonical_spelling() {
    let server = TestServer::start().await;
    let body = r#"{"max_age":"24h","max_events":1000,"max_bytes":"64MiB","ttl":600,"durability":"memory"}"#;
    let created = server.put("/topics/orders/42", body).await.ok(201);
    assert_eq!(
        created,
        json!({
            "topic": "orders/42",
            "first": null,
            "last": null,
            "events": 0,
            "bytes": 0,
            "subscribers": 0,
            "end": null,
            "settings": {
                "max_age": "1d",
                "max_events": 1000,
                "max_bytes": 67_108_864,
                "ttl": "10m",
                "durability": "memory",
            },
        })
    );
    // What is left out is no longer set.
    let replaced = server.put("/topics/orders/42", r#"{"max_events":5}"#).await.ok(200);
    assert_eq!(
        replaced["settings"],
        json!({ "max_age": null, "max_events": 5, "max_bytes": null, "ttl": null, "durability": "disk" })
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_topic_can_be_created_without_settings() {
    let server = TestServer::start().await;
    server.put("/topics/a", "").await.ok(201);
    server.put("/topics/a", "{}").await.ok(200);
    assert_eq!(server.get("/topics/a?info").await.ok(200)["settings"]["durability"], "disk");
    server.shutdown().await;
}

#[tokio::test]
async fn wrong_settings_change_nothing() {
    let server = TestServer::start().await;
    server.put("/topics/a", r#"{"max_events":7}"#).await.ok(201);
    for body in [
        "{",
        "[]",
        r#"{"max_events":0}"#,
        r#"{"max_events":-1}"#,
        r#"{"max_age":"tomorrow"}"#,
        r#"{"max_bytes":"1.5GB"}"#,
        r#"{"durability":"tape"}"#,
        r#"{"retention":"1h"}"#,
        r#"{"max_events":99999999999999999999}"#,
    ] {
        server.put("/topics/a", body).await.problem(400, "config-invalid");
    }
    server.put("/topics/a", "x".repeat(70_000)).await.problem(413, "body-too-large");
    let text = server.request(Method::PUT, "/topics/a").header("content-type", "text/plain");
    Answer::of(text.body("{}")).await.problem(415, "media-type-unsupported");
    server.put("/topics/a?force", "{}").await.problem(400, "parameter-invalid");
    server.put("/topics/$sys", "{}").await.problem(403, "topic-reserved");
    assert_eq!(server.get("/topics/a?info").await.ok(200)["settings"]["max_events"], 7);
    server.shutdown().await;
}

#[tokio::test]
async fn a_topic_tells_about_itself_in_a_body_and_in_headers() {
    let server = TestServer::start().await;
    let first = server.post("/topics/t", "1").await.ok(201);
    let last = server.post("/topics/t?end=error", "2").await.ok(201);
    let info = server.get("/topics/t?info").await.ok(200);
    assert_eq!(info["first"], first["id"]);
    assert_eq!(info["last"], last["end"]);
    assert_eq!(info["events"], 3);
    assert!(info["bytes"].as_u64().unwrap() > 0);
    assert_eq!(info["end"], json!({ "id": last["end"], "time": last["time"], "reason": "error" }));
    assert!(info["settings"].is_null());

    let head = Answer::of(server.request(Method::HEAD, "/topics/t")).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("longwave-first-id"), first["id"].as_str());
    assert_eq!(head.header("longwave-last-id"), last["end"].as_str());
    assert_eq!(head.header("longwave-events"), Some("3"));
    assert_eq!(head.header("longwave-subscribers"), Some("0"));
    assert_eq!(head.header("longwave-end"), Some("error"));
    assert_eq!(Answer::of(server.request(Method::HEAD, "/topics/none")).await.status, 404);
    server.get("/topics/none?info").await.problem(404, "topic-not-found");
    server.get("/topics/t?info&x").await.problem(400, "parameter-invalid");
    server.shutdown().await;
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_starts_anew() {
    let server = TestServer::start().await;
    server.post("/topics/t?end", "1").await.ok(201);
    let gone = Answer::of(server.request(Method::DELETE, "/topics/t")).await;
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    server.get("/topics/t?info").await.problem(404, "topic-not-found");
    Answer::of(server.request(Method::DELETE, "/topics/t")).await.problem(404, "topic-not-found");
    server.post("/topics/t", "2").await.ok(201);
    assert_eq!(server.told("t").await, [":2"]);
    server.shutdown().await;
}

#[tokio::test]
async fn topics_are_listed_page_by_page() {
    let server = TestServer::start().await;
    for topic in ["b", "a/2", "a/1", "a/3", "caf%C3%A9/x"] {
        server.post(&format!("/topics/{topic}"), "x").await.ok(201);
    }
    let names = |list: &serde_json::Value| -> Vec<String> {
        list["topics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["topic"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = server.get("/topics").await.ok(200);
    assert_eq!(names(&all), ["a/1", "a/2", "a/3", "b", "caf%C3%A9/x"]);
    assert!(all["next"].is_null());
    let page = server.get("/topics?prefix=a/&limit=2").await.ok(200);
    assert_eq!(names(&page), ["a/1", "a/2"]);
    assert_eq!(page["next"], "a/2");
    let rest = server.get("/topics?prefix=a/&limit=2&after=a/2").await.ok(200);
    assert_eq!((names(&rest), rest["next"].is_null()), (vec!["a/3".to_owned()], true));
    assert_eq!(names(&server.get("/topics?prefix=caf%C3%A9").await.ok(200)), ["caf%C3%A9/x"]);
    for path in ["/topics?limit=0", "/topics?limit=1001", "/topics?limit=x", "/topics?page=2"] {
        server.get(path).await.problem(400, "parameter-invalid");
    }
    server.get("/topics?after=a//b").await.problem(400, "topic-invalid");
    server.shutdown().await;
}

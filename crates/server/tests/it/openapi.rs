//! The OpenAPI document against the server that it is about.

use std::collections::BTreeSet;

use longwave::http::Code;
use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, TestServer};

const METHODS: [&str; 6] = ["get", "head", "post", "put", "delete", "patch"];

#[tokio::test]
async fn every_documented_operation_is_answered_and_no_other() {
    let server = TestServer::start().await;
    server.post("/topics/t", "x").await.ok(201);
    let document = server.get("/openapi.json").await.ok(200);
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(
        paths.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        longwave::http::route_paths().iter().map(|path| documented_path(path)).collect()
    );
    for (path, operations) in paths {
        let target = path.replace("{topic}", "t");
        for method in METHODS {
            let documented = operations.get(method).is_some()
                // What GET answers, HEAD answers without the body.
                || (method == "head" && operations.get("get").is_some());
            let request = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = Answer::of(server.request(request, &target)).await;
            assert_eq!(answer.status != 405, documented, "{method} {path}: {answer:?}");
        }
    }
    server.shutdown().await;
}

/// A route's pattern as OpenAPI writes it. What is only there to refuse a request well is not documented.
fn documented_path(path: &'static str) -> &'static str {
    match path {
        "/topics/{*topic}" | "/topics/" => "/topics/{topic}",
        "/console/{*path}" => "/console/{path}",
        other => other,
    }
}

#[tokio::test]
async fn pages_are_as_documented() {
    let server = TestServer::start().await;
    server.post("/topics/a?type=greeting", "hello").await.ok(201);
    server.post("/topics/b?end", "last").await.ok(201);
    let document = server.get("/openapi.json").await.ok(200);
    for (target, path) in [
        ("/topics/a", "/topics/{topic}"),
        ("/topics/b", "/topics/{topic}"),
        ("/topics/a?after=00000-7", "/topics/{topic}"),
        ("/events?topic=*", "/events"),
    ] {
        let page = server.get(target).await.ok(200);
        let media = format!("/paths/{}/get/responses/200/content", path.replace('/', "~1"));
        let schema = &document.pointer(&media).unwrap()["application/json"]["schema"];
        assert_eq!(misfits(&document, schema, &page), Vec::<String>::new(), "{target}: {page}");
    }
    server.shutdown().await;
}

/// What of a value is not as its schema says. It knows as much of JSON Schema as the document's own schemas use.
fn misfits(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        return misfits(document, target.unwrap(), value);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().any(|choice| misfits(document, choice, value).is_empty());
        return if fits { vec![] } else { vec![format!("{value} is none of {schema}")] };
    }
    if let Some(properties) = schema["properties"].as_object() {
        let Some(members) = value.as_object() else { return vec![format!("{value} is no object")] };
        let required = schema["required"].as_array().into_iter().flatten();
        let missing = required.filter(|name| !members.contains_key(name.as_str().unwrap()));
        let mut misfits: Vec<_> = missing.map(|name| format!("{name} is missing")).collect();
        for (name, member) in members {
            match properties.get(name) {
                Some(schema) => misfits.extend(self::misfits(document, schema, member)),
                None => misfits.push(format!("{name} is not documented")),
            }
        }
        return misfits;
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        return values.iter().flat_map(|value| misfits(document, items, value)).collect();
    }
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("array") => value.is_array(),
        Some("null") => value.is_null(),
        _ => true,
    };
    if fits { vec![] } else { vec![format!("{value} is not {schema}")] }
}

#[tokio::test]
async fn every_problem_code_is_documented() {
    let server = TestServer::start().await;
    let document = server.get("/openapi.json").await.ok(200);
    let codes = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    let documented: BTreeSet<&str> = codes.iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(documented, Code::ALL.iter().map(|code| code.as_str()).collect());
    server.shutdown().await;
}

#[test]
fn the_protocol_lists_every_code_with_its_status() {
    let protocol = include_str!("../../../../PROTOCOL.md");
    let listed: BTreeSet<(&str, u16)> = protocol
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(code, rest)| Some((code, rest.split_once(" | ")?.0.parse().ok()?)))
        .collect();
    let known = Code::ALL.iter().map(|code| (code.as_str(), code.status().as_u16())).collect();
    assert_eq!(listed, known);
}

#[tokio::test]
async fn every_reference_in_the_document_leads_somewhere() {
    let server = TestServer::start().await;
    let document = server.get("/openapi.json").await.ok(200);
    assert_eq!(document["openapi"].as_str().map(|version| &version[..2]), Some("3."));
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    server.shutdown().await;
}

fn collect_references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "$ref" => found.push(text),
                    _ => collect_references(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

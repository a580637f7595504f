//! Who may read, cancel and list which streams, and what tokens are good for.

use futures_util::{SinkExt as _, StreamExt as _};
use longwave::gateway::{RouteOptions, Secret, Viewers};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{Answer, Script, TestServer, Upstream, within};

/// A gateway with the route `/v1`, and clients that are told apart by their keys.
struct Gate {
    server: TestServer,
    upstream: Upstream,
}

impl Gate {
    async fn with(viewers: Viewers) -> Gate {
        let upstream = Upstream::start().await;
        let server = TestServer::with(|http| {
            let route = RouteOptions::new("/v1", &upstream.url("/v1")).unwrap();
            http.gateway.routes.push(route);
            http.gateway.viewers = viewers;
            http.gateway.secret = Some(Secret::new(&[7; Secret::BYTES]));
        })
        .await;
        Gate { server, upstream }
    }

    fn request(&self, method: &str, path: &str, client: Client) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.server.request(method, path);
        match client {
            Client::Nobody => request,
            Client::Key(key) => request.bearer_auth(key),
        }
    }

    async fn ask(&self, method: &str, path: &str, client: Client) -> Answer {
        Answer::of(self.request(method, path, client)).await
    }

    async fn get(&self, path: &str, client: Client) -> Answer {
        self.ask("GET", path, client).await
    }

    /// Asks for a stream, and gives its path.
    async fn stream(&self, script: Script, client: Client) -> String {
        self.upstream.script(script);
        let request = self.request("POST", "/v1/chat/completions", client);
        let response = within(json_body(request, r#"{"stream":true}"#).send()).await.unwrap();
        assert_eq!(response.status(), 200);
        let path = response.headers()["longwave-stream"].to_str().unwrap().to_owned();
        // The client goes, and the stream goes on.
        drop(response);
        path
    }

    async fn finished(&self, client: Client) -> String {
        let path = self.stream(chat().end(), client).await;
        self.has_state(&path, "done", client).await;
        path
    }

    async fn has_state(&self, path: &str, state: &str, client: Client) {
        let info = format!("{path}?info");
        crate::support::eventually(|| async {
            self.get(&info, client).await.ok(200)["state"] == state
        })
        .await;
    }

    /// A token for a stream.
    async fn token(&self, path: &str, body: &'static str, client: Client) -> String {
        let answer = self.mint(path, body, client).await;
        answer.ok(201)["token"].as_str().unwrap().to_owned()
    }

    async fn mint(&self, path: &str, body: &'static str, client: Client) -> Answer {
        let request = self.request("POST", &format!("{path}/tokens"), client);
        Answer::of(json_body(request, body)).await
    }

    /// The paths in a list, and where it goes on.
    async fn list(&self, query: &str, client: Client) -> (Vec<String>, Option<String>) {
        let list = self.get(&format!("/streams{query}"), client).await.ok(200);
        let urls = list["streams"].as_array().unwrap().iter();
        let urls = urls.map(|stream| stream["url"].as_str().unwrap().to_owned()).collect();
        (urls, list["next"].as_str().map(str::to_owned))
    }
}

#[derive(Clone, Copy)]
enum Client {
    Nobody,
    Key(&'static str),
}

const ALICE: Client = Client::Key("sk-alice");
const BOB: Client = Client::Key("sk-bob");

fn json_body(request: RequestBuilder, body: &'static str) -> RequestBuilder {
    request.header("content-type", "application/json").body(body)
}

/// An answer up to its end, in the dialect of chat completions.
fn chat() -> Script {
    let chunk = r#"{"object":"chat.completion.chunk","model":"m-1","choices":[{"delta":{"content":"hi"}}]}"#;
    let usage = r#"{"object":"chat.completion.chunk","model":"m-1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    Script::sse().send(format!("data: {chunk}\n\ndata: {usage}\n\ndata: [DONE]\n\n"))
}

/// An answer that goes on until somebody stops it.
fn endless() -> Script {
    let chunk = r#"{"object":"chat.completion.chunk","choices":[{"delta":{"content":"hi"}}]}"#;
    Script::sse().send(format!("data: {chunk}\n\n")).hang()
}

fn id_of(path: &str) -> &str {
    path.strip_prefix("/streams/").unwrap()
}

#[tokio::test]
async fn who_knows_an_id_may_read_and_cancel_unless_it_is_forbidden() {
    let gate = Gate::with(Viewers::Open).await;
    let path = gate.stream(endless(), ALICE).await;
    gate.ask("POST", &format!("{path}/cancel"), Client::Nobody).await.ok(200);
    let read = gate.get(&path, Client::Nobody).await;
    assert!(read.body.contains("hi"), "{read:?}");
    let topic = gate.get(&format!("/topics{path}?format=json"), Client::Nobody).await;
    assert_eq!(topic.ok(200)["end"]["reason"], "cancelled");
    assert_eq!(gate.list("", Client::Nobody).await.0, std::slice::from_ref(&path));
    gate.get("/events?topic=streams/*&format=json", Client::Nobody).await.ok(200);
    gate.server.shutdown().await;
}

#[tokio::test]
async fn where_tokens_are_asked_for_only_the_owner_and_a_token_get_in() {
    let gate = Gate::with(Viewers::Token).await;
    let path = gate.finished(ALICE).await;
    let token = gate.token(&path, "", ALICE).await;
    let reads = [
        path.clone(),
        format!("{path}?info"),
        format!("/topics{path}?format=json"),
        format!("/topics{path}?format=ndjson&after=first"),
        format!("/topics{path}?format=sse&after=first"),
        format!("/topics{path}?info"),
        format!("/events?topic=streams/{}&format=json", id_of(&path)),
    ];
    for read in &reads {
        gate.get(read, ALICE).await.ok_status(200);
        for stranger in [BOB, Client::Nobody] {
            let answer = gate.get(read, stranger).await;
            let problem = answer.problem(403, "right-missing");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(&format!("POST {path}/tokens")), "{detail}");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer "));
        }
        let separator = if read.contains('?') { '&' } else { '?' };
        let by_url = format!("{read}{separator}token={token}");
        gate.get(&by_url, Client::Nobody).await.ok_status(200);
        let by_header = gate.request("GET", read, Client::Nobody).bearer_auth(&token);
        Answer::of(by_header).await.ok_status(200);
        let in_the_keys_place =
            gate.request("GET", read, Client::Nobody).header("x-api-key", &token);
        Answer::of(in_the_keys_place).await.ok_status(200);
    }
    let topic = format!("/topics{path}");
    gate.ask("HEAD", &topic, ALICE).await.ok_status(200);
    gate.ask("HEAD", &topic, BOB).await.ok_status(403);
    gate.ask("HEAD", &format!("{topic}?token={token}"), BOB).await.ok_status(200);
    // What is no stream is nobody's.
    gate.get("/streams/AAAAAAAAAAAAAAAAAAAAAA", ALICE).await.problem(404, "stream-not-found");
    gate.get("/topics/streams/other?format=json", ALICE).await.problem(404, "stream-not-found");
    // And all other topics are as they were.
    gate.server.post("/topics/t", "x").await.ok(201);
    gate.get("/topics/t?format=json", BOB).await.ok(200);
    gate.get("/events?topic=t&topic=a/**&format=json", BOB).await.ok(200);
    gate.server.shutdown().await;
}

#[tokio::test]
async fn a_token_is_good_for_its_stream_and_its_rights_alone() {
    for viewers in [Viewers::Open, Viewers::Token] {
        let gate = Gate::with(viewers).await;
        let path = gate.stream(endless(), ALICE).await;
        let other = gate.finished(ALICE).await;
        let read = gate.token(&path, r#"{"rights":["read"]}"#, ALICE).await;
        let cancel = gate.token(&path, r#"{"rights":["cancel"],"ttl":60}"#, ALICE).await;
        let with = |path: &str, token: &str| format!("{path}?token={token}");
        for (method, target) in [
            ("GET", with(&other, &read)),
            ("GET", with(&format!("/topics{other}"), &read)),
            ("GET", with(&path, &cancel)),
            ("DELETE", with(&path, &read)),
            ("POST", with(&format!("{path}/cancel"), &read)),
            ("DELETE", with(&format!("/topics{path}"), &read)),
            ("POST", with(&format!("{path}/tokens"), &read)),
            ("GET", with("/streams", &read)),
            ("GET", format!("/events?topic=streams/*&token={read}&format=json")),
            ("GET", format!("/events?topic=**&token={read}&format=json")),
        ] {
            let answer = gate.ask(method, &target, Client::Nobody).await;
            answer.problem(403, "right-missing");
            // Whoever shows a token has what it gives, and no more.
            gate.ask(method, &target, ALICE).await.problem(403, "right-missing");
        }
        let state = gate.get(&format!("{path}?info"), ALICE).await.ok(200)["state"].clone();
        assert_eq!(state, "running");
        let two = gate.token(&other, "", ALICE).await;
        let both = format!(
            "/events?topic=streams/{}&topic=streams/{}&token={read}&token={two}&format=json",
            id_of(&path),
            id_of(&other)
        );
        gate.get(&both, Client::Nobody).await.ok(200);
        let cancelled = gate.ask("DELETE", &with(&path, &cancel), Client::Nobody).await;
        assert_eq!(cancelled.ok(200)["state"], "cancelled");
        gate.ask("DELETE", &with(&format!("/topics{path}"), &cancel), Client::Nobody)
            .await
            .ok_status(204);
        gate.server.shutdown().await;
    }
}

#[tokio::test]
async fn a_token_that_is_forged_or_of_another_server_is_refused_everywhere() {
    let gate = Gate::with(Viewers::Open).await;
    let path = gate.finished(ALICE).await;
    let token = gate.token(&path, "", ALICE).await;
    let forged = format!("{}A", &token[..token.len() - 1]);
    let forged = if forged == token { format!("{}E", &token[..token.len() - 1]) } else { forged };
    for bad in [&forged, "lwv_", "sk-1"] {
        for target in [
            format!("{path}?token={bad}"),
            format!("{path}?info&token={bad}"),
            format!("/topics{path}?token={bad}"),
            format!("/events?topic=t&token={bad}"),
        ] {
            let answer = gate.get(&target, Client::Nobody).await;
            answer.problem(401, "token-invalid");
            assert!(!answer.body.contains(bad), "{answer:?}");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        }
    }
    let asked = gate.request("POST", "/v1/chat/completions", Client::Nobody).bearer_auth(&forged);
    Answer::of(json_body(asked, "{}")).await.problem(401, "token-invalid");
    assert_eq!(gate.upstream.count(), 1);
    gate.server.shutdown().await;
}

#[tokio::test]
async fn a_token_ends_when_it_says_so() {
    let gate = Gate::with(Viewers::Token).await;
    let path = gate.finished(ALICE).await;
    let answer = gate.mint(&path, r#"{"rights":["read","cancel"],"ttl":"1s"}"#, ALICE).await;
    let document = answer.ok(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(document["rights"], json!(["read", "cancel"]));
    let url = document["url"].as_str().unwrap();
    assert_eq!(url, format!("{path}?token={}", document["token"].as_str().unwrap()));
    assert!(document["expires"].as_str().unwrap().ends_with('Z'));
    crate::support::eventually(|| async { gate.get(url, Client::Nobody).await.status == 401 })
        .await;
    let answer = gate.get(url, Client::Nobody).await;
    answer.problem(401, "token-expired");
    assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
    gate.server.shutdown().await;
}

#[tokio::test]
async fn only_the_owner_makes_tokens_and_wrong_wishes_are_named() {
    let gate = Gate::with(Viewers::Token).await;
    let path = gate.finished(ALICE).await;
    for stranger in [BOB, Client::Nobody] {
        gate.mint(&path, "", stranger).await.problem(403, "right-missing");
    }
    for (body, code) in [
        (r#"{"rights":["write"]}"#, "token-request-invalid"),
        (r#"{"ttl":"8d"}"#, "token-request-invalid"),
        (r#"{"scope":"read"}"#, "token-request-invalid"),
        ("{", "json-invalid"),
    ] {
        gate.mint(&path, body, ALICE).await.problem(400, code);
    }
    let unknown = "/streams/AAAAAAAAAAAAAAAAAAAAAA";
    gate.mint(unknown, "", ALICE).await.problem(404, "stream-not-found");
    gate.server.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_was_begun_without_credentials_is_nobodys() {
    let gate = Gate::with(Viewers::Token).await;
    let path = gate.stream(chat().end(), Client::Nobody).await;
    for client in [Client::Nobody, ALICE] {
        let problem = gate.get(&path, client).await.problem(403, "right-missing");
        assert!(problem["detail"].as_str().unwrap().contains("authorization"));
        gate.mint(&path, "", client).await.problem(403, "right-missing");
    }
    gate.server.shutdown().await;
}

#[tokio::test]
async fn a_stream_is_resumed_and_joined_by_who_began_it_or_a_token() {
    let gate = Gate::with(Viewers::Token).await;
    let events = "/v1/events?a=1";
    gate.upstream.script(chat().end());
    let first = gate.get(events, ALICE).await;
    let path = first.header("longwave-stream").unwrap().to_owned();
    let last_id = first.body.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let token = gate.token(&path, "", ALICE).await;
    let resume = |target: &str, client| {
        Answer::of(gate.request("GET", target, client).header("last-event-id", last_id))
    };
    resume(events, ALICE).await.ok_status(200);
    resume(events, BOB).await.problem(403, "right-missing");
    resume(&format!("{events}&token={token}"), Client::Nobody).await.ok_status(200);
    resume(&format!("/v1/events?token={token}&a=1"), BOB).await.ok_status(200);
    let other = gate.finished(ALICE).await;
    let others = gate.token(&other, "", ALICE).await;
    resume(&format!("{events}&token={others}"), ALICE).await.problem(403, "right-missing");

    let keyed = |client| {
        let request = gate.request("POST", "/v1/chat/completions", client);
        Answer::of(json_body(request.header("idempotency-key", "k"), r#"{"stream":true}"#))
    };
    for client in [ALICE, BOB] {
        gate.upstream.script(chat().end());
        let begun = keyed(client).await;
        let joined = keyed(client).await;
        assert_eq!(joined.body, begun.body);
        assert_eq!(joined.header("longwave-duplicate"), Some("true"));
    }
    // Without credentials, two who use one key may be two clients.
    gate.upstream.script(chat().end());
    keyed(Client::Nobody).await.ok_status(200);
    keyed(Client::Nobody).await.problem(403, "right-missing");
    assert_eq!(gate.upstream.count(), 5);
    gate.server.shutdown().await;
}

/// A response that goes on until somebody stops it.
fn response() -> Script {
    let created = r#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress"},"sequence_number":0}"#;
    let delta = r#"{"type":"response.output_text.delta","delta":"hi","sequence_number":1}"#;
    let events = format!(
        "event: response.created\ndata: {created}\n\nevent: response.output_text.delta\ndata: {delta}\n\n"
    );
    Script::sse().send(events).hang()
}

#[tokio::test]
async fn a_response_is_retrieved_and_cancelled_by_who_has_the_right() {
    let gate = Gate::with(Viewers::Token).await;
    for client in [Client::Nobody, ALICE] {
        gate.upstream.script(response());
        let asked = gate.request("POST", "/v1/responses", client);
        let begun = within(json_body(asked, r#"{"stream":true}"#).send()).await.unwrap();
        let path = begun.headers()["longwave-stream"].to_str().unwrap().to_owned();
        let retrieved = gate.get("/v1/responses/resp_1", client).await;
        let Client::Key(_) = client else {
            // Another one without credentials would find it as well.
            retrieved.problem(403, "right-missing");
            let cancel = gate.ask("POST", "/v1/responses/resp_1/cancel", client).await;
            cancel.problem(403, "right-missing");
            continue;
        };
        assert_eq!(retrieved.ok(200)["id"], "resp_1");
        let read = gate.token(&path, "", client).await;
        let cancel = format!("/v1/responses/resp_1/cancel?token={read}");
        gate.ask("POST", &cancel, client).await.problem(403, "right-missing");
        let cancelled = gate.ask("POST", "/v1/responses/resp_1/cancel", client).await;
        assert_eq!(cancelled.ok(200)["status"], "cancelled");
    }
    gate.server.shutdown().await;
}

#[tokio::test]
async fn no_token_is_sent_upstream_or_recorded() {
    let gate = Gate::with(Viewers::Open).await;
    let path = gate.finished(ALICE).await;
    let token = gate.token(&path, "", ALICE).await;
    gate.upstream.script(chat().end());
    let target = format!("/v1/chat/completions?token={token}&a=1&token=upstreams");
    let request = gate.request("POST", &target, Client::Nobody).bearer_auth(&token);
    let answer = Answer::of(json_body(request.header("x-api-key", &token), "{}")).await;
    let asked = gate.upstream.asked(1).await;
    assert_eq!(asked.target, "/v1/chat/completions?a=1&token=upstreams");
    assert_eq!(asked.header("authorization"), Vec::<&str>::new());
    assert_eq!(asked.header("x-api-key"), Vec::<&str>::new());
    let stream = answer.header("longwave-stream").unwrap();
    let info = gate.get(&format!("{stream}?info"), Client::Nobody).await.ok(200);
    assert_eq!(info["request"], "POST /v1/chat/completions");
    let told = gate.server.told(&stream[1..]).await;
    assert!(told.iter().all(|event| !event.contains("lwv_")), "{told:?}");
    gate.server.shutdown().await;
}

/// A WebSocket that has shaken hands; or the problem that it was refused with.
async fn handshake(
    gate: &Gate,
    target: &str,
) -> Result<
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
    Value,
> {
    let url = format!("ws://{}{target}", gate.server.addr);
    match within(tokio_tungstenite::connect_async(url)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            Err(serde_json::from_slice(response.body().as_ref().unwrap()).unwrap())
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_websocket_follows_no_stream_that_its_handshake_gives_no_right_to() {
    let gate = Gate::with(Viewers::Token).await;
    let path = gate.finished(ALICE).await;
    let other = gate.finished(ALICE).await;
    let token = gate.token(&path, "", ALICE).await;
    let topic = format!("/topics{path}");
    assert_eq!(handshake(&gate, &topic).await.unwrap_err()["code"], "right-missing");
    handshake(&gate, &format!("{topic}?token={token}&after=first")).await.unwrap();

    let mut socket = handshake(&gate, &format!("/events?token={token}")).await.unwrap();
    for (selector, code) in [
        (format!("streams/{}", id_of(&other)), Some("right-missing")),
        ("streams/*".to_owned(), Some("right-missing")),
        ("**".to_owned(), Some("right-missing")),
        ("t".to_owned(), None),
        (format!("streams/{}", id_of(&path)), None),
    ] {
        let wish = json!({"op": "subscribe", "topic": selector, "after": "first", "ref": 1});
        within(socket.send(Message::text(wish.to_string()))).await.unwrap();
        let answer = loop {
            match within(socket.next()).await.unwrap().unwrap() {
                Message::Text(text) => {
                    let answer: Value = serde_json::from_str(&text).unwrap();
                    if answer["error"]["ref"] == 1 || answer["ack"]["ref"] == 1 {
                        break answer;
                    }
                }
                _ => continue,
            }
        };
        let is_refused = answer.to_string().contains("right-missing");
        assert_eq!(is_refused, code.is_some(), "{selector}: {answer}");
    }
    gate.server.shutdown().await;
}

#[tokio::test]
async fn topics_of_streams_belong_to_the_gateway() {
    let gate = Gate::with(Viewers::Open).await;
    let path = gate.finished(ALICE).await;
    let topic = format!("/topics{path}");
    let before = gate.server.told(&path[1..]).await;
    for target in [topic.as_str(), "/topics/streams/mine", "/topics/%73treams/mine"] {
        for (content_type, body) in [
            ("text/plain", "x"),
            ("application/x-ndjson", "{\"data\":1}\n"),
            ("text/event-stream", "data: x\n\n"),
        ] {
            let problem = gate.server.post_as(content_type, target, body).await;
            let problem = problem.problem(403, "topic-reserved");
            assert!(problem["detail"].as_str().unwrap().contains("gateway"), "{problem}");
            // A page's publish goes another way.
            let request = gate.server.request(Method::POST, target).body(body);
            let request = request.header("content-type", content_type);
            Answer::of(request.header("origin", "http://localhost:1"))
                .await
                .problem(403, "topic-reserved");
        }
        gate.server.post(&format!("{target}?lines"), "x\n").await.problem(403, "topic-reserved");
        gate.server.put(target, "{}").await.problem(403, "topic-reserved");
    }
    let mut socket = handshake(&gate, &format!("{topic}?after=now")).await.unwrap();
    for publish in [
        json!({"op": "publish", "data": 1, "ref": 1}),
        json!({"op": "publish", "topic": "streams/mine", "data": 1, "ref": 1}),
    ] {
        within(socket.send(Message::text(publish.to_string()))).await.unwrap();
        let answer = loop {
            let message = within(socket.next()).await.unwrap().unwrap();
            if let Message::Text(text) = message
                && !text.contains("\"end\"")
            {
                break text;
            }
        };
        assert!(answer.contains("topic-reserved"), "{answer}");
    }
    assert_eq!(gate.server.told(&path[1..]).await, before);
    // Names that only look alike are everybody's.
    gate.server.post("/topics/streams", "x").await.ok(201);
    gate.server.post("/topics/streamsy/x", "x").await.ok(201);
    gate.ask("DELETE", &topic, Client::Nobody).await.ok_status(204);
    gate.get(&path, Client::Nobody).await.problem(404, "stream-not-found");
    gate.server.shutdown().await;
}

#[tokio::test]
async fn streams_are_listed_newest_first_and_page_by_page() {
    let gate = Gate::with(Viewers::Open).await;
    let mut paths = Vec::new();
    for _ in 0..5 {
        paths.insert(0, gate.finished(ALICE).await);
    }
    let running = gate.stream(endless(), ALICE).await;
    paths.insert(0, running.clone());
    assert_eq!(gate.list("", ALICE).await, (paths.clone(), None));
    assert_eq!(gate.list("?state=running", ALICE).await, (vec![running.clone()], None));
    assert_eq!(gate.list("?state=done", ALICE).await, (paths[1..].to_vec(), None));
    assert_eq!(gate.list("?state=error", ALICE).await, (vec![], None));
    assert_eq!(gate.list("?limit=6", ALICE).await, (paths.clone(), None));

    let (page, next) = gate.list("?limit=2", ALICE).await;
    assert_eq!(page, paths[..2]);
    // What comes and goes meanwhile moves nothing, not even where the page's last one goes.
    gate.finished(ALICE).await;
    gate.ask("DELETE", &format!("/topics{}", paths[1]), ALICE).await.ok_status(204);
    gate.ask("DELETE", &format!("/topics{}", paths[3]), ALICE).await.ok_status(204);
    let (page, next) = gate.list(&format!("?limit=2&after={}", next.unwrap()), ALICE).await;
    assert_eq!(page, [paths[2].clone(), paths[4].clone()]);
    let (page, next) = gate.list(&format!("?limit=2&after={}", next.unwrap()), ALICE).await;
    assert_eq!((page, next), (vec![paths[5].clone()], None));
    let (page, _) = gate.list(&format!("?after={}", id_of(&paths[4])), ALICE).await;
    assert_eq!(page, [paths[5].clone()]);

    for query in ["?limit=0", "?limit=1001", "?limit=x", "?state=gone", "?after=x", "?status=done"]
    {
        let answer = gate.get(&format!("/streams{query}"), ALICE).await;
        answer.problem(400, "parameter-invalid");
    }
    gate.ask("DELETE", &running, ALICE).await.ok(200);
    gate.server.shutdown().await;
}

#[tokio::test]
async fn where_tokens_are_asked_for_each_lists_what_it_began() {
    let gate = Gate::with(Viewers::Token).await;
    let alices = gate.finished(ALICE).await;
    let bobs = gate.finished(BOB).await;
    gate.stream(chat().end(), Client::Nobody).await;
    assert_eq!(gate.list("", ALICE).await.0, [alices]);
    assert_eq!(gate.list("", BOB).await.0, [bobs]);
    assert_eq!(gate.list("", Client::Nobody).await, (vec![], None));
    gate.server.post("/topics/t", "x").await.ok(201);
    let topics = gate.get("/topics", ALICE).await.ok(200);
    assert_eq!(topics["topics"].as_array().unwrap().len(), 1);
    assert_eq!(topics["topics"][0]["topic"], "t");
    gate.server.shutdown().await;
}

#[tokio::test]
async fn a_streams_document_says_what_upstream_said() {
    let gate = Gate::with(Viewers::Open).await;
    let path = gate.finished(ALICE).await;
    let info = gate.get(&format!("{path}?info"), ALICE).await.ok(200);
    assert_eq!(info["model"], "m-1");
    assert_eq!(info["usage"], json!({"input_tokens": 3, "output_tokens": 5}));
    assert_eq!((&info["events"], &info["viewers"]), (&json!(3), &json!(0)));
    let times = ["requested", "started", "first_event", "ended"];
    let times: Vec<&str> = times.iter().map(|name| info[name].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{info}");
    assert!(info["first_event_ms"].is_u64(), "{info}");
    let document = gate.get("/openapi.json", ALICE).await.ok(200);
    let properties = &document["components"]["schemas"]["StreamDocument"]["properties"];
    for name in info.as_object().unwrap().keys() {
        assert!(properties[name].is_object(), "{name} is not documented");
    }
    gate.server.shutdown().await;
}

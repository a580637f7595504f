//! The gateway between real sockets: a scripted upstream behind it, clients that see every byte in front. What the tests
//! share is here; start with [`Station`].

mod access;
mod background;
mod bounds;
mod cancel;
mod chat;
mod ends;
mod failing;
mod framing;
mod gate;
mod keys;
mod metrics;
mod resume;
mod snapshot;
mod untouched;

use longwave::gateway::RouteOptions;
use longwave::http::HttpOptions;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::support::{Answer, Script, TestServer, Upstream, eventually, within};

/// A server whose gateway has the route `/v1`, and the upstream behind that.
struct Station {
    server: TestServer,
    upstream: Upstream,
    client: reqwest::Client,
}

impl Station {
    async fn start() -> Station {
        Station::with(|_, _| {}).await
    }

    /// A station with other settings.
    async fn with(change: impl FnOnce(&mut HttpOptions, &mut RouteOptions)) -> Station {
        let upstream = Upstream::start().await;
        let server = TestServer::with(|http| {
            let mut route = RouteOptions::new("/v1", &upstream.url("/v1")).unwrap();
            change(http, &mut route);
            http.gateway.routes.push(route);
        })
        .await;
        Station { server, upstream, client: client() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.server.addr))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// A request for a stream of chat completions.
    fn chat(&self) -> RequestBuilder {
        self.post("/v1/chat/completions", CHAT)
    }

    fn post(&self, path: &str, body: &'static str) -> RequestBuilder {
        self.request(Method::POST, path).header("content-type", "application/json").body(body)
    }

    /// Runs a script and gives its stream's viewer.
    async fn stream(&self, script: Script) -> Viewer {
        self.upstream.script(script);
        Viewer::of(self.chat()).await
    }

    /// What `?info` says of a stream.
    async fn info(&self, path: &str) -> Value {
        Answer::of(self.get(&format!("{path}?info"))).await.ok(200)
    }

    /// Waits until a stream is in a state.
    async fn has_state(&self, path: &str, state: &str) {
        eventually(|| async { self.info(path).await["state"] == state }).await;
    }

    /// Waits until so many view a stream.
    async fn has_viewers(&self, path: &str, count: u64) {
        eventually(|| async { self.info(path).await["viewers"] == count }).await;
    }

    /// The id of the first stream that there is.
    async fn first_id(&self) -> String {
        let list = Answer::of(self.get("/streams")).await.ok(200);
        list["streams"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a stream has so many events of upstream's own.
    async fn has_own_events(&self, path: &str, count: u64) {
        eventually(|| async { self.info(path).await["events"].as_u64().unwrap() >= count }).await;
    }
}

/// A client that follows no redirects.
fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
}

/// An answer whose body is read as it comes.
struct Viewer {
    response: Response,
    read: Vec<u8>,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    InOrder,
    Aborted,
}

impl Viewer {
    async fn of(request: RequestBuilder) -> Viewer {
        Viewer { response: within(request.send()).await.unwrap(), read: Vec::new() }
    }

    fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name).map(|value| value.to_str().unwrap())
    }

    /// Where the stream is read, as the answer says.
    #[track_caller]
    fn path(&self) -> String {
        self.header("longwave-stream").unwrap().to_owned()
    }

    /// The stream's id.
    #[track_caller]
    fn id(&self) -> String {
        self.path().strip_prefix("/streams/").unwrap().to_owned()
    }

    /// Waits until what came, since the last such wait, ends with a text, and gives it.
    async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self.read.windows(end.len()).position(|bytes| bytes == end.as_bytes());
            if let Some(at) = found {
                let taken: Vec<u8> = self.read.drain(..at + end.len()).collect();
                return String::from_utf8(taken).unwrap();
            }
            let chunk = within(self.response.chunk()).await;
            let came = String::from_utf8_lossy(&self.read).into_owned();
            match chunk {
                Ok(Some(chunk)) => self.read.extend_from_slice(&chunk),
                other => panic!("{other:?} instead of {end:?} behind {came:?}"),
            }
        }
    }

    /// All that comes until the end, and how that is.
    async fn rest(mut self) -> (String, Ending) {
        loop {
            match within(self.response.chunk()).await {
                Ok(Some(chunk)) => self.read.extend_from_slice(&chunk),
                Ok(None) => return (String::from_utf8(self.read).unwrap(), Ending::InOrder),
                Err(_) => return (String::from_utf8(self.read).unwrap(), Ending::Aborted),
            }
        }
    }

    /// All that comes, where the body ends in order.
    async fn whole(self) -> String {
        let (body, ending) = self.rest().await;
        assert_eq!(ending, Ending::InOrder, "{body}");
        body
    }
}

/// A stream's text without the id lines of the gateway, and these ids.
fn without_ids(id: &str, text: &str) -> (String, Vec<String>) {
    let begin = format!("id: {id}:");
    let (mut rest, mut plain, mut ids) = (text, String::new(), Vec::new());
    while let Some((before, behind)) = rest.split_once(&begin) {
        plain.push_str(before);
        let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap();
        ids.push(format!("{id}:{}", &behind[..digits]));
        let behind = &behind[digits..];
        let line_end = ["\r\n", "\r", "\n"].into_iter().find(|end| behind.starts_with(end));
        rest = &behind[line_end.unwrap().len()..];
    }
    plain.push_str(rest);
    (plain, ids)
}

/// A chunk of chat completions that says a word.
fn word(text: &str) -> String {
    let object = r#""object":"chat.completion.chunk""#;
    format!("data: {{{object},\"choices\":[{{\"delta\":{{\"content\":{text:?}}}}}]}}\n\n")
}

const CHAT: &str = r#"{"model":"m","stream":true}"#;
const DONE: &str = "data: [DONE]\n\n";

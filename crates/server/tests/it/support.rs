//! A server over a memory log on a free port, clients for it, and waiting for states. Start with [`TestServer`].

mod faulty;
pub(crate) mod process;
mod raw;
mod upstream;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longwave::http::HttpOptions;
use longwave::{Server, ServerOptions};
use longwave_core::{DataFormat, Event, Payload, SelectorSet, Seq};
use longwave_store::{CommitFeed, Log, MemoryLog, MemoryOptions, ReadQuery, Start};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;

pub(crate) use faulty::FaultyLog;
pub(crate) use raw::{RawAnswer, RawClient};
pub(crate) use upstream::{Nowhere, Script, Upstream};

/// A running server and the log under it.
pub(crate) struct TestServer {
    server: Server,
    log: Arc<MemoryLog>,
    client: reqwest::Client,
    pub(crate) addr: SocketAddr,
}

impl TestServer {
    pub(crate) async fn start() -> TestServer {
        TestServer::with(|_| {}).await
    }

    /// A server with other limits.
    pub(crate) async fn with(change: impl FnOnce(&mut HttpOptions)) -> TestServer {
        TestServer::over(change, |log| log).await
    }

    /// A server whose log has something between itself and the memory.
    pub(crate) async fn over<L: Log>(
        change: impl FnOnce(&mut HttpOptions),
        wrap: impl FnOnce(Arc<MemoryLog>) -> Arc<L>,
    ) -> TestServer {
        let (log, commits) = MemoryLog::open(MemoryOptions::default()).unwrap();
        let served = wrap(Arc::clone(&log));
        TestServer::serve(change, log, served, commits).await
    }

    /// A server over a log that somebody else wrote to before.
    pub(crate) async fn after(
        change: impl FnOnce(&mut HttpOptions),
        before: impl AsyncFnOnce(&MemoryLog),
    ) -> TestServer {
        let (log, commits) = MemoryLog::open(MemoryOptions::default()).unwrap();
        before(&log).await;
        TestServer::serve(change, Arc::clone(&log), log, commits).await
    }

    async fn serve(
        change: impl FnOnce(&mut HttpOptions),
        log: Arc<MemoryLog>,
        served: Arc<dyn Log>,
        commits: CommitFeed,
    ) -> TestServer {
        let mut http = HttpOptions::default();
        change(&mut http);
        let options = ServerOptions { listen: vec!["127.0.0.1:0".parse().unwrap()], http };
        let server = Server::start(options, served, commits).await.unwrap();
        let addr = server.local_addrs()[0];
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        TestServer { server, log, client, addr }
    }

    pub(crate) fn log(&self) -> &Arc<MemoryLog> {
        &self.log
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.addr))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// Publishes a text without saying what it is.
    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.request(Method::POST, path).body(body)).await
    }

    pub(crate) async fn post_as(
        &self,
        content_type: &str,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", content_type);
        Answer::of(request.body(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::PUT, path).header("content-type", "application/json");
        Answer::of(request.body(body)).await
    }

    /// All events of a topic, straight from the log.
    pub(crate) async fn events(&self, topic: &str) -> Vec<Arc<Event>> {
        let selectors = Arc::new(SelectorSet::topic(topic.parse().unwrap()));
        let query = ReadQuery {
            selectors,
            start: Start::After(Seq::ZERO),
            max_events: 100_000,
            max_bytes: 1 << 30,
        };
        self.log.read(query).await.unwrap().events
    }

    /// All events of a topic as `type:data`, the end as `end:reason`, in order.
    pub(crate) async fn told(&self, topic: &str) -> Vec<String> {
        self.events(topic).await.iter().map(|event| told(event)).collect()
    }

    /// Waits until a topic has so many events.
    pub(crate) async fn has_events(&self, topic: &str, count: usize) {
        eventually(|| async { self.events(topic).await.len() >= count }).await;
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn has_metric(&self, line: &str) {
        eventually(|| async { self.get("/metrics").await.body.lines().any(|told| told == line) })
            .await;
    }

    /// The id of a position in this server's log.
    pub(crate) fn id(&self, seq: Seq) -> String {
        format!("{}-{seq}", self.log.epoch())
    }

    pub(crate) async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

/// An answer with its body read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Answer {
        let response = within(request.send()).await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: within(response.text()).await.unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks that this is a problem, whole and of this kind, and gives its members.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        assert_eq!(problem["type"], format!("urn:longwave:problem:{code}"), "{self:?}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
        problem
    }

    /// Checks the status alone.
    #[track_caller]
    pub(crate) fn ok_status(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
    }

    /// Checks the status and gives the JSON.
    #[track_caller]
    pub(crate) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }
}

fn told(event: &Event) -> String {
    match &event.payload {
        Payload::End(reason) => format!("end:{reason}"),
        Payload::Message(message) => {
            let kind = message.event_type.as_ref().map_or("", |kind| kind.as_str());
            let format = match message.format {
                DataFormat::Text => "",
                DataFormat::Json => "json ",
                DataFormat::Binary => "binary ",
            };
            format!("{kind}:{format}{}", String::from_utf8_lossy(&message.data))
        }
    }
}

/// Waits for what must come; a hang fails the test.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("nothing came")
}

/// Waits until a state is reached; a hang fails the test.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut reached: impl FnMut() -> F) {
    within(async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Longer than anything takes on a machine that is busy with something else.
const HANG: Duration = Duration::from_secs(60);

//! Publishers of every kind, which go on through crashes and note what they were told.
//!
//! [`start`] starts them all.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream;
use longwave_e2e::HANG_LIMIT;
use reqwest::{Body, Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::book::Book;
use super::mark::{CHURN_EVENTS_MAX, CHURN_PREFIX, CHURN_TOPICS, Kind, Mark};

/// Gives the topics that keep few events their settings.
pub(super) async fn configure(server: &str) -> anyhow::Result<()> {
    let client = client()?;
    for topic in 0..CHURN_TOPICS {
        let url = format!("{server}/topics/{CHURN_PREFIX}{topic}");
        let body = json!({ "max_events": CHURN_EVENTS_MAX }).to_string();
        let request = client.put(url).header("Content-Type", "application/json").body(body);
        let response = request.send().await?;
        let status = response.status();
        anyhow::ensure!(status.is_success(), "{status}: {}", response.text().await?);
    }
    Ok(())
}

/// Starts all publishers. They end after [`Book::stop`], or with what the server did wrong.
pub(super) fn start(
    server: &str,
    book: &Arc<Book>,
    rng: &mut fastrand::Rng,
) -> JoinSet<anyhow::Result<()>> {
    let mut running = JoinSet::new();
    for (number, kind) in (0..).zip(PUBLISHERS) {
        let publisher = Publisher {
            client: client(),
            server: server.to_owned(),
            book: Arc::clone(book),
            rng: rng.fork(),
            number,
            kind: *kind,
            bytes: 0,
        };
        running.spawn(publisher.run());
    }
    running
}

struct Publisher {
    client: anyhow::Result<Client>,
    server: String,
    book: Arc<Book>,
    rng: fastrand::Rng,
    number: u32,
    kind: Kind,
    /// Bytes of data in the request that it is at.
    bytes: usize,
}

impl Publisher {
    async fn run(mut self) -> anyhow::Result<()> {
        let client = std::mem::replace(&mut self.client, Err(anyhow::anyhow!("taken")))?;
        for request in 0.. {
            if self.book.is_stopped() {
                break;
            }
            let size = match self.kind {
                Kind::Batch => self.rng.u32(2..BATCH_EVENTS_MAX),
                Kind::Stream => self.rng.u32(2..STREAM_EVENTS_MAX),
                Kind::Single | Kind::Keyed | Kind::Churn => 1,
            };
            let mark = Mark { kind: self.kind, publisher: self.number, request, index: 0, size };
            self.book.attempt(mark);
            self.bytes = 0;
            match self.kind {
                Kind::Keyed => self.publish_keyed(&client, mark).await?,
                _ => self.publish_once(&client, mark).await?,
            }
            tokio::time::sleep(Duration::from_millis(self.rng.u64(0..PAUSE_MS_MAX))).await;
        }
        Ok(())
    }

    /// One try. Without an answer nobody knows whether it happened.
    async fn publish_once(&mut self, client: &Client, mark: Mark) -> anyhow::Result<()> {
        let request = self.request(client, mark);
        match send(&self.book, request).await? {
            Some(answer) => {
                self.acknowledged(mark, &answer);
                let (count, size) = (answer.count, u64::from(mark.size));
                anyhow::ensure!(count == size, "{mark} acknowledged as {count} events");
                Ok(())
            }
            None => self.pause_after_loss().await,
        }
    }

    /// Tries until there is an answer. What was answered before is asked for again, now and then.
    async fn publish_keyed(&mut self, client: &Client, mark: Mark) -> anyhow::Result<()> {
        let text = self.text(mark);
        let key = mark.to_string().replace(' ', "-");
        let url = format!("{}/topics/{}", self.server, mark.topic());
        let request = || client.post(&url).header("Idempotency-Key", &key).body(text.clone());
        let mut id = None;
        let mut tries_left = self.rng.u32(1..=KEY_USES_MAX);
        while tries_left > 0 {
            let Some(answer) = send(&self.book, request()).await? else {
                self.pause_after_loss().await?;
                continue;
            };
            tries_left -= 1;
            if let Some(first) = &id {
                let again = &answer.first;
                anyhow::ensure!(first == again, "{mark} was {first} and is now {again}");
                anyhow::ensure!(answer.is_duplicate, "{mark} was published twice");
                self.book.duplicate();
                continue;
            }
            self.acknowledged(mark, &answer);
            id = Some(answer.first);
            // Long enough that a crash comes in between, sometimes.
            tokio::time::sleep(Duration::from_millis(self.rng.u64(0..KEY_PAUSE_MS_MAX))).await;
        }
        Ok(())
    }

    fn request(&mut self, client: &Client, mark: Mark) -> RequestBuilder {
        let url = format!("{}/topics/{}", self.server, mark.topic());
        match mark.kind {
            Kind::Single | Kind::Keyed | Kind::Churn => client.post(url).body(self.text(mark)),
            Kind::Batch => {
                let line = |mark: Mark| json!({ "data": self.text(mark) }).to_string();
                let lines: Vec<String> = mark.siblings().map(line).collect();
                let body = lines.join("\n");
                client.post(url).header("Content-Type", "application/x-ndjson").body(body)
            }
            Kind::Stream => {
                let mut rng = self.rng.fork();
                let lines: Vec<String> = mark.siblings().map(|mark| self.text(mark)).collect();
                // Line by line with pauses, so that it is appended line by line.
                let lines = stream::unfold(lines.into_iter(), move |mut lines| {
                    let pause = Duration::from_millis(rng.u64(0..LINE_PAUSE_MS_MAX));
                    async move {
                        let line = lines.next()? + "\n";
                        tokio::time::sleep(pause).await;
                        Some((std::io::Result::Ok(line), lines))
                    }
                });
                let request = client.post(format!("{url}?lines"));
                request.header("Content-Type", "text/plain").body(Body::wrap_stream(lines))
            }
        }
    }

    async fn pause_after_loss(&self) -> anyhow::Result<()> {
        self.book.unanswered(self.kind);
        tokio::time::sleep(RETRY_PAUSE).await;
        Ok(())
    }

    /// The data of an event: mostly small, sometimes so large that a few fill a segment.
    fn text(&mut self, mark: Mark) -> String {
        let ballast = match mark.kind {
            Kind::Churn => CHURN_BALLAST,
            Kind::Stream => LINE_BALLAST,
            _ if self.rng.u8(..) < LARGE_OF_256 => self.rng.usize(0..LARGE_BALLAST_MAX),
            _ => self.rng.usize(0..SMALL_BALLAST_MAX),
        };
        let text = mark.text(ballast);
        self.bytes += text.len();
        text
    }

    fn acknowledged(&self, mark: Mark, answer: &Answer) {
        self.book.acknowledge(mark, &answer.first, &answer.last);
        self.book.add_bytes(mark.kind, self.bytes);
    }
}

struct Answer {
    first: String,
    last: String,
    count: u64,
    is_duplicate: bool,
}

/// The server's answer; `None` where the connection failed before all of it was here.
async fn send(book: &Book, request: RequestBuilder) -> anyhow::Result<Option<Answer>> {
    let power = book.power();
    let Ok(response) = request.send().await else { return Ok(None) };
    let status = response.status();
    let is_duplicate = response.headers().contains_key("longwave-duplicate");
    let Ok(body) = response.text().await else { return Ok(None) };
    if book.is_expected_failure(status) || !book.has_had_power_since(power) {
        return Ok(None);
    }
    anyhow::ensure!(
        matches!(status, StatusCode::CREATED | StatusCode::OK),
        "a publish was refused with {status}: {body}"
    );
    let body: Value = serde_json::from_str(&body).context(body)?;
    let field = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let first = field("id").or_else(|| field("first")).context("the answer has no id")?;
    let last = field("last").unwrap_or_else(|| first.clone());
    let count = body.get("count").map_or(Some(1), Value::as_u64).context("no count")?;
    Ok(Some(Answer { first, last, count, is_duplicate }))
}

fn client() -> anyhow::Result<Client> {
    Ok(Client::builder().timeout(HANG_LIMIT).no_proxy().build()?)
}

const PUBLISHERS: &[Kind] = &[
    Kind::Single,
    Kind::Single,
    Kind::Keyed,
    Kind::Keyed,
    Kind::Keyed,
    Kind::Batch,
    Kind::Batch,
    Kind::Stream,
    Kind::Stream,
    Kind::Churn,
    Kind::Churn,
];
const BATCH_EVENTS_MAX: u32 = 12;
const STREAM_EVENTS_MAX: u32 = 40;
/// So that most of what is in the log is soon dead.
const CHURN_BALLAST: usize = 12_000;
const LARGE_OF_256: u8 = 8;
const LARGE_BALLAST_MAX: usize = 16 * 1024;
const SMALL_BALLAST_MAX: usize = 200;
const LINE_BALLAST: usize = 20;
const KEY_USES_MAX: u32 = 3;
const PAUSE_MS_MAX: u64 = 6;
const LINE_PAUSE_MS_MAX: u64 = 4;
const KEY_PAUSE_MS_MAX: u64 = 60;
const RETRY_PAUSE: Duration = Duration::from_millis(20);

//! Readers by SSE and by long poll, which resume behind the last event they saw whenever their connection is lost.
//!
//! [`start`] starts them all.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use longwave_e2e::HANG_LIMIT;
use longwave_sse::{Decoded, Decoder};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tokio::task::JoinSet;

use super::audit::position;
use super::book::Book;
use super::mark::{CHURN_PREFIX, KEPT_PREFIX, Mark};

/// Starts all readers. They end when they saw what [`Book::finish`] says, or with what the server did wrong.
pub(super) fn start(
    server: &str,
    book: &Arc<Book>,
    rng: &mut fastrand::Rng,
) -> JoinSet<anyhow::Result<()>> {
    let mut running = JoinSet::new();
    let kept = format!("{server}/events?topic={KEPT_PREFIX}**");
    let churn = format!("{server}/events?topic={CHURN_PREFIX}**");
    let readers = [
        (Framing::EventStream, "SSE", kept.clone(), true),
        (Framing::EventStream, "SSE of few", churn.clone(), false),
        (Framing::Page, "long poll", kept, true),
        (Framing::Page, "long poll of few", churn, false),
    ];
    for (framing, name, url, kept) in readers {
        let reader = Reader {
            url,
            framing,
            number: book.add_reader(name, kept),
            kept,
            book: Arc::clone(book),
            pause: Duration::from_millis(rng.u64(1..RETRY_PAUSE_MS_MAX)),
            cursor: "first".to_owned(),
            position: 0,
        };
        running.spawn(reader.run());
    }
    running
}

struct Reader {
    url: String,
    framing: Framing,
    number: usize,
    /// Whether it reads only topics that keep everything, so that a gap is a loss.
    kept: bool,
    book: Arc<Book>,
    pause: Duration,
    cursor: String,
    position: u64,
}

#[derive(Clone, Copy)]
enum Framing {
    EventStream,
    Page,
}

impl Reader {
    async fn run(mut self) -> anyhow::Result<()> {
        let client = Client::builder().timeout(HANG_LIMIT).no_proxy().build()?;
        while !self.book.is_finished_at(self.position, self.kept) {
            let request = client.get(&self.url).query(&[("after", &self.cursor)]);
            match self.framing {
                Framing::EventStream => self.stream(request).await?,
                Framing::Page => self.page(request).await?,
            }
        }
        Ok(())
    }

    /// Reads a stream until its connection is lost, or there is no more to see.
    async fn stream(&mut self, request: RequestBuilder) -> anyhow::Result<()> {
        let request = request.header("Accept", "text/event-stream");
        let power = self.book.power();
        let Ok(mut response) = request.send().await else { return self.wait().await };
        let status = response.status();
        if self.book.is_expected_failure(status) {
            return self.wait().await;
        }
        anyhow::ensure!(status.is_success(), "a stream got {status}");
        let mut decoder = Decoder::new();
        // Looks up between events, too: the last one may have been seen before it was known to be the last.
        while let Ok(chunk) = tokio::time::timeout(LOOK_UP_INTERVAL, response.chunk()).await {
            let Ok(Some(chunk)) = chunk else { return self.wait().await };
            if !self.book.has_had_power_since(power) {
                return self.wait().await;
            }
            let mut input = &chunk[..];
            while let Some(decoded) = decoder.decode(&mut input)? {
                let Decoded::Event(event) = decoded else { continue };
                match event.event_type() {
                    "message" => self.saw(event.last_event_id(), event.data())?,
                    "longwave.gap" if !self.kept => {}
                    other => anyhow::bail!("{other} in a stream without: {}", event.data()),
                }
            }
            if self.book.is_finished_at(self.position, self.kept) {
                break;
            }
        }
        Ok(())
    }

    async fn page(&mut self, request: RequestBuilder) -> anyhow::Result<()> {
        let request = request.query(&[("wait", "1s")]).header("Accept", "application/json");
        let power = self.book.power();
        let Ok(response) = request.send().await else { return self.wait().await };
        let status = response.status();
        let Ok(body) = response.text().await else { return self.wait().await };
        if self.book.is_expected_failure(status) || !self.book.has_had_power_since(power) {
            return self.wait().await;
        }
        anyhow::ensure!(status.is_success(), "a page got {status}: {body}");
        let page: Value = serde_json::from_str(&body)?;
        let gap = page.get("gap").filter(|gap| !gap.is_null());
        anyhow::ensure!(!self.kept || gap.is_none(), "a gap in a page without: {gap:?}");
        for event in page.get("events").and_then(Value::as_array).context("no events")? {
            let field = |name: &str| event.get(name).and_then(Value::as_str).context("no field");
            self.saw(field("id")?, field("data")?)?;
        }
        self.cursor = page.get("cursor").and_then(Value::as_str).context("no cursor")?.to_owned();
        Ok(())
    }

    fn saw(&mut self, id: &str, data: &str) -> anyhow::Result<()> {
        let position = position(id)?;
        let before = self.position;
        anyhow::ensure!(position > before, "{id} came behind position {before}");
        self.book.saw(self.number, id, data.parse::<Mark>()?);
        self.position = position;
        self.cursor = id.to_owned();
        Ok(())
    }

    async fn wait(&self) -> anyhow::Result<()> {
        tokio::time::sleep(self.pause).await;
        Ok(())
    }
}

const RETRY_PAUSE_MS_MAX: u64 = 80;
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(2);

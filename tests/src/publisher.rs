//! Publishing over HTTP, and what was acknowledged.
//!
//! Read [`Publisher`].

use anyhow::Context as _;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{Data, Expected, HANG_LIMIT};

/// A publisher to one topic, one request at a time. Remembers what was acknowledged, in order.
#[derive(Debug)]
pub struct Publisher {
    client: reqwest::Client,
    topic: String,
    acknowledged: Vec<Expected>,
}

impl Publisher {
    /// A publisher to the topic with this URL.
    ///
    /// # Errors
    /// When no HTTP client can be had.
    pub fn new(topic_url: &str) -> anyhow::Result<Publisher> {
        let client = reqwest::Client::builder().timeout(HANG_LIMIT).no_proxy().build()?;
        Ok(Publisher { client, topic: topic_url.to_owned(), acknowledged: Vec::new() })
    }

    /// The same publisher with connections of its own, since those that it had may be dead.
    ///
    /// # Errors
    /// When no HTTP client can be had.
    pub fn reconnected(self) -> anyhow::Result<Publisher> {
        Ok(Publisher { acknowledged: self.acknowledged, ..Publisher::new(&self.topic)? })
    }

    /// Everything that was acknowledged, in order.
    #[must_use]
    pub fn acknowledged(&self) -> &[Expected] {
        &self.acknowledged
    }

    /// Publishes one event by a request of its own.
    ///
    /// # Errors
    /// When the server does not acknowledge it.
    pub async fn publish(&mut self, mut event: Expected) -> anyhow::Result<()> {
        let (content_type, body) = match &event.data {
            Data::Text(text) => ("text/plain", text.clone().into_bytes()),
            Data::Json(text) => ("application/json", text.clone().into_bytes()),
            Data::Binary(bytes) => ("application/octet-stream", bytes.clone()),
        };
        let mut request = self.client.post(&self.topic).header("Content-Type", content_type);
        if let Some(event_type) = &event.event_type {
            request = request.query(&[("type", event_type)]);
        }
        let answer = answer(request.body(body)).await?;
        let id = answer.get("id").and_then(Value::as_str).context("the answer has no id")?;
        event.id = Some(id.to_owned());
        self.acknowledged.push(event);
        Ok(())
    }

    /// Publishes events as one batch. Binary data can't be in a batch.
    ///
    /// # Errors
    /// When the server does not acknowledge it.
    pub async fn publish_batch(&mut self, mut events: Vec<Expected>) -> anyhow::Result<()> {
        let mut body = String::new();
        for event in &events {
            let data: Value = match &event.data {
                Data::Text(text) => json!(text),
                Data::Json(text) => serde_json::from_str(text)?,
                Data::Binary(_) => anyhow::bail!("binary data can't be in a batch"),
            };
            let mut line = json!({ "data": data });
            if let (Some(event_type), Some(line)) = (&event.event_type, line.as_object_mut()) {
                line.insert("type".to_owned(), json!(event_type));
            }
            body.push_str(&line.to_string());
            body.push('\n');
        }
        let request = self.client.post(&self.topic).header("Content-Type", "application/x-ndjson");
        let answer = answer(request.body(body)).await?;
        anyhow::ensure!(
            answer.get("count").and_then(Value::as_u64) == u64::try_from(events.len()).ok(),
            "a batch of {} was acknowledged as {answer}",
            events.len()
        );
        let id = |field| answer.get(field).and_then(Value::as_str).map(str::to_owned);
        if let Some(first) = events.first_mut() {
            first.id = id("first");
        }
        if let Some(last) = events.last_mut() {
            last.id = id("last");
        }
        self.acknowledged.append(&mut events);
        Ok(())
    }

    /// Ends the topic with no further event.
    ///
    /// # Errors
    /// When the server does not acknowledge it.
    pub async fn end(&self) -> anyhow::Result<()> {
        answer(self.client.post(format!("{}?end", self.topic))).await.map(drop)
    }
}

async fn answer(request: RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.text().await?;
    anyhow::ensure!(status.is_success(), "the server answered {status}: {body}");
    serde_json::from_str(&body).with_context(|| format!("the answer is not JSON: {body}"))
}

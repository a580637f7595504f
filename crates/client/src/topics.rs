//! Listing, inspecting, configuring and deleting topics. Start with [`TopicInfo`].

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Refusal;
use crate::client::{Client, InvalidTopic};
use crate::stream::innermost;

impl Client {
    /// Topics in order of their names, a page at a time.
    ///
    /// # Errors
    /// [`TopicsError`].
    pub async fn topics(&self, query: &TopicsQuery) -> Result<TopicsPage, TopicsError> {
        let mut url = self.url("topics");
        {
            let mut pairs = url.query_pairs_mut();
            if let Some(prefix) = &query.prefix {
                pairs.append_pair("prefix", prefix);
            }
            if let Some(after) = &query.after {
                pairs.append_pair("after", after);
            }
            if let Some(limit) = query.limit {
                pairs.append_pair("limit", &limit.to_string());
            }
        }
        json(self.request(Method::GET, url)).await
    }

    /// What the server knows of a topic.
    ///
    /// # Errors
    /// [`TopicsError`]; `topic-not-found` where there is none.
    pub async fn topic_info(&self, topic: &str) -> Result<TopicInfo, TopicsError> {
        let mut url = self.topic_url(topic)?;
        url.set_query(Some("info"));
        json(self.request(Method::GET, url)).await
    }

    /// Creates a topic with settings, or replaces the settings of one.
    ///
    /// # Errors
    /// [`TopicsError`].
    pub async fn configure_topic(
        &self,
        topic: &str,
        config: &TopicConfig,
    ) -> Result<(), TopicsError> {
        let body = serde_json::to_vec(config).map_err(TopicsError::Config)?;
        let request = self
            .request(Method::PUT, self.topic_url(topic)?)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        send(request).await.map(drop)
    }

    /// Removes a topic with all that it holds. Those who follow it are told that it ended.
    ///
    /// # Errors
    /// [`TopicsError`]; `topic-not-found` where there is none.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), TopicsError> {
        send(self.request(Method::DELETE, self.topic_url(topic)?)).await.map(drop)
    }
}

/// Which topics to list.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out")]
pub struct TopicsQuery {
    /// Only names that start with this.
    pub prefix: Option<String>,
    /// Only names behind this one.
    pub after: Option<String>,
    /// At most this many; the server has a bound of its own.
    pub limit: Option<u64>,
}

/// Topics in order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct TopicsPage {
    /// The topics.
    pub topics: Vec<TopicInfo>,
    /// What to give as [`TopicsQuery::after`] for the next page; `None` where this is the last.
    pub next: Option<String>,
}

/// What the server knows of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TopicInfo {
    /// Its name, in its canonical spelling.
    pub topic: String,
    /// The id of the oldest event that can be read; `None` where there is none.
    pub first: Option<String>,
    /// The id of the newest event that the topic ever had; `None` where it had none.
    pub last: Option<String>,
    /// How many events can be read, the end included.
    pub events: u64,
    /// How many bytes they take in the log.
    pub bytes: u64,
    /// How many live subscriptions get its events.
    pub subscribers: u64,
    /// How it ended; `None` while it runs.
    pub end: Option<TopicEnd>,
    /// Its settings; `None` where nobody set any.
    pub settings: Option<TopicConfig>,
}

/// How a topic ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TopicEnd {
    /// The id of the end.
    pub id: String,
    /// When, as RFC 3339 has it.
    pub time: String,
    /// `done`, `error`, `cancelled`, `truncated`, `timeout` or `crashed`.
    pub reason: String,
}

/// A topic's settings. What is `None` is limited by the server's own retention only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out")]
pub struct TopicConfig {
    /// Events older than this are removed: `10m`, `24h`, `7d`.
    pub max_age: Option<String>,
    /// Only this many of the newest events are kept.
    pub max_events: Option<u64>,
    /// Only as many of the newest events are kept as fit into this many bytes.
    pub max_bytes: Option<u64>,
    /// How long after its end the topic is deleted: `10m`.
    pub ttl: Option<String>,
    /// What a publish waits for.
    #[serde(default)]
    pub durability: Durability,
}

/// What a publish waits for before it is answered and shown to readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Durability {
    /// The disk: an acknowledged event survives a power cut.
    #[default]
    Disk,
    /// Memory: lower latency, but a power cut may lose acknowledged events.
    Memory,
}

/// Why a topic could not be listed, inspected or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicsError {
    /// The topic can't be one.
    #[error(transparent)]
    Topic(#[from] InvalidTopic),
    /// The settings can't be written.
    #[error("the settings can't be written")]
    Config(#[source] serde_json::Error),
    /// A part of it can't stand in a request.
    #[error("the request can't be made")]
    Request(#[source] reqwest::Error),
    /// The server did not answer.
    #[error("no answer from {url} ({why})")]
    NoAnswer {
        /// Where it should be.
        url: Url,
        /// What the system says.
        why: String,
    },
    /// The server refused.
    #[error("the server refused: {0}")]
    Refused(Refusal),
    /// The answer is not what a Longwave server says.
    #[error("{url} does not answer like a Longwave server; is the address right?")]
    Answer {
        /// From where.
        url: Url,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, TopicsError> {
    let response = send(request.header(ACCEPT, "application/json")).await?;
    let url = response.url().clone();
    let body = response
        .bytes()
        .await
        .map_err(|error| TopicsError::NoAnswer { url: url.clone(), why: innermost(&error) })?;
    serde_json::from_slice(&body).map_err(|source| TopicsError::Answer { url, source })
}

async fn send(request: RequestBuilder) -> Result<Response, TopicsError> {
    let (client, request) = request.timeout(TIMEOUT).build_split();
    let request = request.map_err(TopicsError::Request)?;
    let url = request.url().clone();
    let response = client
        .execute(request)
        .await
        .map_err(|error| TopicsError::NoAnswer { url, why: innermost(&error) })?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(TopicsError::Refused(Refusal::read(response).await))
    }
}

/// Longer than a list of all topics takes.
const TIMEOUT: Duration = Duration::from_secs(30);

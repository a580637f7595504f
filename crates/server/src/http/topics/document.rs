//! What is told of a topic, and what settings may be asked for: [`TopicDocument`], [`SettingsRequest`].
//!
//! Wire types and their conversion; the handlers are in `topics.rs`.

use longwave_core::{Config, Durability, TopicInfo};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::humane::{format_duration_ms, parse_bytes, parse_duration_ms, rfc3339};
use super::super::{App, Code, JsonObject, Problem};

/// A topic.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Topic)]
pub(in crate::http) struct TopicDocument {
    /// Its name, in its canonical spelling.
    #[schema(example = "orders/42")]
    topic: String,
    /// The id of the oldest event that can be read; null where there is none.
    #[schema(required = true, example = "7kq2f-1024")]
    first: Option<String>,
    /// The id of the newest event that the topic ever had; null where it had none.
    #[schema(required = true, example = "7kq2f-1031")]
    last: Option<String>,
    /// How many events can be read, the end included.
    events: u64,
    /// How many bytes they take in the log.
    bytes: u64,
    /// How many live subscriptions get its events, those with wildcards included.
    subscribers: usize,
    /// How it ended; null while it runs.
    #[schema(required = true)]
    end: Option<EndDocument>,
    /// Its settings; null where nobody set any.
    #[schema(required = true)]
    settings: Option<SettingsDocument>,
}

/// How a topic ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TopicEnd)]
pub(in crate::http) struct EndDocument {
    /// The id of the end.
    id: String,
    /// When.
    #[schema(format = DateTime)]
    time: String,
    /// Why.
    #[schema(example = "done")]
    reason: String,
}

/// A topic's settings. What is null is not limited but by the server's own retention.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings)]
pub(in crate::http) struct SettingsDocument {
    /// Events older than this are removed.
    #[schema(required = true, example = "1d")]
    max_age: Option<String>,
    /// Only this many of the newest events are kept.
    #[schema(required = true)]
    max_events: Option<u64>,
    /// Only as many of the newest events are kept as fit into this many bytes of the log.
    #[schema(required = true)]
    max_bytes: Option<u64>,
    /// How long after its end the topic is deleted.
    #[schema(required = true, example = "10m")]
    ttl: Option<String>,
    /// What a publish waits for before it is answered and shown.
    durability: DurabilityDocument,
}

/// Settings that a topic shall have. What is left out or null is not limited but by the server's own retention.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SettingsRequest {
    /// Events older than this are removed: `10m`, `24h`, `7d`, or a number of seconds.
    #[schema(value_type = Option<Quantity>)]
    max_age: Option<Quantity>,
    /// Only this many of the newest events are kept. At least 1.
    #[schema(minimum = 1)]
    max_events: Option<u64>,
    /// Only as many of the newest events are kept as fit: `64MiB`, `10MB`, or a number of bytes.
    max_bytes: Option<Quantity>,
    /// How long after its end the topic is deleted: `10m`, or a number of seconds.
    ttl: Option<Quantity>,
    /// What a publish waits for.
    #[serde(default)]
    durability: DurabilityDocument,
}

/// An amount with its unit, or a number of seconds or bytes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Quantity {
    /// In the base unit.
    Number(u64),
    /// With a unit.
    Text(String),
}

/// What a publish waits for before it is answered and shown to readers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Durability)]
pub(in crate::http) enum DurabilityDocument {
    /// The disk: an acknowledged event survives a power cut.
    #[default]
    Disk,
    /// Memory: lower latency, but a power cut may lose acknowledged events.
    Memory,
}

impl Quantity {
    /// The milliseconds of a duration, whose base unit is the second; `None` where it is none, or too long.
    pub(crate) fn duration_ms(&self) -> Option<u64> {
        match self {
            Quantity::Number(seconds) => seconds.checked_mul(1000),
            Quantity::Text(text) => parse_duration_ms(text),
        }
    }
}

impl TopicDocument {
    pub(super) fn new(app: &App, info: &TopicInfo) -> TopicDocument {
        TopicDocument {
            topic: info.topic.to_string(),
            first: info.first.map(|seq| app.id(seq).to_string()),
            last: (info.last.0 > 0).then(|| app.id(info.last).to_string()),
            events: info.events,
            bytes: info.bytes,
            subscribers: app.hub().subscribers(&info.topic),
            end: info.end.map(|end| EndDocument {
                id: app.id(end.seq).to_string(),
                time: rfc3339(end.time),
                reason: end.reason.as_str().to_owned(),
            }),
            settings: info.config.as_ref().map(SettingsDocument::new),
        }
    }
}

impl SettingsDocument {
    fn new(config: &Config) -> SettingsDocument {
        SettingsDocument {
            max_age: config.max_age_ms.map(format_duration_ms),
            max_events: config.max_events,
            max_bytes: config.max_bytes,
            ttl: config.ttl_ms.map(format_duration_ms),
            durability: match config.durability {
                Durability::Disk => DurabilityDocument::Disk,
                Durability::Memory => DurabilityDocument::Memory,
            },
        }
    }
}

impl SettingsRequest {
    /// Reads a body; an empty one is for no settings at all.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`], with the member `setting` where it is about one.
    pub(super) fn parse(body: &[u8]) -> Result<Config, Problem> {
        if body.trim_ascii().is_empty() {
            return Ok(Config::default());
        }
        let JsonObject(request): JsonObject<SettingsRequest> = serde_json::from_slice(body)
            .map_err(|error| Problem::new(Code::ConfigInvalid, error))?;
        request.into_config()
    }

    fn into_config(self) -> Result<Config, Problem> {
        if self.max_events == Some(0) {
            return Err(invalid("max_events", "max_events must be at least 1"));
        }
        Ok(Config {
            max_age_ms: duration("max_age", self.max_age)?,
            max_events: self.max_events,
            max_bytes: bytes("max_bytes", self.max_bytes)?,
            ttl_ms: duration("ttl", self.ttl)?,
            durability: match self.durability {
                DurabilityDocument::Disk => Durability::Disk,
                DurabilityDocument::Memory => Durability::Memory,
            },
        })
    }
}

fn duration(setting: &str, quantity: Option<Quantity>) -> Result<Option<u64>, Problem> {
    let Some(quantity) = quantity else { return Ok(None) };
    match quantity.duration_ms() {
        None => {
            let detail = format!("{setting} must be a duration such as 90s, 10m, 24h or 7d");
            Err(invalid(setting, &detail))
        }
        Some(0) if setting == "max_age" => Err(invalid(setting, "max_age must be more than 0")),
        Some(ms) => Ok(Some(ms)),
    }
}

fn bytes(setting: &str, quantity: Option<Quantity>) -> Result<Option<u64>, Problem> {
    let Some(quantity) = quantity else { return Ok(None) };
    let bytes = match quantity {
        Quantity::Number(bytes) => Some(bytes),
        Quantity::Text(text) => parse_bytes(&text),
    };
    match bytes {
        None | Some(0) => {
            Err(invalid(setting, &format!("{setting} must be a size such as 512KiB, 64MiB or 1GB")))
        }
        Some(bytes) => Ok(Some(bytes)),
    }
}

fn invalid(setting: &str, detail: &str) -> Problem {
    Problem::new(Code::ConfigInvalid, detail).with("setting", setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_people_write_them() {
        let body = br#"{"max_age":"1h30m","max_events":10,"max_bytes":"64MiB","ttl":60,"durability":"memory"}"#;
        assert_eq!(
            SettingsRequest::parse(body).unwrap(),
            Config {
                max_age_ms: Some(5_400_000),
                max_events: Some(10),
                max_bytes: Some(64 << 20),
                ttl_ms: Some(60_000),
                durability: Durability::Memory,
            }
        );
        for nothing in ["", " \n", "{}", r#"{"max_age":null}"#] {
            assert_eq!(SettingsRequest::parse(nothing.as_bytes()).unwrap(), Config::default());
        }
    }

    #[test]
    fn wrong_settings_are_refused() {
        for (body, setting) in [
            (r#"{"max_age":"soon"}"#, Some("max_age")),
            (r#"{"max_age":0}"#, Some("max_age")),
            (r#"{"max_events":0}"#, Some("max_events")),
            (r#"{"max_bytes":"0"}"#, Some("max_bytes")),
            (r#"{"max_bytes":"1.5GB"}"#, Some("max_bytes")),
            (r#"{"ttl":18446744073709551615}"#, Some("ttl")),
            (r#"{"max_events":-1}"#, None),
            (r#"{"max_events":1.5}"#, None),
            (r#"{"durability":"tape"}"#, None),
            (r#"{"maxage":"1h"}"#, None),
            (r#"{"max_age":"1h","max_age":"2h"}"#, None),
            ("[]", None),
            ("{", None),
            ("\u{fffd}", None),
        ] {
            let problem = SettingsRequest::parse(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code(), Code::ConfigInvalid, "{body}");
            assert_eq!(problem.to_json()["setting"].as_str(), setting, "{body}");
        }
    }
}

//! A topic's settings and standing as a record's data.

use longwave_core::{Config, Durability, Seq, Snapshot, Topic, TopicEnd, UnixMillis};

use super::record::{reason_code, reason_of};

/// What the settings record of a topic says.
pub(super) fn encode(topic: &Topic) -> Vec<u8> {
    let config = topic.config.clone().unwrap_or_default();
    let mut bytes = vec![match config.durability {
        Durability::Disk => 0,
        Durability::Memory => 1,
    }];
    for limit in [config.max_age_ms, config.max_events, config.max_bytes, config.ttl_ms] {
        bytes.push(u8::from(limit.is_some()));
        bytes.extend_from_slice(&limit.unwrap_or_default().to_le_bytes());
    }
    bytes.extend_from_slice(&topic.last.0.to_le_bytes());
    bytes.extend_from_slice(&topic.removed.0.to_le_bytes());
    if let Some(end) = topic.end {
        bytes.push(reason_code(end.reason));
        bytes.extend_from_slice(&end.seq.0.to_le_bytes());
        bytes.extend_from_slice(&end.time.0.to_le_bytes());
    }
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<Snapshot> {
    let (durability, mut rest) = bytes.split_first()?;
    let u64_next = |rest: &mut &[u8]| {
        let (number, after) = rest.split_first_chunk::<8>()?;
        *rest = after;
        Some(u64::from_le_bytes(*number))
    };
    let limit = |rest: &mut &[u8]| {
        let (is_set, after) = rest.split_first()?;
        *rest = after;
        let value = u64_next(rest)?;
        Some((*is_set != 0).then_some(value))
    };
    let config = Config {
        max_age_ms: limit(&mut rest)?,
        max_events: limit(&mut rest)?,
        max_bytes: limit(&mut rest)?,
        ttl_ms: limit(&mut rest)?,
        durability: match durability {
            0 => Durability::Disk,
            1 => Durability::Memory,
            _ => return None,
        },
    };
    let (last, removed) = (Seq(u64_next(&mut rest)?), Seq(u64_next(&mut rest)?));
    let end = match rest.split_first() {
        None => None,
        Some((code, mut rest)) => Some(TopicEnd {
            reason: reason_of(*code)?,
            seq: Seq(u64_next(&mut rest)?),
            time: UnixMillis(u64_next(&mut rest)?),
        }),
    };
    Some(Snapshot { config, last, removed, end })
}

#[cfg(test)]
mod tests {
    use longwave_core::{EndReason, Ledger, NewMessage};

    use super::*;

    #[test]
    fn a_topics_settings_and_standing_read_back() {
        let mut ledger = Ledger::default();
        let name = "a".parse().unwrap();
        let config = Config {
            max_age_ms: Some(1),
            max_events: None,
            max_bytes: Some(u64::MAX),
            ttl_ms: Some(0),
            durability: Durability::Memory,
        };
        let mut group = ledger.begin(UnixMillis(5));
        let plain = ledger.configure(&mut group, &name, Config::default()).topic;
        let end = longwave_core::Append {
            topic: name.clone(),
            messages: Vec::<NewMessage>::new(),
            end: Some(EndReason::Crashed),
            key: None,
            expected: longwave_core::Expected::Any,
        };
        ledger.admit(&mut group, end).unwrap();
        let full = ledger.configure(&mut group, &name, config).topic;
        ledger.commit(group);
        for topic in [plain, full] {
            let snapshot = Snapshot {
                config: topic.config.clone().unwrap(),
                last: topic.last,
                removed: topic.removed,
                end: topic.end,
            };
            let bytes = encode(&topic);
            assert_eq!(decode(&bytes), Some(snapshot));
        }
        assert_eq!(decode(&[]), None);
    }
}

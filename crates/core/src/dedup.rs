//! Which publishes were seen before: [`DedupWindow`].
//!
//! A window, not a ledger for ever: bounded in age and in number, oldest out first. It leaves out what a duplicate
//! means for a publish; that is [`Ledger::admit`](crate::Ledger::admit)'s.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::{
    Append, Appended, DataFormat, EndReason, IdempotencyKey, Message, Outcome, Seq, TopicName,
    UnixMillis,
};

/// The idempotency keys of the last [`DedupWindow::AGE_MAX_MS`], at most [`DedupWindow::KEYS_MAX`] of a log.
///
/// Keys are scoped to their topic, and those of whole publishes never meet those of single messages.
#[derive(Clone, Debug, Default)]
pub struct DedupWindow {
    topics: HashMap<TopicName, HashMap<ScopedKey, Publication>>,
    /// Every key of `topics` stands in here once; keys of topics that were deleted since may stand here as well.
    oldest_first: VecDeque<(TopicName, ScopedKey, Seq)>,
}

impl DedupWindow {
    /// How long a key is remembered, in milliseconds: longer than any sensible publisher retries.
    pub const AGE_MAX_MS: u64 = 10 * 60 * 1000;
    /// How many keys a log remembers, about 20 MB of them.
    pub const KEYS_MAX: usize = 100_000;

    /// What was published under the key, unless that is too long ago by `now`.
    #[must_use]
    pub fn seen(
        &self,
        topic: &TopicName,
        key: &ScopedKey,
        now: UnixMillis,
    ) -> Option<&Publication> {
        let seen = self.topics.get(topic)?.get(key)?;
        seen.is_remembered_at(now).then_some(seen)
    }

    /// Remembers a key, and forgets those that are now too old or too many.
    pub fn remember(&mut self, topic: &TopicName, key: ScopedKey, publication: Publication) {
        let now = publication.time;
        self.oldest_first.push_back((topic.clone(), key.clone(), publication.first));
        self.topics.entry_ref(topic).or_default().insert(key, publication);
        while let Some((topic, key, first)) = self.oldest_first.front() {
            // Another publication may stand under the key since: where the topic was deleted, or the time was over.
            let keys = self.topics.get(topic);
            let known = keys.and_then(|keys| keys.get(key)).filter(|p| p.first == *first);
            let is_kept = known.is_some_and(|p| p.is_remembered_at(now));
            if is_kept && self.oldest_first.len() <= Self::KEYS_MAX {
                break;
            }
            if known.is_some()
                && let Some(keys) = self.topics.get_mut(topic)
            {
                keys.remove(key);
                if keys.is_empty() {
                    self.topics.remove(topic);
                }
            }
            self.oldest_first.pop_front();
        }
    }

    /// Forgets all keys of a topic that was deleted.
    pub fn forget(&mut self, topic: &TopicName) {
        self.topics.remove(topic);
    }

    /// How many keys are remembered, at most [`DedupWindow::KEYS_MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.values().map(HashMap::len).sum()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

/// A key and what it names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a key names a publish or one of its messages")]
pub enum ScopedKey {
    /// A publish as a whole.
    Publish(IdempotencyKey),
    /// One message.
    Message(IdempotencyKey),
}

/// What was published under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "logs that recover write it out in full")]
pub struct Publication {
    /// The position of its first event.
    pub first: Seq,
    /// The position of its last.
    pub last: Seq,
    /// How many events it has.
    pub count: u32,
    /// The time that they carry.
    pub time: UnixMillis,
    /// What they say, in short.
    pub fingerprint: Fingerprint,
}

impl Publication {
    /// The answer to a publisher who tries again.
    #[must_use]
    pub fn as_duplicate(&self) -> Appended {
        Appended {
            first: self.first,
            last: self.last,
            count: self.count,
            time: self.time,
            outcome: Outcome::Duplicate,
        }
    }

    fn is_remembered_at(&self, now: UnixMillis) -> bool {
        now.saturating_sub_ms(DedupWindow::AGE_MAX_MS) <= self.time
    }
}

/// A short stand-in for what a publish says: by it, a key that is used again for something else is told from a retry.
///
/// 64-bit FNV-1a, because logs store it and so it must never change. Not meant against attackers: who makes two of
/// their own publishes collide only loses the second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Of one message.
    #[must_use]
    pub fn of_message(message: &Message) -> Fingerprint {
        Hasher::default().message(message).finish()
    }

    /// Of a publish as a whole: its messages and its end. Neither keys nor conditions count.
    #[must_use]
    pub fn of_publish(append: &Append) -> Fingerprint {
        let mut hasher = Hasher::default();
        for new in &append.messages {
            hasher = hasher.message(&new.message);
        }
        hasher.field(append.end.map_or("", EndReason::as_str).as_bytes()).finish()
    }
}

struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher(FNV_OFFSET)
    }
}

impl Hasher {
    fn message(self, message: &Message) -> Hasher {
        let format = match message.format {
            DataFormat::Text => b"t",
            DataFormat::Json => b"j",
            DataFormat::Binary => b"b",
        };
        let event_type = message.event_type.as_ref().map_or("", |t| t.as_str());
        let hasher = self.field(format).field(event_type.as_bytes()).field(&message.data);
        match &message.source {
            None => hasher,
            // Marked, lest it be taken for the next message's format or the end.
            Some(source) => hasher.field(b"s").field(source),
        }
    }

    /// With its length in front, lest two fields run into one.
    fn field(mut self, bytes: &[u8]) -> Hasher {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
        self
    }

    fn finish(self) -> Fingerprint {
        Fingerprint(self.0)
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        text.parse().unwrap()
    }

    fn key(text: &str) -> ScopedKey {
        ScopedKey::Publish(IdempotencyKey::new(text).unwrap())
    }

    fn at(seq: u64, time: u64) -> Publication {
        Publication {
            first: Seq(seq),
            last: Seq(seq),
            count: 1,
            time: UnixMillis(time),
            fingerprint: Fingerprint(0),
        }
    }

    #[test]
    fn a_key_is_remembered_for_ten_minutes_in_its_topic_and_scope() {
        let mut window = DedupWindow::default();
        window.remember(&topic("a"), key("k"), at(1, 1000));
        let last_moment = UnixMillis(1000 + DedupWindow::AGE_MAX_MS);
        assert_eq!(window.seen(&topic("a"), &key("k"), last_moment), Some(&at(1, 1000)));
        assert_eq!(window.seen(&topic("a"), &key("k"), last_moment.saturating_add_ms(1)), None);
        assert_eq!(window.seen(&topic("b"), &key("k"), UnixMillis(1000)), None);
        let of_message = ScopedKey::Message(IdempotencyKey::new("k").unwrap());
        assert_eq!(window.seen(&topic("a"), &of_message, UnixMillis(1000)), None);
    }

    #[test]
    fn the_oldest_key_makes_room_for_the_newest() {
        let mut window = DedupWindow::default();
        for i in 0..=DedupWindow::KEYS_MAX as u64 {
            window.remember(&topic("a"), key(&i.to_string()), at(i + 1, 5));
        }
        assert_eq!(window.len(), DedupWindow::KEYS_MAX);
        assert_eq!(window.seen(&topic("a"), &key("0"), UnixMillis(5)), None);
        assert!(window.seen(&topic("a"), &key("1"), UnixMillis(5)).is_some());
    }

    #[test]
    fn what_is_too_old_takes_no_memory() {
        let mut window = DedupWindow::default();
        window.remember(&topic("a"), key("k"), at(1, 0));
        window.remember(&topic("b"), key("k"), at(2, DedupWindow::AGE_MAX_MS + 1));
        assert_eq!((window.len(), window.topics.len(), window.oldest_first.len()), (1, 1, 1));
    }

    #[test]
    fn a_forgotten_topics_keys_may_be_used_anew() {
        let mut window = DedupWindow::default();
        window.remember(&topic("a"), key("k"), at(1, 0));
        window.forget(&topic("a"));
        assert_eq!(window.seen(&topic("a"), &key("k"), UnixMillis(0)), None);
        window.remember(&topic("a"), key("k"), at(9, 1));
        assert_eq!(window.seen(&topic("a"), &key("k"), UnixMillis(1)), Some(&at(9, 1)));
        assert_eq!(window.oldest_first.len(), 1);
    }

    #[test]
    fn a_fingerprint_tells_fields_apart_and_never_changes() {
        let message = |event_type: Option<&str>, format, data: &str| Message {
            event_type: event_type.map(|t| crate::EventType::new(t).unwrap()),
            format,
            data: data.to_owned().into(),
            source: None,
        };
        let with_source = |source: &'static str| Message {
            source: Some(source.into()),
            ..message(None, DataFormat::Text, "ab")
        };
        let plain = Fingerprint::of_message(&message(None, DataFormat::Text, "ab"));
        assert_eq!(plain, Fingerprint(0x6957_c432_5121_3f51), "{plain:x?}");
        for other in [
            message(Some("a"), DataFormat::Text, "b"),
            message(None, DataFormat::Json, "ab"),
            message(None, DataFormat::Text, "ab "),
            with_source(""),
            with_source("data:ab\n\n"),
        ] {
            assert_ne!(Fingerprint::of_message(&other), plain, "{other:?}");
        }
    }
}

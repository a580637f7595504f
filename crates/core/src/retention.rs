//! What retention removes: decisions only, on numbers that a log brings.
//!
//! [`trim`] decides for one topic; [`LogRetention`] is what a whole log may hold. Removing is the log's work.

use crate::{Config, Seq, UnixMillis};

/// How much a log keeps, whatever its topics. Where a field is `None`, there is no such limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out in full")]
pub struct LogRetention {
    /// Events older than this many milliseconds are removed, as soon as all that lies with them is as old.
    pub max_age_ms: Option<u64>,
    /// The oldest events are removed while the log takes more bytes than this.
    pub max_bytes: Option<u64>,
}

impl LogRetention {
    /// Whether something whose newest event is of this time has outlived its time.
    #[must_use]
    pub fn is_expired(&self, newest: UnixMillis, now: UnixMillis) -> bool {
        self.max_age_ms.is_some_and(|age| newest.saturating_add_ms(age) < now)
    }

    /// Whether a log of this size must shrink.
    #[must_use]
    pub fn is_over(&self, bytes: u64) -> bool {
        self.max_bytes.is_some_and(|max| bytes > max)
    }
}

/// 24 hours or 1 GiB, whichever is first.
impl Default for LogRetention {
    fn default() -> LogRetention {
        LogRetention { max_age_ms: Some(24 * 60 * 60 * 1000), max_bytes: Some(1 << 30) }
    }
}

/// One retained event as far as retention asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "logs write it out in full")]
pub struct Retained {
    /// Its position.
    pub seq: Seq,
    /// Its time.
    pub time: UnixMillis,
    /// How many bytes it takes in the log.
    pub bytes: u64,
}

/// A topic's oldest events, which are to be removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "logs that remove by other rules write it out too")]
pub struct Trim {
    /// The last of them; zero where nothing is to be removed.
    pub through: Seq,
    /// How many they are.
    pub events: u64,
    /// How many bytes they take in the log.
    pub bytes: u64,
}

/// Which of a topic's events its settings no longer allow, given how many there are, how many bytes they take, and the
/// events themselves, oldest first. Looks at no more of them than it removes, and one.
pub fn trim(
    config: &Config,
    now: UnixMillis,
    events: u64,
    bytes: u64,
    oldest_first: impl IntoIterator<Item = Retained>,
) -> Trim {
    let mut trim = Trim::default();
    for event in oldest_first {
        let is_too_old =
            config.max_age_ms.is_some_and(|age| event.time.saturating_add_ms(age) < now);
        let events_left = events.saturating_sub(trim.events);
        let is_too_many = config.max_events.is_some_and(|max| events_left > max.max(1));
        let bytes_left = bytes.saturating_sub(trim.bytes);
        // The newest stays even where it alone is too large, or a topic of large events would always be empty.
        let is_too_much = config.max_bytes.is_some_and(|max| bytes_left > max) && events_left > 1;
        if !(is_too_old || is_too_many || is_too_much) {
            break;
        }
        trim.through = event.seq;
        trim.events += 1;
        trim.bytes += event.bytes;
    }
    trim
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten events of 10 bytes: number i at position i and time i * 100.
    fn trimmed(config: Config, now: u64) -> Trim {
        let events =
            (1..=10).map(|i| Retained { seq: Seq(i), time: UnixMillis(i * 100), bytes: 10 });
        trim(&config, UnixMillis(now), 10, 100, events)
    }

    fn through(seq: u64) -> Trim {
        Trim { through: Seq(seq), events: seq, bytes: seq * 10 }
    }

    #[test]
    fn a_topic_without_limits_keeps_everything() {
        assert_eq!(trimmed(Config::default(), u64::MAX), Trim::default());
    }

    #[test]
    fn a_topic_keeps_as_many_events_as_it_is_set_to() {
        let config = |n| Config { max_events: Some(n), ..Config::default() };
        assert_eq!(trimmed(config(10), 0), Trim::default());
        assert_eq!(trimmed(config(9), 0), through(1));
        assert_eq!(trimmed(config(1), 0), through(9));
        assert_eq!(trimmed(config(0), 0), through(9));
    }

    #[test]
    fn a_topic_keeps_as_many_bytes_as_fit_and_always_its_newest_event() {
        let config = |n| Config { max_bytes: Some(n), ..Config::default() };
        assert_eq!(trimmed(config(100), 0), Trim::default());
        assert_eq!(trimmed(config(99), 0), through(1));
        assert_eq!(trimmed(config(25), 0), through(8));
        assert_eq!(trimmed(config(1), 0), through(9));
    }

    #[test]
    fn an_event_goes_once_it_is_older_than_the_age() {
        let config = |ms| Config { max_age_ms: Some(ms), ..Config::default() };
        assert_eq!(trimmed(config(100), 200), Trim::default());
        assert_eq!(trimmed(config(100), 201), through(1));
        assert_eq!(trimmed(config(0), 5000), through(10));
    }

    #[test]
    fn the_strictest_limit_decides() {
        let config = Config {
            max_events: Some(8),
            max_bytes: Some(50),
            max_age_ms: Some(0),
            ..Config::default()
        };
        assert_eq!(trimmed(config.clone(), 0), through(5));
        assert_eq!(trimmed(config, 750), through(7));
    }

    #[test]
    fn a_log_expires_by_age_and_shrinks_by_bytes() {
        let retention = LogRetention { max_age_ms: Some(10), max_bytes: Some(100) };
        assert!(!retention.is_expired(UnixMillis(0), UnixMillis(10)));
        assert!(retention.is_expired(UnixMillis(0), UnixMillis(11)));
        assert!(!retention.is_over(100));
        assert!(retention.is_over(101));
        let endless = LogRetention { max_age_ms: None, max_bytes: None };
        assert!(!endless.is_expired(UnixMillis(0), UnixMillis(u64::MAX)));
        assert!(!endless.is_over(u64::MAX));
    }
}

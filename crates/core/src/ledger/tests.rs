//! The admission rules, as values in and values out.

use super::*;
use crate::{
    Append, Appended, EndReason, Expected, IdempotencyKey, Message, NewMessage, Outcome,
    SelectorSet, Trim,
};

fn name(text: &str) -> TopicName {
    text.parse().unwrap()
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).unwrap()
}

fn message(data: &str) -> NewMessage {
    let message = Message {
        event_type: None,
        format: crate::DataFormat::Text,
        data: data.to_owned().into(),
        source: None,
    };
    NewMessage { message, key: None }
}

fn keyed(data: &str, text: &str) -> NewMessage {
    NewMessage { key: Some(key(text)), ..message(data) }
}

fn publish<const N: usize>(topic: &str, messages: [NewMessage; N]) -> Append {
    Append {
        topic: name(topic),
        messages: messages.into(),
        end: None,
        key: None,
        expected: Expected::Any,
    }
}

fn ending(topic: &str, reason: EndReason) -> Append {
    Append { end: Some(reason), ..publish(topic, []) }
}

/// Admits in a group of its own, and commits where that was not refused.
fn admit(ledger: &mut Ledger, now: u64, append: Append) -> Result<Appended, Refusal> {
    let mut group = ledger.begin(UnixMillis(now));
    let admission = ledger.admit(&mut group, append)?;
    ledger.commit(group);
    Ok(match admission {
        Admission::Duplicate(appended) => appended,
        Admission::New(admitted) => {
            for AdmittedEvent { event, .. } in &admitted.events {
                ledger.retain(&event.topic, event.seq, 1, 10);
            }
            admitted.appended
        }
    })
}

fn appended(first: u64, count: u32, time: u64, outcome: Outcome) -> Appended {
    let last = Seq(first + u64::from(count) - 1);
    Appended { first: Seq(first), last, count, time: UnixMillis(time), outcome }
}

fn gap(ledger: &Ledger, selectors: &[&str], after: u64) -> Option<u64> {
    let selectors = SelectorSet::new(selectors.iter().map(|s| s.parse().unwrap())).unwrap();
    ledger.removed_behind(&selectors, Seq(after)).map(|seq| seq.0)
}

#[test]
fn positions_run_over_all_topics_and_times_never_fall() {
    let mut ledger = Ledger::default();
    let new = Outcome::New;
    let a = admit(&mut ledger, 50, publish("a", [message("1")]));
    assert_eq!(a, Ok(appended(1, 1, 50, new)));
    let b = admit(&mut ledger, 40, publish("b", [message("1"), message("2")]));
    assert_eq!(b, Ok(appended(2, 2, 50, new)));
    let a = admit(
        &mut ledger,
        60,
        Append { end: Some(EndReason::Done), ..publish("a", [message("2")]) },
    );
    assert_eq!(a, Ok(appended(4, 2, 60, new)));
    assert_eq!((ledger.len(), ledger.events(), ledger.bytes()), (2, 5, 50));
    assert_eq!(admit(&mut ledger, 60, publish("a", [])), Err(Refusal::Empty));
}

#[test]
fn an_event_names_the_one_before_it_in_its_topic() {
    let mut ledger = Ledger::default();
    let mut before = |append| {
        let mut group = ledger.begin(UnixMillis(0));
        let Ok(Admission::New(admitted)) = ledger.admit(&mut group, append) else { panic!() };
        ledger.commit(group);
        admitted.before
    };
    assert_eq!(before(publish("a", [message("1")])), Seq::ZERO);
    assert_eq!(before(publish("b", [message("1")])), Seq::ZERO);
    assert_eq!(before(publish("a", [message("2"), message("3")])), Seq(1));
    assert_eq!(before(publish("a", [message("4")])), Seq(4));
}

#[test]
fn a_publish_with_a_condition_is_refused_where_it_does_not_hold() {
    let mut ledger = Ledger::default();
    let fenced =
        |last| Append { expected: Expected::Last(Seq(last)), ..publish("a", [message("x")]) };
    assert_eq!(admit(&mut ledger, 0, fenced(3)), Err(Refusal::Fenced { last: Seq::ZERO }));
    assert!(admit(&mut ledger, 0, fenced(0)).is_ok());
    assert_eq!(admit(&mut ledger, 0, fenced(0)), Err(Refusal::Fenced { last: Seq(1) }));
    assert!(admit(&mut ledger, 0, publish("b", [message("x")])).is_ok());
    assert!(admit(&mut ledger, 0, fenced(1)).is_ok());
    assert_eq!(ledger.last(), Seq(3));
}

#[test]
fn an_ended_topic_takes_nothing_but_retries() {
    let mut ledger = Ledger::default();
    let last = Append {
        end: Some(EndReason::Done),
        key: Some(key("k")),
        expected: Expected::Last(Seq::ZERO),
        ..publish("a", [message("x")])
    };
    assert_eq!(admit(&mut ledger, 5, last.clone()), Ok(appended(1, 2, 5, Outcome::New)));
    assert_eq!(admit(&mut ledger, 9, last), Ok(appended(1, 2, 5, Outcome::Duplicate)));
    let end = TopicEnd { seq: Seq(2), time: UnixMillis(5), reason: EndReason::Done };
    for refused in [publish("a", [message("x")]), ending("a", EndReason::Done)] {
        let fenced = Append { expected: Expected::Last(Seq(7)), ..refused.clone() };
        assert_eq!(admit(&mut ledger, 9, refused), Err(Refusal::Ended(end)));
        assert_eq!(admit(&mut ledger, 9, fenced), Err(Refusal::Ended(end)));
    }
}

#[test]
fn a_retried_end_of_messages_with_keys_is_a_duplicate() {
    let mut ledger = Ledger::default();
    let last = |reason| Append { end: Some(reason), ..publish("a", [keyed("x", "k")]) };
    let (done, error) = (EndReason::Done, EndReason::Error);
    assert_eq!(admit(&mut ledger, 0, last(done)), Ok(appended(1, 2, 0, Outcome::New)));
    assert_eq!(admit(&mut ledger, 0, last(done)), Ok(appended(1, 2, 0, Outcome::Duplicate)));
    assert!(matches!(admit(&mut ledger, 0, last(error)), Err(Refusal::Ended(_))));
}

#[test]
fn a_key_names_one_content_in_one_topic() {
    let mut ledger = Ledger::default();
    let with_key = |topic, data| Append { key: Some(key("k")), ..publish(topic, [message(data)]) };
    assert_eq!(admit(&mut ledger, 0, with_key("a", "x")), Ok(appended(1, 1, 0, Outcome::New)));
    assert_eq!(
        admit(&mut ledger, 5, with_key("a", "x")),
        Ok(appended(1, 1, 0, Outcome::Duplicate))
    );
    assert_eq!(
        admit(&mut ledger, 5, with_key("a", "y")),
        Err(Refusal::KeyReused { first: Seq(1) })
    );
    assert_eq!(admit(&mut ledger, 5, with_key("b", "y")), Ok(appended(2, 1, 5, Outcome::New)));
    let later = 5 + DedupWindow::AGE_MAX_MS + 1;
    assert_eq!(
        admit(&mut ledger, later, with_key("a", "y")),
        Ok(appended(3, 1, later, Outcome::New))
    );
}

#[test]
fn of_a_batch_only_what_is_new_is_appended() {
    let mut ledger = Ledger::default();
    let first = publish("a", [keyed("1", "k1"), keyed("2", "k2")]);
    assert_eq!(admit(&mut ledger, 0, first), Ok(appended(1, 2, 0, Outcome::New)));
    let mixed = publish("a", [keyed("2", "k2"), message("?"), keyed("3", "k3"), keyed("3", "k3")]);
    assert_eq!(admit(&mut ledger, 7, mixed), Ok(appended(3, 2, 7, Outcome::New)));
    let all_seen = publish("a", [keyed("3", "k3"), keyed("1", "k1")]);
    let answer = admit(&mut ledger, 9, all_seen).unwrap();
    assert_eq!((answer.first, answer.last, answer.count), (Seq(1), Seq(4), 2));
    assert_eq!(answer.outcome, Outcome::Duplicate);
    let other = publish("a", [keyed("4", "k4"), keyed("!", "k1")]);
    assert_eq!(admit(&mut ledger, 9, other), Err(Refusal::KeyReused { first: Seq(1) }));
    let twice = publish("a", [keyed("5", "k5"), keyed("6", "k5")]);
    assert_eq!(admit(&mut ledger, 9, twice), Err(Refusal::KeyReused { first: Seq::ZERO }));
    assert_eq!(ledger.last(), Seq(4));
}

#[test]
fn a_group_sees_its_own_publishes_and_leaves_no_trace_when_dropped() {
    let mut ledger = Ledger::default();
    admit(&mut ledger, 0, publish("a", [message("1")])).unwrap();
    let mut group = ledger.begin(UnixMillis(3));
    let with_key = || Append { key: Some(key("k")), ..publish("a", [message("2")]) };
    assert!(matches!(ledger.admit(&mut group, with_key()), Ok(Admission::New(_))));
    assert!(matches!(ledger.admit(&mut group, with_key()), Ok(Admission::Duplicate(_))));
    assert!(ledger.admit(&mut group, ending("a", EndReason::Done)).is_ok());
    assert!(matches!(
        ledger.admit(&mut group, publish("a", [message("3")])),
        Err(Refusal::Ended(_))
    ));
    assert_eq!(ledger.delete(&mut group, &name("a")), Some(Seq(4)));
    assert_eq!(ledger.delete(&mut group, &name("a")), None);
    assert!(matches!(ledger.admit(&mut group, with_key()), Ok(Admission::New(_))));
    drop(group);

    assert_eq!((ledger.last(), ledger.time()), (Seq(1), UnixMillis(0)));
    let a = ledger.topic(&name("a")).unwrap();
    assert_eq!((a.last, a.end, a.events), (Seq(1), None, 1));
    assert_eq!(admit(&mut ledger, 3, with_key()), Ok(appended(2, 1, 3, Outcome::New)));
}

#[test]
fn a_deleted_topic_starts_anew_without_its_end_keys_and_settings() {
    let mut ledger = Ledger::default();
    let last = || Append {
        key: Some(key("k")),
        end: Some(EndReason::Done),
        ..publish("a", [message("1")])
    };
    let mut group = ledger.begin(UnixMillis(0));
    let config = Config { max_events: Some(1), ..Config::default() };
    assert!(ledger.configure(&mut group, &name("a"), config).is_new);
    ledger.commit(group);
    admit(&mut ledger, 0, last()).unwrap();
    let mut group = ledger.begin(UnixMillis(0));
    ledger.delete(&mut group, &name("a"));
    ledger.commit(group);
    assert!(ledger.is_empty());
    assert_eq!((ledger.events(), ledger.bytes()), (0, 0));
    assert_eq!(gap(&ledger, &["a"], 3), Some(4));
    assert_eq!(gap(&ledger, &["b", "x/*"], 0), None);

    assert_eq!(admit(&mut ledger, 0, last()), Ok(appended(5, 2, 0, Outcome::New)));
    let a = ledger.topic(&name("a")).unwrap();
    assert_eq!((a.removed, a.config.clone()), (Seq(4), None));
    assert_eq!(gap(&ledger, &["*"], 3), Some(4));
    assert_eq!(gap(&ledger, &["*"], 4), None);
}

#[test]
fn a_reader_is_told_of_what_was_trimmed_of_its_topics_only() {
    let mut ledger = Ledger::default();
    for topic in ["a", "b", "a", "b", "a"] {
        admit(&mut ledger, 0, publish(topic, [message("x")])).unwrap();
    }
    let trim = Trim { through: Seq(3), events: 2, bytes: 20 };
    ledger.trim(&name("a"), trim, Some(Seq(5)));
    assert_eq!(gap(&ledger, &["a"], 2), Some(3));
    assert_eq!(gap(&ledger, &["a"], 3), None);
    assert_eq!(gap(&ledger, &["b"], 0), None);
    assert_eq!(gap(&ledger, &["b", "*"], 0), Some(3));
    assert_eq!((ledger.events(), ledger.bytes()), (3, 30));
    let info = ledger.topic(&name("a")).unwrap().info(name("a"));
    assert_eq!((info.first, info.events, info.removed), (Some(Seq(5)), 1, Seq(3)));
}

#[test]
fn a_topic_without_events_and_settings_is_taken_off_the_table() {
    let mut ledger = Ledger::default();
    admit(&mut ledger, 0, ending("a", EndReason::Done)).unwrap();
    ledger.trim(&name("a"), Trim { through: Seq(1), events: 1, bytes: 10 }, None);
    assert!(ledger.topic(&name("a")).is_none());
    assert_eq!(gap(&ledger, &["a"], 0), Some(1));
    // Its end went with it, so it may be used again.
    assert!(admit(&mut ledger, 0, publish("a", [message("x")])).is_ok());
}

#[test]
fn of_topics_gone_long_ago_only_the_highest_position_is_remembered() {
    let mut ledger = Ledger::default();
    let count = Gone::TOPICS_MAX as u64 + 2;
    for i in 1..=count {
        let topic = format!("t{i}");
        admit(&mut ledger, 0, publish(&topic, [message("x")])).unwrap();
        ledger.trim(&name(&topic), Trim { through: Seq(i), events: 1, bytes: 10 }, None);
    }
    assert!(ledger.is_empty());
    assert_eq!(ledger.forgotten(), Seq(2));
    assert_eq!(gap(&ledger, &["never"], 0), Some(2));
    assert_eq!(gap(&ledger, &["never"], 2), None);
    assert_eq!(gap(&ledger, &["t7"], 2), Some(7));
    assert_eq!(gap(&ledger, &["t7"], 7), None);
    assert_eq!(gap(&ledger, &["*"], 7), Some(count));
}

#[test]
fn topics_are_listed_by_name() {
    let mut ledger = Ledger::default();
    for topic in ["b", "a/2", "a/1", "a", "c"] {
        admit(&mut ledger, 0, publish(topic, [message("x")])).unwrap();
    }
    let list = |prefix, after: Option<&str>| -> Vec<String> {
        let after = after.map(name);
        ledger.topics_after(prefix, after.as_ref()).map(|(name, _)| name.to_string()).collect()
    };
    assert_eq!(list("", None), ["a", "a/1", "a/2", "b", "c"]);
    assert_eq!(list("a/", None), ["a/1", "a/2"]);
    assert_eq!(list("a/", Some("a/1")), ["a/2"]);
    assert_eq!(list("b", Some("a/1")), ["b"]);
    assert_eq!(list("a", Some("b")), [""; 0]);
}

#[test]
fn topics_with_an_age_or_a_time_to_live_are_found_by_the_clock() {
    let mut ledger = Ledger::default();
    admit(&mut ledger, 100, ending("b", EndReason::Done)).unwrap();
    let mut group = ledger.begin(UnixMillis(0));
    let ttl = Config { ttl_ms: Some(10), ..Config::default() };
    ledger.configure(&mut group, &name("b"), ttl);
    ledger.configure(&mut group, &name("a"), Config { max_age_ms: Some(1), ..Config::default() });
    ledger.configure(&mut group, &name("c"), Config::default());
    ledger.commit(group);
    assert_eq!(ledger.timed_topics(None, 10), [name("a"), name("b")]);
    assert_eq!(ledger.timed_topics(Some(&name("a")), 10), [name("b")]);
    let b = ledger.topic(&name("b")).unwrap();
    assert!(!b.is_expired(UnixMillis(110)));
    assert!(b.is_expired(UnixMillis(111)));
    assert!(!ledger.topic(&name("a")).unwrap().is_expired(UnixMillis(u64::MAX)));
}

#[test]
fn a_replay_knows_from_the_oldest_event_left_what_is_gone() {
    let mut ledger = Ledger::default();
    ledger.replay_event(&name("a"), Seq(8), Seq(5), None);
    ledger.replay_event(&name("a"), Seq(9), Seq(8), Some((EndReason::Done, UnixMillis(70))));
    ledger.replay_event(&name("b"), Seq(10), Seq(2), None);
    ledger.replay_deletion(&name("b"), Seq(11));
    let snapshot = Snapshot { last: Seq(4), removed: Seq(4), ..Snapshot::default() };
    ledger.replay_snapshot(&name("c"), Seq(12), snapshot);
    ledger.replay_event(&name("d"), Seq(13), Seq(0), None);
    ledger.replay_position(Seq(13), UnixMillis(70));
    ledger.retain(&name("a"), Seq(8), 2, 20);
    ledger.replay_finished();

    let a = ledger.topic(&name("a")).unwrap();
    assert_eq!((a.first, a.last, a.removed, a.events), (Some(Seq(8)), Seq(9), Seq(5), 2));
    let end = TopicEnd { seq: Seq(9), time: UnixMillis(70), reason: EndReason::Done };
    assert_eq!(a.end, Some(end));
    assert_eq!(ledger.topic(&name("b")), None);
    assert_eq!(gap(&ledger, &["b"], 10), Some(11));
    let c = ledger.topic(&name("c")).unwrap();
    assert_eq!((c.last, c.removed, c.config_seq), (Seq(4), Seq(4), Seq(12)));
    // Nothing of it was retained.
    assert_eq!(gap(&ledger, &["d"], 0), Some(13));
    assert_eq!((ledger.last(), ledger.time()), (Seq(13), UnixMillis(70)));
    let appended = admit(&mut ledger, 0, publish("e", [message("x")])).unwrap();
    assert_eq!((appended.first, appended.time), (Seq(14), UnixMillis(70)));
}

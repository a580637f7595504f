//! What every log must do, whatever it keeps its events in.

use std::sync::Arc;

use longwave_core::{
    Append, Config, DataFormat, EndReason, EventType, Expected, LogRetention, Message, NewMessage,
    Outcome, Payload, Seq, TopicEnd, UnixMillis,
};
use longwave_store::{
    APPEND_BYTES_MAX, AppendError, ConfigureError, Configured, DeleteError, LogState, ReadError,
    ReadQuery, Start, TopicsQuery,
};

use crate::fixture::{
    ENDLESS, Fixture, ending, key, name, publish, set, show, sourced, text, typed, within,
};

/// Runs each test on each log.
macro_rules! on_every_log {
    ($($test:ident: $retention:expr;)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $test() {
                super::$test(Fixture::memory($retention)).await;
            })*
        }
        mod segment {
            use super::*;
            $(#[tokio::test] async fn $test() {
                super::$test(Fixture::segment($retention)).await;
            })*
        }
    };
}

on_every_log! {
    what_is_published_is_read_back_and_told_on_the_feed: ENDLESS;
    a_page_ends_at_its_bounds_and_the_next_goes_on_behind_it: ENDLESS;
    a_refused_publish_says_why_and_leaves_no_trace: ENDLESS;
    a_retry_gets_the_first_answer_again: ENDLESS;
    what_an_event_came_in_as_is_kept_beside_it: ENDLESS;
    what_an_event_came_in_as_counts_as_its_data_does: ENDLESS;
    several_topics_are_read_in_the_logs_order: ENDLESS;
    a_reader_starts_at_the_newest_or_at_a_time: ENDLESS;
    a_cursor_from_the_future_counts_as_the_newest_position: ENDLESS;
    a_deleted_topic_is_told_to_followers_and_shown_to_no_reader: ENDLESS;
    settings_are_told_and_take_effect_at_once: ENDLESS;
    a_topic_keeps_what_its_settings_allow_and_tells_of_the_rest: ENDLESS;
    an_ended_topic_is_deleted_when_its_time_to_live_is_over: ENDLESS;
    topics_are_listed_by_name_in_pages: ENDLESS;
    a_log_forgets_what_is_too_old:
        LogRetention { max_age_ms: Some(1000), max_bytes: None };
    a_log_shrinks_to_its_size:
        LogRetention { max_age_ms: None, max_bytes: Some(600_000) };
    a_closed_log_refuses_everything_and_ends_its_feed: ENDLESS;
    appends_at_the_same_time_get_one_order: ENDLESS;
}

async fn what_is_published_is_read_back_and_told_on_the_feed(mut fixture: Fixture) {
    fixture.clock.set(7000);
    let batch = Append {
        end: Some(EndReason::Done),
        ..publish(
            "a/b",
            [
                text("plain"),
                typed("t", DataFormat::Json, b"{}"),
                typed("u", DataFormat::Binary, b"\xff\0"),
            ],
        )
    };
    let appended = fixture.append(batch.clone()).await.unwrap();
    assert_eq!((appended.first, appended.last, appended.count), (Seq(1), Seq(4), 4));
    assert_eq!((appended.time, appended.outcome), (UnixMillis(7000), Outcome::New));
    assert_eq!(fixture.log.committed(), Seq(4));

    let page = fixture.page(&["a/b"], Start::After(Seq::ZERO)).await;
    assert_eq!((page.gap, page.next, page.caught_up), (None, Seq(4), true));
    let payloads: Vec<Payload> = batch
        .messages
        .into_iter()
        .map(|new| Payload::Message(new.message))
        .chain([Payload::End(EndReason::Done)])
        .collect();
    assert_eq!(page.events.iter().map(|e| e.payload.clone()).collect::<Vec<_>>(), payloads);
    for (event, seq) in page.events.iter().zip(1..) {
        assert_eq!((event.seq, event.time), (Seq(seq), UnixMillis(7000)));
        assert_eq!(event.topic, name("a/b"));
    }
    let commit = fixture.next_commit().await;
    assert_eq!((commit.events, commit.through), (page.events, Seq(4)));
}

async fn a_page_ends_at_its_bounds_and_the_next_goes_on_behind_it(fixture: Fixture) {
    for i in 0..10 {
        fixture.publish("a", &format!("{i:010}")).await;
        fixture.publish("b", "x").await;
    }
    for (selectors, max_events, max_bytes, sizes) in [
        (["a", "a"], 4, usize::MAX, vec![4, 4, 2]),
        (["a", "a"], 100, 35, vec![3, 3, 3, 1]),
        (["a", "a"], 100, 0, vec![1; 10]),
        (["a", "b"], 9, usize::MAX, vec![9, 9, 2]),
        (["*", "a"], 9, usize::MAX, vec![9, 9, 2]),
        (["none", "none"], 9, usize::MAX, vec![0]),
    ] {
        let (mut seen, mut after) = (Vec::new(), Seq::ZERO);
        let mut previous = Seq::ZERO;
        loop {
            let selectors = set(&selectors);
            let query = ReadQuery { selectors, start: Start::After(after), max_events, max_bytes };
            let page = within(fixture.log.read(query)).await.unwrap();
            assert_eq!(page.gap, None);
            seen.push(page.events.len());
            for event in &page.events {
                assert!(event.seq > previous && event.seq <= page.next);
                previous = event.seq;
            }
            after = page.next;
            if page.caught_up {
                break;
            }
        }
        assert_eq!(seen, sizes, "{selectors:?} {max_events} {max_bytes}");
        assert_eq!(after, Seq(20));
    }
}

async fn a_refused_publish_says_why_and_leaves_no_trace(fixture: Fixture) {
    fixture.publish("a", "1").await;
    fixture.append(ending("ended", EndReason::Error)).await.unwrap();
    let keyed = |data| Append { key: Some(key("k")), ..publish("k", [text(data)]) };
    fixture.append(keyed("x")).await.unwrap();

    let large = "x".repeat(APPEND_BYTES_MAX as usize);
    let refusals = [
        (publish("a", []), AppendError::Empty),
        (
            publish("ended", [text("x")]),
            AppendError::Ended { seq: Seq(2), reason: EndReason::Error },
        ),
        (
            ending("ended", EndReason::Done),
            AppendError::Ended { seq: Seq(2), reason: EndReason::Error },
        ),
        (keyed("y"), AppendError::KeyReused { first: Seq(3) }),
        (
            Append { expected: Expected::Last(Seq(3)), ..publish("a", [text("x")]) },
            AppendError::Fenced { last: Seq(1) },
        ),
        (
            publish("a", [text(&large)]),
            AppendError::TooLarge { bytes: APPEND_BYTES_MAX + 45, bytes_max: APPEND_BYTES_MAX },
        ),
    ];
    for (append, error) in refusals {
        assert_eq!(fixture.append(append).await, Err(error));
    }
    assert_eq!(fixture.log.committed(), Seq(3));
    assert_eq!(fixture.publish("a", "2").await, 4);
    let (_, events) = fixture.read(&["**"], 0).await;
    assert_eq!(events, ["a@1=1", "ended@2=[error]", "k@3=x", "a@4=2"]);
}

async fn a_retry_gets_the_first_answer_again(fixture: Fixture) {
    let with_key = || Append { key: Some(key("k")), ..publish("a", [text("1"), text("2")]) };
    let first = fixture.append(with_key()).await.unwrap();
    fixture.publish("a", "3").await;
    let again = fixture.append(with_key()).await.unwrap();
    assert_eq!((again.first, again.last, again.count), (first.first, first.last, first.count));
    assert_eq!((again.time, again.outcome), (first.time, Outcome::Duplicate));

    let keyed = |data| NewMessage { key: Some(key(data)), ..text(data) };
    fixture.append(publish("a", [keyed("x")])).await.unwrap();
    let mixed = fixture.append(publish("a", [keyed("x"), keyed("y")])).await.unwrap();
    assert_eq!((mixed.first, mixed.count, mixed.outcome), (Seq(5), 1, Outcome::New));
    let (_, events) = fixture.read(&["a"], 0).await;
    assert_eq!(events, ["a@1=1", "a@2=2", "a@3=3", "a@4=x", "a@5=y"]);
}

async fn what_an_event_came_in_as_is_kept_beside_it(mut fixture: Fixture) {
    let head = Message {
        event_type: Some(EventType::control("longwave.stream").unwrap()),
        format: DataFormat::Json,
        data: "{}".into(),
        source: None,
    };
    let block = NewMessage { key: Some(key("m")), ..sourced("x", ": hi\r\ndata:x\r\n\r\n") };
    let messages =
        vec![NewMessage { message: head, key: None }, block.clone(), sourced("y", ""), text("z")];
    let append = Append { key: Some(key("p")), ..publish("streams/1", messages.clone()) };
    fixture.append(append.clone()).await.unwrap();
    let commit = fixture.next_commit().await;
    let fixture = fixture.reopen(ENDLESS).await;
    let page = fixture.page(&["streams/1"], Start::After(Seq::ZERO)).await;
    for events in [&commit.events, &page.events] {
        assert_eq!(events.len(), messages.len());
        for (event, new) in events.iter().zip(&messages) {
            assert_eq!(event.payload, Payload::Message(new.message.clone()));
        }
    }
    let again = fixture.append(append).await.unwrap();
    assert_eq!((again.first, again.outcome), (Seq(1), Outcome::Duplicate));
    let again = fixture.append(publish("streams/1", [block.clone()])).await.unwrap();
    assert_eq!((again.first, again.outcome), (Seq(2), Outcome::Duplicate));
    let other = NewMessage { key: block.key, ..sourced("x", "data:x\n\n") };
    let refused = fixture.append(publish("streams/1", [other])).await;
    assert_eq!(refused, Err(AppendError::KeyReused { first: Seq(2) }));
}

async fn what_an_event_came_in_as_counts_as_its_data_does(fixture: Fixture) {
    let large = "x".repeat(APPEND_BYTES_MAX as usize);
    let refused = fixture.append(publish("a", [sourced("", &large)])).await;
    let bytes = APPEND_BYTES_MAX + 49;
    assert_eq!(refused, Err(AppendError::TooLarge { bytes, bytes_max: APPEND_BYTES_MAX }));
    fixture.append(publish("a", [sourced("1", "12345"), sourced("2", "12345")])).await.unwrap();
    let info = within(fixture.log.topic(name("a"))).await.unwrap().unwrap();
    assert_eq!(info.bytes, 2 * (44 + 1 + 1 + 4 + 5));
    for (max_bytes, events) in [(12, 2), (11, 1)] {
        let query = ReadQuery {
            selectors: set(&["a"]),
            start: Start::After(Seq::ZERO),
            max_events: 9,
            max_bytes,
        };
        assert_eq!(within(fixture.log.read(query)).await.unwrap().events.len(), events);
    }
}

async fn several_topics_are_read_in_the_logs_order(fixture: Fixture) {
    for topic in ["a", "b/1", "b/2", "a", "c/1/x", "b/1"] {
        fixture.publish(topic, "").await;
    }
    for (selectors, after, expected) in [
        (vec!["b/1"], 0, vec![2, 6]),
        (vec!["b/1"], 2, vec![6]),
        (vec!["b/*"], 0, vec![2, 3, 6]),
        (vec!["a", "b/2"], 0, vec![1, 3, 4]),
        (vec!["**"], 2, vec![3, 4, 5, 6]),
        (vec!["*/*/x", "a"], 1, vec![4, 5]),
        (vec!["nothing", "of/*"], 0, vec![]),
    ] {
        let page = fixture.page(&selectors, Start::After(Seq(after))).await;
        let seqs: Vec<u64> = page.events.iter().map(|e| e.seq.0).collect();
        assert_eq!(seqs, expected, "{selectors:?} after {after}");
        assert_eq!((page.next, page.caught_up, page.gap), (Seq(6), true, None));
    }
}

async fn a_reader_starts_at_the_newest_or_at_a_time(fixture: Fixture) {
    for i in 1..=6 {
        fixture.clock.set(i * 100);
        fixture.publish(if i % 2 == 0 { "even" } else { "odd" }, "").await;
    }
    for (selectors, start, expected) in [
        (vec!["even"], Start::Last(2), vec![4, 6]),
        (vec!["even"], Start::Last(3), vec![2, 4, 6]),
        (vec!["even"], Start::Last(9), vec![2, 4, 6]),
        (vec!["even"], Start::Last(0), vec![]),
        (vec!["even", "odd"], Start::Last(3), vec![4, 5, 6]),
        (vec!["*"], Start::Last(3), vec![4, 5, 6]),
        (vec!["none"], Start::Last(3), vec![]),
        (vec!["*"], Start::Since(UnixMillis(0)), vec![1, 2, 3, 4, 5, 6]),
        (vec!["*"], Start::Since(UnixMillis(500)), vec![5, 6]),
        (vec!["odd"], Start::Since(UnixMillis(301)), vec![5]),
        (vec!["*"], Start::Since(UnixMillis(601)), vec![]),
    ] {
        let page = fixture.page(&selectors, start).await;
        let seqs: Vec<u64> = page.events.iter().map(|e| e.seq.0).collect();
        assert_eq!(seqs, expected, "{selectors:?} {start:?}");
        assert_eq!((page.next, page.caught_up, page.gap), (Seq(6), true, None));
    }
}

async fn a_cursor_from_the_future_counts_as_the_newest_position(fixture: Fixture) {
    fixture.publish("a", "").await;
    for selectors in [["a"], ["*"]] {
        let page = fixture.page(&selectors, Start::After(Seq(u64::MAX))).await;
        assert_eq!((page.events.len(), page.next, page.caught_up), (0, Seq(1), true));
    }
}

async fn a_deleted_topic_is_told_to_followers_and_shown_to_no_reader(mut fixture: Fixture) {
    fixture.publish("a", "1").await;
    fixture.publish("b", "1").await;
    within(fixture.log.delete(name("a"))).await.unwrap();
    assert_eq!(within(fixture.log.delete(name("a"))).await, Err(DeleteError::NotFound));
    fixture.next_commit().await;
    fixture.next_commit().await;
    let commit = fixture.next_commit().await;
    assert_eq!(commit.events.iter().map(|e| show(e)).collect::<Vec<_>>(), ["a@3=[deleted]"]);
    assert_eq!(commit.through, Seq(3));

    assert_eq!(within(fixture.log.topic(name("a"))).await.unwrap(), None);
    assert_eq!(fixture.read(&["a"], 0).await, (Some(3), vec![]));
    assert_eq!(fixture.read(&["a"], 3).await, (None, vec![]));
    assert_eq!(fixture.read(&["*"], 0).await, (Some(3), vec!["b@2=1".to_owned()]));
    assert_eq!(fixture.read(&["b"], 0).await.0, None);

    fixture.publish("a", "again").await;
    assert_eq!(fixture.read(&["a"], 0).await, (Some(3), vec!["a@4=again".to_owned()]));
    assert_eq!(fixture.read(&["a"], 3).await.0, None);
    assert_eq!(fixture.log.status().events, 2);
}

async fn settings_are_told_and_take_effect_at_once(fixture: Fixture) {
    let config = Config { max_events: Some(2), ..Config::default() };
    let configure = || within(fixture.log.configure(name("a"), config.clone()));
    assert_eq!(configure().await, Ok(Configured::Created));
    let committed = fixture.log.committed();
    assert_eq!(configure().await, Ok(Configured::Updated));
    assert_eq!(fixture.log.committed(), committed, "nothing changed");
    let info = within(fixture.log.topic(name("a"))).await.unwrap().unwrap();
    assert_eq!((info.config, info.events, info.last), (Some(config.clone()), 0, Seq::ZERO));

    for i in 0..3 {
        fixture.publish("b", &i.to_string()).await;
    }
    let configured = within(fixture.log.configure(name("b"), config)).await;
    assert_eq!(configured, Ok(Configured::Updated));
    let (gap, events) = fixture.read(&["b"], 0).await;
    assert_eq!((gap, events), (Some(2), vec!["b@3=1".to_owned(), "b@4=2".to_owned()]));
}

async fn a_topic_keeps_what_its_settings_allow_and_tells_of_the_rest(fixture: Fixture) {
    fixture.configure("count", Config { max_events: Some(2), ..Config::default() }).await;
    fixture.configure("size", Config { max_bytes: Some(200), ..Config::default() }).await;
    fixture.configure("age", Config { max_age_ms: Some(50), ..Config::default() }).await;
    for i in 0..4 {
        fixture.clock.set(i * 20);
        for topic in ["count", "size", "age", "free"] {
            fixture.publish(topic, &"x".repeat(40)).await;
        }
    }
    fixture.clock.set(91);
    fixture.retain().await;
    for (topic, gap, seqs) in [
        ("count", Some(8), vec![12, 16]),
        // A record takes 44 bytes besides its texts: two of 88 fit.
        ("size", Some(9), vec![13, 17]),
        ("age", Some(14), vec![18]),
        ("free", None, vec![7, 11, 15, 19]),
    ] {
        let page = fixture.page(&[topic], Start::After(Seq::ZERO)).await;
        let got: Vec<u64> = page.events.iter().map(|e| e.seq.0).collect();
        assert_eq!((page.gap.map(|gap| gap.through.0), &got), (gap, &seqs), "{topic}");
        let info = within(fixture.log.topic(name(topic))).await.unwrap().unwrap();
        assert_eq!(info.events, seqs.len() as u64, "{topic}");
        assert_eq!(info.first, seqs.first().copied().map(Seq), "{topic}");
        assert_eq!(info.removed, Seq(gap.unwrap_or(0)), "{topic}");
        let record_bytes = 44 + topic.len() as u64 + 40;
        assert_eq!(info.bytes, record_bytes * seqs.len() as u64, "{topic}");
        let last = fixture.page(&[topic], Start::Last(1)).await;
        assert_eq!((last.gap, last.events.len()), (None, 1), "{topic}");
    }
    assert_eq!(fixture.read(&["*"], 0).await.0, Some(14));
    assert_eq!(fixture.read(&["*"], 14).await.0, None);
    assert_eq!(fixture.log.status().events, 9);
}

async fn an_ended_topic_is_deleted_when_its_time_to_live_is_over(mut fixture: Fixture) {
    for topic in ["a", "b"] {
        fixture.configure(topic, Config { ttl_ms: Some(100), ..Config::default() }).await;
        fixture.publish(topic, "1").await;
    }
    fixture.append(ending("a", EndReason::Done)).await.unwrap();
    fixture.clock.set(100);
    fixture.retain().await;
    assert_eq!(fixture.read(&["a"], 0).await.1, ["a@2=1", "a@5=[done]"]);
    fixture.clock.set(101);
    fixture.retain().await;
    assert_eq!(within(fixture.log.topic(name("a"))).await.unwrap(), None);
    assert_eq!(fixture.read(&["*"], 0).await, (Some(6), vec!["b@4=1".to_owned()]));
    let mut last = Vec::new();
    while last != ["a@6=[deleted]"] {
        last = fixture.next_commit().await.events.iter().map(|e| show(e)).collect();
    }
}

async fn topics_are_listed_by_name_in_pages(fixture: Fixture) {
    for topic in ["b", "a/2", "c", "a/1"] {
        fixture.publish(topic, "").await;
    }
    fixture.configure("a/3", Config::default()).await;
    let list = async |prefix: &str, after: Option<&str>, limit| {
        let query = TopicsQuery { prefix: prefix.to_owned(), after: after.map(name), limit };
        let page = within(fixture.log.topics(query)).await.unwrap();
        let names: Vec<String> = page.topics.iter().map(|info| info.topic.to_string()).collect();
        (names.join(" "), page.more)
    };
    assert_eq!(list("", None, 9).await, ("a/1 a/2 a/3 b c".to_owned(), false));
    assert_eq!(list("", None, 5).await, ("a/1 a/2 a/3 b c".to_owned(), false));
    assert_eq!(list("", None, 2).await, ("a/1 a/2".to_owned(), true));
    assert_eq!(list("a/", Some("a/1"), 1).await, ("a/2".to_owned(), true));
    assert_eq!(list("a/", Some("a/2"), 1).await, ("a/3".to_owned(), false));
    assert_eq!(list("x", None, 1).await, (String::new(), false));

    fixture.clock.set(5);
    fixture.append(ending("c", EndReason::Timeout)).await.unwrap();
    let info = within(fixture.log.topic(name("c"))).await.unwrap().unwrap();
    let end = TopicEnd { seq: Seq(6), time: UnixMillis(5), reason: EndReason::Timeout };
    assert_eq!((info.first, info.last, info.events), (Some(Seq(3)), Seq(6), 2));
    assert_eq!((info.end, info.config, info.removed), (Some(end), None, Seq::ZERO));
    assert_eq!(fixture.log.status().topics, 5);
}

async fn a_log_forgets_what_is_too_old(fixture: Fixture) {
    fixture.publish("old", "1").await;
    fixture.publish("both", "2").await;
    fixture.clock.set(2000);
    fixture.retain().await;
    fixture.publish("both", "3").await;
    assert_eq!(within(fixture.log.topic(name("old"))).await.unwrap(), None);
    assert_eq!(fixture.read(&["old"], 0).await, (Some(1), vec![]));
    let (gap, events) = fixture.read(&["both"], 0).await;
    assert_eq!((gap, events.len()), (Some(2), 1));
    assert_eq!(fixture.read(&["*"], 2).await.0, None);
    assert_eq!(fixture.log.status().events, 1);
}

async fn a_log_shrinks_to_its_size(fixture: Fixture) {
    fixture.configure("set", Config { max_events: Some(9), ..Config::default() }).await;
    let mut last = 0;
    for _ in 0..2000 {
        last = fixture.publish("a", &"x".repeat(1000)).await;
    }
    fixture.retain().await;
    let status = fixture.log.status();
    assert!(status.bytes <= 600_000 && status.bytes > 400_000, "{status:?}");
    let page = fixture.page(&["a"], Start::After(Seq::ZERO)).await;
    let first = page.events[0].seq.0;
    assert_eq!(page.gap.map(|gap| gap.through.0), Some(first - 1));
    assert_eq!(page.events.last().map(|e| e.seq.0), Some(last));
    let info = within(fixture.log.topic(name("set"))).await.unwrap().unwrap();
    assert_eq!(info.config.and_then(|config| config.max_events), Some(9));
}

async fn a_closed_log_refuses_everything_and_ends_its_feed(mut fixture: Fixture) {
    fixture.publish("a", "1").await;
    within(fixture.log.close()).await;
    within(fixture.log.close()).await;
    assert_eq!(fixture.log.status().state, LogState::Closed);
    let refused = fixture.append(publish("a", [text("2")])).await;
    assert_eq!(refused, Err(AppendError::Closed));
    let refused = within(fixture.log.configure(name("a"), Config::default())).await;
    assert_eq!(refused, Err(ConfigureError::Closed));
    assert_eq!(within(fixture.log.delete(name("a"))).await, Err(DeleteError::Closed));
    let start = Start::After(Seq::ZERO);
    let query = ReadQuery { selectors: set(&["a"]), start, max_events: 1, max_bytes: 1 };
    assert!(matches!(within(fixture.log.read(query)).await, Err(ReadError::Closed)));
    fixture.next_commit().await;
    assert!(within(fixture.commits.recv()).await.is_none(), "the feed has ended");
}

async fn appends_at_the_same_time_get_one_order(mut fixture: Fixture) {
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let log = Arc::clone(&fixture.log);
            tokio::spawn(async move {
                for i in 0..50 {
                    let topic = format!("t{}", task % 7);
                    let data = format!("{task} {i}");
                    let batch = publish(&topic, [text(&data), text(&data)]);
                    let appended = log.append(batch).await.unwrap();
                    assert_eq!(appended.last, appended.first.next());
                }
            })
        })
        .collect();
    for task in tasks {
        within(task).await.unwrap();
    }
    assert_eq!(fixture.log.committed(), Seq(2000));
    let query = ReadQuery {
        selectors: set(&["**"]),
        start: Start::After(Seq::ZERO),
        max_events: 5000,
        max_bytes: usize::MAX,
    };
    let page = within(fixture.log.read(query)).await.unwrap();
    assert_eq!(page.events.len(), 2000);
    let mut told = Vec::new();
    while told.len() < 2000 {
        let commit = fixture.next_commit().await;
        told.extend(commit.events);
        assert_eq!(told.last().map(|event| event.seq), Some(commit.through));
    }
    assert_eq!(told, page.events);
}

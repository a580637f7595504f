//! A log that another one takes over while it is in use.

use std::fs;
use std::path::Path;

use longwave_core::{Config, Seq};
use longwave_store::{AppendError, Log as _, OpenError, Preread, ResumeError, SegmentLog, Start};

use crate::fixture::{ENDLESS, Fixture, name, options, publish, segments, text, within};

fn dir(fixture: &Fixture) -> &Path {
    fixture.dir.as_ref().unwrap().path()
}

fn log(fixture: &Fixture) -> std::sync::Arc<SegmentLog> {
    fixture.segment.clone().unwrap()
}

fn preread(fixture: &Fixture) -> Preread {
    Preread::new(options(dir(fixture), &fixture.clock, ENDLESS))
}

/// Several segments of two topics.
async fn filled() -> Fixture {
    let fixture = Fixture::segment(ENDLESS);
    for i in 0..20 {
        fixture.publish("a", &format!("{i:9000}")).await;
        fixture.publish("b", &i.to_string()).await;
    }
    assert!(segments(dir(&fixture)).len() > 2);
    fixture
}

#[tokio::test]
async fn what_waited_while_the_log_was_released_is_written_when_it_is_taken_back() {
    let fixture = filled().await;
    let log = log(&fixture);
    let released = within(within(log.hold()).await.unwrap().release()).await.unwrap();
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.append(publish("a", [text("late")])).await }
    });
    // Nobody can tell whether the append has begun to wait; in either order it must be written.
    tokio::task::yield_now().await;
    let before = fixture.read(&["b"], 0).await;
    assert_eq!(before.1.len(), 20, "readers notice nothing");
    within(released.resume()).await.unwrap();
    let late = within(waiting).await.unwrap().unwrap();
    assert_eq!(fixture.read(&["a"], late.first.0 - 1).await.1.len(), 1);
    assert_eq!(fixture.read(&["b"], 0).await, before);
    let fixture = fixture.reopen(ENDLESS).await;
    assert_eq!(fixture.read(&["a"], 0).await.1.len(), 21);
}

#[tokio::test]
async fn a_log_that_was_handed_over_refuses_appends_and_can_be_read_until_it_is_closed() {
    let fixture = filled().await;
    let log = log(&fixture);
    let before = fixture.read(&["**"], 0).await;
    let released = within(within(log.hold()).await.unwrap().release()).await.unwrap();
    let (other, _feed) = preread(&fixture).open().unwrap();
    released.hand_over();
    let refused = fixture.append(publish("a", [text("too late")])).await;
    assert_eq!(refused, Err(AppendError::Closed));
    within(other.append(publish("a", [text("new")]))).await.unwrap();
    assert_eq!(fixture.read(&["**"], 0).await, before);
    within(log.close()).await;
    assert_eq!(fixture.append(publish("a", [text("later")])).await, Err(AppendError::Closed));
    within(other.close()).await;
}

#[tokio::test]
async fn a_log_that_another_process_has_written_to_is_not_taken_back() {
    let fixture = filled().await;
    let log = log(&fixture);
    let released = within(within(log.hold()).await.unwrap().release()).await.unwrap();
    let (other, _feed) = preread(&fixture).open().unwrap();
    within(other.append(publish("a", [text("theirs")]))).await.unwrap();
    within(other.close()).await;
    let error = within(released.resume()).await.unwrap_err();
    assert!(matches!(error, ResumeError::Changed), "{error:?}");
    assert_eq!(fixture.append(publish("a", [text("ours")])).await, Err(AppendError::Failed));
    let fixture = fixture.reopen(ENDLESS).await;
    assert_eq!(fixture.read(&["a"], 0).await.1.len(), 21, "theirs is there, ours is not");
}

#[tokio::test]
async fn a_log_that_another_process_has_open_is_not_taken_back() {
    let fixture = filled().await;
    let log = log(&fixture);
    let released = within(within(log.hold()).await.unwrap().release()).await.unwrap();
    let (other, _feed) = preread(&fixture).open().unwrap();
    let error = within(released.resume()).await.unwrap_err();
    assert!(matches!(error, ResumeError::Lock(OpenError::Locked { .. })), "{error:?}");
    within(other.append(publish("a", [text("theirs")]))).await.unwrap();
    within(other.close()).await;
}

#[tokio::test]
async fn an_opened_and_untouched_log_can_be_taken_back() {
    let fixture = filled().await;
    let log = log(&fixture);
    let released = within(within(log.hold()).await.unwrap().release()).await.unwrap();
    // Another process that is killed right after it has opened the log leaves this behind.
    let lock = fs::File::open(dir(&fixture).join("LOCK")).unwrap();
    lock.try_lock().unwrap();
    drop(lock);
    within(released.resume()).await.unwrap();
    fixture.publish("a", "again").await;
}

#[tokio::test]
async fn what_is_read_before_is_not_read_again_and_shows_the_same() {
    let mut fixture = filled().await;
    fixture.configure("b", Config { max_events: Some(30), ..Config::default() }).await;
    let log = log(&fixture);
    let hold = within(log.hold()).await.unwrap();
    let mut preread = preread(&fixture);
    preread.catch_up().unwrap();
    for i in 20..40 {
        fixture.publish("b", &i.to_string()).await;
        fixture.publish("c", &format!("{i:9000}")).await;
    }
    within(log.delete(name("a"))).await.unwrap();
    within(hold.seal()).await;
    let left = preread.catch_up().unwrap();
    assert!(left < 100, "only the head of a new file is left: {left}");
    let topics = ["a", "b", "c"];
    let mut before = Vec::new();
    for topic in topics {
        before.push(within(log.topic(name(topic))).await.unwrap());
    }
    let events = fixture.read(&["b", "c"], 0).await;
    // Whoever reads these files again finds nothing in them.
    let known = segments(dir(&fixture));
    for path in &known[..known.len() - 1] {
        let bytes = fs::read(path).unwrap();
        fs::write(path, vec![0; bytes.len()]).unwrap();
        fs::write(path.with_extension("kept"), bytes).unwrap();
    }
    drop(hold);
    fixture = fixture.hand_over(Some(preread)).await;
    for path in &known[..known.len() - 1] {
        fs::copy(path.with_extension("kept"), path).unwrap();
    }
    for (topic, before) in topics.into_iter().zip(before) {
        assert_eq!(within(fixture.log.topic(name(topic))).await.unwrap(), before, "{topic}");
    }
    assert_eq!(fixture.read(&["b", "c"], 0).await, events);
}

#[tokio::test]
async fn what_was_read_is_thrown_away_where_a_file_is_another_one_or_of_another_length() {
    for change in [replace_by_copy, cut_off_a_byte] {
        let fixture = filled().await;
        let mut preread = preread(&fixture);
        preread.catch_up().unwrap();
        within(fixture.log.close()).await;
        change(&segments(dir(&fixture))[1]);
        let fresh = fixture.reopen(ENDLESS).await;
        let expected = fresh.page(&["**"], Start::After(Seq(0))).await;
        within(fresh.log.close()).await;
        let reread = Fixture::of(preread.open().unwrap(), fresh.clock.clone());
        let page = reread.page(&["**"], Start::After(Seq(0))).await;
        assert_eq!((page.gap, page.events.len()), (expected.gap, expected.events.len()));
        assert_eq!(reread.log.status().corruptions, fresh.log.status().corruptions);
        within(reread.log.close()).await;
    }
}

fn replace_by_copy(path: &Path) {
    let copy = path.with_extension("copy");
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&copy, bytes).unwrap();
    fs::rename(copy, path).unwrap();
}

fn cut_off_a_byte(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
}

#[tokio::test]
async fn retention_waits_while_the_log_is_held_and_goes_on_after() {
    let fixture = filled().await;
    let log = log(&fixture);
    fixture.configure("a", Config { max_events: Some(1), ..Config::default() }).await;
    let hold = within(log.hold()).await.unwrap();
    let before = segments(dir(&fixture));
    let retaining = tokio::spawn({
        let log = log.clone();
        async move { log.retain().await }
    });
    // Each publish is behind it in the queue, so the writer has come past it.
    for i in 0..3 {
        fixture.publish("b", &i.to_string()).await;
    }
    assert_eq!(segments(dir(&fixture)), before);
    assert!(!retaining.is_finished());
    drop(hold);
    // The log is told of that by the next thing that it does.
    fixture.publish("b", "go on").await;
    within(retaining).await.unwrap();
    assert!(segments(dir(&fixture)).len() < before.len());
}

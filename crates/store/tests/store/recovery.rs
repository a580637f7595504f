//! What a segment log finds when it is opened after a crash, on a damaged disk or in a foreign directory.

use std::fs;
use std::path::Path;

use longwave_core::{Append, Config, Durability, EndReason, Outcome, Seq};
use longwave_store::{GapReason, OpenError, SegmentLog, Start};

use crate::fixture::{
    ENDLESS, Fixture, TestClock, copy, ending, key, name, options, publish, segments, text, within,
    written,
};

fn reopened(dir: &Path) -> Fixture {
    let clock = TestClock::default();
    Fixture::open(options(dir, &clock, ENDLESS), clock)
}

fn open_error(dir: &Path) -> OpenError {
    SegmentLog::open(options(dir, &TestClock::default(), ENDLESS)).map(drop).unwrap_err()
}

fn dir(fixture: &Fixture) -> &Path {
    fixture.dir.as_ref().unwrap().path()
}

/// Changes a file's bytes.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn find(bytes: &[u8], what: &str) -> usize {
    bytes.windows(what.len()).position(|window| window == what.as_bytes()).unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill_and_after_a_close() {
    let mut fixture = Fixture::segment(ENDLESS);
    fixture.clock.set(5);
    let config = Config { max_events: Some(3), ttl_ms: Some(9), ..Config::default() };
    fixture.configure("set", config.clone()).await;
    for i in 0..5 {
        fixture.publish("set", &i.to_string()).await;
        fixture.publish("free", &i.to_string()).await;
    }
    fixture.append(ending("set", EndReason::Error)).await.unwrap();
    fixture.publish("gone", "").await;
    within(fixture.log.delete(name("gone"))).await.unwrap();
    let epoch = fixture.log.epoch();
    let infos = async |fixture: &Fixture| {
        let topic = async |text| within(fixture.log.topic(name(text))).await.unwrap();
        [topic("set").await, topic("free").await, topic("gone").await]
    };
    let before = infos(&fixture).await;
    let committed = fixture.log.committed();
    for round in 0..2 {
        fixture = match round {
            0 => fixture.crash(ENDLESS).await,
            _ => fixture.reopen(ENDLESS).await,
        };
        assert_eq!(fixture.log.epoch(), epoch);
        assert_eq!(infos(&fixture).await, before);
        assert!(fixture.log.committed() >= committed);
        assert_eq!(fixture.log.status().corruptions, 0);
        let (gap, events) = fixture.read(&["set"], 0).await;
        assert_eq!(
            (gap, events),
            (
                Some(6),
                vec!["set@8=3", "set@10=4", "set@12=[error]"]
                    .into_iter()
                    .map(String::from)
                    .collect()
            )
        );
        assert_eq!(fixture.read(&["gone"], 0).await, (Some(14), vec![]));
        assert_eq!(fixture.read(&["free"], 0).await.1.len(), 5);
    }
}

#[tokio::test]
async fn a_key_is_known_after_a_restart() {
    let fixture = Fixture::segment(ENDLESS);
    let keyed = || Append {
        key: Some(key("k")),
        end: Some(EndReason::Done),
        ..publish("a", [text("1"), text("2")])
    };
    let message = longwave_core::NewMessage { key: Some(key("m")), ..text("x") };
    let first = fixture.append(keyed()).await.unwrap();
    fixture.append(publish("b", [message.clone()])).await.unwrap();
    let fixture = fixture.crash(ENDLESS).await;
    let again = fixture.append(keyed()).await.unwrap();
    assert_eq!((again.first, again.last, again.count), (first.first, first.last, 3));
    assert_eq!(again.outcome, Outcome::Duplicate);
    let again = fixture.append(publish("b", [message])).await.unwrap();
    assert_eq!((again.first, again.outcome), (Seq(4), Outcome::Duplicate));
}

#[tokio::test]
async fn a_publish_that_was_torn_anywhere_is_not_there_and_the_log_goes_on() {
    let fixture = Fixture::segment(ENDLESS);
    fixture.publish("a", "whole").await;
    let start = written(&segments(dir(&fixture))[0]).len();
    fixture.append(publish("a", [text("torn one"), text("torn two")])).await.unwrap();
    let end = written(&segments(dir(&fixture))[0]).len();
    assert!(start < end);
    for cut in start..end {
        for fill in ["short", "zeros", "flip"] {
            let copy = copy(dir(&fixture));
            damage(&segments(copy.path())[0], |bytes| match fill {
                "short" => bytes.truncate(cut),
                "zeros" => bytes[cut..].fill(0),
                _ => bytes[cut] ^= 0x10,
            });
            let reopened = reopened(copy.path());
            assert_eq!(reopened.read(&["a"], 0).await, (None, vec!["a@1=whole".to_owned()]));
            assert_eq!(reopened.log.status().corruptions, 0);
            reopened.publish("a", "next").await;
            assert_eq!(reopened.read(&["a"], 0).await.1.len(), 2, "{fill} at {cut}");
            within(reopened.log.close()).await;
        }
    }
}

#[tokio::test]
async fn room_set_aside_for_records_is_given_back_when_none_come() {
    let len = |path: &Path| fs::metadata(path).unwrap().len() as usize;
    let fixture = Fixture::segment(ENDLESS);
    fixture.publish("a", "1").await;
    let first = segments(dir(&fixture))[0].clone();
    assert!(len(&first) > written(&first).len());
    assert!((fixture.log.status().bytes as usize) < len(&first), "it counts for nothing");

    let crashed = copy(dir(&fixture));
    let torn = reopened(crashed.path());
    assert_eq!(torn.read(&["a"], 0).await, (None, vec!["a@1=1".to_owned()]));
    assert_eq!(torn.log.status().corruptions, 0);
    let path = segments(crashed.path())[0].clone();
    assert_eq!(len(&path), written(&path).len());

    fixture.publish("a", &"x".repeat(80_000)).await;
    fixture.publish("a", "in the next segment").await;
    let next = segments(dir(&fixture))[1].clone();
    assert_eq!(len(&first), written(&first).len());
    within(fixture.log.close()).await;
    assert_eq!(len(&next), written(&next).len());
}

#[tokio::test]
async fn damage_in_the_middle_is_told_as_a_gap_and_never_served() {
    let fixture = Fixture::segment(ENDLESS);
    for i in 1..=5 {
        fixture.publish(if i == 3 { "a" } else { "b" }, &format!("event {i}")).await;
    }
    let copy = copy(dir(&fixture));
    damage(&segments(copy.path())[0], |bytes| {
        let at = find(bytes, "event 3");
        bytes[at] ^= 1;
    });
    let reopened = reopened(copy.path());
    assert_eq!(reopened.log.status().corruptions, 1);
    for (selectors, after, gap, seqs) in [
        (["*", "a"], 2, Some(3), vec![4, 5]),
        (["*", "a"], 3, None, vec![4, 5]),
        (["a", "a"], 2, Some(3), vec![]),
    ] {
        let page = reopened.page(&selectors, Start::After(Seq(after))).await;
        let got: Vec<u64> = page.events.iter().map(|event| event.seq.0).collect();
        assert_eq!((page.gap.map(|gap| gap.through.0), got), (gap, seqs), "{selectors:?}");
        assert!(page.gap.is_none_or(|gap| gap.reason == GapReason::Corruption));
        assert!(page.caught_up);
    }
    let before = reopened.page(&["*"], Start::After(Seq::ZERO)).await;
    assert_eq!((before.gap, before.events.len(), before.next), (None, 2, Seq(2)));
    assert!(!before.caught_up);
    reopened.publish("a", "next").await;
}

#[tokio::test]
async fn damage_that_appears_while_the_log_is_open_is_found_by_the_reader() {
    let fixture = Fixture::segment(ENDLESS);
    for i in 1..=3 {
        fixture.publish("a", &format!("event {i}")).await;
    }
    let path = &segments(dir(&fixture))[0];
    let at = find(&fs::read(path).unwrap(), "event 2");
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"E", at as u64).unwrap();
    let page = fixture.page(&["a"], Start::After(Seq::ZERO)).await;
    assert_eq!((page.gap, page.events.len(), page.next), (None, 1, Seq(1)));
    assert!(!page.caught_up);
    let page = fixture.page(&["a"], Start::After(Seq(1))).await;
    assert_eq!(
        page.gap.map(|gap| (gap.through, gap.reason)),
        Some((Seq(2), GapReason::Corruption))
    );
    assert_eq!((page.events.len(), page.caught_up), (1, true));
    assert_eq!(fixture.log.status().corruptions, 1);
}

#[tokio::test]
async fn damage_in_a_finished_segment_is_told_wherever_it_is() {
    let fixture = Fixture::segment(ENDLESS);
    for _ in 0..3 {
        fixture.publish("a", &"x".repeat(40_000)).await;
    }
    assert_eq!(segments(dir(&fixture)).len(), 2);
    let len = fs::metadata(&segments(dir(&fixture))[0]).unwrap().len() as usize;
    for at in [70, 5000, len - 1] {
        let copy = copy(dir(&fixture));
        damage(&segments(copy.path())[0], |bytes| bytes[at] ^= 1);
        let reopened = reopened(copy.path());
        let lost = if at == len - 1 { 2 } else { 1 };
        let page = reopened.page(&["a"], Start::After(Seq(lost - 1))).await;
        let gap = page.gap.map(|gap| (gap.through.0, gap.reason));
        assert_eq!(gap, Some((lost, GapReason::Corruption)), "{at}");
        assert_eq!(page.events.last().map(|event| event.seq), Some(Seq(3)));
        assert_eq!(reopened.log.status().corruptions, 1);
    }
    let copy = copy(dir(&fixture));
    damage(&segments(copy.path())[0], |bytes| bytes.truncate(len - 100));
    let page = reopened(copy.path()).page(&["a"], Start::After(Seq(1))).await;
    assert_eq!(page.gap.map(|gap| gap.through), Some(Seq(2)));
}

#[tokio::test]
async fn damage_at_the_end_of_a_log_that_was_closed_is_not_taken_for_a_crash() {
    let fixture = Fixture::segment(ENDLESS);
    fixture.publish("a", "1").await;
    fixture.publish("a", "last").await;
    within(fixture.log.close()).await;
    damage(&segments(dir(&fixture))[0], |bytes| {
        let at = find(bytes, "last");
        bytes[at] ^= 1;
    });
    let reopened = reopened(dir(&fixture));
    assert_eq!(reopened.log.status().corruptions, 1);
    let page = reopened.page(&["a"], Start::After(Seq(1))).await;
    assert_eq!(page.gap.map(|gap| gap.reason), Some(GapReason::Corruption));
}

#[tokio::test]
async fn a_lost_or_garbled_description_is_restored_from_the_segments() {
    let fixture = Fixture::segment(ENDLESS);
    fixture.publish("a", "1").await;
    for change in ["remove", "garble"] {
        let copy = copy(dir(&fixture));
        let meta = copy.path().join("log.meta");
        match change {
            "remove" => fs::remove_file(&meta).unwrap(),
            _ => damage(&meta, |bytes| bytes[20] ^= 1),
        }
        let reopened = reopened(copy.path());
        assert_eq!(reopened.log.epoch(), fixture.log.epoch());
        assert_eq!(reopened.read(&["a"], 0).await.1.len(), 1);
        assert!(meta.exists());
    }
    let copy = copy(dir(&fixture));
    fs::remove_file(copy.path().join("log.meta")).unwrap();
    damage(&segments(copy.path())[0], |bytes| bytes[20] ^= 1);
    assert!(matches!(open_error(copy.path()), OpenError::Description { .. }));
}

#[tokio::test]
async fn a_segment_with_a_garbled_head_is_read_and_reported() {
    let fixture = Fixture::segment(ENDLESS);
    for _ in 0..3 {
        fixture.publish("a", &"x".repeat(40_000)).await;
    }
    for i in 0..2 {
        let copy = copy(dir(&fixture));
        damage(&segments(copy.path())[i], |bytes| bytes[30] ^= 1);
        let reopened = reopened(copy.path());
        assert_eq!(reopened.log.status().corruptions, 1);
        assert_eq!(reopened.read(&["a"], 0).await.1.len(), 3);
        reopened.publish("a", "next").await;
        let reopened = Fixture { dir: Some(copy), ..reopened }.crash(ENDLESS).await;
        assert_eq!(reopened.read(&["a"], 0).await.1.len(), 4);
    }
}

#[tokio::test]
async fn a_directory_that_is_not_this_logs_is_refused_with_what_to_do() {
    let (one, other) = (Fixture::segment(ENDLESS), Fixture::segment(ENDLESS));
    one.publish("a", "1").await;
    other.publish("a", "1").await;
    let error = open_error(dir(&one));
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains("another process"), "{error}");

    let mixed = copy(dir(&one));
    let foreign = mixed.path().join("00000000000000000777.seg");
    fs::copy(&segments(dir(&other))[0], &foreign).unwrap();
    damage(&foreign, |bytes| {
        // Its head says where it begins.
        bytes[24..32].copy_from_slice(&777_u64.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&crc);
    });
    let error = open_error(mixed.path());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("777.seg"), "{error}");

    let newer = copy(dir(&one));
    damage(&newer.path().join("log.meta"), |bytes| bytes[8] = 9);
    let error = open_error(newer.path());
    assert!(matches!(error, OpenError::Version { version: 9, .. }), "{error}");
}

#[tokio::test]
async fn positions_that_a_power_cut_took_are_never_given_again() {
    let fixture = Fixture::segment(ENDLESS);
    let memory = Config { durability: Durability::Memory, ..Config::default() };
    fixture.configure("m", memory).await;
    fixture.publish("d", "durable").await;
    let path = segments(dir(&fixture))[0].clone();
    fixture.publish("m", "first").await;
    let durable = written(&path).len();
    let mut last = 0;
    for _ in 0..10 {
        last = fixture.publish("m", "in memory only").await;
    }
    // A power cut takes all that nobody waited for.
    let copy = copy(dir(&fixture));
    damage(&segments(copy.path())[0], |bytes| bytes.truncate(durable));
    let reopened = reopened(copy.path());
    assert_eq!(reopened.read(&["m"], 0).await.1.len(), 1);
    assert!(reopened.publish("m", "again").await > last);

    // Of a log that was closed nothing is lost, so nothing is left out.
    let next = fixture.log.committed().0;
    let fixture = fixture.reopen(ENDLESS).await;
    assert_eq!(fixture.read(&["m"], 0).await.1.len(), 11);
    assert_eq!(fixture.publish("d", "next").await, next + 2);
}

#[tokio::test]
async fn a_segment_that_is_missing_is_told_as_a_gap() {
    let fixture = Fixture::segment(ENDLESS);
    for _ in 0..6 {
        fixture.publish("a", &"x".repeat(40_000)).await;
    }
    let copy = copy(dir(&fixture));
    let files = segments(copy.path());
    assert_eq!(files.len(), 3);
    fs::remove_file(&files[1]).unwrap();
    let reopened = reopened(copy.path());
    assert_eq!(reopened.log.status().corruptions, 1);
    let page = reopened.page(&["a"], Start::After(Seq(2))).await;
    let gap = page.gap.map(|gap| (gap.through, gap.reason));
    assert_eq!(gap, Some((Seq(4), GapReason::Corruption)));
    assert_eq!(page.events.iter().map(|event| event.seq.0).collect::<Vec<_>>(), [5, 6]);
}

#[tokio::test]
async fn a_log_whose_segments_were_taken_away_is_another_log() {
    let fixture = Fixture::segment(ENDLESS);
    fixture.publish("a", "1").await;
    let copy = copy(dir(&fixture));
    fs::remove_file(&segments(copy.path())[0]).unwrap();
    let reopened = reopened(copy.path());
    assert_ne!(reopened.log.epoch(), fixture.log.epoch());
    assert_eq!(reopened.publish("a", "1").await, 1);
}

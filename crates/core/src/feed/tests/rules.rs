//! One rule of a feed each: starts, gaps, ends, filters, budgets.

use super::model::*;
use crate::*;

fn small() -> TailLimits {
    TailLimits { tail_events_max: 2, ..TailLimits::default() }
}

/// A topic `a` with the events 1, 2, 3 and 5; 4 and 6 are of `b`. All dispatched.
fn six_events() -> World {
    let mut world = World::new(TailLimits::default());
    world.commit(&["a", "a", "a", "b", "a", "b"]);
    world.dispatch();
    world
}

#[test]
fn a_reader_starts_where_it_says_and_then_follows() {
    for (start, expected) in [
        (StartAt::Now, "wait"),
        (StartAt::First, "1 2 3 5 wait"),
        (StartAt::After(id(0)), "1 2 3 5 wait"),
        (StartAt::After(id(2)), "3 5 wait"),
        (StartAt::After(id(4)), "5 wait"),
        (StartAt::After(id(6)), "wait"),
        (StartAt::Last(0), "wait"),
        (StartAt::Last(3), "2 3 5 wait"),
        (StartAt::Last(99), "1 2 3 5 wait"),
        (StartAt::Since(UnixMillis(3)), "3 5 wait"),
        (StartAt::Since(UnixMillis(99)), "wait"),
    ] {
        let mut world = six_events();
        let mut reader = world.join(&["a"], start);
        assert_eq!(reader.drain(&world), expected, "{start:?}");
        world.commit(&["b", "a"]);
        world.dispatch();
        assert_eq!(reader.drain(&world), "8 wait", "{start:?}");
    }
}

#[test]
fn a_cursor_that_the_log_does_not_know_is_told_and_starts_at_the_first_event() {
    let foreign = EventId { epoch: other_epoch(), seq: Seq(2) };
    let mut world = six_events();
    let mut reader = world.join(&["a"], StartAt::After(foreign));
    assert_eq!(reader.drain(&world), "gap(00000-2..7kq2f-0 epoch) 1 2 3 5 wait");
    let mut reader = world.join(&["a"], StartAt::After(id(7)));
    assert_eq!(reader.drain(&world), "gap(7kq2f-7..7kq2f-0 epoch) 1 2 3 5 wait");
    world.retain_from(None, Seq(2));
    let mut reader = world.join(&["a"], StartAt::After(id(u64::MAX)));
    assert_eq!(reader.drain(&world), "gap(7kq2f-18446744073709551615..7kq2f-2 epoch) 3 5 wait");
}

#[test]
fn a_cursor_older_than_retention_is_told_of_the_gap_and_first_is_not() {
    let mut world = six_events();
    world.retain_from(None, Seq(4));
    let mut reader = world.join(&["a"], StartAt::After(id(1)));
    assert_eq!(reader.drain(&world), "gap(7kq2f-1..7kq2f-3 retention) 5 wait");
    assert_eq!(world.join(&["a"], StartAt::After(id(3))).drain(&world), "5 wait");
    assert_eq!(world.join(&["a"], StartAt::First).drain(&world), "5 wait");
    assert_eq!(world.join(&["a"], StartAt::Last(3)).drain(&world), "5 wait");
    world.retain_from(None, Seq(6));
    let mut reader = world.join(&["a"], StartAt::After(id(1)));
    assert_eq!(reader.drain(&world), "gap(7kq2f-1..7kq2f-5 retention) wait");
}

#[test]
fn a_gap_in_the_middle_of_the_log_comes_first_in_what_is_delivered_at_once() {
    let world = six_events();
    let mut feed = world.feed(&["a"], TypeFilter::all(), StartAt::First);
    feed.handle_page(LogPage {
        gap: None,
        events: world.log[..1].to_vec(),
        next: Seq(1),
        log_read: LogRead::Partly,
    });
    assert!(matches!(feed.poll(None, ALL), Step::Deliver(items) if items.len() == 1));
    assert_eq!(feed.poll(None, ALL), Step::ReadLog(ReadFrom::After(Seq(1))));
    feed.handle_page(LogPage {
        gap: Some((Seq(2), GapReason::Corruption)),
        events: world.log[2..3].to_vec(),
        next: Seq(6),
        log_read: LogRead::Whole,
    });
    let Step::Deliver(items) = feed.poll(None, ALL) else { panic!("nothing to deliver") };
    let shown: Vec<String> = items.iter().map(show).collect();
    assert_eq!(shown, ["gap(7kq2f-1..7kq2f-2 corruption)", "3"]);
    assert_eq!(feed.poll(None, ALL), Step::Wait);
    assert_eq!(feed.cursor(), id(6));
}

#[test]
fn a_slow_reader_goes_on_from_the_log_when_the_tail_forgot_what_it_needs() {
    let mut world = World::new(small());
    let mut reader = world.join(&["a"], StartAt::Now);
    world.commit(&["a", "a", "a", "b", "a", "a", "a"]);
    world.dispatch();
    assert_eq!(reader.poll(&world, ALL), Step::ReadLog(ReadFrom::After(Seq(0))));
    assert_eq!(reader.drain(&world), "1 2 3 5 6 7 wait");
}

#[test]
fn what_many_tails_hold_together_is_bounded() {
    let limits = TailLimits { window_events_max: 3, ..TailLimits::default() };
    let mut world = World::new(limits);
    let mut quiet = world.join(&["a"], StartAt::Now);
    let mut busy = world.join(&["b"], StartAt::Now);
    world.commit(&["a", "a"]);
    world.commit(&["b", "b", "b"]);
    world.dispatch();
    let held = |reader: &Reader| world.channels.tail(reader.channel).map(Tail::len);
    assert_eq!((held(&quiet), held(&busy)), (Some(0), Some(3)));
    assert_eq!(quiet.drain(&world), "1 2 wait");
    assert_eq!(busy.drain(&world), "3 4 5 wait");

    let limits = TailLimits { window_bytes_max: 1, ..TailLimits::default() };
    let mut world = World::new(limits);
    let mut reader = world.join(&["a"], StartAt::Now);
    world.commit(&["a"]);
    world.dispatch();
    assert_eq!(world.channels.tail(reader.channel).map(Tail::bytes), Some(0));
    assert_eq!(reader.drain(&world), "1 wait");
}

#[test]
fn a_budget_cuts_what_is_delivered_at_once_but_never_to_nothing() {
    let mut world = six_events();
    for (budget, expected) in [
        (Budget { events_max: 2, bytes_max: usize::MAX }, vec![2, 2]),
        (Budget { events_max: 0, bytes_max: 0 }, vec![1, 1, 1, 1]),
        (Budget { events_max: 9, bytes_max: 2 * Budget::cost(&world.log[0]) }, vec![2, 2]),
    ] {
        let mut reader = world.join(&["a"], StartAt::After(id(0)));
        let mut sizes = Vec::new();
        loop {
            match reader.poll(&world, budget) {
                Step::Deliver(items) => sizes.push(items.len()),
                Step::ReadLog(from) => {
                    let page = world.read(reader.feed.selectors(), from, 99);
                    reader.feed.handle_page(page);
                }
                Step::Wait => break,
                Step::Ended => panic!("ended"),
            }
        }
        assert_eq!(sizes, expected, "{budget:?}");
    }
}

#[test]
fn a_topics_end_is_delivered_and_ends_its_feed() {
    let mut world = World::new(TailLimits::default());
    let mut live = world.join(&["a"], StartAt::Now);
    world.commit(&["a", "a!"]);
    world.dispatch();
    assert_eq!(live.feed.end(), None);
    assert_eq!(live.drain(&world), "1 2!done ended");
    assert_eq!(live.feed.end().map(|end| end.seq), Some(Seq(2)));
    assert_eq!(live.poll(&world, ALL), Step::Ended);

    for start in [StartAt::First, StartAt::After(id(1)), StartAt::Last(1)] {
        let mut late = world.join(&["a"], start);
        assert_eq!(late.feed.end(), None);
        assert!(late.drain(&world).ends_with("2!done ended"), "{start:?}");
    }
    for start in [StartAt::Now, StartAt::After(id(2)), StartAt::Last(0)] {
        let mut past = world.join(&["a"], start);
        assert_eq!(past.feed.end().map(|end| end.seq), Some(Seq(2)), "{start:?}");
        assert_eq!(past.drain(&world), "ended");
    }
}

#[test]
fn of_several_topics_the_last_end_ends_the_feed() {
    let mut world = World::new(TailLimits::default());
    world.commit(&["a!", "b", "c"]);
    world.dispatch();
    let mut reader = world.join(&["a", "b", "c"], StartAt::Now);
    world.commit(&["c!", "b"]);
    world.dispatch();
    assert_eq!(reader.drain(&world), "4!done 5 wait");
    world.commit(&["b!"]);
    world.dispatch();
    assert_eq!(reader.drain(&world), "6!done ended");
    assert_eq!(reader.feed.end().map(|end| end.seq), Some(Seq(6)));

    let mut late = world.join(&["a", "b", "c"], StartAt::Last(2));
    assert_eq!(late.drain(&world), "5 6!done ended");
    let past = world.join(&["a", "b", "c"], StartAt::Now);
    assert_eq!(past.feed.end().map(|end| end.seq), Some(Seq(6)));
}

#[test]
fn with_a_wildcard_a_feed_never_ends() {
    let mut world = World::new(TailLimits::default());
    world.commit(&["a!"]);
    world.dispatch();
    let mut reader = world.join(&["a", "a/*"], StartAt::First);
    assert_eq!(reader.feed.end(), None);
    assert_eq!(reader.drain(&world), "1!done wait");
}

#[test]
fn an_end_that_retention_removed_still_ends_the_feed_behind_its_gap() {
    let mut world = World::new(TailLimits::default());
    world.commit(&["a", "a", "a!"]);
    world.dispatch();
    world.retain_from(None, Seq(3));
    let mut reader = world.join(&["a"], StartAt::After(id(1)));
    let page = world.read(reader.feed.selectors(), ReadFrom::After(Seq(1)), 9);
    assert_eq!(reader.poll(&world, ALL), Step::ReadLog(ReadFrom::After(Seq(1))));
    reader.feed.handle_page(page);
    assert_eq!(reader.feed.end(), None, "the gap is still to be told");
    assert_eq!(reader.drain(&world), "gap(7kq2f-1..7kq2f-3 retention) ended");
    assert_eq!(world.join(&["a"], StartAt::First).drain(&world), "ended");
}

#[test]
fn who_follows_a_topic_that_is_deleted_is_told_even_when_behind() {
    let mut world = World::new(TailLimits::default());
    world.commit(&["a", "a", "a"]);
    world.dispatch();
    let mut live = world.join(&["a"], StartAt::Now);
    let mut behind = world.join(&["a"], StartAt::First);
    let mut wild = world.join(&["*"], StartAt::Now);
    world.delete("a");
    // The log is read when it holds nothing of the deletion and everything of the topic's next life.
    world.commit(&["a"]);
    let page = world.read(behind.feed.selectors(), ReadFrom::After(Seq(0)), 9);
    assert_eq!(behind.poll(&world, ALL), Step::ReadLog(ReadFrom::After(Seq(0))));
    behind.feed.handle_page(page);
    world.dispatch();
    assert_eq!(behind.drain(&world), "4!deleted ended");
    assert_eq!(live.drain(&world), "4!deleted ended");
    assert_eq!(wild.drain(&world), "4!deleted 5 wait");
    assert_eq!(world.join(&["a"], StartAt::First).drain(&world), "5 wait");
}

#[test]
fn a_filter_hides_messages_of_other_types_and_nothing_else() {
    let types =
        |names: &[&str]| TypeFilter::only(names.iter().map(|name| EventType::new(name).unwrap()));
    for (filter, expected) in [
        (types(&["x"]), "2 6!done ended"),
        (types(&["x", "y"]), "2 3 6!done ended"),
        (types(&["message"]), "1 4 5 6!done ended"),
        (types(&["z"]), "6!done ended"),
        (TypeFilter::all(), "1 2 3 4 5 6!done ended"),
    ] {
        let mut world = World::new(TailLimits::default());
        let mut live = world.join_with(&["a"], filter.clone(), StartAt::Now);
        world.commit(&["a", "a:x", "a:y", "a:message", "a", "a!"]);
        world.dispatch();
        assert_eq!(live.drain(&world), expected);
        let mut late = world.join_with(&["a"], filter, StartAt::First);
        assert_eq!(late.drain(&world), expected);
    }
}

#[test]
fn the_cursor_moves_past_what_a_filter_hides() {
    let mut world = World::new(TailLimits::default());
    let only_x = TypeFilter::only([EventType::new("x").unwrap()]);
    let mut reader = world.join_with(&["a"], only_x, StartAt::Now);
    world.commit(&["a", "a"]);
    world.dispatch();
    assert_eq!(reader.poll(&world, ALL), Step::Wait);
    assert_eq!(reader.feed.cursor(), id(2));
    assert_eq!(reader.feed.start(), id(0));
}

#[test]
fn a_reader_without_a_channel_pages_through_the_log_and_then_waits() {
    let mut world = World::new(TailLimits::default());
    world.commit(&["a", "b", "a", "a"]);
    let mut feed = world.feed(&["a"], TypeFilter::all(), StartAt::After(id(0)));
    let mut seen = Vec::new();
    loop {
        match feed.poll(None, ALL) {
            Step::Deliver(items) => seen.extend(items.iter().map(show)),
            Step::ReadLog(from) => feed.handle_page(world.read(&set(&["a"]), from, 1)),
            Step::Wait => break,
            Step::Ended => panic!("ended"),
        }
    }
    assert_eq!(seen, ["1", "3", "4"]);
    assert_eq!((feed.start(), feed.cursor()), (id(0), id(4)));
}

#[test]
fn a_channel_lives_from_its_first_subscriber_to_its_last() {
    let mut channels = Channels::new(Seq(5), TailLimits::default());
    let first = channels.open(&set(&["a", "b"]));
    assert_eq!(channels.open(&set(&["b", "a"])), first);
    assert_ne!(channels.open(&set(&["*"])), first);
    let a = "a".parse().unwrap();
    assert_eq!((channels.len(), channels.subscribers(&a)), (2, 3));
    assert_eq!(channels.close(first), Closed::Subscriber);
    assert_eq!(channels.close(first), Closed::Channel);
    assert!(channels.tail(first).is_none());
    assert_eq!((channels.len(), channels.subscribers(&a)), (1, 1));
    assert_ne!(channels.open(&set(&["a", "b"])), first);
}

#[test]
fn a_commit_touches_each_of_its_channels_once() {
    let mut world = World::new(TailLimits::default());
    let a = world.join(&["a"], StartAt::Now).channel;
    let all = world.join(&["**"], StartAt::Now).channel;
    world.join(&["c"], StartAt::Now);
    world.commit(&["a", "b", "a"]);
    assert_eq!(world.dispatch_one(), [a, all]);
    let events = world.log.clone();
    assert_eq!(world.channels.handle_commit(&events, Seq(3)), [], "it was dispatched already");
    assert_eq!(world.channels.tail(all).map(Tail::len), Some(3));
}

#[test]
fn a_page_that_repeats_what_was_delivered_adds_nothing() {
    let world = six_events();
    let mut feed = world.feed(&["a"], TypeFilter::all(), StartAt::After(id(2)));
    let page = world.read(&set(&["a"]), ReadFrom::After(Seq(0)), 99);
    feed.handle_page(page);
    let Step::Deliver(items) = feed.poll(None, ALL) else { panic!("nothing to deliver") };
    assert_eq!(items.iter().map(show).collect::<Vec<_>>(), ["3", "5"]);
}

#[test]
fn of_topics_that_lost_differently_much_everything_that_is_left_is_delivered() {
    let mut world = World::new(TailLimits::default());
    world.commit(&["a", "b", "a", "b", "a", "b", "a"]);
    world.dispatch();
    world.retain_from(Some("a"), Seq(5));
    let mut reader = world.join(&["*"], StartAt::After(id(0)));
    assert_eq!(reader.drain(&world), "gap(7kq2f-0..7kq2f-1 retention) 2 4 6 7 wait");
    assert_eq!(world.join(&["*"], StartAt::First).drain(&world), "2 4 6 7 wait");

    // The gap is told once for all pages that it concerns, and again only where more was lost since.
    let mut feed = world.feed(&["*"], TypeFilter::all(), StartAt::After(id(1)));
    let mut shown = Vec::new();
    for removed in [5, 5, 7] {
        world.retain_from(Some("a"), Seq(removed));
        assert_eq!(feed.poll(None, ALL), Step::ReadLog(ReadFrom::After(feed.cursor().seq)));
        feed.handle_page(world.read(&set(&["*"]), ReadFrom::After(feed.cursor().seq), 1));
        let Step::Deliver(items) = feed.poll(None, ALL) else { panic!("nothing to deliver") };
        shown.extend(items.iter().map(show));
    }
    assert_eq!(
        shown,
        ["gap(7kq2f-1..7kq2f-1 retention)", "2", "4", "gap(7kq2f-4..7kq2f-5 retention)", "6"]
    );
}

//! One rule at a time.

use longwave_core::{EventType, Seq, StartAt, TailLimits, TypeFilter};

use super::world::*;
use crate::board::{Phase, SubscriberKind};

const ROOMY: usize = 1 << 20;

fn world() -> World {
    World::new(TailLimits::default())
}

fn all() -> TypeFilter {
    TypeFilter::all()
}

#[test]
fn a_live_subscriber_gets_a_batch_with_one_send() {
    let mut world = world();
    let pipe = Pipe::new(ROOMY);
    world.join(&["a"], all(), StartAt::Now, &pipe);
    world.settle();
    assert_eq!(pipe.text(), "head ");
    let sends = pipe.sends();
    world.commit(&["a", "b", "a"]);
    world.commit(&["a"]);
    world.dispatch_all();
    world.settle();
    assert_eq!(pipe.text(), "head 1' 3''' 4'''' ");
    assert_eq!(pipe.sends(), sends + 1);
    assert_eq!(world.engine.poll_delivered(SubscriberKind::Sse), 3);
}

#[test]
fn what_a_full_socket_did_not_take_goes_on_where_it_broke_off() {
    for room in 0..40 {
        let mut world = world();
        let pipe = Pipe::new(room);
        let key = world.join(&["a"], all(), StartAt::Now, &pipe);
        world.settle();
        for _ in 0..4 {
            world.commit(&["a"; 2]);
            world.dispatch_all();
            world.settle();
        }
        let all = "head 1' 2'' 3''' 4'''' 5 6' 7'' 8''' ";
        for _ in room..all.len() {
            world.make_room(key, &pipe, 1);
            world.settle();
        }
        assert_eq!(pipe.text(), all, "{room}");
        assert_eq!(world.engine.poll_delivered(SubscriberKind::Sse), 8, "{room}");
    }
}

#[test]
fn one_that_was_stuck_gets_what_is_left_and_a_gap_for_what_is_not() {
    let mut world = World::new(TailLimits { tail_events_max: 2, ..TailLimits::default() });
    let pipe = Pipe::new(7);
    let key = world.join(&["a"], all(), StartAt::Now, &pipe);
    world.settle();
    for _ in 0..8 {
        world.commit(&["a"]);
        world.dispatch_all();
        world.settle();
    }
    assert_eq!(pipe.text(), "head 1'");
    world.removed = Seq(4);
    world.make_room(key, &pipe, ROOMY);
    world.settle();
    assert_eq!(pipe.text(), "head 1' (1..4) 5 6' 7'' 8''' ");
}

#[test]
fn an_event_that_was_begun_is_ended_even_if_the_log_lost_it() {
    let mut world = World::new(TailLimits { tail_events_max: 1, ..TailLimits::default() });
    let pipe = Pipe::new(6);
    let key = world.join(&["a"], all(), StartAt::Now, &pipe);
    world.settle();
    world.commit(&["a", "a", "a"]);
    world.dispatch_all();
    world.settle();
    assert_eq!(pipe.text(), "head 1");
    world.removed = Seq(2);
    world.make_room(key, &pipe, ROOMY);
    world.settle();
    assert_eq!(pipe.text(), "head 1' (1..2) 3''' ");
}

#[test]
fn a_gap_that_was_begun_is_ended_and_told_once() {
    for room in 5..13 {
        let mut world = World::new(TailLimits { tail_events_max: 1, ..TailLimits::default() });
        world.commit(&["a"; 6]);
        world.removed = Seq(4);
        world.dispatch_all();
        let pipe = Pipe::new(room);
        let key = world.join(&["a"], all(), after(1), &pipe);
        world.settle();
        world.make_room(key, &pipe, ROOMY);
        world.settle();
        assert_eq!(pipe.text(), "head (1..4) 5 6' ", "{room}");
    }
}

#[test]
fn subscribers_of_one_topic_with_different_filters_get_what_they_asked_for() {
    let mut world = world();
    let (every, some) = (Pipe::new(ROOMY), Pipe::new(ROOMY));
    world.join(&["a"], all(), StartAt::Now, &every);
    let only_x = TypeFilter::only([EventType::new("x").unwrap()]);
    world.join(&["a"], only_x, StartAt::Now, &some);
    world.settle();
    world.commit(&["a:x", "a:y", "a"]);
    world.commit(&["a:x"]);
    world.dispatch_all();
    world.settle();
    assert_eq!(every.text(), "head 1' 2'' 3''' 4'''' ");
    assert_eq!(some.text(), "head 1' 4'''' ");
}

#[test]
fn the_end_of_a_topic_ends_the_stream_and_the_connection() {
    let mut world = world();
    let pipe = Pipe::new(ROOMY);
    let key = world.join(&["a"], all(), StartAt::Now, &pipe);
    world.settle();
    world.commit(&["a", "a!"]);
    world.dispatch_all();
    world.settle();
    assert_eq!(pipe.text(), "head 1' 2!done .");
    assert!(pipe.is_finished());
    assert_eq!(world.board.channels(), 0);
    // It is waited for the peer, and no longer than it takes.
    assert_eq!((world.engine.len(), world.permits()), (1, 999));
    world.engine.handle_closed(key);
    assert_eq!((world.engine.len(), world.permits()), (0, 1000));
}

#[test]
fn whoever_follows_a_topic_that_was_made_again_does_not_end_with_the_one_before() {
    let mut world = world();
    let (old, new) = (Pipe::new(ROOMY), Pipe::new(ROOMY));
    world.join(&["a"], all(), StartAt::Now, &old);
    world.settle();
    world.commit(&["a", "a-"]);
    // It comes before the board has heard of the deletion.
    world.join(&["a"], all(), StartAt::Now, &new);
    world.settle();
    world.commit(&["a", "a"]);
    world.dispatch_all();
    world.settle();
    assert_eq!(old.text(), "head 1' 2!deleted .");
    assert_eq!(new.text(), "head 3''' 4'''' ");
    assert!(!new.is_finished());
}

#[test]
fn the_ends_of_several_topics_end_the_stream_with_the_last() {
    let mut world = world();
    let pipe = Pipe::new(ROOMY);
    world.join(&["a", "b"], all(), StartAt::Now, &pipe);
    world.settle();
    world.commit(&["a!"]);
    world.dispatch_all();
    world.settle();
    assert!(!pipe.is_finished());
    world.commit(&["b", "b!"]);
    world.dispatch_all();
    world.settle();
    assert_eq!(pipe.text(), "head 1!done 2'' 3!done .");
    assert!(pipe.is_finished());
}

#[test]
fn a_peer_that_does_not_hang_up_is_hung_up_on() {
    let mut world = world();
    let pipe = Pipe::new(ROOMY);
    world.join(&["a"], all(), StartAt::Now, &pipe);
    world.commit(&["a!"]);
    world.dispatch_all();
    world.settle();
    let due_ms = world.engine.poll_time().unwrap();
    world.engine.handle_time(due_ms.max(10_000));
    assert_eq!((world.engine.len(), world.permits()), (0, 1000));
    assert_eq!(world.engine.poll_time(), None);
}

#[test]
fn no_silence_is_longer_than_a_heartbeat_and_none_interrupts_who_is_served() {
    let mut world = world();
    let pipes: Vec<Pipe> = (0..40).map(|_| Pipe::new(ROOMY)).collect();
    for pipe in &pipes {
        world.join(&["a"], all(), StartAt::Now, pipe);
    }
    world.settle();
    let step_ms = TIMES.heartbeat_ms / 20;
    let mut silent_since = vec![0; pipes.len()];
    let mut lengths: Vec<usize> = pipes.iter().map(|pipe| pipe.text().len()).collect();
    let mut sent_at_once = 0;
    for tick in 1..=200 {
        let now_ms = tick * step_ms;
        world.engine.handle_time(now_ms);
        let mut sent = 0;
        for (i, pipe) in pipes.iter().enumerate() {
            if pipe.text().len() > lengths[i] {
                lengths[i] = pipe.text().len();
                silent_since[i] = now_ms;
                sent += 1;
            }
            assert!(now_ms - silent_since[i] <= TIMES.heartbeat_ms, "{i} at {now_ms}");
        }
        sent_at_once = sent_at_once.max(sent);
    }
    // In cohorts, not all at a time.
    assert!(sent_at_once <= 3, "{sent_at_once}");
    // One that is served all the time needs none.
    let beats = pipes[0].text().matches('~').count();
    for tick in 201..=300 {
        world.commit(&["a"]);
        world.dispatch_all();
        world.settle();
        world.engine.handle_time(tick * step_ms);
    }
    assert_eq!(pipes[0].text().matches('~').count(), beats);
}

#[test]
fn a_drain_tells_everybody_to_come_back_at_another_time() {
    let mut world = world();
    let pipes: Vec<Pipe> = (0..10).map(|_| Pipe::new(ROOMY)).collect();
    for pipe in &pipes {
        world.join(&["a"], all(), StartAt::Now, pipe);
    }
    world.settle();
    world.board.drain();
    world.engine.handle_phase(Phase::Draining);
    let told: Vec<String> = pipes.iter().map(Pipe::text).collect();
    let expected: Vec<String> =
        (0..10).map(|i| format!("head retry={} .", 3_000 + i * 1_000)).collect();
    assert_eq!(told, expected);
    assert!(pipes.iter().all(Pipe::is_finished));
    assert_eq!(world.board.channels(), 0);
}

#[test]
fn one_in_mid_event_is_told_nothing_when_the_server_drains() {
    let mut world = world();
    let pipe = Pipe::new(6);
    world.join(&["a"], all(), StartAt::Now, &pipe);
    world.settle();
    world.commit(&["a"]);
    world.dispatch_all();
    world.settle();
    world.board.drain();
    world.engine.handle_phase(Phase::Draining);
    assert_eq!(pipe.text(), "head 1");
    assert!(pipe.is_finished());
}

#[test]
fn one_that_comes_while_the_server_drains_is_answered() {
    let mut world = world();
    let pipe = Pipe::new(ROOMY);
    world.engine.handle_phase(Phase::Draining);
    world.join(&["a"], all(), StartAt::Now, &pipe);
    world.settle();
    assert_eq!(pipe.text(), "head retry=3000 .");
}

#[test]
fn a_log_that_cannot_be_read_ends_the_stream_in_order() {
    let mut world = World::new(TailLimits { tail_events_max: 1, ..TailLimits::default() });
    world.commit(&["a"; 3]);
    world.dispatch_all();
    let pipe = Pipe::new(ROOMY);
    world.join(&["a"], all(), StartAt::First, &pipe);
    world.engine.take_turn();
    world.begin_reads();
    world.fail_read();
    world.settle();
    assert_eq!(pipe.text(), "head .");
    assert!(pipe.is_finished());
}

#[test]
fn laggards_share_pages_and_no_more_are_read_at_a_time_than_allowed() {
    let mut world = World::new(TailLimits { tail_events_max: 1, ..TailLimits::default() });
    world.commit(&["a"; 30]);
    world.dispatch_all();
    let pipes: Vec<Pipe> = (0..30).map(|_| Pipe::new(ROOMY)).collect();
    for (i, pipe) in (0..).zip(&pipes) {
        // Ten places, three at each.
        world.join(&["a"], all(), after(i / 3), pipe);
    }
    for _ in 0..pipes.len() {
        world.engine.take_turn();
    }
    world.begin_reads();
    assert_eq!(world.reads_under_way(), 4);
    world.settle();
    for (i, pipe) in pipes.iter().enumerate() {
        assert_eq!(pipe.text().split(' ').count() - 2, 30 - i / 3, "{}", pipe.text());
    }
}

#[test]
fn a_burst_that_outgrows_the_tail_is_read_from_the_log() {
    let mut world = World::new(TailLimits { tail_events_max: 2, ..TailLimits::default() });
    let pipe = Pipe::new(ROOMY);
    world.join(&["a"], all(), StartAt::Now, &pipe);
    world.settle();
    world.commit(&["a"; 6]);
    world.dispatch_all();
    world.settle();
    assert_eq!(pipe.text(), "head 1' 2'' 3''' 4'''' 5 6' ");
    // And it is live again.
    let sends = pipe.sends();
    world.commit(&["a"]);
    world.dispatch_all();
    world.touch();
    assert_eq!(pipe.sends(), sends + 1);
}

#[test]
fn a_closed_board_leaves_nothing_open() {
    let mut world = world();
    let pipe = Pipe::new(ROOMY);
    world.join(&["a"], all(), StartAt::Now, &pipe);
    world.settle();
    world.engine.handle_phase(Phase::Closed);
    assert_eq!((world.engine.len(), world.permits(), world.board.channels()), (0, 1000, 0));
}

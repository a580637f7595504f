//! One subscription at a time: starts, ends, drain, close, counts.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use longwave_core::{Config, Epoch};

use super::super::{NextError, SubscribeError};
use super::*;

#[tokio::test]
async fn a_subscriber_gets_what_was_there_and_then_what_comes() {
    let station = Station::open();
    station.publish("a").await;
    station.publish("b").await;
    station.publish("a").await;
    let mut first = station.follow(&["a"], StartAt::First).await;
    let mut now = station.follow(&["*"], StartAt::Now).await;
    let mut last = station.follow(&["*"], StartAt::Last(2)).await;
    let mut resumed = station.follow(&["a"], StartAt::After(station.id(1))).await;
    assert_eq!(items(&mut first, 2).await, "1 3");
    assert_eq!(items(&mut last, 2).await, "2 3");
    assert_eq!(next(&mut resumed).await, "3");
    station.publish("a").await;
    for subscription in [&mut first, &mut now, &mut last, &mut resumed] {
        assert_eq!(next(subscription).await, "4");
        assert_eq!(subscription.cursor(), station.id(4));
    }
}

#[tokio::test]
async fn a_topic_can_be_followed_before_it_exists() {
    let station = Station::open();
    let mut early = station.follow(&["new/topic"], StartAt::First).await;
    station.publish("new/topic").await;
    assert_eq!(next(&mut early).await, "1");
}

#[tokio::test]
async fn a_cursor_of_another_log_is_told_of_a_gap_and_gets_all_that_is_retained() {
    let station = Station::open();
    station.publish("a").await;
    let foreign = EventId { epoch: Epoch::from_random(0), seq: Seq(7) };
    let mut wiped = station.follow(&["a"], StartAt::After(foreign)).await;
    assert_eq!(items(&mut wiped, 2).await, "gap(7..0 epoch) 1");
    let mut restored = station.follow(&["a"], StartAt::After(station.id(9))).await;
    assert_eq!(items(&mut restored, 2).await, "gap(9..0 epoch) 1");
}

#[tokio::test]
async fn a_cursor_older_than_retention_is_told_of_a_gap() {
    let station = Station::open();
    let mut probe = station.follow(&["**"], StartAt::Now).await;
    let config = Config { max_events: Some(1), ..Config::default() };
    station.log.configure("a".parse().unwrap(), config).await.unwrap();
    let first = station.publish("a").await;
    for _ in 0..3 {
        station.publish("a").await;
    }
    station.publish("b").await;
    // Once all was dispatched, a new channel's tail starts behind it.
    items(&mut probe, 5).await;
    drop(probe);
    let lost = first.seq.0 + 2;
    let expected = format!("gap({}..{lost} retention) {}", first.seq, lost + 1);
    let mut one = station.follow(&["a"], StartAt::After(first)).await;
    assert_eq!(items(&mut one, 2).await, expected);
    let mut all = station.follow(&["**"], StartAt::After(first)).await;
    assert_eq!(items(&mut all, 3).await, format!("{expected} {}", lost + 2));
}

#[tokio::test]
async fn a_topics_end_is_the_last_thing_delivered() {
    let station = Station::open();
    let mut live = station.follow(&["a"], StartAt::Now).await;
    station.publish("a").await;
    let end = station.end("a").await;
    assert_eq!(items(&mut live, 2).await, "1 2!done");
    assert_eq!(next(&mut live).await, "ended");
    assert_eq!(next(&mut live).await, "ended");

    let late = station.follow(&["a"], StartAt::First).await;
    assert_eq!(late.end(), None);
    for start in [StartAt::Now, StartAt::After(end)] {
        let past = station.follow(&["a"], start).await;
        assert_eq!(past.end().map(|end| end.seq), Some(end.seq), "{start:?}");
    }
    let partly = station.follow(&["a", "b"], StartAt::Now).await;
    assert_eq!(partly.end(), None);
}

#[tokio::test]
async fn who_follows_a_topic_that_is_deleted_is_told() {
    let station = Station::open();
    station.publish("a").await;
    let mut behind = station.follow(&["a"], StartAt::First).await;
    let mut live = station.follow(&["a"], StartAt::Now).await;
    let mut wild = station.follow(&["*"], StartAt::Now).await;
    station.log.delete("a".parse().unwrap()).await.unwrap();
    assert_eq!(next(&mut live).await, "2!deleted");
    assert_eq!(next(&mut live).await, "ended");
    assert_eq!(next(&mut wild).await, "2!deleted");
    // The tail still has what the deletion took.
    assert_eq!(items(&mut behind, 2).await, "1 2!deleted");
}

#[tokio::test]
async fn a_filter_hides_other_types() {
    let station = Station::open();
    let mut subscription = station
        .hub
        .subscribe(Subscribe { types: types(&["x"]), ..subscribe(&["a"], StartAt::Now) })
        .await
        .unwrap();
    for topic in ["a", "a:x", "a:y"] {
        station.publish(topic).await;
    }
    station.end("a").await;
    assert_eq!(items(&mut subscription, 2).await, "2 4!done");
    assert_eq!(next(&mut subscription).await, "ended");
}

#[tokio::test]
async fn a_dropped_call_has_taken_nothing() {
    let limits = TailLimits { tail_events_max: 2, ..TailLimits::default() };
    let station = Station::with_limits(limits);
    let mut subscription = station.follow(&["a"], StartAt::Now).await;
    let mut received = 0;
    for round in 1..=200u64 {
        station.publish("a").await;
        // Polled once and dropped, it may stand anywhere: at the wait, or at a read of the log.
        let mut call = Box::pin(subscription.next(MUCH));
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(call);
        if let Poll::Ready(Ok(Delivery::Items(items))) = polled {
            for item in items {
                received += 1;
                assert_eq!(show(&item), received.to_string());
            }
        }
        if round % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    while received < 200 {
        for seq in next(&mut subscription).await.split(' ') {
            received += 1;
            assert_eq!(seq, received.to_string());
        }
    }
}

#[tokio::test]
async fn draining_tells_everyone_once_and_takes_nobody_new() {
    let station = Station::open();
    let mut waiting = station.follow(&["a"], StartAt::Now).await;
    let mut busy = station.follow(&["b"], StartAt::Now).await;
    let waiter = tokio::spawn(async move {
        let first = next(&mut waiting).await;
        (first, waiting.next(MUCH).await)
    });
    tokio::task::yield_now().await;
    station.publish("b").await;
    station.hub.drain();
    station.hub.drain();
    assert_eq!(next(&mut busy).await, "draining");
    assert!(matches!(busy.next(MUCH).await, Err(NextError::Closed)));
    let (first, second) = waiter.await.unwrap();
    assert_eq!(first, "draining");
    assert!(matches!(second, Err(NextError::Closed)));
    let refused = station.hub.subscribe(subscribe(&["a"], StartAt::Now)).await;
    assert!(matches!(refused, Err(SubscribeError::Draining)));
}

#[tokio::test]
async fn a_closed_log_closes_its_hub() {
    let station = Station::open();
    let mut waiting = station.follow(&["a"], StartAt::Now).await;
    let waiter = tokio::spawn(async move { waiting.next(MUCH).await });
    tokio::task::yield_now().await;
    station.log.close().await;
    assert!(matches!(waiter.await.unwrap(), Err(NextError::Closed)));
    let refused = station.hub.subscribe(subscribe(&["a"], StartAt::Now)).await;
    assert!(matches!(refused, Err(SubscribeError::Closed)));
}

#[tokio::test]
async fn subscribers_are_counted_by_topic_and_transport_and_leave_nothing_behind() {
    let station = Station::open();
    let topic = "a/b".parse().unwrap();
    let exact = station.follow(&["a/b"], StartAt::Now).await;
    let same = station.follow(&["a/b"], StartAt::First).await;
    let wild = station
        .hub
        .subscribe(Subscribe {
            kind: SubscriberKind::WebSocket,
            ..subscribe(&["a/*", "a/**"], StartAt::Now)
        })
        .await
        .unwrap();
    let other = station.follow(&["b"], StartAt::Now).await;
    assert_eq!(station.hub.subscribers(&topic), 3);
    assert_eq!(station.hub.channels(), 3);
    assert_eq!(station.hub.subscribers_by(SubscriberKind::Sse), 3);
    assert_eq!(station.hub.subscribers_by(SubscriberKind::WebSocket), 1);
    drop((exact, wild));
    assert_eq!(station.hub.subscribers(&topic), 1);
    assert_eq!(station.hub.channels(), 2);
    drop((same, other));
    assert_eq!(station.hub.subscribers(&topic), 0);
    assert_eq!(station.hub.channels(), 0);
    for kind in SubscriberKind::ALL {
        assert_eq!(station.hub.subscribers_by(kind), 0);
    }
}

#[tokio::test]
async fn twenty_thousand_topics_have_a_subscriber_each() {
    let station = Station::open();
    let mut subscriptions = Vec::new();
    for i in 0..20_000 {
        subscriptions.push(station.follow(&[&format!("user/{i}")], StartAt::Now).await);
    }
    assert_eq!(station.hub.channels(), 20_000);
    station.publish("user/77").await;
    station.publish("user/19999").await;
    assert_eq!(next(&mut subscriptions[77]).await, "1");
    assert_eq!(next(&mut subscriptions[19_999]).await, "2");
    drop(subscriptions);
    assert_eq!(station.hub.channels(), 0);
}

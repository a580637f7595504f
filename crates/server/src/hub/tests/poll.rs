//! Pages, at once and after a wait.

use std::time::Duration;

use super::super::{Page, PageQuery};
use super::*;

fn query(selectors: &[&str], start: StartAt) -> PageQuery {
    PageQuery { selectors: set(selectors), types: TypeFilter::all(), start, limit: 3, wait: None }
}

impl Station {
    async fn page(&self, query: PageQuery) -> Page {
        self.hub.page(query).await.unwrap()
    }
}

/// A page in short: its gap, its events, `@` its cursor, `!` that it is the last.
fn brief(page: &Page) -> String {
    let gap = page.gap.iter().map(|gap| show(&FeedItem::Gap(*gap)));
    let events = page.events.iter().map(|event| show(&FeedItem::Event(Arc::clone(event))));
    let mut words: Vec<String> = gap.chain(events).collect();
    words.push(format!("@{}", page.cursor.seq));
    words.extend(page.end.map(|end| format!("!{}", end.seq)));
    words.join(" ")
}

#[tokio::test]
async fn pages_follow_each_other_by_their_cursor() {
    let station = Station::open();
    for topic in ["a", "a", "b", "a", "a", "b"] {
        station.publish(topic).await;
    }
    let first = station.page(query(&["a"], StartAt::First)).await;
    assert_eq!(brief(&first), "1 2 4 @4");
    let second = station.page(query(&["a"], StartAt::After(first.cursor))).await;
    assert_eq!(brief(&second), "5 @5");
    let third = station.page(query(&["a"], StartAt::After(second.cursor))).await;
    assert_eq!(brief(&third), "@5");
    for (start, expected) in [
        (StartAt::Now, "@6"),
        (StartAt::Last(2), "4 5 @5"),
        (StartAt::After(station.id(0)), "1 2 4 @4"),
    ] {
        let page = station.page(query(&["a"], start)).await;
        assert_eq!(brief(&page), expected, "{start:?}");
    }
}

#[tokio::test]
async fn a_page_shows_what_was_acknowledged_even_before_it_is_dispatched() {
    let station = Station::open();
    // Somebody follows, so that there is a tail; on one thread the dispatcher has not run when publish returns.
    let _live = station.follow(&["a"], StartAt::Now).await;
    for seq in 1..=5 {
        let id = station.publish("a").await;
        let page = station.page(query(&["a"], StartAt::After(station.id(seq - 1)))).await;
        assert_eq!(page.cursor, id);
    }
}

#[tokio::test]
async fn the_cursor_of_an_empty_page_stays_while_only_others_publish() {
    let station = Station::open();
    for _ in 0..3 {
        station.publish("other").await;
        let quiet = station.page(query(&["a"], StartAt::First)).await;
        assert_eq!(brief(&quiet), "@0");
        let resumed = station.page(query(&["a"], StartAt::After(station.id(1)))).await;
        assert_eq!(brief(&resumed), "@1");
    }
    let filtered = PageQuery { types: types(&["x"]), ..query(&["other"], StartAt::First) };
    assert_eq!(brief(&station.page(filtered).await), "@0");
    let none_since = query(&["a"], StartAt::Since(longwave_core::UnixMillis(u64::MAX)));
    assert_eq!(brief(&station.page(none_since).await), "@3");
    assert_eq!(brief(&station.page(query(&["a"], StartAt::Last(2))).await), "@3");
}

#[tokio::test]
async fn a_page_tells_the_end_with_its_last_events_and_ever_after() {
    let station = Station::open();
    for _ in 0..3 {
        station.publish("a").await;
    }
    station.end("a").await;
    assert_eq!(brief(&station.page(query(&["a"], StartAt::First)).await), "1 2 3 @3");
    let after = |seq| StartAt::After(station.id(seq));
    assert_eq!(brief(&station.page(query(&["a"], after(3))).await), "4!done @4 !4");
    assert_eq!(brief(&station.page(query(&["a"], after(4))).await), "@4 !4");
    let waited = PageQuery { wait: Some(Duration::MAX), ..query(&["a"], after(4)) };
    assert_eq!(brief(&station.page(waited).await), "@4 !4");
}

#[tokio::test]
async fn a_page_tells_of_a_gap_and_goes_on_behind_it() {
    let station = Station::open();
    station.publish("a").await;
    let ahead = station.page(query(&["a"], StartAt::After(station.id(9)))).await;
    assert_eq!(brief(&ahead), "gap(9..0 epoch) 1 @1");
    let empty = station.page(query(&["b"], StartAt::After(station.id(9)))).await;
    assert_eq!(brief(&empty), "gap(9..0 epoch) @0");
    station.log.delete("a".parse().unwrap()).await.unwrap();
    let gone = station.page(query(&["a"], StartAt::After(station.id(0)))).await;
    assert_eq!(brief(&gone), "gap(0..2 retention) @2");
    assert_eq!(brief(&station.page(query(&["a"], StartAt::After(gone.cursor))).await), "@2");
}

#[tokio::test]
async fn a_page_is_cut_where_a_filter_would_have_it_read_on_and_on() {
    let station = Station::open();
    let message = |_| NewMessage {
        message: Message {
            event_type: None,
            format: DataFormat::Text,
            data: "x".into(),
            source: None,
        },
        key: None,
    };
    let total = Page::EVENTS_READ_MAX + 5000;
    for _ in 0..total / 1000 + 1 {
        station.append("a", (0..1000).map(message).collect(), None).await;
    }
    let rare = station.publish("a:rare").await;
    let wanted = |start| PageQuery { types: types(&["rare"]), ..query(&["a"], start) };
    let cut = station.page(wanted(StartAt::First)).await;
    assert_eq!(cut.events, []);
    assert!(cut.cursor.seq >= Seq(Page::EVENTS_READ_MAX as u64) && cut.cursor.seq < rare.seq);
    let rest = station.page(wanted(StartAt::After(cut.cursor))).await;
    assert_eq!((rest.events.len(), rest.cursor), (1, rare));
}

#[tokio::test]
async fn a_page_is_bounded_in_events_and_bytes() {
    let station = Station::open();
    let message = |bytes: usize| NewMessage {
        message: Message {
            event_type: None,
            format: DataFormat::Text,
            data: "x".repeat(bytes).into(),
            source: None,
        },
        key: None,
    };
    station.append("few", vec![message(Page::BYTES_MAX / 2 - 4096); 3], None).await;
    station.append("many", vec![message(1); Page::EVENTS_MAX + 1], None).await;
    let all = |topic| PageQuery { limit: usize::MAX, ..query(&[topic], StartAt::First) };
    assert_eq!(station.page(all("few")).await.events.len(), 2);
    assert_eq!(station.page(all("many")).await.events.len(), Page::EVENTS_MAX);
    let none = PageQuery { limit: 0, ..query(&["many"], StartAt::First) };
    assert_eq!(station.page(none).await.events.len(), 1);
}

fn long(start: StartAt) -> PageQuery {
    PageQuery { wait: Some(Duration::from_secs(25)), ..query(&["a"], start) }
}

/// Lets other tasks run until a long poll waits.
async fn until_someone_polls(station: &Station) {
    while station.hub.subscribers_by(SubscriberKind::LongPoll) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_long_poll_answers_at_once_where_there_is_something() {
    let station = Station::open();
    station.publish("a").await;
    station.publish("a").await;
    let forever = PageQuery { wait: Some(Duration::MAX), ..query(&["a"], StartAt::First) };
    assert_eq!(brief(&station.page(forever).await), "1 2 @2");
}

#[tokio::test]
async fn a_long_poll_answers_when_something_comes() {
    let station = Arc::new(Station::open());
    station.publish("a").await;
    for round in [0, 1] {
        let start = if round == 0 { StartAt::Now } else { StartAt::After(station.hub.now()) };
        let poller = Arc::clone(&station);
        let poll = tokio::spawn(async move { poller.page(long(start)).await });
        until_someone_polls(&station).await;
        station.publish("b").await;
        let id = station.publish("a").await;
        let page = poll.await.unwrap();
        assert_eq!(brief(&page), format!("{0} @{0}", id.seq));
        assert_eq!(station.hub.channels(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_answers_empty_at_its_deadline_with_the_cursor_it_came_with() {
    let station = Station::open();
    station.publish("a").await;
    let before = tokio::time::Instant::now();
    let page = station.page(long(StartAt::After(station.id(1)))).await;
    assert_eq!(brief(&page), "@1");
    assert_eq!(before.elapsed().as_secs(), 25);
    assert_eq!(station.hub.subscribers_by(SubscriberKind::LongPoll), 0);
}

#[tokio::test]
async fn a_long_poll_answers_empty_when_the_hub_is_drained() {
    let station = Arc::new(Station::open());
    let poller = Arc::clone(&station);
    let poll = tokio::spawn(async move { poller.page(long(StartAt::Now)).await });
    until_someone_polls(&station).await;
    station.hub.drain();
    assert_eq!(brief(&poll.await.unwrap()), "@0");
    assert_eq!(brief(&station.page(long(StartAt::Now)).await), "@0");
}

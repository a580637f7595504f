//! Every reader gets every matching event behind its start once and in order, or is told of a gap in its place, however
//! commits, dispatching, joins, log reads and retention fall.

use std::sync::Arc;

use proptest::prelude::*;

use super::model::*;
use crate::*;

#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<usize>),
    Dispatch,
    /// Keeps only the newest positions, of one topic or of all.
    Retain {
        topic: Option<usize>,
        keep: u64,
    },
    Join {
        selectors: usize,
        filtered: bool,
        start: Where,
    },
    /// Closes a reader's channel seat and checks what it got until then.
    Leave(usize),
    Poll {
        reader: usize,
        events_max: usize,
    },
    /// A reader turns out not to have got what was delivered last, but for so many items of it.
    Rewind {
        reader: usize,
        kept: usize,
    },
    /// A reader that waits forgets everything but its cursor, and is made again from that.
    Park(usize),
    /// The log answers what a reader asked; the answer arrives by [`Op::Receive`], maybe much later.
    Read {
        reader: usize,
        events_max: usize,
    },
    Receive(usize),
}

#[derive(Clone, Debug)]
enum Where {
    Now,
    First,
    Back(u64),
    Last(u64),
    Since(u64),
    Unknown,
}

/// More than any position that the log reaches.
const UNKNOWN: Seq = Seq(u64::MAX);
const TOPICS: [&str; 4] = ["a", "b", "a:x", "c/d"];
const SELECTORS: [&[&str]; 5] = [&["a"], &["a", "b"], &["*"], &["**"], &["c/*", "b"]];

fn op() -> impl Strategy<Value = Op> {
    let place = prop_oneof![
        Just(Where::Now),
        Just(Where::First),
        (0..12u64).prop_map(Where::Back),
        (0..6u64).prop_map(Where::Last),
        (0..12u64).prop_map(Where::Since),
        Just(Where::Unknown),
    ];
    let reader = 0..6usize;
    prop_oneof![
        4 => prop::collection::vec(0..TOPICS.len(), 1..4).prop_map(Op::Commit),
        4 => Just(Op::Dispatch),
        1 => (prop::option::of(0..TOPICS.len()), 0..8u64)
            .prop_map(|(topic, keep)| Op::Retain { topic, keep }),
        2 => (0..SELECTORS.len(), any::<bool>(), place)
            .prop_map(|(selectors, filtered, start)| Op::Join { selectors, filtered, start }),
        1 => reader.clone().prop_map(Op::Leave),
        6 => (reader.clone(), 1..4usize)
            .prop_map(|(reader, events_max)| Op::Poll { reader, events_max }),
        2 => (reader.clone(), 0..3usize)
            .prop_map(|(reader, kept)| Op::Rewind { reader, kept }),
        2 => reader.clone().prop_map(Op::Park),
        3 => (reader.clone(), 1..4usize)
            .prop_map(|(reader, events_max)| Op::Read { reader, events_max }),
        3 => reader.prop_map(Op::Receive),
    ]
}

/// A reader, what it asked for, and what it got.
struct Witness {
    reader: Reader,
    filter: TypeFilter,
    asked: Option<ReadFrom>,
    answer: Option<LogPage>,
    /// Behind this position nothing may be missing; unknown until the log said where "last" is.
    baseline: Option<Seq>,
    /// In front of it something may come: the log had nothing to start with, but the tail still did.
    early: bool,
    /// Up to here "first" and "last" may miss what was removed before they were looked for, without being told.
    first_through: Seq,
    /// What the page that arrived last said to be missing.
    page_gap: Seq,
    /// From where to where it was told that something may be missing.
    told: Vec<(Seq, Seq)>,
    items: Vec<FeedItem>,
    /// How many of the items were delivered last, and not followed by a page.
    last_batch: usize,
}

impl Witness {
    fn join(world: &mut World, selectors: &[&str], filtered: bool, start: &Where) -> Witness {
        let committed = world.committed;
        let filter = if filtered {
            TypeFilter::only([EventType::new("x").unwrap()])
        } else {
            TypeFilter::all()
        };
        let is_what_there_is = matches!(start, Where::First | Where::Last(_));
        let back = |by: u64| committed.0.saturating_sub(by);
        let (start, baseline) = match start {
            Where::Now | Where::Last(0) => (StartAt::Now, Some(committed)),
            Where::First => (StartAt::First, Some(Seq::ZERO)),
            Where::Back(by) => (StartAt::After(id(back(*by))), Some(Seq(back(*by)))),
            Where::Last(count) => (StartAt::Last(*count), None),
            Where::Since(by) => (StartAt::Since(UnixMillis(back(*by))), None),
            Where::Unknown => {
                (StartAt::After(EventId { epoch: other_epoch(), seq: Seq(3) }), Some(Seq::ZERO))
            }
        };
        let reader = world.join_with(selectors, filter.clone(), start);
        Witness {
            reader,
            filter,
            asked: None,
            answer: None,
            baseline,
            early: false,
            first_through: if is_what_there_is { UNKNOWN } else { Seq::ZERO },
            page_gap: Seq::ZERO,
            told: Vec::new(),
            items: Vec::new(),
            last_batch: 0,
        }
    }

    fn rewind(&mut self, kept: usize) {
        let first_of_batch = self.items.len() - self.last_batch;
        let mut rest = self.items.split_off((first_of_batch + kept).min(self.items.len()));
        self.last_batch = 0;
        match rest.first() {
            Some(FeedItem::Event(event)) => self.reader.feed.rewind(Seq(event.seq.0 - 1)),
            Some(FeedItem::Gap(gap)) => {
                // A gap is short enough to be handed on later, whatever happens.
                self.reader.feed.rewind(gap.resumed.seq);
                rest.truncate(1);
                self.items.append(&mut rest);
            }
            None => {}
        }
    }

    /// Makes the feed again from its cursor, where it has nothing to do and that is all it is.
    fn park(&mut self, world: &World) {
        let idle = self.asked.is_none() && self.poll(world, 3) == Step::Wait;
        if idle && self.reader.feed.is_only_a_cursor() {
            let feed = &self.reader.feed;
            let (selectors, types) = (Arc::clone(feed.selectors()), feed.types().clone());
            self.reader.feed = Feed::following(selectors, types, epoch(), feed.cursor().seq);
        }
    }

    fn poll(&mut self, world: &World, events_max: usize) -> Step {
        if self.asked.is_some() {
            return Step::Wait;
        }
        let step = self.reader.poll(world, Budget { events_max, ..ALL });
        self.last_batch = 0;
        match &step {
            Step::Deliver(items) => {
                assert!(!items.is_empty() && items.len() <= events_max);
                for item in items {
                    if let FeedItem::Gap(gap) = item {
                        self.told.push((own_position(gap.after), self.page_gap));
                    }
                }
                self.items.extend_from_slice(items);
                self.last_batch = items.len();
            }
            Step::ReadLog(from) => self.asked = Some(*from),
            Step::Wait | Step::Ended => {}
        }
        step
    }

    fn read(&mut self, world: &World, events_max: usize) {
        if let (Some(from), None) = (self.asked, &self.answer) {
            let page = world.read(self.reader.feed.selectors(), from, events_max);
            self.baseline.get_or_insert_with(|| match (from, page.events.first()) {
                (ReadFrom::After(after), _) => after,
                (_, Some(first)) => Seq(first.seq.0 - 1),
                (_, None) => {
                    self.early = true;
                    page.next
                }
            });
            if self.first_through == UNKNOWN {
                self.first_through = world.removed_behind(self.reader.feed.selectors(), Seq::ZERO);
            }
            self.answer = Some(page);
        }
    }

    fn receive(&mut self) {
        if let Some(page) = self.answer.take() {
            self.asked = None;
            self.last_batch = 0;
            self.page_gap = page.gap.map_or(Seq::ZERO, |(through, _)| through);
            self.reader.feed.handle_page(page);
        }
    }

    /// Runs the reader until it waits.
    fn finish(&mut self, world: &World) {
        for _ in 0..10_000 {
            self.read(world, 3);
            self.receive();
            if self.poll(world, 3) == Step::Wait && self.asked.is_none() {
                return;
            }
        }
        panic!("the reader makes no progress: {:?}", self.reader.feed);
    }

    fn check(&self, world: &World) {
        let baseline = self.baseline.expect("a finished reader knows where it started");
        let mut position = None;
        let mut seen = Vec::new();
        for item in &self.items {
            let (from, to) = match item {
                FeedItem::Event(event) => {
                    seen.push(event.seq);
                    (Seq(event.seq.0 - 1), event.seq)
                }
                FeedItem::Gap(gap) => (own_position(gap.after), gap.resumed.seq),
            };
            assert!(from <= to && position.is_none_or(|position| position <= from), "{item:?}");
            position = Some(to);
        }
        let may_miss = |event: &Event| {
            world.is_removed(event)
                && (event.seq <= self.first_through
                    || self.told.iter().any(|(from, to)| event.seq > *from && event.seq <= *to))
        };
        let mut got = seen.iter().copied().peekable();
        for event in &world.history {
            let wanted =
                self.reader.feed.selectors().matches(&event.topic) && self.filter.passes(event);
            if wanted && got.next_if_eq(&event.seq).is_some() {
                assert!(event.seq > baseline || self.early, "{event:?} was not asked for");
            } else if wanted && event.seq > baseline {
                assert!(may_miss(event), "{event:?} is missing behind {baseline}, {:?}", self.told);
            }
        }
        assert_eq!(got.next(), None, "twice, out of order, or of another topic");
    }
}

/// Where in this log a cursor stands.
fn own_position(cursor: EventId) -> Seq {
    if cursor.epoch == epoch() { cursor.seq } else { Seq::ZERO }
}

fn run(ops: Vec<Op>, limits: TailLimits) {
    let mut world = World::new(limits);
    let mut witnesses: Vec<Witness> = Vec::new();
    let mut opened = 0;
    for op in ops {
        match op {
            Op::Commit(topics) => {
                let topics: Vec<&str> = topics.into_iter().map(|i| TOPICS[i]).collect();
                world.commit(&topics);
            }
            Op::Dispatch => drop(world.dispatch_one()),
            Op::Retain { topic, keep } => {
                let topic = topic.and_then(|i| TOPICS[i].split(':').next());
                world.retain_from(topic, Seq(world.committed.0.saturating_sub(keep)));
            }
            Op::Join { selectors, filtered, start } => {
                opened += 1;
                witnesses.push(Witness::join(&mut world, SELECTORS[selectors], filtered, &start));
            }
            Op::Leave(i) if i < witnesses.len() => {
                let mut gone = witnesses.swap_remove(i);
                world.dispatch();
                gone.finish(&world);
                gone.check(&world);
                world.channels.close(gone.reader.channel);
            }
            Op::Poll { reader, events_max } => {
                if let Some(witness) = witnesses.get_mut(reader) {
                    witness.poll(&world, events_max);
                }
            }
            Op::Read { reader, events_max } => {
                if let Some(witness) = witnesses.get_mut(reader) {
                    witness.read(&world, events_max);
                }
            }
            Op::Rewind { reader, kept } => {
                // One that waits for a page has nothing that it could take back.
                if let Some(witness) = witnesses.get_mut(reader).filter(|w| w.asked.is_none()) {
                    witness.rewind(kept);
                }
            }
            Op::Park(i) => witnesses.get_mut(i).into_iter().for_each(|w| w.park(&world)),
            Op::Receive(i) => witnesses.get_mut(i).into_iter().for_each(Witness::receive),
            Op::Leave(_) => {}
        }
    }
    world.dispatch();
    assert!(witnesses.len() <= opened);
    for mut witness in witnesses {
        witness.finish(&world);
        witness.check(&world);
        world.channels.close(witness.reader.channel);
    }
    assert!(world.channels.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nothing_is_missed_or_doubled_where_the_log_meets_the_tail(
        ops in prop::collection::vec(op(), 1..80),
        tail_events_max in 1..5usize,
        window_events_max in 1..12usize,
    ) {
        let limits = TailLimits { tail_events_max, window_events_max, ..TailLimits::default() };
        run(ops, limits);
    }
}

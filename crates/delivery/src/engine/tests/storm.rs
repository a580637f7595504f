//! Commits, joins, reads, full sockets, retention and hang-ups in every order: what a peer receives is whole pieces, one
//! behind the other, each matching event once, or a gap in its place.

use longwave_core::{EventId, EventType, Seq, StartAt, TailLimits, TypeFilter};
use proptest::prelude::*;

use super::world::*;
use crate::engine::Key;

#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<usize>),
    Dispatch,
    Touch,
    Retain(u64),
    Join { selectors: usize, filtered: bool, start: Start, room: usize },
    Room { peer: usize, bytes: usize },
    Turn,
    BeginReads,
    AnswerRead(usize),
    Tick,
    Leave(usize),
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Now,
    First,
    Back(u64),
    Last(u64),
    OtherEpoch,
}

const TOPICS: [&str; 4] = ["a", "b", "a:x", "c/d"];
const SELECTORS: [&[&str]; 5] = [&["a"], &["a", "b"], &["*"], &["**"], &["c/*", "b"]];

fn op() -> impl Strategy<Value = Op> {
    let start = prop_oneof![
        Just(Start::Now),
        Just(Start::First),
        (0..12u64).prop_map(Start::Back),
        (0..6u64).prop_map(Start::Last),
        Just(Start::OtherEpoch),
    ];
    let peer = 0..8usize;
    prop_oneof![
        4 => prop::collection::vec(0..TOPICS.len(), 1..6).prop_map(Op::Commit),
        4 => Just(Op::Dispatch),
        4 => Just(Op::Touch),
        1 => (0..10u64).prop_map(Op::Retain),
        3 => (0..SELECTORS.len(), any::<bool>(), start, 0..40usize).prop_map(
            |(selectors, filtered, start, room)| Op::Join { selectors, filtered, start, room }),
        6 => (peer.clone(), 1..12usize).prop_map(|(peer, bytes)| Op::Room { peer, bytes }),
        6 => Just(Op::Turn),
        3 => Just(Op::BeginReads),
        3 => (1..4usize).prop_map(Op::AnswerRead),
        1 => Just(Op::Tick),
        1 => peer.prop_map(Op::Leave),
    ]
}

/// What a peer lacks by asking for what it asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lacks {
    Nothing,
    /// What was removed before it was looked for.
    Removed,
    /// What was not among the last when they were looked for, in front of the first that it got.
    Older,
}

struct Peer {
    key: Key,
    pipe: Pipe,
    selectors: &'static [&'static str],
    filter: TypeFilter,
    /// Behind this position nothing may be missing without a gap.
    baseline: Seq,
    /// What it may lack without being told.
    lacks: Lacks,
}

impl Peer {
    fn join(
        world: &mut World,
        selectors: usize,
        filtered: bool,
        start: Start,
        room: usize,
    ) -> Peer {
        let selectors = SELECTORS[selectors];
        let filter = if filtered {
            TypeFilter::only([EventType::new("x").unwrap()])
        } else {
            TypeFilter::all()
        };
        let committed = world.committed();
        let (start_at, baseline) = match start {
            Start::Now => (StartAt::Now, committed),
            Start::First => (StartAt::First, Seq::ZERO),
            Start::Back(by) => {
                let from = committed.0.saturating_sub(by);
                (after(from), Seq(from))
            }
            // Where the last ones begin is only known when they are looked up.
            Start::Last(count) => (StartAt::Last(count), committed),
            Start::OtherEpoch => {
                let id = EventId { epoch: "00000".parse().unwrap(), seq: Seq(3) };
                (StartAt::After(id), Seq::ZERO)
            }
        };
        let pipe = Pipe::new(room);
        let key = world.join(selectors, filter.clone(), start_at, &pipe);
        let lacks = match start {
            Start::Now | Start::Back(_) => Lacks::Nothing,
            Start::First | Start::OtherEpoch => Lacks::Removed,
            Start::Last(_) => Lacks::Older,
        };
        Peer { key, pipe, selectors, filter, baseline, lacks }
    }

    fn check(&self, world: &World) {
        let text = self.pipe.text();
        let pieces = text.strip_prefix("head ").unwrap_or_else(|| panic!("{text:?}"));
        let mut position = Seq::ZERO;
        let mut seen = Vec::new();
        let mut gaps = Vec::new();
        for piece in pieces.split_inclusive(' ') {
            let word = piece.strip_suffix(' ').unwrap_or_else(|| panic!("{piece:?} of {text:?}"));
            if word == "~" {
                continue;
            }
            if let Some(gap) = word.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
                let (from, to) = gap.split_once("..").unwrap();
                let (from, to) = (Seq(from.parse().unwrap()), Seq(to.parse().unwrap()));
                assert!(to >= position, "{text:?}");
                position = to;
                // The first gap of a reader from another epoch begins at a position of that.
                gaps.push(if from > to { Seq::ZERO } else { from });
                continue;
            }
            let seq = Seq(word.trim_end_matches('\'').parse().unwrap());
            assert_eq!(word.len() - seq.to_string().len(), (seq.0 % 5) as usize, "{text:?}");
            assert!(seq > position, "{seq} twice or out of order in {text:?}");
            position = seq;
            seen.push(seq);
        }
        let first = seen.first().copied().unwrap_or(Seq(u64::MAX));
        for event in &world.history {
            let matches = self.selectors.iter().any(|selector| {
                selector.parse::<longwave_core::Selector>().unwrap().matches(&event.topic)
            });
            let wanted = matches && self.filter.passes(event) && event.seq > self.baseline;
            if !wanted || seen.contains(&event.seq) {
                assert!(matches || !seen.contains(&event.seq));
                continue;
            }
            // Of several topics, some may have lost more than others, further on than the gap's end.
            let told = gaps.iter().any(|from| event.seq > *from);
            let removed = event.seq <= world.removed;
            let may_lack = match self.lacks {
                Lacks::Nothing => false,
                Lacks::Removed => removed,
                Lacks::Older => event.seq < first,
            };
            assert!(
                may_lack || (removed && told),
                "{} is missing in {text:?}, {gaps:?}",
                event.seq
            );
        }
    }
}

fn run(ops: Vec<Op>, limits: TailLimits) {
    let mut world = World::new(limits);
    let mut peers: Vec<Peer> = Vec::new();
    let mut now_ms = 0;
    for op in ops {
        match op {
            Op::Commit(topics) => {
                let topics: Vec<&str> = topics.into_iter().map(|i| TOPICS[i]).collect();
                world.commit(&topics);
            }
            Op::Dispatch => world.dispatch(),
            Op::Touch => world.touch(),
            Op::Retain(keep) => {
                let removed = Seq(world.committed().0.saturating_sub(keep));
                world.removed = world.removed.max(removed);
            }
            Op::Join { selectors, filtered, start, room } => {
                peers.push(Peer::join(&mut world, selectors, filtered, start, room));
            }
            Op::Room { peer, bytes } => {
                if let Some(peer) = peers.get(peer) {
                    world.make_room(peer.key, &peer.pipe, bytes);
                }
            }
            Op::Turn => {
                world.engine.go_on();
                world.engine.take_turn();
            }
            Op::BeginReads => world.begin_reads(),
            Op::AnswerRead(events_max) => world.answer_read(events_max),
            Op::Tick => {
                now_ms += TIMES.heartbeat_ms / 20;
                world.engine.handle_time(now_ms);
            }
            Op::Leave(peer) if peer < peers.len() => {
                let peer = peers.swap_remove(peer);
                world.engine.handle_closed(peer.key);
            }
            Op::Leave(_) => {}
        }
    }
    world.dispatch_all();
    for peer in &peers {
        world.make_room(peer.key, &peer.pipe, usize::MAX);
    }
    world.settle();
    for peer in &peers {
        peer.check(&world);
        world.engine.handle_closed(peer.key);
    }
    assert_eq!((world.engine.len(), world.permits(), world.board.channels()), (0, 1000, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_peer_receives_each_event_once_and_whole_or_a_gap(
        ops in prop::collection::vec(op(), 1..120),
        tail_events_max in 1..6usize,
        window_events_max in 1..16usize,
    ) {
        let limits = TailLimits { tail_events_max, window_events_max, ..TailLimits::default() };
        run(ops, limits);
    }
}

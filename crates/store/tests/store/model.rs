//! Random sequences of operations, on a log and on a model of it that is too simple to be wrong.

use std::collections::BTreeMap;

use longwave_core::{Append, Config, EndReason, Selector, Seq};
use longwave_store::{AppendError, DeleteError, Hold, Preread, ReadQuery, Start};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};

use crate::fixture::{ENDLESS, Fixture, name, options, publish, set, show, sourced, text, within};

#[derive(Clone, Debug)]
enum Op {
    Append {
        topic: usize,
        count: u64,
        data_len: usize,
        /// How long the bytes are that each message came in as, where they are kept.
        source_len: Option<usize>,
        end: bool,
    },
    Configure {
        topic: usize,
        events: Option<u64>,
        bytes: Option<u64>,
        age: Option<u64>,
    },
    Delete {
        topic: usize,
    },
    Advance {
        ms: u64,
    },
    Retain,
    Reopen,
    Crash,
    /// Another process begins to take the log over: retention is held, and what is finished is read.
    Preread,
    /// It reads on, behind a new file.
    CatchUp,
    /// It goes before it has the log.
    LetGo,
    TakeOver,
}

const TOPICS: [&str; 5] = ["a", "b/1", "b/2", "b/2/c", "d"];

fn op() -> impl Strategy<Value = Op> {
    let topic = 0..TOPICS.len();
    let limit = |range: std::ops::Range<u64>| proptest::option::weighted(0.4, range);
    // Large enough for a handful to fill a segment.
    let source_len = proptest::option::weighted(0.3, 0..3000_usize);
    let end = proptest::bool::weighted(0.03);
    let append = (topic.clone(), 1..4_u64, 0..9000_usize, source_len, end).prop_map(
        |(topic, count, data_len, source_len, end)| Op::Append {
            topic,
            count,
            data_len,
            source_len,
            end,
        },
    );
    let configure = (topic.clone(), limit(1..6), limit(1..30_000), limit(0..500))
        .prop_map(|(topic, events, bytes, age)| Op::Configure { topic, events, bytes, age });
    prop_oneof![
        20 => append,
        2 => configure,
        1 => topic.prop_map(|topic| Op::Delete { topic }),
        2 => (0..300_u64).prop_map(|ms| Op::Advance { ms }),
        2 => Just(Op::Retain),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
        2 => Just(Op::Preread),
        1 => Just(Op::CatchUp),
        1 => Just(Op::LetGo),
        2 => Just(Op::TakeOver),
    ]
}

/// All events ever, and of each topic up to where they are removed.
#[derive(Default)]
struct Model {
    topics: BTreeMap<usize, Topic>,
    /// Up to where the events of topics that are not in `topics` are removed.
    gone: BTreeMap<usize, u64>,
    now: u64,
    count: u64,
    hold: Option<Hold>,
    preread: Option<Preread>,
    /// Whether a process of the log's has ended; what is known of topics that are gone may be less exact from then on.
    has_restarted: bool,
}

#[derive(Default)]
struct Topic {
    /// Position, time, bytes and what it shows as.
    events: Vec<(u64, u64, u64, String)>,
    removed: u64,
    last: u64,
    end: Option<u64>,
    config: Option<Config>,
}

impl Model {
    fn trim(&mut self, topic: usize) {
        let now = self.now;
        let Some(known) = self.topics.get_mut(&topic) else { return };
        let Some(config) = &known.config else { return };
        while let Some((seq, time, ..)) = known.events.first() {
            let bytes: u64 = known.events.iter().map(|(_, _, bytes, _)| bytes).sum();
            let too_many = config.max_events.is_some_and(|max| known.events.len() as u64 > max);
            let too_much =
                config.max_bytes.is_some_and(|max| bytes > max) && known.events.len() > 1;
            let too_old = config.max_age_ms.is_some_and(|max| time + max < now);
            if !(too_many || too_much || too_old) {
                break;
            }
            known.removed = *seq;
            known.events.remove(0);
        }
    }

    fn trim_all(&mut self) {
        (0..TOPICS.len()).for_each(|topic| self.trim(topic));
    }

    async fn apply(&mut self, fixture: Fixture, op: &Op) -> Fixture {
        let log = &fixture.log;
        match *op {
            Op::Append { topic, count, data_len, source_len, end } => {
                self.append(&fixture, topic, count, data_len, source_len, end).await;
            }
            Op::Configure { topic, events, bytes, age } => {
                let config = Config {
                    max_events: events,
                    max_bytes: bytes,
                    max_age_ms: age,
                    ..Config::default()
                };
                within(log.configure(name(TOPICS[topic]), config.clone())).await.unwrap();
                self.create(&fixture, topic).await;
                let known = self.topics.get_mut(&topic).unwrap();
                if known.config.replace(config.clone()) != Some(config) {
                    self.trim(topic);
                }
            }
            Op::Delete { topic } => {
                let before = log.committed();
                let result = within(log.delete(name(TOPICS[topic]))).await;
                match self.topics.remove(&topic) {
                    None => assert_eq!(result, Err(DeleteError::NotFound)),
                    Some(_) => {
                        assert_eq!(result, Ok(()));
                        assert!(log.committed() > before);
                        self.gone.insert(topic, log.committed().0);
                    }
                }
            }
            Op::Advance { ms } => {
                self.now += ms;
                fixture.clock.set(self.now);
            }
            Op::Preread => self.preread(&fixture).await,
            Op::CatchUp => self.catch_up().await,
            Op::LetGo => self.hold = None,
            Op::TakeOver => {
                self.hold = None;
                let preread = self.preread.take();
                if fixture.segment.is_some() {
                    self.has_restarted = true;
                    self.trim_all();
                }
                return fixture.hand_over(preread).await;
            }
            // Would wait for as long as it is held.
            Op::Retain if self.hold.is_some() => {}
            Op::Retain => {
                fixture.retain().await;
                self.trim_all();
            }
            Op::Reopen | Op::Crash if fixture.dir.is_some() => {
                self.hold = None;
                if matches!(op, Op::Crash) {
                    // It was of another directory.
                    self.preread = None;
                }
                self.has_restarted = true;
                self.trim_all();
                return match op {
                    Op::Reopen => fixture.reopen(ENDLESS).await,
                    _ => fixture.crash(ENDLESS).await,
                };
            }
            Op::Reopen | Op::Crash => {}
        }
        fixture
    }

    async fn preread(&mut self, fixture: &Fixture) {
        let (Some(dir), Some(log)) = (&fixture.dir, &fixture.segment) else { return };
        self.hold = within(log.hold()).await;
        let mut preread = Preread::new(options(dir.path(), &fixture.clock, ENDLESS));
        preread.catch_up().unwrap();
        self.preread = Some(preread);
    }

    async fn catch_up(&mut self) {
        let (Some(hold), Some(preread)) = (&self.hold, &mut self.preread) else { return };
        within(hold.seal()).await;
        assert!(preread.catch_up().unwrap() < 200, "a new file has been begun");
    }

    /// Puts a topic that was not there on the table. A log that has restarted may know less exactly than the model up
    /// to where another topic of the name was removed, but never takes less for removed.
    async fn create(&mut self, fixture: &Fixture, topic: usize) {
        if self.topics.contains_key(&topic) {
            return;
        }
        let mut removed = self.gone.remove(&topic).unwrap_or(0);
        if self.has_restarted {
            let info = within(fixture.log.topic(name(TOPICS[topic]))).await.unwrap().unwrap();
            assert!(info.removed.0 >= removed);
            assert!(info.first.is_none_or(|first| info.removed < first));
            removed = info.removed.0;
        }
        self.topics.insert(topic, Topic { removed, ..Topic::default() });
    }

    async fn append(
        &mut self,
        fixture: &Fixture,
        topic: usize,
        count: u64,
        data_len: usize,
        source_len: Option<usize>,
        end: bool,
    ) {
        let data: Vec<String> =
            (0..count).map(|i| format!("{:<data_len$}", self.count + i)).collect();
        self.count += count;
        let source = |data: &str| source_len.map(|len| format!("{:>len$}", data.trim_end()));
        let batch: Vec<_> = data
            .iter()
            .map(|data| source(data).map_or(text(data), |source| sourced(data, &source)))
            .collect();
        let end_reason = end.then_some(EndReason::Done);
        let result =
            fixture.append(Append { end: end_reason, ..publish(TOPICS[topic], batch) }).await;
        if let Some(seq) = self.topics.get(&topic).and_then(|known| known.end) {
            assert_eq!(result, Err(AppendError::Ended { seq: Seq(seq), reason: EndReason::Done }));
            return;
        }
        let appended = result.unwrap();
        assert_eq!(u64::from(appended.count), count + u64::from(end));
        assert_eq!(appended.last.0, appended.first.0 + u64::from(appended.count) - 1);
        let newest = self.topics.values().map(|topic| topic.last).max().unwrap_or(0);
        assert!(appended.first.0 > newest);
        self.create(fixture, topic).await;
        let known = self.topics.get_mut(&topic).unwrap();
        for (data, seq) in
            data.iter().map(String::as_str).chain(end.then_some("[done]")).zip(appended.first.0..)
        {
            let is_end = data == "[done]";
            let name = TOPICS[topic];
            let data_bytes = if is_end { 0 } else { data.len() as u64 };
            let source = source(data).filter(|_| !is_end);
            let source_bytes = source.as_ref().map_or(0, |source| 4 + source.len() as u64);
            let bytes = 44 + name.len() as u64 + data_bytes + source_bytes;
            let source = source.map_or_else(String::new, |source| format!("<{source}>"));
            known.events.push((seq, self.now, bytes, format!("{name}@{seq}={data}{source}")));
            known.last = seq;
            known.end = is_end.then_some(seq);
        }
        self.trim(topic);
    }

    /// Compares what a reader gets from a position on, page by page.
    async fn check(&self, fixture: &Fixture, selectors: &[&str], after: u64, max_events: usize) {
        let parsed: Vec<Selector> = selectors.iter().map(|s| s.parse().unwrap()).collect();
        let matching = |topic: &usize| parsed.iter().any(|s| s.matches(&name(TOPICS[*topic])));
        let mut expected: Vec<(u64, &str)> = Vec::new();
        let mut lost = 0;
        for (topic, known) in self.topics.iter().filter(|(topic, _)| matching(topic)) {
            lost = lost.max(known.removed);
            let behind = known.events.iter().filter(|(seq, ..)| *seq > after);
            expected.extend(behind.map(|(seq, _, _, shown)| (*seq, shown.as_str())));
            let info = within(fixture.log.topic(name(TOPICS[*topic]))).await.unwrap().unwrap();
            assert_eq!(info.events, known.events.len() as u64);
            assert_eq!(info.bytes, known.events.iter().map(|e| e.2).sum::<u64>());
            assert_eq!(info.first.map(|seq| seq.0), known.events.first().map(|e| e.0));
            assert_eq!((info.last.0, info.removed.0), (known.last, known.removed));
            assert_eq!(info.end.map(|end| end.seq.0), known.end);
            assert_eq!(info.config, known.config);
        }
        expected.sort_unstable();
        let is_exact = !self.has_restarted
            || parsed.iter().all(|s| {
                s.as_topic().is_some_and(|topic| {
                    self.topics.keys().any(|known| TOPICS[*known] == topic.as_str())
                })
            });
        for (_, removed) in self.gone.iter().filter(|(topic, _)| matching(topic)) {
            lost = lost.max(*removed);
        }
        let mut got = Vec::new();
        let mut start = after;
        loop {
            let query = ReadQuery {
                selectors: set(selectors),
                start: Start::After(Seq(start)),
                max_events,
                max_bytes: 50_000,
            };
            let page = within(fixture.log.read(query)).await.unwrap();
            let gap = page.gap.map(|gap| gap.through.0);
            let expected_gap = (lost > start).then_some(lost);
            if is_exact {
                assert_eq!(gap, expected_gap, "{selectors:?} after {start}");
            } else {
                assert!(gap >= expected_gap, "{selectors:?} after {start}: {gap:?}");
            }
            assert!(page.events.len() <= max_events);
            got.extend(page.events.iter().map(|event| show(event)));
            assert!(page.caught_up || page.next.0 > start, "a page goes on");
            start = page.next.0;
            if page.caught_up {
                break;
            }
        }
        let expected: Vec<&str> = expected.into_iter().map(|(_, shown)| shown).collect();
        assert_eq!(got, expected, "{selectors:?} after {after}");
    }

    async fn check_last(&self, fixture: &Fixture, selectors: &[&str], count: u64) {
        let parsed: Vec<Selector> = selectors.iter().map(|s| s.parse().unwrap()).collect();
        let mut newest: Vec<u64> = self
            .topics
            .iter()
            .filter(|(topic, _)| parsed.iter().any(|s| s.matches(&name(TOPICS[**topic]))))
            .flat_map(|(_, known)| known.events.iter().map(|event| event.0))
            .collect();
        newest.sort_unstable();
        let newest = newest.split_off(newest.len().saturating_sub(count as usize));
        let page = fixture.page(selectors, Start::Last(count)).await;
        let got: Vec<u64> = page.events.iter().map(|event| event.seq.0).collect();
        assert_eq!((got, page.gap), (newest, None), "{selectors:?} last {count}");
    }
}

async fn run(mut fixture: Fixture, ops: &[Op]) {
    let mut model = Model::default();
    for (i, op) in ops.iter().enumerate() {
        fixture = model.apply(fixture, op).await;
        if i % 16 != 15 && i + 1 != ops.len() {
            continue;
        }
        let committed = fixture.log.committed().0;
        for selectors in [
            vec!["a"],
            vec!["b/2", "d"],
            vec!["b/*"],
            vec!["**"],
            vec!["*/*/c", "a"],
            vec!["d", "nothing"],
        ] {
            for after in [0, committed / 3, committed / 2, committed] {
                model.check(&fixture, &selectors, after, 7).await;
            }
            for count in [1, 5] {
                model.check_last(&fixture, &selectors, count).await;
            }
        }
    }
    within(fixture.log.close()).await;
}

fn check_random_operations(open: fn() -> Fixture, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // For longer runs than every change needs.
    let cases = std::env::var("PROPTEST_CASES").map_or(cases, |cases| cases.parse().unwrap());
    let mut runner = TestRunner::new(Runs { cases, failure_persistence: None, ..Runs::default() });
    let ops = proptest::collection::vec(op(), 1..100);
    let result = runner.run(&ops, |ops| {
        runtime.block_on(async { run(open(), &ops).await });
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn a_memory_log_does_what_the_model_does() {
    check_random_operations(|| Fixture::memory(ENDLESS), 64);
}

#[test]
fn a_segment_log_does_what_the_model_does() {
    check_random_operations(|| Fixture::segment(ENDLESS), 40);
}

//! A log that is a list, peers that read when they are told to, and an engine between them: [`World`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longwave_core::*;
use tokio::sync::Semaphore;

use crate::board::{Board, Listener, Phase, Seat, SubscriberKind};
use crate::engine::{Arrival, Engine, Key, Times};
use crate::framing::Framing;
use crate::inbox::{PageRequest, Touched};
use crate::socket::{Input, Sent, Wire};

/// What a test has in its hands.
pub(super) struct World {
    pub(super) board: Arc<Board>,
    pub(super) engine: Engine<Pipe, Plain>,
    /// All events that ever were.
    pub(super) history: Vec<Arc<Event>>,
    /// Up to here the log has forgotten them.
    pub(super) removed: Seq,
    undispatched: VecDeque<Vec<Arc<Event>>>,
    touched: Arc<Recorder>,
    reads: VecDeque<(u64, PageRequest)>,
    permits: Arc<Semaphore>,
}

/// A peer, seen from both of its ends.
#[derive(Clone)]
pub(super) struct Pipe(Rc<RefCell<PipeState>>);

struct PipeState {
    /// How many more bytes fit.
    room: usize,
    received: Vec<u8>,
    finished: bool,
    /// How often something was sent.
    sends: usize,
}

impl Pipe {
    pub(super) fn new(room: usize) -> Pipe {
        let state = PipeState { room, received: Vec::new(), finished: false, sends: 0 };
        Pipe(Rc::new(RefCell::new(state)))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.borrow().received.clone()).unwrap()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.0.borrow().finished
    }

    pub(super) fn sends(&self) -> usize {
        self.0.borrow().sends
    }
}

impl Wire for Pipe {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        let mut state = self.0.borrow_mut();
        assert!(!state.finished && !bytes.is_empty());
        let taken = bytes.len().min(state.room);
        state.room -= taken;
        state.sends += 1;
        state.received.extend_from_slice(&bytes[..taken]);
        if taken == bytes.len() { Sent::All } else { Sent::Part(taken) }
    }

    fn discard_input(&mut self, _: &mut [u8]) -> Input {
        Input::Bytes(0)
    }

    fn finish(&mut self) {
        self.0.borrow_mut().finished = true;
    }
}

/// `5 ` an event, `5!done ` an end, `(1..5) ` a gap, `~ ` a heartbeat, `retry=3 `, and `.` at the end. An event is longer
/// the higher its position is, so that borders fall everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain;

impl Framing for Plain {
    fn write_item(&self, out: &mut Vec<u8>, item: &FeedItem) {
        let text = match item {
            FeedItem::Event(event) => match event.payload {
                Payload::Message(_) => {
                    format!("{}{} ", event.seq, "'".repeat((event.seq.0 % 5) as usize))
                }
                Payload::End(reason) => format!("{}!{reason} ", event.seq),
            },
            FeedItem::Gap(gap) => format!("({}..{}) ", gap.after.seq, gap.resumed.seq),
        };
        out.extend_from_slice(text.as_bytes());
    }

    fn write_heartbeat(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"~ ");
    }

    fn write_farewell(&self, out: &mut Vec<u8>, retry: Duration) {
        out.extend_from_slice(format!("retry={} ", retry.as_millis()).as_bytes());
    }

    fn write_finish(&self, out: &mut Vec<u8>) {
        out.push(b'.');
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<ChannelId>>);

impl Listener for Recorder {
    fn handle_touched(&self, channels: &[ChannelId]) {
        self.0.lock().unwrap().extend_from_slice(channels);
    }

    fn handle_phase(&self, _: Phase) {}
}

pub(super) const TIMES: Times =
    Times { heartbeat_ms: 2_000, farewell_retry_ms: 3_000, farewell_spread_ms: 10_000 };

impl World {
    pub(super) fn new(limits: TailLimits) -> World {
        let board = Arc::new(Board::new(Seq::ZERO, limits));
        let touched = Arc::new(Recorder::default());
        board.listen(Arc::clone(&touched) as Arc<dyn Listener>);
        World {
            engine: Engine::new(Arc::clone(&board), epoch(), TIMES, 0),
            board,
            history: Vec::new(),
            removed: Seq::ZERO,
            undispatched: VecDeque::new(),
            touched,
            reads: VecDeque::new(),
            permits: Arc::new(Semaphore::new(1000)),
        }
    }

    pub(super) fn committed(&self) -> Seq {
        self.history.last().map_or(Seq::ZERO, |event| event.seq)
    }

    /// Commits one event for each text: a topic, `topic:type`, `topic!` for its end, or `topic-` for its deletion, which
    /// only the board is told.
    pub(super) fn commit(&mut self, texts: &[&str]) {
        let mut events = Vec::new();
        for text in texts {
            let seq = Seq(self.committed().0 + 1);
            let (topic, payload) = match (text.strip_suffix('!'), text.split_once(':')) {
                (Some(topic), _) => (topic, Payload::End(EndReason::Done)),
                _ if text.ends_with('-') => {
                    (text.trim_end_matches('-'), Payload::End(EndReason::Deleted))
                }
                (None, Some((topic, name))) => (topic, message(EventType::new(name).ok())),
                (None, None) => (*text, message(None)),
            };
            let event =
                Event { seq, time: UnixMillis(seq.0), topic: topic.parse().unwrap(), payload };
            events.push(Arc::new(event));
            self.history.extend(events.last().cloned());
        }
        self.undispatched.push_back(events);
    }

    /// Tells the board of the oldest commit that it does not know.
    pub(super) fn dispatch(&mut self) {
        if let Some(events) = self.undispatched.pop_front() {
            let through = events.last().map_or(Seq::ZERO, |event| event.seq);
            self.board.handle_commit(&events, through);
        }
    }

    /// Tells the engine which channels were touched.
    pub(super) fn touch(&mut self) {
        let channels = std::mem::take(&mut *self.touched.0.lock().unwrap());
        self.engine.handle_touched(&Touched::Some(channels));
    }

    pub(super) fn join(
        &mut self,
        selectors: &[&str],
        types: TypeFilter,
        start: StartAt,
        pipe: &Pipe,
    ) -> Key {
        let selectors: Vec<Selector> = selectors.iter().map(|s| s.parse().unwrap()).collect();
        let selectors = Arc::new(SelectorSet::new(selectors).unwrap());
        let seat = Seat::take(&self.board, &selectors, SubscriberKind::Sse).unwrap();
        let ends = self
            .history
            .iter()
            .filter_map(|event| match event.payload {
                Payload::End(reason) if reason != EndReason::Deleted => {
                    let end = TopicEnd { seq: event.seq, time: event.time, reason };
                    Some((event.topic.clone(), end))
                }
                Payload::End(_) | Payload::Message(_) => None,
            })
            .collect();
        let committed = self.committed();
        let query = FeedQuery { selectors, types, start, epoch: epoch(), committed, ends };
        let mut feed = Feed::new(query);
        feed.join(seat.joined());
        let permit = Arc::clone(&self.permits).try_acquire_owned().unwrap();
        self.engine.handle_arrival(Arrival {
            socket: pipe.clone(),
            permit,
            opening: b"head ".to_vec(),
            place: seat.into_place(),
            feed,
            framing: Plain,
        })
    }

    /// Has a peer read, so that there is room again.
    pub(super) fn make_room(&mut self, key: Key, pipe: &Pipe, bytes: usize) {
        {
            let mut state = pipe.0.borrow_mut();
            state.room = state.room.saturating_add(bytes);
        }
        self.engine.handle_writable(key);
    }

    /// Takes up what the engine wants to read.
    pub(super) fn begin_reads(&mut self) {
        while let Some(read) = self.engine.poll_read() {
            self.reads.push_back(read);
        }
    }

    /// Answers the oldest read, with at most so many events.
    pub(super) fn answer_read(&mut self, events_max: usize) {
        if let Some((number, request)) = self.reads.pop_front() {
            let page = self.page(&request, events_max);
            self.engine.handle_page(number, Some(page));
        }
    }

    pub(super) fn fail_read(&mut self) {
        if let Some((number, _)) = self.reads.pop_front() {
            self.engine.handle_page(number, None);
        }
    }

    pub(super) fn reads_under_way(&self) -> usize {
        self.reads.len()
    }

    /// Lets the engine do all that it can do, and nothing else happen.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            self.touch();
            self.engine.go_on();
            self.engine.take_turn();
            self.begin_reads();
            self.answer_read(3);
            while self.engine.poll_blocked().is_some() {}
            if !self.engine.has_work() && self.reads.is_empty() {
                return;
            }
        }
        panic!("the engine makes no progress");
    }

    pub(super) fn dispatch_all(&mut self) {
        while !self.undispatched.is_empty() {
            self.dispatch();
        }
    }

    pub(super) fn permits(&self) -> usize {
        self.permits.available_permits()
    }

    fn page(&self, request: &PageRequest, events_max: usize) -> LogPage {
        let matching: Vec<&Arc<Event>> =
            self.history.iter().filter(|e| request.selectors.matches(&e.topic)).collect();
        let kept = matching.iter().filter(|event| event.seq > self.removed);
        let (after, gap_after) = match request.from {
            ReadFrom::After(after) => (after, Some(after)),
            ReadFrom::Last(count) => {
                let skipped = kept.clone().count().saturating_sub(usize::try_from(count).unwrap());
                (kept.clone().take(skipped).last().map_or(Seq::ZERO, |event| event.seq), None)
            }
            ReadFrom::Since(time) => (Seq(time.0 - 1), Some(Seq(time.0 - 1))),
        };
        let lost = matching.iter().map(|event| event.seq).filter(|seq| *seq <= self.removed).max();
        let gap = lost
            .filter(|lost| gap_after.is_some_and(|after| *lost > after))
            .map(|lost| (lost, GapReason::Retention));
        let mut rest = kept.filter(|event| event.seq > after);
        let events: Vec<Arc<Event>> =
            rest.by_ref().take(events_max).map(|event| Arc::clone(event)).collect();
        let whole = rest.next().is_none();
        let next = match events.last() {
            Some(last) if !whole => last.seq,
            _ => self.committed(),
        };
        let log_read = if whole { LogRead::Whole } else { LogRead::Partly };
        LogPage { gap, events, next, log_read }
    }
}

pub(super) fn epoch() -> Epoch {
    "7kq2f".parse().unwrap()
}

pub(super) fn after(seq: u64) -> StartAt {
    StartAt::After(EventId { epoch: epoch(), seq: Seq(seq) })
}

fn message(event_type: Option<EventType>) -> Payload {
    Payload::Message(Message {
        event_type,
        format: DataFormat::Text,
        data: "x".into(),
        source: None,
    })
}

//! What a channel got, to all live subscribers of a line: [`Engine::pass`].
//!
//! Each event is encoded once. In most passes every subscriber takes all of it with one call to the kernel, and nothing
//! else happens to it but that its cursor moves.

use std::sync::Arc;

use longwave_core::{Budget, Epoch, Event, FeedItem, Payload, Seq};

use crate::board::TailFound;
use crate::framing::Framing;
use crate::socket::{Sent, Wire};

use super::lines::{Line, LineKey};
use super::scratch::Scratch;
use super::subscriber::{Behind, Condition, Rest, Subscriber};
use super::{Engine, Key};

impl<S: Wire, F: Framing> Engine<S, F> {
    /// Sends what the line's channel has behind the line's tip, a batch; what is left then waits for the next round.
    pub(super) fn pass(&mut self, key: LineKey) {
        let loaded = self.load(key);
        if loaded == Loaded::Nothing {
            return;
        }
        let Some(line) = self.lines.get_mut(key) else { return };
        let mut live = std::mem::take(&mut line.live);
        line.last_sent_tick = self.tick;
        line.tip = self.scratch.events.last().map_or(line.tip, |event| event.seq);
        let is_last = self.scratch.events.last().is_some_and(|event| is_last_of(line, event));
        let mut over: Vec<Key> = Vec::new();
        let mut gone: Vec<Key> = Vec::new();
        let mut pieces = 0;
        let mut seat = 0;
        while let Some(key) = live.get(seat).map(|key| *key as Key) {
            let Some(subscriber) = self.subscribers.get_mut(key) else {
                live.swap_remove(seat);
                continue;
            };
            // Others may have left the seats in front of it.
            subscriber.seat = u32::try_from(seat).unwrap_or(u32::MAX);
            // What ended before it came is no end of its own.
            let is_its_last = is_last && subscriber.cursor < line.tip;
            let sent = deliver(subscriber, line, &self.scratch, self.epoch, &mut pieces);
            if sent == Sent::All {
                seat += 1;
                let feed = subscriber.behind.as_ref().map(|behind| &behind.feed);
                if is_its_last || feed.is_some_and(|feed| feed.end().is_some()) {
                    over.push(key);
                }
                continue;
            }
            live.swap_remove(seat);
            subscriber.condition = Condition::Blocked;
            match sent {
                Sent::Gone => gone.push(key),
                Sent::All | Sent::Part(_) => self.blocked.push(key),
            }
        }
        line.live = live;
        if let Some(delivered) = self.delivered.get_mut(line.kind as usize) {
            *delivered += pieces;
        }
        if loaded == Loaded::Part {
            self.unfinished.push(key);
        }
        for key in over {
            self.finish(key);
        }
        for key in gone {
            self.remove(key);
        }
    }

    /// Encodes the next batch of a line.
    fn load(&mut self, key: LineKey) -> Loaded {
        self.scratch.clear();
        let Some(line) = self.lines.get(key) else { return Loaded::Nothing };
        if line.live.is_empty() {
            return Loaded::Nothing;
        }
        let events = &mut self.scratch.events;
        let mut found = self.board.tail(line.channel, line.tip, PASS_BUDGET, events);
        if found == TailFound::Behind {
            // More came at once than a tail holds: all of them go on by the log.
            let keys: Vec<Key> = line.live.iter().map(|key| *key as Key).collect();
            for key in keys {
                self.fall_behind(key);
                self.make_ready(key);
            }
            return Loaded::Nothing;
        }
        if let Some(end) = events.iter().position(|event| is_last_of(line, event)) {
            // Behind the end of a topic that was deleted, another of the same name may begin, for whoever came then.
            events.truncate(end + 1);
            found = TailFound::Part;
        }
        if events.is_empty() {
            return Loaded::Nothing;
        }
        for event in std::mem::take(events) {
            if line.types.passes(&event) {
                let item = FeedItem::Event(event);
                line.framing.write_item(&mut self.scratch.bytes, &item);
                let FeedItem::Event(event) = item else { continue };
                self.scratch.mark(event.seq);
                self.scratch.events.push(event);
            } else {
                self.scratch.events.push(event);
            }
        }
        if found == TailFound::Part { Loaded::Part } else { Loaded::All }
    }
}

/// Whether nothing follows this event for those who get it in this line.
fn is_last_of<F>(line: &Line<F>, event: &Event) -> bool {
    matches!(event.payload, Payload::End(_)) && line.selectors.as_topic().is_some()
}

/// Whether there is something to send.
#[derive(PartialEq, Eq)]
enum Loaded {
    Nothing,
    Part,
    All,
}

/// Sends a live subscriber what it has not got of the batch. One whose socket gets full is given what it takes to go on
/// from there.
fn deliver<S: Wire, F: Framing>(
    subscriber: &mut Subscriber<S>,
    line: &Line<F>,
    scratch: &Scratch,
    epoch: Epoch,
    pieces: &mut u64,
) -> Sent {
    let known = known(scratch, subscriber.cursor);
    let begin = scratch.begin_of(known);
    let bytes = scratch.bytes.get(begin..).unwrap_or_default();
    let sent = if bytes.is_empty() { Sent::All } else { subscriber.socket.send(bytes) };
    match sent {
        Sent::All => {
            *pieces += (scratch.marks.len() - known) as u64;
            subscriber.cursor = subscriber.cursor.max(line.tip);
            if let Some(behind) = &mut subscriber.behind {
                behind.feed.handle_delivered(&scratch.events);
            }
        }
        Sent::Part(sent) => {
            let reached = scratch.reached(begin + sent);
            *pieces += (reached.whole - known) as u64;
            // Whatever lies in front of the first event that is not whole was sent, or is hidden.
            let next = scratch.marks.get(reached.whole).map_or(line.tip, |mark| mark.seq);
            let mut got = scratch.events.partition_point(|event| event.seq < next);
            let mut through = Seq(next.0.saturating_sub(1));
            let mut rest = None;
            if let (Some(event), 1..) = (scratch.events.get(got), reached.bytes) {
                rest = Some(Rest { event: Arc::clone(event), sent: reached.bytes });
                got += 1;
                through = next;
            }
            subscriber.cursor = subscriber.cursor.max(through);
            let feed = || Box::new(Behind::at(line.feed(epoch, subscriber.cursor)));
            let behind = subscriber.behind.get_or_insert_with(feed);
            behind.feed.handle_delivered(scratch.events.get(..got).unwrap_or_default());
            behind.rest = rest;
        }
        Sent::Gone => {}
    }
    sent
}

/// How many pieces of the batch lie at or before `cursor`: none, but for who came while it was on its way.
fn known(scratch: &Scratch, cursor: Seq) -> usize {
    match scratch.marks.first() {
        Some(first) if first.seq <= cursor => {
            scratch.marks.partition_point(|mark| mark.seq <= cursor)
        }
        _ => 0,
    }
}

/// What one pass sends at most; the first event in any case.
const PASS_BUDGET: Budget = Budget { events_max: 256, bytes_max: 256 << 10 };

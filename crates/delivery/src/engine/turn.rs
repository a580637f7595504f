//! How a subscriber that is behind catches up: [`Engine::take_turn`].
//!
//! It is given what its feed has, the tail's events or a page of the log, until its socket is full, its share is used
//! up, or it has all and is live. What the socket did not take, the feed takes back: while a socket is full nothing is
//! held for it but the event that it has a part of.

use std::sync::Arc;

use longwave_core::{Budget, Event, FeedItem, Seq, Step};

use crate::framing::Framing;
use crate::socket::{Sent, Wire};

use super::reads::Reader;
use super::subscriber::{Behind, Condition, Rest};
use super::{Engine, Key, LastWords};

impl<S: Wire, F: Framing> Engine<S, F> {
    /// Gives the one who has waited longest its share.
    pub(crate) fn take_turn(&mut self) {
        let Some(Reader { key, arrival }) = self.ready.pop_front() else { return };
        let is_same = self
            .subscribers
            .get(key)
            .is_some_and(|s| s.arrival == arrival && s.condition == Condition::Ready);
        if !is_same {
            return;
        }
        let mut share = TURN_BYTES;
        while let Next::More(bytes) = self.step(key) {
            if bytes >= share {
                self.ready.push_back(Reader { key, arrival });
                return;
            }
            share -= bytes;
        }
    }

    fn step(&mut self, key: Key) -> Next {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return Next::Other };
        let Some(line) = self.lines.get(subscriber.line) else { return Next::Other };
        let Some(behind) = subscriber.behind.as_deref_mut() else { return Next::Other };
        if !behind.words.is_empty() {
            let sent = subscriber.socket.send(&behind.words);
            let bytes = behind.words.len();
            match sent {
                Sent::All => behind.words = Vec::new(),
                Sent::Part(sent) => drop(behind.words.drain(..sent)),
                Sent::Gone => {}
            }
            return self.settle(key, sent, bytes);
        }
        if behind.rest.is_some() {
            return self.send_rest(key);
        }
        if behind.last_words == LastWords::Said {
            self.leave(key);
            return Next::Other;
        }
        match self.board.poll(line.channel, &mut behind.feed, TURN_BUDGET) {
            Ok(Step::Deliver(items)) => self.send_items(key, &items),
            Ok(Step::ReadLog(from)) => {
                subscriber.condition = Condition::Reading;
                let reader = Reader { key, arrival: subscriber.arrival };
                self.reads.want(line, from, reader);
                Next::Other
            }
            Ok(Step::Wait) => {
                self.go_live(key);
                Next::Other
            }
            Ok(Step::Ended) => {
                line.framing.write_finish(&mut behind.words);
                behind.last_words = LastWords::Said;
                Next::More(0)
            }
            // The phase changes with the next mail, and then all are told.
            Err(_) => Next::Other,
        }
    }

    /// Sends what is owed of an event.
    fn send_rest(&mut self, key: Key) -> Next {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return Next::Other };
        let Some(line) = self.lines.get(subscriber.line) else { return Next::Other };
        let Some(behind) = subscriber.behind.as_deref_mut() else { return Next::Other };
        let Some(rest) = &mut behind.rest else { return Next::Other };
        self.scratch.clear();
        let item = FeedItem::Event(Arc::clone(&rest.event));
        line.framing.write_item(&mut self.scratch.bytes, &item);
        let bytes = self.scratch.bytes.get(rest.sent..).unwrap_or_default();
        let sent = subscriber.socket.send(bytes);
        let bytes = bytes.len();
        match sent {
            Sent::All => {
                behind.rest = None;
                if let Some(delivered) = self.delivered.get_mut(line.kind as usize) {
                    *delivered += 1;
                }
            }
            Sent::Part(sent) => rest.sent += sent,
            Sent::Gone => {}
        }
        self.settle(key, sent, bytes)
    }

    /// Sends items, and has the feed take back what there was no room for.
    fn send_items(&mut self, key: Key, items: &[FeedItem]) -> Next {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return Next::Other };
        let Some(line) = self.lines.get(subscriber.line) else { return Next::Other };
        let Some(behind) = subscriber.behind.as_deref_mut() else { return Next::Other };
        self.scratch.clear();
        for item in items {
            line.framing.write_item(&mut self.scratch.bytes, item);
            self.scratch.mark(match item {
                FeedItem::Event(event) => event.seq,
                FeedItem::Gap(gap) => gap.resumed.seq,
            });
        }
        let sent = subscriber.socket.send(&self.scratch.bytes);
        let whole = match sent {
            Sent::All => items.len(),
            Sent::Part(sent) => {
                let reached = self.scratch.reached(sent);
                match items.get(reached.whole) {
                    Some(FeedItem::Event(event)) => take_back(behind, event, reached.bytes),
                    // A gap is short, and told once, so it is kept.
                    Some(FeedItem::Gap(gap)) => {
                        behind.feed.rewind(gap.resumed.seq);
                        let end = self.scratch.begin_of(reached.whole + 1);
                        let words = self.scratch.bytes.get(sent..end).unwrap_or_default();
                        behind.words.extend_from_slice(words);
                    }
                    None => {}
                }
                reached.whole
            }
            Sent::Gone => 0,
        };
        let events = items.iter().take(whole).filter(|item| matches!(item, FeedItem::Event(_)));
        if let Some(delivered) = self.delivered.get_mut(line.kind as usize) {
            *delivered += events.count() as u64;
        }
        let bytes = self.scratch.bytes.len();
        self.settle(key, sent, bytes)
    }

    fn settle(&mut self, key: Key, sent: Sent, bytes: usize) -> Next {
        match sent {
            Sent::All => return Next::More(bytes),
            Sent::Part(_) => self.block(key),
            Sent::Gone => self.remove(key),
        }
        Next::Other
    }

    /// Puts one who has all among its line's live subscribers.
    fn go_live(&mut self, key: Key) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let Some(line) = self.lines.get_mut(subscriber.line) else { return };
        let Some(behind) = &subscriber.behind else { return };
        subscriber.cursor = behind.feed.cursor().seq;
        let Some(seat) = line.sit_down(key, subscriber.cursor) else { return };
        subscriber.seat = seat;
        subscriber.condition = Condition::Live;
        if behind.feed.is_only_a_cursor() {
            subscriber.behind = None;
        }
    }
}

/// What comes after a step.
enum Next {
    /// So many bytes were sent, and the turn goes on.
    More(usize),
    /// The turn of another.
    Other,
}

/// Has a feed take back what was delivered from this event on, of which so many bytes were sent.
fn take_back(behind: &mut Behind, event: &Arc<Event>, sent: usize) {
    if sent > 0 {
        behind.feed.rewind(event.seq);
        behind.rest = Some(Rest { event: Arc::clone(event), sent });
    } else {
        behind.feed.rewind(Seq(event.seq.0.saturating_sub(1)));
    }
}

/// What one step sends at most; the first item in any case.
const TURN_BUDGET: Budget = Budget { events_max: 256, bytes_max: 64 << 10 };
/// How much one turn sends before others have theirs.
const TURN_BYTES: usize = 128 << 10;

//! The one subscriber interface, which every transport uses: [`Feed`].
//!
//! A feed is a cursor and the rules of moving it: where a reader starts, when it is told of a gap, when it must read the
//! log and when the tail will do, when it is finished. It asks for log pages and is given them; it never waits, locks or
//! reads by itself. What a delivered item looks like on the wire is the transport's business.

mod ends;
mod filter;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use self::ends::Ends;
pub use self::filter::TypeFilter;
use crate::tail::event_bytes;
use crate::{
    Epoch, Event, EventId, Payload, SelectorSet, Seq, Tail, TailRead, TopicEnd, TopicName,
    UnixMillis,
};

/// One reader's way through the log: every matching event behind its start, once, in order, or a gap in its place.
///
/// [`Feed::poll`] says what to do next. A feed that follows a channel is polled with the channel's tail; without one it
/// pages through the log only, and [`Step::Wait`] means that it has seen all that was committed.
#[derive(Debug)]
pub struct Feed {
    selectors: Arc<SelectorSet>,
    types: TypeFilter,
    epoch: Epoch,
    /// All matching events up to here were delivered or hidden, or belong to a gap that was told.
    cursor: Seq,
    /// Where it started, once that is a position.
    start: Option<Seq>,
    /// What had been dispatched when the feed joined its channel. From there on it reads the tail, where it can, since
    /// that also holds the ends of deleted topics, which the log does not keep.
    joined: Seq,
    /// How the first page is to be asked for, where the cursor does not say it.
    opening: Option<Opening>,
    /// What is left of the last page. Boxed, since most feeds have none at most times.
    page: Option<Box<PendingPage>>,
    log_read: LogRead,
    /// Up to here the log may lack events, and the reader knows.
    told_through: Seq,
    ends: Ends,
}

/// What makes a feed.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out in full")]
pub struct FeedQuery {
    /// Which topics.
    pub selectors: Arc<SelectorSet>,
    /// Which messages of them.
    pub types: TypeFilter,
    /// From where on.
    pub start: StartAt,
    /// The log's epoch.
    pub epoch: Epoch,
    /// What the log had committed when the reader came: its "now".
    pub committed: Seq,
    /// Which of the exact topics have ended, asked of the log after `committed` was.
    pub ends: Vec<(TopicName, TopicEnd)>,
}

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every transport must know every way to start")]
pub enum StartAt {
    /// Behind all that is committed.
    Now,
    /// At the first event that is retained.
    First,
    /// Right behind this event.
    After(EventId),
    /// At the newest this many events.
    Last(u64),
    /// At the first event accepted at this time or later.
    Since(UnixMillis),
}

/// How much to deliver at once. The first item is delivered however large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out in full")]
pub struct Budget {
    /// At most this many items. At least 1.
    pub events_max: usize,
    /// At most this many bytes, counted by [`Budget::cost`].
    pub bytes_max: usize,
}

impl Budget {
    /// How many bytes of a budget an event takes.
    #[must_use]
    pub fn cost(event: &Event) -> usize {
        event_bytes(event)
    }
}

/// What to do next for a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever drives a feed must do what it says")]
pub enum Step {
    /// Hand these to the reader; at least one. The feed's cursor is behind them already.
    Deliver(Vec<FeedItem>),
    /// Read the log from here and give the page to [`Feed::handle_page`].
    ReadLog(ReadFrom),
    /// Poll again when the channel got something.
    Wait,
    /// All exact topics have ended and all was delivered; nothing comes any more.
    Ended,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every transport must write every item")]
pub enum FeedItem {
    /// The next event.
    Event(Arc<Event>),
    /// Events that can't be had any more. Always the first item of those delivered at once.
    Gap(FeedGap),
}

/// Matching events behind `after` are lost to the reader.
///
/// None is left up to `resumed`. Of several topics, some may have lost more than others, further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "transports read all of it")]
pub struct FeedGap {
    /// Where the reader was, in its own words: the id may be of another epoch.
    pub after: EventId,
    /// Where it is now: a cursor behind which everything that is left is delivered.
    pub resumed: EventId,
    /// Why.
    pub reason: GapReason,
}

/// Why events can't be had any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every transport must tell every reason")]
pub enum GapReason {
    /// Retention, or a deletion, removed them.
    Retention,
    /// The cursor is of another log, or of a time that this log does not remember.
    Epoch,
    /// The disk gave back other bytes than were written.
    Corruption,
}

impl GapReason {
    /// The word for it on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GapReason::Retention => "retention",
            GapReason::Epoch => "epoch",
            GapReason::Corruption => "corruption",
        }
    }
}

/// From where to read the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "every log must know every way to start")]
pub enum ReadFrom {
    /// Right behind this position.
    After(Seq),
    /// At the newest this many matching events.
    Last(u64),
    /// At the first matching event accepted at this time or later.
    Since(UnixMillis),
}

/// What the log answered.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers write it out in full")]
pub struct LogPage {
    /// Up to where matching events may be missing, and why. Told again and again for as long as the reader stands in
    /// front of that position.
    pub gap: Option<(Seq, GapReason)>,
    /// Matching events in order.
    pub events: Vec<Arc<Event>>,
    /// Every matching event up to here is in this page or earlier ones.
    pub next: Seq,
    /// How much of the log that is.
    pub log_read: LogRead,
}

/// How far the log was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is either more or not")]
pub enum LogRead {
    /// More was committed.
    Partly,
    /// All that was committed at that time.
    Whole,
}

impl Feed {
    /// A feed at its start.
    #[must_use]
    pub fn new(query: FeedQuery) -> Feed {
        let FeedQuery { selectors, types, start, epoch, committed, ends } = query;
        let (cursor, opening) = match start {
            StartAt::Now | StartAt::Last(0) => (committed, None),
            StartAt::First => (Seq::ZERO, Some(Opening::First)),
            StartAt::Last(count) => (Seq::ZERO, Some(Opening::Last(count))),
            StartAt::Since(time) => (Seq::ZERO, Some(Opening::Since(time))),
            StartAt::After(id) if id.epoch == epoch && id.seq <= committed => (id.seq, None),
            StartAt::After(id) => (Seq::ZERO, Some(Opening::Unknown(id))),
        };
        let mut ends = Ends::new(&selectors, ends);
        if opening.is_none() {
            ends.handle_cursor(cursor);
        }
        Feed {
            selectors,
            types,
            epoch,
            cursor,
            start: opening.is_none().then_some(cursor),
            joined: Seq::ZERO,
            opening,
            page: None,
            log_read: LogRead::Partly,
            told_through: Seq::ZERO,
            ends,
        }
    }

    /// From now on the feed is polled with the tail of a channel that was open when `dispatched` was all that had been
    /// dispatched.
    pub fn join(&mut self, dispatched: Seq) {
        self.joined = dispatched;
    }

    /// Which topics it reads.
    #[must_use]
    pub fn selectors(&self) -> &Arc<SelectorSet> {
        &self.selectors
    }

    /// Which messages it delivers.
    #[must_use]
    pub fn types(&self) -> &TypeFilter {
        &self.types
    }

    /// Where it is: all matching events up to here were delivered or hidden by the filter, or belong to a gap that was
    /// told.
    ///
    /// Before the first page of a reader that starts at the first, the last or the events since a time, it is zero.
    #[must_use]
    pub fn cursor(&self) -> EventId {
        self.id(self.cursor)
    }

    /// Where it started: a cursor that stays the same for as long as nothing comes.
    ///
    /// Before the first page of a reader whose start only the log knows, it is as [`Feed::cursor`].
    #[must_use]
    pub fn start(&self) -> EventId {
        self.id(self.start.unwrap_or(self.cursor))
    }

    /// The end that finished the feed, once nothing comes any more; of several topics the last one's.
    ///
    /// Right after [`Feed::new`]: all its topics have ended at or before its start.
    #[must_use]
    pub fn end(&self) -> Option<TopicEnd> {
        self.ends.last()
    }

    /// What to do next.
    pub fn poll(&mut self, tail: Option<&Tail>, budget: Budget) -> Step {
        let mut batch =
            Batch { items: Vec::with_capacity(self.items_expected(budget)), bytes: 0, budget };
        let otherwise = self.fill(tail, &mut batch);
        if batch.items.is_empty() { otherwise } else { Step::Deliver(batch.items) }
    }

    /// How many items the next batch will have, about, so that its memory is had at once.
    fn items_expected(&self, budget: Budget) -> usize {
        self.page.as_ref().map_or(0, |page| page.events.len().min(budget.events_max))
    }

    /// Takes in the page that [`Step::ReadLog`] asked for.
    pub fn handle_page(&mut self, page: LogPage) {
        let LogPage { gap, events, next, log_read } = page;
        let opening = self.opening.take();
        let news = gap.filter(|(through, _)| *through > self.cursor.max(self.told_through));
        let told = match opening {
            // Who asks for what there is does not miss what there is not.
            Some(Opening::First | Opening::Last(_)) => None,
            Some(Opening::Unknown(after)) => Some((after, GapReason::Epoch)),
            Some(Opening::Since(_)) | None => {
                news.map(|(_, reason)| (self.id(self.cursor), reason))
            }
        };
        let before_first = events.first().map(|first| Seq(first.seq.0.saturating_sub(1)));
        let mut floor = self.cursor;
        if let Some((through, _)) = news {
            self.told_through = through;
            // Of several topics, some lost more than others: what they still have may lie in front of `through`.
            floor = floor.max(through.min(before_first.unwrap_or(next)));
        }
        if let Some(Opening::Last(_) | Opening::Since(_)) = opening {
            match before_first {
                // What lies in front of the page was not asked for, so it must not come out of the tail either.
                Some(before) => self.cursor = self.cursor.max(before),
                None => floor = floor.max(next),
            }
        }
        self.log_read = log_read;
        self.page = Some(Box::new(PendingPage { told, floor, events: events.into(), next }));
    }

    /// Takes back what was delivered behind `through`: the reader did not get it after all, and it will be delivered
    /// again. A gap that was delivered counts as told.
    ///
    /// `through` lies before the first event that is taken back, and no event that the reader did get lies behind it.
    /// So memory need not be held for a reader that takes nothing: its feed forgets, and reads again.
    pub fn rewind(&mut self, through: Seq) {
        self.page = None;
        self.log_read = LogRead::Partly;
        self.cursor = self.cursor.min(through);
        self.ends.rewind(self.cursor);
    }

    /// Takes in that the reader was handed these events of its channel, in order, without the feed having been polled
    /// for them: what goes to many readers at once is looked up once.
    ///
    /// To be called only on a feed that follows a channel and was last told to wait, with all that came since.
    pub fn handle_delivered(&mut self, events: &[Arc<Event>]) {
        for event in events {
            if event.seq > self.cursor {
                self.cursor = event.seq;
                self.note_end(event);
            }
        }
    }

    /// Whether it has to remember more than its cursor. One that has not can be made again from that, by
    /// [`Feed::following`].
    #[must_use]
    pub fn is_only_a_cursor(&self) -> bool {
        self.selectors.as_topic().is_some() || self.selectors.iter().any(|s| s.as_topic().is_none())
    }

    /// A feed that goes on behind `cursor` in a channel that its reader has followed up to there.
    #[must_use]
    pub fn following(
        selectors: Arc<SelectorSet>,
        types: TypeFilter,
        epoch: Epoch,
        cursor: Seq,
    ) -> Feed {
        let start = StartAt::After(EventId { epoch, seq: cursor });
        let query =
            FeedQuery { selectors, types, start, epoch, committed: cursor, ends: Vec::new() };
        let mut feed = Feed::new(query);
        feed.join(cursor);
        feed
    }

    /// Fills a batch, and says what to do if it stays empty.
    fn fill(&mut self, tail: Option<&Tail>, batch: &mut Batch) -> Step {
        self.drain_page(tail, batch);
        if self.page.is_some() {
            // The batch is full: a page is only left where something of it was delivered.
            return Step::Wait;
        }
        if self.ends.last().is_some() {
            return Step::Ended;
        }
        if let Some(opening) = self.opening {
            return Step::ReadLog(opening.read_from());
        }
        let Some(tail) = tail else {
            return match self.log_read {
                LogRead::Partly => Step::ReadLog(ReadFrom::After(self.cursor)),
                LogRead::Whole => Step::Wait,
            };
        };
        match tail.read(self.cursor) {
            TailRead::Behind => Step::ReadLog(ReadFrom::After(self.cursor)),
            TailRead::CaughtUp => Step::Wait,
            TailRead::Events(events) => {
                for event in events {
                    if self.take(event, batch).is_break() {
                        break;
                    }
                }
                if self.ends.last().is_some() { Step::Ended } else { Step::Wait }
            }
        }
    }

    /// Delivers what is left of the last page, as far as the budget and the tail say.
    fn drain_page(&mut self, tail: Option<&Tail>, batch: &mut Batch) {
        let Some(mut page) = self.page.take() else { return };
        // Whatever is behind this position is in the tail, so the page is left as soon as it gets there.
        let tail_start = tail.map_or(Seq(u64::MAX), |tail| tail.start().max(self.joined));
        self.cursor = self.cursor.max(page.floor.min(tail_start));
        self.start.get_or_insert(self.cursor);
        if let Some((after, reason)) = page.told.take() {
            batch.items.push(FeedItem::Gap(FeedGap { after, resumed: self.cursor(), reason }));
        }
        self.ends.handle_cursor(self.cursor);
        while let Some(event) = page.events.front() {
            if self.ends.last().is_some() || event.seq > tail_start {
                break;
            }
            if self.take(event, batch).is_break() {
                self.page = Some(page);
                return;
            }
            page.events.pop_front();
        }
        if self.ends.last().is_none() {
            self.cursor = self.cursor.max(page.next.min(tail_start));
            self.ends.handle_cursor(self.cursor);
        }
    }

    /// Moves on to an event, and delivers it unless the filter hides it; breaks off in front of it where the batch is
    /// full or nothing may follow.
    fn take(&mut self, event: &Arc<Event>, batch: &mut Batch) -> ControlFlow<()> {
        if event.seq <= self.cursor {
            return ControlFlow::Continue(());
        }
        if self.ends.last().is_some() {
            return ControlFlow::Break(());
        }
        if self.types.passes(event) {
            batch.push(event)?;
        }
        self.cursor = event.seq;
        self.note_end(event);
        ControlFlow::Continue(())
    }

    fn note_end(&mut self, event: &Event) {
        if let Payload::End(reason) = event.payload {
            let end = TopicEnd { seq: event.seq, time: event.time, reason };
            self.ends.handle_end(&event.topic, end);
        }
    }

    fn id(&self, seq: Seq) -> EventId {
        EventId { epoch: self.epoch, seq }
    }
}

/// A start that only the log can turn into a position.
#[derive(Clone, Copy, Debug)]
enum Opening {
    First,
    Last(u64),
    Since(UnixMillis),
    /// The reader's cursor is none of this log.
    Unknown(EventId),
}

impl Opening {
    fn read_from(self) -> ReadFrom {
        match self {
            Opening::First | Opening::Unknown(_) => ReadFrom::After(Seq::ZERO),
            Opening::Last(count) => ReadFrom::Last(count),
            Opening::Since(time) => ReadFrom::Since(time),
        }
    }
}

#[derive(Debug)]
struct PendingPage {
    /// What is to be told before anything else.
    told: Option<(EventId, GapReason)>,
    /// No matching event lies between the cursor and this position, as far as the log knows.
    floor: Seq,
    events: VecDeque<Arc<Event>>,
    next: Seq,
}

struct Batch {
    items: Vec<FeedItem>,
    bytes: usize,
    budget: Budget,
}

impl Batch {
    /// Adds an event, or breaks where it goes beyond the budget.
    fn push(&mut self, event: &Arc<Event>) -> ControlFlow<()> {
        let bytes = self.bytes + Budget::cost(event);
        let full = self.items.len() >= self.budget.events_max || bytes > self.budget.bytes_max;
        if full && !self.items.is_empty() {
            return ControlFlow::Break(());
        }
        self.bytes = bytes;
        self.items.push(FeedItem::Event(Arc::clone(event)));
        ControlFlow::Continue(())
    }
}

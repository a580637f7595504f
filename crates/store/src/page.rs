//! Putting together what a read returns: [`PageBuilder`].

use std::sync::Arc;

use longwave_core::{Event, Ledger, Payload, Seq};

use crate::log::{Gap, ReadPage, ReadQuery, TopicsPage, TopicsQuery};

/// A page that grows up to the query's bounds.
#[derive(Debug)]
pub(crate) struct PageBuilder {
    events: Vec<Arc<Event>>,
    events_max: usize,
    bytes_left: usize,
    is_full: bool,
}

impl PageBuilder {
    pub(crate) fn new(query: &ReadQuery) -> PageBuilder {
        PageBuilder {
            events: Vec::new(),
            events_max: query.max_events.max(1),
            bytes_left: query.max_bytes,
            is_full: false,
        }
    }

    /// How many events may be added yet, and one: a builder that is offered more than fit learns that it is full.
    pub(crate) fn events_max(&self) -> usize {
        (self.events_max - self.events.len()).saturating_add(1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Adds an event.
    ///
    /// # Errors
    /// The position of the last event in the page, where this one does not fit.
    pub(crate) fn push(&mut self, event: Arc<Event>) -> Result<(), Seq> {
        let bytes = content_bytes(&event);
        if let Some(last) = self.events.last()
            && (self.events.len() >= self.events_max || bytes > self.bytes_left)
        {
            self.is_full = true;
            return Err(last.seq);
        }
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.events.push(event);
        Ok(())
    }

    pub(crate) fn finish(self, gap: Option<Gap>, next: Seq, caught_up: bool) -> ReadPage {
        ReadPage { gap, events: self.events, next, caught_up }
    }
}

impl TopicsPage {
    /// The topics of a ledger that a query asks for.
    pub(crate) fn collect(ledger: &Ledger, query: &TopicsQuery) -> TopicsPage {
        let mut topics = ledger.topics_after(&query.prefix, query.after.as_ref());
        let page = topics
            .by_ref()
            .take(query.limit.max(1))
            .map(|(name, topic)| topic.info(name.clone()))
            .collect();
        let more = topics.next().is_some();
        TopicsPage { topics: page, more }
    }
}

fn content_bytes(event: &Event) -> usize {
    match &event.payload {
        Payload::Message(message) => message.content_bytes(),
        Payload::End(_) => 0,
    }
}

//! When a feed is finished: [`Ends`].

use std::sync::Arc;

use crate::{SelectorSet, Seq, TopicEnd, TopicName};

/// Which of a feed's topics have ended.
///
/// A feed with a wildcard never ends, since topics may always be added to it. A feed of exact topics ends once it is at
/// or past the ends of all.
#[derive(Debug)]
pub(super) struct Ends {
    /// The exact topics in order of their names; `None` where there are wildcards.
    topics: Option<Box<[ExactTopic]>>,
    /// The last of all ends, once the reader is past it.
    last: Option<TopicEnd>,
}

#[derive(Debug)]
struct ExactTopic {
    name: TopicName,
    end: Option<TopicEnd>,
}

impl Ends {
    /// What is known of a set's topics at the start.
    pub(super) fn new(selectors: &Arc<SelectorSet>, known: Vec<(TopicName, TopicEnd)>) -> Ends {
        // A set is sorted, and so is what is left of it when all of it is topics.
        let topics: Option<Box<[ExactTopic]>> = selectors
            .iter()
            .map(|selector| {
                selector.as_topic().map(|name| ExactTopic { name: name.clone(), end: None })
            })
            .collect();
        let mut ends = Ends { topics, last: None };
        for (name, end) in known {
            ends.note(&name, end);
        }
        ends
    }

    /// The last of all ends, once the reader is past it.
    pub(super) fn last(&self) -> Option<TopicEnd> {
        self.last
    }

    /// Takes in an end that the reader was just told of.
    pub(super) fn handle_end(&mut self, topic: &TopicName, end: TopicEnd) {
        self.note(topic, end);
        self.handle_cursor(end.seq);
    }

    /// Takes in that the reader has all events up to `cursor`.
    pub(super) fn handle_cursor(&mut self, cursor: Seq) {
        if self.last.is_some() {
            return;
        }
        let Some(topics) = &self.topics else { return };
        let mut last: Option<TopicEnd> = None;
        for topic in topics {
            match topic.end {
                Some(end) if end.seq <= cursor => {
                    last = last.filter(|other| other.seq >= end.seq).or(Some(end));
                }
                _ => return,
            }
        }
        self.last = last;
    }

    /// Takes in that the reader has the events up to `cursor` only. What is known of the ends behind it stays known.
    pub(super) fn rewind(&mut self, cursor: Seq) {
        self.last = None;
        self.handle_cursor(cursor);
    }

    fn note(&mut self, topic: &TopicName, end: TopicEnd) {
        if let Some(topics) = &mut self.topics
            && let Ok(i) = topics.binary_search_by(|other| other.name.cmp(topic))
            && let Some(exact) = topics.get_mut(i)
        {
            exact.end = Some(end);
        }
    }
}

//! What a memory log holds, and all that changes it: [`State`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;
use longwave_core::{
    Admission, Append, Appended, Config, EndReason, Event, Group, Ledger, LogRetention, Payload,
    Retained, Seq, TopicName, Trim, UnixMillis, trim,
};

use super::Place;
use crate::limits::event_bytes;
use crate::log::{AppendError, Commit, ConfigureError, Configured, DeleteError, ReadError};
use crate::time_index::TimeIndex;

/// Everything that is behind the log's lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) events: BTreeMap<Seq, Stored>,
    /// The positions of each topic's retained events, in order; no topic without any.
    pub(super) topics: HashMap<TopicName, VecDeque<Seq>>,
    pub(super) times: TimeIndex,
    pub(super) is_closed: bool,
    retention: LogRetention,
    /// Up to which topic the last look at those with an age or a time to live has come.
    looked_at: Option<TopicName>,
}

/// An event and how many bytes it counts for.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) event: Arc<Event>,
    bytes: u64,
}

impl State {
    pub(super) fn new(retention: LogRetention) -> State {
        State {
            ledger: Ledger::default(),
            events: BTreeMap::new(),
            topics: HashMap::new(),
            times: TimeIndex::default(),
            is_closed: false,
            retention,
            looked_at: None,
        }
    }

    pub(super) fn committed(&self) -> Seq {
        self.ledger.last()
    }

    pub(super) fn check_open(&self) -> Result<(), ReadError> {
        if self.is_closed { Err(ReadError::Closed) } else { Ok(()) }
    }

    pub(super) fn append(
        &mut self,
        append: Append,
        now: UnixMillis,
        place: Place,
    ) -> Result<Appended, AppendError> {
        if self.is_closed {
            return Err(AppendError::Closed);
        }
        let mut group = self.ledger.begin(now);
        let admitted = match self.ledger.admit(&mut group, append)? {
            Admission::Duplicate(appended) => return Ok(appended),
            Admission::New(admitted) => admitted,
        };
        let mut publish_key = admitted.key.as_ref().map(|(key, _)| key);
        let stored: Vec<Stored> = admitted
            .events
            .into_iter()
            .map(|new| {
                let bytes = event_bytes(&new.event, new.key.as_ref(), publish_key.take());
                Stored { event: Arc::new(new.event), bytes }
            })
            .collect();
        let events = stored.iter().map(|stored| Arc::clone(&stored.event)).collect();
        let topic = stored.first().map(|stored| stored.event.topic.clone());
        self.commit(group, events, place);
        for stored in stored {
            let (name, seq) = (&stored.event.topic, stored.event.seq);
            self.ledger.retain(name, seq, 1, stored.bytes);
            self.topics.entry_ref(name).or_default().push_back(seq);
            self.events.insert(seq, stored);
        }
        if let Some(topic) = topic {
            self.trim_topic(&topic, now);
        }
        self.trim_log(now);
        Ok(admitted.appended)
    }

    pub(super) fn configure(
        &mut self,
        topic: &TopicName,
        config: Config,
        now: UnixMillis,
        place: Place,
    ) -> Result<Configured, ConfigureError> {
        if self.is_closed {
            return Err(ConfigureError::Closed);
        }
        if self.ledger.topic(topic).is_some_and(|known| known.config.as_ref() == Some(&config)) {
            return Ok(Configured::Updated);
        }
        let mut group = self.ledger.begin(now);
        let settings = self.ledger.configure(&mut group, topic, config);
        self.commit(group, Vec::new(), place);
        self.trim_topic(topic, now);
        Ok(if settings.is_new { Configured::Created } else { Configured::Updated })
    }

    pub(super) fn delete(
        &mut self,
        topic: &TopicName,
        now: UnixMillis,
        place: Place,
    ) -> Result<(), DeleteError> {
        if self.is_closed {
            return Err(DeleteError::Closed);
        }
        let mut group = self.ledger.begin(now);
        let seq = self.ledger.delete(&mut group, topic).ok_or(DeleteError::NotFound)?;
        let end = Event {
            seq,
            time: group.time(),
            topic: topic.clone(),
            payload: Payload::End(EndReason::Deleted),
        };
        self.commit(group, vec![Arc::new(end)], place);
        for seq in self.topics.remove(topic).unwrap_or_default() {
            self.events.remove(&seq);
        }
        Ok(())
    }

    /// Removes what retention no longer allows, and looks at a bounded number of topics with an age or a time to live.
    /// Whether there is more to do, which needs another place in the feed.
    pub(super) fn retain(&mut self, now: UnixMillis, place: Place) -> bool {
        if self.is_closed {
            return false;
        }
        self.trim_log(now);
        for topic in self.ledger.timed_topics(self.looked_at.as_ref(), LOOK_TOPICS_MAX) {
            self.looked_at = Some(topic.clone());
            self.trim_topic(&topic, now);
            if self.ledger.topic(&topic).is_some_and(|known| known.is_expired(now)) {
                // It is there and the log is open, so it is deleted.
                return self.delete(&topic, now, place).is_ok();
            }
        }
        let has_more = !self.ledger.timed_topics(self.looked_at.as_ref(), 1).is_empty();
        if !has_more {
            self.looked_at = None;
        }
        has_more
    }

    fn commit(&mut self, group: Group, events: Vec<Arc<Event>>, place: Place) {
        self.times.push(self.ledger.last().next(), group.time());
        self.ledger.commit(group);
        if let Some(place) = place {
            place.send(Commit { events, through: self.ledger.last() });
        }
    }

    /// Removes what the topic's settings no longer allow.
    fn trim_topic(&mut self, name: &TopicName, now: UnixMillis) {
        let Some(topic) = self.ledger.topic(name) else { return };
        let Some(config) = &topic.config else { return };
        let seqs = self.topics.get(name).into_iter().flatten();
        let oldest_first = seqs.filter_map(|seq| self.events.get(seq)).map(Stored::as_retained);
        let trim = trim(config, now, topic.events, topic.bytes, oldest_first);
        self.remove(name, trim);
    }

    /// Removes the oldest events of the log while it is too large or they are too old.
    fn trim_log(&mut self, now: UnixMillis) {
        while let Some((seq, stored)) = self.events.first_key_value() {
            let is_over = self.retention.is_over(self.ledger.bytes());
            if !is_over && !self.retention.is_expired(stored.event.time, now) {
                break;
            }
            let trim = Trim { through: *seq, events: 1, bytes: stored.bytes };
            let name = stored.event.topic.clone();
            self.times.remove_through(trim.through);
            self.remove(&name, trim);
        }
    }

    fn remove(&mut self, name: &TopicName, trim: Trim) {
        if trim.events == 0 {
            return;
        }
        let mut first = None;
        if let Some(seqs) = self.topics.get_mut(name) {
            while let Some(seq) = seqs.pop_front_if(|seq| *seq <= trim.through) {
                self.events.remove(&seq);
            }
            first = seqs.front().copied();
        }
        if first.is_none() {
            self.topics.remove(name);
        }
        self.ledger.trim(name, trim, first);
    }
}

impl Stored {
    fn as_retained(&self) -> Retained {
        Retained { seq: self.event.seq, time: self.event.time, bytes: self.bytes }
    }
}

/// How many topics one step of retention looks at, so that publishers never wait long for it.
const LOOK_TOPICS_MAX: usize = 1024;

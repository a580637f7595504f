//! Deciding on publishes, settings and deletions, one group at a time.

use hashbrown::HashMap;

use super::{Ledger, Topic};
use crate::dedup::{Fingerprint, Publication, ScopedKey};
use crate::{
    Append, Appended, Config, Durability, EndReason, Event, Expected, IdempotencyKey, NewMessage,
    Outcome, Payload, Seq, TopicEnd, TopicName, UnixMillis,
};

/// What was admitted since [`Ledger::begin`], and is not in effect yet.
///
/// Later publishes of a group are decided on as if the earlier ones had happened.
#[derive(Clone, Debug)]
pub struct Group {
    pub(super) last: Seq,
    pub(super) time: UnixMillis,
    pub(super) topics: HashMap<TopicName, Staged>,
}

impl Group {
    /// The last position that was given, within the group or before it.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.last
    }

    /// The time of what is admitted next.
    #[must_use]
    pub fn time(&self) -> UnixMillis {
        self.time
    }

    /// Takes a position for a record of the log's own.
    pub fn take_position(&mut self) -> Seq {
        self.last = self.last.next();
        self.last
    }
}

/// A topic as the group leaves it.
#[derive(Clone, Debug, Default)]
pub(super) struct Staged {
    /// `None` where the group deleted it and has not made it anew.
    pub(super) topic: Option<Topic>,
    /// Where the group deleted it.
    pub(super) deleted: Option<Seq>,
    pub(super) keys: HashMap<ScopedKey, Publication>,
}

/// What is to be done about a publish that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a publish either adds events or does not")]
pub enum Admission {
    /// Nothing but to answer: all of it is in the log already.
    Duplicate(Appended),
    /// Its events are to be written.
    New(Admitted),
}

/// A publish that was given positions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admitted {
    /// The answer, once it is durable.
    pub appended: Appended,
    /// The topic's [`Topic::before_next`] in front of the first event.
    pub before: Seq,
    /// The events, in order; the end, if any, last.
    pub events: Vec<AdmittedEvent>,
    /// The name of the publish, to be kept with its events.
    pub key: Option<(IdempotencyKey, Fingerprint)>,
    /// What the answer waits for.
    pub durability: Durability,
}

/// An event that was given its position.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmittedEvent {
    /// The event.
    pub event: Event,
    /// Its own key, to be kept with it.
    pub key: Option<IdempotencyKey>,
}

/// Why a publish is refused. Nothing of it is staged then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every log must answer every refusal")]
pub enum Refusal {
    /// Neither messages nor an end.
    Empty,
    /// The topic's last event is not the expected one.
    Fenced {
        /// Where it is; zero where the topic has had none.
        last: Seq,
    },
    /// The topic has ended.
    Ended(TopicEnd),
    /// A key was used before for other content.
    KeyReused {
        /// The first event that was published under the key; zero where the same publish uses it twice.
        first: Seq,
    },
}

impl Ledger {
    /// Begins a group at a time, or, since times never fall, at the last one that was given.
    #[must_use]
    pub fn begin(&self, now: UnixMillis) -> Group {
        Group { last: self.last, time: self.time.max(now), topics: HashMap::new() }
    }

    /// Decides on a publish and stages it.
    ///
    /// A retry comes first: it is answered as a duplicate even where the topic has ended since, be it by the very
    /// publish that is tried again, and whatever it expects to be the last event. Then the topic's end, then the
    /// condition.
    ///
    /// # Errors
    /// A [`Refusal`]; the group is as it was then.
    pub fn admit(&self, group: &mut Group, append: Append) -> Result<Admission, Refusal> {
        if append.messages.is_empty() && append.end.is_none() {
            return Err(Refusal::Empty);
        }
        let name = &append.topic;
        let key = append.key.clone().map(|key| (key, Fingerprint::of_publish(&append)));
        if let Some((key, fingerprint)) = &key {
            let key = ScopedKey::Publish(key.clone());
            if let Some(seen) = self.same_content(group, name, &key, *fingerprint)? {
                return Ok(Admission::Duplicate(seen.as_duplicate()));
            }
        }
        let known = self.topic_in(group, name);
        let end = known.and_then(|topic| topic.end);
        let (messages, seen) = self.unseen(group, name, append.messages)?;
        if messages.is_empty()
            && let Some(seen) = seen
        {
            match (append.end, end) {
                (None, _) => return Ok(Admission::Duplicate(seen.as_duplicate())),
                (Some(reason), Some(end)) if end.reason == reason => {
                    let seen = Publication { last: end.seq, count: seen.count + 1, ..seen };
                    return Ok(Admission::Duplicate(seen.as_duplicate()));
                }
                _ => {}
            }
        }
        if let Some(end) = end {
            return Err(Refusal::Ended(end));
        }
        let last = known.map_or(Seq::ZERO, |topic| topic.last);
        if let Expected::Last(expected) = append.expected
            && expected != last
        {
            return Err(Refusal::Fenced { last });
        }
        Ok(Admission::New(self.stage(group, append.topic, messages, append.end, key)))
    }

    /// Stages settings, whose record takes a position of its own.
    pub fn configure(&self, group: &mut Group, name: &TopicName, config: Config) -> Settings {
        let seq = group.take_position();
        let is_new = self.topic_in(group, name).is_none();
        let topic = self.staged_mut(group, name);
        topic.config = Some(config);
        topic.config_seq = seq;
        Settings { seq, is_new, topic: topic.clone() }
    }

    /// Stages a topic's settings as they are, for their record to be written again; `None` where it has none.
    pub fn restate(&self, group: &mut Group, name: &TopicName) -> Option<Settings> {
        let config = self.topic_in(group, name)?.config.clone()?;
        Some(self.configure(group, name, config))
    }

    /// Stages a topic's deletion, whose record takes the position that is returned; `None` where there is no such topic.
    pub fn delete(&self, group: &mut Group, name: &TopicName) -> Option<Seq> {
        self.topic_in(group, name)?;
        let seq = group.take_position();
        let staged = group.topics.entry_ref(name).or_default();
        *staged = Staged { topic: None, deleted: Some(seq), keys: HashMap::new() };
        Some(seq)
    }

    /// The messages whose keys are new, and, of the others, where they are.
    fn unseen(
        &self,
        group: &Group,
        name: &TopicName,
        messages: Vec<NewMessage>,
    ) -> Result<(Vec<NewMessage>, Option<Publication>), Refusal> {
        if messages.iter().all(|new| new.key.is_none()) {
            return Ok((messages, None));
        }
        let mut unseen = Vec::with_capacity(messages.len());
        let mut seen: Option<Publication> = None;
        let mut here: HashMap<IdempotencyKey, Fingerprint> = HashMap::new();
        for new in messages {
            let Some(key) = &new.key else {
                unseen.push(new);
                continue;
            };
            let fingerprint = Fingerprint::of_message(&new.message);
            let scoped = ScopedKey::Message(key.clone());
            if let Some(found) = self.same_content(group, name, &scoped, fingerprint)? {
                let all = seen.get_or_insert(Publication { count: 0, ..found });
                all.first = all.first.min(found.first);
                all.last = all.last.max(found.last);
                all.count += 1;
            } else if let Some(before) = here.insert(key.clone(), fingerprint) {
                if before != fingerprint {
                    return Err(Refusal::KeyReused { first: Seq::ZERO });
                }
            } else {
                unseen.push(new);
            }
        }
        Ok((unseen, seen))
    }

    /// What the key names; refused where that says something else.
    fn same_content(
        &self,
        group: &Group,
        name: &TopicName,
        key: &ScopedKey,
        fingerprint: Fingerprint,
    ) -> Result<Option<Publication>, Refusal> {
        let staged = group.topics.get(name);
        let seen = staged.and_then(|staged| staged.keys.get(key)).or_else(|| {
            let is_reset = staged.is_some_and(|staged| staged.deleted.is_some());
            if is_reset { None } else { self.window.seen(name, key, group.time) }
        });
        match seen {
            Some(seen) if seen.fingerprint != fingerprint => {
                Err(Refusal::KeyReused { first: seen.first })
            }
            seen => Ok(seen.copied()),
        }
    }

    fn stage(
        &self,
        group: &mut Group,
        name: TopicName,
        messages: Vec<NewMessage>,
        end: Option<EndReason>,
        key: Option<(IdempotencyKey, Fingerprint)>,
    ) -> Admitted {
        let (time, first) = (group.time, group.last.next());
        let payloads = messages
            .into_iter()
            .map(|new| (Payload::Message(new.message), new.key))
            .chain(end.map(|reason| (Payload::End(reason), None)));
        let mut seq = group.last;
        let mut keys = Vec::new();
        let events: Vec<AdmittedEvent> = payloads
            .map(|(payload, key)| {
                seq = seq.next();
                if let (Some(key), Payload::Message(message)) = (&key, &payload) {
                    let fingerprint = Fingerprint::of_message(message);
                    let publication =
                        Publication { first: seq, last: seq, count: 1, time, fingerprint };
                    keys.push((ScopedKey::Message(key.clone()), publication));
                }
                AdmittedEvent { event: Event { seq, time, topic: name.clone(), payload }, key }
            })
            .collect();
        // A publish is bounded by its bytes far below this.
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        if let Some((key, fingerprint)) = &key {
            let publication =
                Publication { first, last: seq, count, time, fingerprint: *fingerprint };
            keys.push((ScopedKey::Publish(key.clone()), publication));
        }
        group.last = seq;
        let topic = self.staged_mut(group, &name);
        let (before, durability) = (topic.before_next(), topic.durability());
        topic.last = seq;
        topic.end = end.map(|reason| TopicEnd { seq, time, reason });
        if !keys.is_empty() {
            group.topics.entry_ref(&name).or_default().keys.extend(keys);
        }
        let appended = Appended { first, last: seq, count, time, outcome: Outcome::New };
        Admitted { appended, before, events, key, durability }
    }

    /// The topic as the group leaves it so far.
    #[must_use]
    pub fn topic_in<'a>(&'a self, group: &'a Group, name: &TopicName) -> Option<&'a Topic> {
        match group.topics.get(name) {
            Some(staged) => staged.topic.as_ref(),
            None => self.topic(name),
        }
    }

    /// The same, to be changed; made where there is none.
    fn staged_mut<'a>(&self, group: &'a mut Group, name: &TopicName) -> &'a mut Topic {
        let staged = group
            .topics
            .entry_ref(name)
            .or_insert_with(|| Staged { topic: self.topic(name).cloned(), ..Staged::default() });
        let deleted = staged.deleted;
        staged.topic.get_or_insert_with(|| Topic {
            removed: deleted.unwrap_or_else(|| self.removed_of(name)),
            ..Topic::default()
        })
    }
}

/// Settings that were given a position.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The position of their record.
    pub seq: Seq,
    /// Whether the topic was not there before.
    pub is_new: bool,
    /// The topic, with these settings.
    pub topic: Topic,
}

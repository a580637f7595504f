//! Retention's work, a bounded step at a time between two groups: [`Maintenance`].

use std::sync::Weak;
use std::thread::{self, JoinHandle};

use longwave_core::{Seq, TopicName};
use tokio::sync::oneshot;

use super::fault::Step;
use super::rewrite::{Job, RewriteError, Rewritten};
use super::state::State;
use super::writer::{Command, Writer};

/// How far retention has come.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    phase: Phase,
    /// Whether another round was asked for while one is under way.
    is_asked: bool,
    /// Who waits for the round to end.
    waiting: Vec<oneshot::Sender<()>>,
    /// Who waits for the round after it.
    waiting_next: Vec<oneshot::Sender<()>>,
    /// While somebody has the other end, no step begins that is not under way.
    held: Weak<()>,
    /// Who waits until no step is under way.
    holding: Vec<oneshot::Sender<()>>,
    job: Option<JoinHandle<()>>,
    /// What the job brought, before it is put into place.
    pub(super) rewritten: Option<Box<Rewritten>>,
}

/// What a round does, in order.
#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    /// Looking at topics with an age or a time to live, behind this one.
    Topics(Option<TopicName>),
    /// Removing the log's oldest segment, of which this many topics are done; and how many segments may go at most.
    Oldest { topics_done: usize, segments_left: usize },
    /// Having segments rewritten that are mostly dead.
    Rewriting,
}

impl Maintenance {
    /// Begins a round, or another one behind that which is under way.
    pub(super) fn ask(&mut self, reply: Option<oneshot::Sender<()>>) {
        if matches!(self.phase, Phase::Idle) {
            self.phase = Phase::Topics(None);
            self.waiting.extend(reply);
        } else if let Some(reply) = reply {
            self.is_asked = true;
            self.waiting_next.push(reply);
        }
    }

    /// Begins nothing more for as long as `held` is; answers when nothing is under way.
    pub(super) fn hold(&mut self, held: Weak<()>, reply: oneshot::Sender<()>) {
        self.held = held;
        self.holding.push(reply);
        self.answer_holders();
    }

    fn answer_holders(&mut self) {
        if self.job.is_none() && self.rewritten.is_none() {
            for reply in self.holding.drain(..) {
                let _ = reply.send(());
            }
        }
    }

    /// Whether there is a step to be taken now.
    pub(super) fn is_pending(&self) -> bool {
        self.rewritten.is_some()
            || self.held.strong_count() == 0
                && match self.phase {
                    Phase::Idle => false,
                    Phase::Rewriting => self.job.is_none(),
                    Phase::Topics(_) | Phase::Oldest { .. } => true,
                }
    }

    /// Waits for the job, whose work is then of no use.
    pub(super) fn wait(&mut self) {
        if let Some(job) = self.job.take() {
            let _ = job.join();
        }
    }

    fn end_round(&mut self) {
        self.phase = Phase::Idle;
        for reply in self.waiting.drain(..) {
            let _ = reply.send(());
        }
        if std::mem::take(&mut self.is_asked) {
            self.waiting = std::mem::take(&mut self.waiting_next);
            self.phase = Phase::Topics(None);
        }
    }
}

impl Writer {
    /// Takes the next step. A step that fails ends the round; the next one tries again.
    pub(super) fn maintain_step(&mut self) {
        if let Some(rewritten) = self.maintenance.rewritten.take() {
            self.maintenance.wait();
            if self.install(*rewritten).is_none() {
                self.maintenance.end_round();
            }
            self.maintenance.answer_holders();
            return;
        }
        let next = match std::mem::take(&mut self.maintenance.phase) {
            Phase::Idle => None,
            Phase::Topics(after) => self.look_at_topics(after),
            Phase::Oldest { topics_done, segments_left } => {
                self.remove_oldest(topics_done, segments_left)
            }
            Phase::Rewriting => self.begin_rewriting(),
        };
        match next {
            Some(phase) => self.maintenance.phase = phase,
            None => self.maintenance.end_round(),
        }
    }

    fn look_at_topics(&mut self, after: Option<TopicName>) -> Option<Phase> {
        if after.is_none() {
            // Bounds how much a power cut can take from memory-only topics.
            if let Err(error) = self.sync() {
                self.give_up(error);
                return None;
            }
        }
        let now = self.shared.clock.now();
        let mut expired = Vec::new();
        let topics = {
            let mut state = self.shared.write();
            let topics = state.ledger.timed_topics(after.as_ref(), STEP_TOPICS_MAX);
            for name in &topics {
                state.trim_topic(name, now);
                if state.ledger.topic(name).is_some_and(|topic| topic.is_expired(now)) {
                    expired.push(name.clone());
                }
            }
            topics
        };
        let mut batch = self.begin();
        for name in expired {
            self.delete(&mut batch, &name);
        }
        self.commit(batch).ok()?;
        Some(match topics.last() {
            Some(last) => Phase::Topics(Some(last.clone())),
            None => {
                self.begin_segment_if_expired();
                let segments_left = self.shared.read().segments.len().saturating_sub(1);
                Phase::Oldest { topics_done: 0, segments_left }
            }
        })
    }

    /// Finishes the active segment where all of it is too old, so that it can be removed.
    fn begin_segment_if_expired(&mut self) {
        let now = self.shared.clock.now();
        let newest = self.shared.read().active().and_then(|active| active.index.times().newest());
        if newest.is_some_and(|newest| self.shared.retention.is_expired(newest, now)) {
            self.begin_segment();
        }
    }

    fn remove_oldest(&mut self, topics_done: usize, segments_left: usize) -> Option<Phase> {
        let now = self.shared.clock.now();
        let retention = self.shared.retention;
        let (names, needed, path) = {
            let mut state = self.shared.write();
            let oldest = state.segments.front()?;
            let newest = oldest.index.times().newest();
            let is_due = retention.is_over(state.bytes())
                || newest.is_none_or(|newest| retention.is_expired(newest, now))
                    && retention.max_age_ms.is_some();
            if segments_left == 0 || state.segments.len() < 2 || !is_due {
                return Some(Phase::Rewriting);
            }
            let names: Vec<TopicName> = oldest
                .index
                .topics()
                .iter()
                .skip(topics_done)
                .take(STEP_TOPICS_MAX)
                .cloned()
                .collect();
            let path = oldest.file.path.clone();
            for name in &names {
                state.trim_oldest(name);
            }
            let needed = settings_needed(&state, &names, 0..1);
            (names, needed, path)
        };
        self.restate_all(needed)?;
        if !names.is_empty() {
            return Some(Phase::Oldest { topics_done: topics_done + names.len(), segments_left });
        }
        // Readers who are at it have it open, and read on.
        let removed = self.shared.dir.remove(&path).and_then(|()| self.shared.dir.sync());
        if let Err(error) = removed {
            tracing::warn!(file = %path.display(), %error, "a segment that is too old could not be removed");
            return None;
        }
        self.shared.write().segments.pop_front();
        Some(Phase::Oldest { topics_done: 0, segments_left: segments_left - 1 })
    }

    fn begin_rewriting(&mut self) -> Option<Phase> {
        let (run, needed) = {
            let state = self.shared.read();
            let run = Job::find(&state, self.shared.segment_bytes_max)?;
            let mut names = Vec::new();
            for segment in state.segments.range(run.clone()) {
                names.extend(segment.index.topics().iter().cloned());
            }
            names.sort_unstable();
            names.dedup();
            (run.clone(), settings_needed(&state, &names, run))
        };
        self.restate_all(needed)?;
        let job = {
            let state = self.shared.read();
            Job::new(&state, run, self.shared.dir.clone(), self.shared.identity)?
        };
        let sender = self.sender.clone();
        let thread = thread::Builder::new().name("longwave-rewrite".to_owned()).spawn(move || {
            let rewritten = Box::new(job.run());
            if let Some(sender) = sender.upgrade() {
                // Where the log is closed, nobody needs it; what was written is removed when it is opened.
                let _ = sender.blocking_send(Command::Rewritten(rewritten));
            }
        });
        self.maintenance.job = Some(thread.ok()?);
        Some(Phase::Rewriting)
    }

    /// Puts a successor into place.
    fn install(&self, rewritten: Rewritten) -> Option<()> {
        let Rewritten { first_base, last_base, tmp, segment } = rewritten;
        let dir = self.shared.dir.clone();
        let warn = |error: std::io::Error| {
            tracing::warn!(file = %tmp.display(), %error, "a segment could not be rewritten");
        };
        let replaced = segment.and_then(|segment| {
            dir.faults.check(Step::Replace)?;
            std::fs::rename(&tmp, &segment.file.path)?;
            Ok(segment)
        });
        let mut segment = match replaced {
            Ok(segment) => segment,
            Err(error) => {
                let _ = std::fs::remove_file(&tmp);
                match error {
                    RewriteError::Io(error) => warn(error),
                    RewriteError::Damaged(seq, topic) => {
                        tracing::error!(seq = seq.0, %topic, "a record of the log is damaged; readers are told of a gap");
                        self.shared.write().note_damage(seq, &topic);
                    }
                }
                return None;
            }
        };
        let is_durable = dir.sync();
        let mut others = Vec::new();
        {
            let mut state = self.shared.write();
            let start = state.segments.partition_point(|s| s.index.base() < first_base);
            let end = state.segments.partition_point(|s| s.index.base() <= last_base);
            for (id, name) in (0..).zip(segment.index.topics()) {
                let removed = state.ledger.topic(name).map_or(Seq(u64::MAX), |topic| topic.removed);
                let dead = segment.index.events_of(id, Seq::ZERO).take_while(|p| p.seq <= removed);
                segment.dead_bytes += dead.map(|place| u64::from(place.len)).sum::<u64>();
            }
            for old in state.segments.range(start + 1..end) {
                others.push(old.file.path.clone());
            }
            state.segments.drain(start..end);
            state.segments.insert(start, segment);
        }
        // Only then: until it is durable that their successor is in place, they are the log.
        let removed = is_durable.and_then(|()| {
            others.iter().try_for_each(|path| dir.remove(path)).and_then(|()| dir.sync())
        });
        removed.map_err(warn).ok()
    }

    fn restate_all(&mut self, names: Vec<TopicName>) -> Option<()> {
        for names in names.chunks(STEP_TOPICS_MAX) {
            let mut batch = self.begin();
            for name in names {
                self.restate(&mut batch, name);
            }
            self.commit(batch).ok()?;
        }
        Some(())
    }
}

/// Those of `names` whose settings must be written again before a run of segments goes: where the last record of them
/// lies in it, or where it holds the only events that tell how far the topic had come.
fn settings_needed(
    state: &State,
    names: &[TopicName],
    run: std::ops::Range<usize>,
) -> Vec<TopicName> {
    let base = |i: usize| state.segments.get(i).map_or(Seq(u64::MAX), |s| s.index.base());
    let (first, behind) = (base(run.start), base(run.end));
    let is_needed = |name: &&TopicName| {
        state.ledger.topic(name).is_some_and(|topic| {
            let lies_in_it = (first..behind).contains(&topic.config_seq);
            let is_stale = topic.events == 0 && topic.config_seq < topic.removed;
            topic.config.is_some() && (lies_in_it || is_stale)
        })
    };
    names.iter().filter(is_needed).cloned().collect()
}

/// How many topics a step deals with: about a millisecond.
const STEP_TOPICS_MAX: usize = 1024;

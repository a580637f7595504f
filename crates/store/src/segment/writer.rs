//! The one thread that writes: [`Writer`].
//!
//! It takes what is waiting, decides on each in turn, writes all of it at once, waits once for the disk, and only then
//! shows and answers any of it.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use longwave_core::{
    Admission, Admitted, Append, Appended, Config, Durability, EndReason, Event, Group, Payload,
    Seq, Settings, TopicName,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::Shared;
use super::active::{Active, AppendFailure};
use super::file::{Header, is_full};
use super::handover::Release;
use super::index::{Place, Role};
use super::maintenance::Maintenance;
use super::record::{self, Kind, Record};
use super::recovery::RESERVE;
use super::rewrite::Rewritten;
use super::settings;
use super::state::{Condition, Segment, Written};
use crate::log::{AppendError, Commit, ConfigureError, Configured, DeleteError};

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Command {
    Append(Append, oneshot::Sender<Result<Appended, AppendError>>, OwnedSemaphorePermit),
    Configure(TopicName, Config, oneshot::Sender<Result<Configured, ConfigureError>>),
    Delete(TopicName, oneshot::Sender<Result<(), DeleteError>>),
    /// Time has passed.
    Tick,
    /// Retention is to be done at once; answered when there is nothing more to do.
    Retain(oneshot::Sender<()>),
    Rewritten(Box<Rewritten>),
    /// No step of maintenance is to begin while the other end of the first is held; answered when none is under way.
    Hold(Weak<()>, oneshot::Sender<()>),
    /// A new segment is to be begun, so that what was written is in finished ones.
    Seal(oneshot::Sender<()>),
    Release(Release),
    Close(oneshot::Sender<()>),
}

/// What a command asks for that can't be done while a group is open.
enum Turn {
    Seal(oneshot::Sender<()>),
    Release(Release),
    Close(oneshot::Sender<()>),
}

/// The log's writing half.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Receiver<Command>,
    /// For threads that answer to the writer.
    pub(super) sender: mpsc::WeakSender<Command>,
    feed: mpsc::Sender<Commit>,
    pub(super) active: Active,
    buffer: Vec<u8>,
    pub(super) maintenance: Maintenance,
}

/// Why a group was not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitError {
    Full,
    Failed,
}

/// A group on its way to the disk.
pub(super) struct Batch {
    group: Group,
    written: Vec<Written>,
    events: Vec<Arc<Event>>,
    /// Whether anything in it must be durable before it is shown.
    must_sync: bool,
}

/// An answer that waits for its group.
enum Answer {
    Append(
        oneshot::Sender<Result<Appended, AppendError>>,
        Result<Appended, AppendError>,
        OwnedSemaphorePermit,
    ),
    Configure(oneshot::Sender<Result<Configured, ConfigureError>>, Configured),
    Delete(oneshot::Sender<Result<(), DeleteError>>, Result<(), DeleteError>),
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        sender: mpsc::WeakSender<Command>,
        feed: mpsc::Sender<Commit>,
        active: Active,
    ) -> Writer {
        let maintenance = Maintenance::default();
        Writer { shared, commands, sender, feed, active, buffer: Vec::new(), maintenance }
    }

    /// Works until the log is closed or nobody holds it any more.
    pub(super) fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            // Between two groups there is always time for one bounded step of maintenance.
            let first = if self.maintenance.is_pending() {
                self.maintain_step();
                self.commands.try_recv().ok()
            } else {
                match self.commands.blocking_recv() {
                    Some(command) => Some(command),
                    None => break,
                }
            };
            if let Some(first) = first {
                match self.handle(first) {
                    None => {}
                    Some(Turn::Seal(done)) => {
                        self.begin_segment();
                        let _ = done.send(());
                    }
                    Some(Turn::Release(release)) => match self.release(release) {
                        ControlFlow::Continue(()) => {}
                        ControlFlow::Break(()) => return self.serve_out(),
                    },
                    Some(Turn::Close(done)) => closing = Some(done),
                }
            } else if self.commands.is_closed() && self.commands.is_empty() {
                break;
            }
        }
        self.finish();
        if let Some(done) = closing {
            let _ = done.send(());
        }
    }

    /// Handles a command and all that wait behind it, up to the bounds of a group.
    fn handle(&mut self, first: Command) -> Option<Turn> {
        self.begin_segment_if_due();
        let mut batch = self.begin();
        let mut answers = Vec::new();
        let mut turn = None;
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                Command::Append(append, reply, permit) => {
                    let result = self.admit(&mut batch, append);
                    answers.push(Answer::Append(reply, result, permit));
                }
                Command::Configure(topic, config, reply) => {
                    let configured = self.configure(&mut batch, &topic, config);
                    answers.push(Answer::Configure(reply, configured));
                }
                Command::Delete(topic, reply) => {
                    let deleted = self.delete(&mut batch, &topic);
                    let result = if deleted { Ok(()) } else { Err(DeleteError::NotFound) };
                    answers.push(Answer::Delete(reply, result));
                }
                Command::Tick => self.maintenance.ask(None),
                Command::Retain(reply) => self.maintenance.ask(Some(reply)),
                Command::Rewritten(rewritten) => self.maintenance.rewritten = Some(rewritten),
                Command::Hold(held, reply) => self.maintenance.hold(held, reply),
                Command::Seal(done) => turn = Some(Turn::Seal(done)),
                Command::Release(release) => turn = Some(Turn::Release(release)),
                Command::Close(done) => turn = Some(Turn::Close(done)),
            }
            if turn.is_some() {
                break;
            }
            if self.buffer.len() < GROUP_BYTES_MAX && answers.len() < GROUP_LEN_MAX {
                next = self.commands.try_recv().ok();
            }
        }
        let committed = self.commit(batch);
        for answer in answers {
            answer.give(committed);
        }
        turn
    }

    pub(super) fn begin(&mut self) -> Batch {
        self.buffer.clear();
        let group = self.shared.read().ledger.begin(self.shared.clock.now());
        Batch { group, written: Vec::new(), events: Vec::new(), must_sync: false }
    }

    fn admit(&mut self, batch: &mut Batch, append: Append) -> Result<Appended, AppendError> {
        let shared = Arc::clone(&self.shared);
        let state = shared.read();
        match state.ledger.admit(&mut batch.group, append)? {
            Admission::Duplicate(appended) => Ok(appended),
            Admission::New(admitted) => Ok(self.write_events(batch, admitted)),
        }
    }

    fn write_events(&mut self, batch: &mut Batch, admitted: Admitted) -> Appended {
        batch.must_sync |= admitted.durability == Durability::Disk;
        let mut before = admitted.before;
        let last = admitted.appended.last;
        let publish_key = admitted.key.as_ref().map(|(key, print)| (key.as_str(), *print));
        for new in admitted.events {
            let event = new.event;
            let is_first = event.seq == admitted.appended.first;
            let own = match &event.payload {
                Payload::Message(message) => Record {
                    event_type: message.event_type.as_ref().map_or("", |t| t.as_str()),
                    data: &message.data,
                    source: message.source.as_deref(),
                    ..Record::own(Kind::Message(message.format), event.seq, event.time)
                },
                Payload::End(reason) => Record::own(Kind::End(*reason), event.seq, event.time),
            };
            let record = Record {
                is_first,
                is_last: event.seq == last,
                before,
                topic: event.topic.as_str(),
                key: new.key.as_ref().map_or("", |key| key.as_str()),
                publish_key: publish_key.filter(|_| is_first),
                ..own
            };
            self.write(batch, record, Some(&event.topic));
            before = event.seq;
            batch.events.push(Arc::new(event));
        }
        admitted.appended
    }

    fn configure(&mut self, batch: &mut Batch, topic: &TopicName, config: Config) -> Configured {
        let shared = Arc::clone(&self.shared);
        let state = shared.read();
        let known = state.ledger.topic_in(&batch.group, topic);
        if known.is_some_and(|known| known.config.as_ref() == Some(&config)) {
            return Configured::Updated;
        }
        let settings = state.ledger.configure(&mut batch.group, topic, config);
        let is_new = settings.is_new;
        self.write_settings(batch, topic, &settings);
        if is_new { Configured::Created } else { Configured::Updated }
    }

    /// Writes a topic's settings once more, so that the record of them that is there may go.
    pub(super) fn restate(&mut self, batch: &mut Batch, topic: &TopicName) {
        let shared = Arc::clone(&self.shared);
        let state = shared.read();
        if let Some(settings) = state.ledger.restate(&mut batch.group, topic) {
            self.write_settings(batch, topic, &settings);
        }
    }

    fn write_settings(&mut self, batch: &mut Batch, topic: &TopicName, settings: &Settings) {
        let data = settings::encode(&settings.topic);
        let own = Record::own(Kind::Settings, settings.seq, batch.group.time());
        let record = Record { topic: topic.as_str(), data: &data, ..own };
        self.write(batch, record, Some(topic));
        batch.must_sync = true;
    }

    /// Whether there was such a topic.
    pub(super) fn delete(&mut self, batch: &mut Batch, topic: &TopicName) -> bool {
        let deleted = self.shared.read().ledger.delete(&mut batch.group, topic);
        let Some(seq) = deleted else { return false };
        let time = batch.group.time();
        let record = Record { topic: topic.as_str(), ..Record::own(Kind::Deletion, seq, time) };
        self.write(batch, record, Some(topic));
        batch.must_sync = true;
        let payload = Payload::End(EndReason::Deleted);
        batch.events.push(Arc::new(Event { seq, time, topic: topic.clone(), payload }));
        true
    }

    fn write(&mut self, batch: &mut Batch, record: Record<'_>, topic: Option<&TopicName>) {
        let role = match record.kind {
            Kind::Message(_) | Kind::End(_) => Role::Event,
            Kind::Deletion => Role::Deletion,
            Kind::Settings | Kind::Reservation | Kind::Close => Role::Other,
        };
        let offset = offset(self.active.len + self.buffer.len() as u64);
        let record = Record { synced: self::offset(self.active.synced), ..record };
        let len = record::encode(&mut self.buffer, self.shared.identity.seed(), &record);
        let place = Place { seq: record.seq, offset, len };
        batch.written.push(Written { place, time: record.time, topic: topic.cloned(), role });
    }

    /// Makes a group as durable as it must be, shows it, and tells of it.
    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        self.usable()?;
        if !batch.written.is_empty() {
            let commit = self.show(batch)?;
            self.tell(commit);
        }
        Ok(())
    }

    /// Tells who follows the log.
    pub(super) fn tell(&self, commit: Commit) {
        // Nobody listens: the log is used without a hub.
        let _ = self.feed.blocking_send(commit);
    }

    /// Makes a group as durable as it must be, and shows it.
    fn show(&mut self, mut batch: Batch) -> Result<Commit, CommitError> {
        if !batch.must_sync && batch.group.last() > self.active.reserved {
            self.reserve(&mut batch);
        }
        let Batch { group, written, events, must_sync } = batch;
        if let Err(error) = self.append(must_sync) {
            return Err(self.give_up(error));
        }
        self.active.begun.get_or_insert(group.time());
        let through = group.last();
        {
            let mut state = self.shared.write();
            state.publish(group, written, self.active.len);
            state.condition = Condition::Ready;
        }
        Ok(Commit { events, through })
    }

    /// Makes sure that positions which memory-only events get are not given again after a power cut.
    fn reserve(&mut self, batch: &mut Batch) {
        let seq = batch.group.take_position();
        let through = Seq(seq.0.saturating_add(RESERVE));
        let own = Record::own(Kind::Reservation, seq, batch.group.time());
        self.write(batch, Record { before: through, ..own }, None);
        batch.must_sync = true;
        self.active.reserved = through;
    }

    fn usable(&self) -> Result<(), CommitError> {
        match self.shared.read().condition {
            Condition::Ready | Condition::Full => Ok(()),
            Condition::Failed(_) | Condition::HandedOver | Condition::Closed => {
                Err(CommitError::Failed)
            }
        }
    }

    /// Notes a failure.
    pub(super) fn give_up(&mut self, error: AppendFailure) -> CommitError {
        match error {
            AppendFailure::Full(error) => {
                let mut state = self.shared.write();
                if state.condition != Condition::Full {
                    tracing::warn!(%error, "the log's disk is full; publishing is refused until there is room");
                }
                state.condition = Condition::Full;
                // The reservation may have been in what was taken back.
                drop(state);
                self.active.reserved = Seq::ZERO;
                CommitError::Full
            }
            AppendFailure::Broken(what, error) => {
                let file = self.active.file.path.display().to_string();
                tracing::error!(%file, %error, "{what} failed; the log takes no more events");
                let reason = format!("{what} {file} failed: {error}");
                self.shared.write().condition = Condition::Failed(reason);
                CommitError::Failed
            }
        }
    }

    /// Writes the buffer behind the active segment.
    fn append(&mut self, must_sync: bool) -> Result<(), AppendFailure> {
        self.active.append(&self.buffer, &self.shared.dir.faults)?;
        if must_sync { self.sync() } else { Ok(()) }
    }

    /// Waits until all that was written is durable.
    pub(super) fn sync(&mut self) -> Result<(), AppendFailure> {
        self.active.sync(&self.shared.dir.faults)
    }

    /// Begins the next segment where the active one is large or old enough.
    fn begin_segment_if_due(&mut self) {
        let now = self.shared.clock.now();
        let is_old = self
            .active
            .begun
            .is_some_and(|begun| begun.saturating_add_ms(self.shared.segment_age_max_ms) < now);
        let ahead = self.shared.read().committed.0.saturating_sub(self.active.base.0);
        let is_out_of_reach = ahead > u64::from(u32::MAX / 2);
        if self.active.len >= self.shared.segment_bytes_max || is_old || is_out_of_reach {
            self.begin_segment();
        }
    }

    /// Finishes the active segment and begins the next. Where that fails for want of room, the active one goes on.
    pub(super) fn begin_segment(&mut self) {
        if self.usable().is_err() || self.active.begun.is_none() {
            return;
        }
        if let Err(error) = self.sync() {
            self.give_up(error);
            return;
        }
        self.active.give_back();
        let base = self.shared.read().committed.next();
        let header =
            Header { identity: self.shared.identity, base, end: Seq::ZERO, forgotten: Seq::ZERO };
        match self.shared.dir.create(&header) {
            Ok(file) => {
                let segment = Segment::begin(file, base);
                let mut state = self.shared.write();
                if let Some(old) = state.segments.back_mut() {
                    old.index.seal();
                }
                self.active = Active::new(&segment, Seq::ZERO, self.shared.segment_bytes_max);
                state.segments.push_back(segment);
            }
            Err(error) if is_full(&error) => {
                self.active.forget_prepared();
            }
            Err(error) => {
                self.give_up(AppendFailure::Broken("beginning a segment after", error));
            }
        }
    }

    /// Puts the closing record behind all that was written, and gives up the files.
    fn finish(mut self) {
        // What comes now is refused; a job that has something to tell must not wait for room in the queue.
        self.commands.close();
        self.maintenance.wait();
        // Where that fails, it has been told, and who opens the log next takes it for a crash.
        let _ = self.write_close();
        self.give_up_files();
        self.shared.unlock();
    }

    /// Writes the record that says that the log was closed. Nobody was told of it yet.
    pub(super) fn write_close(&mut self) -> Result<Commit, CommitError> {
        self.usable()?;
        // What the record says to be durable must be.
        self.sync().map_err(|error| self.give_up(error))?;
        let mut batch = self.begin();
        let seq = batch.group.take_position();
        let record = Record::own(Kind::Close, seq, batch.group.time());
        self.write(&mut batch, record, None);
        batch.must_sync = true;
        let commit = self.show(batch)?;
        self.active.give_back();
        // It ends what was reserved, for whoever opens the log and for this one if it goes on.
        self.active.reserved = Seq::ZERO;
        Ok(commit)
    }

    /// Nothing can be read after this.
    pub(super) fn give_up_files(&self) {
        let mut state = self.shared.write();
        state.condition = Condition::Closed;
        state.segments.clear();
    }
}

impl Answer {
    fn give(self, committed: Result<(), CommitError>) {
        // Whoever asked may have gone; that takes nothing back.
        match self {
            Answer::Append(reply, result, _permit) => {
                let _ = reply.send(match committed {
                    Ok(()) => result,
                    Err(CommitError::Full) => Err(AppendError::Full),
                    Err(CommitError::Failed) => Err(AppendError::Failed),
                });
            }
            Answer::Configure(reply, configured) => {
                let _ = reply.send(match committed {
                    Ok(()) => Ok(configured),
                    Err(CommitError::Full) => Err(ConfigureError::Full),
                    Err(CommitError::Failed) => Err(ConfigureError::Failed),
                });
            }
            Answer::Delete(reply, result) => {
                let _ = reply.send(match committed {
                    Ok(()) => result,
                    Err(CommitError::Full) => Err(DeleteError::Full),
                    Err(CommitError::Failed) => Err(DeleteError::Failed),
                });
            }
        }
    }
}

/// Sees to it that a log whose writer has gone, for whatever reason, does not look usable.
#[derive(Debug)]
pub(super) struct LastWord(pub(super) Arc<Shared>);

impl Drop for LastWord {
    fn drop(&mut self) {
        let mut state = self.0.write();
        if !matches!(state.condition, Condition::Closed | Condition::HandedOver) {
            state.condition = Condition::Failed("the log's writer stopped unexpectedly".to_owned());
        }
    }
}

/// Segments are bounded far below 4 GiB.
fn offset(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// How many bytes of records make a group, but for the publish that reaches it.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// How many publishes make a group.
const GROUP_LEN_MAX: usize = 4096;

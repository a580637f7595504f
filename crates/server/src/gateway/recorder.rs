//! What upstream sends, put into the log event by event: [`Recorder`].
//!
//! One append is under way at a time, which keeps the order; what comes meanwhile waits as a group, bounded, and is
//! appended together next. Nobody is shown an event before the log has it. How a stream ends is in
//! `recorder/ending.rs`, what upstream runs by itself in `recorder/background.rs`.

mod background;
mod ending;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use longwave_core::{Append, Appended, EndReason, EventType, Expected, Message, NewMessage, Seq};
use longwave_store::{AppendError, Log};
use tokio::time::{Instant, sleep_until};

use super::comeback::{Back, Comeback};
use super::cut::{Cutter, TooLarge};
use super::dialect::{Failure, Meaning, Piece, Transcript};
use super::route::Disconnect;
use super::running::{Running, Stop};
use super::stream::StreamId;
use super::tally::Tally;
use super::upstream::{BrokenOff, Pieces};
use super::watch::Watch;
use super::{Dialect, Route};
use crate::http::{App, Code, Problem, append_problem};

/// A stream on its way from upstream into the log.
pub(super) struct Recorder {
    app: App,
    route: Arc<Route>,
    running: Arc<Running>,
    id: StreamId,
    pieces: Pieces,
    /// How upstream's body ended, once it has.
    body_end: Option<BodyEnd>,
    cutter: Cutter,
    finder: Finder,
    /// None before the first event, by which the dialect is found.
    transcript: Option<Transcript>,
    group: Vec<NewMessage>,
    group_bytes: usize,
    in_flight: Option<InFlight>,
    comeback: Option<Comeback>,
    /// The way back to upstream, where the connection was lost.
    coming_back: Option<BoxFuture<'static, Back>>,
    /// The stream's newest event in the log.
    last: Seq,
    /// How many events upstream has sent.
    events: u64,
    tally: Tally,
}

type InFlight = BoxFuture<'static, Result<Appended, AppendError>>;

/// What a recorder is made of.
pub(super) struct Recording {
    pub(super) app: App,
    pub(super) route: Arc<Route>,
    pub(super) running: Arc<Running>,
    pub(super) id: StreamId,
    pub(super) pieces: Pieces,
    pub(super) cutter: Cutter,
    pub(super) finder: Finder,
    /// Where upstream runs what it sends, and can be asked again.
    pub(super) comeback: Option<Comeback>,
    /// The stream's newest event in the log: its head, or zero where there is none.
    pub(super) last: Seq,
}

/// Finds the dialect from the first event, or without one where a stream is over before it.
pub(super) type Finder = Box<dyn Fn(Option<Piece<'_>>) -> Dialect + Send>;

/// How an upstream's body ended.
#[derive(Debug)]
enum BodyEnd {
    InOrder,
    /// It was left open behind the stream's last event, and is not waited for.
    LeftOpen,
    Broken(BrokenOff),
    TooLarge(TooLarge),
}

/// What is known of an answer before anybody is told that there is one.
pub(super) enum Gate {
    /// It is a stream.
    Open,
    /// Upstream told an error in place of what was asked for.
    Failed(Failure),
    /// Upstream broke off, or was silent, before there was anything.
    Broken(Problem),
    /// It was stopped.
    Stopped(Stop),
}

/// Why a recording is over.
enum Over {
    Upstream,
    Stopped(Stop),
    Silent(Duration),
    TookTooLong(Duration),
    /// The log has the stream's end already, or nothing of it any more, or takes nothing.
    Log(AppendError),
}

impl Recorder {
    pub(super) fn new(recording: Recording, tally: Tally) -> Recorder {
        let Recording { app, route, running, id, pieces, cutter, finder, comeback, last } =
            recording;
        Recorder {
            app,
            route,
            running,
            id,
            pieces,
            body_end: None,
            cutter,
            finder,
            transcript: None,
            group: Vec::new(),
            group_bytes: 0,
            in_flight: None,
            comeback,
            coming_back: None,
            last,
            events: 0,
            tally,
        }
    }

    /// The dialect, once there was an event.
    pub(super) fn dialect(&self) -> Option<Dialect> {
        self.transcript.as_ref().map(Transcript::dialect)
    }

    /// Upstream's own id of the answer, once it was said.
    pub(super) fn response_id(&self) -> Option<&str> {
        self.transcript.as_ref().and_then(Transcript::response_id)
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Reads until it is known whether there is a stream: up to its first content, but not for long once upstream says
    /// anything. `deadline` is when upstream must have said something, which it was given `waited` for.
    pub(super) async fn gate(&mut self, mut deadline: Instant, mut waited: Duration) -> Gate {
        let idle = Duration::from_millis(self.route.options.idle_timeout_ms);
        let mut hurry: Option<Instant> = None;
        loop {
            match self.cut() {
                Some(Meaning::Failed) if !self.tally.has_content() => {
                    let failure = self.transcript.as_ref().and_then(Transcript::error).cloned();
                    return failure.map_or(Gate::Open, Gate::Failed);
                }
                Some(Meaning::Prelude) | None => {}
                Some(_) => return Gate::Open,
            }
            if let Some(end) = &self.body_end {
                return self.gate_at_end(end);
            }
            if !self.has_room() {
                return Gate::Open;
            }
            if self.events > 0 {
                hurry.get_or_insert_with(|| Instant::now() + GATE);
            }
            tokio::select! {
                biased;
                stop = self.running.stopped() => return Gate::Stopped(stop),
                piece = self.pieces.next() => {
                    self.take(piece);
                    // Comments are no events, and show all the same that upstream is at work.
                    let idle_end = Instant::now() + idle;
                    if idle_end > deadline {
                        (deadline, waited) = (idle_end, idle);
                    }
                }
                () = sleep_until(hurry.unwrap_or(deadline)) => {
                    if hurry.is_some() {
                        return Gate::Open;
                    }
                    let detail = format_args!("upstream sent nothing within {waited:?}");
                    return Gate::Broken(Problem::new(Code::UpstreamTimeout, detail));
                }
            }
        }
    }

    /// Whether an answer that is over before its first content is a stream.
    fn gate_at_end(&self, end: &BodyEnd) -> Gate {
        let reason = self.end_reason();
        match end {
            BodyEnd::InOrder | BodyEnd::Broken(_) if self.can_come_back() => Gate::Open,
            // A generator that has nothing to say is one that is done. A provider always says something.
            BodyEnd::InOrder | BodyEnd::LeftOpen if reason == EndReason::Done => Gate::Open,
            BodyEnd::InOrder | BodyEnd::LeftOpen => Gate::Broken(Problem::new(
                Code::UpstreamBroken,
                "upstream ended its stream before it said anything",
            )),
            BodyEnd::Broken(error) => {
                tracing::warn!(error = error as &dyn std::error::Error, "upstream broke off");
                Gate::Broken(Problem::new(
                    Code::UpstreamBroken,
                    "upstream broke off before it said anything",
                ))
            }
            BodyEnd::TooLarge(error) => Gate::Broken(Problem::new(Code::UpstreamInvalid, error)),
        }
    }

    /// Puts what came so far into the log, behind the heads.
    ///
    /// Gives the position of the first.
    ///
    /// # Errors
    /// The [`Problem`] of an append that failed; nothing is recorded then.
    pub(super) async fn open(
        &mut self,
        heads: Vec<NewMessage>,
        dialect: Dialect,
    ) -> Result<Seq, Problem> {
        let (mut messages, events) = (heads, self.group.len() as u64);
        messages.append(&mut self.group);
        self.group_bytes = 0;
        let append = self.append(messages, None);
        let appended = self.app.log().append(append).await;
        let appended = appended.map_err(|error| append_problem(&self.app, &error))?;
        self.last = appended.last;
        self.tally.begun(dialect);
        self.tally.recorded(events);
        Ok(appended.first)
    }

    /// Records until the stream is over, and then its end.
    pub(super) async fn record(mut self, disconnect: Disconnect) {
        let over = self.pump(disconnect).await;
        // Its connection goes now: the end may have to wait for the log.
        self.pieces = stream::empty().boxed();
        self.coming_back = None;
        let cancel = self.upstream_cancel(&over);
        let running = Arc::clone(&self.running);
        let finish = async {
            let life = self.finish(over).await;
            running.set_life(life);
        };
        tokio::join!(finish, cancel);
    }

    async fn pump(&mut self, disconnect: Disconnect) -> Over {
        let options = &self.route.options;
        let idle = Duration::from_millis(options.idle_timeout_ms);
        let total = options.total_timeout_ms.map(Duration::from_millis);
        let running = Arc::clone(&self.running);
        let mut stopped = pin!(running.stopped());
        let mut idle_timer = pin!(tokio::time::sleep(idle));
        let mut total_timer = pin!(tokio::time::sleep(total.unwrap_or_default()));
        let mut linger_timer = pin!(tokio::time::sleep(LINGER));
        let watch = Watch::new(disconnect);
        let mut unwatched = pin!(watch.unwatched(self.app.clone(), self.id.clone()));
        let mut had_ended = false;
        loop {
            self.cut();
            self.start_append();
            if self.is_at_end() && !self.come_back() {
                return Over::Upstream;
            }
            let has_ended = self.transcript.as_ref().is_some_and(Transcript::has_ended);
            if has_ended && !had_ended {
                linger_timer.as_mut().reset(Instant::now() + LINGER);
            }
            had_ended = has_ended;
            let reads = self.body_end.is_none();
            tokio::select! {
                biased;
                stop = &mut stopped => return Over::Stopped(stop),
                appended = under_way(&mut self.in_flight), if self.in_flight.is_some() => {
                    self.in_flight = None;
                    match appended {
                        Ok(appended) => self.appended(&appended),
                        Err(error) => return Over::Log(error),
                    }
                    idle_timer.as_mut().reset(Instant::now() + idle);
                }
                piece = self.pieces.next(), if reads && self.has_room() => {
                    self.take(piece);
                    idle_timer.as_mut().reset(Instant::now() + idle);
                }
                back = under_way(&mut self.coming_back), if self.coming_back.is_some() => {
                    self.take_back(back);
                    idle_timer.as_mut().reset(Instant::now() + idle);
                }
                () = &mut linger_timer, if reads && has_ended => {
                    self.body_end = Some(BodyEnd::LeftOpen);
                }
                // What the gateway does not read is not upstream's silence.
                () = &mut idle_timer, if reads && self.has_room() => return Over::Silent(idle),
                () = &mut total_timer, if total.is_some() => {
                    return Over::TookTooLong(total.unwrap_or_default());
                }
                () = &mut unwatched => return Over::Stopped(Stop::Unwatched),
            }
        }
    }

    /// Whether all that upstream's body gave is in the log, and there is no more.
    fn is_at_end(&self) -> bool {
        self.body_end.is_some() && self.in_flight.is_none() && self.coming_back.is_none()
    }

    /// Takes in what upstream's body gave.
    fn take(&mut self, piece: Option<Result<bytes::Bytes, BrokenOff>>) {
        match piece {
            Some(Ok(bytes)) => self.cutter.push(&bytes),
            Some(Err(error)) => self.body_end = Some(BodyEnd::Broken(error)),
            None => self.body_end = Some(BodyEnd::InOrder),
        }
    }

    /// Cuts events off what came, as far as the group has room, and says the most telling of what they mean.
    fn cut(&mut self) -> Option<Meaning> {
        let mut most = None;
        while self.has_room() {
            match self.cutter.next_message() {
                Ok(Some(message)) => most = most.max(Some(self.keep(message))),
                Ok(None) => {
                    // Only now that all before it was cut off. What can be had whole must not be taken for whole.
                    if matches!(self.body_end, Some(BodyEnd::InOrder))
                        && !self.can_come_back()
                        && let Some(message) = self.cutter.finish()
                    {
                        most = most.max(Some(self.keep(message)));
                    }
                    break;
                }
                Err(error) => {
                    self.body_end = Some(BodyEnd::TooLarge(error));
                    break;
                }
            }
        }
        most
    }

    fn keep(&mut self, message: Message) -> Meaning {
        let piece = Piece {
            event_type: message.event_type.as_ref().map(EventType::as_str),
            data: &message.data,
        };
        let transcript =
            self.transcript.get_or_insert_with(|| Transcript::new((self.finder)(Some(piece))));
        if let Some(comeback) = &mut self.comeback {
            if comeback.has_come_back() && transcript.has_said(piece) {
                return Meaning::Prelude;
            }
            comeback.renew();
        }
        let meaning = transcript.take(piece);
        self.events += 1;
        self.tally.came(meaning);
        self.group_bytes +=
            message.data.len() + message.source.as_ref().map_or(0, |source| source.len());
        self.group.push(NewMessage { message, key: None });
        meaning
    }

    fn has_room(&self) -> bool {
        self.group.len() < GROUP_EVENTS_MAX && self.group_bytes < GROUP_BYTES_MAX
    }

    fn append(&self, messages: Vec<NewMessage>, end: Option<EndReason>) -> Append {
        Append {
            topic: self.id.topic(),
            messages,
            end,
            key: None,
            expected: Expected::Last(self.last),
        }
    }

    /// A group is in the log.
    fn appended(&mut self, appended: &Appended) {
        self.last = appended.last;
        self.tally.recorded(appended.count.into());
    }

    fn start_append(&mut self) {
        if self.in_flight.is_some() || self.group.is_empty() {
            return;
        }
        let messages = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        let append = self.append(messages, None);
        let log = Arc::clone(self.app.log());
        self.in_flight = Some(Box::pin(async move { append_patiently(&*log, append).await }));
    }
}

/// Appends, and tries again for a while where the disk is full.
async fn append_patiently(log: &dyn Log, append: Append) -> Result<Appended, AppendError> {
    for _ in 0..FULL_TRIES_MAX {
        match log.append(append.clone()).await {
            Err(AppendError::Full) => tokio::time::sleep(FULL_WAIT).await,
            result => return result,
        }
    }
    log.append(append).await
}

async fn under_way<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// How long the first content is waited for, once upstream said anything, before the client is told that there is a
/// stream. An error within that time is told as a status.
const GATE: Duration = Duration::from_millis(250);
/// How long upstream may leave its body open behind the stream's last event.
const LINGER: Duration = Duration::from_secs(2);
/// How much waits for an append that is under way; upstream is not read meanwhile.
const GROUP_EVENTS_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 1 << 20;
/// For how long, in all, a full disk is waited for.
const FULL_TRIES_MAX: u32 = 60;
const FULL_WAIT: Duration = Duration::from_secs(1);

//! Streams: events are appended as they arrive, until the body ends. Start with [`publish`].
//!
//! One append is under way at a time, which keeps the order; what arrives meanwhile waits as a group and is appended
//! together next. So a slow publisher's event waits for nothing, and a fast one does not pay for a sync each.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use longwave_core::{
    Append, Appended, EndReason, Expected, IdempotencyKey, NewMessage, Outcome, Seq, UnixMillis,
};
use longwave_store::{AppendError, Log};

use super::super::app::Phase;
use super::super::budget::Reservation;
use super::super::{App, Code, Problem};
use super::answer::{append_problem, published_many, shutting_down};
use super::event_stream::Source;
use super::request::{PublishRequest, parse_key};
use super::whole::{broken_off, too_slow};

/// Publishes a body event by event.
///
/// Runs as a task of its own, so that what has arrived is appended even where the client is gone by then.
pub(super) async fn publish(
    app: App,
    request: PublishRequest,
    body: Body,
) -> Result<Response, Problem> {
    tokio::spawn(run(app, request, body)).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a streamed publish did not finish");
        Err(Problem::new(Code::Internal, "the server failed while it published the stream"))
    })
}

async fn run(app: App, request: PublishRequest, body: Body) -> Result<Response, Problem> {
    let end = request.end;
    let mut stream = Stream::new(app, request)?;
    let result = stream.run(body, end).await;
    let Stream { app, request, tally, .. } = stream;
    app.metrics().published(tally.added);
    result.map_err(|problem| tally.tell(&app, problem))?;
    match tally.appended() {
        Some(appended) => Ok(published_many(&app, &request.topic, appended, tally.duplicates, end)),
        None => Err(Problem::new(Code::NothingToPublish, "the stream held no event")),
    }
}

struct Stream {
    app: App,
    request: PublishRequest,
    source: Source,
    /// What waits to be appended together.
    group: Vec<NewMessage>,
    group_bytes: usize,
    in_flight: Option<InFlight>,
    tally: Tally,
    held: Reservation,
}

struct InFlight {
    append: Pin<Box<dyn Future<Output = GroupOutcome> + Send>>,
    bytes: usize,
}

/// Why no more is read.
enum Stop {
    /// The publisher's fault or the server's leaving: what came before counts.
    Source(Problem),
    /// The log refused: what came behind does not count.
    Log(Problem),
}

impl Stream {
    fn new(app: App, request: PublishRequest) -> Result<Stream, Problem> {
        let source = Source::new(&request, app.options().event_bytes_max)?;
        let held = app.bodies().reserve()?;
        Ok(Stream {
            app,
            request,
            source,
            group: Vec::new(),
            group_bytes: 0,
            in_flight: None,
            tally: Tally::default(),
            held,
        })
    }

    async fn run(&mut self, body: Body, end: Option<EndReason>) -> Result<(), Problem> {
        match self.pump(body).await {
            Ok(()) => self.flush().await?,
            Err(Stop::Source(problem)) => {
                self.flush().await?;
                return Err(problem);
            }
            Err(Stop::Log(problem)) => return Err(problem),
        }
        match end {
            Some(reason) => self.end(reason).await,
            None => Ok(()),
        }
    }

    /// Reads the body to its end, and appends what is there whenever no append is under way.
    async fn pump(&mut self, mut body: Body) -> Result<(), Stop> {
        let idle = self.app.options().stream_idle_timeout();
        let mut idle_timer = pin!(tokio::time::sleep(idle.unwrap_or_default()));
        let mut phase = self.app.phase();
        let mut draining = pin!(phase.wait_for(|phase| *phase >= Phase::Leaving));
        let mut input = Bytes::new();
        loop {
            self.cut(&mut input).map_err(Stop::Source)?;
            if self.start_append() {
                self.cut(&mut input).map_err(Stop::Source)?;
            }
            self.account(input.len()).map_err(Stop::Source)?;
            tokio::select! {
                biased;
                outcome = under_way(&mut self.in_flight), if self.in_flight.is_some() => {
                    self.finish_append(outcome).map_err(Stop::Log)?;
                }
                _ = draining.as_mut() => {
                    return Err(Stop::Source(shutting_down("the server is shutting down")));
                }
                frame = body.frame(), if input.is_empty() => match frame {
                    None => break,
                    Some(Err(error)) => return Err(Stop::Source(broken_off(&error))),
                    Some(Ok(frame)) => {
                        input = frame.into_data().unwrap_or_default();
                        if let Some(idle) = idle {
                            idle_timer.as_mut().reset(tokio::time::Instant::now() + idle);
                        }
                    }
                },
                () = idle_timer.as_mut(), if idle.is_some() && input.is_empty() => {
                    return Err(Stop::Source(too_slow(format_args!(
                        "nothing arrived for {} seconds; {}",
                        idle.unwrap_or_default().as_secs_f32(),
                        self.source.sign_of_life(),
                    ))));
                }
            }
        }
        if let Some(message) = self.source.last_message().map_err(Stop::Source)? {
            self.push(message);
        }
        Ok(())
    }

    /// Cuts events out of `input`, all of them or as many as a group may have.
    fn cut(&mut self, input: &mut Bytes) -> Result<(), Problem> {
        while self.has_room()
            && !input.is_empty()
            && let Some(message) = self.source.next_message(input)?
        {
            self.push(message);
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.group.len() < GROUP_EVENTS_MAX && self.group_bytes < GROUP_BYTES_MAX
    }

    fn push(&mut self, message: NewMessage) {
        self.group_bytes += message.message.data.len();
        self.group.push(message);
    }

    fn account(&mut self, input_bytes: usize) -> Result<(), Problem> {
        let in_flight = self.in_flight.as_ref().map_or(0, |in_flight| in_flight.bytes);
        self.held.set(input_bytes + self.source.held_bytes() + self.group_bytes + in_flight)
    }

    /// Starts to append the group, where there is one and no append is under way. Tells whether it did.
    fn start_append(&mut self) -> bool {
        if self.in_flight.is_some() || self.group.is_empty() {
            return false;
        }
        let append = Append {
            topic: self.request.topic.clone(),
            messages: std::mem::take(&mut self.group),
            end: None,
            key: None,
            // Behind the first append, the topic's last event is this stream's own, or somebody's that may be there.
            expected: std::mem::take(&mut self.request.expected),
        };
        let log = Arc::clone(self.app.log());
        self.in_flight = Some(InFlight {
            append: Box::pin(append_group(log, append)),
            bytes: std::mem::take(&mut self.group_bytes),
        });
        true
    }

    fn finish_append(&mut self, outcome: GroupOutcome) -> Result<(), Problem> {
        self.in_flight = None;
        self.tally.add(&outcome.tally);
        match outcome.error {
            None => Ok(()),
            Some(error) => Err(append_problem(&self.app, &error)),
        }
    }

    /// Appends what is left.
    async fn flush(&mut self) -> Result<(), Problem> {
        while self.in_flight.is_some() || self.start_append() {
            let outcome = under_way(&mut self.in_flight).await;
            self.finish_append(outcome)?;
        }
        Ok(())
    }

    async fn end(&mut self, reason: EndReason) -> Result<(), Problem> {
        let append = Append {
            topic: self.request.topic.clone(),
            messages: Vec::new(),
            end: Some(reason),
            key: self.request.key.as_ref().map(end_key).transpose()?,
            expected: std::mem::take(&mut self.request.expected),
        };
        let appended = self
            .app
            .log()
            .append(append)
            .await
            .map_err(|error| append_problem(&self.app, &error))?;
        self.tally.add(&Tally::of(appended, 1));
        Ok(())
    }
}

/// What became of a group.
struct GroupOutcome {
    tally: Tally,
    /// Why the rest of the group was not appended.
    error: Option<AppendError>,
}

/// Appends a group. Where one event's key is refused, those before it must not go with it: they came first, and each
/// alone would have been appended.
async fn append_group(log: Arc<dyn Log>, append: Append) -> GroupOutcome {
    let offered = append.messages.len() as u64;
    let has_keys = append.messages.iter().any(|new| new.key.is_some());
    let one_by_one = (offered > 1 && has_keys).then(|| append.clone());
    match (log.append(append).await, one_by_one) {
        (Ok(appended), _) => GroupOutcome { tally: Tally::of(appended, offered), error: None },
        (Err(AppendError::KeyReused { .. }), Some(group)) => append_each(&*log, group).await,
        (Err(error), _) => GroupOutcome { tally: Tally::default(), error: Some(error) },
    }
}

async fn append_each(log: &dyn Log, group: Append) -> GroupOutcome {
    let Append { topic, messages, mut expected, .. } = group;
    let mut tally = Tally::default();
    for message in messages {
        let append = Append {
            topic: topic.clone(),
            messages: vec![message],
            end: None,
            key: None,
            expected: std::mem::replace(&mut expected, Expected::Any),
        };
        match log.append(append).await {
            Ok(appended) => tally.add(&Tally::of(appended, 1)),
            Err(error) => return GroupOutcome { tally, error: Some(error) },
        }
    }
    GroupOutcome { tally, error: None }
}

/// The outcome of the append under way; never, where there is none.
async fn under_way(in_flight: &mut Option<InFlight>) -> GroupOutcome {
    match in_flight {
        Some(in_flight) => in_flight.append.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The key of a stream's end.
fn end_key(key: &IdempotencyKey) -> Result<IdempotencyKey, Problem> {
    parse_key(&format!("{}/end", key.as_str()))
}

/// How far a stream got.
#[derive(Default)]
struct Tally {
    first: Option<Seq>,
    last: Seq,
    time: UnixMillis,
    /// Events that this stream put into the log.
    added: u64,
    /// Events that were there already.
    duplicates: u64,
}

impl Tally {
    fn of(appended: Appended, offered: u64) -> Tally {
        let added = match appended.outcome {
            Outcome::New => u64::from(appended.count),
            Outcome::Duplicate => 0,
        };
        Tally {
            first: Some(appended.first),
            last: appended.last,
            time: appended.time,
            added,
            duplicates: offered.saturating_sub(added),
        }
    }

    fn add(&mut self, later: &Tally) {
        self.first = self.first.or(later.first);
        self.last = self.last.max(later.last);
        self.time = self.time.max(later.time);
        self.added += later.added;
        self.duplicates += later.duplicates;
    }

    fn appended(&self) -> Option<Appended> {
        let outcome = if self.added > 0 { Outcome::New } else { Outcome::Duplicate };
        Some(Appended {
            first: self.first?,
            last: self.last,
            count: u32::try_from(self.added + self.duplicates).unwrap_or(u32::MAX),
            time: self.time,
            outcome,
        })
    }

    /// Adds to a problem how much of the stream is in the log all the same.
    fn tell(&self, app: &App, problem: Problem) -> Problem {
        let problem = problem.with("appended", self.added).with("duplicates", self.duplicates);
        match self.first {
            None => problem,
            Some(first) => problem
                .with("first", app.id(first).to_string())
                .with("last", app.id(self.last).to_string()),
        }
    }
}

/// The most events of a stream that are appended together.
const GROUP_EVENTS_MAX: usize = 1000;
/// A group that has this many bytes takes no further event.
const GROUP_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Request, StatusCode};
    use longwave_store::{MemoryLog, MemoryOptions};

    use super::*;
    use crate::http::{Front, HttpOptions};

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_be_silent_for_days_and_go_on() {
        let (log, commits) = MemoryLog::open(MemoryOptions::default()).unwrap();
        let app = App::new(Arc::clone(&log) as _, commits, HttpOptions::default(), &[]).unwrap();
        let lines = futures_util::stream::unfold(0, |count: u32| async move {
            tokio::time::sleep(Duration::from_secs(count.into()) * 24 * 60 * 60).await;
            (count < 3).then(|| (Ok::<_, std::io::Error>(format!("{count}\n")), count + 1))
        });
        let request = Request::post("/topics/t?lines").body(Body::from_stream(lines)).unwrap();
        let response = Front::new(app).answer(request).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(log.committed(), Seq(3));
    }
}

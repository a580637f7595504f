//! One request's way to upstream and back: [`Exchange::run`].
//!
//! It runs in a task of its own, since a generation may go on when the client that asked for it is gone. Its answer goes
//! to that client as it is, or, where it is a stream, into the log (`recorder.rs`), from which all its readers have it.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use futures_util::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use longwave_core::{Append, DataFormat, EndReason, Expected, Message, NewMessage, Seq};
use longwave_store::AppendError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::alias::{Alias, Naming, Noted};
use super::comeback::Comeback;
use super::cut::Cutter;
use super::dialect::Piece;
use super::recorder::{Gate, Recorder, Recording};
use super::running::{Life, Running, Stop};
use super::stream::{AnswerHead, RequestHead, StreamId};
use super::tally::Tally;
use super::untouched::Read;
use super::upstream::{Ask, Pieces, Wants, pieces};
use super::watch::Watch;
use super::{Dialect, Disconnect, Route, set_retention, untouched};
use crate::http::{App, Code, Problem, append_problem};

/// A request that upstream is asked, and what is to be known to record its answer.
pub(super) struct Exchange {
    pub(super) app: App,
    pub(super) route: Arc<Route>,
    pub(super) id: StreamId,
    pub(super) head: RequestHead,
    /// Where the head is in the log already, because the request has a key; zero where it is not.
    pub(super) claimed: Seq,
    pub(super) wants: Wants,
    pub(super) disconnect: Disconnect,
    pub(super) naming: Naming,
    /// Where upstream runs it itself.
    pub(super) comeback: Option<Comeback>,
    pub(super) running: Arc<Running>,
}

/// What became of a request.
pub(super) enum Answered {
    /// Upstream's answer, as it is.
    Untouched(Response),
    /// It is recorded: to be read from the log, behind this head.
    Recorded(AnswerHead),
    /// Another request had the key first.
    Seen,
}

/// Whether a request is the first under its key.
enum Begun {
    Ours,
    Seen,
}

/// Who waits for the answer; closed when the client is gone.
pub(super) type Reply = oneshot::Sender<Result<Answered, Problem>>;

impl Exchange {
    /// Claims the request's key, if it has one, asks upstream, answers, and records to the end.
    pub(super) async fn run(mut self, ask: Ask, tally: Tally, mut reply: Reply) {
        match self.begin().await {
            Ok(Begun::Ours) => {}
            Ok(Begun::Seen) => {
                tell(&mut reply, Ok(Answered::Seen));
                return;
            }
            Err(problem) => {
                tell(&mut reply, Err(problem));
                return;
            }
        }
        let app = self.app.clone();
        let (id, is_claimed) = (self.id.clone(), self.is_claimed());
        let is_recorded = self.answer(ask, tally, &mut reply).await;
        if is_claimed && !is_recorded {
            release(&app, &id).await;
        }
        if is_claimed || is_recorded {
            app.gateway().index().sweep(&**app.log()).await;
        }
    }

    /// Puts the head of a request with a key into the log, where it is the first of that key.
    async fn begin(&mut self) -> Result<Begun, Problem> {
        if self.head.keyed {
            let append = self.append(vec![self.head.message()], None);
            match self.app.log().append(append).await {
                Ok(appended) => {
                    self.claimed = appended.last;
                    self.app.gateway().index().insert(appended.first, &self.id);
                }
                Err(AppendError::Fenced { .. } | AppendError::Ended { .. }) => {
                    return Ok(Begun::Seen);
                }
                Err(error) => return Err(append_problem(&self.app, &error)),
            }
        }
        self.running.set_life(Life::Running);
        Ok(Begun::Ours)
    }

    fn append(&self, messages: Vec<NewMessage>, end: Option<EndReason>) -> Append {
        let expected = Expected::Last(self.claimed);
        Append { topic: self.id.topic(), messages, end, key: None, expected }
    }

    fn is_claimed(&self) -> bool {
        self.claimed > Seq::ZERO
    }

    /// Tells whether something was recorded.
    async fn answer(self, ask: Ask, tally: Tally, reply: &mut Reply) -> bool {
        let timeout = Duration::from_millis(self.route.options.first_byte_timeout_ms);
        let deadline = Instant::now() + timeout;
        let method = ask.method.clone();
        let sent = tokio::select! {
            sent = self.route.upstream.send(ask, timeout) => sent,
            stop = self.running.stopped() => return tell(reply, Err(stopped(stop, &tally))),
            () = self.abandoned(reply, self.wants) => return false,
        };
        match sent {
            Err(error) => {
                let problem = error.problem(&self.route.options);
                tell(reply, Err(tally.failure(problem)))
            }
            Ok(response) => match stream_kind(&method, response.status(), response.headers()) {
                Some(lines) => self.record(response, lines, deadline, timeout, tally, reply).await,
                None if self.is_claimed() && response.status().is_success() => {
                    self.keep_whole(response, &tally, reply).await
                }
                None => {
                    tally.answered(response.status());
                    tell(reply, Ok(Answered::Untouched(untouched::answer(response))))
                }
            },
        }
    }

    /// Waits until nobody has any use for an answer that has not begun: neither who asked, nor who waits for it under
    /// the same key.
    async fn abandoned(&self, reply: &mut Reply, wants: Wants) {
        reply.closed().await;
        let disconnect = match wants {
            Wants::Anything if !self.is_claimed() => Disconnect::Cancel,
            _ => self.disconnect,
        };
        Watch::left(disconnect).unwatched(self.app.clone(), self.id.clone()).await;
    }

    async fn record(
        mut self,
        response: reqwest::Response,
        lines: Syntax,
        deadline: Instant,
        timeout: Duration,
        tally: Tally,
        reply: &mut Reply,
    ) -> bool {
        let (status, headers) = (response.status(), response.headers().clone());
        let pieces = match pieces(response) {
            Ok(pieces) => pieces,
            Err(problem) => return tell(reply, Err(tally.failure(problem))),
        };
        let mut recorder = Recorder::new(self.recording(pieces, lines, &headers), tally);
        let gate = tokio::select! {
            gate = recorder.gate(deadline, timeout) => gate,
            () = self.abandoned(reply, Wants::Stream) => return false,
        };
        match gate {
            Gate::Open => {}
            Gate::Failed(failure) => {
                recorder.tally().answered_in_stream(failure.status);
                return tell(reply, Ok(Answered::Untouched(untouched::failed(&headers, failure))));
            }
            Gate::Broken(problem) => return tell(reply, Err(recorder.tally().failure(problem))),
            Gate::Stopped(stop) => return tell(reply, Err(stopped(stop, recorder.tally()))),
        }
        let dialect = recorder.dialect().or(self.route.options.dialect);
        let dialect = dialect.unwrap_or(lines.fallback());
        let mut answer = AnswerHead::new(dialect.into(), status, &headers);
        // Before anybody is shown the stream, and may ask for it by its other name.
        let alias = self.naming.alias(&self.app, dialect, recorder.response_id());
        answer.alias = match self.note(alias).await {
            Ok(noted) => noted,
            Err(problem) => return tell(reply, Err(problem)),
        };
        let alias = answer.alias.clone();
        match recorder.open(self.heads(&answer), dialect).await {
            Ok(_) if self.is_claimed() => {}
            Ok(first) => self.app.gateway().index().insert(first, &self.id),
            Err(problem) => {
                if let Some(alias) = alias {
                    alias.end(&self.app, self.route.options.retention_ms).await;
                }
                return tell(reply, Err(problem));
            }
        }
        tell(reply, Ok(Answered::Recorded(answer)));
        // Not in front of the first event, which is waited for.
        let kept = set_retention(&self.app, &self.id, &self.route.options);
        tokio::join!(kept, recorder.record(self.disconnect));
        if let Some(alias) = alias {
            alias.end(&self.app, self.route.options.retention_ms).await;
        }
        true
    }

    /// Notes what else than its id the stream is asked for by.
    async fn note(&self, alias: Option<Alias>) -> Result<Option<Noted>, Problem> {
        let Some(alias) = alias else { return Ok(None) };
        let noted = alias.note(&self.app, &self.id).await;
        noted.map(Some).map_err(|error| append_problem(&self.app, &error))
    }

    fn recording(&mut self, pieces: Pieces, lines: Syntax, headers: &HeaderMap) -> Recording {
        let event_bytes_max = self.app.options().event_bytes_max;
        let (path, headers) = (self.head.path.clone(), headers.clone());
        let given = self.route.options.dialect;
        Recording {
            app: self.app.clone(),
            route: Arc::clone(&self.route),
            running: Arc::clone(&self.running),
            id: self.id.clone(),
            pieces,
            cutter: match lines {
                Syntax::EventStream => Cutter::sse(event_bytes_max),
                Syntax::Lines => Cutter::lines(event_bytes_max),
            },
            finder: Box::new(move |first: Option<Piece<'_>>| {
                let Some(first) = first else {
                    return given.unwrap_or_else(|| Dialect::expected(&path, &headers));
                };
                let found = given.unwrap_or_else(|| Dialect::detect(&path, &headers, first));
                // What a stream is cut at is seen, whatever the settings say.
                if found.is_lines() == (lines == Syntax::Lines) { found } else { lines.fallback() }
            }),
            comeback: self.comeback.take(),
            last: self.claimed,
        }
    }

    /// What goes in front of the stream's events: of a claim, the request's head is there.
    fn heads(&self, answer: &AnswerHead) -> Vec<NewMessage> {
        let request = (!self.is_claimed()).then(|| self.head.message());
        request.into_iter().chain([answer.message()]).collect()
    }

    /// Keeps an answer that is no stream, so that a retry under the same key has it too.
    async fn keep_whole(
        self,
        response: reqwest::Response,
        tally: &Tally,
        reply: &mut Reply,
    ) -> bool {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes_max = self.app.options().event_bytes_max;
        let idle = Duration::from_millis(self.route.options.idle_timeout_ms);
        let mut rest = response.bytes_stream().boxed();
        let read = tokio::select! {
            read = untouched::read_up_to(&mut rest, bytes_max, idle) => read,
            stop = self.running.stopped() => return tell(reply, Err(stopped(stop, tally))),
            () = self.abandoned(reply, self.wants) => return false,
        };
        let data = match read {
            Ok(Read::Whole(data)) => data,
            Ok(Read::Begun(begun)) => {
                tally.answered(status);
                // Too large to be kept: it goes to this client alone.
                let response = untouched::begun(status, &headers, begun, rest);
                return tell(reply, Ok(Answered::Untouched(response)));
            }
            Err(problem) => return tell(reply, Err(tally.failure(problem))),
        };
        tally.answered(status);
        let answer = AnswerHead::whole(status, &headers);
        let message = Message { event_type: None, format: DataFormat::Binary, data, source: None };
        let mut messages = self.heads(&answer);
        messages.push(NewMessage { message, key: None });
        let append = self.append(messages, Some(EndReason::Done));
        if let Err(error) = self.app.log().append(append).await {
            return tell(reply, Err(append_problem(&self.app, &error)));
        }
        set_retention(&self.app, &self.id, &self.route.options).await;
        self.running.set_life(Life::Over);
        tell(reply, Ok(Answered::Recorded(answer)));
        true
    }
}

/// How a stream's events are told from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    EventStream,
    Lines,
}

impl Syntax {
    /// The dialect of a stream that has no event to tell it by.
    fn fallback(self) -> Dialect {
        match self {
            Syntax::EventStream => Dialect::Sse,
            Syntax::Lines => Dialect::Ollama,
        }
    }
}

/// Whether an answer is a stream that can be recorded.
fn stream_kind(method: &Method, status: StatusCode, headers: &HeaderMap) -> Option<Syntax> {
    if method == Method::HEAD {
        return None;
    }
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let syntax = match essence.as_str() {
        "text/event-stream" => Syntax::EventStream,
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines" => Syntax::Lines,
        _ => return None,
    };
    (status == StatusCode::OK).then_some(syntax)
}

/// Whether an answer is an event stream.
pub(super) fn is_event_stream(status: StatusCode, headers: &HeaderMap) -> bool {
    stream_kind(&Method::GET, status, headers) == Some(Syntax::EventStream)
}

/// What the client of a request is told that was stopped before its answer began.
fn stopped(stop: Stop, tally: &Tally) -> Problem {
    tally.stopped(stop);
    match stop {
        Stop::Shutdown => Problem::new(Code::ShuttingDown, stop.detail()),
        Stop::Cancelled | Stop::Unwatched => Problem::new(Code::StreamCancelled, stop.detail()),
    }
}

/// Tells who waits, if anybody does, and that nothing was recorded.
fn tell(reply: &mut Reply, answer: Result<Answered, Problem>) -> bool {
    let (unused, _) = oneshot::channel();
    // Nobody listens where the client is gone.
    drop(std::mem::replace(reply, unused).send(answer));
    false
}

/// Gives up a key's claim, so that a retry asks upstream again.
async fn release(app: &App, id: &StreamId) {
    if let Err(error) = app.log().delete(id.topic()).await {
        tracing::warn!(stream = %id, %error, "a failed request's key could not be released");
    }
}

//! Streams that nobody generates any more, ended: those of a process that crashed, and those that somebody cancels from
//! elsewhere. Start with [`recover`].

use longwave_core::{Append, EndReason, Expected, Seq, TopicInfo};
use longwave_store::{AppendError, DeleteError, ReadError, TopicsQuery};

use super::dialect::Usage;
use super::replay;
use super::running::Life;
use super::stream::{AnswerHead, Heads, StreamId, TOPIC_PREFIX};
use super::tally::count_end;
use crate::http::{App, Code, Problem, append_problem, read_problem};

/// Ends each stream that a process before this one left unfinished: as crashed, with the error that its dialect has for
/// it. A request under a key that upstream had not answered is forgotten, so that a retry asks again.
///
/// All others are entered into the list first: whoever asks for it waits for that.
pub(super) async fn recover(app: App) {
    let unfinished = scan(&app).await.unwrap_or_else(|error| {
        tracing::error!(%error, "unfinished streams could not be looked for");
        Vec::new()
    });
    for id in unfinished {
        match end_unfinished(&app, &id).await {
            Ok(()) => tracing::info!(stream = %id, "ended a stream that a crash had cut off"),
            Err(error) => {
                tracing::error!(stream = %id, error = &error as &dyn std::error::Error, "a stream could not be ended");
            }
        }
    }
}

/// Enters all streams into the list, and gives those that have not ended: as many as ran at one time.
async fn scan(app: &App) -> Result<Vec<StreamId>, ReadError> {
    let index = app.gateway().index();
    let _filling = index.filling();
    let mut unfinished = Vec::new();
    let mut after = None;
    loop {
        let query = TopicsQuery { prefix: TOPIC_PREFIX.to_owned(), after, limit: PAGE };
        let page = app.log().topics(query).await?;
        after = page.topics.last().filter(|_| page.more).map(|info| info.topic.clone());
        for info in page.topics {
            let Some(id) = StreamId::of_topic(&info.topic) else { continue };
            if let Some(first) = info.first {
                index.insert(first, &id);
            }
            if info.end.is_none() {
                unfinished.push(id);
            }
        }
        if after.is_none() {
            return Ok(unfinished);
        }
    }
}

/// Why a stream could not be ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum EndError {
    #[error("the stream could not be read")]
    Read(#[from] ReadError),
    #[error("the stream's end could not be recorded")]
    Append(#[from] AppendError),
    #[error("the stream could not be removed")]
    Delete(#[from] DeleteError),
}

/// Ends a stream, unless it has ended, that nobody generates any more though nobody ended it: its task died, or the log
/// took nothing at that time.
///
/// # Errors
/// [`EndError`].
pub(super) async fn end_unfinished(app: &App, id: &StreamId) -> Result<(), EndError> {
    end(app, id, EndReason::Crashed, CRASHED).await
}

/// What is answered where a stream can't be ended.
pub(super) fn problem(app: &App, error: &EndError) -> Problem {
    match error {
        EndError::Append(error) => append_problem(app, error),
        EndError::Read(error) => read_problem(error),
        EndError::Delete(error) => Problem::new(Code::Internal, error),
    }
}

/// Ends a stream that is generated nowhere. Nothing happens where it has ended, or somebody runs it.
///
/// # Errors
/// [`EndError`].
pub(super) async fn end(
    app: &App,
    id: &StreamId,
    reason: EndReason,
    detail: &str,
) -> Result<(), EndError> {
    // So that nobody claims its key meanwhile, whose claim would be taken for the one that was left behind.
    let Some(entered) = app.gateway().enter(id) else { return Ok(()) };
    if let Some(info) = app.log().topic(id.topic()).await?.filter(|info| info.end.is_none()) {
        end_entered(app, id, &info, reason, detail).await?;
    }
    entered.running.set_life(Life::Over);
    Ok(())
}

async fn end_entered(
    app: &App,
    id: &StreamId,
    info: &TopicInfo,
    reason: EndReason,
    detail: &str,
) -> Result<(), EndError> {
    let log = app.log();
    let Some(heads) = Heads::read(&**log, id).await? else {
        // Not a stream's, or of one that has lost its beginning: its end is all that can be told.
        return append(app, id, info.last, Vec::new(), reason, None).await;
    };
    let Some((_, answer)) = heads.answer else {
        return Ok(log.delete(id.topic()).await?);
    };
    let ended = end_answer(app, id, info, &answer, reason, detail).await;
    if let Some(alias) = answer.alias.filter(|_| ended.is_ok()) {
        alias.end(app, info.config.as_ref().and_then(|config| config.ttl_ms)).await;
    }
    ended
}

async fn end_answer(
    app: &App,
    id: &StreamId,
    info: &TopicInfo,
    answer: &AnswerHead,
    reason: EndReason,
    detail: &str,
) -> Result<(), EndError> {
    let log = app.log();
    let (mut messages, mut usage) = (Vec::new(), None);
    if let Some(dialect) = answer.body.dialect() {
        let (transcript, _) = replay::transcript(&**log, id, dialect).await?;
        usage = transcript.usage();
        if transcript.has_ended() {
            return append(app, id, info.last, messages, transcript.end(), usage).await;
        }
        messages.extend(transcript.closing(reason, detail).iter().map(super::closing_message));
    }
    append(app, id, info.last, messages, reason, usage).await
}

async fn append(
    app: &App,
    id: &StreamId,
    last: Seq,
    messages: Vec<longwave_core::NewMessage>,
    reason: EndReason,
    usage: Option<Usage>,
) -> Result<(), EndError> {
    let expected = Expected::Last(last);
    let events = messages.len() as u64;
    let append = Append { topic: id.topic(), messages, end: Some(reason), key: None, expected };
    match app.log().append(append).await {
        Ok(_) => {
            app.metrics().gateway().recorded(events);
            count_end(app, reason, usage);
            if reason == EndReason::Cancelled {
                app.metrics().gateway().cancelled();
            }
            Ok(())
        }
        Err(AppendError::Ended { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How many topics are looked at together.
const PAGE: usize = 1000;
const CRASHED: &str = "the gateway went down in the middle of the stream";

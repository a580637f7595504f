//! Streams that nobody generates any more, ended: those of a process that crashed, and those that somebody cancels from
//! elsewhere. Start with [`recover`].

use longwave_core::{Append, EndReason, Expected, Seq, TopicInfo};
use longwave_store::{AppendError, DeleteError, ReadError, TopicsQuery};

use super::dialect::Usage;
use super::replay;
use super::stream::{Heads, StreamId, TOPIC_PREFIX};
use super::tally::count_end;
use crate::http::App;

/// Ends each stream that a process before this one left unfinished: as crashed, with the error that its dialect has for
/// it. A request under a key that upstream had not answered is forgotten, so that a retry asks again.
///
/// All others are entered into the list first: whoever asks for it waits for that.
pub(super) async fn recover(app: App) {
    let unfinished = scan(&app).await.unwrap_or_else(|error| {
        tracing::error!(%error, "unfinished streams could not be looked for");
        Vec::new()
    });
    for (id, info) in unfinished {
        if app.gateway().running(&id).is_some() {
            continue;
        }
        match end(&app, &id, &info, EndReason::Crashed, CRASHED).await {
            Ok(()) => tracing::info!(stream = %id, "ended a stream that a crash had cut off"),
            Err(error) => {
                tracing::error!(stream = %id, error = &error as &dyn std::error::Error, "a stream could not be ended");
            }
        }
    }
}

/// Enters all streams into the list, and gives those that have not ended: as many as ran at one time.
async fn scan(app: &App) -> Result<Vec<(StreamId, TopicInfo)>, ReadError> {
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
                unfinished.push((id, info));
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

/// Ends a stream whose task died.
pub(super) async fn end_unfinished(app: &App, id: &StreamId) {
    let Ok(Some(info)) = app.log().topic(id.topic()).await else { return };
    if info.end.is_none()
        && let Err(error) = end(app, id, &info, EndReason::Crashed, CRASHED).await
    {
        tracing::error!(stream = %id, error = &error as &dyn std::error::Error, "a stream could not be ended");
    }
}

/// Ends a stream that is generated nowhere, or in another process, which notices when it records more. Nothing happens
/// where it has ended, or more of it has come since `info` was asked for.
///
/// # Errors
/// [`EndError`].
pub(super) async fn end(
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

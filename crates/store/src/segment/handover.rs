//! Giving a log to another process while publishers wait and readers go on: [`Hold`], then [`Released`].
//!
//! What is appended while the log is released waits in the queue, like all that waits for the writer. When the other
//! process has the log, it is refused; when that one failed, this one takes the log back and writes what waited.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::options::OpenError;
use super::state::Condition;
use super::writer::{Command, Writer};

/// A log whose finished files stay as they are. Dropping it lets retention go on.
#[derive(Debug)]
pub struct Hold {
    commands: mpsc::Sender<Command>,
    _held: Arc<()>,
}

impl Hold {
    pub(super) async fn take(commands: mpsc::Sender<Command>) -> Option<Hold> {
        let held = Arc::new(());
        let (reply, done) = oneshot::channel();
        commands.send(Command::Hold(Arc::downgrade(&held), reply)).await.ok()?;
        done.await.ok()?;
        Some(Hold { commands, _held: held })
    }

    /// Begins a new file, so that all that was committed before is in finished ones.
    ///
    /// # Cancel safety
    /// It is done whether or not somebody waits for it.
    pub async fn seal(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Seal(reply)).await.is_ok() {
            // A closed log has nothing more to write.
            let _ = done.await;
        }
    }

    /// Commits all that was appended before, closes the log on disk, and gives its directory up. What is appended from
    /// now on waits. Readers notice nothing.
    ///
    /// # Errors
    /// [`ReleaseError`].
    ///
    /// # Cancel safety
    /// When it is dropped, the log may be handed over.
    pub async fn release(self) -> Result<Released, ReleaseError> {
        let (reply, released) = oneshot::channel();
        let (decide, decision) = oneshot::channel();
        let release = Release { reply, decision };
        self.commands.send(Command::Release(release)).await.map_err(|_| ReleaseError::Closed)?;
        released.await.unwrap_or(Err(ReleaseError::Closed))?;
        Ok(Released { decide, hold: self })
    }
}

/// A log that another process may open. Dropping it is the same as [`Released::hand_over`].
#[derive(Debug)]
pub struct Released {
    decide: oneshot::Sender<Decision>,
    hold: Hold,
}

impl Released {
    /// Takes the log back, and appends what waited meanwhile.
    ///
    /// # Errors
    /// [`ResumeError`]. The log takes nothing more then, but can still be read.
    ///
    /// # Cancel safety
    /// It is done whether or not somebody waits for it.
    pub async fn resume(self) -> Result<(), ResumeError> {
        let (reply, resumed) = oneshot::channel();
        // A writer that is gone drops the reply.
        let _ = self.decide.send(Decision::Resume(reply));
        let result = resumed.await.unwrap_or(Err(ResumeError::Closed));
        drop(self.hold);
        result
    }

    /// Leaves the log to the other process. What was appended meanwhile, and what is from now on, is refused with
    /// [`AppendError::Closed`](crate::AppendError::Closed); what was committed before can be read until this log is
    /// closed.
    pub fn hand_over(self) {
        // A writer that is gone writes nothing.
        let _ = self.decide.send(Decision::HandOver);
    }
}

/// Why a log was not released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// It could not be closed on disk: there is no room, or the disk failed. It is as it was before, or takes nothing
    /// more, as its status says.
    #[error("the log could not be closed on disk")]
    Disk,
    /// It was closed before.
    #[error("the log is closed")]
    Closed,
}

/// Why a log could not be taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// Another process has it, or its directory can't be opened.
    #[error("the log could not be locked again")]
    Lock(#[source] OpenError),
    /// Its files could not be looked at.
    #[error("the log's files could not be checked")]
    Io(#[source] std::io::Error),
    /// Another process has written to it.
    #[error("another process has written to the log; it must be opened anew")]
    Changed,
    /// It was closed before.
    #[error("the log is closed")]
    Closed,
}

/// The wish to release the log, and how it ends.
#[derive(Debug)]
pub(super) struct Release {
    reply: oneshot::Sender<Result<(), ReleaseError>>,
    decision: oneshot::Receiver<Decision>,
}

#[derive(Debug)]
enum Decision {
    Resume(oneshot::Sender<Result<(), ResumeError>>),
    HandOver,
}

impl Writer {
    /// Gives the directory up, and waits for what is to follow. Breaks where the log is not this process's any more.
    pub(super) fn release(&mut self, release: Release) -> ControlFlow<()> {
        let Ok(commit) = self.write_close() else {
            let _ = release.reply.send(Err(ReleaseError::Disk));
            return ControlFlow::Continue(());
        };
        self.shared.unlock();
        // Who asked may be gone, and then nobody decides either.
        let _ = release.reply.send(Ok(()));
        self.tell(commit);
        match release.decision.blocking_recv() {
            Ok(Decision::Resume(reply)) => {
                let result = self.take_back();
                let failed = result.as_ref().err().map(|error| {
                    format!("the log was given to another process and not taken back: {error}")
                });
                if let Some(reason) = failed {
                    tracing::error!("{reason}");
                    self.shared.write().condition = Condition::Failed(reason);
                }
                let _ = reply.send(result);
                ControlFlow::Continue(())
            }
            Ok(Decision::HandOver) | Err(_) => {
                self.shared.write().condition = Condition::HandedOver;
                ControlFlow::Break(())
            }
        }
    }

    /// Refuses everything until the log is closed. The feed stays open, since its end tells readers to go at once.
    pub(super) fn serve_out(mut self) {
        let done = loop {
            match self.commands.blocking_recv() {
                // Whoever asked for anything else hears by the end of its channel that nothing was done.
                Some(Command::Close(done)) => break Some(done),
                Some(_) => {}
                None => break None,
            }
        };
        self.give_up_files();
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Locks the directory again, if the log is as it was left.
    fn take_back(&self) -> Result<(), ResumeError> {
        let lock = self.shared.dir.lock().map_err(ResumeError::Lock)?;
        let found = self.shared.dir.segments().map_err(ResumeError::Io)?;
        let active = std::fs::metadata(&self.active.file.path).map_err(ResumeError::Io)?;
        let own = self.active.file.file.metadata().map_err(ResumeError::Io)?;
        let is_same = {
            let state = self.shared.read();
            let known = state.segments.iter().map(|segment| segment.index.base());
            known.eq(found.iter().map(|(base, _)| *base))
        };
        let is_same_file = same_file(&own, &active);
        if !is_same || !is_same_file || active.len() != self.active.len {
            return Err(ResumeError::Changed);
        }
        self.shared.keep(Some(lock));
        Ok(())
    }
}

/// Whether two looks at a file were at the same one.
pub(super) fn same_file(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

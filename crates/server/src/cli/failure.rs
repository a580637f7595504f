//! How a command fails: [`Failure`], with what to do about it and the status that the process exits with.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    error: anyhow::Error,
    hint: Option<String>,
    exit: Exit,
}

/// The status that a process exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// It was asked rightly and could not.
    Failed = 1,
    /// It was asked wrongly; the same as for a command line that can't be read.
    Usage = 2,
}

impl Failure {
    /// A failure of this process or of a server.
    pub(crate) fn new(error: impl Into<anyhow::Error>) -> Failure {
        Failure { error: error.into(), hint: None, exit: Exit::Failed }
    }

    /// A failure of whoever asked.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure { error: error.into(), hint: None, exit: Exit::Usage }
    }

    /// A failure told in a sentence.
    pub(crate) fn message(text: impl Into<String>) -> Failure {
        Failure::new(anyhow::Error::msg(text.into()))
    }

    /// Says what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Tells the user, and gives the status to exit with.
    pub(crate) fn report(self) -> ExitCode {
        if self.is_closed_pipe() {
            return ExitCode::SUCCESS;
        }
        let mut text = format!("error: {:#}\n", self.error);
        if let Some(hint) = self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        // Where even this can't be written, the status has to say it all.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        ExitCode::from(self.exit as u8)
    }

    /// Whether whoever read the output has enough, as `head` has: no failure.
    fn is_closed_pipe(&self) -> bool {
        self.error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::new(error)
    }
}

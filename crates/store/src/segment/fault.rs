//! The seam at which tests make the disk fail: [`Faults`].

use std::fmt;
use std::io;
use std::sync::Arc;

/// What the segment log is about to ask of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// To set room aside for what is appended next.
    Preallocate,
    /// To write a group of records.
    Append,
    /// To make what was appended durable.
    Sync,
    /// To take back what was written of a group.
    Truncate,
    /// To create a segment.
    Create,
    /// To write the head of a new segment.
    WriteHeader,
    /// To make a directory's entries durable.
    SyncDirectory,
    /// To write records into a segment's successor.
    Rewrite,
    /// To make a segment's successor durable.
    SyncRewritten,
    /// To put a segment's successor into its place.
    Replace,
    /// To remove a segment.
    Remove,
}

/// What is to happen at a [`Step`].
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "tests write it out")]
pub enum Fault {
    /// It fails at once.
    Fail(io::Error),
    /// An append fails after this many bytes.
    After(usize, io::Error),
}

/// Decides at each step whether it fails; without one, none does. For tests.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Decide>>);

type Decide = dyn Fn(Step) -> Option<Fault> + Send + Sync;

impl Faults {
    /// Asks `decide` before each step, from whichever thread takes it.
    pub fn new(decide: impl Fn(Step) -> Option<Fault> + Send + Sync + 'static) -> Faults {
        Faults(Some(Arc::new(decide)))
    }

    pub(super) fn at(&self, step: Step) -> Option<Fault> {
        self.0.as_ref()?(step)
    }

    /// For steps that fail as a whole.
    pub(super) fn check(&self, step: Step) -> io::Result<()> {
        match self.at(step) {
            None => Ok(()),
            Some(Fault::Fail(error) | Fault::After(_, error)) => Err(error),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Faults(some)" } else { "Faults(none)" })
    }
}

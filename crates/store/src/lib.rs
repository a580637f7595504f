//! Where events are kept: the [`Log`] trait and its implementations.
//!
//! It knows records, files and topics, and nothing of HTTP or of who reads. Start with [`Log`]; [`SegmentLog`] keeps
//! events on disk, [`MemoryLog`] in memory only.

mod clock;
mod limits;
mod log;
mod memory;
mod page;
mod segment;
mod ticker;
mod time_index;

pub use clock::Clock;
pub use limits::APPEND_BYTES_MAX;
pub use log::{
    AppendError, Commit, CommitFeed, ConfigureError, Configured, DeleteError, Gap, GapReason, Log,
    LogFuture, LogState, LogStatus, ReadError, ReadPage, ReadQuery, Start, TopicsPage, TopicsQuery,
};
pub use memory::{MemoryLog, MemoryOptions};
pub use segment::{
    Fault, Faults, Hold, OpenError, Preread, ReleaseError, Released, ResumeError, SegmentLog,
    SegmentOptions, Step,
};

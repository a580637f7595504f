//! Where events are kept: the [`Log`] trait and its implementations.
//!
//! It knows records, files and topics, and nothing of HTTP or of who reads. Start with [`Log`].

mod log;

pub use log::{
    AppendError, Commit, CommitFeed, ConfigureError, Configured, DeleteError, Gap, GapReason, Log,
    LogFuture, LogState, LogStatus, ReadError, ReadPage, ReadQuery, Start, TopicsPage, TopicsQuery,
};

//! How a segment log is opened: [`SegmentOptions`], and why it can't be: [`OpenError`].

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use longwave_core::LogRetention;

use super::fault::Faults;
use crate::clock::Clock;

/// How a [`SegmentLog`](crate::SegmentLog) is to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentOptions {
    /// Where its files are. Created where it does not exist.
    pub dir: PathBuf,
    /// How much is kept.
    pub retention: LogRetention,
    /// How often retention looks whether something has become too old; `None`: only when
    /// [`SegmentLog::retain`](crate::SegmentLog::retain) is called.
    pub retention_interval: Option<Duration>,
    /// How large a file grows, about, before the next is begun: 64 KiB to 256 MiB, and never more than an eighth of
    /// what retention allows the log.
    pub segment_bytes: u64,
    /// How long to wait for another process to give the directory up; zero: not at all.
    pub lock_wait: Duration,
    /// The time.
    pub clock: Clock,
    /// Made-up failures, for tests.
    pub faults: Faults,
}

impl SegmentOptions {
    /// The defaults: 24 hours or 1 GiB in segments of 64 MiB, looked through every second.
    pub fn new(dir: impl Into<PathBuf>) -> SegmentOptions {
        SegmentOptions {
            dir: dir.into(),
            retention: LogRetention::default(),
            retention_interval: Some(Duration::from_secs(1)),
            segment_bytes: 64 << 20,
            lock_wait: Duration::ZERO,
            clock: Clock::default(),
            faults: Faults::default(),
        }
    }

    /// The size at which the next segment is begun.
    pub(super) fn segment_bytes_max(&self) -> u64 {
        let share = self.retention.max_bytes.map_or(u64::MAX, |max| max / SEGMENTS_MIN);
        self.segment_bytes.min(share).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
    }

    /// The age at which the next segment is begun, so that old events don't stay for the sake of new ones.
    pub(super) fn segment_age_max_ms(&self) -> u64 {
        self.retention.max_age_ms.map_or(u64::MAX, |max| (max / SEGMENTS_MIN).max(1))
    }
}

/// Why a log can't be opened. Nothing was changed in its directory then, except that files may have been created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another log in this one, has it open.
    #[error(
        "the log in {} is in use by another process; stop that one, or use another directory",
        dir.display()
    )]
    Locked {
        /// Where.
        dir: PathBuf,
    },
    /// The file was written by a later version of this program.
    #[error(
        "{} has the format {version}, which this version does not know; use a newer one",
        file.display()
    )]
    Version {
        /// Which.
        file: PathBuf,
        /// Its format.
        version: u32,
    },
    /// The segment belongs to another log.
    #[error(
        "{} belongs to another log (epoch {found}, not {expected}); move it out of the directory",
        file.display()
    )]
    Foreign {
        /// Which.
        file: PathBuf,
        /// The log's epoch.
        expected: String,
        /// The file's.
        found: String,
    },
    /// Neither the log's description nor a segment's head can be read, though there are segments.
    #[error(
        "{} is damaged, and so is the head of every segment; restore it from a backup, or move the segments away to begin a new log",
        file.display()
    )]
    Description {
        /// The description.
        file: PathBuf,
    },
    /// The file system refused.
    #[error("{} can't be opened as a part of a log", file.display())]
    Io {
        /// What was to be opened.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A log that is full holds at least this many segments: so much finer than the whole is retention.
const SEGMENTS_MIN: u64 = 8;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Offsets are 32 bits wide, and opening a log reads whole segments into memory.
const SEGMENT_BYTES_MAX: u64 = 256 << 20;

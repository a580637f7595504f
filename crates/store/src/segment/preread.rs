//! Reading a log that another process still writes, so that opening it afterwards takes no time: [`Preread`].
//!
//! Only finished segments are read, which nobody writes to any more. Nothing of it is believed for good: when the log is
//! opened, each file must still be the one that was read, and of the same length; else all is read again.

use std::io;
use std::sync::Arc;

use longwave_core::Seq;

use super::SegmentLog;
use super::file::{Directory, Header, Identity};
use super::handover::same_file;
use super::heads::{Head, check_identity, read_heads, split_leftovers};
use super::options::{OpenError, SegmentOptions};
use super::recovery::take_in;
use super::replay::Replay;
use crate::log::CommitFeed;

/// What was read of a log before it could be opened.
///
/// The files are held open, so that none of them can go and another take its number.
#[derive(Debug)]
pub struct Preread {
    dir: Directory,
    options: SegmentOptions,
    /// `None` before a log was found whose description is sound.
    identity: Option<Identity>,
    replay: Replay,
    /// The base of the segment behind those that were read.
    behind: Option<Seq>,
}

impl Preread {
    /// Nothing read yet.
    #[must_use]
    pub fn new(options: SegmentOptions) -> Preread {
        let dir = Directory { path: options.dir.clone(), faults: options.faults.clone() };
        Preread { dir, options, identity: None, replay: Replay::begin(None), behind: None }
    }

    /// Reads the finished segments that were not read yet, and tells how many bytes are in the one behind them, which
    /// opening the log will have to read. Blocks for as long as that takes: a few seconds a gigabyte.
    ///
    /// # Errors
    /// [`OpenError`], where the files are not those of a sound log, or can't be read. They were not changed, and the log
    /// may still be opened: by [`SegmentLog::open`].
    pub fn catch_up(&mut self) -> Result<u64, OpenError> {
        let identity = match self.identity {
            Some(identity) => identity,
            None => self.identify()?,
        };
        let paths = self.dir.segments().map_err(|error| self.refused(error))?;
        let paths = match self.behind {
            Some(behind) => {
                let start = paths.partition_point(|(base, _)| *base < behind);
                paths.get(start..).unwrap_or_default()
            }
            None => &paths[..],
        };
        let mut heads = read_heads(paths)?;
        check_identity(&heads, identity)?;
        if !split_leftovers(&mut heads, identity).is_empty() {
            return Err(self.refused(io::Error::other("a segment was being replaced")));
        }
        let Some(active) = heads.pop() else { return Ok(0) };
        if heads.is_empty() {
            return Ok(active.bytes);
        }
        if self.behind.is_none() {
            self.replay = Replay::begin(heads.first().map(|head| head.base));
        }
        let now = self.options.clock.now();
        if let Err(error) = take_in(&mut self.replay, heads, Some(active.base), identity, now) {
            // Nobody can tell how much of them was taken in.
            *self = Preread::new(self.options.clone());
            return Err(error);
        }
        self.behind = Some(active.base);
        Ok(active.bytes)
    }

    /// Opens the log, as [`SegmentLog::open`] does, but reads only what was not read yet.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(self) -> Result<(Arc<SegmentLog>, CommitFeed), OpenError> {
        SegmentLog::open_with(self.options.clone(), Some(self))
    }

    /// What was read, and of how many of a directory's segments, where these are still the same.
    pub(super) fn confirm(self, identity: Identity, heads: &[Head]) -> Option<(Replay, usize)> {
        let behind = self.behind.filter(|_| self.identity == Some(identity))?;
        let segments = &self.replay.state.segments;
        let is_same = segments.iter().zip(heads).all(|(segment, head)| {
            segment.index.base() == head.base
                && is_same_file(segment.bytes, &segment.file.file, head)
        });
        // Behind them there is at least the one that was written to last.
        if !is_same || heads.get(segments.len()).is_none_or(|head| head.base != behind) {
            tracing::info!("the log changed since it was read; reading it again");
            return None;
        }
        let known = segments.len();
        Some((self.replay, known))
    }

    fn identify(&mut self) -> Result<Identity, OpenError> {
        let path = self.dir.meta_path();
        let bytes =
            std::fs::read(&path).map_err(|source| OpenError::Io { file: path.clone(), source })?;
        let header =
            Header::decode(&bytes).map_err(|_| OpenError::Description { file: path.clone() })?;
        self.identity = Some(header.identity);
        Ok(header.identity)
    }

    fn refused(&self, source: io::Error) -> OpenError {
        OpenError::Io { file: self.dir.path.clone(), source }
    }
}

fn is_same_file(bytes: u64, known: &std::fs::File, head: &Head) -> bool {
    match (known.metadata(), head.file.file.metadata()) {
        (Ok(known), Ok(found)) => {
            same_file(&known, &found) && known.len() == bytes && head.bytes == bytes
        }
        _ => false,
    }
}

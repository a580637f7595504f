//! Writing to the newest segment: [`Active`].

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use longwave_core::{Seq, UnixMillis};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::fault::{Fault, Faults, Step};
use super::file::{SegmentFile, is_full};
use super::state::Segment;

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) file: Arc<SegmentFile>,
    pub(super) base: Seq,
    /// How long it is.
    pub(super) len: u64,
    /// How much of it is durable.
    pub(super) synced: u64,
    /// Up to where room is set aside for it.
    allocated: u64,
    /// Whether the file system can set room aside.
    can_allocate: bool,
    /// How far memory-only events may go before the next reservation.
    pub(super) reserved: Seq,
    /// When its first record was written.
    pub(super) begun: Option<UnixMillis>,
}

impl Active {
    pub(super) fn new(segment: &Segment, reserved: Seq) -> Active {
        Active {
            file: Arc::clone(&segment.file),
            base: segment.index.base(),
            len: segment.bytes,
            synced: segment.bytes,
            allocated: segment.bytes,
            can_allocate: true,
            reserved,
            begun: segment.index.times().oldest(),
        }
    }

    /// Writes records behind those that are there, all or, where there is no room, nothing.
    pub(super) fn append(&mut self, records: &[u8], faults: &Faults) -> Result<(), AppendFailure> {
        self.allocate(records.len() as u64, faults)?;
        let (written, fault) = match faults.at(Step::Append) {
            None => (records, None),
            Some(Fault::Fail(error)) => (&[][..], Some(error)),
            Some(Fault::After(bytes, error)) => {
                (records.get(..bytes).unwrap_or(records), Some(error))
            }
        };
        let written = self.file.file.write_all_at(written, self.len);
        if let Err(error) = written.and(fault.map_or(Ok(()), Err)) {
            if !is_full(&error) {
                return Err(AppendFailure::Broken("writing", error));
            }
            // What was written in part must not stand before what is written next.
            let cut = faults.check(Step::Truncate);
            cut.and_then(|()| self.file.file.set_len(self.len))
                .map_err(|error| AppendFailure::Broken("truncating", error))?;
            self.forget_allocated();
            return Err(AppendFailure::Full(error));
        }
        self.len += records.len() as u64;
        Ok(())
    }

    /// Waits until all that was written is durable. Through the descriptor that wrote it: another one could miss an
    /// error that was met in between.
    pub(super) fn sync(&mut self, faults: &Faults) -> Result<(), AppendFailure> {
        if self.synced < self.len {
            let synced = faults.check(Step::Sync).and_then(|()| self.file.file.sync_data());
            synced.map_err(|error| AppendFailure::Broken("syncing", error))?;
            self.synced = self.len;
        }
        Ok(())
    }

    /// Gives back what was set aside and not used. No harm is done where that fails.
    pub(super) fn give_back(&mut self) {
        let _ = self.file.file.set_len(self.len);
        self.forget_allocated();
    }

    /// Takes nothing for set aside any more.
    pub(super) fn forget_allocated(&mut self) {
        self.allocated = self.len;
    }

    /// Sets room aside, so that a full disk shows before anything is written.
    fn allocate(&mut self, bytes: u64, faults: &Faults) -> Result<(), AppendFailure> {
        let needed = self.len + bytes;
        if !self.can_allocate || needed <= self.allocated {
            return Ok(());
        }
        if let Err(error) = faults.check(Step::Preallocate) {
            return Err(if is_full(&error) {
                AppendFailure::Full(error)
            } else {
                AppendFailure::Broken("setting room aside in", error)
            });
        }
        let mut last = Ok(());
        // Where there is no room for much, there may be for what is needed.
        for end in [needed.max(self.allocated + ALLOCATE_BYTES), needed] {
            last = loop {
                let (from, len) = (self.allocated, end - self.allocated);
                match fallocate(&self.file.file, FallocateFlags::KEEP_SIZE, from, len) {
                    Err(Errno::INTR) => {}
                    result => break result,
                }
            };
            match last {
                Ok(()) => {
                    self.allocated = end;
                    return Ok(());
                }
                Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {}
                // The file system has no such call; a full disk then shows when writing.
                Err(_) => {
                    self.can_allocate = false;
                    return Ok(());
                }
            }
        }
        last.map_err(|errno| AppendFailure::Full(errno.into()))
    }
}

/// Why the disk did not take what it was given.
#[derive(Debug)]
pub(super) enum AppendFailure {
    /// It has no room; nothing was written.
    Full(std::io::Error),
    /// Nobody can tell what it holds.
    Broken(&'static str, std::io::Error),
}

/// How much room is set aside at a time.
const ALLOCATE_BYTES: u64 = 4 << 20;

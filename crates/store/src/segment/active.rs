//! Writing to the newest segment: [`Active`].

use std::io;
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
    /// Up to where room is set aside for it, and filled with zeros behind `len`.
    prepared: u64,
    /// Whether the file system can set room aside.
    can_prepare: bool,
    /// At this length the next segment is begun, so no more than that is made ready.
    bytes_max: u64,
    /// How far memory-only events may go before the next reservation.
    pub(super) reserved: Seq,
    /// When its first record was written.
    pub(super) begun: Option<UnixMillis>,
}

impl Active {
    pub(super) fn new(segment: &Segment, reserved: Seq, bytes_max: u64) -> Active {
        Active {
            file: Arc::clone(&segment.file),
            base: segment.index.base(),
            len: segment.bytes,
            synced: segment.bytes,
            prepared: segment.bytes,
            can_prepare: true,
            bytes_max,
            reserved,
            begun: segment.index.times().oldest(),
        }
    }

    /// Writes records behind those that are there, all or, where there is no room, nothing.
    pub(super) fn append(&mut self, records: &[u8], faults: &Faults) -> Result<(), AppendFailure> {
        self.prepare(records.len() as u64, faults)?;
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
            self.forget_prepared();
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
        self.forget_prepared();
    }

    /// Takes nothing for set aside any more.
    pub(super) fn forget_prepared(&mut self) {
        self.prepared = self.len;
    }

    /// Makes the file ready to be written to, a stretch at a time.
    ///
    /// Room is set aside, so that a full disk shows before anything is written. And it is filled with zeros: a group
    /// that is written over them changes neither the file's length nor where its bytes lie, so its sync waits for its
    /// bytes alone and not for the file system's journal, which other files' syncs wait for too. `bench/publish.md`
    /// has what that gives. Zeros are no record.
    fn prepare(&mut self, bytes: u64, faults: &Faults) -> Result<(), AppendFailure> {
        let needed = self.len + bytes;
        if !self.can_prepare || needed <= self.prepared {
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
        let ahead = (self.prepared + PREPARE_BYTES).min(self.bytes_max);
        for end in [needed.max(ahead), needed] {
            last = self.allocate(end).and_then(|()| self.zero(needed, end));
            match &last {
                Ok(()) => {
                    self.prepared = end;
                    return Ok(());
                }
                Err(error) if is_full(error) => {}
                // The file system has no such call; a full disk then shows when writing.
                Err(_) => {
                    self.can_prepare = false;
                    return Ok(());
                }
            }
        }
        last.map_err(AppendFailure::Full)
    }

    fn allocate(&self, end: u64) -> io::Result<()> {
        let (from, len) = (self.prepared, end - self.prepared);
        loop {
            match fallocate(&self.file.file, FallocateFlags::KEEP_SIZE, from, len) {
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    fn zero(&self, from: u64, end: u64) -> io::Result<()> {
        let mut at = from;
        while at < end {
            let len = usize::try_from(end - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.file.file.write_all_at(ZEROS.get(..len).unwrap_or(&ZEROS), at)?;
            at += len as u64;
        }
        Ok(())
    }
}

/// Why the disk did not take what it was given.
#[derive(Debug)]
pub(super) enum AppendFailure {
    /// It has no room; nothing was written.
    Full(io::Error),
    /// Nobody can tell what it holds.
    Broken(&'static str, io::Error),
}

/// How much of the file is made ready at a time. A sync that makes it durable takes about a millisecond more.
const PREPARE_BYTES: u64 = 1 << 20;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

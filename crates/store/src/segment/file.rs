//! The files of a log and their heads: [`Header`], [`SegmentFile`], [`Directory`].
//!
//! A log's directory holds `LOCK`, which the open log has locked; `log.meta`, the head of the log as a whole; and
//! `<base>.seg` for each segment, where `base` is the position before which it holds nothing, in 20 digits. A name that
//! ends in `.tmp` is unfinished work of a process that is gone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longwave_core::{Epoch, Seq};

use super::fault::{Faults, Step};
use super::options::OpenError;
use super::record;

/// Which log files belong to, and how their checksums start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) epoch: Epoch,
    /// A secret, unlike the epoch: without it a publisher could write data which, once damage made recovery search for
    /// the next record, would pass for one.
    pub(super) salt: u32,
}

impl Identity {
    pub(super) fn random() -> io::Result<Identity> {
        let epoch = Epoch::from_random(getrandom::u32().map_err(io::Error::other)?);
        Ok(Identity { epoch, salt: getrandom::u32().map_err(io::Error::other)? })
    }

    /// The start of the checksums of this log's records.
    pub(super) fn seed(self) -> u32 {
        record::seed(self.epoch) ^ self.salt
    }
}

/// What stands at the start of `log.meta` and of each segment: 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: Identity,
    /// The segment holds nothing before this position.
    pub(super) base: Seq,
    /// Of a rewritten segment: the last position that it stands for. Zero: it is as it was first written.
    pub(super) end: Seq,
    /// Topics that nothing else in the log tells of may have had events up to here.
    pub(super) forgotten: Seq,
}

/// Why bytes are not a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Garbled,
    Version(u32),
}

impl Header {
    /// Where the first record stands.
    pub(super) const END: u32 = 64;
    pub(super) const LEN: usize = Self::END as usize;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.identity.salt.to_le_bytes());
        bytes.extend_from_slice(self.identity.epoch.as_str().as_bytes());
        bytes.extend_from_slice(&[0; 3]);
        for seq in [self.base, self.end, self.forgotten] {
            bytes.extend_from_slice(&seq.0.to_le_bytes());
        }
        bytes.resize(Self::LEN - 4, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        let parse = || {
            let bytes = bytes.get(..Self::LEN)?;
            let (fields, crc) = bytes.split_last_chunk::<4>()?;
            let fields = fields.strip_prefix(MAGIC)?;
            let (version, fields) = fields.split_first_chunk::<4>()?;
            let (salt, fields) = fields.split_first_chunk::<4>()?;
            let (epoch, mut fields) = fields.split_at_checked(5)?;
            fields = fields.get(3..)?;
            let mut seq = || {
                let (seq, rest) = fields.split_first_chunk::<8>()?;
                fields = rest;
                Some(Seq(u64::from_le_bytes(*seq)))
            };
            let (base, end, forgotten) = (seq()?, seq()?, seq()?);
            let is_sound = crc32c::crc32c(bytes.get(..Self::LEN - 4)?) == u32::from_le_bytes(*crc);
            let version = u32::from_le_bytes(*version);
            if !is_sound || version != VERSION {
                // What a later version puts behind the number is its own affair, its checksum too.
                return (version > VERSION).then_some(Err(HeaderError::Version(version)));
            }
            let epoch = std::str::from_utf8(epoch).ok()?.parse().ok()?;
            let identity = Identity { epoch, salt: u32::from_le_bytes(*salt) };
            Some(Ok(Header { identity, base, end, forgotten }))
        };
        parse().unwrap_or(Err(HeaderError::Garbled))
    }
}

/// One open segment.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

/// The directory of a log.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) faults: Faults,
}

impl Directory {
    /// Creates the directory, durably.
    pub(super) fn create_if_missing(&self) -> io::Result<()> {
        if self.path.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.path)?;
        match self.path.parent() {
            Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    }

    /// Locks the directory for as long as the returned file is open. Where another has locked it, tries for as long as
    /// `wait`.
    pub(super) fn lock_within(&self, wait: Duration) -> Result<File, OpenError> {
        let mut tries_left = wait.as_millis() / LOCK_RETRY.as_millis();
        loop {
            match self.lock() {
                Err(OpenError::Locked { .. }) if tries_left > 0 => {
                    tries_left -= 1;
                    std::thread::sleep(LOCK_RETRY);
                }
                result => return result,
            }
        }
    }

    /// Locks the directory for as long as the returned file is open.
    pub(super) fn lock(&self) -> Result<File, OpenError> {
        let path = self.path.join("LOCK");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| OpenError::Io { file: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: self.path.clone() }),
            Err(TryLockError::Error(source)) => Err(OpenError::Io { file: path, source }),
        }
    }

    pub(super) fn meta_path(&self) -> PathBuf {
        self.path.join("log.meta")
    }

    pub(super) fn segment_path(&self, base: Seq) -> PathBuf {
        self.path.join(format!("{:020}.seg", base.0))
    }

    /// Writes the head of the log so that it is there either as it was or as it is to be.
    pub(super) fn write_meta(&self, identity: Identity) -> io::Result<()> {
        let (path, tmp) = (self.meta_path(), self.path.join("log.meta.tmp"));
        let mut file = File::create(&tmp)?;
        let header = Header { identity, base: Seq::ZERO, end: Seq::ZERO, forgotten: Seq::ZERO };
        file.write_all(&header.encode())?;
        file.sync_all()?;
        std::fs::rename(&tmp, &path)?;
        self.sync()
    }

    /// Creates a segment. Where that fails, it leaves none behind, if the file system lets it.
    pub(super) fn create(&self, header: &Header) -> io::Result<SegmentFile> {
        self.faults.check(Step::Create)?;
        let path = self.segment_path(header.base);
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
        let segment = SegmentFile { file, path };
        let written = self
            .faults
            .check(Step::WriteHeader)
            .and_then(|()| segment.file.write_all_at(&header.encode(), 0))
            .and_then(|()| segment.file.sync_all())
            .and_then(|()| self.sync());
        match written {
            Ok(()) => Ok(segment),
            Err(error) => {
                let _ = std::fs::remove_file(&segment.path);
                Err(error)
            }
        }
    }

    /// Makes the directory's entries durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.faults.check(Step::SyncDirectory)?;
        File::open(&self.path)?.sync_all()
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.check(Step::Remove)?;
        std::fs::remove_file(path)
    }

    /// Removes what an earlier process left unfinished. Only for who has locked the directory.
    pub(super) fn remove_unfinished(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.ends_with(".tmp") && (name.starts_with("log.meta") || name.contains(".seg")) {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// The segments in order of their bases.
    pub(super) fn segments(&self) -> io::Result<Vec<(Seq, PathBuf)>> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if let Some(base) = name.strip_suffix(".seg")
                && base.len() == 20
                && let Ok(base) = base.parse()
            {
                segments.push((Seq(base), path));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }
}

/// Whether the disk, or this process's share of it, has no room; everything else that fails is taken for a broken disk.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The kernel tells nobody that a lock was given up.
const LOCK_RETRY: Duration = Duration::from_millis(5);
const MAGIC: &[u8; 8] = b"longwave";
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_shows_every_damaged_bit() {
        let identity = Identity { epoch: Epoch::from_random(7), salt: 9 };
        let header = Header { identity, base: Seq(3), end: Seq(8), forgotten: Seq(2) };
        let bytes = header.encode();
        assert_eq!(bytes.len(), Header::LEN);
        assert_eq!(Header::decode(&bytes), Ok(header));
        for i in 0..Header::LEN {
            assert_eq!(Header::decode(&bytes[..i]), Err(HeaderError::Garbled));
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[i] ^= 1 << bit;
                assert!(Header::decode(&damaged).is_err(), "bit {bit} of byte {i}");
            }
        }
    }
}

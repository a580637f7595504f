//! What can be told of a log's files before their records are read: [`Head`].

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::PathBuf;

use longwave_core::Seq;

use super::file::{Directory, Header, HeaderError, Identity, SegmentFile};
use super::options::OpenError;

/// A segment before it is read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) base: Seq,
    pub(super) file: SegmentFile,
    pub(super) bytes: u64,
    /// `None` where it is garbled.
    pub(super) header: Option<Header>,
}

/// Reads the head of each file.
pub(super) fn read_heads(paths: &[(Seq, PathBuf)]) -> Result<Vec<Head>, OpenError> {
    let mut heads = Vec::with_capacity(paths.len());
    for (base, path) in paths {
        let read = || {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            let bytes = file.metadata()?.len();
            let mut head = Vec::with_capacity(Header::LEN);
            (&file).take(Header::LEN as u64).read_to_end(&mut head)?;
            Ok((file, bytes, head))
        };
        let (file, bytes, head) =
            read().map_err(|source| OpenError::Io { file: path.clone(), source })?;
        let header = match Header::decode(&head) {
            Ok(header) => Some(header).filter(|header| header.base == *base),
            Err(HeaderError::Garbled) => None,
            Err(HeaderError::Version(version)) => {
                return Err(OpenError::Version { file: path.clone(), version });
            }
        };
        heads.push(Head {
            base: *base,
            file: SegmentFile { file, path: path.clone() },
            bytes,
            header,
        });
    }
    Ok(heads)
}

/// Whose directory it is: what its description says; where that is gone, what its segments say; where there are none,
/// a new log's.
pub(super) fn identify(dir: &Directory, heads: &[Head]) -> Result<Identity, OpenError> {
    let path = dir.meta_path();
    let io_error = |source| OpenError::Io { file: path.clone(), source };
    let meta = match std::fs::read(&path) {
        Ok(bytes) => Header::decode(&bytes).map(|header| header.identity),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(HeaderError::Garbled),
        Err(error) => return Err(io_error(error)),
    };
    let identity = match meta {
        // Its positions would begin anew, so ids of before must not match: it gets another epoch.
        Ok(_) if heads.is_empty() => Identity::random().map_err(io_error)?,
        Ok(identity) => return Ok(identity),
        Err(HeaderError::Version(version)) => {
            return Err(OpenError::Version { file: path, version });
        }
        Err(HeaderError::Garbled) => {
            let known = heads.iter().find_map(|head| head.header);
            match known {
                Some(header) => {
                    tracing::warn!(file = %path.display(), "restored from a segment's head");
                    header.identity
                }
                // A first segment that was never finished holds nothing yet.
                None if heads.iter().all(|head| head.bytes <= Header::LEN as u64) => {
                    Identity::random().map_err(io_error)?
                }
                None => return Err(OpenError::Description { file: path }),
            }
        }
    };
    dir.write_meta(identity).map_err(io_error)?;
    Ok(identity)
}

/// Removes a newest segment that was never finished, and segments that a rewritten one stands for.
pub(super) fn drop_leftovers(
    dir: &Directory,
    heads: &mut Vec<Head>,
    identity: Identity,
) -> Result<(), OpenError> {
    let leftovers = split_leftovers(heads, identity);
    for path in &leftovers {
        tracing::info!(file = %path.display(), "removed what an interrupted change left behind");
        dir.remove(path).map_err(|source| OpenError::Io { file: path.clone(), source })?;
    }
    if !leftovers.is_empty() {
        dir.sync().map_err(|source| OpenError::Io { file: dir.path.clone(), source })?;
    }
    Ok(())
}

/// Takes those out that [`drop_leftovers`] removes.
pub(super) fn split_leftovers(heads: &mut Vec<Head>, identity: Identity) -> Vec<PathBuf> {
    let mut covered = Seq::ZERO;
    let mut leftovers = Vec::new();
    let newest = heads.last().map(|head| head.base);
    heads.retain(|head| {
        let is_covered = head.base <= covered;
        let is_unfinished =
            head.header.is_none() && Some(head.base) == newest && head.bytes <= Header::LEN as u64;
        if is_covered || is_unfinished {
            leftovers.push(head.file.path.clone());
            return false;
        }
        if let Some(header) = head.header
            && header.identity == identity
        {
            covered = covered.max(header.end);
        }
        true
    });
    leftovers
}

/// Refuses segments of other logs.
pub(super) fn check_identity(heads: &[Head], identity: Identity) -> Result<(), OpenError> {
    for head in heads {
        if let Some(header) = head.header
            && header.identity != identity
        {
            return Err(OpenError::Foreign {
                file: head.file.path.clone(),
                expected: identity.epoch.to_string(),
                found: header.identity.epoch.to_string(),
            });
        }
    }
    Ok(())
}

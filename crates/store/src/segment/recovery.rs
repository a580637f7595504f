//! Opening a directory: [`recover`].

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use longwave_core::{DedupWindow, Seq, UnixMillis};

use super::file::{Directory, Header, Identity};
use super::heads::{Head, check_identity, drop_leftovers, identify, read_heads};
use super::options::OpenError;
use super::preread::Preread;
use super::replay::Replay;
use super::scan::{Age, Scan, scan};
use super::state::{Segment, State};

/// An open log's beginnings.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) identity: Identity,
    pub(super) state: State,
    /// How far memory-only events may go before the next reservation.
    pub(super) reserved: Seq,
}

/// Reads the log in a locked directory, or begins one. What `preread` holds is not read again where it is still so.
pub(super) fn recover(
    dir: &Directory,
    now: UnixMillis,
    preread: Option<Preread>,
) -> Result<Recovered, OpenError> {
    let io_at = |file: &Path| {
        let file = file.to_owned();
        move |source| OpenError::Io { file, source }
    };
    dir.remove_unfinished().map_err(io_at(&dir.path))?;
    let paths = dir.segments().map_err(io_at(&dir.path))?;
    let mut heads = read_heads(&paths)?;
    let identity = identify(dir, &heads)?;
    drop_leftovers(dir, &mut heads, identity)?;
    check_identity(&heads, identity)?;

    let mut replay = match preread.and_then(|preread| preread.confirm(identity, &heads)) {
        Some((replay, known)) => {
            heads.drain(..known);
            replay
        }
        None => Replay::begin(heads.first().map(|head| head.base)),
    };
    take_in(&mut replay, heads, None, identity, now)?;
    let (mut state, mut reserved) = replay.finish(now);

    let active_is_usable = state.segments.back().is_some_and(|segment| {
        !segment.is_rewritten
            && segment.damages.iter().all(|damage| damage.first > segment.index.base())
            && !segment.index.is_out_of_reach(Seq(state.committed.0.saturating_add(RESERVE)))
    });
    if active_is_usable {
        if let Some(active) = state.segments.back_mut() {
            active.index.unseal();
        }
    } else {
        let base = state.committed.next();
        let header = Header { identity, base, end: Seq::ZERO, forgotten: Seq::ZERO };
        let file = dir.create(&header).map_err(io_at(&dir.segment_path(base)))?;
        state.segments.push_back(Segment::begin(file, base));
        reserved = Seq::ZERO;
    }
    Ok(Recovered { identity, state, reserved })
}

/// Reads segments and takes them in. `behind` is the base of the segment behind them; where there is none, the last of
/// them is the one that was written to last.
pub(super) fn take_in(
    replay: &mut Replay,
    heads: Vec<Head>,
    behind: Option<Seq>,
    identity: Identity,
    now: UnixMillis,
) -> Result<(), OpenError> {
    let keys_since = now.saturating_sub_ms(DedupWindow::AGE_MAX_MS);
    let newest = heads.len().checked_sub(1).filter(|_| behind.is_none());
    let scans = scan_all(&heads, newest, identity, keys_since)?;
    let next_bases: Vec<Option<Seq>> =
        heads.iter().skip(1).map(|head| Some(head.base)).chain([behind]).collect();
    for ((head, scan), next_base) in heads.into_iter().zip(scans).zip(next_bases) {
        replay
            .adopt(head, scan, next_base)
            .map_err(|(file, source)| OpenError::Io { file, source })?;
    }
    Ok(())
}

/// Reads all segments, several at a time.
fn scan_all(
    heads: &[Head],
    newest: Option<usize>,
    identity: Identity,
    keys_since: UnixMillis,
) -> Result<Vec<Scan>, OpenError> {
    let next = AtomicUsize::new(0);
    let scans: Mutex<Vec<(usize, io::Result<Scan>)>> = Mutex::new(Vec::new());
    let work = || {
        let mut bytes = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(head) = heads.get(i) else { return };
            let age = if Some(i) == newest { Age::Newest } else { Age::Finished };
            let scanned = read_whole(&head.file.file, head.bytes, &mut bytes)
                .map(|()| scan(&bytes, head.base, identity.seed(), age, keys_since));
            scans.lock().unwrap_or_else(PoisonError::into_inner).push((i, scanned));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    thread::scope(|scope| {
        for _ in 1..threads.min(heads.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut scans = scans.into_inner().unwrap_or_else(PoisonError::into_inner);
    scans.sort_unstable_by_key(|(i, _)| *i);
    let with_file = heads.iter().zip(scans).map(|(head, (_, scanned))| {
        scanned.map_err(|source| OpenError::Io { file: head.file.path.clone(), source })
    });
    with_file.collect()
}

fn read_whole(mut file: &File, len: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    use std::io::Seek;
    file.rewind()?;
    bytes.clear();
    bytes.reserve(usize::try_from(len).unwrap_or_default());
    file.read_to_end(bytes).map(drop)
}

/// How many positions a reservation goes ahead.
pub(super) const RESERVE: u64 = 65_536;
/// How many segments are in memory at once while a log is opened.
const THREADS_MAX: usize = 8;

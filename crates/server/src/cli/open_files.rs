//! How many files a process may have open: a socket is one, so this is how many clients it may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit now, and how far the process may raise it. `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

/// Those of this process.
pub(crate) fn open_files() -> OpenFiles {
    let limit = getrlimit(Resource::Nofile);
    OpenFiles { soft: limit.current, hard: limit.maximum }
}

/// Raises the limit as far as the process may. Soft limits are low for the sake of programs that use `select`, and
/// this is none.
pub(crate) fn raise_open_files() {
    let OpenFiles { hard, .. } = open_files();
    // Where the system refuses, the limit stays; whoever meets it is told then.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
}

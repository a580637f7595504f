//! The `longwave` binary: a thin shell around `cli/`, which has a file for each command, and `config/`, which has the
//! settings of `longwave serve`. The server itself is the library.

mod cli;
mod config;

use std::process::ExitCode;

/// The system's allocator keeps what a burst of connections took; this one gives it back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}

//! End-to-end tests of the `longwave` binary, a module per subject.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "everything here is a test; what it prints is shown when it fails"
)]

mod clients;
mod crash;
mod full_disk;
mod gateway;
mod laggards;
mod power;
mod restart;
mod takeover;

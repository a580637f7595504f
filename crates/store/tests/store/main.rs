//! What every log must do, and what only the one on disk can show.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "what goes wrong in a test is to end it"
)]

mod faults;
mod fixture;
mod handover;
mod model;
mod recovery;
mod suite;

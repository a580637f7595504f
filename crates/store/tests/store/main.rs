//! What every log must do, and what only the one on disk can show.

mod fixture;
mod suite;

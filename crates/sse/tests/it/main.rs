//! The integration tests, one module per subject.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

mod conformance;
mod decoding;
mod encoding;
mod properties;
mod record;

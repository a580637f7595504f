//! The client against a server that answers by script, so that every answer a network can give is given.
//!
//! What a real Longwave server answers is tested beside that.

#![expect(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions only, and helpers are called by nothing else"
)]

mod publish;
mod script;
mod stream;

//! The server over real sockets. A module per subject; what they share is in `support`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy allows these in test functions only, and helpers are called by nothing else"
)]

mod cli_publish;
mod cli_restart;
mod cli_serve;
mod cli_tools;
mod client_real;
mod descriptors;
mod errors;
mod gateway;
mod handover;
mod limits;
mod manage;
mod openapi;
mod origin;
mod probes;
mod publish;
mod publish_batch;
mod publish_stream;
mod read;
mod shutdown;
mod stats;
mod support;
mod websocket_publish;

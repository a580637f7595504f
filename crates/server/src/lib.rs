//! The Longwave server as a library: what the `longwave` binary runs, and what a Rust program may embed.
//!
//! A [`Server`] answers HTTP over a [`Log`](longwave_store::Log) that its caller opened. It reads no flags, files or
//! environment. Start with [`Server::start`]; [`hub`] is for programs that follow events without HTTP.

pub mod gateway;
pub mod http;
pub mod hub;
mod server;
mod stats;
mod takeover;
mod transports;

pub use server::{Listeners, Server, ServerOptions, reachable};

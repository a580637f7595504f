//! Delivery: how what was committed gets to those who follow it, at little more than what the kernel takes to send it.
//!
//! A subscriber is a place in a channel of the [`Board`] and a position in the log. Those with a task of their own
//! (WebSocket, HTTP/2) wait at a [`Seat`]. Plain sockets are parked: [`Reactors::park`] takes one over for good, and
//! from then on it costs a socket, a position and a few flags. The rules of what a subscriber gets are
//! `longwave-core`'s (`Channels`, `Feed`); here they meet sockets, threads and locks.
//!
//! It knows neither HTTP nor what events look like: bytes come from a [`Framing`], pages of the log from a [`Host`].
//! Start with [`Reactors`]; what a reactor does, without its sockets, is `engine.rs`.

mod board;
mod engine;
mod framing;
mod inbox;
mod reactor;
mod socket;

pub use board::{Board, Phase, Refused, Seat, SubscriberKind};
pub use framing::Framing;
pub use inbox::{PageReply, PageRequest};
pub use reactor::{Host, Parked, ReactorOptions, Reactors};

//! The Longwave server as a library.
//!
//! Start with [`hub`].

pub mod hub;

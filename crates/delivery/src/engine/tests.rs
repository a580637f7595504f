//! The engine on sockets that take what they are told to, and a log that is a list: single rules in [`rules`], and in
//! [`storm`] everything at once, in every order.

mod rules;
mod storm;
mod world;

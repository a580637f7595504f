//! The gateway: put before an endpoint that streams, it makes each answer a recorded, resumable, shareable stream.
//!
//! Which requests it answers, and how, is said by [`RouteOptions`]; what an upstream's events mean, by [`Dialect`].

mod dialect;
mod route;

pub use self::dialect::{Dialect, ParseDialectError};
pub use self::route::{
    AllowRule, Background, Disconnect, GatewayOptions, RouteError, RouteOptions, Viewers,
};

//! The HTTP interface: routes, their handlers, and what they share.
//!
//! Connections are the business of [`Server`](crate::Server); how events reach subscribers is that of the transports.
//! Start with [`App`], which every handler gets, and [`Problem`], which every handler fails with.

mod app;
mod metrics;
mod options;
mod problem;
mod query;
mod topic_path;

pub use app::App;
pub use metrics::{Metrics, SubscriberGuard, Transport};
pub use options::{HttpOptions, Origins};
pub use problem::{Code, Problem};
pub use query::{Query, QueryError};
pub use topic_path::TopicPath;

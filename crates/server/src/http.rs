//! The HTTP interface: routes, their handlers, and what they share.
//!
//! Connections are the business of [`Server`](crate::Server); how events reach subscribers is that of the transports.
//! Start with [`App`], which every handler gets, and [`Problem`], which every handler fails with.

mod app;
mod budget;
mod front;
mod humane;
mod json_object;
mod metrics;
mod openapi;
mod options;
mod origin;
mod probes;
mod problem;
mod publish;
mod query;
mod read;
mod router;
mod successor;
mod topic_path;
mod topics;

pub use app::App;
pub use metrics::{Metrics, Transport};
pub(crate) use metrics::{StreamLabels, UpstreamErrorKind};
pub use options::{HostNames, HttpOptions, Origins};
pub use problem::{Code, Problem};
pub use query::{Query, QueryError};
pub use router::route_paths;
pub use topic_path::TopicPath;

pub(crate) use app::Phase;
pub(crate) use front::Front;
pub(crate) use humane::{parse_duration_ms, rfc3339};
pub(crate) use json_object::JsonObject;
pub(crate) use openapi::ProblemResponse;
pub(crate) use origin::{IDEMPOTENCY_KEY, LONGWAVE_DUPLICATE, LONGWAVE_END};
pub(crate) use publish::{BodyLimit, WholeBody, append_problem, read_whole};
use router::router;
pub(crate) use topics::{Quantity, check_json, read_problem};

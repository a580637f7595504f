//! What the end-to-end tests share: the server as a process, real proxies and clients around it, and a proxy that cuts.
//!
//! Nothing here looks into the server: it is the `longwave` binary, spoken to over HTTP alone. The tests are in `e2e/`.
//! Start with [`LongwaveServer`], [`FaultProxy`] and [`Follower`].

mod disk;
mod expected;
mod fault;
mod follower;
mod port;
mod process;
mod proxies;
mod publisher;
mod sdk;
mod server;

pub use disk::CuttableDisk;
pub use expected::{Data, Expected, Received, View, first_difference};
pub use fault::{CutSide, FaultPlan, FaultProxy};
pub use follower::{Follower, FollowerKind, Transport};
pub use port::free_port;
pub use process::Process;
pub use proxies::{HaProxy, Nginx};
pub use publisher::Publisher;
pub use sdk::{SdkProgram, SdkReport, SdkStage};
pub use server::{LongwaveServer, binary, repository};

use std::time::Duration;

/// How long anything may take before it counts as hung. Far more than a loaded machine needs.
pub const HANG_LIMIT: Duration = Duration::from_secs(120);

/// How often a state is looked at that can't be waited for otherwise.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);

//! What `cargo xtask bench` is made of: servers under test, a load on them, measurements, and the tables they fill.
//!
//! Start with [`load::Load`], which does the work, and [`runs`], which says what work. [README.md](../README.md) defines
//! each figure. Nothing of this is published.

pub mod exchange;
pub mod load;
pub mod machine;
pub mod paced;
pub mod peer;
pub mod report;
pub mod results;
pub mod runs;
pub mod server;
pub mod template;
pub mod usage;

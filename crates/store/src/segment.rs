//! The log on disk.

pub(crate) mod record;

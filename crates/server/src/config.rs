//! Settings of `longwave serve`: from flags, the environment and a TOML file, all declared in `table.rs`.
//!
//! What wins, first to last: a flag, an environment variable, the file, the default. Every value knows where it came
//! from, so that an error names that place. The gateway's routes have keys of their own, declared in `route.rs`. Start
//! with [`Settings`], and with `table.rs` to add a setting.

mod error;
mod file;
mod reference;
mod resolve;
mod route;
mod table;
mod value;

pub(crate) use reference::{effective, markdown};
pub(crate) use resolve::Sources;
pub(crate) use route::Route;
pub(crate) use table::{LogFormat, LogKind, Settings, TABLE};
pub(crate) use value::{Form, Shape, Threads, millis, parse_duration};

/// One row of the table: all there is to know of a setting but its type, which the field of [`Settings`] has.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The field of [`Settings`]; flag and environment variable are spelled after it.
    pub(crate) name: &'static str,
    /// Where it stands in the file, `section.key`; `None` where it makes no sense in one.
    pub(crate) toml: Option<&'static str>,
    /// The default, as a person would write it. Empty: none.
    pub(crate) default: &'static str,
    /// The least and the most, as a person would write them.
    pub(crate) bounds: Option<(&'static str, &'static str)>,
    pub(crate) help: &'static str,
    /// What its values look like, for people.
    pub(crate) kind: &'static str,
    pub(crate) shape: Shape,
    /// How the file writes it.
    pub(crate) form: Form,
}

/// A setting's value, or that of a route's key, as it is told to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Where the value came from.
    pub(crate) origin: String,
}

impl Setting {
    /// The flag, without the dashes in front.
    pub(crate) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub(crate) fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.to_ascii_uppercase())
    }
}

/// What the names of all environment variables start with.
const ENV_PREFIX: &str = "LONGWAVE_";

/// What the paths of all keys of a route start with.
const ROUTES: &str = "gateway.routes.";

/// A section of the file as a heading.
pub(crate) fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

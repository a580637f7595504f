//! What is wrong with settings, and where it was written: [`SettingsError`].

use std::fmt;
use std::path::PathBuf;

use super::resolve::Origin;

/// Everything that is wrong. At least one thing.
#[derive(Debug)]
pub(crate) struct SettingsError {
    pub(crate) errors: Vec<SettingError>,
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingError {
    /// A value can't be read or is out of bounds.
    #[error("{origin}: {given:?} is not a value for {name}: {expected}")]
    Value { origin: Origin, name: &'static str, given: String, expected: String },
    /// An environment variable holds bytes that are no text.
    #[error("{name}: the value is not UTF-8")]
    NotText { name: String },
    /// The file names a setting that there is not.
    #[error("{place}: there is no setting {path:?}{}", suggestion(.nearest.as_deref()))]
    Unknown { place: String, path: String, nearest: Option<String> },
    /// A key of the file holds a table where a value belongs, or the other way round.
    #[error("{place}: {path:?} {problem}")]
    Shape { place: String, path: String, problem: &'static str },
    /// A route lacks what each must have.
    #[error("{place}: the route has no {key:?}")]
    Missing { place: String, key: &'static str },
    /// Two routes are for the same paths.
    #[error("{origin}: there is a route for {prefix:?} already, from {other}")]
    Duplicate { origin: Origin, prefix: String, other: Origin },
    /// A header's value is to come from the environment and can't. The value itself is never told.
    #[error(
        "{origin}: the header {header} takes the environment variable {variable}, which {problem}"
    )]
    Variable { origin: Origin, header: String, variable: String, problem: &'static str },
    /// The file is not TOML.
    #[error("{place}: {message}")]
    Syntax { place: String, message: String },
    /// The file can't be read.
    #[error("the file with settings, {}, can't be read: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default()
}

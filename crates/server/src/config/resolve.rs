//! Which value a setting has, and where that came from: [`Sources`] in, [`Sourced`] values out.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::error::{SettingError, SettingsError};
use super::file::File;
use super::value::{Shape, Value};
use super::{Setting, TABLE};

/// All that settings are read from, but the file, which one of them names.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The words given by flags, by the setting's name.
    pub(crate) flags: HashMap<&'static str, Vec<String>>,
    /// The environment.
    pub(crate) env: HashMap<OsString, OsString>,
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    /// As it was written.
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(String),
    Env(String),
    File { path: PathBuf, line: usize },
    Default,
}

impl Sources {
    /// Those of this process; `flags` were read by the command line's parser.
    pub(crate) fn of_process(flags: HashMap<&'static str, Vec<String>>) -> Sources {
        Sources { flags, env: std::env::vars_os().collect() }
    }

    /// Environment variables that look like a setting's but are none's, with the one they may mean.
    ///
    /// Others that merely start alike are passed over: container platforms set `LONGWAVE_PORT` and the like for a
    /// service of that name.
    pub(crate) fn misspelled_env(&self) -> Vec<(String, String)> {
        let known: Vec<String> = TABLE.iter().map(Setting::env).collect();
        let mut found: Vec<(String, String)> = self
            .env
            .keys()
            .filter_map(|name| name.to_str())
            .filter(|name| name.starts_with("LONGWAVE_") && !known.iter().any(|k| k == name))
            .filter_map(|name| Some((name.to_owned(), nearest(name, known.iter())?)))
            .collect();
        found.sort();
        found
    }
}

/// Reads settings one by one, and gathers what is wrong with them.
pub(super) struct Resolver<'a> {
    sources: &'a Sources,
    file: File,
    errors: Vec<SettingError>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(sources: &'a Sources) -> Resolver<'a> {
        let mut resolver = Resolver { sources, file: File::default(), errors: Vec::new() };
        let config = TABLE.iter().find(|setting| setting.name == "config");
        if let Some((_, words)) = config.and_then(|setting| resolver.given(setting))
            && let Some(path) = words.first().filter(|path| !path.is_empty())
        {
            match File::read(path.into()) {
                Ok(file) => resolver.file = file,
                Err(errors) => resolver.errors = errors,
            }
        }
        resolver
    }

    /// The value of a setting; `None` where it is wrong.
    pub(super) fn value<T: Value>(&mut self, setting: &'static Setting) -> Option<Sourced<T>> {
        let default = || (Origin::Default, vec![setting.default.to_owned()]);
        let (origin, words) = self.given(setting).unwrap_or_else(default);
        let text = words.join(", ");
        match parse(setting, &words) {
            Ok(value) => Some(Sourced { value, text, origin }),
            Err(expected) => {
                let name = setting.name;
                self.errors.push(SettingError::Value { origin, name, given: text, expected });
                None
            }
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(super) fn into_error(self) -> SettingsError {
        SettingsError { errors: self.errors }
    }

    /// What somebody gave, by the strongest source that has it.
    fn given(&mut self, setting: &Setting) -> Option<(Origin, Vec<String>)> {
        if let Some(words) = self.sources.flags.get(setting.name) {
            return Some((Origin::Flag(setting.flag()), words.clone()));
        }
        let env = setting.env();
        match self.sources.env.get(&OsString::from(&env)).map(|value| value.to_str()) {
            Some(Some(text)) => return Some((Origin::Env(env), split(setting.shape, text))),
            Some(None) => {
                self.errors.push(SettingError::NotText { name: env });
                return None;
            }
            None => {}
        }
        let entry = self.file.entries.get(setting.toml?)?;
        let origin = Origin::File { path: self.file.path.clone(), line: entry.line };
        Some((origin, entry.words.clone()))
    }
}

/// The words of a text: itself, or what stands between its commas.
pub(super) fn split(shape: Shape, text: &str) -> Vec<String> {
    match shape {
        Shape::One | Shape::Switch => vec![text.to_owned()],
        Shape::Many => text.split(',').map(|word| word.trim().to_owned()).collect(),
    }
}

/// The candidate that `given` may be a misspelling of.
pub(super) fn nearest<'a, S: AsRef<str> + 'a>(
    given: &str,
    candidates: impl Iterator<Item = &'a S>,
) -> Option<String> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(given, candidate.as_ref()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= 1 + candidate.as_ref().len() / 5)
        .map(|(_, candidate)| candidate.as_ref().to_owned())
}

fn parse<T: Value>(setting: &Setting, words: &[String]) -> Result<T, String> {
    let value = T::parse(words)?;
    if let Some((least, most)) = setting.bounds {
        let bound = |text: &str| T::parse(&[text.to_owned()]);
        if !value.is_within(&bound(least)?, &bound(most)?) {
            return Err(format!("expected {least} to {most}"));
        }
    }
    Ok(value)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => write!(f, "--{flag}"),
            Origin::Env(name) => f.write_str(name),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

//! Which value a setting has, and where that came from: [`Sources`] in, [`Sourced`] values out.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::error::{SettingError, SettingsError};
use super::file::File;
use super::route::{Given, Route, RouteArgs};
use super::value::{Shape, Value};
use super::{ENV_PREFIX, Setting, TABLE};

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
    /// As it was written, but for secrets.
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

impl<T> Sourced<T> {
    /// The same with its value in the type that the server wants.
    pub(super) fn keep<U: From<T>>(self) -> Sourced<U> {
        let Sourced { value, text, origin } = self;
        Sourced { value: value.into(), text, origin }
    }
}

impl<T: Value> Sourced<T> {
    /// Reads a value from its words.
    ///
    /// # Errors
    /// [`SettingError::Value`], with the name of the setting.
    pub(super) fn read(
        name: &'static str,
        bounds: Option<(&str, &str)>,
        origin: Origin,
        words: &[String],
    ) -> Result<Sourced<T>, SettingError> {
        let text = T::text(words);
        match parse(bounds, words) {
            Ok(value) => Ok(Sourced { value, text, origin }),
            Err(expected) => Err(SettingError::Value { origin, name, given: text, expected }),
        }
    }
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
        // The prefix, which all share, would make every two of them look alike.
        let known: Vec<String> =
            TABLE.iter().map(|setting| setting.name.to_ascii_uppercase()).collect();
        let mut found: Vec<(String, String)> = self
            .env
            .keys()
            .filter_map(|name| name.to_str()?.strip_prefix(ENV_PREFIX))
            .filter(|name| !known.iter().any(|known| known == name))
            .filter_map(|name| Some((name, nearest(name, known.iter())?)))
            .map(|(name, meant)| (format!("{ENV_PREFIX}{name}"), format!("{ENV_PREFIX}{meant}")))
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
            (resolver.file, resolver.errors) = File::read(path.into());
        }
        resolver
    }

    /// The value of a setting; `None` where it is wrong.
    pub(super) fn value<T: Value>(&mut self, setting: &'static Setting) -> Option<Sourced<T>> {
        let default = || (Origin::Default, vec![setting.default.to_owned()]);
        let (origin, words) = self.given(setting).unwrap_or_else(default);
        let read = Sourced::read(setting.name, setting.bounds, origin, &words);
        read.map_err(|error| self.errors.push(error)).ok()
    }

    /// The gateway's routes: those given outside of the file, and those of the file that none of these stands in for.
    pub(super) fn routes(&mut self, args: Option<&Sourced<RouteArgs>>) -> Vec<Route> {
        let outside = args.map(Given::of_args).unwrap_or_default();
        let inside = Given::of_file(std::mem::take(&mut self.file.routes), &self.file.path);
        Route::resolve(&outside, &inside, &self.sources.env, &mut self.errors)
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

fn parse<T: Value>(bounds: Option<(&str, &str)>, words: &[String]) -> Result<T, String> {
    let value = T::parse(words)?;
    if let Some((least, most)) = bounds {
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use expect_test::{Expect, expect};

    use super::super::Settings;
    use super::*;

    fn sources(flags: &[(&'static str, &str)], env: &[(&str, &str)]) -> Sources {
        Sources {
            flags: flags.iter().map(|(name, word)| (*name, vec![(*word).to_owned()])).collect(),
            env: env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn check_errors(sources: &Sources, expected: Expect) {
        let error = Settings::resolve(sources).expect_err("something is wrong");
        expected.assert_eq(&error.to_string());
    }

    #[test]
    fn every_default_is_a_value_within_its_bounds() {
        let settings = Settings::resolve(&Sources::default()).unwrap();
        assert_eq!(settings.heartbeat.value, Duration::from_secs(15));
        assert!(settings.rows().iter().all(|row| row.origin == "default"));
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
        let file = file("[delivery]\nheartbeat = '2s'\nretry = '3s'\nretry_jitter = '5s'\n");
        let path = file.path().to_str().unwrap();
        let sources = sources(
            &[("heartbeat", "4s")],
            &[("LONGWAVE_CONFIG", path), ("LONGWAVE_HEARTBEAT", "3s"), ("LONGWAVE_RETRY", "7s")],
        );
        let settings = Settings::resolve(&sources).unwrap();
        let seen =
            [&settings.heartbeat, &settings.retry, &settings.retry_jitter, &settings.long_poll_max]
                .map(|setting| (setting.value.as_secs(), setting.origin.to_string()));
        assert_eq!(
            seen,
            [
                (4, "--heartbeat".to_owned()),
                (7, "LONGWAVE_RETRY".to_owned()),
                (5, format!("{path}:4")),
                (60, "default".to_owned()),
            ]
        );
    }

    #[test]
    fn a_bad_value_is_told_with_the_place_it_came_from() {
        check_errors(
            &sources(
                &[("retry", "soon"), ("http2_streams", "0")],
                &[
                    ("LONGWAVE_HEARTBEAT", "15"),
                    ("LONGWAVE_LISTEN", "0.0.0.0:80,everywhere"),
                    ("LONGWAVE_OPEN", "perhaps"),
                    ("LONGWAVE_LOG", "disk"),
                ],
            ),
            expect![[r#"
                LONGWAVE_LISTEN: "0.0.0.0:80, everywhere" is not a value for listen: expected an IP address and a port, such as 127.0.0.1:4480, 0.0.0.0:4480 or [::]:4480
                LONGWAVE_OPEN: "perhaps" is not a value for open: expected true or false
                LONGWAVE_LOG: "disk" is not a value for log: expected segment or memory
                LONGWAVE_HEARTBEAT: "15" is not a value for heartbeat: expected a duration with its unit, such as 500ms, 15s, 10m or 24h
                --retry: "soon" is not a value for retry: expected a duration with its unit, such as 500ms, 15s, 10m or 24h
                --http2-streams: "0" is not a value for http2_streams: expected 1 to 100000"#]],
        );
    }

    #[test]
    fn a_bad_value_in_the_file_is_told_with_its_line() {
        let file = file(
            "listen = ['nowhere']\n\n[retention]\nmax_age = 24\nmax_bytes = '1KiB'\nmax = 1\n",
        );
        let path = file.path().to_str().unwrap();
        let error = Settings::resolve(&sources(&[("config", path)], &[])).unwrap_err();
        expect![[r#"
            FILE:6: there is no setting "retention.max"; did you mean "retention.max_age"?
            FILE:1: "nowhere" is not a value for listen: expected an IP address and a port, such as 127.0.0.1:4480, 0.0.0.0:4480 or [::]:4480
            FILE:4: "24" is not a value for retention_max_age: expected a duration with its unit, such as 500ms, 15s, 10m or 24h, or off for no limit
            FILE:5: "1KiB" is not a value for retention_max_bytes: expected 1MiB to 1000TiB"#]].assert_eq(&error.to_string().replace(path, "FILE"));
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_whoever_named_it() {
        check_errors(
            &sources(&[("config", "/nonexistent/longwave.toml")], &[]),
            expect![
                "the file with settings, /nonexistent/longwave.toml, can't be read: No such file or directory (os error 2)"
            ],
        );
    }

    #[test]
    fn only_variables_that_look_misspelled_are_told() {
        let sources = sources(
            &[],
            &[
                ("LONGWAVE_HEARTBAET", "1s"),
                ("LONGWAVE_HEARTBEAT", "1s"),
                ("LONGWAVE_SERVICE_HOST", "10.0.0.1"),
                ("LONGWAVE_PORT", "tcp://10.0.0.1:4480"),
                ("LONGWAVE_SERVER", "http://x"),
                ("LONGWAVE_TOKEN", "x"),
            ],
        );
        assert_eq!(
            sources.misspelled_env(),
            [("LONGWAVE_HEARTBAET".to_owned(), "LONGWAVE_HEARTBEAT".to_owned())]
        );
    }
}

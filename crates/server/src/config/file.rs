//! The TOML file with settings, read strictly: what the table does not know is an error with its line. Read [`File`].

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::SettingError;
use super::resolve::nearest;
use super::route::ROUTE_KEYS;
use super::value::Form;
use super::{ROUTES, TABLE};

/// What a file says.
#[derive(Default)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// By the path within the file: `retention.max_age`.
    pub(super) entries: Entries,
    pub(super) routes: Vec<FileRoute>,
}

/// One of the tables `[[gateway.routes]]`.
#[derive(Default)]
pub(super) struct FileRoute {
    /// Where it begins, counted from 1.
    pub(super) line: usize,
    /// By the path within the file: `gateway.routes.prefix`.
    pub(super) entries: Entries,
}

pub(super) type Entries = HashMap<String, Entry>;

/// One value of a file. It may be a secret, so neither this nor what holds it can be printed for debugging.
#[derive(PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) words: Vec<String>,
    /// Counted from 1.
    pub(super) line: usize,
}

impl File {
    /// Reads a file: what it says, and everything that is wrong with it, apart from the values themselves.
    pub(super) fn read(path: PathBuf) -> (File, Vec<SettingError>) {
        match std::fs::read_to_string(&path) {
            Ok(text) => File::parse(path, &text),
            Err(source) => (File::default(), vec![SettingError::Unreadable { path, source }]),
        }
    }

    fn parse(path: PathBuf, text: &str) -> (File, Vec<SettingError>) {
        let mut walk = Walk { path: &path, text, routes: Vec::new(), errors: Vec::new() };
        let mut entries = Entries::new();
        match DeTable::parse(text) {
            Ok(table) => walk.table(&Keys::of_settings(), "", table.get_ref(), &mut entries),
            Err(error) => {
                let place = walk.place(error.span().as_ref());
                let message = error.message().to_owned();
                walk.errors.push(SettingError::Syntax { place, message });
            }
        }
        let Walk { routes, errors, .. } = walk;
        (File { path, entries, routes }, errors)
    }
}

/// The keys that a table of the file may have, by their paths, and how each is written.
struct Keys {
    /// What all of them start with.
    root: &'static str,
    known: Vec<(&'static str, Form)>,
}

impl Keys {
    fn of_settings() -> Keys {
        let known = TABLE.iter().filter_map(|setting| Some((setting.toml?, setting.form)));
        Keys { root: "", known: known.collect() }
    }

    fn of_a_route() -> Keys {
        let known = ROUTE_KEYS.iter().map(|key| (key.name, key.form));
        Keys { root: ROUTES, known: known.collect() }
    }

    fn form(&self, path: &str) -> Option<Form> {
        self.known.iter().find(|(known, _)| *known == path).map(|(_, form)| *form)
    }

    /// The key that an unknown path may mean: one of the same name in another section, or one spelled alike.
    fn nearest(&self, path: &str) -> Option<String> {
        // The root, which all share, would make every two of them look alike.
        let in_root = |path: &'static str| path.strip_prefix(self.root).unwrap_or(path);
        let known: Vec<&str> = self.known.iter().map(|(known, _)| in_root(known)).collect();
        let given = path.strip_prefix(self.root).unwrap_or(path);
        let last = |path: &str| path.rsplit('.').next().map(str::to_owned);
        let name = last(given);
        let in_other_section = || known.iter().find(|known| last(known) == name).copied();
        let by_flag = || {
            let field = name.as_deref()?.replace('-', "_");
            let meant = TABLE.iter().find(|setting| setting.name == field)?.toml?;
            known.iter().find(|known| **known == meant).copied()
        };
        let found = in_other_section()
            .map(str::to_owned)
            .or_else(|| nearest(given, known.iter()))
            .or_else(|| by_flag().map(str::to_owned));
        found.map(|found| format!("{}{found}", self.root))
    }
}

/// A walk through the file's tables.
struct Walk<'a> {
    path: &'a Path,
    text: &'a str,
    routes: Vec<FileRoute>,
    errors: Vec<SettingError>,
}

impl Walk<'_> {
    fn table(&mut self, keys: &Keys, prefix: &str, table: &DeTable<'_>, into: &mut Entries) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            let section = format!("{path}.");
            let is_section = keys.known.iter().any(|(known, _)| known.starts_with(&section));
            let line = self.line(&key.span());
            match (value.get_ref(), keys.form(&path)) {
                (value, Some(Form::Routes)) => self.routes(path, value, line),
                (value, Some(form)) => match self.words(form, &path, value, line) {
                    Ok(words) => {
                        into.insert(path, Entry { words, line });
                    }
                    Err(error) => self.errors.push(error),
                },
                (DeValue::Table(inner), None) if is_section => {
                    self.table(keys, &section, inner, into);
                }
                (_, None) if is_section => {
                    self.errors.push(self.misshapen(path, line, "is a section and takes no value"));
                }
                (_, None) => {
                    let (place, nearest) = (self.place_at(line), keys.nearest(&path));
                    self.errors.push(SettingError::Unknown { place, path, nearest });
                }
            }
        }
    }

    fn routes(&mut self, path: String, value: &DeValue<'_>, line: usize) {
        let problem = "takes tables, each under a [[gateway.routes]] of its own";
        let DeValue::Array(items) = value else {
            self.errors.push(self.misshapen(path, line, problem));
            return;
        };
        let keys = Keys::of_a_route();
        for item in items {
            let line = self.line(&item.span());
            let DeValue::Table(table) = item.get_ref() else {
                self.errors.push(self.misshapen(path.clone(), line, problem));
                continue;
            };
            for key in ROUTE_KEYS.iter().filter(|key| key.default.is_none()) {
                if !table.keys().any(|given| given.get_ref() == key.path()) {
                    let (place, key) = (self.place_at(line), key.path());
                    self.errors.push(SettingError::Missing { place, key });
                }
            }
            let mut entries = Entries::new();
            self.table(&keys, ROUTES, table, &mut entries);
            self.routes.push(FileRoute { line, entries });
        }
    }

    /// The words of a value.
    ///
    /// # Errors
    /// Where it is not written in that form.
    fn words(
        &self,
        form: Form,
        path: &str,
        value: &DeValue<'_>,
        line: usize,
    ) -> Result<Vec<String>, SettingError> {
        let words = match (form, value) {
            (Form::Pairs | Form::WordsOrPairs, DeValue::Table(pairs)) => {
                return pairs.iter().map(|pair| self.pair(path, pair)).collect();
            }
            (Form::Pairs, _) => None,
            (_, DeValue::Array(items)) => items.iter().map(Spanned::get_ref).map(word).collect(),
            (_, value) => word(value).map(|word| vec![word]),
        };
        words.ok_or_else(|| {
            let problem = match form {
                Form::Pairs => "takes a table of texts",
                _ => "takes a text, a number, true or false, or a list of texts",
            };
            self.misshapen(path.to_owned(), line, problem)
        })
    }

    fn pair(
        &self,
        path: &str,
        (key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>),
    ) -> Result<String, SettingError> {
        let name = key.get_ref();
        let error =
            |problem| self.misshapen(format!("{path}.{name}"), self.line(&key.span()), problem);
        if name.contains('=') {
            return Err(error("has a = in its name, where none can be"));
        }
        let value = word(value.get_ref()).ok_or_else(|| error("takes a text"))?;
        Ok(format!("{name}={value}"))
    }

    fn misshapen(&self, path: String, line: usize, problem: &'static str) -> SettingError {
        SettingError::Shape { place: self.place_at(line), path, problem }
    }

    fn place(&self, span: Option<&Range<usize>>) -> String {
        match span {
            Some(span) => self.place_at(self.line(span)),
            None => self.path.display().to_string(),
        }
    }

    fn place_at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// A single value as a person would write it on a command line.
fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let (_, errors) = File::parse("l.toml".into(), text);
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn sections_and_values_of_all_shapes_are_read() {
        let text = "listen = [\"a\", 'b']\nopen = true\n\n[limits]\nbatch_events = 1_000\n[retention]\nmax_age = \"1h\"";
        let (file, errors) = File::parse("l.toml".into(), text);
        assert!(errors.is_empty(), "{errors:?}");
        for (path, words, line) in [
            ("listen", vec!["a", "b"], 1),
            ("open", vec!["true"], 2),
            ("limits.batch_events", vec!["1000"], 5),
            ("retention.max_age", vec!["1h"], 7),
        ] {
            let entry = &file.entries[path];
            assert_eq!(
                (&entry.words, entry.line),
                (&words.iter().map(ToString::to_string).collect(), line)
            );
        }
    }

    #[test]
    fn what_the_table_does_not_know_is_told_with_its_line_and_a_guess() {
        check(
            "data = 'x'\nlisten_on = 'y'\nheartbeat = '1s'\n\n[limits]\nevent_sise = 5\n[auth]\nkey = 1",
            expect![[r#"
                l.toml:7: there is no setting "auth"
                l.toml:3: there is no setting "heartbeat"; did you mean "delivery.heartbeat"?
                l.toml:6: there is no setting "limits.event_sise"; did you mean "limits.event_size"?
                l.toml:2: there is no setting "listen_on""#]],
        );
    }

    #[test]
    fn a_file_that_is_not_toml_is_told_with_its_line() {
        check(
            "data = 'x'\nopen = yes\n",
            expect!["l.toml:2: string values must be quoted, expected literal string"],
        );
        check("open = true\nopen = false\n", expect!["l.toml:2: duplicate key"]);
    }

    #[test]
    fn a_value_where_a_section_belongs_is_told_and_the_other_way_round() {
        check(
            "limits = 5\n[open]\nx = 1\n",
            expect![[r#"
            l.toml:1: "limits" is a section and takes no value
            l.toml:2: "open" takes a text, a number, true or false, or a list of texts"#]],
        );
        check(
            "data = 1.5\n",
            expect![[
                r#"l.toml:1: "data" takes a text, a number, true or false, or a list of texts"#
            ]],
        );
    }
}

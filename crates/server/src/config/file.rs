//! The TOML file with settings, read strictly: what the table does not know is an error with its line. Read [`File`].

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::TABLE;
use super::error::SettingError;
use super::resolve::nearest;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// By the path within the file: `retention.max_age`.
    pub(super) entries: HashMap<String, Entry>,
}

/// One value of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) words: Vec<String>,
    /// Counted from 1.
    pub(super) line: usize,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, apart from the values themselves.
    pub(super) fn read(path: PathBuf) -> Result<File, Vec<SettingError>> {
        match std::fs::read_to_string(&path) {
            Ok(text) => File::parse(path, &text),
            Err(source) => Err(vec![SettingError::Unreadable { path, source }]),
        }
    }

    fn parse(path: PathBuf, text: &str) -> Result<File, Vec<SettingError>> {
        let mut walk = Walk { path: &path, text, entries: HashMap::new(), errors: Vec::new() };
        match DeTable::parse(text) {
            Ok(table) => walk.table("", table.get_ref()),
            Err(error) => {
                let place = walk.place(error.span().as_ref());
                let message = error.message().to_owned();
                walk.errors.push(SettingError::Syntax { place, message });
            }
        }
        let Walk { entries, errors, .. } = walk;
        if errors.is_empty() { Ok(File { path, entries }) } else { Err(errors) }
    }
}

/// A walk through the file's tables.
struct Walk<'a> {
    path: &'a Path,
    text: &'a str,
    entries: HashMap<String, Entry>,
    errors: Vec<SettingError>,
}

impl Walk<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            let place = self.place(Some(&key.span()));
            let is_setting = TABLE.iter().any(|setting| setting.toml == Some(path.as_str()));
            let section = format!("{path}.");
            let is_section = known_paths().any(|known| known.starts_with(&section));
            match value.get_ref() {
                DeValue::Table(inner) if is_section => self.table(&section, inner),
                _ if is_section => {
                    let problem = "is a section and takes no value";
                    self.errors.push(SettingError::Shape { place, path, problem });
                }
                value if is_setting => self.setting(path, place, value, key.span()),
                _ => {
                    let nearest = nearest_path(&path);
                    self.errors.push(SettingError::Unknown { place, path, nearest });
                }
            }
        }
    }

    fn setting(&mut self, path: String, place: String, value: &DeValue<'_>, key: Range<usize>) {
        let words = match value {
            DeValue::Array(items) => items.iter().map(Spanned::get_ref).map(word).collect(),
            value => word(value).map(|word| vec![word]),
        };
        match words {
            Some(words) => {
                let line = self.line(&key);
                self.entries.insert(path, Entry { words, line });
            }
            None => {
                let problem = "takes a text, a number, true or false, or a list of texts";
                self.errors.push(SettingError::Shape { place, path, problem });
            }
        }
    }

    fn place(&self, span: Option<&Range<usize>>) -> String {
        match span {
            Some(span) => format!("{}:{}", self.path.display(), self.line(span)),
            None => self.path.display().to_string(),
        }
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

fn known_paths() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter_map(|setting| setting.toml)
}

/// The setting that an unknown path may mean: one spelled alike, or one of the same name in another section.
fn nearest_path(path: &str) -> Option<String> {
    let known: Vec<&str> = known_paths().collect();
    let last = |path: &str| path.rsplit('.').next().map(str::to_owned);
    let spelled_alike = nearest(path, known.iter());
    spelled_alike.or_else(|| {
        let name = last(path);
        let in_other_section = known.iter().find(|known| last(known) == name);
        let by_flag = || {
            let field = name.as_deref()?.replace('-', "_");
            TABLE.iter().find(|setting| setting.name == field)?.toml
        };
        in_other_section.copied().or_else(by_flag).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let errors = File::parse("l.toml".into(), text).expect_err("the file is wrong");
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn sections_and_values_of_all_shapes_are_read() {
        let text = "listen = [\"a\", 'b']\nopen = true\n\n[limits]\nbatch_events = 1_000\n[retention]\nmax_age = \"1h\"";
        let file = File::parse("l.toml".into(), text).unwrap();
        let entry = |words: &[&str], line| Entry {
            words: words.iter().map(ToString::to_string).collect(),
            line,
        };
        assert_eq!(file.entries["listen"], entry(&["a", "b"], 1));
        assert_eq!(file.entries["open"], entry(&["true"], 2));
        assert_eq!(file.entries["limits.batch_events"], entry(&["1000"], 5));
        assert_eq!(file.entries["retention.max_age"], entry(&["1h"], 7));
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

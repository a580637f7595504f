//! Settings on paper: the reference in Markdown ([`markdown`]) and what is in force here ([`effective`]).

use std::fmt::Write as _;

use super::{Setting, Shape, TABLE, capitalised};

/// The reference, as it stands in `docs/settings.md`.
pub(crate) fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    let mut section = None;
    for setting in TABLE {
        let this_section =
            setting.toml.and_then(|path| path.split_once('.')).map_or("", |(s, _)| s);
        if section != Some(this_section) {
            section = Some(this_section);
            let title = if this_section.is_empty() {
                "Server".to_owned()
            } else {
                capitalised(this_section)
            };
            // Writing to a String can't fail.
            let _ = write!(out, "\n## {title}\n{COLUMNS}");
        }
        push_row(&mut out, setting);
    }
    out
}

/// Every setting's value and where it came from, as a table.
pub(crate) fn effective(rows: &[(&'static Setting, String, String)]) -> String {
    let width = |column: fn(&(&Setting, String, String)) -> usize| {
        rows.iter().map(column).max().unwrap_or_default()
    };
    let (names, values) = (width(|row| row.0.name.len()), width(|row| row.1.len()));
    let mut out = String::new();
    for (setting, value, origin) in rows {
        let _ = writeln!(out, "{:names$}  {value:values$}  {origin}", setting.name);
    }
    out
}

fn push_row(out: &mut String, setting: &Setting) {
    let flag = setting.flag();
    let flag = match setting.shape {
        Shape::One => format!("`--{flag}` *{}*", setting.kind),
        Shape::Many => format!("`--{flag}` *{}*, repeatable", setting.kind),
        Shape::Switch => format!("`--{flag}`"),
    };
    let toml = setting.toml.map(|path| format!("`{path}`")).unwrap_or_default();
    let default = match setting.default {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    let bounds =
        setting.bounds.map(|(least, most)| format!(" ({least} to {most})")).unwrap_or_default();
    let _ = writeln!(
        out,
        "| {flag} | `{}` | {toml} | {default} | {}{bounds}. |",
        setting.env(),
        setting.help
    );
}

const INTRODUCTION: &str = "\
# Settings of `longwave serve`

<!-- Generated from crates/server/src/config/table.rs by `cargo xtask gen`. Change it there. -->

Every setting can be given as a flag, as an environment variable, or in a TOML file that `--config` names. Where it is
given more than once, the flag wins over the environment, and the environment over the file. `longwave settings` prints
what is in force and where each value came from.

Durations carry a unit (`500ms`, `15s`, `10m`, `24h`, `7d`), sizes may (`512KiB`, `64MiB`, `1GiB`). Lists are repeated
flags, commas in the environment, and arrays in the file. A file with a setting that is not listed here is refused.

```toml
listen = [\"127.0.0.1:4480\"]
data = \"/var/lib/longwave\"

[retention]
max_age = \"7d\"
max_bytes = \"20GiB\"
```
";
const COLUMNS: &str = "
| Flag | Environment | In the file | Default | Meaning |
|---|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_names_every_setting_in_all_its_spellings() {
        let reference = markdown();
        for setting in TABLE {
            for spelling in [format!("`--{}`", setting.flag()), format!("`{}`", setting.env())] {
                assert!(reference.contains(spelling.trim_end_matches('`')), "{spelling}");
            }
        }
    }

    #[test]
    fn the_reference_on_paper_is_that_of_the_table() {
        expect_test::expect_file!["../../../../docs/settings.md"].assert_eq(&markdown());
    }

    #[test]
    fn what_is_in_force_lines_up() {
        let Some(setting) = TABLE.first() else { panic!("the table is empty") };
        let rows = [
            (setting, "a".to_owned(), "default".to_owned()),
            (setting, "bb".to_owned(), "--x".to_owned()),
        ];
        assert_eq!(effective(&rows), "listen  a   default\nlisten  bb  --x\n");
    }
}

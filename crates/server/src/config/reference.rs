//! Settings on paper: the reference in Markdown ([`markdown`]) and what is in force here ([`effective`]).

use std::fmt::Write as _;

use super::route::{ROUTE_KEYS, RouteKey};
use super::{Row, Setting, Shape, TABLE, capitalised};

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
    out.push_str(ROUTES_INTRODUCTION);
    out.push_str(ROUTES_COLUMNS);
    for key in ROUTE_KEYS {
        push_key(&mut out, key);
    }
    out
}

/// Every setting's value and where it came from, as a table.
pub(crate) fn effective(rows: &[Row]) -> String {
    let width = |column: fn(&Row) -> &str| {
        rows.iter().map(|row| column(row).chars().count()).max().unwrap_or_default()
    };
    let (names, values) = (width(|row| &row.name), width(|row| &row.value));
    let mut out = String::new();
    for Row { name, value, origin } in rows {
        let _ = writeln!(out, "{name:names$}  {value:values$}  {origin}");
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
    let (default, bounds) = (default(setting.default), bounds(setting.bounds));
    let _ = writeln!(
        out,
        "| {flag} | `{}` | {toml} | {default} | {}{bounds}. |",
        setting.env(),
        setting.help
    );
}

fn push_key(out: &mut String, key: &RouteKey) {
    let default = key.default.map_or_else(|| "required".to_owned(), default);
    let (path, kind, help, bounds) = (key.path(), key.kind, key.help, bounds(key.bounds));
    let _ = writeln!(out, "| `{path}` | {kind} | {default} | {help}{bounds}. |");
}

fn default(default: &str) -> String {
    if default.is_empty() { String::new() } else { format!("`{default}`") }
}

fn bounds(bounds: Option<(&str, &str)>) -> String {
    bounds.map(|(least, most)| format!(" ({least} to {most})")).unwrap_or_default()
}

const INTRODUCTION: &str = "\
# Settings of `longwave serve`

<!-- Generated from table.rs and route.rs in crates/server/src/config by `cargo xtask gen`. Change it there. -->

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

const ROUTES_INTRODUCTION: &str = "
## Routes

A route of the gateway is a table of the file, `[[gateway.routes]]`, with the keys below. `--gateway` and
`LONGWAVE_GATEWAY` give a route with no more than prefix and upstream; everything else then is as by default. Such a route
stands in for the file's route of the same prefix, the whole of it: none of the file's keys apply, and headers that the
file adds go nowhere. The file's other routes stay. As with all lists, the flag wins over the variable. A URL with a comma
can stand in the file alone.

```toml
[gateway]
viewers = \"token\"

[[gateway.routes]]
prefix = \"/v1\"
upstream = \"https://api.openai.com/v1\"
dialect = \"auto\"
disconnect = { grace = \"30s\" }
retention = \"7d\"
allow = [\"POST /chat/completions\", \"POST /responses\", \"/responses/**\", \"GET /models\"]
headers.add = { authorization = \"Bearer env:OPENAI_API_KEY\", openai-organization = \"org-example\" }
headers.strip = [\"cookie\"]
timeouts = { connect = \"10s\", first_byte = \"5m\", idle = \"2m\", total = \"off\" }
```

A word `env:NAME` in the value of an added header stands for the environment variable `NAME`, which is read at the start,
so that a provider's key need not stand in the file. Values of added headers are never printed and never logged. An upstream
with a user, a password or a query is refused, for these would be shown; so is one that is this server itself. One on plain
http that is not on this machine is warned of: keys travel to it unencrypted.
";
const ROUTES_COLUMNS: &str = "
| Key | Kind | Default | Meaning |
|---|---|---|---|
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
    fn the_reference_names_every_key_of_a_route() {
        let reference = markdown();
        for key in ROUTE_KEYS {
            assert!(reference.contains(&format!("\n| `{}` | ", key.path())), "{}", key.name);
        }
    }

    #[test]
    fn the_reference_on_paper_is_that_of_the_table() {
        expect_test::expect_file!["../../../../docs/settings.md"].assert_eq(&markdown());
    }

    #[test]
    fn what_is_in_force_lines_up() {
        let row = |name: &str, value: &str, origin: &str| Row {
            name: name.to_owned(),
            value: value.to_owned(),
            origin: origin.to_owned(),
        };
        let rows = [row("listen", "a", "default"), row("log", "bb", "--x")];
        assert_eq!(effective(&rows), "listen  a   default\nlog     bb  --x\n");
    }
}

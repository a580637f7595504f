//! Rules about source files that neither rustfmt nor clippy knows.
//!
//! [`check`] looks at every file that git knows or would add; [`complaints_about`] judges one.

use std::path::Path;

use crate::process;

/// What is wrong, a sentence each.
///
/// # Errors
/// When git or a file can't be read.
pub(crate) fn check() -> anyhow::Result<Vec<String>> {
    let listing = process::output(process::command(
        "git",
        ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    ))?;
    let mut complaints = Vec::new();
    for path in listing.split('\0').filter(|path| !path.is_empty()) {
        // A file that was deleted but not yet committed is still listed.
        if !is_source(path) || !Path::new(path).is_file() {
            continue;
        }
        complaints.extend(complaints_about(path, &std::fs::read_to_string(path)?));
    }
    Ok(complaints)
}

fn complaints_about(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        complaints.push(format!("{path}: {lines} lines; split what has more than {LINES_MAX}"));
    }
    if path.ends_with(".rs") && !text.starts_with("//!") {
        complaints.push(format!("{path}:1: a file opens with `//!`, saying what it is"));
    }
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        for word in LEFT_OVERS {
            if line.contains(word) {
                complaints.push(format!("{path}:{number}: `{word}` was left over"));
            }
        }
        if line.contains(TO_DO) && !line.contains(&format!("{TO_DO}(#")) {
            complaints.push(format!("{path}:{number}: `{TO_DO}` names its issue: `{TO_DO}(#12)`"));
        }
    }
    complaints
}

fn is_source(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| SOURCES.contains(&extension))
}

const SOURCES: [&str; 7] = ["rs", "py", "js", "mjs", "ts", "html", "sh"];
const LINES_MAX: usize = 900;
// In two parts each, so that this file does not complain about itself.
const LEFT_OVERS: [&str; 4] =
    [concat!("FIX", "ME"), concat!("dbg", "!("), concat!("XX", "X:"), concat!("<<<", "<<<<")];
const TO_DO: &str = concat!("TO", "DO");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_within_the_rules_passes() {
        assert_eq!(complaints_about("a.rs", "//! A file.\nfn main() {}\n"), Vec::<String>::new());
        assert_eq!(complaints_about("a.py", "print(1)\n"), Vec::<String>::new());
    }

    #[test]
    fn every_rule_has_its_complaint() {
        let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(complaints_about("a.rs", &long).len(), 1);
        assert_eq!(complaints_about("a.rs", "fn main() {}").len(), 1);
        for word in LEFT_OVERS {
            assert_eq!(complaints_about("a.py", &format!("x = 1 # {word}")).len(), 1);
        }
        assert_eq!(complaints_about("a.py", &format!("# {TO_DO}: later")).len(), 1);
        assert_eq!(complaints_about("a.py", &format!("# {TO_DO}(#12): later")).len(), 0);
    }
}

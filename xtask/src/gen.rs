//! Generated files: `cargo xtask gen` writes them, and the checks compare them. What each holds is said by the program
//! that [`FILES`] names; start there.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// What to do about generated files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write them.
    Write,
    /// Compare them with what would be written.
    Check,
}

/// Writes or checks every generated file, relative to the current directory, which is the workspace's root. Returns the
/// paths that were written, or that a write would change.
///
/// # Errors
/// Where a generator fails or a file can't be read or written.
pub(crate) fn generate(mode: Mode) -> anyhow::Result<Vec<&'static str>> {
    let mut changed = Vec::new();
    for (path, arguments) in FILES {
        let text = longwave(arguments)?;
        let is_current = fs::read(path).is_ok_and(|current| current == text);
        if is_current {
            continue;
        }
        changed.push(*path);
        if mode == Mode::Write {
            fs::write(path, &text).with_context(|| format!("{path} can't be written"))?;
        }
    }
    Ok(changed)
}

/// What `longwave` prints with these arguments.
fn longwave(arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "longwave", "--bin", "longwave", "--"])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo can't be run")?;
    anyhow::ensure!(output.status.success(), "`longwave {}` failed", arguments.join(" "));
    Ok(output.stdout)
}

/// Each generated file, and what makes `longwave` print it.
const FILES: &[(&str, &[&str])] = &[("docs/settings.md", &["settings", "--reference"])];

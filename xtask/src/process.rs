//! Other programs: started with their arguments as a list, never through a shell.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// A program that this process may run, with its arguments.
///
/// Standard input is empty, so that nothing waits for somebody to type.
pub(crate) fn command<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// `cargo` as this process was started by, so that a toolchain chosen with `+` or a file is kept.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = command(&cargo, arguments);
    // What `cargo run` tells this process about its own package would make build scripts of others run again.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program whose output goes to the terminal.
///
/// # Errors
/// When it can't be started or says that it failed.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    let shown = show(&command);
    println!("  $ {shown}");
    let status = command.status().with_context(|| format!("`{shown}` could not be started"))?;
    anyhow::ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

/// Runs a program and returns what it wrote to standard output; what it wrote to standard error goes to the terminal.
///
/// # Errors
/// When it can't be started, says that it failed, or writes other than UTF-8.
pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let shown = show(&command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{shown}` could not be started"))?;
    anyhow::ensure!(output.status.success(), "`{shown}` failed ({})", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` wrote other than UTF-8"))
}

/// Runs a program, shows each line of its standard output and hands it to `line`; whether it succeeded.
///
/// # Errors
/// When it can't be started or its output can't be read.
pub(crate) fn watch(mut command: Command, mut line: impl FnMut(&str)) -> anyhow::Result<bool> {
    let shown = show(&command);
    println!("  $ {shown}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{shown}` could not be started"))?;
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).lines() {
            let text = text.with_context(|| format!("the output of `{shown}` can't be read"))?;
            println!("{text}");
            line(&text);
        }
    }
    Ok(child.wait()?.success())
}

/// Whether a program is found in `PATH`.
pub(crate) fn is_installed(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path)
        // Debian keeps daemons where only root's PATH leads.
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .any(|folder| folder.join(program).is_file())
}

/// The root of the repository.
///
/// # Errors
/// When this program was moved out of it.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(PathBuf::from)
        .context("xtask lies directly in the repository's root")
}

fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut shown = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for argument in command.get_args() {
        // Writing to a String does not fail.
        let _ = write!(shown, " {}", argument.to_string_lossy());
    }
    shown
}

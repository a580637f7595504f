//! What each step of `cargo xtask test` does.
//!
//! All that compile use the whole workspace's features (`--workspace`), and the dev profile, so that no dependency is
//! built twice.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::test::Tally;
use crate::{edges, r#gen, install, process, tidy};

pub(crate) fn format() -> anyhow::Result<Tally> {
    process::run(process::cargo(["fmt", "--all", "--check"]))?;
    Ok(Tally::PASSED)
}

pub(crate) fn tidy() -> anyhow::Result<Tally> {
    report(&tidy::check()?)
}

pub(crate) fn edges() -> anyhow::Result<Tally> {
    report(&edges::check()?)
}

pub(crate) fn deny() -> anyhow::Result<Tally> {
    install::cargo_tool("cargo-deny", install::CARGO_DENY_VERSION)?;
    process::run(process::cargo(["deny", "check", "licenses", "bans", "sources"]))?;
    Ok(Tally::PASSED)
}

pub(crate) fn clippy() -> anyhow::Result<Tally> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    process::run(process::cargo(arguments))?;
    Ok(Tally::PASSED)
}

pub(crate) fn docs() -> anyhow::Result<Tally> {
    let mut command = process::cargo(["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    process::run(command)?;
    Ok(Tally::PASSED)
}

/// Builds the codec for a microcontroller, which has no `std` to fall back on.
pub(crate) fn no_std() -> anyhow::Result<Tally> {
    install::rust_target(BARE_TARGET)?;
    let arguments =
        ["check", "--package", "longwave-sse", "--no-default-features", "--target", BARE_TARGET];
    process::run(process::cargo(arguments))?;
    Ok(Tally::PASSED)
}

pub(crate) fn unit() -> anyhow::Result<Tally> {
    nextest("not package(longwave-e2e)")
}

pub(crate) fn doctest() -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let succeeded = process::watch(process::cargo(["test", "--workspace", "--doc"]), |line| {
        let counted = doctest_counts(line);
        tally.passed += counted.passed;
        tally.failed += counted.failed;
    })?;
    Ok(honest(tally, succeeded))
}

/// Generated files are what their generators write today.
pub(crate) fn generated() -> anyhow::Result<Tally> {
    let stale = r#gen::generate(r#gen::Mode::Check)?;
    let complaint = |path: &&str| format!("{path} is not current; `cargo xtask gen` writes it");
    report(&stale.iter().map(complaint).collect::<Vec<_>>())
}

pub(crate) fn crash() -> anyhow::Result<Tally> {
    nextest(CRASH_TESTS)
}

pub(crate) fn clients() -> anyhow::Result<Tally> {
    install::debian(PROGRAMS)?;
    install::npm(Path::new("tests/clients"))?;
    install::python("clients", Path::new("tests/clients/requirements.txt"))?;
    nextest("package(longwave-e2e) and not test(/^(crash|gateway)::/)")
}

/// The official SDKs, with the clients of this repository that they are given.
pub(crate) fn sdk() -> anyhow::Result<Tally> {
    install::debian(PROGRAMS)?;
    install::npm(Path::new("web/client"))?;
    let mut build = process::command("npm", ["run", "build"]);
    build.current_dir("web/client");
    process::run(build)?;
    install::npm(Path::new("tests/sdk/js"))?;
    install::python("sdk", Path::new("tests/sdk/python/requirements.txt"))?;
    nextest("package(longwave-e2e) and test(/^gateway::/)")
}

/// The npm package: its types, and its tests in Node, Bun and Chromium, with the official clients and a real server.
pub(crate) fn web() -> anyhow::Result<Tally> {
    install::debian(&[("node", "nodejs"), ("npm", "npm"), ("chromium", "chromium")])?;
    build()?;
    npm_test(Path::new("web/client"))
}

/// The console: its types, and all its pages in Chromium, served by the server that the tests were built with.
/// Leaves screenshots in `target/screenshots`.
pub(crate) fn console() -> anyhow::Result<Tally> {
    install::debian(&[("node", "nodejs"), ("npm", "npm"), ("chromium", "chromium")])?;
    build()?;
    npm_test(Path::new("web/console"))
}

fn npm_test(folder: &Path) -> anyhow::Result<Tally> {
    install::npm(folder)?;
    let mut command = process::command("npm", ["test", "--silent"]);
    command.current_dir(folder);
    let mut tally = Tally::default();
    let succeeded = process::watch(command, |line| {
        let counted = node_test_counts(line);
        tally.passed += counted.passed;
        tally.failed += counted.failed;
    })?;
    anyhow::ensure!(!succeeded || tally.passed > 0, "no test of {} was run", folder.display());
    Ok(honest(tally, succeeded))
}

/// The Python package: its style, its types, and its tests with the official clients.
pub(crate) fn python() -> anyhow::Result<Tally> {
    install::debian(&[("python3", "python3-venv")])?;
    let interpreter = install::python("package", Path::new("python/requirements-test.txt"))?;
    let in_package = |arguments: &[&str]| {
        let mut command = process::command(&interpreter, ["-m"]);
        command.args(arguments).current_dir("python");
        command
    };
    process::run(in_package(&["ruff", "format", "--check", "--quiet"]))?;
    process::run(in_package(&["ruff", "check", "--quiet"]))?;
    process::run(in_package(&["mypy"]))?;
    let mut tally = Tally::default();
    let succeeded = process::watch(in_package(&["pytest", "--quiet"]), |line| {
        tally = pytest_counts(line).unwrap_or(tally);
    })?;
    anyhow::ensure!(tally != Tally::default(), "no test of the Python package was run");
    Ok(honest(tally, succeeded))
}

/// Fills a disk under the server, and cuts the power of one, where this process may mount them.
pub(crate) fn disk() -> anyhow::Result<Tally> {
    if !install::may_mount()? {
        println!(
            "  left out: it mounts disks, which takes root with CAP_SYS_ADMIN and loop devices"
        );
        return Ok(Tally::default());
    }
    install::debian(&[("mkfs.ext4", "e2fsprogs"), ("xfs_io", "xfsprogs")])?;
    nextest_with(
        "package(longwave-e2e) and test(/^(full_disk|power)::/)",
        &["--run-ignored", "only"],
    )
}

/// Runs every example with the server that the tests were built with.
pub(crate) fn examples() -> anyhow::Result<Tally> {
    install::debian(PROGRAMS)?;
    build()?;
    let mut tally = Tally::default();
    let arguments = ["examples/check.py", "--bin", "target/debug/longwave"];
    let succeeded = process::watch(process::command("python3", arguments), |line| {
        tally = summary_counts(line).unwrap_or(tally);
    })?;
    anyhow::ensure!(tally != Tally::default(), "no example was run");
    Ok(honest(tally, succeeded))
}

/// `cargo xtask gen`: writes the generated files.
///
/// # Errors
/// When a generator fails, or a file can't be written.
pub(crate) fn gen_run() -> anyhow::Result<ExitCode> {
    for path in r#gen::generate(r#gen::Mode::Write)? {
        println!("wrote {path}");
    }
    Ok(ExitCode::SUCCESS)
}

/// `cargo xtask crash`: the crash test alone, longer or with the seed of a run that failed.
///
/// # Errors
/// When the arguments are not understood or the tests can't be run.
pub(crate) fn crash_run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = nextest_command(CRASH_TESTS);
    command.args(["--profile", "long", "--no-capture"]);
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let variable = match flag.as_str() {
            "--count" => "LONGWAVE_CRASHES",
            "--seed" => "LONGWAVE_SEED",
            _ => anyhow::bail!("`{flag}` is none of --count N, --seed S"),
        };
        let value = rest.next().with_context(|| format!("{flag} needs a number"))?;
        let _: u64 = value.parse().with_context(|| format!("{flag} {value}"))?;
        command.env(variable, value);
    }
    process::run(command)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the tests that a filter selects. Features are the whole workspace's, so every filter shares one build, and
/// the server that the end-to-end tests start is the one of this source.
fn nextest(filter: &str) -> anyhow::Result<Tally> {
    nextest_with(filter, &[])
}

fn nextest_with(filter: &str, flags: &[&str]) -> anyhow::Result<Tally> {
    install::cargo_tool("cargo-nextest", install::CARGO_NEXTEST_VERSION)?;
    let junit = Path::new("target/nextest/default/junit.xml");
    match std::fs::remove_file(junit) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut command = nextest_command(filter);
    command.args(flags);
    let succeeded = process::run(command);
    let report = std::fs::read_to_string(junit);
    match (succeeded, report) {
        (succeeded, Ok(report)) => {
            let tally = junit_counts(&report).context("junit.xml has no counts")?;
            Ok(honest(tally, succeeded.is_ok()))
        }
        // Without a report it did not come to the tests: the build failed, or nothing matched.
        (Err(error), Err(_)) => Err(error),
        (Ok(()), Err(error)) => Err(error).context("the tests ran, but left no junit.xml"),
    }
}

fn nextest_command(filter: &str) -> Command {
    process::cargo(["nextest", "run", "--workspace", "--no-tests", "fail", "-E", filter])
}

/// Builds the server and all tests, as every run of tests does, without running any.
fn build() -> anyhow::Result<()> {
    install::cargo_tool("cargo-nextest", install::CARGO_NEXTEST_VERSION)?;
    process::run(process::cargo(["nextest", "run", "--workspace", "--no-run"]))
}

/// The counts of a line `3 passed, 0 failed`; `None` for any other line.
fn summary_counts(line: &str) -> Option<Tally> {
    let (passed, failed) = line.split_once(" passed, ")?;
    let failed = failed.strip_suffix(" failed")?;
    Some(Tally { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
}

/// The counts of `<testsuites name=… tests="7" failures="1" errors="0" …>`.
fn junit_counts(report: &str) -> Option<Tally> {
    let start = report.find("<testsuites ")?;
    let tag = report.get(start..)?.split_once('>')?.0;
    let attribute = |name: &str| -> Option<u64> {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        rest.split_once('"')?.0.parse().ok()
    };
    let failed = attribute("failures")? + attribute("errors")?;
    Some(Tally { passed: attribute("tests")?.checked_sub(failed)?, failed })
}

/// The counts of rustdoc's `test result: ok. 3 passed; 0 failed; …`; none for any other line.
fn doctest_counts(line: &str) -> Tally {
    let Some(rest) = line.strip_prefix("test result: ") else { return Tally::default() };
    let count = |word: &str| -> u64 {
        let words: Vec<&str> = rest.split([' ', ';', '.']).collect();
        let at = words.iter().position(|candidate| *candidate == word);
        at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
    };
    Tally { passed: count("passed"), failed: count("failed") }
}

/// The count of one of node's last lines, `# pass 3` or `ℹ fail 0`; none for any other line.
fn node_test_counts(line: &str) -> Tally {
    let summary = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")).unwrap_or_default();
    let count = |word: &str| -> u64 {
        let count = summary.strip_prefix(word).and_then(|rest| rest.strip_prefix(' '));
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    // What its parent's time limit ended is cancelled, not failed.
    Tally { passed: count("pass"), failed: count("fail") + count("cancelled") }
}

/// The counts of pytest's last line, `1 failed, 3 passed, 2 errors in 0.50s`; `None` for any other line.
fn pytest_counts(line: &str) -> Option<Tally> {
    let (counts, _) = line.trim_matches(['=', ' ']).rsplit_once(" in ")?;
    let mut tally = Tally::default();
    for part in counts.split(", ") {
        let (count, word) = part.split_once(' ')?;
        let count: u64 = count.parse().ok()?;
        match word {
            "passed" => tally.passed += count,
            "failed" | "error" | "errors" => tally.failed += count,
            _ => {}
        }
    }
    Some(tally)
}

/// A run that failed as a whole never counts as passed, whatever it counted.
fn honest(tally: Tally, succeeded: bool) -> Tally {
    match succeeded {
        false if tally.failed == 0 => Tally { failed: 1, ..tally },
        _ => tally,
    }
}

fn report(complaints: &[String]) -> anyhow::Result<Tally> {
    for complaint in complaints {
        println!("  {complaint}");
    }
    anyhow::ensure!(complaints.is_empty(), "{} complaints", complaints.len());
    Ok(Tally::PASSED)
}

/// Programs that tests start, and the Debian packages that bring them.
const PROGRAMS: &[(&str, &str)] = &[
    ("chromium", "chromium"),
    ("nginx", "nginx"),
    ("haproxy", "haproxy"),
    ("curl", "curl"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3-venv"),
];
const CRASH_TESTS: &str = "package(longwave-e2e) and test(/^crash::/)";
const BARE_TARGET: &str = "thumbv7em-none-eabi";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_junit_report_are_read() {
        let report = r#"<?xml version="1.0"?>
<testsuites name="nextest-run" tests="7" failures="1" errors="1" uuid="x" time="0.1">"#;
        assert_eq!(junit_counts(report), Some(Tally { passed: 5, failed: 2 }));
        assert_eq!(junit_counts("<nothing/>"), None);
    }

    #[test]
    fn the_counts_of_doc_tests_are_read() {
        let line = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(doctest_counts(line), Tally { passed: 3, failed: 2 });
        assert_eq!(doctest_counts("running 5 tests"), Tally::default());
    }

    #[test]
    fn the_counts_of_node_are_read_in_both_its_formats() {
        assert_eq!(node_test_counts("# pass 76"), Tally { passed: 76, failed: 0 });
        assert_eq!(node_test_counts("ℹ fail 2"), Tally { passed: 0, failed: 2 });
        assert_eq!(node_test_counts("# cancelled 1"), Tally { passed: 0, failed: 1 });
        assert_eq!(node_test_counts("# Subtest: pass 3"), Tally::default());
        assert_eq!(node_test_counts("ok 1 - fail 2"), Tally::default());
    }

    #[test]
    fn the_counts_of_the_examples_are_read() {
        assert_eq!(summary_counts("9 passed, 1 failed"), Some(Tally { passed: 9, failed: 1 }));
        assert_eq!(summary_counts("ok chat (3 s)"), None);
    }

    #[test]
    fn the_counts_of_pytest_are_read() {
        let counts = pytest_counts("1 failed, 3 passed, 1 skipped, 2 errors in 61.50s (0:01:01)");
        assert_eq!(counts, Some(Tally { passed: 3, failed: 3 }));
        assert_eq!(pytest_counts("98 passed in 0.5s"), Some(Tally { passed: 98, failed: 0 }));
        assert_eq!(pytest_counts("the answer came in pieces"), None);
    }

    #[test]
    fn a_failed_run_without_a_failed_test_still_fails() {
        let counted = Tally { passed: 3, failed: 0 };
        assert_eq!(honest(counted, false), Tally { passed: 3, failed: 1 });
        assert_eq!(honest(counted, true), counted);
    }
}

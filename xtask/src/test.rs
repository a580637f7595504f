//! `cargo xtask test`: runs the steps, goes on after one that failed, and says at the end how it went.
//!
//! [`STEPS`] is the list; what each does is in [`crate::steps`].

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::steps;

/// One part of the checks.
pub(crate) struct Step {
    /// What selects it on the command line.
    pub(crate) name: &'static str,
    /// What it checks.
    pub(crate) about: &'static str,
    /// Checks it. An error fails the step: one that could not run at all never counts as passed.
    run: fn() -> anyhow::Result<Tally>,
}

/// How many checks of a step passed and failed: tests where the step runs tests, else the step itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// The step is one check, and it passed.
    pub(crate) const PASSED: Tally = Tally { passed: 1, failed: 0 };
    /// The step is one check, and it failed.
    pub(crate) const FAILED: Tally = Tally { passed: 0, failed: 1 };
}

/// All steps, in the order they run: what fails fastest comes first.
pub(crate) const STEPS: &[Step] = &[
    step("format", "rustfmt has nothing to change", steps::format),
    step("tidy", "file lengths, opening lines, left-overs", steps::tidy),
    step("edges", "crates depend on what they may, and inherit", steps::edges),
    step("deny", "licences, bans and sources of dependencies", steps::deny),
    step("clippy", "no warning in any target", steps::clippy),
    step("docs", "rustdoc has no warning", steps::docs),
    step("no-std", "longwave-sse builds where there is no std", steps::no_std),
    step("unit", "unit, property and integration tests", steps::unit),
    step("doctest", "examples in the documentation", steps::doctest),
    step("gen", "generated files are current", steps::generated),
    step("python", "the Python package, with the official clients", steps::python),
    step("crash", "the server is killed under load, again and again", steps::crash),
    step(
        "disk",
        "a disk fills up, and one loses its power under load, again and again",
        steps::disk,
    ),
    step("clients", "real clients, directly and through real proxies", steps::clients),
    step("web", "the npm package, with the official clients", steps::web),
    step("console", "the console's pages in Chromium", steps::console),
    step("sdk", "the official SDKs of LLM providers, through the gateway and cuts", steps::sdk),
    step("examples", "every example does what it says", steps::examples),
];

/// Runs the steps that `arguments` names, or all.
///
/// # Errors
/// When a step is named that there isn't.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if arguments.iter().any(|argument| argument == "--list") {
        for step in STEPS {
            println!("{:<10} {}", step.name, step.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose(arguments)?;
    let mut outcomes = Vec::with_capacity(chosen.len());
    let started = Instant::now();
    for (index, step) in chosen.iter().enumerate() {
        println!("\n[{}/{}] {}: {}", index + 1, chosen.len(), step.name, step.about);
        let step_started = Instant::now();
        let tally = (step.run)().unwrap_or_else(|error| {
            println!("  {error:#}");
            Tally::FAILED
        });
        outcomes.push((step.name, tally, step_started.elapsed()));
    }
    Ok(summarise(&outcomes, started.elapsed()))
}

const fn step(name: &'static str, about: &'static str, run: fn() -> anyhow::Result<Tally>) -> Step {
    Step { name, about, run }
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Step>> {
    if names.is_empty() {
        return Ok(STEPS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            STEPS.iter().find(|step| step.name == name).ok_or_else(|| {
                anyhow::anyhow!("there is no step `{name}`; `cargo xtask test --list` names them")
            })
        })
        .collect()
}

fn summarise(outcomes: &[(&str, Tally, Duration)], took: Duration) -> ExitCode {
    println!();
    let mut total = Tally::default();
    for (name, tally, took) in outcomes {
        let word = if tally.failed == 0 { "ok" } else { "FAILED" };
        let counts = format!("{} passed, {} failed", tally.passed, tally.failed);
        println!("{name:<10} {word:<7} {counts:<24} {:>7.1} s", took.as_secs_f64());
        total.passed += tally.passed;
        total.failed += tally.failed;
    }
    println!("{:<43} {:>7.1} s\n", "all", took.as_secs_f64());
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_can_be_chosen_by_its_name_and_only_so() {
        for step in STEPS {
            let chosen = choose(&[step.name.to_owned()]).unwrap();
            assert_eq!(chosen.len(), 1);
            assert_eq!(chosen[0].about, step.about);
        }
        assert!(choose(&["no such step".to_owned()]).is_err());
        assert_eq!(choose(&[]).unwrap().len(), STEPS.len());
    }
}

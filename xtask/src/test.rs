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
    Step { name: "format", about: "rustfmt has nothing to change", run: steps::format },
    Step { name: "tidy", about: "file lengths, opening lines, left-overs", run: steps::tidy },
    Step { name: "edges", about: "crates depend on what they may, and inherit", run: steps::edges },
    Step { name: "deny", about: "licences, bans and sources of dependencies", run: steps::deny },
    Step { name: "clippy", about: "no warning in any target", run: steps::clippy },
    Step { name: "docs", about: "rustdoc has no warning", run: steps::docs },
    Step { name: "no-std", about: "longwave-sse builds where there is no std", run: steps::no_std },
    Step { name: "unit", about: "unit, property and integration tests", run: steps::unit },
    Step { name: "doctest", about: "examples in the documentation", run: steps::doctest },
    Step {
        name: "crash",
        about: "the server is killed under load, again and again",
        run: steps::crash,
    },
    Step {
        name: "clients",
        about: "real clients, directly and through real proxies",
        run: steps::clients,
    },
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

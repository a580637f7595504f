//! `cargo xtask`: the commands that a contributor and continuous integration run.
//!
//! What the checks are is the table [`test::STEPS`]; start there. Nothing of this is part of what gets published.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its terminal")]

mod bench;
mod edges;
mod r#gen;
mod install;
mod process;
mod steps;
mod test;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    std::env::set_current_dir(process::root()?)?;
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        Some("test") => test::run(rest),
        Some("bench") => bench::run(rest),
        Some("gen") => steps::gen_run(),
        Some("crash") => steps::crash_run(rest),
        Some("help" | "--help" | "-h") | None => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => anyhow::bail!("there is no command `{other}`\n\n{USAGE}"),
    }
}

const USAGE: &str = "\
usage: cargo xtask <command>

  test [STEP…]                   every check that has to pass, or only these steps
  test --list                    the steps
  bench [FLAG…]                  measure Longwave beside a floor and its peers; --help tells the flags
  gen                            write the generated files
  crash [--count N] [--seed S]   kill the server N times under load, with this seed";

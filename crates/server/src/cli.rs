//! The commands. Here is what they have in common: the command line as a whole, and how a command ends.
//!
//! Start with [`Cli`]; each command is in the file of its name.

mod bench;
mod doctor;
mod failure;
mod flags;
mod open_files;
mod output;
mod publish;
mod remote;
mod serve;
mod settings;
mod tail;
mod topics;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
use flags::SettingFlags;

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(flags) => serve::run(flags),
        Command::Publish(args) => block_on(publish::run(args)),
        Command::Tail(args) => block_on(tail::run(args)),
        Command::Topics(args) => block_on(topics::list(args)),
        Command::Info(args) => block_on(topics::info(args)),
        Command::Doctor(args) => block_on(doctor::run(args)),
        Command::Bench(args) => block_on(bench::run(args)),
        Command::Settings(args) => settings::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Durable, resumable streams over plain HTTP.
///
/// Without a command it serves: on 127.0.0.1:4480, with its data in ./longwave-data.
#[derive(Debug, Parser)]
#[command(name = "longwave", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Try it:\n  longwave                     serve\n  longwave tail news           follow a topic\n  longwave publish news hello  publish to it"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: SettingFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Serve(SettingFlags),
    /// Publish an event, or each line of a stream as one.
    Publish(publish::PublishArgs),
    /// Follow topics, or any server's event stream by its URL.
    Tail(tail::TailArgs),
    /// List topics.
    Topics(topics::TopicsArgs),
    /// Tell all about a topic.
    Info(topics::InfoArgs),
    /// Check the limits of this machine, or what stands before a URL, and say the fix.
    Doctor(doctor::DoctorArgs),
    /// Load a server, and tell what was delivered, how fast, and at what cost.
    Bench(bench::BenchArgs),
    /// Print the settings of `serve` that are in force, and where each came from.
    Settings(settings::SettingsArgs),
}

fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(command);
    // A thread that waits for standard input can't be stopped, and nobody waits for it any more.
    runtime.shutdown_background();
    result
}

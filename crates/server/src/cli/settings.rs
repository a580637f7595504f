//! `longwave settings`: what is in force, and the reference of all there is.

use clap::Args;

use super::failure::Failure;
use super::flags::SettingFlags;
use super::output::print;
use crate::config::{Settings, Sources, effective, markdown};

/// Flags of `longwave settings`.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// Print the reference of all settings in Markdown instead.
    #[arg(long)]
    reference: bool,
    #[command(flatten)]
    flags: SettingFlags,
}

pub(crate) fn run(args: SettingsArgs) -> Result<(), Failure> {
    if args.reference {
        return Ok(print(markdown().as_bytes())?);
    }
    let sources = Sources::of_process(args.flags.words);
    let settings = Settings::resolve(&sources).map_err(Failure::usage)?;
    Ok(print(effective(&settings.rows()).as_bytes())?)
}

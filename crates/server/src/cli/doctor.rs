//! `longwave doctor`: what bites when many clients connect, or when a proxy stands in between, and what to do about it.
//!
//! Without a URL it looks at this machine (`machine.rs`); with one, at what comes back from there (`probe.rs`).

mod machine;
mod probe;
mod verdict;

use std::time::Duration;

use clap::Args;
use longwave_client::Url;

use self::verdict::{Finding, Level};
use super::failure::Failure;
use super::output::print;
use super::remote::RemoteArgs;
use crate::config::parse_duration;

/// Arguments of `longwave doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longwave doctor\n  longwave doctor https://example.com/topics/news\n  longwave doctor https://example.com         a Longwave server: also publishes, to measure buffering"
)]
pub(crate) struct DoctorArgs {
    /// An event stream, or the base address of a Longwave server, as clients reach it: through all proxies.
    url: Option<String>,
    /// How many clients this machine should serve.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    clients: u64,
    /// How long to wait for a sign of life.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_duration)]
    wait: Duration,
    /// Print a JSON line for each finding.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: DoctorArgs) -> Result<(), Failure> {
    let findings = match &args.url {
        None => machine::examine(args.clients),
        Some(url) => {
            let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let url = url.ok_or_else(|| {
                Failure::usage(anyhow::anyhow!("the URL must begin with http:// or https://"))
            })?;
            probe::examine(&args.remote, url, args.wait).await
        }
    };
    let mut text = String::new();
    for finding in &findings {
        text.push_str(&if args.json { finding.to_json()? } else { finding.to_text() });
    }
    print(text.as_bytes())?;
    let bad = findings.iter().filter(|finding| finding.level == Level::Bad).count();
    if bad > 0 {
        return Err(Failure::message(format!("{bad} of {} checks failed", findings.len())));
    }
    Ok(())
}

/// A finding that all is well.
fn good(check: &'static str, what: impl Into<String>) -> Finding {
    Finding { level: Level::Good, check, what: what.into(), fix: None }
}

/// A finding that may be meant so.
fn doubtful(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { level: Level::Doubtful, check, what: what.into(), fix: Some(fix.into()) }
}

/// A finding that something is wrong.
fn bad(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { level: Level::Bad, check, what: what.into(), fix: Some(fix.into()) }
}

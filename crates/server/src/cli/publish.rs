//! `longwave publish`: one event, a file, standard input, or each line of it as it comes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use longwave_client::{Client, EndReason, Message, Progress};
use tokio::sync::{mpsc, watch};

use super::failure::Failure;
use super::output::{counted, note, print, state};
use super::remote::RemoteArgs;
use crate::config::parse_duration;

/// Arguments of `longwave publish`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longwave publish news 'hello, world'\n  echo '{\"price\": 102}' | longwave publish --json --type price prices\n  tail -F app.log | longwave publish --lines app\n  longwave publish --end jobs/7"
)]
pub(crate) struct PublishArgs {
    /// Where to.
    topic: String,
    /// What. Standard input where it is left out, or `-`.
    #[arg(group = "source")]
    data: Option<String>,
    /// Publish a file's content.
    #[arg(long, value_name = "PATH", group = "source")]
    file: Option<PathBuf>,
    /// Publish each line as an event, as soon as it is read; through restarts of the server, each once and in order.
    #[arg(long)]
    lines: bool,
    /// Type of the event or events.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Check that the data is JSON, and publish it as such.
    #[arg(long)]
    json: bool,
    /// Name the publish: a second one under this name is a duplicate and adds nothing. With `--lines`, line 7 has the
    /// name KEY-7.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// End the topic behind it: done, error, cancelled, truncated, timeout or crashed. Without data, end it only.
    #[arg(long, value_name = "REASON", num_args = 0..=1, require_equals = true, default_missing_value = "done")]
    #[arg(value_parser = parse_end)]
    end: Option<EndReason>,
    /// How long to try again when the server is not there.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    retry_for: Duration,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: PublishArgs) -> Result<(), Failure> {
    let client = args.remote.client()?;
    if args.lines {
        return publish_lines(&args, &client).await;
    }
    let is_end_only = args.end.is_some() && args.data.is_none() && args.file.is_none();
    let mut publish = if is_end_only {
        client.end(&args.topic, EndReason::Done)
    } else {
        let data = read_whole(&args)?;
        client.publish(&args.topic, message(&args, data).map_err(|error| not_json(&error, None))?)
    };
    if let Some(reason) = args.end {
        publish = publish.end(reason);
    }
    if let Some(key) = &args.key {
        publish = publish.key(key);
    }
    let receipt = publish
        .retry_for(args.retry_for)
        .send()
        .await
        .map_err(|error| args.remote.publish_failure(error))?;
    Ok(print(format!("{}\n", receipt.last).as_bytes())?)
}

/// Follows the input to its end, or until the user has enough.
async fn publish_lines(args: &PublishArgs, client: &Client) -> Result<(), Failure> {
    let publisher = client.publisher(&args.topic)?;
    tokio::spawn(tell_troubles(publisher.progress()));
    let mut lines = read_lines(open(args)?);
    let mut number = 0_u64;
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(line) = line else { break };
        number += 1;
        let line = without_line_end(line.context("the input can't be read")?);
        let mut message = message(args, line).map_err(|error| not_json(&error, Some(number)))?;
        if let Some(key) = &args.key {
            message = message.key(format!("{key}-{number}"));
        }
        if publisher.push(message).await.is_err() {
            break;
        }
    }
    let progress = tokio::select! {
        progress = publisher.finish() => progress,
        _ = tokio::signal::ctrl_c() => return Err(Failure::message("interrupted before all lines were published")),
    };
    let progress = progress.map_err(|error| args.remote.publish_failure(error))?;
    if let Some(reason) = args.end {
        let end = client.end(&args.topic, reason).send().await;
        end.map_err(|error| args.remote.publish_failure(error))?;
    }
    note(format_args!("published {}", counted(progress.acknowledged, "line")));
    Ok(())
}

/// Says on standard error when lines begin to wait, and when they no longer do.
async fn tell_troubles(mut progress: watch::Receiver<Progress>) {
    let mut told: Option<String> = None;
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        if now.trouble == told {
            continue;
        }
        match &now.trouble {
            Some(trouble) => state(format_args!("{trouble}; keeping lines, and trying again")),
            None => state("publishing again"),
        }
        told = now.trouble;
    }
}

/// The lines of an input as they come, with their ends, read on a thread of their own.
fn read_lines(mut input: Box<dyn BufRead + Send>) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            let read = input.read_until(b'\n', &mut line);
            let is_last = !matches!(read, Ok(bytes) if bytes > 0);
            let next = match read {
                Ok(0) => break,
                Ok(_) => Ok(line),
                Err(error) => Err(error),
            };
            if sender.blocking_send(next).is_err() || is_last {
                break;
            }
        }
    });
    receiver
}

fn read_whole(args: &PublishArgs) -> Result<Vec<u8>, Failure> {
    if let Some(data) = args.data.as_ref().filter(|data| *data != "-") {
        return Ok(data.clone().into_bytes());
    }
    let mut data = Vec::new();
    open(args)?.read_to_end(&mut data).context("the input can't be read")?;
    // More likely a command in front that failed than an event meant to be empty. An empty line is one that is meant.
    if data.is_empty() && args.file.is_none() {
        return Err(Failure::message("standard input is empty: nothing was published")
            .hint(format!("`longwave publish {} ''` publishes an empty event", args.topic)));
    }
    // `echo hello | longwave publish news` means the same as `longwave publish news hello`.
    Ok(if args.file.is_some() { data } else { without_line_end(data) })
}

fn open(args: &PublishArgs) -> Result<Box<dyn BufRead + Send>, Failure> {
    match (&args.file, args.data.as_deref()) {
        (Some(path), _) => {
            let file = File::open(path);
            let file = file.with_context(|| format!("{} can't be read", path.display()))?;
            Ok(Box::new(BufReader::new(file)))
        }
        (None, Some(data)) if data != "-" => Ok(Box::new(Cursor::new(data.to_owned()))),
        _ => {
            if io::stdin().is_terminal() {
                note("reading from the terminal; end with Ctrl-D");
            }
            Ok(Box::new(BufReader::new(io::stdin())))
        }
    }
}

/// Text where it is UTF-8, bytes where not: nothing is changed or lost.
fn message(args: &PublishArgs, data: Vec<u8>) -> Result<Message, serde_json::Error> {
    let message = match String::from_utf8(data) {
        Ok(text) if args.json => Message::raw_json(text)?,
        Ok(text) => Message::text(text),
        Err(error) if args.json => {
            serde_json::from_slice::<serde::de::IgnoredAny>(error.as_bytes())?;
            Message::binary(error.into_bytes())
        }
        Err(error) => Message::binary(error.into_bytes()),
    };
    Ok(match &args.event_type {
        Some(event_type) => message.event_type(event_type),
        None => message,
    })
}

fn not_json(error: &serde_json::Error, line: Option<u64>) -> Failure {
    let what = line.map_or("the data".to_owned(), |line| format!("line {line}"));
    Failure::new(anyhow::anyhow!("{what} is not JSON: {error}"))
        .hint("leave out --json to publish it as text")
}

fn without_line_end(mut line: Vec<u8>) -> Vec<u8> {
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    line
}

fn parse_end(text: &str) -> Result<EndReason, String> {
    EndReason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == text)
        .ok_or_else(|| "expected done, error, cancelled, truncated, timeout or crashed".to_owned())
}

/// Lines that are read before they are needed.
const LINES_AHEAD: usize = 256;

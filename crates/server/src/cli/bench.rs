//! `longwave bench`: loads a server with subscribers and events, and counts what became of them.
//!
//! Published is at a fixed rate, whatever the server takes for it, so that a slow server shows as latency and not as
//! less load. Latency is counted from the moment an event was due to be published. With `--publishers` it is as fast as
//! so many publishers are acknowledged, which shows what the server can take. Start with [`run`].

mod load;
mod process;
mod publishers;
mod report;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use longwave_client::{Client, SubscribeError};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use self::load::Load;
use self::process::{ServerProcess, Usage};
use self::publishers::PublishersError;
use self::report::Report;
use super::failure::Failure;
use super::open_files::raise_open_files;
use super::output::{note, print};
use super::remote::RemoteArgs;
use crate::config::parse_duration;

/// Arguments of `longwave bench`.
#[derive(Debug, Args)]
#[command(after_help = "Run it against a server that nobody else uses.")]
pub(crate) struct BenchArgs {
    /// How many subscribers.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    subscribers: u32,
    /// How many events are published a second.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Instead of at a rate, publish as fast as so many publishers are acknowledged, each one event at a time.
    #[arg(long, value_name = "N", conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    publishers: Option<u32>,
    /// How many bytes of data an event has.
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(32..=1_000_000))]
    size: u32,
    /// How long events are published.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// The topic. Unless named, one of its own, which is deleted at the end.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: BenchArgs) -> Result<(), Failure> {
    raise_open_files();
    let client = args.remote.client()?;
    let topic = args.topic.clone().unwrap_or_else(|| format!("bench/{}", std::process::id()));
    let events = match args.publishers {
        Some(_) => EVENTS_MAX,
        None => events_at_rate(&args)?,
    };
    let load = Arc::new(Load::new(client.clone(), topic.clone(), args.size)?);

    let process = ServerProcess::of(client.base());
    let before = process.as_ref().and_then(ServerProcess::usage);
    connect(&args, &load).await?;
    let connected = process.as_ref().and_then(ServerProcess::usage);
    let took = match args.publishers {
        Some(publishers) => {
            let target =
                publishers::Target::new(&client.topic_url(&topic)?, args.remote.token.as_deref());
            let run = async { publishers::run(&load, target?, publishers, args.duration).await };
            run.await.map_err(|error| publishers_failure(&args, error))?
        }
        None => publish(&args, &load, events).await,
    };
    drain(&args, &load).await;
    let after = process.as_ref().and_then(ServerProcess::usage);

    let report = Report::new(&args, &load, took, Usages { before, connected, after });
    let text = if args.json { report.to_json()? } else { report.to_text() };
    print(text.as_bytes())?;
    if args.topic.is_none() {
        delete(&client, &topic).await;
    }
    if report.lost > 0 || report.duplicates > 0 {
        return Err(Failure::message(format!(
            "{} events were lost and {} came twice",
            report.lost, report.duplicates
        )));
    }
    Ok(())
}

/// How many events a rate makes.
fn events_at_rate(args: &BenchArgs) -> Result<usize, Failure> {
    let events = (f64::from(args.rate) * args.duration.as_secs_f64()).round();
    // A whole number in text, so that one too large does not become another.
    match events.to_string().parse::<usize>() {
        Ok(events @ 1..=EVENTS_MAX) => Ok(events),
        _ => Err(Failure::usage(anyhow::anyhow!("rate times duration makes {events} events"))
            .hint(format!("between 1 and {EVENTS_MAX} are possible"))),
    }
}

/// What the server's process had used, where it runs on this machine.
pub(super) struct Usages {
    pub(super) before: Option<Usage>,
    pub(super) connected: Option<Usage>,
    pub(super) after: Option<Usage>,
}

/// Opens all subscriptions, and returns when each stands.
async fn connect(args: &BenchArgs, load: &Arc<Load>) -> Result<(), Failure> {
    let bar = progress_bar(u64::from(args.subscribers), "connecting");
    for _ in 0..args.subscribers {
        load.subscribe().map_err(|error| args.remote.subscribe_failure(error))?;
    }
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        let open = load.open_subscribers();
        bar.set_position(open as u64);
        if open >= args.subscribers as usize {
            break bar.finish_and_clear();
        }
        if let Some(error) = load.failure() {
            return Err(connect_failure(args, error, open));
        }
        if Instant::now() > deadline {
            return Err(Failure::message(format!(
                "only {open} of {} subscribers could connect",
                args.subscribers
            ))
            .hint("`longwave doctor` shows the limits of this machine"));
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

fn connect_failure(args: &BenchArgs, error: load::SubscriberError, open: usize) -> Failure {
    match error {
        load::SubscriberError::Subscribe(error) => args.remote.subscribe_failure(error),
        load::SubscriberError::Unreachable(why) if open == 0 => {
            Failure::message(format!("can't connect to {}: {why}", args.remote.server))
                .hint(args.remote.unreachable_hint())
        }
        load::SubscriberError::Unreachable(why) => {
            Failure::message(format!("{open} subscribers connected, the next could not: {why}"))
                .hint("`longwave doctor` shows the limits of this machine")
        }
    }
}

fn publishers_failure(args: &BenchArgs, error: PublishersError) -> Failure {
    match error {
        PublishersError::Connect { connected: 0, source } => {
            Failure::new(source.context(format!("can't connect to {}", args.remote.server)))
                .hint(args.remote.unreachable_hint())
        }
        PublishersError::Connect { .. } => {
            Failure::new(error).hint("`longwave doctor` shows the limits of this machine")
        }
        error => Failure::usage(error),
    }
}

/// Publishes at the rate asked for, and returns when all has been sent and answered: how long that took.
async fn publish(args: &BenchArgs, load: &Arc<Load>, events: usize) -> Duration {
    let bar = progress_bar(events as u64, "publishing");
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let started = Instant::now();
    let period = Duration::from_secs(1) / args.rate;
    let mut number = 0;
    while number < events {
        ticks.tick().await;
        let now = Instant::now();
        while number < events {
            let due = started + period.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
            if due > now {
                break;
            }
            load.publish(number, due).await;
            number += 1;
        }
        bar.set_position(number as u64);
    }
    load.all_answered().await;
    bar.finish_and_clear();
    started.elapsed()
}

/// Waits for what is still on its way, for as long as something comes.
async fn drain(args: &BenchArgs, load: &Arc<Load>) {
    let expected = load.acknowledged() * args.subscribers as usize;
    let mut delivered = load.delivered();
    while delivered < expected {
        sleep(DRAIN_STEP).await;
        let now = load.delivered();
        if now == delivered {
            note("some events did not come within 3 s of the last");
            break;
        }
        delivered = now;
    }
}

async fn delete(client: &Client, topic: &str) {
    if !matches!(timeout(DRAIN_STEP, client.delete_topic(topic)).await, Ok(Ok(()))) {
        note(format_args!("the topic {topic} could not be deleted"));
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(length: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg:10} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.with_message(what)
}

impl From<SubscribeError> for load::SubscriberError {
    fn from(error: SubscribeError) -> Self {
        load::SubscriberError::Subscribe(error)
    }
}

/// Each has a bit for every subscriber.
const EVENTS_MAX: usize = 10_000_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(1);
const DRAIN_STEP: Duration = Duration::from_secs(3);

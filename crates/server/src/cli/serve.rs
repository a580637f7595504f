//! `longwave serve`: opens the log, starts the server, and takes it down in order.
//!
//! How the log comes from another process, or goes to one, is in `takeover.rs`; what the start has to do with the
//! gateway's routes, in `gateway.rs`.

mod gateway;
mod takeover;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use longwave::http::HttpOptions;
use longwave::{Listeners, Server, reachable};
use longwave_core::LogRetention;
use longwave_store::{Log, MemoryLog, MemoryOptions, OpenError, SegmentLog, SegmentOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use self::takeover::{CLOSE_WAIT, Claim, Heir, Heirs, LOCK_WAIT, Yielded, bind_when_free};
use super::failure::Failure;
use super::flags::SettingFlags;
use super::open_files::raise_open_files;
use super::output::print;
use crate::config::{LogFormat, LogKind, Settings, Sources, Threads, millis};

pub(crate) fn run(flags: SettingFlags) -> Result<(), Failure> {
    let sources = Sources::of_process(flags.words);
    let settings = Settings::resolve(&sources).map_err(|errors| {
        Failure::usage(errors).hint("`longwave serve --help` lists all settings")
    })?;
    refuse_strangers(&settings)?;
    gateway::refuse_loops(&settings)?;
    start_tracing(&settings)?;
    raise_open_files();
    for (given, meant) in sources.misspelled_env() {
        tracing::warn!("{given} is no setting and has no effect; {meant} is one");
    }
    gateway::warn_of_clear_text(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let (mut server, log) = start(&settings).await?;
    // Without it the server is as good, but for that it must be stopped before the next is started.
    let heirs = log.as_ref().and_then(|_| {
        let heirs = Heirs::listen(&settings.data.value);
        heirs.inspect_err(|error| tracing::warn!(%error, "no other process can take over")).ok()
    });
    print(banner(&settings, server.local_addrs()).as_bytes())?;

    let end = loop {
        let heir = tokio::select! {
            name = signals.next() => {
                tracing::info!("{name}: telling subscribers to come back later, and shutting down");
                break End::Stopped;
            }
            heir = next_heir(heirs.as_ref()) => heir,
        };
        let Some(log) = &log else { continue };
        tokio::select! {
            yielded = heir.yield_to(&mut server, log) => match yielded {
                Yielded::Kept => {}
                Yielded::Served => break End::Succeeded,
                Yielded::Lost(error) => break End::Lost(error),
            },
            name = signals.next() => {
                tracing::info!("{name}: shutting down while another process takes over");
                break End::Stopped;
            }
        }
    };
    let going = async {
        match end {
            End::Succeeded => {
                tracing::info!("the other process serves; telling subscribers to go there");
                server.leave().await;
                Ok(())
            }
            End::Stopped => {
                heirs.into_iter().for_each(Heirs::close);
                server.shutdown().await;
                Ok(())
            }
            End::Lost(error) => {
                server.shutdown().await;
                Err(Failure::new(error).hint("if no other process serves, start this one again"))
            }
        }
    };
    tokio::select! {
        ended = going => ended,
        name = signals.next() => {
            tracing::warn!("{name} again: going down at once");
            std::process::exit(EXIT_INTERRUPTED);
        }
    }
}

/// Why a server goes.
enum End {
    Stopped,
    /// Another process has what it had.
    Succeeded,
    /// It has nothing any more.
    Lost(anyhow::Error),
}

async fn next_heir(heirs: Option<&Heirs>) -> Heir {
    match heirs {
        Some(heirs) => heirs.next().await,
        None => std::future::pending().await,
    }
}

/// Opens the log and serves it; and tells the log if it is one that can be handed over.
async fn start(settings: &Settings) -> Result<(Server, Option<Arc<SegmentLog>>), Failure> {
    let retention = LogRetention {
        max_age_ms: settings.retention_max_age.value.limit().map(millis),
        max_bytes: settings.retention_max_bytes.value.limit().map(|size| size.0),
    };
    let listen = &settings.listen.value;
    let failed = |error| listen_failure(settings, error);
    let LogKind::Segment = settings.log.value else {
        if settings.takeover.value {
            return Err(Failure::usage(anyhow::anyhow!(
                "takeover ({}) needs a log on disk; one in memory can't be taken over",
                settings.takeover.origin
            )));
        }
        let listeners = Listeners::bind(listen, Vec::new()).map_err(failed)?;
        let options = MemoryOptions { retention, ..MemoryOptions::default() };
        let (log, commits) = MemoryLog::open(options).context("the log can't be opened")?;
        return Ok((Server::start_on(listeners, http_options(settings)?, log, commits)?, None));
    };
    let mut options = SegmentOptions::new(&settings.data.value);
    options.retention = retention;
    options.segment_bytes = settings.segment_size.value.0;

    let claim = match settings.takeover.value {
        true => Claim::make(options.clone()).await.map_err(takeover_failure)?,
        false => None,
    };
    let (http, listeners, claimed, opened) = match claim {
        Some((claim, inherited)) => {
            // Before the log: what can't be had or bound must not cost anybody a moment.
            let http = http_options(settings)?;
            let listeners = match inherited.is_empty() {
                true => bind_when_free(listen, LOCK_WAIT).await,
                false => Listeners::bind(listen, inherited),
            };
            let listeners = listeners.map_err(failed)?;
            let (claimed, opened) = claim.open().await.map_err(takeover_failure)?;
            (http, listeners, Some(claimed), opened)
        }
        None => {
            // One that was killed a moment ago may have some of its files still.
            let wait = if settings.takeover.value { CLOSE_WAIT } else { Duration::ZERO };
            options.lock_wait = wait;
            // After the log: who waits in a listener's queue shall not wait for a log that can't be opened.
            let opened = tokio::task::spawn_blocking(move || SegmentLog::open(options)).await?;
            let (log, commits) = opened.map_err(|error| open_failure(settings, error))?;
            let bound = match http_options(settings) {
                Ok(http) => bind_when_free(listen, wait).await.map_err(failed).map(|on| (http, on)),
                Err(failure) => Err(failure),
            };
            match bound {
                Ok((http, listeners)) => (http, listeners, None, Ok((log, commits))),
                Err(failure) => {
                    log.close().await;
                    return Err(failure);
                }
            }
        }
    };
    let (log, commits) = opened.map_err(|error| open_failure(settings, error))?;
    if let Some(claimed) = claimed {
        claimed.serve().await;
    }
    let server = Server::start_on(listeners, http, log.clone(), commits)?;
    Ok((server, Some(log)))
}

fn takeover_failure(error: anyhow::Error) -> Failure {
    Failure::new(error.context("can't take over"))
        .hint("the running server was left as it was, unless it says otherwise")
}

fn open_failure(settings: &Settings, error: OpenError) -> Failure {
    let hint = match &error {
        OpenError::Locked { .. } => Some(
            "take over from the other one with --takeover, talk to it with `longwave tail` and `longwave publish`, \
             or serve from another directory with --data",
        ),
        OpenError::Io { source, .. } => match source.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Some(
                "give the user that runs longwave the right to write there, or set another directory with --data",
            ),
            std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => {
                Some("--data takes a directory; this is, or leads through, a file")
            }
            std::io::ErrorKind::StorageFull => {
                Some("make room on the disk, or set another directory with --data")
            }
            _ => None,
        },
        _ => None,
    };
    let place = format!("can't keep events in {} ({})", settings.data.text, settings.data.origin);
    super::remote::with_hint(
        Failure::new(anyhow::Error::new(error).context(place)),
        hint.map(str::to_owned),
    )
}

/// # Errors
/// As [`gateway::options`].
fn http_options(settings: &Settings) -> Result<HttpOptions, Failure> {
    Ok(HttpOptions {
        heartbeat_ms: millis(settings.heartbeat.value),
        retry_ms: millis(settings.retry.value),
        retry_jitter_ms: millis(settings.retry_jitter.value),
        event_bytes_max: to_usize(settings.event_size.value.0),
        batch_events_max: to_usize(settings.batch_events.value),
        batch_bytes_max: to_usize(settings.batch_size.value.0),
        bodies_bytes_max: to_usize(settings.bodies_size.value.0),
        header_read_timeout_ms: millis(settings.header_timeout.value),
        body_read_timeout_ms: millis(settings.body_timeout.value),
        stream_idle_timeout_ms: millis(settings.stream_idle_timeout.value),
        long_poll_wait_ms_max: millis(settings.long_poll_max.value),
        page_events_default: to_usize(settings.page_events.value),
        page_events_max: to_usize(settings.page_events_max.value),
        topics_page_max: to_usize(settings.topics_page_max.value),
        websocket_message_bytes_max: to_usize(settings.websocket_message_size.value.0),
        websocket_write_timeout_ms: millis(settings.websocket_write_timeout.value),
        reactors: match settings.reactors.value {
            Threads::Auto => HttpOptions::reactors_default(),
            Threads::Fixed(count) => to_usize(count),
        },
        connections_max: to_usize(settings.connections.value),
        http2_streams_max: u32::try_from(settings.http2_streams.value).unwrap_or(u32::MAX),
        drain_timeout_ms: millis(settings.drain_timeout.value),
        drain_spread_ms: millis(settings.drain_spread.value),
        origins: settings.origins.value.clone(),
        hosts: settings.hosts.value.clone(),
        gateway: gateway::options(settings)?,
    })
}

/// There is no authentication yet, so whoever reaches the server may do everything.
fn refuse_strangers(settings: &Settings) -> Result<(), Failure> {
    let stranger = settings.listen.value.iter().find(|addr| !addr.ip().is_loopback());
    match stranger {
        Some(addr) if !settings.open.value => Err(Failure::usage(anyhow::anyhow!(
            "refusing to listen on {addr} ({}): anybody who can reach it could read and publish everything",
            settings.listen.origin
        ))
        .hint(
            "listen on 127.0.0.1 behind a proxy that checks who asks; or, where everybody may do everything, \
             add --open (LONGWAVE_OPEN=true, or `open = true` in the file)",
        )),
        _ => Ok(()),
    }
}

fn listen_failure(settings: &Settings, error: std::io::Error) -> Failure {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => Some(
            "is longwave running already? Stop it, or listen elsewhere with --listen 127.0.0.1:4481",
        ),
        std::io::ErrorKind::PermissionDenied => {
            Some("ports below 1024 need a privilege; take a higher one with --listen")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            Some("this machine has no such address; `ip addr` lists those it has")
        }
        _ => None,
    };
    let place = format!("can't listen on {} ({})", settings.listen.text, settings.listen.origin);
    let failure = Failure::new(anyhow::Error::new(error).context(place));
    super::remote::with_hint(failure, hint.map(str::to_owned))
}

fn start_tracing(settings: &Settings) -> Result<(), Failure> {
    let level = &settings.log_level;
    let filter = EnvFilter::try_new(&level.value).map_err(|error| {
        Failure::usage(anyhow::anyhow!("{}: {:?} is no filter: {error}", level.origin, level.text))
            .hint("give error, warn, info, debug, trace, or a filter such as info,longwave=debug")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format.value {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_target(false)
            .init(),
    }
    Ok(())
}

/// What a user sees first. The lines that start with `listening on` are for programs too.
fn banner(settings: &Settings, addrs: &[SocketAddr]) -> String {
    let mut text = format!("longwave {}\n", env!("CARGO_PKG_VERSION"));
    for addr in addrs {
        text.push_str(&format!("listening on http://{addr}\n"));
    }
    text.push_str(&match settings.log.value {
        LogKind::Segment => format!(
            "keeping events in {} for {} or up to {}\n",
            settings.data.text, settings.retention_max_age.text, settings.retention_max_bytes.text
        ),
        LogKind::Memory => "keeping events in memory only, until exit\n".to_owned(),
    });
    let base = addrs.first().map(|addr| format!("http://{}", reachable(*addr))).unwrap_or_default();
    text.push_str(&gateway::banner(settings, &base));
    text.push_str(&format!(
        "\nTry it, each in a terminal of its own:\n  \
         curl -N -H 'Accept: text/event-stream' {base}/topics/news\n  \
         curl -d 'hello, world' {base}/topics/news\n\n"
    ));
    text
}

/// The signals that ask the server to go.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What shells report of a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

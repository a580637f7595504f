//! Real clients as programs, each following one topic.
//!
//! [`FollowerKind`] lists them; [`Follower`] is a running one. The programs themselves are in `tests/clients/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::watch;

use crate::{HANG_LIMIT, Process, Received, View, binary, repository};

/// A client program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FollowerKind {
    /// Chromium's own `EventSource` and `WebSocket`: two clients in one browser.
    Chromium,
    /// The npm package `eventsource`.
    EventSource,
    /// The npm package `ws`.
    WebSocket,
    /// The Python package `httpx-sse`.
    HttpxSse,
    /// `curl -N`.
    Curl,
    /// One JSON page after the other.
    LongPoll,
    /// `longwave tail`.
    Tail,
}

impl FollowerKind {
    /// All of them.
    pub const ALL: [FollowerKind; 7] = [
        FollowerKind::Chromium,
        FollowerKind::EventSource,
        FollowerKind::WebSocket,
        FollowerKind::HttpxSse,
        FollowerKind::Curl,
        FollowerKind::LongPoll,
        FollowerKind::Tail,
    ];

    /// The clients that it runs, by the name each gives itself, with what each gets to see, and how it connects.
    #[must_use]
    pub fn clients(self) -> &'static [(&'static str, View, Transport)] {
        use Transport::{Http, WebSocket};
        use View::{Envelope, EventStream};
        match self {
            FollowerKind::Chromium => &[
                ("chromium-eventsource", EventStream, Http),
                ("chromium-websocket", Envelope, WebSocket),
            ],
            FollowerKind::EventSource => &[("eventsource", EventStream, Http)],
            FollowerKind::WebSocket => &[("ws", Envelope, WebSocket)],
            FollowerKind::HttpxSse => &[("httpx-sse", EventStream, Http)],
            FollowerKind::Curl => &[("curl", EventStream, Http)],
            FollowerKind::LongPoll => &[("long-poll", Envelope, Http)],
            FollowerKind::Tail => &[("tail", Envelope, Http)],
        }
    }

    /// The program with its arguments. `bases` are server URLs, one for each of [`FollowerKind::clients`].
    fn command(self, bases: &[String], topic: &str) -> anyhow::Result<Command> {
        let urls = bases.iter().map(|base| format!("{base}/topics/{topic}"));
        let clients = repository().join("tests/clients");
        let script = |interpreter: PathBuf, name: &str| {
            let mut command = Command::new(interpreter);
            command.arg(clients.join(name)).args(urls);
            command
        };
        let node = PathBuf::from("node");
        Ok(match self {
            FollowerKind::Chromium => script(node, "browser.mjs"),
            FollowerKind::EventSource => script(node, "eventsource.mjs"),
            FollowerKind::WebSocket => script(node, "websocket.mjs"),
            FollowerKind::HttpxSse => script(python()?, "httpx_sse_client.py"),
            FollowerKind::Curl => script(python()?, "curl_client.py"),
            FollowerKind::LongPoll => script(python()?, "long_poll.py"),
            FollowerKind::Tail => {
                let mut command = Command::new(binary()?);
                command.args(["tail", topic, "--json", "--after", "first"]);
                command.args(bases.iter().flat_map(|base| ["--server", base]));
                command
            }
        })
    }
}

/// How a client connects, for proxies that tell the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are two")]
pub enum Transport {
    /// A request and its answer, however long that lasts.
    Http,
    /// A request that is upgraded.
    WebSocket,
}

/// A running client program, which follows one topic from its first event to its end.
#[derive(Debug)]
pub struct Follower {
    kind: FollowerKind,
    process: Process,
    /// How many events the slowest of its clients delivered.
    progress: watch::Sender<usize>,
}

impl Follower {
    /// Starts a program that follows `topic` on the servers at `bases`, one for each of its clients.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(
        kind: FollowerKind,
        bases: &[String],
        topic: &str,
        logs: &Path,
    ) -> anyhow::Result<Follower> {
        let mut command = kind.command(bases, topic)?;
        // Proxies of the machine are not meant for servers on it.
        for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(variable);
        }
        command.stdout(Stdio::piped());
        let process = Process::start(command, &logs.join(format!("{kind:?}.log")))?;
        Ok(Follower { kind, process, progress: watch::Sender::new(0) })
    }

    /// How many events the slowest of its clients has delivered so far. Moves while [`Follower::finish`] is awaited.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<usize> {
        self.progress.subscribe()
    }

    /// Waits until it ends by itself, and returns what each of its clients delivered.
    ///
    /// # Errors
    /// When it hangs, fails, or ends without having been told that the topic ended.
    pub async fn finish(mut self) -> anyhow::Result<BTreeMap<&'static str, Vec<Received>>> {
        let mut delivered: BTreeMap<&'static str, Vec<Received>> =
            self.kind.clients().iter().map(|(name, ..)| (*name, Vec::new())).collect();
        let mut done = 0;
        let reading = self.read(&mut delivered, &mut done);
        let read = tokio::time::timeout(HANG_LIMIT, reading).await;
        let counts = || {
            let counts = delivered.iter().map(|(name, events)| format!("{name} {}", events.len()));
            counts.collect::<Vec<_>>().join(", ")
        };
        read.with_context(|| format!("it hangs after {} events", counts()))
            .and_then(|read| read)
            .with_context(|| self.failure())?;
        let status = self.process.wait().await?;
        anyhow::ensure!(status.success(), "it failed ({status}): {}", self.failure());
        // `longwave tail` says by ending that all is done.
        let expected = if self.kind == FollowerKind::Tail { 0 } else { delivered.len() };
        anyhow::ensure!(done == expected, "it ended before its end: {}", self.failure());
        Ok(delivered)
    }

    async fn read(
        &mut self,
        delivered: &mut BTreeMap<&'static str, Vec<Received>>,
        done: &mut usize,
    ) -> anyhow::Result<()> {
        let stdout = self.process.take_output().context("its output was taken before")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            let value: Value =
                serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
            let client = value.get("client").and_then(Value::as_str).unwrap_or("tail");
            let events = delivered
                .get_mut(client)
                .with_context(|| format!("{client} is none of its clients"))?;
            if value.get("done").is_some() {
                *done += 1;
            } else {
                events.push(serde_json::from_value(value)?);
                let slowest = delivered.values().map(Vec::len).min();
                self.progress.send_replace(slowest.unwrap_or(0));
            }
        }
        Ok(())
    }

    fn failure(&self) -> String {
        format!("{:?} said last:\n{}", self.kind, self.process.last_words())
    }
}

/// The interpreter that has what `tests/clients/requirements.txt` asks for.
fn python() -> anyhow::Result<PathBuf> {
    let path = repository().join("target/python/clients/bin/python");
    anyhow::ensure!(path.is_file(), "`cargo xtask test clients` installs what the clients need");
    Ok(path)
}

//! Who is measured: how each server is started, and what is sent to it to subscribe and to publish.
//!
//! [`Peer`] is the list; everything else about a server is the same for all. Each runs as its maker ships it; what is
//! set beyond that stands here or in `bench/peers`, with its reason.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::exchange::{Exchange, request, subscription};
use crate::template::{Template, event_data};

/// A server under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "whoever adds one has to say everything about it")]
pub enum Peer {
    /// The kernel's share alone.
    Floor,
    /// Longwave, durable, with its default settings.
    Longwave,
    /// The durable-streams server in Rust, durable.
    DurableStreams,
    /// nginx with the Nchan module, in memory.
    Nchan,
    /// axum's `Sse` over a broadcast channel, in memory.
    Axum,
    /// FastAPI on uvicorn, in memory.
    FastApi,
}

/// Where a peer's program is, and which version.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made from the command line")]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// As the results name it.
    pub version: String,
}

impl Peer {
    /// All, in the order of the tables.
    pub const ALL: [Peer; 6] =
        [Peer::Floor, Peer::Longwave, Peer::DurableStreams, Peer::Nchan, Peer::Axum, Peer::FastApi];

    /// As the command line names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Peer::Floor => "floor",
            Peer::Longwave => "longwave",
            Peer::DurableStreams => "durable-streams",
            Peer::Nchan => "nchan",
            Peer::Axum => "axum",
            Peer::FastApi => "fastapi",
        }
    }

    /// As the tables name it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Peer::Floor => "floor: one `write` a socket",
            Peer::Longwave => "**Longwave** (durable)",
            Peer::DurableStreams => "durable-streams (durable)",
            Peer::Nchan => "nginx + Nchan (memory only)",
            Peer::Axum => "axum `Sse` + broadcast (memory only)",
            Peer::FastApi => "FastAPI + uvicorn (memory only)",
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn named(name: &str) -> anyhow::Result<Peer> {
        Peer::ALL.into_iter().find(|peer| peer.name() == name).with_context(|| {
            let names = Peer::ALL.map(Peer::name).join(", ");
            format!("there is no `{name}` to measure, but {names}")
        })
    }

    /// The command that serves at `addr`, with files in `folder`.
    ///
    /// # Errors
    /// Where the peer's configuration can't be written.
    pub fn command(
        self,
        program: &Path,
        folder: &Path,
        addr: SocketAddr,
    ) -> anyhow::Result<Command> {
        let mut command = Command::new(program);
        match self {
            Peer::Floor | Peer::Axum => {
                command.arg(addr.to_string());
            }
            Peer::Longwave => {
                command.args(["serve", "--listen", &addr.to_string(), "--data"]);
                command.arg(folder.join("data"));
            }
            Peer::DurableStreams => {
                command.args(["--host", &addr.ip().to_string()]);
                command.args(["--port", &addr.port().to_string(), "--durability", "wal"]);
                command.arg("--data-dir").arg(folder.join("data"));
            }
            Peer::Nchan => {
                let configuration = NCHAN_CONFIGURATION
                    .replace("@MODULE@", NCHAN_MODULE)
                    .replace("@FOLDER@", &folder.display().to_string())
                    .replace("@ADDRESS@", &addr.to_string());
                let file = folder.join("nginx.conf");
                std::fs::write(&file, configuration)?;
                command.arg("-p").arg(folder).arg("-c").arg(file).args(["-e", "error.log"]);
            }
            Peer::FastApi => {
                command.args(["-m", "uvicorn", "app:app", "--no-access-log", "--app-dir"]);
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/fastapi"));
                command.args(["--host", &addr.ip().to_string()]);
                command.args(["--port", &addr.port().to_string()]);
                // As long as nginx. Its default of 5 s closes publishers' connections between two events.
                command.args(["--timeout-keep-alive", "75"]);
            }
        }
        Ok(command)
    }

    /// Does what must be done before the topic can be used.
    ///
    /// # Errors
    /// Where the server refuses.
    pub fn prepare(self, addr: SocketAddr) -> anyhow::Result<()> {
        if self == Peer::DurableStreams {
            let create = request("PUT", STREAM, STREAM_TYPE, "");
            Exchange::connect(addr)?.send(create.as_bytes()).context("creating the stream")?;
        }
        Ok(())
    }

    /// What a subscriber of the one topic sends, to get what comes from now on.
    #[must_use]
    pub fn subscription(self) -> String {
        match self {
            Peer::Floor | Peer::Axum | Peer::FastApi | Peer::Nchan => subscription("/events"),
            Peer::Longwave => subscription("/topics/bench"),
            Peer::DurableStreams => subscription(&format!("{STREAM}?offset=now&live=sse")),
        }
    }

    /// What a publisher to the one topic sends, with so many bytes of data.
    ///
    /// # Errors
    /// Never: it holds an event.
    pub fn publication(self, data_bytes: usize) -> anyhow::Result<Template> {
        let (path, content_type) = match self {
            Peer::Floor | Peer::Axum | Peer::FastApi | Peer::Nchan => ("/publish", "text/plain"),
            Peer::Longwave => ("/topics/bench", "text/plain"),
            Peer::DurableStreams => (STREAM, STREAM_TYPE),
        };
        let request = request("POST", path, content_type, &event_data(data_bytes));
        Template::new(request.as_bytes())
    }
}

const STREAM: &str = "/v1/stream/bench";
/// The one kind of stream that keeps apart what was published apart.
const STREAM_TYPE: &str = "application/json";
const NCHAN_CONFIGURATION: &str = include_str!("../peers/nchan.conf");
/// Where Debian's `libnginx-mod-nchan` puts it.
const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

//! Real reverse proxies, with the configuration that somebody writes who knows nothing of event streams.
//!
//! [`Nginx`] and [`HaProxy`] run in the foreground from a folder of their own.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::{HANG_LIMIT, POLL_INTERVAL, Process, free_port};

/// nginx with its defaults: it buffers answers, and speaks HTTP/1.0 to the server.
#[derive(Debug)]
pub struct Nginx {
    /// Everything but WebSocket, with nothing but `proxy_pass`.
    pub http: SocketAddr,
    /// The same with the headers of an upgrade passed on, without which nginx can't do WebSocket.
    pub websocket: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it in front of `upstream` and waits until it listens.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start(upstream: SocketAddr) -> anyhow::Result<Nginx> {
        let folder = tempfile::Builder::new().prefix("longwave-nginx-").tempdir()?;
        let root = folder.path().display().to_string();
        let mut failure = None;
        for _ in 0..START_ATTEMPTS_MAX {
            let (http, websocket) = (loopback(free_port()?), loopback(free_port()?));
            let configuration = nginx_configuration(&root, upstream, http, websocket);
            let file = folder.path().join("nginx.conf");
            std::fs::write(&file, configuration)?;
            let mut command = Command::new("nginx");
            command.arg("-p").arg(&root).arg("-c").arg(&file).arg("-e").arg("error.log");
            match start(command, folder.path(), &[http, websocket]).await {
                Ok(process) => {
                    return Ok(Nginx { http, websocket, _process: process, _folder: folder });
                }
                // Somebody else may have taken a port.
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.context("it was tried")?)
    }
}

/// HAProxy with the least configuration that it starts with.
#[derive(Debug)]
pub struct HaProxy {
    /// Everything, WebSocket too.
    pub http: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl HaProxy {
    /// Starts it in front of `upstream` and waits until it listens.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start(upstream: SocketAddr) -> anyhow::Result<HaProxy> {
        let folder = tempfile::Builder::new().prefix("longwave-haproxy-").tempdir()?;
        let mut failure = None;
        for _ in 0..START_ATTEMPTS_MAX {
            let http = loopback(free_port()?);
            let file = folder.path().join("haproxy.cfg");
            std::fs::write(&file, haproxy_configuration(upstream, http))?;
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(&file);
            match start(command, folder.path(), &[http]).await {
                Ok(process) => return Ok(HaProxy { http, _process: process, _folder: folder }),
                // Somebody else may have taken the port.
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.context("it was tried")?)
    }
}

/// One process and no daemon, so that killing it leaves nothing behind; folders of its own. The rest are defaults.
fn nginx_configuration(
    root: &str,
    upstream: SocketAddr,
    http: SocketAddr,
    websocket: SocketAddr,
) -> String {
    format!(
        "
daemon off;
master_process off;
pid {root}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    server {{
        listen {http};
        location / {{
            proxy_pass http://{upstream};
        }}
    }}
    server {{
        listen {websocket};
        location / {{
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"
    )
}

/// Without the three timeouts it starts, too, but warns that it should not be used like that.
fn haproxy_configuration(upstream: SocketAddr, http: SocketAddr) -> String {
    format!(
        "
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind {http}
    default_backend longwave
backend longwave
    server longwave {upstream}
"
    )
}

async fn start(
    mut command: Command,
    folder: &Path,
    listening: &[SocketAddr],
) -> anyhow::Result<Process> {
    // Debian keeps daemons where only root's PATH leads.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
    let log = folder.join("output.log");
    command.stdout(File::options().create(true).append(true).open(&log)?);
    let mut process = Process::start(command, &log)?;
    let wait = async {
        for addr in listening {
            while TcpStream::connect(addr).await.is_err() {
                if let Some(status) = process.exited()? {
                    anyhow::bail!("the proxy ended ({status}):\n{}", process.last_words());
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    };
    tokio::time::timeout(HANG_LIMIT, wait).await.context("the proxy never listened")??;
    Ok(process)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

const START_ATTEMPTS_MAX: usize = 5;

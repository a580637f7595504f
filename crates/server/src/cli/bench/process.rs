//! The server's process, where it runs on this machine: what it has used of CPU and memory. Read [`ServerProcess`].
//!
//! Linux only, by `/proc`; and only for a process of the same user. Elsewhere there is none, and the report says less.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use longwave_client::Url;

/// A process that listens on a port of this machine.
#[derive(Debug)]
pub(super) struct ServerProcess {
    pid: u32,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(super) cpu: Duration,
    /// Memory in RAM, now.
    pub(super) resident_bytes: u64,
}

impl ServerProcess {
    /// The process behind an address, if that is this machine's.
    pub(super) fn of(url: &Url) -> Option<ServerProcess> {
        let is_local = matches!(url.host_str()?, "localhost" | "127.0.0.1" | "[::1]");
        let port = url.port_or_known_default()?;
        // There may be several: one on each address, or one of a process that is just ending and has no files left.
        let targets = if is_local { listeners(port) } else { Vec::new() };
        let pid = fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            has_any(pid, &targets).then_some(pid)
        })?;
        Some(ServerProcess { pid })
    }

    /// What it has used; `None` once it is gone.
    pub(super) fn usage(&self) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let ticks = cpu_ticks(&stat)?;
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let cpu = Duration::from_millis(ticks.saturating_mul(1000) / ticks_per_second.max(1));
        Some(Usage { cpu, resident_bytes: resident_bytes(&status)? })
    }
}

/// The sockets that listen on a port, as links to open files show them.
fn listeners(port: u16) -> Vec<PathBuf> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let lines = tables.iter().flatten().flat_map(|table| table.lines().skip(1));
    lines
        .filter_map(|line| inode_of(line, port))
        .map(|inode| PathBuf::from(format!("socket:[{inode}]")))
        .collect()
}

/// The inode in a line of `/proc/net/tcp`, if that is of a socket that listens on the port.
fn inode_of(line: &str, port: u16) -> Option<u64> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let listens_there = local.ends_with(&format!(":{port:04X}")) && state == STATE_LISTEN;
    listens_there.then(|| fields.nth(5)).flatten()?.parse().ok()
}

/// Whether a process has one of these open.
fn has_any(pid: u32, targets: &[PathBuf]) -> bool {
    fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|files| {
        files
            .flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|link| targets.contains(&link)))
    })
}

/// User and system time. The name in parentheses may hold anything, so what counts comes behind the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

const STATE_LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_socket_table_gives_the_inode_of_a_listener() {
        let listener = "   0: 0100007F:1180 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 100 0 0 10 0";
        assert_eq!(inode_of(listener, 4480), Some(4711));
        assert_eq!(inode_of(listener, 4481), None);
        assert_eq!(inode_of(&listener.replace(" 0A ", " 01 "), 4480), None);
        assert_eq!(inode_of("", 4480), None);
    }

    #[test]
    fn a_process_tells_what_it_used_whatever_its_name_is() {
        assert_eq!(cpu_ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0"), Some(42));
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2 << 20));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn this_very_process_is_found_by_a_port_it_listens_on() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let process = ServerProcess::of(&Url::parse(&url).unwrap()).unwrap();
        assert_eq!(process.pid, std::process::id());
        assert!(process.usage().unwrap().resident_bytes > 0);
    }
}

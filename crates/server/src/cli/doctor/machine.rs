//! Limits of this machine that bite a server of many clients. Reading is here; judging is pure, in the functions that
//! [`examine`] calls.

use std::fs;

use longwave::http::HttpOptions;

use super::super::open_files::{OpenFiles, open_files};
use super::super::topics::human_bytes;
use super::verdict::{Finding, Level};
use super::{bad, doubtful, good};

/// Looks at everything, for this many clients.
pub(super) fn examine(clients: u64) -> Vec<Finding> {
    let numbers = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u64>>()
    };
    let page_bytes = rustix::param::page_size() as u64;
    let files = open_files();
    let tcp_mem = numbers("/proc/sys/net/ipv4/tcp_mem");
    let mut limits = vec![Limit::connections()];
    limits.extend(files.hard.map(Limit::open_files));
    let mut findings = vec![judge_open_files(files, clients)];
    if let [_, pressure, max] = tcp_mem.as_slice() {
        limits.push(Limit::tcp_memory(pressure * page_bytes));
        findings.push(judge_tcp_memory(pressure * page_bytes, max * page_bytes, clients));
    }
    if let [first, last] = numbers("/proc/sys/net/ipv4/ip_local_port_range").as_slice() {
        findings.push(judge_ports(last.saturating_sub(*first) + 1, clients));
    }
    if let [backlog] = numbers("/proc/sys/net/core/somaxconn").as_slice() {
        findings.push(judge_backlog(*backlog));
    }
    if let [files] = numbers("/proc/sys/fs/file-max").as_slice() {
        findings.push(judge_system_files(*files, clients));
    }
    limits.extend(available_memory_bytes().map(Limit::memory));
    findings.extend(judge_subscribers(limits));
    findings
}

/// Something that so many subscribers use up.
struct Limit {
    what: &'static str,
    subscribers: u64,
    more: String,
}

impl Limit {
    fn connections() -> Limit {
        let subscribers = HttpOptions::default().connections_max as u64;
        let more = "longwave serve --connections with a larger number".to_owned();
        Limit { what: "the setting `connections`", subscribers, more }
    }

    fn open_files(hard: u64) -> Limit {
        let more =
            "a larger LimitNOFILE in the systemd unit, or `--ulimit nofile=` for docker".to_owned();
        Limit {
            what: "the limit of open files",
            subscribers: hard.saturating_sub(FILES_BESIDES_CLIENTS),
            more,
        }
    }

    fn tcp_memory(pressure: u64) -> Limit {
        let more = "sysctl -w net.ipv4.tcp_mem with larger numbers, given the memory".to_owned();
        Limit { what: "TCP memory", subscribers: pressure / TCP_BYTES_PER_CLIENT, more }
    }

    fn memory(available: u64) -> Limit {
        let more = "more memory".to_owned();
        Limit { what: "memory", subscribers: available / MEMORY_BYTES_PER_CLIENT, more }
    }
}

/// Says how many subscribers there may be at one time, and what ends first.
fn judge_subscribers(mut limits: Vec<Limit>) -> Option<Finding> {
    limits.sort_by_key(|limit| limit.subscribers);
    let mut limits = limits.into_iter();
    let first = limits.next()?;
    let mut what = format!("about {}, as many as {} allows", first.subscribers, first.what);
    if let Some(next) = limits.next() {
        what.push_str(&format!("; then {}, at {}", next.what, next.subscribers));
    }
    let fix = Some(format!("for more, {}", first.more));
    Some(Finding { level: Level::Good, check: "subscribers", what, fix })
}

fn available_memory_bytes() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

fn judge_open_files(limit: OpenFiles, clients: u64) -> Finding {
    let check = "open files";
    let needed = clients.saturating_add(FILES_BESIDES_CLIENTS);
    match limit.hard {
        Some(hard) if hard < needed => bad(
            check,
            format!("a process may open {hard}, and {clients} clients take {needed}"),
            format!(
                "set LimitNOFILE={needed} in the systemd unit, `--ulimit nofile={needed}` for docker, or raise nofile \
                 in /etc/security/limits.conf"
            ),
        ),
        hard => {
            let hard =
                hard.map_or("any number of files".to_owned(), |hard| format!("{hard} files"));
            good(check, format!("a process may open {hard}; longwave raises its own limit to that"))
        }
    }
}

fn judge_tcp_memory(pressure: u64, max: u64, clients: u64) -> Finding {
    let check = "TCP memory";
    let needed = clients.saturating_mul(TCP_BYTES_PER_CLIENT);
    let have = format!("{} before pressure, {} at most", human_bytes(pressure), human_bytes(max));
    let text =
        format!("{have}; {clients} clients with an event under way take {}", human_bytes(needed));
    if needed <= pressure {
        return good(check, text);
    }
    let page = 4096;
    let [low, mid, high] = [needed / page, needed * 3 / 2 / page, needed * 2 / page];
    let fix = format!(
        "sysctl -w net.ipv4.tcp_mem='{low} {mid} {high}' (in pages), given the memory for it"
    );
    if needed > max { bad(check, text, fix) } else { doubtful(check, text, fix) }
}

fn judge_ports(ports: u64, clients: u64) -> Finding {
    let check = "ephemeral ports";
    if clients <= ports {
        return good(check, format!("{ports}, enough for that many connections to one address"));
    }
    doubtful(
        check,
        format!(
            "{ports}: a proxy, or `longwave bench`, on this machine can't open {clients} connections to one address"
        ),
        "sysctl -w net.ipv4.ip_local_port_range='1024 65535', or listen on several addresses",
    )
}

fn judge_backlog(backlog: u64) -> Finding {
    let check = "accept queue";
    if backlog >= BACKLOG_MIN {
        return good(check, format!("{backlog} connections may wait to be accepted"));
    }
    doubtful(
        check,
        format!(
            "only {backlog} connections may wait, and after a restart all clients come back together"
        ),
        format!("sysctl -w net.core.somaxconn={BACKLOG_MIN}"),
    )
}

fn judge_system_files(files: u64, clients: u64) -> Finding {
    let check = "open files of the system";
    let needed = clients.saturating_add(SYSTEM_FILES_BESIDES);
    if files >= needed {
        return good(check, format!("{files} over all processes"));
    }
    let fix = format!("sysctl -w fs.file-max={}", needed * 2);
    bad(check, format!("{files} over all processes, and {needed} are needed"), fix)
}

/// The log's files, the listening sockets, and some room.
const FILES_BESIDES_CLIENTS: u64 = 256;
const SYSTEM_FILES_BESIDES: u64 = 10_000;
/// One queued packet for each.
const TCP_BYTES_PER_CLIENT: u64 = 2304;
/// What an idle subscriber takes: half a KiB of the process, and its socket in the kernel.
const MEMORY_BYTES_PER_CLIENT: u64 = 5632;
const BACKLOG_MIN: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_files_for_the_clients_is_bad() {
        let files = |hard| judge_open_files(OpenFiles { soft: Some(1024), hard }, 10_000);
        assert_eq!(files(Some(4096)).level, Level::Bad);
        assert!(files(Some(4096)).fix.unwrap().contains("LimitNOFILE=10256"));
        assert_eq!(files(Some(1_048_576)).level, Level::Good);
        assert_eq!(files(None).level, Level::Good);
    }

    #[test]
    fn memory_and_ports_are_judged_by_the_clients() {
        let gib = 1 << 30;
        assert_eq!(judge_tcp_memory(gib, 2 * gib, 10_000).level, Level::Good);
        assert_eq!(judge_tcp_memory(gib, 2 * gib, 800_000).level, Level::Doubtful);
        assert_eq!(judge_tcp_memory(gib, 2 * gib, 2_000_000).level, Level::Bad);
        assert_eq!(judge_ports(28_232, 10_000).level, Level::Good);
        assert_eq!(judge_ports(28_232, 100_000).level, Level::Doubtful);
        assert_eq!(judge_backlog(128).level, Level::Doubtful);
        assert_eq!(judge_system_files(1_000, 10_000).level, Level::Bad);
    }

    #[test]
    fn the_number_of_subscribers_is_that_of_the_first_limit() {
        let gib = 1 << 30;
        let limits = vec![Limit::connections(), Limit::open_files(20_000), Limit::memory(gib)];
        let finding = judge_subscribers(limits).unwrap();
        assert_eq!(
            finding.what,
            "about 19744, as many as the limit of open files allows; then the setting `connections`, at 100000"
        );
        assert!(finding.fix.unwrap().contains("LimitNOFILE"));
    }

    #[test]
    fn every_machine_has_a_limit_of_open_files() {
        assert!(examine(1).iter().any(|finding| finding.check == "open files"));
    }
}

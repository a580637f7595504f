//! Ports for programs that can't be told "any free one" and say which.
//!
//! Read [`free_port`].

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;

/// A port of the loopback interface that nobody listened on a moment ago.
///
/// It lies below the range from which the system takes the ports of outgoing connections. A port in that range can be
/// taken by a client while its server is down, even by one that tries to connect to that very port and then talks to
/// itself.
///
/// Another program may take it in the meantime, so whoever starts something on it tries again with another one.
///
/// # Errors
/// When none is found.
pub fn free_port() -> anyhow::Result<u16> {
    let outgoing = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(OUTGOING_PORTS_DEFAULT);
    let end = outgoing.max(FIRST_PORT + 1);
    (0..ATTEMPTS_MAX)
        .map(|_| fastrand::u16(FIRST_PORT..end))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port was found")
}

const FIRST_PORT: u16 = 10_000;
const OUTGOING_PORTS_DEFAULT: u16 = 32_768;
const ATTEMPTS_MAX: usize = 1_000;

//! The gateway's routes at the start of the server: [`options`] for it, what is said of them, and what is refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use http::Uri;
use longwave::gateway::{GatewayOptions, Secret};

use super::super::failure::Failure;
use super::to_usize;
use crate::config::{LogKind, Route, Settings};

/// # Errors
/// Where the secret that ids and tokens are made with can't be kept beside the log.
pub(super) fn options(settings: &Settings) -> Result<GatewayOptions, Failure> {
    let is_kept = settings.log.value == LogKind::Segment && !settings.routes.is_empty();
    let path = settings.data.value.join(SECRET_FILE);
    let secret = match is_kept {
        true => Some(Secret::load_or_create(&path).map_err(|error| {
            let place = format!("the gateway's secret, {}, can't be used", path.display());
            Failure::new(anyhow::Error::new(error).context(place)).hint(
                "mend the file's rights; or remove it, after which no idempotency key and no token is known any more",
            )
        })?),
        false => None,
    };
    Ok(GatewayOptions {
        routes: settings.routes.iter().map(|route| route.options.clone()).collect(),
        viewers: settings.gateway_viewers.value,
        request_bytes_max: to_usize(settings.gateway_request_size.value.0),
        requests_max: to_usize(settings.gateway_requests.value),
        secret,
    })
}

/// Refuses a route that leads back to this server: each request would come in again, and again.
///
/// Only addresses are compared, not what names stand for: a start must not wait for a name server.
pub(super) fn refuse_loops(settings: &Settings) -> Result<(), Failure> {
    for route in &settings.routes {
        let upstream = &route.options.upstream;
        let listen = settings.listen.value.iter().find(|listen| leads_to(upstream, **listen));
        if let Some(listen) = listen {
            return Err(Failure::usage(anyhow::anyhow!(
                "the route {} ({}) leads to {upstream}, which is this server itself: it listens on {listen} ({})",
                route.options.prefix,
                route.origin,
                settings.listen.origin
            ))
            .hint("name the upstream's own address, or listen elsewhere with --listen"));
        }
    }
    Ok(())
}

/// Warns where the keys of providers would travel in the clear.
pub(super) fn warn_of_clear_text(settings: &Settings) {
    for route in &settings.routes {
        let (prefix, upstream) = (&route.options.prefix, &route.options.upstream);
        if is_in_clear_text(upstream) {
            tracing::warn!(
                "the route {prefix} ({}) leads to {upstream} over plain http: keys and answers travel unencrypted",
                route.origin
            );
        }
    }
}

/// A line for each route. `base` is where clients reach the server.
pub(super) fn banner(settings: &Settings, base: &str) -> String {
    let line = |route: &Route| {
        let (prefix, upstream) = (&route.options.prefix, route.options.upstream.to_string());
        let upstream = upstream.trim_end_matches('/');
        format!("proxying {base}{prefix} to {upstream}, streams at {base}/streams\n")
    };
    settings.routes.iter().map(line).collect()
}

fn leads_to(upstream: &Uri, listen: SocketAddr) -> bool {
    // Where a free port is asked for, nobody can have named it.
    if listen.port() == 0 || port(upstream) != listen.port() {
        return false;
    }
    let listens_on = listen.ip().to_canonical();
    let Some(ip) = ip(upstream) else {
        return is_loopback(upstream) && (listens_on.is_loopback() || listens_on.is_unspecified());
    };
    // Who connects to no address in particular gets to loopback.
    let ip = if ip.is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { ip };
    ip == listens_on || (listens_on.is_unspecified() && is_of_this_machine(ip))
}

fn is_in_clear_text(upstream: &Uri) -> bool {
    upstream.scheme_str() == Some("http") && !is_loopback(upstream)
}

fn is_loopback(upstream: &Uri) -> bool {
    match ip(upstream) {
        Some(ip) => ip.is_loopback(),
        None => {
            let name = upstream.host().unwrap_or_default().to_ascii_lowercase();
            let name = name.strip_suffix('.').unwrap_or(&name);
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// The address that the upstream is named by, if it is.
fn ip(upstream: &Uri) -> Option<IpAddr> {
    let host = upstream.host()?.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn port(upstream: &Uri) -> u16 {
    let default = if upstream.scheme_str() == Some("https") { 443 } else { 80 };
    upstream.port_u16().unwrap_or(default)
}

fn is_of_this_machine(ip: IpAddr) -> bool {
    // The kernel lets a socket be bound to the machine's own addresses alone, and nothing is sent.
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// The file in the log's directory that holds the gateway's secret.
const SECRET_FILE: &str = "gateway.key";

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(upstream: &str, listen: &str) -> bool {
        leads_to(&upstream.parse().unwrap(), listen.parse().unwrap())
    }

    #[test]
    fn an_upstream_at_the_address_that_the_server_listens_on_leads_back() {
        for (upstream, listen) in [
            ("http://127.0.0.1:4480/v1", "127.0.0.1:4480"),
            ("https://127.0.0.1:4480", "127.0.0.1:4480"),
            ("http://localhost:4480", "127.0.0.1:4480"),
            ("http://LOCALHOST.:4480", "[::1]:4480"),
            ("http://[::1]:4480", "[::1]:4480"),
            ("http://[::1]:4480", "[::]:4480"),
            ("http://127.0.0.1", "0.0.0.0:80"),
            ("http://127.8.8.8:4480", "0.0.0.0:4480"),
            ("http://[::ffff:127.0.0.1]:4480", "127.0.0.1:4480"),
            ("http://0.0.0.0:4480", "127.0.0.1:4480"),
            ("http://0.0.0.0:4480", "0.0.0.0:4480"),
            ("https://localhost", "0.0.0.0:443"),
        ] {
            assert!(leads(upstream, listen), "{upstream} {listen}");
        }
        for (upstream, listen) in [
            ("http://127.0.0.1:4481", "127.0.0.1:4480"),
            ("http://127.0.0.1", "127.0.0.1:443"),
            ("http://127.0.0.2:4480", "127.0.0.1:4480"),
            ("http://localhost:4480", "192.0.2.1:4480"),
            // Kept for documents, so it is no machine's.
            ("http://192.0.2.1:4480", "0.0.0.0:4480"),
            ("http://api.example:4480", "0.0.0.0:4480"),
            ("http://127.0.0.1:4480", "127.0.0.1:0"),
        ] {
            assert!(!leads(upstream, listen), "{upstream} {listen}");
        }
    }

    #[test]
    fn plain_http_is_in_the_clear_unless_it_stays_on_the_machine() {
        for (upstream, expected) in [
            ("http://api.example/v1", true),
            ("http://10.0.0.1:9000", true),
            ("https://api.example", false),
            ("http://localhost:9000", false),
            ("http://app.localhost", false),
            ("http://127.0.0.1", false),
            ("http://[::1]:9000", false),
            ("http://localhost.example", true),
        ] {
            assert_eq!(is_in_clear_text(&upstream.parse().unwrap()), expected, "{upstream}");
        }
    }
}

//! Opens a stream as a browser does, and looks at what comes back. Judging headers is pure, in [`judge_head`].
//!
//! Whether something buffers can be told for sure only where events can be published: at a Longwave server.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, VIA,
};
use longwave_client::{Client, Item, TopicsError, Url};
use tokio::time::{Instant, timeout};

use super::super::remote::RemoteArgs;
use super::verdict::{Finding, Level};
use super::{bad, doubtful, good};

/// Looks at a URL.
pub(super) async fn examine(remote: &RemoteArgs, url: Url, wait: Duration) -> Vec<Finding> {
    let base = Url::parse(url.as_str()).ok().filter(is_base);
    let target = match &base {
        Some(base) => {
            base.join(&format!("./topics/{}", probe_topic())).unwrap_or_else(|_| url.clone())
        }
        None => url,
    };
    let mut findings = Vec::new();
    let sign = examine_stream(remote, &target, wait, &mut findings).await;
    let is_there = findings.iter().all(|found| found.level != Level::Bad);
    match base {
        Some(base) if is_there => findings.extend(examine_delivery(remote, &base, wait).await),
        Some(base) if sign == Sign::None => {
            findings.extend(examine_silence(remote, &base, wait).await);
        }
        _ => {}
    }
    findings
}

/// Whether a stream gave a sign of life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Something came, be it an error.
    Given,
    /// Nothing came in time.
    None,
}

/// Whether a URL is that of a whole server: its path ends in a slash.
fn is_base(url: &Url) -> bool {
    url.path().ends_with('/') && url.query().is_none()
}

/// Opens the stream, judges its head, and waits for its first sign of life.
async fn examine_stream(
    remote: &RemoteArgs,
    url: &Url,
    wait: Duration,
    findings: &mut Vec<Finding>,
) -> Sign {
    let opened = Instant::now();
    let mut request = reqwest::Client::new()
        .get(url.clone())
        .header(ACCEPT, "text/event-stream")
        .header("accept-encoding", "gzip, br");
    if let Some(token) = &remote.token {
        request = request.bearer_auth(token);
    }
    let response = match timeout(wait, request.send()).await {
        Err(_) => {
            findings.push(bad(
                "head of the answer",
                format!("nothing came within {} s, not even headers", wait.as_secs()),
                format!("either the server hangs, or a proxy buffers: {BUFFERING_FIX}"),
            ));
            return Sign::None;
        }
        Ok(Err(error)) => {
            let why = format!("{:#}", anyhow::Error::new(error));
            findings.push(bad("connection", why, "is the address right, and the server up?"));
            return Sign::Given;
        }
        Ok(Ok(response)) => response,
    };
    let head_after = opened.elapsed();
    findings.extend(judge_head(response.status().as_u16(), response.headers()));
    if !response.status().is_success() {
        return Sign::Given;
    }
    findings.push(good("head of the answer", format!("came after {} ms", head_after.as_millis())));

    let mut body = response.bytes_stream();
    let first = timeout(wait, body.next()).await;
    findings.push(match first {
        Ok(Some(Ok(_))) => {
            good("first bytes", format!("came {} ms later", (opened.elapsed() - head_after).as_millis()))
        }
        Ok(_) => bad("first bytes", "the stream ended at once", "look at the server's own messages"),
        Err(_) => bad(
            "first bytes",
            format!("nothing came within {} s", wait.as_secs()),
            format!("either the stream is silent and sends no heartbeat, or a proxy buffers: {BUFFERING_FIX}"),
        ),
    });
    if matches!(first, Ok(Some(Ok(_)))) {
        findings.push(examine_heartbeat(&mut body, wait).await);
    }
    if first.is_err() { Sign::None } else { Sign::Given }
}

/// Tells what buffers from what is down: a Longwave server opens every stream with a line at once, so where a short
/// request is answered and no stream is, something in between holds streams back.
async fn examine_silence(remote: &RemoteArgs, base: &Url, wait: Duration) -> Option<Finding> {
    let check = "buffering";
    let client = client(remote, base)?;
    let asked = Instant::now();
    let answer = timeout(wait, client.topic_info(&probe_topic())).await;
    Some(match answer {
        // Any answer is one; there is no such topic.
        Ok(Ok(_) | Err(TopicsError::Refused(_))) => bad(
            check,
            format!(
                "a short request is answered after {} ms, and nothing comes of a stream: a proxy holds it back until it \
                 has enough",
                asked.elapsed().as_millis()
            ),
            BUFFERING_FIX,
        ),
        _ => doubtful(
            check,
            "can't be told: a short request is not answered either",
            "is a Longwave server there, and up?",
        ),
    })
}

async fn examine_heartbeat<S, B>(body: &mut S, wait: Duration) -> Finding
where
    S: futures_util::Stream<Item = reqwest::Result<B>> + Unpin,
{
    let check = "heartbeat";
    let waiting = Instant::now();
    match timeout(wait, body.next()).await {
        Ok(Some(Ok(_))) => good(
            check,
            format!("something came after {:.1} s more", waiting.elapsed().as_secs_f64()),
        ),
        Ok(_) => bad(
            check,
            format!("the stream was cut after {:.1} s", waiting.elapsed().as_secs_f64()),
            "raise the proxy's read timeout (nginx proxy_read_timeout, haproxy timeout server) above the heartbeat",
        ),
        Err(_) => doubtful(
            check,
            format!("none within {} s", wait.as_secs()),
            "proxies cut silent streams after 30 to 60 s: have the server send a comment line every 15 s, or wait \
             longer with --wait",
        ),
    }
}

/// Judges status and headers.
fn judge_head(status: u16, headers: &HeaderMap) -> Vec<Finding> {
    let text = |name: &HeaderName| {
        headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
    };
    let mut findings = Vec::new();
    match status {
        200 => findings.push(good("status", "200")),
        204 => {
            findings.push(doubtful("status", "204: the stream has ended", "look at another one"))
        }
        401 | 403 => findings.push(bad("status", status.to_string(), "give a token with --token")),
        502..=504 => findings.push(bad(
            "status",
            status.to_string(),
            "the proxy answers and the server behind it does not: is that one up?",
        )),
        _ => findings.push(bad("status", status.to_string(), "is it the URL of an event stream?")),
    }
    if status != 200 {
        return findings;
    }
    findings.push(match text(&CONTENT_TYPE) {
        Some(given) if given.starts_with("text/event-stream") => good("content type", given),
        given => bad(
            "content type",
            given.unwrap_or_else(|| "none".to_owned()),
            "browsers take text/event-stream only; does the server choose by Accept, and does the proxy pass that on?",
        ),
    });
    findings.push(match text(&CONTENT_ENCODING) {
        None => good("compression", "none"),
        Some(encoding) => bad(
            "compression",
            format!("{encoding}: compressors hold events back until they have enough"),
            "switch it off for text/event-stream, or have the server send Cache-Control: no-transform",
        ),
    });
    let cache_control = text(&CACHE_CONTROL).unwrap_or_default();
    let is_uncached = ["no-cache", "no-store"].iter().any(|word| cache_control.contains(word));
    findings.push(if is_uncached {
        good("caching", cache_control)
    } else {
        bad(
            "caching",
            "there is no Cache-Control: no-cache, so a proxy may hand one client's stream to another",
            "have the server send it; does a proxy remove it?",
        )
    });
    if !headers.contains_key(ACCEL_BUFFERING) {
        findings.push(doubtful(
            "buffering",
            "there is no X-Accel-Buffering: no (nginx takes it for itself, and does not pass it on)",
            "where nginx is not in between, have the server send it, so that nginx would not buffer",
        ));
    }
    if let Some(via) = text(&VIA) {
        findings.push(good("proxies", format!("they call themselves {via}")));
    }
    findings
}

/// Publishes through the URL and measures how long events take to come back.
async fn examine_delivery(remote: &RemoteArgs, base: &Url, wait: Duration) -> Vec<Finding> {
    let check = "delivery";
    let Some(client) = client(remote, base) else { return Vec::new() };
    let topic = probe_topic();
    let result = measure(&client, &topic, wait).await;
    // What was published for the measurement is of no use to anybody.
    let _ = client.delete_topic(&topic).await;
    vec![match result {
        Ok(slowest) if slowest < SLOW => good(
            check,
            format!("{PROBES} events came back, the slowest after {} ms", slowest.as_millis()),
        ),
        Ok(slowest) => doubtful(
            check,
            format!("{PROBES} events came back, the slowest after {} ms", slowest.as_millis()),
            "haproxy: `option http-no-delay`; others: look for a flush interval",
        ),
        Err(why) => bad(check, why, BUFFERING_FIX),
    }]
}

async fn measure(client: &Client, topic: &str, wait: Duration) -> Result<Duration, String> {
    let mut stream = client.subscribe([topic]).stream().map_err(|error| error.to_string())?;
    let mut slowest = Duration::ZERO;
    let mut published = 0;
    let mut sent_at = Instant::now();
    loop {
        let next = timeout(wait, stream.next()).await;
        let item = match next {
            Err(_) => {
                return Err(format!("event {published} did not come within {} s", wait.as_secs()));
            }
            Ok(None) => return Err("the stream ended".to_owned()),
            Ok(Some(Err(error))) => return Err(format!("{:#}", anyhow::Error::new(error))),
            Ok(Some(Ok(item))) => item,
        };
        match item {
            Item::Event(_) => slowest = slowest.max(sent_at.elapsed()),
            Item::Open => {}
            Item::Reconnecting(lost) => return Err(lost.cause.to_string()),
            _ => continue,
        }
        if published == PROBES {
            return Ok(slowest);
        }
        // One after the other: together they could push each other out of a buffer.
        sent_at = Instant::now();
        let publish = client.publish(topic, "probe").retry_for(Duration::ZERO).send();
        publish.await.map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
        published += 1;
    }
}

/// A topic that nobody else uses.
fn probe_topic() -> String {
    format!("doctor/{}", std::process::id())
}

fn client(remote: &RemoteArgs, base: &Url) -> Option<Client> {
    let mut builder = Client::builder(base.as_str());
    if let Some(token) = &remote.token {
        builder = builder.token(token);
    }
    builder.build().ok()
}

const PROBES: u32 = 5;
/// Above it, people notice.
const SLOW: Duration = Duration::from_millis(150);
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const BUFFERING_FIX: &str = "nginx: `proxy_buffering off; proxy_http_version 1.1; proxy_read_timeout 24h;`, or have \
    the server send X-Accel-Buffering: no and nginx not ignore it (proxy_ignore_headers); apache: `flushpackets=on`; varnish: `return (pipe)`";

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        lines.iter().map(pair).collect()
    }

    fn bad_checks(status: u16, headers: &HeaderMap) -> Vec<&'static str> {
        let findings = judge_head(status, headers);
        findings.iter().filter(|found| found.level == Level::Bad).map(|found| found.check).collect()
    }

    #[test]
    fn a_stream_as_it_should_be_has_nothing_wrong() {
        let headers = head(&[
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-cache, no-transform"),
            ("x-accel-buffering", "no"),
        ]);
        assert!(judge_head(200, &headers).iter().all(|found| found.level == Level::Good));
    }

    #[test]
    fn what_breaks_a_stream_is_named() {
        let headers = head(&[("content-type", "text/html"), ("content-encoding", "gzip")]);
        assert_eq!(bad_checks(200, &headers), ["content type", "compression", "caching"]);
        for status in [401, 404, 502] {
            assert_eq!(bad_checks(status, &head(&[])), ["status"], "{status}");
        }
        assert!(bad_checks(204, &head(&[])).is_empty());
    }

    #[test]
    fn a_server_is_told_from_a_stream_by_its_path() {
        let is = |url: &str| is_base(&Url::parse(url).unwrap());
        assert!(is("http://h") && is("http://h/prefix/"));
        assert!(!is("http://h/topics/a") && !is("http://h/?topic=a"));
    }
}

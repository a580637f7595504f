//! When a subscriber reads on, waits, or stops: [`Reconnect`], a state machine without a clock, sockets or randomness.
//!
//! It follows "the EventSource interface" of the HTML standard, with what real servers need added: an overloaded or
//! restarting server (429, 5xx) is a reason to come back, not to stop for good.

use std::time::Duration;

use crate::backoff::Backoff;

/// The state of one subscription over all of its connections.
///
/// Its user tells it what happened, and does what the answer says:
///
/// | what happened | call |
/// |---|---|
/// | a response's head came | [`handle_response`](Self::handle_response) |
/// | bytes of its body came | [`handle_progress`](Self::handle_progress) |
/// | the stream asked for another reconnection time | [`handle_retry`](Self::handle_retry) |
/// | no connection, or the body broke off or ended | [`handle_lost`](Self::handle_lost) |
#[derive(Clone, Debug)]
pub(crate) struct Reconnect {
    /// What the server last asked for in `retry`, else [`RETRY_DEFAULT`].
    retry: Duration,
    delay_max: Duration,
    /// Attempts in a row that brought nothing.
    failures: u32,
}

/// A response's head, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) status: u16,
    pub(crate) content_type: Option<&'a str>,
    /// `Retry-After`, where it was given in seconds.
    pub(crate) retry_after: Option<Duration>,
}

/// What to do about a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Read the stream.
    Read,
    /// Drop the response, wait, and connect again.
    Wait(Duration),
    /// There will be nothing more.
    Finished,
    /// The server refused, and would again.
    Refused,
    /// The server answered with something that is not an event stream.
    NotEventStream,
}

/// How a connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It failed, or the body broke off, or it ended while there was more to come.
    Unexpected,
    /// The body ended behind an end event: all that is left to do is to ask whether that was all.
    BehindEnd,
}

impl Reconnect {
    /// A subscription that has not connected yet. No wait is longer than `delay_max` unless the server asks for one.
    pub(crate) fn new(delay_max: Duration) -> Reconnect {
        Reconnect { retry: RETRY_DEFAULT, delay_max, failures: 0 }
    }

    /// Decides about a response, redirects followed. `random` spreads the wait.
    pub(crate) fn handle_response(&mut self, head: Head<'_>, random: u64) -> Verdict {
        match head.status {
            200 if head.content_type.is_some_and(is_event_stream) => Verdict::Read,
            200 => Verdict::NotEventStream,
            204 => Verdict::Finished,
            // Too early, timeouts, overload, and what proxies say while the server behind them restarts.
            408 | 425 | 429 | 500 | 502..=504 | 507..=599 => {
                let delay = self.handle_lost(Loss::Unexpected, random);
                Verdict::Wait(delay.max(head.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)))
            }
            _ => Verdict::Refused,
        }
    }

    /// The stream is alive: the next loss counts as the first again.
    pub(crate) fn handle_progress(&mut self) {
        self.failures = 0;
    }

    /// The stream asks to be left alone for this long after a loss.
    pub(crate) fn handle_retry(&mut self, retry: Duration) {
        self.retry = retry.clamp(RETRY_MIN, RETRY_MAX);
    }

    /// How long to wait before the next connection. `random` spreads the wait.
    ///
    /// The standard asks to wait the reconnection time and allows more; the more is exponential and all random.
    pub(crate) fn handle_lost(&mut self, loss: Loss, random: u64) -> Duration {
        if loss == Loss::BehindEnd && self.failures == 0 {
            self.failures = 1;
            return Duration::ZERO;
        }
        let extra = Backoff { base: self.retry / 2, max: self.delay_max };
        let delay = self.retry.saturating_add(extra.delay(self.failures, random));
        self.failures = self.failures.saturating_add(1);
        delay.min(self.delay_max.max(self.retry))
    }
}

/// Whether a `Content-Type` is that of an event stream, whatever its parameters say.
fn is_event_stream(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(longwave_sse::MEDIA_TYPE)
}

/// The reconnection time until a server names another. The standard suggests "a few seconds".
const RETRY_DEFAULT: Duration = Duration::from_secs(1);
/// A server that asks for no wait at all does not mean a busy loop.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// No server keeps a client away for longer with `retry`.
const RETRY_MAX: Duration = Duration::from_secs(60 * 60);
/// Nor with `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(30);

    fn head(status: u16) -> Head<'static> {
        Head { status, content_type: None, retry_after: None }
    }

    fn verdict(head: Head<'_>) -> Verdict {
        Reconnect::new(MAX).handle_response(head, 0)
    }

    #[test]
    fn only_an_event_stream_is_read() {
        for (content_type, expected) in [
            (Some("text/event-stream"), Verdict::Read),
            (Some("Text/Event-Stream; charset=utf-8"), Verdict::Read),
            (Some("text/event-streams"), Verdict::NotEventStream),
            (Some("text/html"), Verdict::NotEventStream),
            (None, Verdict::NotEventStream),
        ] {
            assert_eq!(verdict(Head { content_type, ..head(200) }), expected, "{content_type:?}");
        }
    }

    #[test]
    fn a_204_is_the_end_and_a_client_error_a_refusal() {
        assert_eq!(verdict(head(204)), Verdict::Finished);
        for status in [201, 205, 206, 304, 400, 401, 403, 404, 406, 410, 501, 505] {
            assert_eq!(verdict(head(status)), Verdict::Refused, "{status}");
        }
    }

    #[test]
    fn an_overloaded_or_restarting_server_is_asked_again() {
        for status in [408, 425, 429, 500, 502, 503, 504, 507, 529] {
            assert_eq!(verdict(head(status)), Verdict::Wait(RETRY_DEFAULT), "{status}");
        }
    }

    #[test]
    fn retry_after_is_kept_and_bounded() {
        let retry_after =
            |seconds| Head { retry_after: Some(Duration::from_secs(seconds)), ..head(503) };
        assert_eq!(verdict(retry_after(7)), Verdict::Wait(Duration::from_secs(7)));
        assert_eq!(verdict(retry_after(0)), Verdict::Wait(RETRY_DEFAULT));
        assert_eq!(verdict(retry_after(u64::MAX)), Verdict::Wait(RETRY_AFTER_MAX));
    }

    #[test]
    fn the_first_wait_is_the_reconnection_time_and_later_ones_grow_to_a_bound() {
        let mut reconnect = Reconnect::new(MAX);
        reconnect.handle_retry(Duration::from_secs(3));
        let waits: Vec<u64> =
            (0..6).map(|_| reconnect.clone().handle_lost(Loss::Unexpected, 0).as_secs()).collect();
        assert_eq!(waits, [3; 6], "never less than the server asked for");

        let longest: Vec<u128> =
            (0..6).map(|_| reconnect.handle_lost(Loss::Unexpected, u64::MAX).as_millis()).collect();
        assert_eq!(longest, [4_500, 6_000, 9_000, 15_000, 27_000, 30_000]);
    }

    #[test]
    fn a_stream_that_was_alive_starts_over() {
        let mut reconnect = Reconnect::new(MAX);
        for _ in 0..20 {
            reconnect.handle_lost(Loss::Unexpected, u64::MAX);
        }
        assert_eq!(reconnect.clone().handle_lost(Loss::Unexpected, u64::MAX), MAX);
        reconnect.handle_progress();
        assert_eq!(reconnect.handle_lost(Loss::Unexpected, 0), RETRY_DEFAULT);
    }

    #[test]
    fn a_server_that_asks_for_more_than_the_bound_gets_it() {
        let mut reconnect = Reconnect::new(MAX);
        reconnect.handle_retry(Duration::from_secs(120));
        assert_eq!(reconnect.handle_lost(Loss::Unexpected, u64::MAX), Duration::from_secs(120));
    }

    #[test]
    fn a_retry_of_zero_is_no_busy_loop_and_an_endless_one_is_cut() {
        let mut reconnect = Reconnect::new(MAX);
        reconnect.handle_retry(Duration::ZERO);
        assert_eq!(reconnect.clone().handle_lost(Loss::Unexpected, 0), RETRY_MIN);
        reconnect.handle_retry(Duration::from_millis(u64::MAX));
        assert_eq!(reconnect.handle_lost(Loss::Unexpected, 0), RETRY_MAX);
    }

    #[test]
    fn behind_an_end_the_server_is_asked_at_once_but_only_once() {
        let mut reconnect = Reconnect::new(MAX);
        assert_eq!(reconnect.handle_lost(Loss::BehindEnd, u64::MAX), Duration::ZERO);
        assert!(reconnect.handle_lost(Loss::BehindEnd, 0) >= RETRY_DEFAULT);
    }
}

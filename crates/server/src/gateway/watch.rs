//! Whether a stream is to be cancelled because nobody watches it: [`Watch`].

use std::time::Duration;

use tokio::time::Instant;

use super::route::Disconnect;
use super::stream::StreamId;
use crate::http::App;

/// How long a stream goes on without anybody who reads it.
#[derive(Debug)]
pub(super) struct Watch {
    /// How long it goes on unwatched; `None` for ever.
    patience: Option<Duration>,
    was_watched: bool,
    unwatched_since: Option<Instant>,
}

impl Watch {
    /// Of a stream whose first reader is still to come.
    pub(super) fn new(disconnect: Disconnect) -> Watch {
        let patience = match disconnect {
            Disconnect::Continue => None,
            Disconnect::Cancel => Some(Duration::ZERO),
            Disconnect::Grace { ms } => Some(Duration::from_millis(ms)),
        };
        Watch { patience, was_watched: false, unwatched_since: None }
    }

    /// Of a stream whose reader has just gone.
    pub(super) fn left(disconnect: Disconnect) -> Watch {
        Watch { was_watched: true, ..Watch::new(disconnect) }
    }

    /// Waits until nobody has watched the stream for long enough: for ever where it goes on whoever watches.
    pub(super) async fn unwatched(mut self, app: App, id: StreamId) {
        if self.patience.is_none() {
            return std::future::pending().await;
        }
        let selectors = id.selectors();
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            if self.gives_up(app.hub().followers(&selectors), Instant::now()) {
                return;
            }
        }
    }

    fn gives_up(&mut self, watchers: usize, now: Instant) -> bool {
        if watchers > 0 {
            self.was_watched = true;
            self.unwatched_since = None;
            return false;
        }
        let since = *self.unwatched_since.get_or_insert(now);
        // Who asked for it needs a moment to begin to read.
        let settle = if self.was_watched { Duration::ZERO } else { SETTLE };
        self.patience.is_some_and(|patience| now.duration_since(since) >= patience.max(settle))
    }
}

/// How often it is looked whether somebody watches.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long the first watcher may take.
const SETTLE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_given_up_when_nobody_has_watched_it_for_long_enough() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut cancel = Watch::new(Disconnect::Cancel);
        assert!(!cancel.gives_up(0, at(0)));
        assert!(!cancel.gives_up(1, at(100)));
        assert!(cancel.gives_up(0, at(200)));

        let mut never_watched = Watch::new(Disconnect::Cancel);
        assert!(!never_watched.gives_up(0, at(0)));
        assert!(!never_watched.gives_up(0, at(1900)));
        assert!(never_watched.gives_up(0, at(2000)));

        let mut left = Watch::left(Disconnect::Cancel);
        assert!(!left.gives_up(1, at(0)));
        assert!(left.gives_up(0, at(0)));

        let mut grace = Watch::new(Disconnect::Grace { ms: 5000 });
        assert!(!grace.gives_up(1, at(0)));
        assert!(!grace.gives_up(0, at(100)));
        assert!(!grace.gives_up(0, at(5000)));
        assert!(!grace.gives_up(1, at(5050)));
        assert!(!grace.gives_up(0, at(9000)));
        assert!(grace.gives_up(0, at(14_000)));

        let mut for_ever = Watch::left(Disconnect::Continue);
        assert!(!for_ever.gives_up(0, at(0)));
        assert!(!for_ever.gives_up(0, at(1_000_000_000)));
    }
}

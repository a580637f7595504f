//! How long to wait before another attempt: exponential, bounded, with full jitter. Read [`Backoff`].

use std::time::Duration;

/// The waits between attempts.
///
/// The n-th wait is a random part of `base * 2^n`, but never of more than `max`. The whole of it is random, because
/// many clients that failed together must not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) base: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// The wait after `failures` failed attempts in a row, picked by `random`.
    pub(crate) fn delay(self, failures: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        fraction(self.base.saturating_mul(factor).min(self.max), random)
    }
}

/// The part of `whole` that `random` stands for: none of it at 0, all of it at the largest.
fn fraction(whole: Duration, random: u64) -> Duration {
    let nanos = whole.as_nanos().saturating_mul(u128::from(random)) / u128::from(u64::MAX);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { base: Duration::from_millis(100), max: Duration::from_secs(5) };

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let longest = |failures| BACKOFF.delay(failures, u64::MAX).as_millis();
        assert_eq!(
            [0, 1, 2, 5, 6, 31, 32, u32::MAX].map(longest),
            [100, 200, 400, 3200, 5000, 5000, 5000, 5000]
        );
    }

    #[test]
    fn all_of_the_wait_is_random() {
        assert_eq!(BACKOFF.delay(3, 0), Duration::ZERO);
        assert_eq!(BACKOFF.delay(3, u64::MAX / 2).as_millis(), 399);
    }
}

//! How much memory request bodies may take, over all requests: [`Budget`].

use std::sync::Arc;

use http::HeaderValue;
use http::header::RETRY_AFTER;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Code, Problem};

/// Bytes that may be held.
pub(crate) struct Budget {
    permits: Arc<Semaphore>,
    bytes_max: usize,
}

/// Bytes of a budget that are spoken for until this is dropped.
pub(crate) struct Reservation {
    permits: Arc<Semaphore>,
    held: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Budget {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Budget { permits: Arc::new(Semaphore::new(bytes_max)), bytes_max }
    }

    /// How many bytes are held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes_max - self.permits.available_permits()
    }

    /// A reservation of nothing, to be changed as bytes come and go.
    pub(crate) fn reserve(&self) -> Result<Reservation, Problem> {
        let held = Arc::clone(&self.permits).try_acquire_many_owned(0).map_err(|_| exhausted())?;
        Ok(Reservation { permits: Arc::clone(&self.permits), held })
    }
}

impl Reservation {
    /// Holds `bytes` from now on, be it more or less than before.
    ///
    /// It never waits for others to give bytes back: they might wait likewise, for this one.
    ///
    /// # Errors
    /// [`Code::Overloaded`]; what was held still is.
    pub(crate) fn set(&mut self, bytes: usize) -> Result<(), Problem> {
        let held = self.held.num_permits();
        if bytes > held {
            let more = u32::try_from(bytes - held).map_err(|_| exhausted())?;
            let more =
                Arc::clone(&self.permits).try_acquire_many_owned(more).map_err(|_| exhausted())?;
            self.held.merge(more);
        } else {
            drop(self.held.split(held - bytes));
        }
        Ok(())
    }
}

fn exhausted() -> Problem {
    Problem::new(
        Code::Overloaded,
        "the server holds as many bytes of publishes under way as it may; try again",
    )
    .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_holds_another_can_not_have_until_it_is_given_back() {
        let budget = Budget::new(100);
        let mut one = budget.reserve().unwrap();
        let mut other = budget.reserve().unwrap();
        one.set(80).unwrap();
        assert_eq!(other.set(21).unwrap_err().code(), Code::Overloaded);
        other.set(20).unwrap();
        one.set(10).unwrap();
        other.set(90).unwrap();
        assert_eq!(budget.held_bytes(), 100);
        drop(other);
        one.set(100).unwrap();
    }
}

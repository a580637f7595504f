//! What a reactor is told by other threads: [`Inbox`].
//!
//! Everything in it is bounded: subscribers by the connections that the server takes, pages by what the reactor asked
//! for, channels by [`TOUCHED_MAX`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longwave_core::{ChannelId, LogPage, ReadFrom, SelectorSet};
use mio::Waker;

use crate::board::{Listener, Phase};
use crate::reactor::Parked;

/// What waits for a reactor.
pub(crate) struct Inbox<F> {
    mail: Mutex<Mail<F>>,
    waker: Waker,
    /// The subscribers that the reactor has, and those on their way to it.
    subscribers: AtomicUsize,
}

/// What came since the reactor looked last.
pub(crate) struct Mail<F> {
    pub(crate) touched: Touched,
    pub(crate) parked: Vec<Parked<F>>,
    pub(crate) pages: Vec<PageAnswer>,
    pub(crate) phase: Phase,
    /// Whether the reactor was woken since then.
    woken: Woken,
}

/// Which channels got something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// These, some of them more than once.
    Some(Vec<ChannelId>),
    /// More than it is worth to list.
    Any,
}

#[derive(PartialEq, Eq)]
enum Woken {
    No,
    Yes,
}

/// A page of the log that a reactor wants.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "hosts read all of it")]
pub struct PageRequest {
    /// Of which topics.
    pub selectors: Arc<SelectorSet>,
    /// From where on.
    pub from: ReadFrom,
    /// At most this many events. At least 1.
    pub events_max: usize,
    /// No further event once the page holds this many bytes.
    pub bytes_max: usize,
}

/// A page, or `None` where the log could not be read, and which of its reads the reactor is answered.
pub(crate) type PageAnswer = (u64, Option<LogPage>);

/// Where the answer to a [`PageRequest`] goes. Dropping it without an answer tells that the log could not be read.
pub struct PageReply {
    answer: Option<Box<dyn FnOnce(Option<LogPage>) + Send>>,
}

impl PageReply {
    pub(crate) fn new<F: Send + 'static>(inbox: Arc<Inbox<F>>, read: u64) -> PageReply {
        let answer = move |page| inbox.put(|mail| mail.pages.push((read, page)));
        PageReply { answer: Some(Box::new(answer)) }
    }

    /// Gives the page.
    pub fn send(mut self, page: LogPage) {
        if let Some(answer) = self.answer.take() {
            answer(Some(page));
        }
    }
}

impl Drop for PageReply {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            answer(None);
        }
    }
}

impl std::fmt::Debug for PageReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageReply").finish_non_exhaustive()
    }
}

impl<F> Inbox<F> {
    pub(crate) fn new(waker: Waker) -> Inbox<F> {
        let mail = Mutex::new(Mail::empty(Phase::Open));
        Inbox { mail, waker, subscribers: AtomicUsize::new(0) }
    }

    /// Gives the reactor a subscriber; one that comes after the end is hung up on.
    pub(crate) fn park(&self, parked: Parked<F>) {
        // Counted first: from here on the reactor is told of channels, and what came before, it looks up.
        self.subscribers.fetch_add(1, Ordering::SeqCst);
        let mut late = Some(parked);
        self.put(|mail| {
            if mail.phase < Phase::Closed {
                mail.parked.extend(late.take());
            }
        });
    }

    /// Takes in that the reactor lost so many subscribers.
    pub(crate) fn handle_gone(&self, subscribers: usize) {
        self.subscribers.fetch_sub(subscribers, Ordering::SeqCst);
    }

    /// Takes in that there is no reactor any more, and hangs up on those who were on their way to it.
    pub(crate) fn close(&self) {
        self.enter(Phase::Closed);
        self.take(&mut Mail::empty(Phase::Closed));
    }

    /// How many subscribers it has, or will have.
    pub(crate) fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::SeqCst)
    }

    /// Swaps what came for an empty `mail`, whose memory is used again.
    pub(crate) fn take(&self, mail: &mut Mail<F>) {
        let mut waiting = self.lock();
        mail.phase = waiting.phase;
        std::mem::swap(&mut *waiting, mail);
        waiting.woken = Woken::No;
    }

    fn enter(&self, phase: Phase) {
        self.put(|mail| mail.phase = mail.phase.max(phase));
    }

    fn put(&self, put: impl FnOnce(&mut Mail<F>)) {
        let mut mail = self.lock();
        put(&mut mail);
        if std::mem::replace(&mut mail.woken, Woken::Yes) == Woken::No {
            drop(mail);
            if let Err(error) = self.waker.wake() {
                // The reactor looks by itself, later: it never sleeps for longer than a heartbeat's share.
                tracing::error!(%error, "can't wake a delivery reactor");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Mail<F>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Touched {
    /// Forgets them, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        match self {
            Touched::Some(channels) => channels.clear(),
            Touched::Any => *self = Touched::Some(Vec::new()),
        }
    }
}

impl<F> Mail<F> {
    /// Nothing.
    pub(crate) fn empty(phase: Phase) -> Mail<F> {
        Mail {
            touched: Touched::Some(Vec::new()),
            parked: Vec::new(),
            pages: Vec::new(),
            phase,
            woken: Woken::No,
        }
    }
}

impl<F: Send> Listener for Inbox<F> {
    fn handle_touched(&self, channels: &[ChannelId]) {
        if self.subscribers() == 0 {
            return;
        }
        self.put(|mail| match &mut mail.touched {
            Touched::Some(touched) if touched.len() + channels.len() <= TOUCHED_MAX => {
                touched.extend_from_slice(channels);
            }
            touched => *touched = Touched::Any,
        });
    }

    fn handle_phase(&self, phase: Phase) {
        self.enter(phase);
    }
}

/// How many touched channels are listed. A reactor that is further behind looks through all it has, which takes less.
pub(crate) const TOUCHED_MAX: usize = 1 << 16;

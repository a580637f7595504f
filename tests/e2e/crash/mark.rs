//! What the crash test's events say: which publish they are of, so that each is recognised in the log.
//!
//! Read [`Mark`].

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;

/// An event of the crash test, unique in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    pub(super) kind: Kind,
    pub(super) publisher: u32,
    /// Which of the publisher's requests.
    pub(super) request: u32,
    /// Which event of the request.
    pub(super) index: u32,
    /// How many events the request has.
    pub(super) size: u32,
}

/// How an event was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// By a request of its own; not tried again.
    Single,
    /// By a request of its own under a key; tried again until it was acknowledged.
    Keyed,
    /// In a batch.
    Batch,
    /// In a body that was appended as it arrived.
    Stream,
    /// By a request of its own, to a topic that keeps only a few.
    Churn,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] =
        [Kind::Single, Kind::Keyed, Kind::Batch, Kind::Stream, Kind::Churn];

    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Single => "single",
            Kind::Keyed => "keyed",
            Kind::Batch => "batch",
            Kind::Stream => "stream",
            Kind::Churn => "churn",
        }
    }
}

impl Mark {
    /// All events of the request that this one is of.
    pub(super) fn siblings(self) -> impl Iterator<Item = Mark> {
        (0..self.size).map(move |index| Mark { index, ..self })
    }

    /// The topic that it is published to. Several publishers share each.
    pub(super) fn topic(self) -> String {
        match self.kind {
            Kind::Churn => format!("{CHURN_PREFIX}{}", self.publisher % CHURN_TOPICS),
            _ => format!("{KEPT_PREFIX}{}", self.request % KEPT_TOPICS),
        }
    }

    /// The event's data: what [`Mark::from_str`] reads, and some ballast.
    pub(super) fn text(self, ballast: usize) -> String {
        format!("{self} {}", "x".repeat(ballast))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mark { kind, publisher, request, index, size } = self;
        write!(f, "{} {publisher} {request} {index} {size}", kind.word())
    }
}

impl FromStr for Mark {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Mark> {
        let mut words = text.split(' ');
        let word = words.next().unwrap_or_default();
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word);
        let kind = kind.with_context(|| format!("an event that nobody published: {text}"))?;
        let mut number = || -> anyhow::Result<u32> {
            Ok(words.next().context("the event is cut off")?.parse()?)
        };
        let mark = Mark {
            kind,
            publisher: number()?,
            request: number()?,
            index: number()?,
            size: number()?,
        };
        let ballast = words.next().context("the event is cut off")?;
        anyhow::ensure!(ballast.bytes().all(|byte| byte == b'x'), "changed data: {text}");
        Ok(mark)
    }
}

/// Topics that keep everything; many requests share one.
pub(super) const KEPT_PREFIX: &str = "crash/kept/";
pub(super) const KEPT_TOPICS: u32 = 3;
/// Topics that keep [`CHURN_EVENTS_MAX`] events, so that most of each segment is soon dead.
pub(super) const CHURN_PREFIX: &str = "crash/churn/";
pub(super) const CHURN_TOPICS: u32 = 2;
pub(super) const CHURN_EVENTS_MAX: usize = 40;

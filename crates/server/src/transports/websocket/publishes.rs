//! What one connection publishes, in the order in which it was sent: [`Publishes`].
//!
//! One append is under way at a time, since the log promises no order among appends that are under way together. What
//! arrives meanwhile waits, and goes next; of what waits, events of one topic go together, so that a client which sends
//! many does not pay for a sync each.

use std::collections::VecDeque;

use longwave_core::{Append, Appended, Outcome, Seq};
use tokio::task::JoinHandle;

use super::message::{self, Ref};
use crate::http::{App, Code, Problem, append_problem};

/// The publishes of one connection that were read and are not answered yet.
pub(super) struct Publishes {
    app: App,
    waiting: VecDeque<Publish>,
    /// Of the data in `waiting`.
    waiting_bytes: usize,
    in_flight: Option<InFlight>,
}

/// A publish, and what its client calls it, where it wants an answer.
struct Publish {
    append: Append,
    reference: Option<Ref>,
}

struct InFlight {
    /// The answers, in order. A task of its own: the log may have given it a place in its queue, which it must take
    /// even while the connection waits for a client that does not read.
    answers: JoinHandle<Vec<String>>,
    publishes: usize,
}

impl Publishes {
    pub(super) fn new(app: App) -> Publishes {
        Publishes { app, waiting: VecDeque::new(), waiting_bytes: 0, in_flight: None }
    }

    /// Whether another publish may be added.
    pub(super) fn has_room(&self) -> bool {
        let in_flight = self.in_flight.as_ref().map_or(0, |in_flight| in_flight.publishes);
        in_flight + self.waiting.len() < PUBLISHES_MAX && self.waiting_bytes < WAITING_BYTES_MAX
    }

    /// Adds a publish behind the others. There must be room.
    ///
    /// # Errors
    /// [`Code::EventTooLarge`].
    pub(super) fn push(&mut self, append: Append, reference: Option<Ref>) -> Result<(), Problem> {
        let bytes_max = self.app.options().event_bytes_max;
        let bytes = data_bytes(&append);
        if bytes > bytes_max {
            return Err(Problem::new(
                Code::EventTooLarge,
                format_args!("the event has {bytes} bytes, and {bytes_max} is the most"),
            ));
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(Publish { append, reference });
        Ok(())
    }

    /// The answers to the append that is done next; never, where there is nothing to append.
    ///
    /// # Cancel safety
    /// Nothing is lost where this is dropped: the append goes on, and its answers are given by the next call.
    pub(super) async fn next(&mut self) -> Vec<String> {
        if self.in_flight.is_none() {
            self.in_flight = self.start();
        }
        let Some(in_flight) = &mut self.in_flight else { return std::future::pending().await };
        let answers = (&mut in_flight.answers).await;
        self.in_flight = None;
        answers.unwrap_or_else(|error| {
            tracing::error!(%error, "a publish over a WebSocket did not finish");
            let problem = Problem::new(Code::Internal, "the server failed while it published");
            vec![message::error(None, &problem)]
        })
    }

    fn start(&mut self) -> Option<InFlight> {
        let Publish { mut append, reference } = self.waiting.pop_front()?;
        self.waiting_bytes -= data_bytes(&append);
        let mut references = vec![reference];
        while let Some(next) = self.waiting.pop_front_if(|next| goes_with(&append, &next.append)) {
            self.waiting_bytes -= data_bytes(&next.append);
            append.messages.extend(next.append.messages);
            references.push(next.reference);
        }
        let publishes = references.len();
        let answers = tokio::spawn(publish(self.app.clone(), append, references));
        Some(InFlight { answers, publishes })
    }
}

/// Whether two publishes can be one append: each must be able to stand there without the other. A key is one publish's
/// own, and a publish that ends its topic would take the others along where it is refused.
fn goes_with(first: &Append, next: &Append) -> bool {
    let plain = |append: &Append| append.key.is_none() && append.end.is_none();
    plain(first) && plain(next) && first.topic == next.topic
}

/// Appends, and gives the answers to those who want one.
async fn publish(app: App, append: Append, references: Vec<Option<Ref>>) -> Vec<String> {
    let topic = append.topic.clone();
    let appended = match app.log().append(append).await {
        Ok(appended) => appended,
        Err(error) => {
            let problem = append_problem(&app, &error);
            let answer = |reference: &Option<Ref>| message::error(reference.as_ref(), &problem);
            return references.iter().map(answer).collect();
        }
    };
    if appended.outcome == Outcome::New {
        app.metrics().published(appended.count.into());
    }
    let epoch = app.log().epoch();
    let answer = |(reference, appended): (Option<Ref>, Appended)| {
        reference.map(|reference| message::published(&reference, epoch, &topic, &appended))
    };
    let shares = shares(appended, references.len());
    references.into_iter().zip(shares).filter_map(answer).collect()
}

/// What each of the publishes that went together got: an append's events stand side by side in the log.
fn shares(appended: Appended, publishes: usize) -> impl Iterator<Item = Appended> {
    let Appended { first: Seq(first), .. } = appended;
    (first..).take(publishes).map(move |seq| match publishes {
        1 => appended,
        _ => Appended { first: Seq(seq), last: Seq(seq), count: 1, ..appended },
    })
}

fn data_bytes(append: &Append) -> usize {
    append.messages.iter().map(|new| new.message.data.len()).sum()
}

/// The most publishes of one connection that were read and are not answered yet.
const PUBLISHES_MAX: usize = 32;
/// Behind this many bytes of data that wait, nothing more is read. With one event more, no append is too large for a
/// log.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

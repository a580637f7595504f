//! Publishing a flow of messages: [`Publisher`] keeps what is not acknowledged and sends it again until it is.
//!
//! **Exactly once.** Messages travel in batches, one under way at a time, so their order is kept. A batch has a key
//! and never changes once it was sent: whatever became of an attempt that was not answered, the next one either adds
//! the batch as a whole or is recognised as a duplicate. A server that is killed at any moment therefore has each
//! message once. The one limit is the server's memory for keys: a batch that was stored, not acknowledged, and then sent
//! again more than ten minutes later is there twice.
//!
//! **Splitting.** A server with tighter limits refuses a batch as a whole. It is then cut in half, under new keys, until
//! it fits or is one message.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::message::Message;
use crate::publish::{PublishError, Receipt};
use crate::random::unique_name;

impl Client {
    /// A publisher of one topic that survives restarts of the server. Must be called within a Tokio runtime.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = longwave_client::Client::new("http://127.0.0.1:4480")?;
    /// let publisher = client.publisher("readings")?;
    /// for reading in 0..100 {
    ///     publisher.push(reading.to_string()).await?;
    /// }
    /// let summary = publisher.finish().await?;
    /// println!("{} events are durable", summary.acknowledged);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NoRandomness`]: the publisher could not name its batches uniquely.
    pub fn publisher(&self, topic: impl Into<String>) -> Result<Publisher, NoRandomness> {
        let session = unique_name().ok_or(NoRandomness)?;
        let (sender, receiver) = mpsc::channel(CHANNEL_MESSAGES);
        let (progress_sender, progress) = watch::channel(Progress::default());
        let worker = Worker {
            client: self.clone(),
            topic: topic.into(),
            receiver,
            queue: Queue::new(session),
            progress: progress_sender,
        };
        Ok(Publisher { sender, progress, task: tokio::spawn(worker.run()) })
    }
}

/// Publishes messages in the order they are pushed, each exactly once, through restarts of the server.
///
/// At most [`Publisher::MESSAGES_MAX`] messages or [`Publisher::BYTES_MAX`] bytes wait for their acknowledgement;
/// [`push`](Self::push) then waits. Dropping it does not wait for what was pushed; [`finish`](Self::finish) does.
#[derive(Debug)]
pub struct Publisher {
    sender: mpsc::Sender<Message>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<Result<Progress, PublishError>>,
}

/// How far a [`Publisher`] is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many messages are durable.
    pub acknowledged: u64,
    /// How many were taken and are not known to be durable.
    pub pending: u64,
    /// The id of the last durable message; empty before the first.
    pub last_id: String,
    /// Why messages wait. `None` while all goes well.
    pub trouble: Option<String>,
}

/// The system has no source of randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no source of randomness, so batches can't be named uniquely")]
pub struct NoRandomness;

/// The publisher has stopped; [`Publisher::finish`] tells why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the publisher has stopped because the server refused a message")]
pub struct PublisherStopped;

impl Publisher {
    /// The most messages that wait for their acknowledgement.
    pub const MESSAGES_MAX: usize = 10_000;
    /// The most bytes of data that wait, but for one message that is larger alone.
    pub const BYTES_MAX: usize = 16 * 1024 * 1024;

    /// Takes a message, as soon as there is room for it.
    ///
    /// # Errors
    /// [`PublisherStopped`].
    ///
    /// # Cancel safety
    /// A dropped call has not taken the message.
    pub async fn push(&self, message: impl Into<Message>) -> Result<(), PublisherStopped> {
        self.sender.send(message.into()).await.map_err(|_| PublisherStopped)
    }

    /// How far the publisher is, and a way to wait for changes of it.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits until all that was pushed is durable.
    ///
    /// # Errors
    /// [`PublishError`] for which trying again makes no sense. What was acknowledged before is durable.
    pub async fn finish(self) -> Result<Progress, PublishError> {
        drop(self.sender);
        match self.task.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only a runtime that shuts down cancels the task, and then nobody is left to be told.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// The task behind a [`Publisher`].
struct Worker {
    client: Client,
    topic: String,
    receiver: mpsc::Receiver<Message>,
    queue: Queue,
    progress: watch::Sender<Progress>,
}

type Sending = Pin<Box<dyn Future<Output = Result<Receipt, PublishError>> + Send>>;

impl Worker {
    async fn run(mut self) -> Result<Progress, PublishError> {
        let mut sending: Option<Sending> = None;
        let mut open = true;
        loop {
            if sending.is_none() {
                sending = self.queue.next_batch().map(|batch| self.send(batch));
            }
            if sending.is_none() && !open {
                return Ok(self.progress.borrow().clone());
            }
            tokio::select! {
                message = self.receiver.recv(), if open && self.queue.has_room() => {
                    match message {
                        Some(message) => self.take(message),
                        None => open = false,
                    }
                }
                result = until_done(&mut sending) => {
                    sending = None;
                    match result {
                        Ok(receipt) => self.acknowledge(&receipt),
                        Err(error) if is_too_large(&error) && self.queue.split() == Split::Done => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    /// Takes a message, and with it those that came together: they go into one batch.
    fn take(&mut self, message: Message) {
        self.queue.push(message);
        while self.queue.has_room()
            && let Ok(message) = self.receiver.try_recv()
        {
            self.queue.push(message);
        }
        let pending = self.queue.pending();
        self.progress.send_modify(|progress| progress.pending = pending);
    }

    fn acknowledge(&mut self, receipt: &Receipt) {
        let acknowledged = self.queue.acknowledge();
        let pending = self.queue.pending();
        self.progress.send_modify(|progress| {
            progress.acknowledged += acknowledged;
            progress.pending = pending;
            progress.last_id.clone_from(&receipt.last);
            progress.trouble = None;
        });
    }

    fn send(&self, batch: Batch) -> Sending {
        let publish = self
            .client
            .publish(self.topic.clone(), batch.messages)
            .key(batch.key)
            .retry_for(Duration::MAX);
        let progress = self.progress.clone();
        Box::pin(publish.send_observed(move |error| {
            let trouble = error.to_string();
            progress.send_if_modified(|progress| {
                let is_news = progress.trouble.as_ref() != Some(&trouble);
                progress.trouble = Some(trouble);
                is_news
            });
        }))
    }
}

fn is_too_large(error: &PublishError) -> bool {
    matches!(error, PublishError::Refused(refusal) if refusal.status == StatusCode::PAYLOAD_TOO_LARGE)
}

async fn until_done(sending: &mut Option<Sending>) -> Result<Receipt, PublishError> {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

/// What waits to be acknowledged, and how it is cut into batches. No I/O.
#[derive(Debug)]
struct Queue {
    session: String,
    /// Of the batch under way, or of the next one.
    batch: u64,
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    /// The messages that are under way, and their bytes.
    sent: Vec<Message>,
    sent_bytes: usize,
    /// The most messages in a batch, as far as the server is known.
    batch_messages_max: usize,
}

/// Whether a batch could be made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    Done,
    /// It is one message.
    Impossible,
}

/// Messages that travel together.
#[derive(Debug)]
struct Batch {
    key: String,
    messages: Vec<Message>,
}

impl Queue {
    fn new(session: String) -> Queue {
        Queue {
            session,
            batch: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            sent: Vec::new(),
            sent_bytes: 0,
            batch_messages_max: BATCH_MESSAGES_MAX,
        }
    }

    fn push(&mut self, message: Message) {
        self.waiting_bytes += message.data_len();
        self.waiting.push_back(message);
    }

    /// Takes messages out as the batch to be under way until it is acknowledged.
    fn next_batch(&mut self) -> Option<Batch> {
        while let Some(message) = self.waiting.front() {
            let bytes = message.data_len();
            let is_full = self.sent.len() >= self.batch_messages_max
                || self.sent_bytes.saturating_add(bytes) > BATCH_BYTES_MAX;
            if is_full && !self.sent.is_empty() {
                break;
            }
            self.sent_bytes += bytes;
            self.waiting_bytes -= bytes;
            self.sent.extend(self.waiting.pop_front());
        }
        let key = format!("{}-{}", self.session, self.batch);
        (!self.sent.is_empty()).then(|| Batch { key, messages: self.sent.clone() })
    }

    /// The batch under way is durable. Returns how many messages it had.
    fn acknowledge(&mut self) -> u64 {
        self.batch += 1;
        self.sent_bytes = 0;
        self.sent.drain(..).count() as u64
    }

    /// The batch under way was refused for its size. It waits again, in front, to go in smaller batches.
    fn split(&mut self) -> Split {
        if self.sent.len() <= 1 {
            return Split::Impossible;
        }
        self.batch_messages_max = self.sent.len() / 2;
        self.batch += 1;
        self.waiting_bytes += std::mem::take(&mut self.sent_bytes);
        for message in self.sent.drain(..).rev() {
            self.waiting.push_front(message);
        }
        Split::Done
    }

    fn pending(&self) -> u64 {
        (self.waiting.len() + self.sent.len()) as u64
    }

    fn has_room(&self) -> bool {
        self.waiting.len() + self.sent.len() < Publisher::MESSAGES_MAX
            && self.waiting_bytes + self.sent_bytes < Publisher::BYTES_MAX
    }
}

/// Well below what a server takes by default (10,000 events, 8 MiB), so that tighter settings work too.
const BATCH_MESSAGES_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Room between `push` and the task, so that both run without waking each other for every message.
const CHANNEL_MESSAGES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(batch: Option<Batch>) -> (String, Vec<String>) {
        let batch = batch.expect("there is a batch");
        let text = |message: Message| String::from_utf8(message.to_body().1.to_vec()).unwrap();
        (batch.key, batch.messages.into_iter().map(text).collect())
    }

    #[test]
    fn what_waits_while_a_batch_is_under_way_goes_together() {
        let mut queue = Queue::new("s".into());
        queue.push("a".into());
        assert_eq!(texts(queue.next_batch()), ("s-0".into(), vec!["a".into()]));
        queue.push("b".into());
        queue.push("c".into());
        assert_eq!(queue.pending(), 3);
        assert_eq!(queue.acknowledge(), 1);
        assert_eq!(texts(queue.next_batch()), ("s-1".into(), vec!["b".into(), "c".into()]));
        assert_eq!(queue.acknowledge(), 2);
        assert_eq!(queue.pending(), 0);
        assert!(queue.next_batch().is_none());
    }

    #[test]
    fn a_batch_is_bounded_in_messages_and_bytes() {
        let mut queue = Queue::new("s".into());
        for _ in 0..=BATCH_MESSAGES_MAX {
            queue.push("x".into());
        }
        assert_eq!(texts(queue.next_batch()).1.len(), BATCH_MESSAGES_MAX);
        queue.acknowledge();
        queue.push("y".repeat(BATCH_BYTES_MAX).into());
        assert_eq!(texts(queue.next_batch()).1.len(), 1);
        queue.acknowledge();
        assert_eq!(
            texts(queue.next_batch()).1.len(),
            1,
            "a message larger than a batch goes alone"
        );
    }

    #[test]
    fn a_batch_that_is_too_large_goes_in_halves_under_new_keys() {
        let mut queue = Queue::new("s".into());
        for text in ["a", "b", "c"] {
            queue.push(text.into());
        }
        assert_eq!(texts(queue.next_batch()).1.len(), 3);
        queue.push("d".into());
        assert_eq!(queue.split(), Split::Done);
        assert_eq!(queue.pending(), 4);
        for (key, text) in [("s-1", "a"), ("s-2", "b"), ("s-3", "c"), ("s-4", "d")] {
            assert_eq!(texts(queue.next_batch()), (key.into(), vec![text.into()]));
            assert_eq!(queue.split(), Split::Impossible, "a single message is what it is");
            assert_eq!(queue.acknowledge(), 1);
        }
    }

    #[test]
    fn a_full_queue_takes_nothing_more_until_something_is_acknowledged() {
        let mut queue = Queue::new("s".into());
        while queue.has_room() {
            queue.push("x".into());
        }
        assert_eq!(queue.pending(), 10_000);
        queue.next_batch();
        assert!(!queue.has_room(), "what is under way may have to be sent again");
        queue.acknowledge();
        assert!(queue.has_room());

        let mut queue = Queue::new("s".into());
        queue.push("x".repeat(Publisher::BYTES_MAX).into());
        assert!(!queue.has_room());
    }
}

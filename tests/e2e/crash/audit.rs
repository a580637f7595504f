//! Holds the log against the book: what a crash must not do.
//!
//! - Every acknowledged event is in the log, once, under the id that was acknowledged, in the order of the publisher.
//! - An event that was not acknowledged is in the log at most once, and only if somebody tried to publish it.
//! - A batch is in the log as a whole or not at all, and side by side; of a stream it is a beginning without holes.
//! - Every event that a reader saw is in the log, under the id that the reader saw.
//! - What is in the log stays in the log.
//!
//! Of topics that keep only their newest events, the same for those that they must have kept. Read [`Auditor`].

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use longwave_e2e::HANG_LIMIT;
use serde_json::Value;

use super::book::{Book, Inner, Last};
use super::mark::{CHURN_EVENTS_MAX, CHURN_PREFIX, CHURN_TOPICS, KEPT_PREFIX, Kind, Mark};

/// How much of the log is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// What came since the last time.
    New,
    /// Everything; what was there before must be there still.
    All,
}

/// Reads the log after a crash. Remembers what was in it.
pub(super) struct Auditor {
    client: reqwest::Client,
    server: String,
    /// All of the topics that keep everything, in the log's order.
    kept: Vec<Logged>,
    places: HashMap<Mark, usize>,
    /// Position of the newest event of the other topics.
    churn_last: u64,
    /// How many of each reader's events were found in the log.
    checked: HashMap<usize, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Logged {
    id: String,
    topic: String,
    mark: Mark,
}

impl Auditor {
    pub(super) fn new(server: &str) -> anyhow::Result<Auditor> {
        Ok(Auditor {
            client: reqwest::Client::builder().timeout(HANG_LIMIT).no_proxy().build()?,
            server: server.to_owned(),
            kept: Vec::new(),
            places: HashMap::new(),
            churn_last: 0,
            checked: HashMap::new(),
        })
    }

    /// Where the newest events were when it last looked.
    pub(super) fn last(&self) -> anyhow::Result<Last> {
        let newest = self.kept.last().context("the log is empty")?;
        Ok(Last { kept: position(&newest.id)?, churn: self.churn_last })
    }

    /// Checks everything that the module promises, while publishing goes on.
    pub(super) async fn audit(&mut self, book: &Book, depth: Depth) -> anyhow::Result<()> {
        // Before the log is read: what happens in the meantime may or may not be in it.
        let (acknowledged, seen) = {
            let inner = book.lock();
            (inner.acknowledged.clone(), seen_so_far(&inner))
        };
        self.read_kept(depth).await?;
        self.check_requests()?;
        {
            let inner = book.lock();
            let foreign = self.kept.iter().find(|logged| !inner.attempted.contains(&logged.mark));
            anyhow::ensure!(foreign.is_none(), "nobody published {foreign:?}");
        }
        self.check_acknowledged(&acknowledged)?;
        let mut churn = HashMap::new();
        for topic in 0..CHURN_TOPICS {
            let topic = format!("{CHURN_PREFIX}{topic}");
            let logged = self.read(&format!("/topics/{topic}?"), "first").await?;
            check_churn(&topic, &logged, &acknowledged)?;
            if let Some(newest) = logged.last() {
                self.churn_last = self.churn_last.max(position(&newest.id)?);
            }
            churn.insert(topic, logged);
        }
        self.check_seen(&seen, book, &churn)
    }

    /// At the end, readers of topics that keep everything saw everything.
    pub(super) fn audit_readers_are_complete(&self, book: &Book) -> anyhow::Result<()> {
        for seen in book.lock().seen.iter().filter(|seen| seen.kept) {
            let all = self.kept.iter().map(|logged| (&logged.id, &logged.mark));
            let difference = all
                .zip(&seen.events)
                .find(|((id, mark), (seen_id, seen_mark))| *id != seen_id || *mark != seen_mark);
            let reader = &seen.reader;
            anyhow::ensure!(difference.is_none(), "{reader} saw something else: {difference:?}");
            let (saw, all) = (seen.events.len(), self.kept.len());
            anyhow::ensure!(saw == all, "{reader} saw {saw} of {all}");
        }
        Ok(())
    }

    async fn read_kept(&mut self, depth: Depth) -> anyhow::Result<()> {
        let after = match (depth, self.kept.last()) {
            (Depth::New, Some(last)) => last.id.clone(),
            _ => "first".to_owned(),
        };
        let read = self.read(&format!("/events?topic={KEPT_PREFIX}**&"), &after).await?;
        let known = if depth == Depth::All { self.kept.len() } else { 0 };
        for (before, now) in self.kept.iter().zip(&read).take(known) {
            anyhow::ensure!(before == now, "where {before:?} was, {now:?} is");
        }
        anyhow::ensure!(read.len() >= known, "of {known} events {} are left", read.len());
        for logged in read.into_iter().skip(known) {
            let place = self.kept.len();
            let before = self.places.insert(logged.mark, place);
            anyhow::ensure!(before.is_none(), "{logged:?} is in the log twice");
            anyhow::ensure!(logged.topic == logged.mark.topic(), "{logged:?} changed its topic");
            self.kept.push(logged);
        }
        Ok(())
    }

    fn check_acknowledged(
        &self,
        acknowledged: &HashMap<Mark, Option<String>>,
    ) -> anyhow::Result<()> {
        let mut lost = Vec::new();
        for (mark, id) in acknowledged.iter().filter(|(mark, _)| mark.kind != Kind::Churn) {
            let Some(place) = self.places.get(mark) else {
                lost.push((id.as_deref().map(position).transpose()?, *mark));
                continue;
            };
            let logged = &self.kept[*place];
            anyhow::ensure!(
                id.as_ref().is_none_or(|id| *id == logged.id),
                "{mark} was acknowledged as {id:?} and is {logged:?}"
            );
        }
        lost.sort_unstable_by_key(|(position, _)| *position);
        let (first, last) = (lost.iter().find(|(position, _)| position.is_some()), lost.last());
        let newest = self.kept.last();
        anyhow::ensure!(
            lost.is_empty(),
            "{} acknowledged events are lost, from {first:?} to {last:?}; the newest is {newest:?}",
            lost.len()
        );
        Ok(())
    }

    /// Batches are whole and side by side, streams have no holes, and both are in order.
    fn check_requests(&self) -> anyhow::Result<()> {
        let mut topics: HashMap<&str, Vec<Mark>> = HashMap::new();
        for logged in &self.kept {
            topics.entry(&logged.topic).or_default().push(logged.mark);
        }
        for marks in topics.values() {
            let mut rest = marks.as_slice();
            while let Some(first) = rest.first() {
                let size = if first.kind == Kind::Batch { first.size } else { 1 };
                let batch = rest.get(..usize::try_from(size)?).unwrap_or(rest);
                anyhow::ensure!(
                    size == 1 || first.siblings().eq(batch.iter().copied()),
                    "a batch of {size} is in the log as {batch:?}"
                );
                rest = &rest[batch.len()..];
            }
        }
        let mut streamed: HashMap<Mark, u32> = HashMap::new();
        let mut requested: HashMap<(Kind, u32), u32> = HashMap::new();
        for Logged { mark, .. } in &self.kept {
            let latest = requested.entry((mark.kind, mark.publisher)).or_default();
            anyhow::ensure!(*latest <= mark.request, "{mark} came behind request {latest}");
            *latest = mark.request;
            if mark.kind == Kind::Stream {
                let next = streamed.entry(Mark { index: 0, ..*mark }).or_default();
                anyhow::ensure!(*next == mark.index, "a stream lacks line {next} before {mark}");
                *next += 1;
            }
        }
        Ok(())
    }

    /// What readers saw is in the log, under the id under which they saw it.
    fn check_seen(
        &mut self,
        seen: &[usize],
        book: &Book,
        churn: &HashMap<String, Vec<Logged>>,
    ) -> anyhow::Result<()> {
        let inner = book.lock();
        for (number, until) in seen.iter().enumerate() {
            let reader = &inner.seen[number];
            let checked = self.checked.entry(number).or_default();
            for (id, mark) in &reader.events[*checked..*until] {
                let is_logged = match mark.kind {
                    Kind::Churn => may_have_been_seen(&churn[&mark.topic()], id, *mark)?,
                    _ => self.places.get(mark).is_some_and(|at| self.kept[*at].id == *id),
                };
                let reader = &reader.reader;
                anyhow::ensure!(is_logged, "{reader} saw {mark} as {id}, which is not in the log");
            }
            *checked = *until;
        }
        Ok(())
    }

    /// Everything behind `after`, page by page.
    async fn read(&self, path: &str, after: &str) -> anyhow::Result<Vec<Logged>> {
        let mut read = Vec::new();
        let mut cursor = after.to_owned();
        let mut latest = 0;
        loop {
            let url = format!("{}{path}limit=1000&after={cursor}", self.server);
            let request = self.client.get(url).header("Accept", "application/json");
            let response = request.send().await?;
            let status = response.status();
            let body = response.text().await?;
            anyhow::ensure!(status.is_success(), "a page got {status}: {body}");
            let page: Value = serde_json::from_str(&body)?;
            let events = page.get("events").and_then(Value::as_array).context("no events")?;
            for event in events {
                let field = |name: &str| -> anyhow::Result<String> {
                    let text = event.get(name).and_then(Value::as_str);
                    Ok(text.with_context(|| format!("{event} has no {name}"))?.to_owned())
                };
                let logged = Logged {
                    id: field("id")?,
                    topic: field("topic")?,
                    mark: field("data")?.parse()?,
                };
                let position = position(&logged.id)?;
                anyhow::ensure!(position > latest, "{logged:?} came behind position {latest}");
                latest = position;
                read.push(logged);
            }
            if events.is_empty() {
                return Ok(read);
            }
            cursor = page.get("cursor").and_then(Value::as_str).context("no cursor")?.to_owned();
        }
    }
}

/// A topic that keeps few events has the newest that were acknowledged, and none of those twice.
fn check_churn(
    topic: &str,
    logged: &[Logged],
    acknowledged: &HashMap<Mark, Option<String>>,
) -> anyhow::Result<()> {
    let marks: HashSet<Mark> = logged.iter().map(|logged| logged.mark).collect();
    anyhow::ensure!(marks.len() == logged.len(), "{topic} has events twice");
    let first = logged.first().map(|logged| position(&logged.id)).transpose()?;
    let mut count = 0;
    for (mark, id) in acknowledged.iter().filter(|(mark, _)| mark.topic() == topic) {
        count += 1;
        let id = id.as_deref().context("a single event has an id")?;
        if first.is_some_and(|first| position(id).is_ok_and(|at| at < first)) {
            continue;
        }
        let found = logged.iter().any(|logged| logged.mark == *mark && logged.id == id);
        anyhow::ensure!(found, "{topic} lost {mark} {id}");
    }
    let (has, needs) = (logged.len(), count.min(CHURN_EVENTS_MAX));
    anyhow::ensure!(has >= needs, "{topic} has {has} events and should have kept {needs}");
    Ok(())
}

/// Whether an event is in a topic that keeps few, or may have been removed from it.
fn may_have_been_seen(logged: &[Logged], id: &str, mark: Mark) -> anyhow::Result<bool> {
    let Some(first) = logged.first() else { return Ok(false) };
    let is_removed = position(id)? < position(&first.id)?;
    Ok(is_removed || logged.iter().any(|logged| logged.id == id && logged.mark == mark))
}

fn seen_so_far(inner: &Inner) -> Vec<usize> {
    inner.seen.iter().map(|seen| seen.events.len()).collect()
}

/// The position in an id. To clients ids are opaque; this test knows better, to be stricter.
pub(super) fn position(id: &str) -> anyhow::Result<u64> {
    let (_, position) = id.rsplit_once('-').with_context(|| format!("{id} is no id"))?;
    Ok(position.parse()?)
}

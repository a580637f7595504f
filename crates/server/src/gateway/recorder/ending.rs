//! The end of a recording: how a stream ended, and that written into the log with what its clients are told of it.

use longwave_core::EndReason;
use longwave_store::AppendError;

use super::{BodyEnd, Over, Recorder, append_patiently};
use crate::gateway::closing_message;
use crate::gateway::dialect::Transcript;
use crate::gateway::running::{Life, Stop};
use crate::http::UpstreamErrorKind;

impl Recorder {
    /// How the stream ended by what upstream said.
    pub(super) fn end_reason(&self) -> EndReason {
        let by_events = self.transcript.as_ref().map(Transcript::end);
        let has_ended = self.transcript.as_ref().is_some_and(Transcript::has_ended);
        match &self.body_end {
            Some(BodyEnd::InOrder) => {
                by_events.unwrap_or_else(|| Transcript::new((self.finder)(None)).end())
            }
            _ if has_ended => by_events.unwrap_or(EndReason::Done),
            Some(BodyEnd::TooLarge(_)) => EndReason::Error,
            _ => EndReason::Truncated,
        }
    }

    /// Records the end, with what tells clients of it.
    pub(super) async fn finish(&mut self, over: Over) -> Life {
        if let Some(in_flight) = self.in_flight.take() {
            match in_flight.await {
                Ok(appended) => self.appended(&appended),
                Err(error) => return self.give_up(&error),
            }
        }
        let Conclusion { reason, detail, stop, failure } = match over {
            Over::Log(error) => return self.give_up(&error),
            over => self.conclude(over),
        };
        if let Some(BodyEnd::Broken(error)) = &self.body_end {
            tracing::info!(stream = %self.id, error = error as &dyn std::error::Error, "upstream broke off");
        }
        let mut messages = std::mem::take(&mut self.group);
        if let Some(transcript) = &self.transcript {
            let closing = transcript.closing(reason, &detail);
            messages.extend(closing.iter().map(closing_message));
        }
        let events = messages.len() as u64;
        let append = self.append(messages, Some(reason));
        match append_patiently(&**self.app.log(), append).await {
            Ok(appended) => self.last = appended.last,
            Err(error) => return self.give_up(&error),
        }
        self.tally.recorded(events);
        stop.into_iter().for_each(|stop| self.tally.stopped(stop));
        failure.into_iter().for_each(|kind| self.tally.failed(kind));
        self.tally.ended(reason, self.transcript.as_ref().and_then(Transcript::usage));
        Life::Over
    }

    /// How the stream ended, by why its recording is over.
    fn conclude(&self, over: Over) -> Conclusion {
        let end = self.end_reason();
        // What upstream had said already counts, whatever came then.
        if self.transcript.as_ref().is_some_and(Transcript::has_ended) {
            let is_failure = !matches!(end, EndReason::Done | EndReason::Cancelled);
            let failure = is_failure.then_some(UpstreamErrorKind::InBand);
            return Conclusion { reason: end, detail: String::new(), stop: None, failure };
        }
        let (reason, detail, failure) = match (over, &self.body_end) {
            (Over::Stopped(stop), _) => {
                let detail = stop.detail().to_owned();
                return Conclusion {
                    reason: stop.reason(),
                    detail,
                    stop: Some(stop),
                    failure: None,
                };
            }
            (Over::Silent(idle), _) => {
                let detail = format!("upstream sent nothing for {idle:?}");
                (EndReason::Timeout, detail, Some(UpstreamErrorKind::Timeout))
            }
            (Over::TookTooLong(total), _) => {
                let detail = format!("the stream took longer than {total:?}");
                (EndReason::Timeout, detail, Some(UpstreamErrorKind::Timeout))
            }
            (_, Some(BodyEnd::TooLarge(error))) => {
                (end, error.to_string(), Some(UpstreamErrorKind::Invalid))
            }
            _ => {
                let is_broken = end == EndReason::Truncated;
                let detail = "upstream ended the stream before it was complete".to_owned();
                (end, detail, is_broken.then_some(UpstreamErrorKind::Broken))
            }
        };
        Conclusion { reason, detail, stop: None, failure }
    }

    /// Says what it means that the log takes no more of the stream.
    fn give_up(&self, error: &AppendError) -> Life {
        match error {
            // Somebody else ended it, or deleted it, which is durable: there is nothing more to be told.
            AppendError::Ended { .. } | AppendError::Fenced { .. } => Life::Over,
            error => {
                tracing::error!(stream = %self.id, %error, "a stream's end could not be recorded");
                Life::Lost
            }
        }
    }
}

/// How a stream ended.
struct Conclusion {
    reason: EndReason,
    /// What clients are told of it, where upstream did not tell them.
    detail: String,
    /// Who stopped it, where somebody did.
    stop: Option<Stop>,
    /// How upstream failed, where it did.
    failure: Option<UpstreamErrorKind>,
}

//! Recording what upstream runs by itself: it is asked again where the connection was lost, and told to stop.

use longwave_core::EndReason;
use longwave_store::AppendError;

use super::{BodyEnd, Over, Recorder};
use crate::gateway::comeback::Back;
use crate::gateway::cut::Cutter;
use crate::gateway::running::Stop;

impl Recorder {
    /// Whether upstream goes on with what it did not finish, and can be asked for it.
    pub(super) fn can_come_back(&self) -> bool {
        let is_open = self.transcript.as_ref().is_some_and(|transcript| !transcript.has_ended());
        self.comeback.is_some() && is_open && self.response_id().is_some()
    }

    /// Sets out to upstream again; false where that is of no use.
    pub(super) fn come_back(&mut self) -> bool {
        if !self.can_come_back() || matches!(self.body_end, Some(BodyEnd::TooLarge(_))) {
            return false;
        }
        let (Some(transcript), Some(comeback)) = (&self.transcript, &mut self.comeback) else {
            return false;
        };
        let id = transcript.response_id().unwrap_or_default();
        self.coming_back = comeback.try_again(id, transcript.sequence_number());
        self.coming_back.is_some()
    }

    pub(super) fn take_back(&mut self, back: Back) {
        self.coming_back = None;
        match back {
            Back::Pieces(pieces) => {
                tracing::info!(stream = %self.id, "upstream goes on");
                self.pieces = pieces;
                // What was cut off of an event comes again.
                self.cutter = Cutter::sse(self.app.options().event_bytes_max);
                self.body_end = None;
            }
            Back::Failed => {}
            Back::Refused(status) => {
                tracing::warn!(stream = %self.id, %status, "upstream does not go on with a response");
                self.comeback = None;
            }
        }
    }

    /// Tells an upstream to stop that does not by losing the connection.
    pub(super) fn upstream_cancel(&mut self, over: &Over) -> impl Future<Output = ()> + use<> {
        let is_cancelled = match over {
            Over::Stopped(Stop::Cancelled | Stop::Unwatched) => true,
            // By another server of the log.
            Over::Log(AppendError::Ended { reason, .. }) => *reason == EndReason::Cancelled,
            _ => false,
        };
        let comeback = self.comeback.take().filter(|_| is_cancelled);
        let id = self.response_id().map(str::to_owned);
        async {
            if let (Some(comeback), Some(id)) = (comeback, id) {
                comeback.cancel(id).await;
            }
        }
    }
}

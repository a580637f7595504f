//! What a read that failed is answered.

use longwave_core::{Selector, SelectorError, TopicNameError};
use longwave_store::ReadError;

use super::negotiate::NegotiateError;
use crate::http::{Code, Problem};
use crate::hub::{PageError, SubscribeError};

impl From<NegotiateError> for Problem {
    fn from(error: NegotiateError) -> Problem {
        match &error {
            NegotiateError::Accept => Problem::new(Code::NotAcceptable, &error),
            NegotiateError::Format(_) => {
                Problem::new(Code::ParameterInvalid, &error).with("parameter", "format")
            }
        }
    }
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Problem {
        match error {
            SubscribeError::Read(error) => unreadable(&error),
            SubscribeError::Draining | SubscribeError::Closed => {
                Problem::new(Code::ShuttingDown, error)
            }
        }
    }
}

impl From<PageError> for Problem {
    fn from(error: PageError) -> Problem {
        match error {
            PageError::Read(error) => unreadable(&error),
        }
    }
}

/// A selector that a query or a WebSocket message names.
pub(super) fn selector_problem(error: &SelectorError) -> Problem {
    Problem::new(Code::SelectorInvalid, error).with("parameter", "topic")
}

/// A path that names no topic. Who put a wildcard there is told where wildcards go.
pub(super) fn path_problem(path: &str, error: TopicNameError) -> Problem {
    match path.parse::<Selector>() {
        Ok(selector) if selector.as_topic().is_none() => Problem::new(
            Code::TopicInvalid,
            format_args!(
                "a path names one topic, and {selector} is a pattern; follow it as /events?topic={selector}"
            ),
        ),
        _ => Problem::from(error),
    }
}

/// The source may name files and is for the server's own journal.
fn unreadable(error: &ReadError) -> Problem {
    match error {
        ReadError::Closed => Problem::new(Code::ShuttingDown, error),
        _ => {
            tracing::error!(error = error as &dyn std::error::Error, "a read failed");
            Problem::new(
                Code::LogUnreadable,
                "the log could not be read; the server's journal says why",
            )
        }
    }
}

/// A read of one topic that names more of them.
pub(super) fn topic_twice() -> Problem {
    Problem::new(
        Code::ParameterInvalid,
        "the path names the topic; several are read by /events?topic=one&topic=another",
    )
    .with("parameter", "topic")
}

//! Which server a command talks to, and what to tell a user whose server does not answer. Read [`RemoteArgs`].

use clap::Args;
use longwave_client::{Client, PublishError, Refusal, SubscribeError};

use super::failure::Failure;

/// The server that a command talks to.
#[derive(Clone, Debug, Args)]
pub(crate) struct RemoteArgs {
    /// Address of the server.
    #[arg(long, value_name = "URL", env = "LONGWAVE_SERVER", default_value = DEFAULT_SERVER)]
    #[arg(help_heading = "Server")]
    pub(crate) server: String,
    /// Token that is sent as `Authorization: Bearer`.
    #[arg(long, value_name = "TOKEN", env = "LONGWAVE_TOKEN", hide_env_values = true)]
    #[arg(help_heading = "Server")]
    pub(crate) token: Option<String>,
}

impl RemoteArgs {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let mut builder = Client::builder(&self.server);
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        builder.build().map_err(|error| {
            Failure::usage(error).hint("give the address with --server, or in LONGWAVE_SERVER")
        })
    }

    /// What to do about a server that can't be reached.
    pub(crate) fn unreachable_hint(&self) -> String {
        if self.server == DEFAULT_SERVER {
            "is longwave serving? Start it with `longwave`, or name another server with --server"
                .to_owned()
        } else {
            format!("is a Longwave server at {}? Check --server and LONGWAVE_SERVER", self.server)
        }
    }

    pub(crate) fn publish_failure(&self, error: PublishError) -> Failure {
        let hint = match &error {
            PublishError::Unreachable { .. } => Some(self.unreachable_hint()),
            PublishError::NoAnswer { .. } => {
                Some("it may have been published; look with `longwave tail --last 1`".to_owned())
            }
            PublishError::Refused(refusal) => refusal_hint(refusal),
            PublishError::Answer { .. } => Some("check --server and LONGWAVE_SERVER".to_owned()),
            _ => None,
        };
        with_hint(Failure::new(error), hint)
    }

    pub(crate) fn subscribe_failure(&self, error: SubscribeError) -> Failure {
        let hint = match &error {
            SubscribeError::Refused(refusal) => refusal_hint(refusal),
            SubscribeError::NotEventStream { .. } => Some(
                "is it the URL of an event stream? `longwave doctor URL` looks closer".to_owned(),
            ),
            _ => None,
        };
        with_hint(Failure::new(error), hint)
    }
}

pub(crate) fn with_hint(failure: Failure, hint: Option<String>) -> Failure {
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What to do about a refusal that the server's own sentence does not say.
pub(crate) fn refusal_hint(refusal: &Refusal) -> Option<String> {
    let hint = match (refusal.code.as_deref(), refusal.status.as_u16()) {
        (Some("topic-ended"), _) => "publish to another topic, or delete this one first",
        (Some("event-too-large"), _) => "raise the server's event_size, or publish it in parts",
        (_, 401 | 403) => "give a token with --token, or in LONGWAVE_TOKEN",
        (None, _) => "this does not look like a Longwave server; check --server",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Where `longwave` serves unless told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:4480";

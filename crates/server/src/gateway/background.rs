//! What is asked for with `background: true`: who runs it, and what its client gets.
//!
//! It goes on whether its client waits or not. Run by the gateway, upstream is asked for an ordinary stream and never hears
//! of it, so it works with every upstream. Read [`Mode`].

use bytes::Bytes;

use super::dialect::{Asked, Streaming, without_background};
use super::{Background, Dialect, RouteOptions};

/// How a request is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As it is asked for.
    Foreground,
    /// By the gateway, in the background.
    Gateway { streaming: Streaming, form: Form },
    /// By upstream, in the background.
    Upstream,
}

/// What a request's client gets of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The stream.
    Stream,
    /// Word of how it stands, to ask again.
    Standing,
}

impl Mode {
    /// `path` is where the request goes, without its query.
    pub(super) fn of(route: &RouteOptions, path: &str, asked: &Asked) -> Mode {
        // What an upstream of another kind means by the word is not known.
        let dialect = route.dialect.or_else(|| Dialect::of_path(path));
        let Some(dialect) = dialect.filter(|_| asked.background) else { return Mode::Foreground };
        match (dialect, route.background) {
            (Dialect::Sse, _) => Mode::Foreground,
            (Dialect::OpenaiResponses, Background::Upstream) => Mode::Upstream,
            _ => Mode::Gateway {
                // Of the AI SDK's endpoints none answers otherwise, and none knows that member.
                streaming: if asked.stream || dialect == Dialect::VercelUi {
                    Streaming::AsAsked
                } else {
                    Streaming::Forced
                },
                form: if asked.stream { Form::Stream } else { Form::Standing },
            },
        }
    }

    pub(super) fn background(self) -> Option<Background> {
        match self {
            Mode::Foreground => None,
            Mode::Gateway { .. } => Some(Background::Gateway),
            Mode::Upstream => Some(Background::Upstream),
        }
    }

    pub(super) fn form(self) -> Form {
        match self {
            Mode::Gateway { form, .. } => form,
            Mode::Foreground | Mode::Upstream => Form::Stream,
        }
    }

    /// What upstream gets in place of the client's body.
    pub(super) fn body(self, body: &Bytes) -> Bytes {
        let changed = match self {
            Mode::Gateway { streaming, .. } => without_background(body, streaming),
            Mode::Foreground | Mode::Upstream => None,
        };
        changed.unwrap_or_else(|| body.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::asked;
    use super::*;

    #[track_caller]
    fn check(dialect: Option<Dialect>, by: Background, path: &str, body: &str, expected: Mode) {
        let mut route = RouteOptions::new("/v1", "http://127.0.0.1").unwrap();
        (route.dialect, route.background) = (dialect, by);
        assert_eq!(Mode::of(&route, path, &asked(body.as_bytes()).unwrap()), expected);
    }

    #[test]
    fn who_runs_in_the_background_depends_on_the_route_and_on_what_upstream_speaks() {
        let streamed = r#"{"background":true,"stream":true}"#;
        let polled = r#"{"background":true}"#;
        let by_gateway = Mode::Gateway { streaming: Streaming::AsAsked, form: Form::Stream };
        let forced = Mode::Gateway { streaming: Streaming::Forced, form: Form::Standing };
        let (gateway, upstream) = (Background::Gateway, Background::Upstream);
        check(None, gateway, "/v1/responses", streamed, by_gateway);
        check(None, gateway, "/v1/responses", polled, forced);
        check(None, upstream, "/v1/responses", polled, Mode::Upstream);
        // Only Responses have a background of their own.
        check(None, upstream, "/v1/chat/completions", polled, forced);
        check(None, gateway, "/v1/messages", streamed, by_gateway);
        check(Some(Dialect::Ollama), gateway, "/v1/any", polled, forced);
        check(
            Some(Dialect::VercelUi),
            gateway,
            "/v1/any",
            polled,
            Mode::Gateway { streaming: Streaming::AsAsked, form: Form::Standing },
        );
        check(None, gateway, "/v1/any", polled, Mode::Foreground);
        check(Some(Dialect::Sse), gateway, "/v1/responses", polled, Mode::Foreground);
        check(None, gateway, "/v1/responses", r#"{"background":false}"#, Mode::Foreground);
        check(None, gateway, "/v1/responses", r#"{"background":"white"}"#, Mode::Foreground);
    }

    #[test]
    fn upstream_is_asked_for_an_ordinary_stream() {
        let body = Bytes::from_static(br#"{"model":"m","background":true,"input":"x"}"#);
        let forced = Mode::Gateway { streaming: Streaming::Forced, form: Form::Standing };
        assert_eq!(forced.body(&body), r#"{"model":"m","input":"x","stream":true}"#);
        assert_eq!(Mode::Upstream.body(&body), body);
    }
}

//! [`EventStream`]: a subscription that outlives its connections. When to reconnect is decided in `reconnect.rs`, what
//! an event means in `decode.rs`; here is the I/O between them.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use longwave_sse::{Decoded, Decoder, UnknownFields};
use reqwest::{Method, Response};
use tokio::time::{Instant, Sleep, sleep};

use crate::decode::item;
use crate::event::{Item, LossCause, Next, Reconnecting};
use crate::random::random_u64;
use crate::reconnect::{Head, Loss, Reconnect, Verdict};
use crate::refusal::{Refusal, retry_after};
use crate::subscribe::{OnEnd, StreamRequest, SubscribeError};

/// A [`Stream`] of [`Item`]s that reconnects by itself and goes on behind the last event it brought.
///
/// It ends (`None`) when the server says that there is nothing more: a topic's end, or `204`. It brings one error and
/// ends when going on makes no sense, such as with a wrong token. A server that is not there is no error but an
/// [`Item::Reconnecting`]: whoever wants to give up then, drops the stream.
///
/// # Cancel safety
/// Nothing is lost when a future that waits for the next item is dropped.
#[must_use = "streams do nothing unless polled"]
pub struct EventStream {
    request: StreamRequest,
    reconnect: Reconnect,
    /// Knows the last event id, over all connections.
    decoder: Decoder,
    phase: Phase,
    /// The last item was an end.
    behind_end: bool,
}

enum Phase {
    /// Waiting before the next attempt; `None` for the first, which waits for nothing.
    Waiting(Option<Pin<Box<Sleep>>>),
    Connecting(Pin<Box<dyn Future<Output = reqwest::Result<Response>> + Send>>),
    /// The answer is an error, and its reason is being read.
    Refused {
        reading: Pin<Box<dyn Future<Output = Refusal> + Send>>,
        delay: Option<Duration>,
    },
    Reading(Reading),
    Finished,
}

struct Reading {
    body: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    /// What came and is not decoded yet.
    chunk: Bytes,
    idle: Option<Pin<Box<Sleep>>>,
}

impl EventStream {
    pub(crate) fn new(request: StreamRequest) -> EventStream {
        let mut decoder = Decoder::new().with_unknown_fields(UnknownFields::Keep);
        if let Some(id) = &request.last_event_id {
            decoder = decoder.with_last_event_id(id.clone());
        }
        EventStream {
            reconnect: Reconnect::new(request.reconnect_delay_max),
            request,
            decoder,
            phase: Phase::Waiting(None),
            behind_end: false,
        }
    }

    /// The id behind which the stream would resume now; empty before the first. What a program stores to go on later
    /// with [`Start::After`](crate::Start::After).
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        self.decoder.last_event_id()
    }

    fn connect(&mut self) {
        self.decoder.reset();
        let mut request = self
            .request
            .client
            .request(Method::GET, self.request.url.clone())
            .header(ACCEPT, longwave_sse::MEDIA_TYPE)
            .header(CACHE_CONTROL, "no-store");
        // As bytes, because ids of other servers need not be ASCII; none holds a line break.
        let last_event_id = HeaderValue::from_bytes(self.decoder.last_event_id().as_bytes());
        if let Some(id) = last_event_id.ok().filter(|id| !id.is_empty()) {
            request = request.header(LAST_EVENT_ID, id);
        }
        self.phase = Phase::Connecting(Box::pin(request.send()));
    }

    /// What a response's head leads to, if there is something to tell about it.
    fn handle_response(&mut self, response: Response) -> Option<Next> {
        let content_type = response
            .headers()
            .get(CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let head = Head {
            status: response.status().as_u16(),
            content_type: content_type.as_deref(),
            retry_after: retry_after(&response),
        };
        match self.reconnect.handle_response(head, random_u64()) {
            Verdict::Read => {
                self.start_at_cursor(&response);
                let idle = self.request.idle_timeout.map(|timeout| Box::pin(sleep(timeout)));
                let body = Box::pin(response.bytes_stream());
                self.phase = Phase::Reading(Reading { body, chunk: Bytes::new(), idle });
                Some(Ok(Item::Open))
            }
            Verdict::Finished => {
                self.phase = Phase::Finished;
                None
            }
            Verdict::NotEventStream => Some(self.fail(SubscribeError::NotEventStream {
                content_type: content_type.unwrap_or_else(|| "nothing that it names".to_owned()),
            })),
            Verdict::Wait(delay) => {
                self.read_refusal(response, Some(delay));
                None
            }
            Verdict::Refused => {
                self.read_refusal(response, None);
                None
            }
        }
    }

    /// A stream that starts "now" has no last event id until the first event comes. Where the server tells its
    /// position, a loss before that is no loss of events.
    fn start_at_cursor(&mut self, response: &Response) {
        if !self.decoder.last_event_id().is_empty() {
            return;
        }
        if let Some(Ok(cursor)) = response.headers().get(&CURSOR).map(|value| value.to_str()) {
            let decoder = Decoder::new().with_unknown_fields(UnknownFields::Keep);
            self.decoder = decoder.with_last_event_id(cursor);
        }
    }

    fn read_refusal(&mut self, response: Response, delay: Option<Duration>) {
        let status = response.status();
        let reading = Box::pin(async move {
            let reading = Refusal::read(response);
            let read = tokio::time::timeout(REFUSAL_TIMEOUT, reading).await;
            read.unwrap_or_else(|_| Refusal::without_body(status))
        });
        self.phase = Phase::Refused { reading, delay };
    }

    fn handle_loss(&mut self, cause: LossCause) -> Next {
        let loss = match cause {
            LossCause::Closed if self.behind_end => Loss::BehindEnd,
            _ => Loss::Unexpected,
        };
        let delay = self.reconnect.handle_lost(loss, random_u64());
        self.wait(cause, delay)
    }

    fn wait(&mut self, cause: LossCause, delay: Duration) -> Next {
        self.phase = Phase::Waiting(Some(Box::pin(sleep(delay))));
        Ok(Item::Reconnecting(Reconnecting { cause, delay }))
    }

    fn fail(&mut self, error: SubscribeError) -> Next {
        self.phase = Phase::Finished;
        Err(error)
    }

    /// The next item in what came. `None`: more is needed.
    fn decode(&mut self) -> Option<Next> {
        let Phase::Reading(reading) = &mut self.phase else { return None };
        let mut input: &[u8] = &reading.chunk;
        let found = loop {
            match self.decoder.decode(&mut input) {
                Ok(Some(Decoded::Event(event))) => break Some(item(&event).map_err(Into::into)),
                Ok(Some(Decoded::Retry(retry))) => self.reconnect.handle_retry(retry),
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(Err(error.into())),
            }
        };
        let taken = reading.chunk.len() - input.len();
        bytes::Buf::advance(&mut reading.chunk, taken);
        match found? {
            Ok(item) => {
                self.behind_end = matches!(item, Item::End(_));
                if self.behind_end && self.request.on_end == OnEnd::Stop {
                    self.phase = Phase::Finished;
                }
                Some(Ok(item))
            }
            Err(error) => Some(self.fail(error)),
        }
    }

    /// Waits for more of the body. `Some`: there will be no more of it.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<LossCause>> {
        let Phase::Reading(reading) = &mut self.phase else { return Poll::Ready(None) };
        match reading.body.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => {
                self.reconnect.handle_progress();
                reading.chunk = chunk;
                if let (Some(idle), Some(timeout)) = (&mut reading.idle, self.request.idle_timeout)
                {
                    idle.as_mut().reset(Instant::now() + timeout);
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(LossCause::Broken(innermost(&error))))
            }
            Poll::Ready(None) => Poll::Ready(Some(LossCause::Closed)),
            Poll::Pending => match (&mut reading.idle, self.request.idle_timeout) {
                (Some(idle), Some(timeout)) => {
                    ready!(idle.as_mut().poll(cx));
                    Poll::Ready(Some(LossCause::Idle(timeout)))
                }
                _ => Poll::Pending,
            },
        }
    }
}

impl Stream for EventStream {
    type Item = Next;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        let this = self.get_mut();
        loop {
            match &mut this.phase {
                Phase::Finished => return Poll::Ready(None),
                Phase::Waiting(delay) => {
                    if let Some(delay) = delay {
                        ready!(delay.as_mut().poll(cx));
                    }
                    this.connect();
                }
                Phase::Connecting(response) => match ready!(response.as_mut().poll(cx)) {
                    Ok(response) => {
                        if let Some(next) = this.handle_response(response) {
                            return Poll::Ready(Some(next));
                        }
                    }
                    Err(error) if error.is_builder() || error.is_redirect() => {
                        return Poll::Ready(Some(this.fail(SubscribeError::Request(error))));
                    }
                    Err(error) => {
                        let cause = LossCause::Unreachable(innermost(&error));
                        return Poll::Ready(Some(this.handle_loss(cause)));
                    }
                },
                Phase::Refused { reading, delay } => {
                    let refusal = ready!(reading.as_mut().poll(cx));
                    let next = match *delay {
                        Some(delay) => this.wait(LossCause::Busy(refusal), delay),
                        None => this.fail(SubscribeError::Refused(refusal)),
                    };
                    return Poll::Ready(Some(next));
                }
                Phase::Reading(_) => {
                    if let Some(next) = this.decode() {
                        return Poll::Ready(Some(next));
                    }
                    if let Some(cause) = ready!(this.poll_body(cx)) {
                        return Poll::Ready(Some(this.handle_loss(cause)));
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream")
            .field("url", &self.request.url.as_str())
            .field("last_event_id", &self.last_event_id())
            .finish_non_exhaustive()
    }
}

/// The reason at the bottom of an error: "Connection refused" rather than "error sending request".
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Where a Longwave server's stream starts, told in the head.
const CURSOR: HeaderName = HeaderName::from_static("longwave-cursor");
/// How long the reason of a refusal may take to arrive.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);

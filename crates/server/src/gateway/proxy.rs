//! A request that a route is for: answered from the log, joined, or passed on. Read [`handle`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use longwave_core::{IdempotencyKey, Seq, StartAt, TypeFilter};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::access::Visitor;
use super::alias::{Caller, Naming};
use super::background::{Form, Mode};
use super::comeback::Comeback;
use super::dialect::asked;
use super::exchange::{Answered, Exchange};
use super::key::Principal;
use super::request::{RequestBody, disconnect, idempotency_key, read_body, whole_path};
use super::running::Entered;
use super::stream::{AnswerHead, Heads, RequestHead, StreamCursor, StreamId, answer_of};
use super::tally::Tally;
use super::token::Right;
use super::upstream::{Ask, Wants, request_headers, url};
use super::view::{Position, last_event_id, name_stream, relay};
use super::{Dialect, Disconnect, Route, chat, manage, recover, responses};
use crate::http::{App, Code, LONGWAVE_DUPLICATE, Problem, Query, read_problem};
use crate::hub::{Delivery, Subscribe, SubscriberKind};
use crate::transports::now;

/// Answers a request on a route of the gateway; `None` where there is no route for it.
pub(crate) async fn handle(app: &App, request: Request) -> Option<Result<Response, Problem>> {
    let route = Arc::clone(app.gateway().route(request.uri().path())?);
    Some(proxy(app, route, request).await.map_err(Problem::told_to_sdks))
}

async fn proxy(app: &App, route: Arc<Route>, request: Request) -> Result<Response, Problem> {
    let arrived = Instant::now();
    let (mut parts, body) = request.into_parts();
    let visitor = Visitor::take(app, &mut parts)?;
    if let Some(response) = from_record(app, &route, &parts, &visitor).await? {
        return Ok(response);
    }
    let rest = route.options.rest_of(parts.uri.path()).unwrap_or_default().to_owned();
    if !route.options.allows(&parts.method, &rest) {
        return Err(Problem::new(
            Code::RequestForbidden,
            format_args!("the gateway does not pass on {} {}", parts.method, parts.uri.path()),
        ));
    }
    let (body, _held) = read_body(app, &parts, body).await?;
    let mut call = Call::new(app, route, &parts, &rest, body.bytes(), visitor, arrived)?;
    let body = match body {
        RequestBody::Whole(bytes) => RequestBody::Whole(call.mode.body(&bytes)),
        passing @ RequestBody::Passing(_) => passing,
    };
    call.headers.extend(body.length().map(|length| (CONTENT_LENGTH, length.into())));
    match (&call.key, body) {
        (Some(key), RequestBody::Whole(bytes)) => {
            call.join_or_ask(key, &parts.headers, bytes).await
        }
        (_, body) => {
            let id = StreamId::random().map_err(|error| Problem::new(Code::Internal, error))?;
            match call.ask(&id, body.into_upstream()).await? {
                Asked::Answered(response) => Ok(response),
                Asked::Full => Err(call.full()),
                Asked::Seen => Err(Problem::new(Code::Internal, "two streams got the same name")),
            }
        }
    }
}

/// What is asked for, where it is about a stream that the log has. It was allowed when that was begun.
async fn from_record(
    app: &App,
    route: &Route,
    parts: &Parts,
    visitor: &Visitor,
) -> Result<Option<Response>, Problem> {
    if let Some(response) = responses::handle(app, route, parts, visitor).await? {
        return Ok(Some(response));
    }
    if let Some(response) = chat::handle(app, route, parts, visitor).await? {
        return Ok(Some(response));
    }
    resumed(app, route, parts, visitor).await
}

/// Goes on with a stream whose last event the client names by itself, as `EventSource` does at the URL that it was given.
async fn resumed(
    app: &App,
    route: &Route,
    parts: &Parts,
    visitor: &Visitor,
) -> Result<Option<Response>, Problem> {
    let cursor = last_event_id(&parts.headers).and_then(|text| text.parse::<StreamCursor>().ok());
    let Some(StreamCursor { id, seq }) = cursor.filter(|_| parts.method == Method::GET) else {
        return Ok(None);
    };
    let heads = Heads::read(&**app.log(), &id).await.map_err(|error| read_problem(&error))?;
    let asked_again = app.gateway().secret().request("GET", whole_path(&parts.uri), b"");
    match heads {
        Some(Heads { request, answer: Some((_, answer)), .. })
            if request.route == route.options.prefix && request.request == asked_again =>
        {
            visitor.check_known(app, &id, &request, Right::Read)?;
            relay(app, &id, &answer, Position::After(seq)).await.map(Some)
        }
        Some(_) => Ok(None),
        None => {
            Err(Problem::new(Code::StreamGone, "the stream that was begun here is kept no more"))
        }
    }
}

/// What came of asking upstream.
enum Asked {
    Answered(Response),
    /// The stream was begun by another request.
    Seen,
    /// As many requests are being proxied as may be.
    Full,
}

/// A request on its way, with what it says of itself.
struct Call {
    app: App,
    route: Arc<Route>,
    method: Method,
    head: RequestHead,
    key: Option<IdempotencyKey>,
    principal: Principal,
    visitor: Visitor,
    url: String,
    /// What upstream gets of the client's headers.
    headers: HeaderMap,
    wants: Wants,
    disconnect: Disconnect,
    mode: Mode,
    chat_id: Option<String>,
    arrived: Instant,
}

impl Call {
    fn new(
        app: &App,
        route: Arc<Route>,
        parts: &Parts,
        rest: &str,
        body: &[u8],
        visitor: Visitor,
        arrived: Instant,
    ) -> Result<Call, Problem> {
        let key = match parts.method == Method::POST {
            true => idempotency_key(&parts.headers)?,
            false => None,
        };
        let asked = asked(body).filter(|_| parts.method == Method::POST);
        let mode = asked
            .as_ref()
            .map_or(Mode::Foreground, |asked| Mode::of(&route.options, parts.uri.path(), asked));
        let chat_id = asked.as_ref().and_then(|asked| asked.chat_id.clone());
        let accepts_events = parts.headers.get(ACCEPT).is_some_and(|value| {
            value.to_str().is_ok_and(|text| text.contains("text/event-stream"))
        });
        // The AI SDK does not say in its requests that it wants a stream: it knows nothing else.
        let is_chat = route.options.dialect == Some(Dialect::VercelUi) && chat_id.is_some();
        let is_stream = accepts_events
            || is_chat
            || mode != Mode::Foreground && mode != Mode::Upstream
            || asked.as_ref().is_some_and(|asked| asked.stream);
        let wants = if is_stream { Wants::Stream } else { Wants::Anything };
        let method = parts.method.as_str();
        Ok(Call {
            app: app.clone(),
            method: parts.method.clone(),
            head: RequestHead {
                route: route.options.prefix.clone(),
                asked_ms: now().0,
                method: method.to_owned(),
                request: app.gateway().secret().request(method, whole_path(&parts.uri), body),
                // Without its query, in which some providers take keys.
                path: parts.uri.path().to_owned(),
                model: asked.and_then(|asked| asked.model),
                owner: String::new(),
                keyed: key.is_some(),
                background: mode.background(),
            },
            principal: Principal::of(&parts.headers, &route.options.principal_headers),
            visitor,
            key,
            url: url(&route.options, rest, parts.uri.query()),
            headers: request_headers(&route.options, &parts.headers, wants),
            wants,
            disconnect: match mode {
                Mode::Foreground => disconnect(&parts.headers)?.unwrap_or(route.options.disconnect),
                Mode::Gateway { .. } | Mode::Upstream => Disconnect::Continue,
            },
            mode,
            chat_id,
            arrived,
            route,
        })
    }

    /// Claims the key and asks upstream, or, where the key was seen, joins what was begun under it.
    async fn join_or_ask(
        &self,
        key: &IdempotencyKey,
        client: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Problem> {
        let gateway = self.app.gateway();
        let id =
            gateway.secret().stream_of(&self.route.options.prefix, &self.principal, key.as_str());
        for _ in 0..CLAIMS_MAX {
            let asked = self.ask(&id, body.clone().into()).await?;
            if let Asked::Answered(response) = asked {
                return Ok(response);
            }
            let running = gateway.running(&id);
            if let Some(running) = &running {
                running.begun().await;
            }
            if let Some(response) = self.join(&id, client).await? {
                return Ok(response);
            }
            if matches!(asked, Asked::Full) {
                return Err(self.full());
            }
            // It came to nothing, and is gone from the log before it is over here.
            if let Some(running) = running {
                running.over().await;
            }
        }
        Err(Problem::new(
            Code::UpstreamBroken,
            "other requests under this key failed one after another; try again",
        ))
    }

    /// The answer that was begun under the key; `None` where it came to nothing.
    async fn join(&self, id: &StreamId, client: &HeaderMap) -> Result<Option<Response>, Problem> {
        let heads =
            Heads::read(&**self.app.log(), id).await.map_err(|error| read_problem(&error))?;
        let Some(heads) = heads else { return Ok(None) };
        if heads.request.request != self.head.request {
            return Err(Problem::new(
                Code::KeyReused,
                "the idempotency key was used for a request with another body",
            ));
        }
        self.visitor.check_known(&self.app, id, &heads.request, Right::Read)?;
        let answer = match heads.answer {
            Some((_, answer)) => Some(answer),
            None => self.answer_to_come(id).await?,
        };
        let Some(answer) = answer else { return Ok(None) };
        let position = Position::of(&self.app, id, client, &Query::default())?;
        let mut response = self.told(id, &answer, position).await?;
        self.app.metrics().gateway().joined();
        response.headers_mut().insert(LONGWAVE_DUPLICATE, HeaderValue::from_static("true"));
        Ok(Some(response))
    }

    /// Waits for the answer to a request that another client made; `None` where it came to nothing.
    async fn answer_to_come(&self, id: &StreamId) -> Result<Option<AnswerHead>, Problem> {
        let Some(running) = self.app.gateway().running(id) else {
            // Nobody asks upstream for it any more, though the log has it that somebody does.
            let ended = recover::end_unfinished(&self.app, id).await;
            ended.map_err(|error| recover::problem(&self.app, &error))?;
            return Ok(None);
        };
        tokio::select! {
            biased;
            answer = recorded_answer(&self.app, id) => answer,
            // The log is told of that, but it may not have taken it.
            () = running.over() => Ok(None),
        }
    }

    /// Asks upstream, and gives its answer.
    async fn ask(&self, id: &StreamId, body: reqwest::Body) -> Result<Asked, Problem> {
        let gateway = self.app.gateway();
        if gateway.streams.count() >= self.app.options().gateway.requests_max {
            return Ok(Asked::Full);
        }
        let Some(entered) = gateway.enter(id) else { return Ok(Asked::Seen) };
        let owner = gateway.secret().owner_of(id, &self.principal);
        let ask = Ask {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            body,
        };
        let exchange = Exchange {
            app: self.app.clone(),
            route: Arc::clone(&self.route),
            id: id.clone(),
            head: RequestHead { owner, ..self.head.clone() },
            claimed: Seq::ZERO,
            wants: self.wants,
            disconnect: self.disconnect,
            naming: Naming {
                caller: Caller::new(&self.route.options, self.principal.clone()),
                created_at: (self.method == Method::POST).then(|| self.head.path.clone()),
                chat_id: self.chat_id.clone(),
            },
            comeback: self.comeback(),
            running: Arc::clone(&entered.running),
        };
        let tally = Tally::new(self.app.clone(), &self.route.options.prefix, self.arrived);
        let (reply, answered) = oneshot::channel();
        // Of its own, so that nothing is left half-done where the client goes.
        tokio::spawn(supervise(self.app.clone(), entered, exchange.run(ask, tally, reply)));
        match answered.await {
            Ok(Ok(Answered::Untouched(response))) => Ok(Asked::Answered(response)),
            Ok(Ok(Answered::Recorded(answer))) => {
                self.told(id, &answer, Position::First).await.map(Asked::Answered)
            }
            Ok(Ok(Answered::Seen)) => Ok(Asked::Seen),
            Ok(Err(problem)) => Err(problem),
            Err(_) => Err(Problem::new(Code::Internal, "the gateway failed at this request")),
        }
    }

    /// The refusal of a request for which there is no room.
    fn full(&self) -> Problem {
        let requests_max = self.app.options().gateway.requests_max;
        let detail = format_args!("{requests_max} requests are being proxied, which is the most");
        Problem::new(Code::Overloaded, detail)
            .with_header(RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// What this request's client gets of a stream that is recorded.
    async fn told(
        &self,
        id: &StreamId,
        answer: &AnswerHead,
        position: Position,
    ) -> Result<Response, Problem> {
        match (self.mode.form(), answer.body.dialect()) {
            (Form::Stream, _) | (_, None) => relay(&self.app, id, answer, position).await,
            (Form::Standing, Some(Dialect::OpenaiResponses)) => {
                responses::object(&self.app, id, &self.head, answer).await
            }
            (Form::Standing, Some(_)) => {
                let mut response = manage::info(&self.app, id).await?;
                *response.status_mut() = StatusCode::ACCEPTED;
                name_stream(response.headers_mut(), id);
                Ok(response)
            }
        }
    }

    /// How upstream is asked again, where it runs what this request asks for.
    fn comeback(&self) -> Option<Comeback> {
        let timeout = Duration::from_millis(self.route.options.first_byte_timeout_ms);
        (self.mode == Mode::Upstream)
            .then(|| Comeback::new(self.route.upstream.clone(), &self.url, &self.headers, timeout))
    }
}

/// Keeps a stream among those that run for as long as it does, and ends it where its task dies.
async fn supervise(app: App, entered: Entered, run: impl Future<Output = ()> + Send + 'static) {
    let id = entered.running.id.clone();
    let died = tokio::spawn(run).await.is_err();
    drop(entered);
    if died {
        tracing::error!(stream = %id, "the gateway failed at a stream");
        if let Err(error) = recover::end_unfinished(&app, &id).await {
            tracing::error!(stream = %id, error = &error as &dyn std::error::Error, "a stream could not be ended");
        }
    }
}

/// Waits until the log has how upstream answered; `None` where the stream goes without an answer.
async fn recorded_answer(app: &App, id: &StreamId) -> Result<Option<AnswerHead>, Problem> {
    let subscribe = Subscribe {
        selectors: id.selectors(),
        types: TypeFilter::all(),
        start: StartAt::First,
        kind: SubscriberKind::LongPoll,
    };
    let mut subscription = app.hub().subscribe(subscribe).await?;
    loop {
        match subscription.next(super::HEAD_BUDGET).await {
            Ok(Delivery::Items(items)) => {
                let events = items.iter().filter_map(super::event_of);
                if let Some(answer) = events.filter_map(answer_of).next() {
                    return Ok(Some(answer));
                }
            }
            Ok(Delivery::Ended) => return Ok(None),
            Ok(Delivery::Draining) | Err(_) => {
                return Err(Problem::new(Code::ShuttingDown, "the server is shutting down"));
            }
        }
    }
}

/// How often a request tries to be the first under its key, when those before it fail.
const CLAIMS_MAX: usize = 5;

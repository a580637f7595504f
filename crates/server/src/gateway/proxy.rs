//! A request that a route is for: answered from the log, joined, or passed on. Read [`handle`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body::Body as _;
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
use super::running::Entered;
use super::stream::{AnswerHead, Heads, RequestHead, StreamCursor, StreamId, answer_of};
use super::tally::Tally;
use super::token::Right;
use super::upstream::{Ask, Wants, request_headers, url};
use super::view::{Position, last_event_id, name_stream, relay};
use super::{Dialect, Disconnect, Route, chat, manage, recover, responses};
use crate::http::{
    App, BodyLimit, Code, IDEMPOTENCY_KEY, LONGWAVE_DUPLICATE, Problem, Query, read_problem,
    read_whole,
};
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
    let body = read_body(app, &parts, body).await?;
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
            let answered = call.ask(&id, body.into_upstream()).await?;
            answered.ok_or_else(|| Problem::new(Code::Internal, "two streams got the same name"))
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

/// A request's body.
enum RequestBody {
    /// Read to its end, because what it says matters here.
    Whole(Bytes),
    /// Passed on as it comes.
    Passing(Body),
}

impl RequestBody {
    fn bytes(&self) -> &[u8] {
        match self {
            RequestBody::Whole(bytes) => bytes,
            RequestBody::Passing(_) => &[],
        }
    }

    /// How long it is, where it is passed on and that is known: not every upstream takes a body in chunks.
    fn length(&self) -> Option<u64> {
        match self {
            RequestBody::Whole(_) => None,
            RequestBody::Passing(body) => body.size_hint().exact().filter(|bytes| *bytes > 0),
        }
    }

    fn into_upstream(self) -> reqwest::Body {
        match self {
            RequestBody::Whole(bytes) => bytes.into(),
            RequestBody::Passing(body) if body.is_end_stream() => Bytes::new().into(),
            RequestBody::Passing(body) => reqwest::Body::wrap_stream(body.into_data_stream()),
        }
    }
}

async fn read_body(app: &App, parts: &Parts, body: Body) -> Result<RequestBody, Problem> {
    let is_json = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.contains("json"));
    let is_keyed = parts.method == Method::POST && parts.headers.contains_key(IDEMPOTENCY_KEY);
    if !is_json && !is_keyed {
        return Ok(RequestBody::Passing(body));
    }
    let bytes_max = app.options().gateway.request_bytes_max;
    let whole = read_whole(app, body, BodyLimit { bytes_max, code: Code::BodyTooLarge }).await?;
    Ok(RequestBody::Whole(whole.into_bytes()))
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
            if let Some(response) = self.ask(&id, body.clone().into()).await? {
                return Ok(response);
            }
            let running = gateway.running(&id);
            if let Some(running) = &running {
                running.begun().await;
            }
            if let Some(response) = self.join(&id, client).await? {
                return Ok(response);
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
            Some((_, answer)) => answer,
            // Nobody asks upstream for it any more, though the log has it that somebody does.
            None if self.app.gateway().running(id).is_none() => {
                let ended = recover::end_unfinished(&self.app, id).await;
                ended.map_err(|error| recover::problem(&self.app, &error))?;
                return Ok(None);
            }
            None => match answer_to_come(&self.app, id).await? {
                Some(answer) => answer,
                None => return Ok(None),
            },
        };
        let position = Position::of(&self.app, id, client, &Query::default())?;
        let mut response = self.told(id, &answer, position).await?;
        self.app.metrics().gateway().joined();
        response.headers_mut().insert(LONGWAVE_DUPLICATE, HeaderValue::from_static("true"));
        Ok(Some(response))
    }

    /// Asks upstream, and gives its answer; `None` where the stream was begun by another request.
    async fn ask(&self, id: &StreamId, body: reqwest::Body) -> Result<Option<Response>, Problem> {
        let gateway = self.app.gateway();
        let requests_max = self.app.options().gateway.requests_max;
        if gateway.streams.count() >= requests_max {
            let detail =
                format_args!("{requests_max} requests are being proxied, which is the most");
            return Err(Problem::new(Code::Overloaded, detail)
                .with_header(RETRY_AFTER, HeaderValue::from_static("5")));
        }
        let Some(entered) = gateway.enter(id) else { return Ok(None) };
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
            Ok(Ok(Answered::Untouched(response))) => Ok(Some(response)),
            Ok(Ok(Answered::Recorded(answer))) => {
                self.told(id, &answer, Position::First).await.map(Some)
            }
            Ok(Ok(Answered::Seen)) => Ok(None),
            Ok(Err(problem)) => Err(problem),
            Err(_) => Err(Problem::new(Code::Internal, "the gateway failed at this request")),
        }
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

/// Waits for the answer to a request that another client made; `None` where it came to nothing.
async fn answer_to_come(app: &App, id: &StreamId) -> Result<Option<AnswerHead>, Problem> {
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

fn whole_path(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let invalid = |detail: &dyn std::fmt::Display| {
        Problem::new(Code::KeyInvalid, format_args!("the idempotency key: {detail}"))
    };
    let text = value.to_str().map_err(|_| invalid(&"it must be plain ASCII"))?;
    IdempotencyKey::new(text).map(Some).map_err(|error| invalid(&error))
}

/// What a request says of its own stream: `continue`, `cancel`, `grace=30s`.
fn disconnect(headers: &HeaderMap) -> Result<Option<Disconnect>, Problem> {
    let Some(value) = headers.get("longwave-disconnect") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let policy = match (text, text.strip_prefix("grace=")) {
        ("continue", _) => Some(Disconnect::Continue),
        ("cancel", _) => Some(Disconnect::Cancel),
        (_, Some(time)) => crate::http::parse_duration_ms(time).map(|ms| Disconnect::Grace { ms }),
        _ => None,
    };
    match policy {
        Some(policy) => Ok(Some(policy)),
        None => Err(Problem::new(
            Code::HeaderInvalid,
            "Longwave-Disconnect must be continue, cancel, or grace with a time, such as grace=30s",
        )
        .with("header", "Longwave-Disconnect")),
    }
}

/// How often a request tries to be the first under its key, when those before it fail.
const CLAIMS_MAX: usize = 5;

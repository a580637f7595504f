//! Which handler answers what: [`router`].

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any, get, post};
use axum::{Extension, Router};
use http::header::ACCESS_CONTROL_REQUEST_METHOD;
use http::{Method, Uri};

use super::{App, Code, Problem, TopicPath, openapi, origin, probes, publish, read, topics};
use crate::gateway::{self, manage};

/// Every route with its middleware.
pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes() {
        router = router.route(path, methods);
    }
    with_middleware(router, app)
}

/// These routes with what all routes have around them.
pub(crate) fn with_middleware(routes: Router<App>, app: App) -> Router {
    routes
        .fallback(proxied)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(origin::cors(&app.options().origins))
        .layer(middleware::from_fn_with_state(app.clone(), plain_options))
        .layer(middleware::from_fn_with_state(app.clone(), origin::check))
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .with_state(app)
}

/// The table of routes. The OpenAPI document must have the same; a test compares them.
fn routes() -> [(&'static str, MethodRouter<App>); 14] {
    [
        ("/", get(read::index)),
        ("/console/{*path}", get(read::console)),
        (
            TOPIC_ROUTE,
            get(read::topic)
                .connect(read::topic)
                .head(topics::head)
                .post(publish::publish)
                .put(topics::configure)
                .delete(topics::delete),
        ),
        // Not a topic with an empty name, but what remains when somebody forgets the name.
        ("/topics/", any(no_topic)),
        ("/topics", get(topics::list)),
        ("/events", get(read::events).connect(read::events)),
        ("/streams", get(gateway::list::list)),
        ("/streams/{id}", get(manage::read).delete(manage::cancel)),
        ("/streams/{id}/cancel", post(manage::cancel_by_post)),
        ("/streams/{id}/tokens", post(gateway::mint::mint)),
        ("/health", get(probes::health)),
        ("/ready", get(probes::ready)),
        ("/metrics", get(probes::metrics)),
        ("/openapi.json", get(openapi::openapi)),
    ]
}

/// The pattern of topics.
pub(super) const TOPIC_ROUTE: &str = "/topics/{*topic}";

/// The patterns of all routes.
#[must_use]
pub fn route_paths() -> Vec<&'static str> {
    routes().into_iter().map(|(path, _)| path).collect()
}

async fn no_topic(TopicPath(topic): TopicPath) -> Problem {
    Problem::new(Code::TopicNotFound, format_args!("there is no topic {topic}"))
}

/// What has no route here may have one through the gateway.
async fn proxied(State(app): State<App>, request: Request) -> Response {
    let uri = request.uri().clone();
    match gateway::handle(&app, request).await {
        Some(answer) => (Extension(Proxied), answer).into_response(),
        None => not_found(&app, &uri).into_response(),
    }
}

/// Passes an `OPTIONS` on that is no browser's question about another origin: the layer below would answer it as one.
async fn plain_options(State(app): State<App>, request: Request, next: Next) -> Response {
    let asks_for_origin = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let is_plain = request.method() == Method::OPTIONS && !asks_for_origin;
    if is_plain && app.gateway().serves(request.uri().path()) {
        return proxied(State(app), request).await;
    }
    next.run(request).await
}

/// Marks the answer to a request that a route of the gateway was for.
#[derive(Clone, Copy)]
struct Proxied;

/// Names the gateway's routes: who asks for what is not there is often a client whose base URL lacks the prefix.
fn not_found(app: &App, uri: &Uri) -> Problem {
    let mut detail = format!("there is nothing at {}; topics are at /topics/NAME", uri.path());
    let prefixes: Vec<&str> = app.gateway().prefixes().collect();
    if prefixes.is_empty() {
        return Problem::new(Code::RouteNotFound, detail);
    }
    detail.push_str(", and the gateway passes on what is under ");
    detail.push_str(&prefixes.join(", "));
    Problem::new(Code::RouteNotFound, detail).told_to_sdks()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    // The header Allow is the router's.
    Problem::new(
        Code::MethodNotAllowed,
        format_args!("{} does not take {method}; the header Allow lists what it takes", uri.path()),
    )
}

/// Counts a request once its answer's head is there.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = match &route {
        Some(path) => path.as_str(),
        None if response.extensions().get::<Proxied>().is_some() => "gateway",
        None => "none",
    };
    app.metrics().request(&method, route, response.status());
    response
}

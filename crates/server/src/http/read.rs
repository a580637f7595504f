//! Reads as the router mounts them. What they do is the transports' business.

use axum::extract::{Request, State};
use axum::response::Response;

use super::{App, Problem, Query, TopicPath, topics};

/// Gives a topic's events, live or page by page, or with `?info` what is known of it.
#[utoipa::path(
    get,
    path = "/topics/{topic}",
    tag = "subscribe",
    params(("topic" = String, Path, description = "The topic; its slashes stand as they are")),
    responses(
        (status = 200, description = "ok"),
        (status = "default", response = super::openapi::ProblemResponse),
    ),
)]
pub(super) async fn topic(
    State(app): State<App>,
    TopicPath(topic): TopicPath,
    query: Query,
    _request: Request,
) -> Result<Response, Problem> {
    topics::info(&app, topic, &query).await
}

/// Gives the events of several topics.
#[utoipa::path(
    get,
    path = "/events",
    tag = "subscribe",
    responses(
        (status = 200, description = "ok"),
        (status = "default", response = super::openapi::ProblemResponse),
    ),
)]
pub(super) async fn events() -> Problem {
    Problem::new(super::Code::RouteNotFound, "")
}

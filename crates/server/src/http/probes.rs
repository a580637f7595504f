//! Is the server well? `/health`, `/ready` and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use longwave_store::LogState;
use serde::Serialize;
use utoipa::ToSchema;

use super::app::Phase;
use super::{App, Code, Problem};

/// The answer of a server that is well.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`, or `ready`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process answers at all.
#[utoipa::path(
    get,
    path = "/health",
    tag = "operate",
    responses((status = 200, description = "The process answers", body = Health)),
)]
pub(super) async fn health() -> Response {
    well("ok")
}

/// Whether the server takes publishes and subscriptions now.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "operate",
    responses(
        (status = 200, description = "It does", body = Health),
        (status = 503, description = "It does not; `reason` says why", body = super::openapi::ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn ready(State(app): State<App>) -> Result<Response, Problem> {
    if *app.phase().borrow() != Phase::Serving {
        return Err(not_ready("draining", "the server is shutting down"));
    }
    match app.log().status().state {
        LogState::Ready => Ok(well("ready")),
        LogState::Full => Err(not_ready(
            "disk-full",
            "the disk is full: events can be read but not published until there is room",
        )),
        LogState::Failed(reason) => Err(not_ready(
            "log-failed",
            &format!("the log failed and takes nothing until the server is restarted: {reason}"),
        )),
        LogState::Closed => Err(not_ready("closed", "the log is closed")),
    }
}

/// Counters in the text format of OpenMetrics.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operate",
    responses((status = 200, description = "The counters", body = String, content_type = "application/openmetrics-text")),
)]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let text = app.metrics().encode(&app).map_err(|error| Problem::new(Code::Internal, error))?;
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, OPENMETRICS);
    headers.insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

fn well(status: &'static str) -> Response {
    let mut response = (StatusCode::OK, Json(Health { status })).into_response();
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

fn not_ready(reason: &str, detail: &str) -> Problem {
    Problem::new(Code::NotReady, detail).with("reason", reason)
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

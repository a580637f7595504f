//! The OpenAPI document, made from the handlers' annotations and the wire types: [`ApiDoc`].

use axum::Json;
use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{OpenApi, RefOr};
use utoipa::{OpenApi as _, PartialSchema, ToResponse, ToSchema};

use super::{Code, probes, publish, read, topics};
use crate::gateway;

/// The document of all routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Longwave",
        description = "Durable, resumable streams over plain HTTP. PROTOCOL.md is the normative text.",
    ),
    tags(
        (name = "publish", description = "Putting events into topics"),
        (name = "subscribe", description = "Getting events, live or page by page"),
        (name = "manage", description = "Topics and their settings"),
        (name = "gateway", description = "Streams that went through the gateway"),
        (name = "operate", description = "Is the server well?"),
    ),
    paths(
        publish::publish,
        read::topic,
        read::events,
        read::index,
        read::console,
        topics::configure,
        topics::head,
        topics::delete,
        topics::list,
        gateway::list::list,
        gateway::manage::read,
        gateway::manage::cancel,
        gateway::manage::cancel_by_post,
        gateway::mint::mint,
        probes::health,
        probes::ready,
        probes::metrics,
        openapi,
    ),
    components(responses(ProblemResponse)),
)]
pub(super) struct ApiDoc;

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operate",
    responses((status = 200, description = "This document", content_type = "application/json")),
)]
pub(super) async fn openapi() -> Json<OpenApi> {
    Json(ApiDoc::openapi())
}

/// A failure (RFC 9457).
#[derive(Serialize, ToResponse)]
#[response(description = "A failure", content_type = "application/problem+json")]
pub(crate) struct ProblemResponse(ProblemDocument);

/// A failure (RFC 9457). Further members depend on the code.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument {
    /// Identifies the code as a URI.
    #[serde(rename = "type")]
    type_uri: String,
    /// What all failures of this code have in common.
    title: String,
    /// The status that the failure travels under.
    status: u16,
    /// The failure's stable name.
    #[schema(value_type = Code)]
    code: String,
    /// A sentence for people.
    detail: String,
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The stable name of a kind of failure; more may come."))
            .enum_values(Some(codes))
            .build()
            .into()
    }
}

impl ToSchema for Code {}

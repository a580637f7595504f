//! `POST /streams/{id}/tokens`: a token for somebody who has not the provider's key. Read [`mint`].

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use longwave_core::UnixMillis;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::{TOKEN_PARAMETER, Visitor, missing};
use super::manage::{NO_STORE, known, parse_id};
use super::stream::StreamId;
use super::token::{Right, Rights, Token};
use crate::http::{
    App, BodyLimit, Code, JsonObject, Problem, Quantity, Query, check_json, read_whole, rfc3339,
};
use crate::transports::now;

/// What a token shall be for. An empty body is for a token with everything as it is by default.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// What it lets its bearer do: `read`, `cancel`, or both; `read` unless it is given.
    rights: Option<Vec<String>>,
    /// For how long, from `1s` to `7d`: `1h`, or a number of seconds; `1h` unless it is given.
    #[schema(value_type = Option<Quantity>)]
    ttl: Option<Quantity>,
}

/// A token for one stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(crate) struct TokenDocument {
    /// Given as `?token=`, or as `Authorization: Bearer`.
    #[schema(example = "lwv_AQEAAAGasr…")]
    token: String,
    /// Where whoever has the token reads the stream, beginning with a slash.
    url: String,
    rights: Vec<&'static str>,
    /// When it ends, RFC 3339.
    #[schema(format = DateTime)]
    expires: String,
}

/// Makes a token, by which somebody else may read or cancel the stream.
#[utoipa::path(
    post,
    path = "/streams/{id}/tokens",
    tag = "gateway",
    params(("id" = String, Path, description = "The stream")),
    request_body(content = Option<TokenRequest>, content_type = "application/json"),
    responses(
        (status = 201, description = "The token, which is told this once", body = TokenDocument),
        (status = "default", response = crate::http::ProblemResponse),
    ),
)]
pub(crate) async fn mint(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.only(&[TOKEN_PARAMETER])?;
    let id = parse_id(&id)?;
    let visitor = Visitor::of(&app, &headers, &query)?;
    if visitor.has_token() {
        return Err(missing(
            "a token makes no other; that takes the credentials of the request that began the stream",
        ));
    }
    let heads = known(&app, &id).await?;
    // Whoever may make a token could do all that the token allows.
    for right in Right::ALL {
        visitor.check_known(&app, &id, &heads.request, right)?;
    }
    check_json(&headers)?;
    let limit = BodyLimit { bytes_max: BODY_BYTES_MAX, code: Code::BodyTooLarge };
    let body = read_whole(&app, body, limit).await?;
    let token = TokenRequest::parse(body.bytes())?.token(id, now())?;
    let document = TokenDocument::new(&token, token.sign(app.gateway().secret()));
    let mut response = (StatusCode::CREATED, Json(document)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

impl TokenRequest {
    fn parse(body: &[u8]) -> Result<TokenRequest, Problem> {
        if body.trim_ascii().is_empty() {
            return Ok(TokenRequest::default());
        }
        let JsonObject(request) = serde_json::from_slice(body).map_err(|error| {
            let code = if error.is_data() { Code::TokenRequestInvalid } else { Code::JsonInvalid };
            Problem::new(code, error)
        })?;
        Ok(request)
    }

    fn token(self, stream: StreamId, now: UnixMillis) -> Result<Token, Problem> {
        let rights = match self.rights {
            None => [Right::Read].into_iter().collect(),
            Some(names) if names.is_empty() => {
                return Err(invalid("rights", "a token needs a right: read, cancel, or both"));
            }
            Some(names) => names
                .iter()
                .map(|name| name.parse())
                .collect::<Result<Rights, _>>()
                .map_err(|error| invalid("rights", error))?,
        };
        let ttl_ms = match self.ttl {
            None => Some(TTL_MS_DEFAULT),
            Some(ttl) => ttl.duration_ms(),
        };
        let bounds = Token::TTL_MS_MIN..=Token::TTL_MS_MAX;
        let ttl_ms = ttl_ms.filter(|ms| bounds.contains(ms)).ok_or_else(|| {
            invalid(
                "ttl",
                "ttl must be a duration from 1s to 7d, such as 1h, or a number of seconds",
            )
        })?;
        Ok(Token { stream, rights, expires: UnixMillis(now.0.saturating_add(ttl_ms)) })
    }
}

impl TokenDocument {
    fn new(token: &Token, text: String) -> TokenDocument {
        TokenDocument {
            url: format!("{}?{TOKEN_PARAMETER}={text}", token.stream.path()),
            token: text,
            rights: token.rights.iter().map(Right::as_str).collect(),
            expires: rfc3339(token.expires),
        }
    }
}

fn invalid(member: &str, detail: impl std::fmt::Display) -> Problem {
    Problem::new(Code::TokenRequestInvalid, detail).with("member", member)
}

const TTL_MS_DEFAULT: u64 = 60 * 60 * 1000;
/// The most bytes of a body that asks for a token.
const BODY_BYTES_MAX: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Result<Token, Problem> {
        let id = StreamId::of_bytes([1; 16]);
        TokenRequest::parse(body.as_bytes())?.token(id, UnixMillis(1_000_000))
    }

    #[test]
    fn a_token_is_for_reading_and_an_hour_unless_it_is_said_otherwise() {
        for (body, rights, ttl_ms) in [
            ("", "{Read}", 3_600_000),
            (" {}\n", "{Read}", 3_600_000),
            (r#"{"rights":null,"ttl":null}"#, "{Read}", 3_600_000),
            (r#"{"rights":["cancel","read","read"],"ttl":"1s"}"#, "{Read, Cancel}", 1000),
            (r#"{"rights":["cancel"],"ttl":604800}"#, "{Cancel}", 604_800_000),
        ] {
            let token = asked(body).unwrap();
            assert_eq!(format!("{:?}", token.rights), rights, "{body}");
            assert_eq!(token.expires, UnixMillis(1_000_000 + ttl_ms), "{body}");
        }
    }

    #[test]
    fn what_can_be_no_token_is_refused_by_its_member() {
        for (body, code, member) in [
            (r#"{"rights":[]}"#, Code::TokenRequestInvalid, Some("rights")),
            (r#"{"rights":["write"]}"#, Code::TokenRequestInvalid, Some("rights")),
            (r#"{"ttl":"0s"}"#, Code::TokenRequestInvalid, Some("ttl")),
            (r#"{"ttl":"999ms"}"#, Code::TokenRequestInvalid, Some("ttl")),
            (r#"{"ttl":604801}"#, Code::TokenRequestInvalid, Some("ttl")),
            (r#"{"ttl":18446744073709551615}"#, Code::TokenRequestInvalid, Some("ttl")),
            (r#"{"ttl":"soon"}"#, Code::TokenRequestInvalid, Some("ttl")),
            (r#"{"tll":"1h"}"#, Code::TokenRequestInvalid, None),
            (r#"["read"]"#, Code::TokenRequestInvalid, None),
            (r#"{"rights":"read"}"#, Code::TokenRequestInvalid, None),
            ("{", Code::JsonInvalid, None),
        ] {
            let problem = asked(body).unwrap_err();
            assert_eq!(problem.code(), code, "{body}");
            assert_eq!(problem.to_json()["member"].as_str(), member, "{body}");
        }
    }
}

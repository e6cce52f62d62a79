//! `/iceberg`: the embedded catalog for other engines.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hogflare_catalog::embedded::{Access, RestError, RestRequest, RestResponse, rest};
use http_body_util::{BodyExt, Limited};
use serde_json::json;

use super::access::{self, Denied};
use super::{Services, facts, sdk};
use crate::tokens::Right;

const MOUNT: &str = "/iceberg";
const BODY_BYTES_MAX: usize = 32 << 20;

pub(super) fn routes(services: &Services) -> Router {
    Router::new()
        .route("/iceberg/v1/oauth/tokens", any(token))
        .route("/iceberg/{*path}", any(handle))
        .with_state(services.clone())
}

async fn handle(State(services): State<Services>, request: Request<Body>) -> Response {
    let access = match access::check(&services.edge, &request) {
        Ok(grant) if grant.right == Right::Admin => Access::Write,
        Ok(_) => Access::Read,
        Err(denied) => return denial(denied),
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        let error = RestError::new(413, "PayloadTooLargeException", "the request is too large");
        return answer(RestResponse::from(error));
    };
    let body = body.to_bytes();
    let Some(catalog) = services.catalog.clone() else {
        let words = "this server writes to a remote catalog: connect engines to that one (see `hogflare config`)";
        return answer(RestResponse::from(RestError::new(404, "NoSuchEndpointException", words)));
    };
    let answered = tokio::task::spawn_blocking(move || {
        let path = parts.uri.path().strip_prefix(MOUNT).unwrap_or_default().to_owned();
        let query = facts::query_pairs(parts.uri.query());
        let if_none_match = facts::header(&parts.headers, IF_NONE_MATCH.as_str());
        let delegation = facts::header(&parts.headers, "x-iceberg-access-delegation").unwrap_or_default();
        let wants_credentials = delegation.contains("vended-credentials");
        let method = parts.method.as_str();
        let request = RestRequest { method, path: &path, query, if_none_match, wants_credentials, body };
        rest(&request, &catalog, access)
    });
    match answered.await {
        Ok(response) => answer(response),
        Err(_) => answer(RestResponse::from(RestError::new(500, "InternalServerError", "the catalog failed"))),
    }
}

fn answer(response: RestResponse) -> Response {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let etag = response.etag.and_then(|etag| HeaderValue::from_str(&etag).ok());
    let mut response = match response.body {
        Some(body) => sdk::json(status, body),
        None => status.into_response(),
    };
    response.headers_mut().extend(etag.map(|etag| (ETAG, etag)));
    response
}

fn denial(denied: Denied) -> Response {
    let kind = if denied == Denied::OneProject { "ForbiddenException" } else { "NotAuthorizedException" };
    let error = RestError::new(denied.status(), kind, denied.message());
    answer(RestResponse::from(error))
}

/// OAuth 2 client credentials: the secret is one of our tokens, and so is the answer.
async fn token(State(services): State<Services>, request: Request<Body>) -> Response {
    let client = facts::client_ip(&services.edge, facts::peer(&request), request.headers());
    let basic = facts::header(request.headers(), AUTHORIZATION.as_str())
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|encoded| access::basic_password(encoded.trim()));
    let body = Limited::new(request.into_body(), 64 << 10).collect().await;
    let body: Bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    let pairs = facts::query_pairs(std::str::from_utf8(&body).ok());
    let field = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let refused = |status: StatusCode, error: &str, description: &str| {
        let body = json!({"error": error, "error_description": description});
        sdk::json(status, body.to_string())
    };
    if field("grant_type").as_deref() != Some("client_credentials") {
        return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type", "use client_credentials");
    }
    let secret = field("client_secret").or(basic).unwrap_or_default();
    let grant = services.edge.tokens.grant(&secret);
    if grant.as_ref().is_some_and(|grant| !grant.projects.is_all()) {
        return refused(StatusCode::FORBIDDEN, "unauthorized_client", Denied::OneProject.message());
    }
    if grant.is_none() {
        services.edge.tokens.note_failure(client);
        if services.edge.tokens.is_blocked(client) {
            return denial(Denied::TooManyFailures);
        }
        return refused(StatusCode::UNAUTHORIZED, "invalid_client", "the client secret must be a token of this server");
    }
    let body = json!({
        "access_token": secret,
        "token_type": "bearer",
        "expires_in": 3600,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    });
    let mut response = sdk::json(StatusCode::OK, body.to_string());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

//! `/api/sql`: SQL over HTTP.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete};
use futures::StreamExt;
use hogflare_query::{ErrorCode, Format, Reader, SqlError, SqlRequest};
use http_body_util::{BodyExt, Limited};

use super::access::{self, Denied};
use super::{Services, facts};
use crate::tokens::Grant;

const QUERY_ID: HeaderName = HeaderName::from_static("x-query-id");
const FORMAT: HeaderName = HeaderName::from_static("x-hogflare-format");
/// SQL and its parameters.
const BODY_BYTES_MAX: usize = 2 << 20;

pub(super) fn routes(services: &Services) -> Router {
    Router::new()
        .route("/api/sql", any(run))
        .route("/api/sql/", any(run))
        .route("/api/sql/queries/{id}", delete(cancel))
        .with_state(services.clone())
}

async fn run(State(services): State<Services>, request: Request<Body>) -> Response {
    let grant = match access::check_confined(&services.edge, &request) {
        Ok(grant) => grant,
        Err(denied) => return refused_access(denied),
    };
    let parsed = match *request.method() {
        Method::GET => parse(request, true).await,
        Method::POST => parse(request, false).await,
        _ => return (StatusCode::METHOD_NOT_ALLOWED, "use GET or POST").into_response(),
    };
    let answer = match parsed {
        Ok(parsed) => {
            services.lake.freshen().await;
            services.engine.run(parsed, reader(grant)).await
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => {
            let id = HeaderValue::from_str(&answer.query_id).ok();
            let (format, kind) = (answer.format.name(), answer.format.content_type());
            // An error item ends the connection without a final chunk: a cut answer never looks whole.
            let mut response =
                Body::from_stream(answer.body.map(|piece| piece.map_err(|error| error.message))).into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(FORMAT, HeaderValue::from_static(format));
            headers.extend(id.map(|id| (QUERY_ID, id)));
            response
        }
        Err(error) => refused(&error),
    }
}

async fn parse(request: Request<Body>, from_query: bool) -> Result<SqlRequest, SqlError> {
    let pairs = facts::query_pairs(request.uri().query());
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let names_format = pairs.clone().any(|(name, _)| name == "format");
    let accept = facts::header(request.headers(), ACCEPT.as_str()).and_then(Format::of_accept);
    let kind = facts::header(request.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
    let is_json = kind.to_ascii_lowercase().starts_with("application/json");
    let pairs: Vec<(String, String)> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if from_query {
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        return SqlRequest::from_text(b"", pairs).map(|parsed| with_accept(parsed, accept, names_format));
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await.map_err(|_| {
        SqlError::new(ErrorCode::SqlTooLong, format!("the request is longer than {BODY_BYTES_MAX} bytes"))
    })?;
    let body = body.to_bytes();
    if is_json {
        let names_format =
            serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|body| body.get("format").is_some());
        return SqlRequest::from_json(&body).map(|parsed| with_accept(parsed, accept, names_format));
    }
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    SqlRequest::from_text(&body, pairs).map(|parsed| with_accept(parsed, accept, names_format))
}

fn with_accept(mut request: SqlRequest, accept: Option<Format>, names_format: bool) -> SqlRequest {
    if let (Some(format), false) = (accept, names_format) {
        request.format = format;
    }
    request
}

async fn cancel(State(services): State<Services>, Path(id): Path<String>, request: Request<Body>) -> Response {
    let reader = match access::check_confined(&services.edge, &request) {
        Ok(grant) => reader(grant),
        Err(denied) => return refused_access(denied),
    };
    match services.engine.cancel(&id, &reader) {
        true => StatusCode::ACCEPTED.into_response(),
        false => (StatusCode::NOT_FOUND, "no query of that id runs").into_response(),
    }
}

pub(super) fn reader(grant: Grant) -> Reader {
    Reader { name: grant.name, scope: grant.projects }
}

pub(super) fn refused_access(denied: Denied) -> Response {
    let code = if denied == Denied::OneProject { ErrorCode::Forbidden } else { ErrorCode::Unauthorized };
    let mut response = refused(&SqlError::new(code, denied.message()));
    *response.status_mut() = StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    response
}

pub(super) fn refused(error: &SqlError) -> Response {
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, error.to_json()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if error.code.retryable() {
        headers.insert(RETRY_AFTER, HeaderValue::from(error.retry_after_s.unwrap_or(1)));
    }
    response
}

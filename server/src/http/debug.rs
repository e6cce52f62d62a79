//! Looking at one person, and at what became of one event.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hogflare_query::{ErrorCode, SqlError};
use serde_json::json;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::{Services, access, facts, sdk, sql};
use crate::tokens::Right;

const DEBUG_HEADER: &str = "x-hogflare-debug-token";

pub(super) fn person_routes(services: &Services) -> Router {
    Router::new().route("/__debug/person/{distinct_id}", get(person)).with_state(services.clone())
}

pub(super) fn event_routes(services: &Services) -> Router {
    Router::new().route("/api/events/{uuid}", get(event)).with_state(services.clone())
}

/// The person of a distinct id as the state knows it now. Without a debug token the route does not exist.
async fn person(Path(distinct_id): Path<String>, State(services): State<Services>, request: Request<Body>) -> Response {
    let edge = &services.edge;
    let Some(wanted) = &edge.debug_token else { return StatusCode::NOT_FOUND.into_response() };
    let client = facts::client_ip(edge, facts::peer(&request), request.headers());
    let sent = facts::header(request.headers(), DEBUG_HEADER).unwrap_or_default();
    if edge.tokens.is_blocked(client) {
        return refused(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens from this address; wait a minute");
    }
    if !bool::from(wanted.as_bytes().ct_eq(sent.as_bytes())) {
        edge.tokens.note_failure(client);
        return refused(StatusCode::UNAUTHORIZED, "send the debug token in the header x-hogflare-debug-token");
    }
    let pairs = facts::query_pairs(request.uri().query());
    let named = pairs.into_iter().find_map(|(name, value)| (name == "token").then_some(value));
    let only = || {
        let projects = edge.normalize.projects.load();
        let mut tokens = projects.iter().map(|project| project.token.as_str().to_owned());
        tokens.next().filter(|_| tokens.next().is_none())
    };
    let Some(project) = named.or_else(|| edge.api_key.clone()).or_else(only) else {
        return refused(StatusCode::BAD_REQUEST, "say which project: ?token=<project token>");
    };
    let Some(state) = services.ingest.state() else { return StatusCode::NOT_FOUND.into_response() };
    match state.person_or_read(&project, &distinct_id).await {
        Ok(person) => {
            let person = person.map(|person| person.describe());
            let found = json!({"project": project, "distinct_id": distinct_id, "person": person});
            sdk::json(StatusCode::OK, found.to_string())
        }
        Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

fn refused(status: StatusCode, why: &str) -> Response {
    sdk::json(status, json!({"error": why}).to_string())
}

/// Where an event is: its place in log and table, its person and why, or why it was not stored.
async fn event(Path(uuid): Path<String>, State(services): State<Services>, request: Request<Body>) -> Response {
    let grant = match access::check(&services.edge, &request) {
        Ok(grant) => grant,
        Err(denied) => return sql::refused_access(denied),
    };
    if grant.right < Right::Admin {
        return sql::refused(&SqlError::new(ErrorCode::Forbidden, "this needs an admin token"));
    }
    let Ok(uuid) = Uuid::try_parse(&uuid) else {
        return sql::refused(&SqlError::new(ErrorCode::InvalidParameter, format!("{uuid:?} is no UUID")));
    };
    services.lake.freshen().await;
    match services.engine.trace(&uuid.to_string(), sql::reader(grant)).await {
        Ok(Some(found)) => sdk::json(StatusCode::OK, found.to_string()),
        Ok(None) => {
            let none = json!({"error": {"code": "unknown_event", "message": "no event of that uuid was received"}});
            sdk::json(StatusCode::NOT_FOUND, none.to_string())
        }
        Err(error) => sql::refused(&error),
    }
}

//! What SDKs on servers fetch with a key: definitions of flags to evaluate themselves, and payloads.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use axum::routing::any;
use hogflare_ingest::flags::Definitions;
use hogflare_ingest::protocol::{Code, Refusal};
use hogflare_query::Scope;
use serde_json::json;

use super::{Services, conditional, cors, facts, flags, sdk};

const CACHE_CONTROL: &str = "private, no-cache";

pub(super) fn routes(services: &Services) -> Router {
    let mut router = Router::new();
    for path in ["/flags/definitions", "/api/feature_flag/local_evaluation"] {
        for path in [path.to_owned(), format!("{path}/")] {
            router = router.route(&path, any(definitions));
        }
    }
    for path in ["", "/"] {
        let path = format!("/api/projects/@current/feature_flags/{{key}}/remote_config{path}");
        router = router.route(&path, any(remote_config));
    }
    router.with_state(services.clone())
}

async fn definitions(State(services): State<Services>, request: Request<Body>) -> Response {
    if request.method() == Method::OPTIONS {
        return cors::preflight(request.headers());
    }
    let pairs = facts::query_pairs(request.uri().query());
    let send_cohorts = pairs.iter().any(|(name, value)| name == "send_cohorts" && value != "false");
    let (project, headers) = (project_of(&services, &request), request.headers().clone());
    let found = match project {
        Ok(project) => written(&services, project, send_cohorts).await,
        Err(refusal) => Err(refusal),
    };
    let response = found.map(|found| {
        let body = || Body::from(found.body.clone());
        conditional::answer(&headers, &found.etag, CACHE_CONTROL, "application/json", body)
    });
    finished(response, &headers)
}

async fn written(services: &Services, project: String, send_cohorts: bool) -> Result<Arc<Definitions>, Refusal> {
    let types = match services.ingest.state() {
        Some(state) => {
            let types = state.group_types_or_read(&project).await;
            types.map_err(|error| Refusal::new(Code::Overloaded, error.to_string()))?
        }
        None => Arc::default(),
    };
    let types = flags::names(&types);
    let flags = services.edge.flags.clone();
    let written = tokio::task::spawn_blocking(move || flags.definitions(&project, &types, send_cohorts)).await;
    written.map_err(|_| Refusal::new(Code::Overloaded, "the definitions could not be written"))
}

/// The payload of a flag as JSON text, or nothing.
async fn remote_config(Path(key): Path<String>, State(services): State<Services>, request: Request<Body>) -> Response {
    if request.method() == Method::OPTIONS {
        return cors::preflight(request.headers());
    }
    let payload = project_of(&services, &request).map(|project| {
        let payload = services.edge.flags.of(&project).remote_config_payload(&key);
        sdk::json(StatusCode::OK, payload.map(|payload| json!(payload).to_string()).unwrap_or_default())
    });
    finished(payload, request.headers())
}

fn finished(response: Result<Response, Refusal>, headers: &HeaderMap) -> Response {
    let mut response = response.unwrap_or_else(|refusal| sdk::refused(&refusal));
    cors::allow(headers, response.headers_mut());
    response
}

/// The project that the request names, if its key may read that one's flags.
fn project_of(services: &Services, request: &Request<Body>) -> Result<String, Refusal> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::new(Code::MethodNotAllowed, "use GET"));
    }
    let edge = &services.edge;
    let bearer = facts::header(request.headers(), AUTHORIZATION.as_str()).and_then(|value| value.split_once(' '));
    let secret = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, secret)| secret.trim());
    let client = facts::client_ip(edge, facts::peer(request), request.headers());
    let grant = secret.and_then(|secret| edge.flag_keys.grant(secret));
    let Some(grant) = grant else {
        if secret.is_some() {
            edge.flag_keys.note_failure(client);
        }
        let detail = match edge.flag_keys.is_empty() {
            true => "no key is set that reads flags: set HOGFLARE_FLAG_KEYS to name:secret",
            false => "a key of HOGFLARE_FLAG_KEYS is needed: send Authorization: Bearer <secret>",
        };
        return Err(Refusal::new(Code::InvalidToken, detail));
    };
    let pairs = facts::query_pairs(request.uri().query());
    let named = pairs.into_iter().find(|(name, value)| name == "token" && !value.trim().is_empty());
    let token = match (named, &grant.projects) {
        (Some((_, token)), _) => token.trim().to_owned(),
        (None, Scope::Only(projects)) if projects.len() == 1 => projects[0].clone(),
        (None, _) => return Err(Refusal::new(Code::MissingToken, "say which project: ?token=<project token>")),
    };
    let is_granted = match &grant.projects {
        Scope::All => true,
        Scope::Only(projects) => projects.contains(&token),
    };
    if !is_granted {
        return Err(Refusal::new(Code::InvalidToken, "the key is not for this project"));
    }
    edge.normalize.projects.load().admit(&token, None)?;
    Ok(token)
}

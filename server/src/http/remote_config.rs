//! `/array/<token>/config` and `config.js`: what SDKs ask first.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hogflare_ingest::protocol::{Code, Refusal};
use uuid::Uuid;

use super::{Services, assets, conditional, cors, facts, sdk};

const CACHE_CONTROL: &str = "public, max-age=300";

pub(super) fn routes(services: &Services) -> Router {
    let mut router = Router::new();
    for (path, script) in [("config", false), ("config/", false), ("config.js", true)] {
        let handler = move |path: Path<String>, services: State<Services>, request: Request<Body>| {
            config(path, services, request, script)
        };
        router = router.route(&format!("/array/{{token}}/{path}"), any(handler));
    }
    router.with_state(services.clone())
}

async fn config(
    Path(token): Path<String>,
    State(services): State<Services>,
    request: Request<Body>,
    script: bool,
) -> Response {
    let headers = request.headers();
    if request.method() != Method::OPTIONS
        && let Some(response) = refused(&services, &token, headers)
    {
        return response;
    }
    let config = services.edge.remote_config_of(&token);
    let (body, content_type) = match script {
        true => (config.script(&token), assets::SCRIPT),
        false => (config.json(&token), "application/json"),
    };
    let mut response = match (request.method(), body) {
        (&Method::OPTIONS, _) => return cors::preflight(headers),
        (&Method::GET | &Method::HEAD, Some(body)) => {
            conditional::answer(headers, &tag(&body), CACHE_CONTROL, content_type, || Body::from(body.clone()))
        }
        (&Method::GET | &Method::HEAD, None) => no_such_token(),
        _ => sdk::refused(&Refusal::new(Code::MethodNotAllowed, "use GET")),
    };
    cors::allow(headers, response.headers_mut());
    response
}

/// What a page is told whose project or origin is none of ours.
pub(super) fn refused(services: &Services, token: &str, headers: &HeaderMap) -> Option<Response> {
    let projects = services.edge.normalize.projects.load();
    let refusal = projects.admit(token, facts::origin(headers).as_deref()).err()?;
    let mut response = match refusal.code {
        Code::UnknownToken => no_such_token(),
        _ => sdk::refused(&refusal),
    };
    cors::allow(headers, response.headers_mut());
    Some(response)
}

/// Weak entity tag of a configuration.
pub(super) fn tag(body: &str) -> String {
    format!("W/\"{}\"", Uuid::new_v5(&Uuid::NAMESPACE_URL, body.as_bytes()).simple())
}

pub(super) fn no_such_token() -> Response {
    (StatusCode::NOT_FOUND, "no such project token\n").into_response()
}

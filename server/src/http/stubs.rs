//! Flags: what keeps SDKs capturing while there are none.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use axum::routing::any;
use hogflare_ingest::protocol::stub::{FlagsShape, flags_body, read_flags_request};
use hogflare_ingest::protocol::{self, Endpoint, Refusal};
use uuid::Uuid;

use super::{Services, body, cors, sdk};

const FLAGS_BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Flags,
    Decide,
}

pub(super) fn routes(services: &Services) -> Router {
    let mut router = Router::new();
    for (path, route) in [("/flags", Route::Flags), ("/decide", Route::Decide)] {
        for path in [path.to_owned(), format!("{path}/")] {
            let handler =
                move |State(services): State<Services>, request: Request<Body>| flags(services, route, request);
            router = router.route(&path, any(handler));
        }
    }
    router.with_state(services.clone())
}

async fn flags(services: Services, route: Route, request: Request<Body>) -> Response {
    let headers = request.headers().clone();
    if request.method() == Method::OPTIONS {
        return cors::preflight(&headers);
    }
    let mut response = match answer_flags(&services, route, request).await {
        Ok(body) => sdk::json(StatusCode::OK, body),
        Err(refusal) => sdk::refused(&refusal),
    };
    cors::allow(&headers, response.headers_mut());
    response
}

async fn answer_flags(services: &Services, route: Route, request: Request<Body>) -> Result<String, Refusal> {
    // The endpoint only decides what capture does with a body; flags read theirs the same way.
    let facts = sdk::request_facts(services, Endpoint::E, &request)?;
    let (parts, request_body) = request.into_parts();
    let read = body::read(&services.ingest, &parts.headers, request_body, FLAGS_BODY_BYTES_MAX).await;
    let (bytes, _permit) = read.map_err(sdk::read_refusal)?;
    if facts.method == protocol::Method::Post {
        sdk::check_signature(services, &facts, &bytes)?;
    }
    let asked = read_flags_request(&facts, bytes, services.edge.decode.decoded_bytes_max)?;
    let version = facts.query("v");
    let shape = match route {
        Route::Flags => FlagsShape::of_flags(version),
        Route::Decide => FlagsShape::of_decide(version),
    };
    let token = asked.token.or_else(|| services.edge.api_key.clone()).unwrap_or_default();
    services.edge.normalize.projects.load().admit(token.trim(), facts.headers.origin.as_deref())?;
    let with_config = route == Route::Decide || facts.query("config") == Some("true");
    let config = with_config.then(|| services.edge.remote_config.fields(&token));
    Ok(flags_body(shape, &Uuid::new_v4().to_string(), config))
}

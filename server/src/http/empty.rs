//! What SDKs ask for and hogflare does not have: answered with nothing in it, so that they go on.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use axum::routing::any;
use hogflare_ingest::protocol::{Code, Refusal};

use super::{cors, sdk};

#[derive(Clone, Copy, Debug)]
struct Empty {
    path: &'static str,
    methods: &'static [Method],
    body: &'static str,
}

const READ: &[Method] = &[Method::GET, Method::HEAD];

const ROUTES: [Empty; 5] = [
    Empty { path: "/api/surveys", methods: READ, body: r#"{"surveys":[]}"# },
    Empty { path: "/api/web_experiments", methods: READ, body: r#"{"experiments":[]}"# },
    Empty { path: "/api/early_access_features", methods: READ, body: r#"{"earlyAccessFeatures":[]}"# },
    Empty { path: "/api/product_tours", methods: READ, body: r#"{"product_tours":[]}"# },
    // Of phones that would get messages: accepted, and none is ever sent.
    Empty { path: "/api/push_subscriptions", methods: &[Method::POST, Method::DELETE], body: "{}" },
];

pub(super) fn routes() -> Router {
    let mut router = Router::new();
    for empty in ROUTES {
        for path in [empty.path.to_owned(), format!("{}/", empty.path)] {
            router = router.route(&path, any(move |request: Request<Body>| answer(empty, request)));
        }
    }
    router
}

async fn answer(empty: Empty, request: Request<Body>) -> Response {
    let headers = request.headers();
    if request.method() == Method::OPTIONS {
        return cors::preflight(headers);
    }
    let mut response = match empty.methods.contains(request.method()) {
        true => sdk::json(StatusCode::OK, empty.body),
        false => sdk::refused(&Refusal::new(Code::MethodNotAllowed, format!("use {}", empty.methods[0]))),
    };
    cors::allow(headers, response.headers_mut());
    response
}

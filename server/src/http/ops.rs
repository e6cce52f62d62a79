//! Health, readiness and metrics.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hogflare_catalog::Table;
use hogflare_ingest::Health;
use serde_json::{Value, json};

use super::{Services, access, sdk};

pub(super) fn alive_routes() -> Router {
    Router::new().route("/", get(root)).route("/healthz", get(alive)).route("/_liveness", get(alive))
}

/// Says what stands still, and so is not for the open internet.
pub(super) fn ready_routes(services: &Services) -> Router {
    Router::new().route("/readyz", get(ready)).route("/_readiness", get(ready)).with_state(services.clone())
}

pub(super) fn metrics_with_token(services: &Services) -> Router {
    Router::new().route("/metrics", get(guarded_metrics)).with_state(services.clone())
}

pub(super) fn metrics_open(services: &Services) -> Router {
    Router::new().route("/metrics", get(open_metrics)).with_state(services.clone())
}

async fn root() -> &'static str {
    "hogflare: point a PostHog SDK's api_host here; query at /api/sql\n"
}

async fn alive() -> &'static str {
    "ok\n"
}

/// Ingest and query apart: events are taken while a table cannot be read yet.
async fn ready(State(services): State<Services>) -> Response {
    let ingest = match services.ingest.health() {
        Health::Accepting => None,
        Health::LogFull(reason) | Health::Failed(reason) => Some(reason),
        Health::Stopping => Some("the server is stopping".to_owned()),
    };
    let ingest = ingest.or_else(|| tail_is_full(&services));
    let view = services.lake.views().current();
    let query = Table::ALL.into_iter().find_map(|table| view.table(table).err().map(|reason| reason.to_string()));
    let commit = Table::ALL.into_iter().find_map(|table| services.lake.trouble(table));
    let commit = commit.or_else(|| services.lake.seal_trouble());
    let persons = services.ingest.state().and_then(|state| {
        state
            .is_failing()
            .then(|| "changes of persons cannot be written to the state file; the log keeps them".to_owned())
    });
    let failed = services.failures.reason();
    let ready = ingest.is_none() && query.is_none() && failed.is_none();
    let commit = failed.or(commit);
    let state = |reason: Option<String>| match reason {
        None => json!({"ready": true}),
        Some(reason) => json!({"ready": false, "reason": reason}),
    };
    let body: Value = json!({"ready": ready, "ingest": state(ingest), "query": state(query), "commit": state(commit), "state": state(persons)});
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    sdk::json(status, body.to_string())
}

/// While rows cannot be sealed to the disk, memory fills up with them; then events get 503.
fn tail_is_full(services: &Services) -> Option<String> {
    let (bytes, most) = (services.lake.views().tail_bytes(), services.lake.settings().tail_bytes_max);
    let because = services.lake.seal_trouble().map(|reason| format!(": {reason}")).unwrap_or_default();
    (bytes >= most).then(|| format!("{bytes} bytes of rows wait in memory, {most} are allowed{because}"))
}

async fn guarded_metrics(State(services): State<Services>, request: Request<Body>) -> Response {
    match access::check(&services.edge, &request) {
        Ok(_) => render(&services),
        Err(denied) => {
            let status = StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::UNAUTHORIZED);
            (status, denied.message()).into_response()
        }
    }
}

async fn open_metrics(State(services): State<Services>) -> Response {
    render(&services)
}

fn render(services: &Services) -> Response {
    let mut response = services.edge.metrics.render().into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

//! `/api/audit`: whether any row is lost or doubled, as the server counts it now.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use axum::routing::get;

use super::{Services, access, sdk, sql};

pub(super) fn routes(services: &Services) -> Router {
    Router::new().route("/api/audit", get(run)).with_state(services.clone())
}

async fn run(State(services): State<Services>, request: Request<Body>) -> Response {
    let grant = match access::check(&services.edge, &request) {
        Ok(grant) => grant,
        Err(denied) => return sql::refused_access(denied),
    };
    services.lake.freshen().await;
    let positions = services.ingest.positions().clone();
    let logged = move |slot, table| positions.durable_position(slot, table);
    match services.engine.audit(logged, sql::reader(grant)).await {
        Ok(report) => sdk::json(StatusCode::OK, serde_json::json!(report).to_string()),
        Err(error) => sql::refused(&error),
    }
}

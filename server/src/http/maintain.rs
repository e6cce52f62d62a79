//! `/api/maintain`: what a person asks of the running service.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use axum::routing::post;
use chrono::{DateTime, SecondsFormat};
use hogflare_catalog::{Clock, SystemClock, Table, pause};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use super::access::{self, Denied};
use super::{Services, sdk};
use crate::tokens::Right;

const BODY_BYTES_MAX: usize = 64 << 10;

pub(super) fn routes(services: &Services) -> Router {
    Router::new()
        .route("/api/maintain/pause", post(pause_table))
        .route("/api/maintain/resume", post(resume_table))
        .with_state(services.clone())
}

/// Our commits to the table stand still; events are taken, kept and queried as before.
async fn pause_table(State(services): State<Services>, request: Request<Body>) -> Response {
    let asked = match read(&services, request).await {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let (seconds_max, seconds) = (pause::ASKED_MAX.as_secs(), asked.body["for_seconds"].as_u64());
    let Some(seconds) = seconds.filter(|seconds| (1..=seconds_max).contains(seconds)) else {
        let message = format!("for_seconds must be a number from 1 to {seconds_max}");
        return refusal(StatusCode::BAD_REQUEST, "invalid_request", &message);
    };
    let now_us = SystemClock.now_us();
    let until_us = services.lake.pauses().pause(asked.table, now_us, Duration::from_secs(seconds));
    let until = DateTime::from_timestamp_micros(until_us).map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    tracing::info!(table = asked.table.short_name(), seconds, "commits stand still, as asked");
    sdk::json(StatusCode::OK, json!({"table": asked.table.short_name(), "paused_until": until}).to_string())
}

async fn resume_table(State(services): State<Services>, request: Request<Body>) -> Response {
    let asked = match read(&services, request).await {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    services.lake.pauses().resume(asked.table, SystemClock.now_us());
    tracing::info!(table = asked.table.short_name(), "commits go on, as asked");
    sdk::json(StatusCode::OK, json!({"table": asked.table.short_name(), "paused_until": null}).to_string())
}

/// A request of an administrator about one of our tables.
struct Asked {
    table: Table,
    body: Value,
}

async fn read(services: &Services, request: Request<Body>) -> Result<Asked, Response> {
    let grant = access::check(&services.edge, &request).map_err(|denied| {
        let status = StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let code = if denied == Denied::OneProject { "forbidden" } else { "unauthorized" };
        refusal(status, code, denied.message())
    })?;
    if grant.right != Right::Admin {
        let message = "this token may read only; use one of HOGFLARE_ADMIN_TOKENS";
        return Err(refusal(StatusCode::FORBIDDEN, "forbidden", message));
    }
    let invalid = |message: &str| refusal(StatusCode::BAD_REQUEST, "invalid_request", message);
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| invalid("the request is too large"))?.to_bytes();
    let body: Value = serde_json::from_slice(&body)
        .map_err(|_| invalid("the request must be JSON, such as {\"table\":\"events\",\"for_seconds\":600}"))?;
    let settings = services.lake.settings();
    let name = body["table"].as_str().unwrap_or_default();
    let is_named = |table: &Table| table.short_name() == name || settings.ident(*table).name() == name;
    match Table::ALL.into_iter().find(is_named) {
        Some(table) => Ok(Asked { table, body }),
        None => {
            let tables = Table::ALL.map(Table::short_name).join(", ");
            Err(invalid(&format!("there is no table {name:?} of hogflare's own; there are {tables}")))
        }
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    sdk::json(status, json!({"error": {"code": code, "message": message}}).to_string())
}

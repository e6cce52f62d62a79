//! OpenTelemetry's logs, traces and metrics, which SDKs can send beside events: nothing stores them here.
//!
//! A sender that gets an error keeps and repeats what it has, so the answer is 200, and says in OTLP's
//! own words that nothing was kept. AI spans are different: their sender means them to become events,
//! and has to hear that they do not.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hogflare_ingest::protocol::{Code, Refusal};
use metrics::counter;
use serde_json::json;

use super::{Services, body, facts, sdk};
use crate::telemetry::OTLP_REQUESTS;

/// What PostHog takes, and SDKs do not exceed.
const BODY_BYTES_MAX: usize = 10 << 20;
const PROTOBUF: &str = "application/x-protobuf";

const SIGNALS: [(&str, &str); 3] = [("/i/v1/logs", "logs"), ("/i/v1/traces", "traces"), ("/i/v1/metrics", "metrics")];
const AI_SPANS: &str = "/i/v0/ai/otel";
const AI_SPANS_REFUSED: &str =
    "AI spans over OpenTelemetry are not stored; send AI events with the SDK's capture, to /i/v0/ai/batch";

pub(super) fn routes(services: &Services) -> Router {
    let mut router = Router::new();
    for (route, signal) in SIGNALS {
        for path in [route.to_owned(), format!("{route}/")] {
            let handler = move |State(services): State<Services>, request: Request<Body>| {
                sdk::answer(route, request, async move |request| match take(&services, request).await {
                    Ok(headers) => {
                        counter!(OTLP_REQUESTS, "signal" => signal).increment(1);
                        not_stored(signal, &headers)
                    }
                    Err(refusal) => sdk::refused(&refusal),
                })
            };
            router = router.route(&path, any(handler));
        }
    }
    for path in [AI_SPANS.to_owned(), format!("{AI_SPANS}/")] {
        let handler = move |State(services): State<Services>, request: Request<Body>| {
            sdk::answer(AI_SPANS, request, async move |request| match take(&services, request).await {
                Ok(_) => sdk::json(StatusCode::NOT_FOUND, json!({"error": AI_SPANS_REFUSED}).to_string()),
                Err(refusal) => sdk::refused(&refusal),
            })
        };
        router = router.route(&path, any(handler));
    }
    router.with_state(services.clone())
}

/// Reads the body, so that the sender gets to see the answer, and forgets it.
async fn take(services: &Services, request: Request<Body>) -> Result<HeaderMap, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::new(Code::MethodNotAllowed, "use POST"));
    }
    let (parts, request_body) = request.into_parts();
    let read = body::read(&services.ingest, &parts.headers, request_body, BODY_BYTES_MAX).await;
    read.map_err(sdk::read_refusal)?;
    Ok(parts.headers)
}

/// OTLP 1.x, "partial success": a message for the developer; the request is not to be repeated.
fn not_stored(signal: &str, request: &HeaderMap) -> Response {
    let message = format!("this server does not store {signal}");
    let content_type = facts::header(request, CONTENT_TYPE.as_str()).unwrap_or_default();
    if content_type.trim_start().starts_with(PROTOBUF) {
        let body = Bytes::from(partial_success(&message));
        return (StatusCode::OK, [(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF))], body).into_response();
    }
    sdk::json(StatusCode::OK, json!({"partialSuccess": {"errorMessage": message}}).to_string())
}

/// `{partial_success = 1: {error_message = 2: message}}` in protobuf; the same in all three services.
fn partial_success(message: &str) -> Vec<u8> {
    const BYTES_FIELD: u8 = 2;
    let length = |bytes: usize| u8::try_from(bytes).ok().filter(|length| *length < 128).expect("a short sentence");
    let mut body = vec![1 << 3 | BYTES_FIELD, length(message.len() + 2), 2 << 3 | BYTES_FIELD, length(message.len())];
    body.extend_from_slice(message.as_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_is_protobuf() {
        // Python: ExportLogsServiceResponse(partial_success={"error_message": "no"}).SerializeToString()
        assert_eq!(partial_success("no"), b"\x0a\x04\x12\x02no");
    }
}

//! The capture routes: bytes in, 200 when they are safe.

use std::borrow::Cow;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hogflare_catalog::{Clock, SystemClock};
use hogflare_ingest::admission::OverloadReason;
use hogflare_ingest::enrich::enrich;
use hogflare_ingest::ids::RandomIds;
use hogflare_ingest::normalize::{Outcome, normalize};
use hogflare_ingest::protocol::{self, Code, Endpoint, HeaderFacts, Refusal, RequestFacts, SUCCESS_BODY};
use hogflare_ingest::{AppendError, Overloaded};
use metrics::{counter, histogram};

use super::{Services, body, cors, facts};
use crate::telemetry::{REQUEST_SECONDS, REQUESTS};

const BODY_BYTES_MAX: usize = 20 << 20;
const RECORDING_BODY_BYTES_MAX: usize = 25 << 20;
/// Decoding a larger body takes milliseconds and would hold up the other requests of its thread.
const INLINE_DECODE_BYTES_MAX: usize = 256 << 10;
const REJECTED_HEADER: HeaderName = HeaderName::from_static("x-hogflare-rejected");

const ROUTES: [(&str, Endpoint); 10] = [
    ("/capture", Endpoint::Capture),
    ("/track", Endpoint::Track),
    ("/engage", Endpoint::Engage),
    ("/e", Endpoint::E),
    ("/i/v0/e", Endpoint::I),
    ("/batch", Endpoint::Batch),
    ("/identify", Endpoint::Identify),
    ("/alias", Endpoint::Alias),
    ("/groups", Endpoint::Groups),
    ("/s", Endpoint::Recording),
];

pub(super) fn routes(services: &Services) -> Router {
    let mut router = Router::new();
    for (path, endpoint) in ROUTES {
        // Both forms are served: a redirect would turn a POST into a GET.
        for path in [path.to_owned(), format!("{path}/")] {
            router = router.route(
                &path,
                any(move |State(services): State<Services>, request: Request<Body>| {
                    handle(services, endpoint, request)
                }),
            );
        }
    }
    router.with_state(services.clone())
}

async fn handle(services: Services, endpoint: Endpoint, request: Request<Body>) -> Response {
    let started = Instant::now();
    let headers = request.headers();
    if request.method() == Method::OPTIONS {
        return cors::preflight(headers);
    }
    let cors_headers = {
        let mut answer = HeaderMap::with_capacity(4);
        cors::allow(headers, &mut answer);
        answer
    };
    let mut response = match capture(&services, endpoint, request).await {
        Ok(response) => response,
        Err(refusal) => refused(&refusal),
    };
    response.headers_mut().extend(cors_headers);
    let route = ROUTES.iter().find(|(_, other)| *other == endpoint).map_or("", |(path, _)| path);
    histogram!(REQUEST_SECONDS, "route" => route).record(started.elapsed());
    counter!(REQUESTS, "route" => route, "status" => status_label(response.status())).increment(1);
    response
}

async fn capture(services: &Services, endpoint: Endpoint, request: Request<Body>) -> Result<Response, Refusal> {
    let facts = request_facts(services, endpoint, &request)?;
    let limit_bytes = if endpoint == Endpoint::Recording { RECORDING_BODY_BYTES_MAX } else { BODY_BYTES_MAX };
    let (parts, request_body) = request.into_parts();
    let read = body::read(&services.ingest, &parts.headers, request_body, limit_bytes).await;
    let (bytes, mut permit) = read.map_err(read_refusal)?;
    check_signature(services, &facts, &bytes)?;
    let inflated = body::stated_inflated_bytes(&bytes).min(services.edge.decode.decoded_bytes_max);
    permit.grow_to(bytes.len().max(inflated)).map_err(|overloaded| overload_refusal(&overloaded))?;
    let normalized = if bytes.len().max(inflated) > INLINE_DECODE_BYTES_MAX {
        tokio::task::block_in_place(|| decode(services, &facts, bytes))?
    } else {
        decode(services, &facts, bytes)?
    };
    let outcome = normalized.outcome();
    let mut normalized = normalized;
    services.edge.dead_letters.keep_within_rate(&mut normalized.rejected, facts.received_at_us);
    if !normalized.events.is_empty() || !normalized.rejected.is_empty() {
        services.ingest.append(Box::new(normalized), permit).await.map_err(append_refusal)?;
    }
    match outcome {
        Outcome::Stored { rejected_header } => Ok(stored(rejected_header)),
        Outcome::Refused(refusal) => Err(refusal),
    }
}

pub(super) fn check_signature(services: &Services, facts: &RequestFacts, body: &[u8]) -> Result<(), Refusal> {
    match &services.edge.signing_secret {
        Some(secret) => protocol::signature::verify(facts, body, secret.as_bytes()),
        None => Ok(()),
    }
}

fn decode(
    services: &Services,
    facts: &RequestFacts,
    bytes: Bytes,
) -> Result<hogflare_ingest::normalize::Normalized, Refusal> {
    let request = protocol::decode(facts, bytes, &services.edge.decode)?;
    let mut normalized = normalize(request, facts, &services.edge.normalize, &mut RandomIds)?;
    enrich(&mut normalized.events, facts);
    Ok(normalized)
}

pub(super) fn request_facts(
    services: &Services,
    endpoint: Endpoint,
    request: &Request<Body>,
) -> Result<RequestFacts, Refusal> {
    let method = match *request.method() {
        Method::POST => protocol::Method::Post,
        Method::GET => protocol::Method::Get,
        _ => return Err(Refusal::new(Code::MethodNotAllowed, "use POST")),
    };
    let headers = request.headers();
    let text = |name: &str| facts::header(headers, name).map(str::to_owned);
    Ok(RequestFacts {
        endpoint,
        path: Cow::Owned(request.uri().path().to_owned()),
        method,
        query: facts::query_pairs(request.uri().query()),
        headers: HeaderFacts {
            content_type: text("content-type"),
            content_encoding: text("content-encoding"),
            user_agent: text("user-agent"),
            origin: facts::origin(headers),
            api_key: text("x-posthog-api-key"),
            sent_at: text("x-posthog-sent-at"),
            signature: text("x-posthog-signature"),
            hub_signature: text("x-hub-signature"),
        },
        peer_ip: facts::client_ip(&services.edge, facts::peer(request), headers),
        received_at_us: SystemClock.now_us(),
    })
}

fn stored(rejected_header: Option<String>) -> Response {
    let mut response = json(StatusCode::OK, SUCCESS_BODY);
    if let Some(value) = rejected_header.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(REJECTED_HEADER, value);
    }
    response
}

pub(super) fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, refusal.body());
    if let Some(seconds) = refusal.code.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

pub(super) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.into()).into_response()
}

pub(super) fn read_refusal(error: body::ReadError) -> Refusal {
    match error {
        body::ReadError::TooLarge { limit_bytes } => {
            Refusal::new(Code::BodyTooLarge, format!("the body is larger than {limit_bytes} bytes"))
        }
        body::ReadError::Overloaded(overloaded) => overload_refusal(&overloaded),
        body::ReadError::Broken => {
            Refusal::new(Code::InvalidEncoding, "the body ended before its length, or came too slowly")
        }
    }
}

fn overload_refusal(overloaded: &Overloaded) -> Refusal {
    let code = match overloaded.reason {
        OverloadReason::LogFull => Code::LogFull,
        OverloadReason::Stopping | OverloadReason::Failed => Code::ShuttingDown,
        OverloadReason::BodyTooLarge => Code::BodyTooLarge,
        OverloadReason::RequestBytes | OverloadReason::Queue | OverloadReason::Tail => Code::Overloaded,
    };
    Refusal::new(code, overloaded.reason.to_string())
}

fn append_refusal(error: AppendError) -> Refusal {
    match error {
        AppendError::Overloaded(overloaded) => overload_refusal(&overloaded),
        AppendError::RowTooLarge { .. } => Refusal::new(Code::BodyTooLarge, error.to_string()),
        AppendError::Stopped => Refusal::new(Code::ShuttingDown, error.to_string()),
    }
}

fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        400..=499 => "4xx",
        503 => "503",
        _ => "5xx",
    }
}

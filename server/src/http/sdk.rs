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
use hogflare_ingest::enrich::{Known, enrich};
use hogflare_ingest::ids::RandomIds;
use hogflare_ingest::normalize::{Normalized, Outcome, normalize};
use hogflare_ingest::protocol::{self, Code, Endpoint, HeaderFacts, Refusal, RequestFacts, SUCCESS_BODY};
use hogflare_ingest::{AppendError, BytesPermit, Overloaded};
use metrics::{counter, histogram};

use super::{Services, body, cors, facts};
use crate::telemetry::{REQUEST_SECONDS, REQUESTS};

const BODY_BYTES_MAX: usize = 20 << 20;
const RECORDING_BODY_BYTES_MAX: usize = 25 << 20;
/// Decoding a larger body takes milliseconds and would hold up the other requests of its thread.
const INLINE_DECODE_BYTES_MAX: usize = 256 << 10;
const REJECTED_HEADER: HeaderName = HeaderName::from_static("x-hogflare-rejected");

const ROUTES: [(&str, Endpoint); 12] = [
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
    // AI events are events like others.
    ("/i/v0/ai", Endpoint::Batch),
    ("/i/v0/ai/batch", Endpoint::Batch),
];

pub(super) fn routes(services: &Services) -> Router {
    let mut router = Router::new();
    for (route, endpoint) in ROUTES {
        // Both forms are served: a redirect would turn a POST into a GET.
        for path in [route.to_owned(), format!("{route}/")] {
            let handler = move |State(services): State<Services>, request: Request<Body>| {
                answer(route, request, async move |request| match capture(&services, endpoint, request).await {
                    Ok(response) => response,
                    Err(refusal) => refused(&refusal),
                })
            };
            router = router.route(&path, any(handler));
        }
    }
    router.with_state(services.clone())
}

/// What every route of the SDKs has: preflights, CORS headers also on errors, and metrics.
pub(super) async fn answer(
    route: &'static str,
    request: Request<Body>,
    handle: impl AsyncFnOnce(Request<Body>) -> Response,
) -> Response {
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
    let mut response = handle(request).await;
    response.headers_mut().extend(cors_headers);
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
    let known = known(services, &facts, &parts.headers);
    let inflated = body::stated_inflated_bytes(&bytes).min(services.edge.decode.decoded_bytes_max);
    permit.grow_to(bytes.len().max(inflated)).map_err(|overloaded| overload_refusal(&overloaded))?;
    let normalized = off_the_loop(bytes.len().max(inflated), || decode(services, &facts, &known, bytes))?;
    let outcome = normalized.outcome();
    let mut normalized = normalized;
    services.edge.dead_letters.keep_within_rate(&mut normalized.rejected, facts.received_at_us);
    store(services, normalized, permit).await?;
    match outcome {
        Outcome::Stored { rejected_header } => Ok(stored(rejected_header)),
        Outcome::Refused(refusal) => Err(refusal),
    }
}

/// Does work on a body of this size without holding up other requests.
pub(super) fn off_the_loop<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > INLINE_DECODE_BYTES_MAX { tokio::task::block_in_place(work) } else { work() }
}

/// Returns when the rows are durable.
pub(super) async fn store(services: &Services, normalized: Normalized, permit: BytesPermit) -> Result<(), Refusal> {
    if !normalized.events.is_empty() || !normalized.rejected.is_empty() {
        services.ingest.append(Box::new(normalized), permit).await.map_err(append_refusal)?;
    }
    Ok(())
}

pub(super) fn check_signature(services: &Services, facts: &RequestFacts, body: &[u8]) -> Result<(), Refusal> {
    match &services.edge.signing_secret {
        Some(secret) => protocol::signature::verify(facts, body, secret.as_bytes()),
        None => Ok(()),
    }
}

/// What the headers and our files tell of the client.
pub(super) fn known(services: &Services, facts: &RequestFacts, headers: &HeaderMap) -> Known {
    let edge = &services.edge;
    Known::read(&edge.enrich, &edge.geo, facts.peer_ip, |name| Some(headers.get(name)?.as_bytes()))
}

fn decode(services: &Services, facts: &RequestFacts, known: &Known, bytes: Bytes) -> Result<Normalized, Refusal> {
    let request = protocol::decode(facts, bytes, &services.edge.decode)?;
    let mut normalized = normalize(request, facts, &services.edge.normalize, &mut RandomIds)?;
    enrich(&mut normalized.events, known);
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
            v1: None,
        },
        peer_ip: facts::visitor_ip(&services.edge, facts::peer(request), headers),
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
    refused_with(refusal, refusal.body())
}

pub(super) fn refused_with(refusal: &Refusal, body: String) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, body);
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
        // SDKs of servers and phones repeat it; a 400 they drop.
        body::ReadError::TooSlow => Refusal::new(Code::TooSlow, "the body came too slowly"),
        body::ReadError::Broken => Refusal::new(Code::InvalidEncoding, "the body ended before its length"),
    }
}

pub(super) fn overload_refusal(overloaded: &Overloaded) -> Refusal {
    let code = match overloaded.reason {
        OverloadReason::LogFull => Code::LogFull,
        OverloadReason::Stopping | OverloadReason::Failed => Code::ShuttingDown,
        OverloadReason::BodyTooLarge => Code::BodyTooLarge,
        OverloadReason::RequestBytes | OverloadReason::Queue | OverloadReason::Tail | OverloadReason::State => {
            Code::Overloaded
        }
    };
    Refusal::new(code, overloaded.reason.to_string())
}

fn append_refusal(error: AppendError) -> Refusal {
    match error {
        AppendError::Overloaded(overloaded) => overload_refusal(&overloaded),
        AppendError::RowTooLarge { .. } => Refusal::new(Code::BodyTooLarge, error.to_string()),
        AppendError::State(_) => Refusal::new(Code::Overloaded, error.to_string()),
        AppendError::Stopped => Refusal::new(Code::ShuttingDown, error.to_string()),
    }
}

pub(super) fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        400..=499 => "4xx",
        503 => "503",
        _ => "5xx",
    }
}

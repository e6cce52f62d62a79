//! Capture V1: one answer for each event of a request, given when the rows are safe.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::routing::any;
use hogflare_ingest::BytesPermit;
use hogflare_ingest::enrich::{Known, enrich};
use hogflare_ingest::ids::RandomIds;
use hogflare_ingest::normalize::{Normalized, normalize};
use hogflare_ingest::protocol::v1::{self, Submitted, V1Facts};
use hogflare_ingest::protocol::{self, Code, Endpoint, HeaderFacts, Refusal, RequestFacts};

use super::{Services, body, facts, sdk};

const ROUTES: [&str; 2] = ["/i/v1/analytics/events", "/i/v1/ai/events"];
const BODY_BYTES_MAX: usize = 20 << 20;

pub(super) fn routes(services: &Services) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        for path in [route.to_owned(), format!("{route}/")] {
            let handler = move |State(services): State<Services>, request: Request<Body>| {
                sdk::answer(route, request, async move |request| match capture(&services, request).await {
                    Ok(results) => sdk::json(StatusCode::OK, results),
                    Err(refusal) => sdk::refused_with(&refusal, refusal.v1_body()),
                })
            };
            router = router.route(&path, any(handler));
        }
    }
    router.with_state(services.clone())
}

async fn capture(services: &Services, request: Request<Body>) -> Result<String, Refusal> {
    let facts = request_facts(services, &request)?;
    let (parts, request_body) = request.into_parts();
    let read = body::read(&services.ingest, &parts.headers, request_body, BODY_BYTES_MAX).await;
    let (bytes, mut permit) = read.map_err(sdk::read_refusal)?;
    sdk::check_signature(services, &facts, &bytes)?;
    let known = sdk::known(services, &facts, &parts.headers);
    let decoded = sdk::off_the_loop(bytes.len(), || decode(services, &facts, &known, bytes, &mut permit));
    let (submitted, mut normalized) = decoded?;
    let answer = submitted.answer(&normalized.rejected);
    services.edge.dead_letters.keep_within_rate(&mut normalized.rejected, facts.received_at_us);
    sdk::store(services, normalized, permit).await?;
    answer
}

/// The query decides nothing here: all of a V1 request is in its headers and its body.
fn request_facts(services: &Services, request: &Request<Body>) -> Result<RequestFacts, Refusal> {
    let facts = sdk::request_facts(services, Endpoint::Batch, request)?;
    if facts.method == protocol::Method::Get {
        return Err(Refusal::new(Code::MethodNotAllowed, "use POST"));
    }
    let v1 = V1Facts::read(|name| facts::header(request.headers(), name))?;
    let headers = HeaderFacts { v1: Some(v1), ..facts.headers };
    Ok(RequestFacts { query: Vec::new(), headers, ..facts })
}

fn decode(
    services: &Services,
    facts: &RequestFacts,
    known: &Known,
    bytes: Bytes,
    permit: &mut BytesPermit,
) -> Result<(Submitted, Normalized), Refusal> {
    let request = v1::decode(facts, bytes, &services.edge.decode)?;
    permit.grow_to(request.bytes()).map_err(|overloaded| sdk::overload_refusal(&overloaded))?;
    let submitted = Submitted::of(&request);
    let mut normalized = normalize(request, facts, &services.edge.normalize, &mut RandomIds)?;
    enrich(&mut normalized.events, known);
    Ok((submitted, normalized))
}

//! `/flags` and `/decide`: which flags are on for somebody.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, ORIGIN, REFERER};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hogflare_catalog::{Clock, SystemClock};
use hogflare_ingest::State as Persons;
use hogflare_ingest::flags::{self, Answers, FlagSet, FlagsRequest, FlagsShape, GROUP_TYPES_MAX, Question, Runtime};
use hogflare_ingest::identity::{GroupTypes, StateError};
use hogflare_ingest::protocol::{self, Code, Endpoint, Refusal, RequestFacts};
use metrics::{counter, histogram};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Services, body, cors, facts, sdk};
use crate::flags::GroupTypeNames;
use crate::telemetry::{REQUEST_SECONDS, REQUESTS};

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
                move |State(services): State<Services>, request: Request<Body>| handle(services, route, request);
            router = router.route(&path, any(handler));
        }
    }
    router.with_state(services.clone())
}

async fn handle(services: Services, route: Route, request: Request<Body>) -> Response {
    let started = std::time::Instant::now();
    let headers = request.headers().clone();
    let mut response = match *request.method() {
        Method::OPTIONS => return cors::preflight(&headers),
        Method::HEAD => StatusCode::OK.into_response(),
        _ => match answer(&services, route, request).await {
            Ok(body) => sdk::json(StatusCode::OK, body),
            Err(refusal) => sdk::refused(&refusal),
        },
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    cors::allow(&headers, response.headers_mut());
    let route = if route == Route::Flags { "/flags" } else { "/decide" };
    histogram!(REQUEST_SECONDS, "route" => route).record(started.elapsed());
    counter!(REQUESTS, "route" => route, "status" => sdk::status_label(response.status())).increment(1);
    response
}

async fn answer(services: &Services, route: Route, request: Request<Body>) -> Result<String, Refusal> {
    // The endpoint only decides what capture does with a body; flags read theirs the same way.
    let facts = sdk::request_facts(services, Endpoint::E, &request)?;
    let (parts, request_body) = request.into_parts();
    let read = body::read(&services.ingest, &parts.headers, request_body, FLAGS_BODY_BYTES_MAX).await;
    let (bytes, _permit) = read.map_err(sdk::read_refusal)?;
    if facts.method == protocol::Method::Post {
        sdk::check_signature(services, &facts, &bytes)?;
    }
    let text = protocol::text_of_body(&facts, bytes, services.edge.decode.decoded_bytes_max)?;
    let mut asked = FlagsRequest::parse(&text)
        .map_err(|error| Refusal::new(Code::InvalidJson, format!("failed to parse request: {error}")))?;
    let token = admitted(services, &facts, asked.token.take())?;
    let version = facts.query("v");
    let with_config = route == Route::Decide
        || facts.query("config") == Some("true")
        || (version.is_none() && facts.query("config").is_none());
    let config = with_config.then(|| services.edge.remote_config_of(&token).fields(&token));
    let shape = match route {
        Route::Flags => FlagsShape::of_flags(version),
        Route::Decide => FlagsShape::of_decide(version),
    };
    let now_us = SystemClock.now_us();
    let answers = match facts.method {
        // Somebody looks whether the route is there.
        protocol::Method::Get if asked.distinct_id.is_none() => Answers::none(),
        _ if asked.flags_disabled => Answers::none(),
        _ => evaluated(services, &token, asked, runtime_of(&parts.headers), now_us).await?,
    };
    Ok(flags::body(shape, &answers, &Uuid::new_v4().to_string(), now_us / 1_000, config))
}

/// The token of the body, header, query or setting, if its project is one of ours.
fn admitted(services: &Services, facts: &RequestFacts, of_body: Option<String>) -> Result<String, Refusal> {
    let sent = of_body.or_else(|| facts.headers.api_key.clone());
    let of_query = || facts.query("token").or_else(|| facts.query("api_key")).map(str::to_owned);
    let token = sent.or_else(of_query).or_else(|| services.edge.api_key.clone()).unwrap_or_default();
    let token = token.trim().to_owned();
    services.edge.normalize.projects.load().admit(&token, facts.headers.origin.as_deref())?;
    Ok(token)
}

/// Browsers say where a page is from; libraries name themselves.
fn runtime_of(headers: &HeaderMap) -> impl Fn(Option<Runtime>) -> Option<Runtime> {
    let agent = facts::header(headers, "user-agent").map(str::to_owned);
    let from_page =
        [ORIGIN.as_str(), REFERER.as_str(), "sec-fetch-site"].iter().any(|name| headers.contains_key(*name));
    move |said| Runtime::of_request(said, agent.as_deref(), from_page)
}

async fn evaluated(
    services: &Services,
    token: &str,
    asked: FlagsRequest,
    runtime: impl Fn(Option<Runtime>) -> Option<Runtime>,
    now_us: i64,
) -> Result<Answers, Refusal> {
    let Some(distinct_id) = asked.distinct_id.clone() else {
        let missing = Code::Rejected(protocol::Reason::MissingDistinctId);
        return Err(Refusal::new(missing, "flags were asked for without a distinct_id"));
    };
    let flags = services.edge.flags.of(token);
    if !flags.has_flags() {
        return Ok(Answers::none());
    }
    let known = Known::look_up(services.ingest.state().cloned(), token, &distinct_id, &asked, &flags);
    let known = known.await.map_err(|error| Refusal::new(Code::Overloaded, error.to_string()))?;
    let question = Question {
        device_id: asked.device_id.as_deref(),
        continuity_id: known.continuity_id.as_deref(),
        person_properties: &known.person,
        groups: &asked.groups,
        group_properties: &known.groups,
        group_types: &known.group_types,
        selection: asked.selection(runtime(asked.runtime)),
        ..Question::new(&distinct_id, now_us)
    };
    Ok(flags.evaluate(&question))
}

/// What is stored about somebody, overlaid with what the request says.
struct Known {
    person: Map<String, Value>,
    groups: HashMap<String, Map<String, Value>>,
    group_types: GroupTypeNames,
    /// The oldest id of the person: its buckets do not change by a login.
    continuity_id: Option<String>,
}

impl Known {
    async fn look_up(
        state: Option<Persons>,
        token: &str,
        distinct_id: &str,
        asked: &FlagsRequest,
        flags: &Arc<FlagSet>,
    ) -> Result<Known, StateError> {
        let mut known = Known {
            person: asked.person_properties.clone(),
            groups: asked.group_properties.clone(),
            group_types: Default::default(),
            continuity_id: None,
        };
        if let Some(state) = state {
            let types = state.group_types_or_read(token).await?;
            known.group_types = names(&types);
            let (has_persons, has_groups) = {
                let needs = flags.needs(&asked.selection(None), &known.group_types);
                (!needs.person_keys.is_empty() || needs.continuity, !needs.group_keys.is_empty())
            };
            if has_persons && let Some(person) = state.person_or_read(token, distinct_id).await? {
                overlay(&mut known.person, person.properties());
                known.continuity_id = Some(person.first_distinct_id().to_owned());
            }
            for (name, key) in asked.groups.iter().filter(|_| has_groups) {
                if let Some(group) = state.group_or_read(token, name, key).await? {
                    overlay(known.groups.entry(name.clone()).or_default(), group.properties());
                }
            }
        }
        // The event that ties the two ids may still be on its way.
        known.continuity_id = known.continuity_id.or_else(|| asked.anon_distinct_id.clone());
        known.person.entry("distinct_id").or_insert_with(|| json!(distinct_id));
        for (name, key) in &asked.groups {
            let group = known.groups.entry(name.clone()).or_default();
            group.entry("$group_key").or_insert_with(|| json!(key));
        }
        Ok(known)
    }
}

/// Adds what is stored, a JSON object, where nothing was sent.
fn overlay(sent: &mut Map<String, Value>, stored: &str) {
    let Ok(stored) = serde_json::from_str::<Map<String, Value>>(stored) else { return };
    for (key, value) in stored {
        sent.entry(key).or_insert(value);
    }
}

/// Names of group types by slot.
pub(super) fn names(types: &GroupTypes) -> GroupTypeNames {
    let mut names: GroupTypeNames = [const { None }; GROUP_TYPES_MAX];
    for (name, known) in names.iter_mut().zip(types.names()) {
        *name = known.map(str::to_owned);
    }
    names
}

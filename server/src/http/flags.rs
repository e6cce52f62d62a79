//! `/flags` and `/decide`: which flags are on for somebody.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, ORIGIN, REFERER};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hogflare_catalog::{Clock, SystemClock};
use hogflare_ingest::flags::{self, Answers, FlagSet, FlagsRequest, FlagsShape, Question, Runtime, Selection};
use hogflare_ingest::identity::StateError;
use hogflare_ingest::protocol::{self, Code, Endpoint, Refusal, RequestFacts};
use hogflare_ingest::{ProjectToken, State as Persons};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Services, body, facts, sdk};
use crate::flags::GroupTypeNames;

const FLAGS_BODY_BYTES_MAX: usize = 1 << 20;
/// After decompression. As JSON values it takes many times as much memory.
const FLAGS_TEXT_BYTES_MAX: usize = 4 << 20;

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
    let name = if route == Route::Flags { "/flags" } else { "/decide" };
    sdk::answer(name, request, async move |request| {
        let mut response = match *request.method() {
            Method::HEAD => StatusCode::OK.into_response(),
            _ => match answer(&services, route, request).await {
                Ok(body) => sdk::json(StatusCode::OK, body),
                Err(refusal) => sdk::refused(&refusal),
            },
        };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
    .await
}

async fn answer(services: &Services, route: Route, request: Request<Body>) -> Result<String, Refusal> {
    // The endpoint only decides what capture does with a body; flags read theirs the same way.
    let facts = sdk::request_facts(services, Endpoint::E, &request)?;
    let (parts, request_body) = request.into_parts();
    let read = body::read(&services.ingest, &parts.headers, request_body, FLAGS_BODY_BYTES_MAX).await;
    let (bytes, mut permit) = read.map_err(sdk::read_refusal)?;
    if facts.method == protocol::Method::Post {
        sdk::check_signature(services, &facts, &bytes)?;
    }
    let text_bytes_max = services.edge.decode.decoded_bytes_max.min(FLAGS_TEXT_BYTES_MAX);
    let text_bytes = body::stated_inflated_bytes(&bytes).min(text_bytes_max).max(bytes.len());
    permit.grow_to(text_bytes).map_err(|overloaded| sdk::overload_refusal(&overloaded))?;
    let mut asked = sdk::off_the_loop(text_bytes, || parse(&facts, bytes, text_bytes_max))?;
    // Somebody looks whether the route is there.
    let is_look = facts.method == protocol::Method::Get && asked.distinct_id.is_none();
    let token = admitted(services, &facts, asked.token.take(), is_look)?;
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
        _ if is_look || asked.flags_disabled => Answers::none(),
        _ => evaluated(services, &token, asked, runtime_of(&parts.headers), now_us).await?,
    };
    Ok(flags::body(shape, &answers, &Uuid::new_v4().to_string(), now_us / 1_000, config))
}

fn parse(facts: &RequestFacts, body: Bytes, text_bytes_max: usize) -> Result<FlagsRequest, Refusal> {
    let text = protocol::text_of_body(facts, body, text_bytes_max)?;
    FlagsRequest::parse(&text).map_err(|error| Refusal::new(Code::InvalidJson, error.to_string()))
}

/// The token of the body, header, query or setting, if its project is one of ours. A look needs none.
fn admitted(
    services: &Services,
    facts: &RequestFacts,
    of_body: Option<String>,
    is_look: bool,
) -> Result<String, Refusal> {
    let sent = of_body.or_else(|| facts.headers.api_key.clone());
    let of_query = || facts.query("token").or_else(|| facts.query("api_key")).map(str::to_owned);
    let token = sent.or_else(of_query).or_else(|| services.edge.api_key.clone()).unwrap_or_default();
    let token = token.trim().to_owned();
    let projects = services.edge.normalize.projects.load();
    if token.is_empty() {
        let missing = || Refusal::new(Code::MissingToken, "API key is not provided");
        return (is_look && projects.is_open()).then_some(token).ok_or_else(missing);
    }
    projects.admit(&token, facts.headers.origin.as_deref())?;
    match ProjectToken::parse(&token) {
        Ok(_) => Ok(token),
        Err(reason) => Err(Refusal::new(Code::InvalidToken, format!("the API key is not valid: {reason}"))),
    }
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
    let selection = asked.selection(runtime(asked.runtime));
    let known = Known::look_up(services, token, &distinct_id, &asked, selection, &flags);
    let known = known.await.map_err(|error| Refusal::new(Code::Overloaded, error.to_string()))?;
    let question = Question {
        device_id: asked.device_id.as_deref(),
        continuity_id: known.continuity_id.as_deref(),
        person_properties: &known.person,
        groups: &asked.groups,
        group_properties: &known.groups,
        group_types: &known.group_types,
        selection,
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
        services: &Services,
        token: &str,
        distinct_id: &str,
        asked: &FlagsRequest,
        selection: Selection<'_>,
        flags: &FlagSet,
    ) -> Result<Known, StateError> {
        let mut known = Known {
            person: asked.person_properties.clone(),
            groups: asked.group_properties.clone(),
            group_types: group_types(services, token).await?,
            continuity_id: None,
        };
        if let Some(state) = services.ingest.state() {
            known.add_stored(state, token, distinct_id, asked, selection, flags).await?;
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

    /// Only what the flags that are asked for look at.
    async fn add_stored(
        &mut self,
        state: &Persons,
        token: &str,
        distinct_id: &str,
        asked: &FlagsRequest,
        selection: Selection<'_>,
        flags: &FlagSet,
    ) -> Result<(), StateError> {
        let needs = flags.needs(&selection, &self.group_types);
        if (!needs.person_keys.is_empty() || needs.continuity)
            && let Some(person) = state.person_or_read(token, distinct_id).await?
        {
            overlay(&mut self.person, person.values());
            self.continuity_id = needs.continuity.then(|| person.first_distinct_id());
        }
        let of_interest = |name: &String| needs.group_keys.get(name.as_str()).is_some_and(|keys| !keys.is_empty());
        for (name, key) in asked.groups.iter().filter(|(name, _)| of_interest(name)) {
            if let Some(group) = state.group_or_read(token, name, key).await? {
                overlay(self.groups.entry(name.clone()).or_default(), group.values());
            }
        }
        Ok(())
    }
}

/// Adds what is stored where nothing was sent.
fn overlay(sent: &mut Map<String, Value>, stored: Map<String, Value>) {
    for (key, value) in stored {
        sent.entry(key).or_insert(value);
    }
}

/// Names of the project's group types by slot: those that events had, else those that the settings reserve.
pub(super) async fn group_types(services: &Services, token: &str) -> Result<GroupTypeNames, StateError> {
    let settings = &services.edge.normalize;
    let projects = settings.projects.load();
    let of_project = projects.get(token).and_then(|project| project.group_types.clone());
    let configured = of_project.as_deref().unwrap_or(&settings.group_types);
    let seen = match services.ingest.state() {
        Some(state) => state.group_types_or_read(token).await?,
        None => Arc::default(),
    };
    let mut names: GroupTypeNames = configured.clone();
    for (name, seen) in names.iter_mut().zip(seen.names()) {
        if let Some(seen) = seen {
            *name = Some(seen.to_owned());
        }
    }
    Ok(names)
}

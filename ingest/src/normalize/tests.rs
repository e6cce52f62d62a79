use hogflare_catalog::tables::EventRow;
use serde_json::{Value, json};

use super::*;
use crate::enrich::{self, Known};
use crate::event::ProjectToken;
use crate::testing::{CountingIds, NOW_US, facts, run, settings};

mod cookieless;
mod identity;
mod limits;
mod projects;
mod properties;
mod times;

/// The one event of a request.
fn one(facts: &RequestFacts, body: &str) -> CapturedEvent {
    let mut normalized = run(facts, body).unwrap_or_else(|refusal| panic!("{body}: {refusal}"));
    assert!(normalized.rejected.is_empty(), "{body}: {:?}", normalized.rejected);
    enrich::enrich(&mut normalized.events, &Known::of_client(facts.peer_ip));
    assert_eq!(normalized.events.len(), 1, "{body}");
    normalized.events.remove(0)
}

/// An event with these keys beside name, id and token.
fn event_with(keys: &str) -> String {
    let comma = if keys.is_empty() { "" } else { "," };
    format!(r#"{{"event":"e","distinct_id":"u","api_key":"t"{comma}{keys}}}"#)
}

fn projects(text: &str) -> SharedProjects {
    SharedProjects::new(crate::Projects::parse(text).unwrap())
}

fn no_ip() -> RequestFacts {
    RequestFacts { peer_ip: None, ..facts() }
}

fn code(result: Result<Normalized, Refusal>) -> &'static str {
    match result {
        Ok(normalized) => match normalized.outcome() {
            Outcome::Stored { .. } => "stored",
            Outcome::Refused(refusal) => refusal.code.as_str(),
        },
        Err(refusal) => refusal.code.as_str(),
    }
}

//! Events of visitors whose browser keeps no id: they get one for the day, and lose what it was made of.

use std::borrow::Cow;

use super::draft::Draft;
use crate::cookieless::{SENTINEL, Salts, Visitor, VisitorHash};
use crate::enrich::Whose;
use crate::event::{DistinctId, ProjectToken};
use crate::promote::{Promotion, Special};
use crate::properties::Object;
use crate::protocol::RequestFacts;
use crate::protocol::json::{self, Json};
use crate::timestamp;

const USER_AGENT: &str = "$raw_user_agent";
const EXTRA: &str = "$cookieless_extra";
const ANONYMOUS_ID: &str = "$anon_distinct_id";

/// Whether an event was sent without the visitor's consent to be remembered, or stands for everybody.
pub(super) fn concerns(draft: &Draft<'_>, promotion: &Promotion<'_>, distinct_id: &DistinctId) -> bool {
    let names_everybody = match draft.name() {
        "$identify" => is_sentinel(draft.property(ANONYMOUS_ID)),
        "$create_alias" | "$merge_dangerously" => is_sentinel(draft.property("alias")),
        _ => false,
    };
    names_everybody
        || distinct_id.as_str() == SENTINEL
        || promotion.special(Special::CookielessMode).is_some_and(Json::is_truthy)
}

fn is_sentinel(id: Option<Json<'_>>) -> bool {
    id.and_then(Json::as_text).is_some_and(|id| id == SENTINEL)
}

/// The event as it is stored, and its id. A visitor who has said who it is keeps that id.
///
/// The id of the day is shared by all who have one address and one browser, so it is never tied to a
/// lasting one: an identification from everybody loses its `$anon_distinct_id`, an alias for or of
/// everybody its `alias`.
pub(super) fn without_traces<'a>(
    draft: Draft<'a>,
    distinct_id: DistinctId,
    timestamp_us: i64,
    token: &ProjectToken,
    facts: &RequestFacts,
    salts: &Salts,
) -> (Draft<'a>, DistinctId) {
    let day = timestamp::day(timestamp_us);
    let named = draft.property("$ip").or_else(|| draft.ip()).map(Json::as_text);
    let of = draft.forgotten().unwrap_or_else(|| Whose::of_event(named.as_ref().map(Option::as_deref)));
    let hash = visitor_hash(&draft, of, day, token, facts, salts);
    let is_everybodys = distinct_id.as_str() == SENTINEL;
    let alias_is_everybodys = is_sentinel(draft.property("alias"));
    let own_id = hash.distinct_id();
    let mut changes: Vec<(&str, Cow<'_, str>)> = Vec::new();
    let mut removed = vec!["$ip", USER_AGENT, EXTRA];
    if is_sentinel(draft.property("distinct_id")) {
        changes.push(("distinct_id", Cow::Owned(quoted(&own_id))));
    }
    if draft.property("$session_id").is_none_or(Json::is_null) {
        changes.push(("$session_id", Cow::Owned(quoted(&hash.session_id().to_string()))));
    }
    if is_sentinel(draft.property(ANONYMOUS_ID)) || (draft.name() == "$identify" && is_everybodys) {
        removed.push(ANONYMOUS_ID);
    }
    if matches!(draft.name(), "$create_alias" | "$merge_dangerously") && (is_everybodys || alias_is_everybodys) {
        removed.push("alias");
    }
    for (key, inner) in [("$set", USER_AGENT), ("$set_once", "$initial_raw_user_agent")] {
        let value = draft.property(key).filter(|value| value.is_object());
        if let Some(object) = value.map(|value| Object::parse(value.raw()))
            && object.get(inner).is_some()
        {
            changes.push((key, Cow::Owned(object.rewritten(&[], &[inner]).raw().to_owned())));
        }
    }
    let distinct_id = if is_everybodys { DistinctId::parse(&own_id) } else { None }.unwrap_or(distinct_id);
    let draft = draft.rewritten(&changes, &removed, of);
    (draft, distinct_id)
}

fn visitor_hash(
    draft: &Draft<'_>,
    of: Whose,
    day: i64,
    token: &ProjectToken,
    facts: &RequestFacts,
    salts: &Salts,
) -> VisitorHash {
    let text = |key| draft.property(key).and_then(Json::as_text).filter(|text| !text.is_empty());
    let ip = match of {
        Whose::Own(ip) => Some(ip),
        Whose::Clients => facts.peer_ip.map(|ip| ip.to_canonical()),
        Whose::Nobodys => None,
    };
    let ip = ip.map(|ip| ip.to_string()).unwrap_or_default();
    let user_agent = text(USER_AGENT).or_else(|| facts.headers.user_agent.as_deref().map(Cow::Borrowed));
    let host = text("$host").or_else(|| text("$current_url"));
    let extra = text(EXTRA);
    let visitor = Visitor {
        token: token.as_str(),
        ip: &ip,
        user_agent: user_agent.as_deref().unwrap_or_default(),
        host: host.as_deref().unwrap_or_default(),
        extra: extra.as_deref().unwrap_or_default(),
    };
    VisitorHash::new(&salts.salt(day), day, &visitor)
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    json::push_string(&mut out, text);
    out
}

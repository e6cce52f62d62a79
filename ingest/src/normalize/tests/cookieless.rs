//! Events of visitors without cookies.

use bytes::Bytes;

use super::*;
use crate::cookieless::{Visitor, VisitorHash};
use crate::protocol::{DecodeLimits, HeaderFacts, decode};
use crate::timestamp;

const DAY_US: i64 = 86_400_000_000;
const AGENT: &str = "Mozilla/5.0";
const VISITOR: Visitor<'_> =
    Visitor { token: "t", ip: "203.0.113.7", user_agent: AGENT, host: "shop.example", extra: "" };

fn with_agent() -> RequestFacts {
    RequestFacts { headers: HeaderFacts { user_agent: Some(AGENT.to_owned()), ..HeaderFacts::default() }, ..facts() }
}

/// An event as posthog-js sends it in this mode.
fn sent(name: &str, id: &str, properties: &str) -> String {
    let comma = if properties.is_empty() { "" } else { "," };
    format!(
        r#"{{"event":"{name}","api_key":"t","properties":{{"distinct_id":"{id}","$cookieless_mode":true,
        "$raw_user_agent":"{AGENT}","$host":"shop.example"{comma}{properties}}}}}"#
    )
}

fn received(settings: &NormalizeSettings, facts: &RequestFacts, body: &str) -> CapturedEvent {
    let request = decode(facts, Bytes::copy_from_slice(body.as_bytes()), &DecodeLimits::default()).unwrap();
    let mut normalized = normalize(request, facts, settings, &mut CountingIds::default()).unwrap();
    assert!(normalized.rejected.is_empty(), "{body}: {:?}", normalized.rejected);
    enrich::enrich(&mut normalized.events, &Known::of_client(facts.peer_ip));
    normalized.events.remove(0)
}

fn hash(settings: &NormalizeSettings, at_us: i64, visitor: &Visitor<'_>) -> VisitorHash {
    let day = timestamp::day(at_us);
    VisitorHash::new(&settings.cookieless_salts.salt(day), day, visitor)
}

#[test]
fn everybody_becomes_somebody_for_a_day() {
    let (settings, facts) = (settings(), with_agent());
    let everybody = "$posthog_cookieless";
    let of = |visitor: Visitor<'_>| hash(&settings, NOW_US, &visitor).distinct_id();
    let pageview = |properties: &str| sent("$pageview", everybody, properties);
    for (body, expected) in [
        (pageview(""), of(VISITOR)),
        (
            event_with(r#""distinct_id":"$posthog_cookieless","ip":192.5,"$ip":"192.0.2.9""#),
            of(Visitor { host: "", ..VISITOR }),
        ),
        (event_with(r#""distinct_id":"\u0024posthog_cookieless""#), of(Visitor { host: "", ..VISITOR })),
        (pageview(r#""$ip":"192.0.2.9""#), of(Visitor { ip: "192.0.2.9", ..VISITOR })),
        (pageview(r#""$ip":null"#), of(Visitor { ip: "", ..VISITOR })),
        (pageview(r#""$raw_user_agent":"Other""#), of(Visitor { user_agent: "Other", ..VISITOR })),
        (pageview(r#""$raw_user_agent":"""#), of(VISITOR)),
        (pageview(r#""$host":null,"$current_url":"https://www.shop.example/a""#), of(VISITOR)),
        (pageview(r#""$cookieless_extra":"x""#), of(Visitor { extra: "x", ..VISITOR })),
    ] {
        let event = received(&settings, &facts, &body);
        let row = event.as_row();
        assert_eq!(row.distinct_id, expected, "{body}");
        let properties: Value = serde_json::from_str(event.properties()).unwrap();
        for key in ["$ip", "$raw_user_agent", "$cookieless_extra"] {
            assert_eq!(properties.get(key), None, "{body}");
        }
        assert!(!event.properties().contains(everybody) && row.extra.is_none_or(|extra| !extra.contains("192.")));
        assert_eq!(row.person_id, Some(crate::identity::key("t", event.distinct_id.as_str()).to_string()).as_deref());
        assert_eq!(row.promoted.session_id, properties["$session_id"].as_str());
    }
    let without = RequestFacts { headers: HeaderFacts::default(), ..no_ip() };
    let unknown = received(&settings, &without, r#"{"event":"e","distinct_id":"$posthog_cookieless","api_key":"t"}"#);
    assert_eq!(unknown.distinct_id.as_str(), of(Visitor { token: "t", ..Visitor::default() }));
}

#[test]
fn the_day_is_that_of_the_event() {
    let (settings, facts) = (settings(), with_agent());
    for (timestamp, at_us) in [
        ("2026-11-20T05:00:00Z", NOW_US),
        ("2026-11-19T23:59:59Z", NOW_US - DAY_US),
        ("2026-11-20T00:30:00+02:00", NOW_US - DAY_US),
        ("2026-11-21T00:30:00Z", NOW_US + DAY_US),
        ("2020-01-01T00:00:00Z", 1_577_836_800_000_000),
    ] {
        let body = sent("e", "$posthog_cookieless", "").replacen('{', &format!(r#"{{"timestamp":"{timestamp}","#), 1);
        let (event, hash) = (received(&settings, &facts, &body), hash(&settings, at_us, &VISITOR));
        assert_eq!(event.distinct_id.as_str(), hash.distinct_id(), "{timestamp}");
        assert_eq!(event.as_row().promoted.session_id, Some(&*hash.session_id().to_string()), "{timestamp}");
    }
}

#[test]
fn ids_of_a_day_are_tied_to_no_lasting_id() {
    let (settings, facts) = (settings(), with_agent());
    let (everybody, of_day) = ("$posthog_cookieless", hash(&settings, NOW_US, &VISITOR).distinct_id());
    let session = hash(&settings, NOW_US, &VISITOR).session_id().to_string();
    let anonymous = format!(r#""$anon_distinct_id":"{everybody}""#);
    for (name, id, properties, expected_id, expected) in [
        ("$identify", "anna", &*anonymous, "anna", json!({"$anon_distinct_id": null, "$session_id": session})),
        ("$identify", "anna", r#""$anon_distinct_id":"other""#, "anna", json!({"$anon_distinct_id": "other"})),
        ("$identify", everybody, r#""$anon_distinct_id":"other""#, &of_day, json!({"$anon_distinct_id": null})),
        ("$create_alias", everybody, r#""alias":"anna""#, &of_day, json!({"alias": null, "distinct_id": of_day})),
        ("$create_alias", "anna", &format!(r#""alias":"{everybody}""#), "anna", json!({"alias": null})),
        ("$create_alias", "anna", r#""alias":"berta""#, "anna", json!({"alias": "berta", "$ip": null})),
        ("$merge_dangerously", everybody, r#""alias":"anna""#, &of_day, json!({"alias": null})),
        ("e", everybody, r#""alias":"anna""#, &of_day, json!({"alias": "anna", "$cookieless_mode": true})),
        ("e", "anna", r#""$session_id":"s""#, "anna", json!({"$session_id": "s", "distinct_id": "anna"})),
        (
            "e",
            "anna",
            r#""$set":{"$raw_user_agent":"x","a":1},"$set_once":{"$initial_raw_user_agent":"x"}"#,
            "anna",
            json!({"$set": {"a": 1}, "$set_once": {}}),
        ),
    ] {
        let event = received(&settings, &facts, &sent(name, id, properties));
        assert_eq!(event.distinct_id.as_str(), expected_id, "{name} {properties}");
        let properties: Value = serde_json::from_str(event.properties()).unwrap();
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(properties.get(key).unwrap_or(&Value::Null), value, "{key} of {name}: {properties}");
        }
        assert_eq!(properties.get("$raw_user_agent"), None);
    }
    // Without the mode, and on the routes that have these names.
    let bare = r#"{"event":"$identify","api_key":"t","distinct_id":"anna","properties":{"$anon_distinct_id":"$posthog_cookieless"}}"#;
    assert!(!received(&settings, &facts, bare).properties().contains(everybody));
    for (endpoint, key) in [(Endpoint::Identify, "$anon_distinct_id"), (Endpoint::Alias, "alias")] {
        let body = format!(
            r#"{{"api_key":"t","distinct_id":"anna","{key}":"{everybody}","ip":"192.0.2.9",
            "$set":{{"$raw_user_agent":"x"}},"properties":{{}}}}"#
        );
        let event = received(&settings, &RequestFacts { endpoint, ..facts.clone() }, &body);
        let row = event.as_row();
        assert!(row.distinct_id == "anna" && row.extra.is_none(), "{row:?}");
        let properties: Value = serde_json::from_str(event.properties()).unwrap();
        assert_eq!(properties, json!({"$set": {}, "$session_id": properties["$session_id"]}), "{key}");
    }
}

#[test]
fn others_keep_what_they_send() {
    let event = received(
        &settings(),
        &with_agent(),
        &event_with(r#""properties":{"$raw_user_agent":"x","$cookieless_mode":false}"#),
    );
    let properties: Value = serde_json::from_str(event.properties()).unwrap();
    assert_eq!(properties, json!({"$raw_user_agent": "x", "$cookieless_mode": false, "$ip": "203.0.113.7"}));
}

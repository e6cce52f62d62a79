use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::testing::{CountingIds, NOW_US, facts, run_v1, settings};
use crate::{NormalizeSettings, Normalized, normalize};

const UUID: &str = "01a1f757-3482-7fcd-b12d-2b6d2dc8b4c9";
const OTHER: &str = "01A1F757-3482-7FCD-B12D-2B6D2DC8B4CA";

fn headers() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("authorization", "Bearer phc_t"),
        ("content-type", "application/json"),
        ("user-agent", "posthog-rs/0.30.0"),
        ("posthog-sdk-info", "posthog-rs/0.30.0"),
        ("posthog-attempt", "1"),
        ("posthog-request-id", UUID),
        // An hour before the receipt.
        ("posthog-request-timestamp", "2026-11-20T04:30:00.000000001+00:00"),
    ])
}

fn v1_facts() -> RequestFacts {
    let mut facts = facts();
    facts.headers.v1 = Some(V1Facts::read(|name| headers().get(name).copied()).unwrap());
    facts
}

#[test]
fn headers_are_required_and_checked() {
    for (name, value, expected) in [
        ("authorization", Some("bearer  phc_t "), Ok(())),
        ("content-type", Some("Application/JSON; charset=utf-8"), Ok(())),
        ("content-encoding", Some("GZIP"), Ok(())),
        ("content-encoding", Some("identity"), Ok(())),
        ("posthog-attempt", Some("17"), Ok(())),
        ("authorization", None, Err((401, "invalid_api_token"))),
        ("authorization", Some("Bearer "), Err((400, "invalid_header_value"))),
        ("authorization", Some("Basic cGhj"), Err((400, "invalid_header_value"))),
        ("authorization", Some("Bearer phx_1"), Err((401, "invalid_api_token"))),
        ("content-type", None, Err((400, "missing_required_headers"))),
        ("user-agent", None, Err((400, "missing_required_headers"))),
        ("posthog-sdk-info", None, Err((400, "missing_required_headers"))),
        ("posthog-attempt", None, Err((400, "missing_required_headers"))),
        ("posthog-request-id", None, Err((400, "missing_required_headers"))),
        ("posthog-request-timestamp", None, Err((400, "missing_required_headers"))),
        ("content-type", Some("text/plain"), Err((415, "unsupported_content_type"))),
        ("content-encoding", Some("lz4"), Err((415, "unsupported_encoding"))),
        ("posthog-attempt", Some("0"), Err((400, "invalid_header_value"))),
        ("posthog-attempt", Some("-1"), Err((400, "invalid_header_value"))),
        ("posthog-request-id", Some("x"), Err((400, "invalid_header_value"))),
        ("posthog-request-timestamp", Some("2026-11-20 04:30"), Err((400, "invalid_header_value"))),
    ] {
        let mut headers = headers();
        match value {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
        let found = V1Facts::read(|name| headers.get(name).copied()).map(|_| ());
        let found = found.map_err(|refusal| (refusal.status(), error_of(&refusal)));
        let expected = expected.map_err(|(status, error): (u16, &str)| (status, error.to_owned()));
        assert_eq!(found, expected, "{name}: {value:?}");
    }
}

fn error_of(refusal: &Refusal) -> String {
    let body: Value = serde_json::from_str(&refusal.v1_body()).unwrap();
    assert!(body["error_description"].is_string() && body["error_uri"].is_string(), "{body}");
    body["error"].as_str().unwrap().to_owned()
}

#[test]
fn the_library_stands_before_the_last_slash() {
    for (info, expected) in [
        ("posthog-rs/0.30.0", Some(("posthog-rs", "0.30.0"))),
        ("a/b / 1", Some(("a/b", "1"))),
        ("posthog-rs", None),
        ("/1", None),
        ("a/", None),
    ] {
        let found = sdk(info);
        assert_eq!(found.as_ref().map(|(library, version)| (library.as_str(), version.as_str())), expected, "{info}");
    }
    assert_eq!(sdk(&format!("a/{}", "1".repeat(SDK_INFO_BYTES_MAX))), None);
}

#[test]
fn envelopes_are_strict() {
    let event = format!(r#"{{"event":"e","uuid":"{UUID}","distinct_id":"u","timestamp":"2026-11-20T04:30:00Z"}}"#);
    let created_at = r#""created_at":"2026-11-20T04:30:00Z""#;
    for (body, expected) in [
        (format!(r#"{{{created_at},"batch":[{event}]}}"#), "ok"),
        (
            format!(r#"{{{created_at},"historical_migration":true,"capture_internal":null,"x":1,"batch":[{event}]}}"#),
            "ok",
        ),
        (format!(r#"{{"batch":[{event}]}}"#), "invalid_batch"),
        (format!(r#"{{"created_at":5,"batch":[{event}]}}"#), "invalid_batch"),
        (format!(r#"{{"created_at":"2026-11-20","batch":[{event}]}}"#), "invalid_batch"),
        (format!(r#"{{{created_at},"historical_migration":"true","batch":[{event}]}}"#), "invalid_batch"),
        (format!(r#"{{{created_at},"capture_internal":1,"batch":[{event}]}}"#), "invalid_batch"),
        (format!(r#"{{{created_at},"batch":[]}}"#), "empty_batch"),
        (format!(r#"{{{created_at},"batch":{event}}}"#), "request_parsing_error"),
        (format!("[{event}]"), "request_parsing_error"),
        (event.clone(), "request_parsing_error"),
        ("{".to_owned(), "request_parsing_error"),
        (" ".to_owned(), "empty_body"),
    ] {
        let found = decode(&v1_facts(), Bytes::from(body.clone()), &DecodeLimits::default());
        assert_eq!(found.map_or_else(|refusal| error_of(&refusal), |_| "ok".to_owned()), expected, "{body}");
    }
}

#[test]
fn only_the_header_names_the_token_and_it_must_be_known() {
    let body = envelope(&[event_with(json!({"token": "phc_o", "properties": {"token": "phc_p"}}))]);
    let request = || decode(&v1_facts(), Bytes::from(body.clone()), &DecodeLimits::default()).unwrap();
    for (known, expected) in [("phc_t", None), ("phc_o", Some((401, "invalid_api_token")))] {
        let list = format!(r#"[{{"token":"{known}"}}]"#);
        let projects = crate::SharedProjects::new(crate::Projects::parse(&list).unwrap());
        let settings = NormalizeSettings { projects, ..settings() };
        let refused = normalize(request(), &v1_facts(), &settings, &mut CountingIds::default()).err();
        let refused = refused.map(|refusal| (refusal.status(), error_of(&refusal)));
        assert_eq!(refused, expected.map(|(status, error)| (status, error.to_owned())), "{known}");
    }
}

/// An event with these keys instead of, or beside, those it needs; null takes a key away.
fn event_with(keys: Value) -> Value {
    let mut event = json!({"event": "e", "uuid": UUID, "distinct_id": "u", "timestamp": "2026-11-20T04:30:00Z"});
    for (key, value) in keys.as_object().unwrap() {
        match value {
            Value::Null => drop(event.as_object_mut().unwrap().remove(key)),
            value => event[key] = value.clone(),
        }
    }
    event
}

fn envelope(events: &[Value]) -> String {
    json!({"created_at": "2026-11-20T04:30:00Z", "batch": events}).to_string()
}

fn answered(events: &[Value]) -> (Value, Normalized) {
    let (submitted, normalized) = run_v1(&v1_facts(), &envelope(events)).unwrap();
    let answer = submitted.answer(&normalized.rejected).unwrap_or_else(|refusal| panic!("{events:?}: {refusal}"));
    (serde_json::from_str::<Value>(&answer).unwrap()["results"].take(), normalized)
}

/// A good neighbour is `ok` beside each bad event.
#[test]
fn bad_events_are_dropped_one_by_one() {
    let long = "é".repeat(201);
    let id = |id: &str| json!({"distinct_id": id});
    for (keys, details) in [
        (json!({}), None),
        (json!({"properties": {}, "options": {}, "session_id": "s"}), None),
        (json!({"event": &long[2..], "distinct_id": &long[2..]}), None),
        (json!({"timestamp": "2026-11-20T04:30:00.123456789+01:00"}), None),
        (id(" u "), None),
        (id("users"), None),
        (json!({"event": null}), Some("missing_event_name")),
        (json!({"event": ""}), Some("missing_event_name")),
        (json!({"event": 5}), Some("missing_event_name")),
        (json!({"event": long}), Some("event_name_too_long")),
        (json!({"event": "$performance_event"}), Some("dropped_performance_event")),
        (json!({"distinct_id": null}), Some("missing_distinct_id")),
        (json!({"distinct_id": null, "properties": {"distinct_id": "u"}}), Some("missing_distinct_id")),
        (id("  "), Some("missing_distinct_id")),
        (id(&long), Some("distinct_id_too_large")),
        (json!({"distinct_id": 42}), Some("invalid_distinct_id")),
        (id(" Anonymous "), Some("invalid_distinct_id")),
        (id("[object Object]"), Some("invalid_distinct_id")),
        (id("'null'"), Some("invalid_distinct_id")),
        (id("\"NaN\""), Some("invalid_distinct_id")),
        (id("\"\""), Some("invalid_distinct_id")),
        (id("00000000-0000-0000-0000-000000000000"), Some("invalid_distinct_id")),
        (json!({"timestamp": null}), Some("invalid_event_timestamp")),
        (json!({"timestamp": 1_795_152_600}), Some("invalid_event_timestamp")),
        (json!({"timestamp": "2026-11-20T04:30:00"}), Some("invalid_event_timestamp")),
        (json!({"properties": []}), Some("malformed_event_properties")),
        (json!({"options": "x"}), Some("invalid_options")),
        (json!({"options": {"process_person_profile": "maybe"}}), Some("invalid_options")),
        (json!({"options": {"cookieless_mode": []}}), Some("invalid_options")),
        (json!({"options": {"product_tour_id": 1.5}}), Some("invalid_options")),
        (json!({"session_id": 5}), Some("invalid_options")),
    ] {
        let event = event_with(keys);
        let neighbour = event_with(json!({"uuid": OTHER}));
        let (results, normalized) = answered(&[event.clone(), neighbour]);
        let expected = match details {
            None => json!({"result": "ok"}),
            Some(details) => json!({"result": "drop", "details": details}),
        };
        assert_eq!(results, json!({UUID: expected, OTHER: {"result": "ok"}}), "{event}");
        let is_kept_aside = details.is_some() && event["event"] != "$performance_event";
        assert_eq!(normalized.rejected.len(), usize::from(is_kept_aside), "{event}");
        assert_eq!(normalized.events.len(), 1 + usize::from(details.is_none()), "{event}");
    }
}

#[test]
fn events_without_a_uuid_have_no_result() {
    for (uuid, error) in [
        (json!(null), "missing_event_uuid"),
        (json!(""), "missing_event_uuid"),
        (json!("x"), "invalid_event_uuid"),
        (json!(5), "invalid_event_uuid"),
    ] {
        let event = event_with(json!({"uuid": uuid}));
        let (results, normalized) = answered(&[event.clone(), event_with(json!({"uuid": OTHER}))]);
        assert_eq!(results, json!({OTHER: {"result": "ok"}}), "{event}");
        assert_eq!(normalized.rejected.len(), 1, "{event}");
        let (submitted, normalized) = run_v1(&v1_facts(), &envelope(&[event])).unwrap();
        let refusal = submitted.answer(&normalized.rejected).unwrap_err();
        assert_eq!((refusal.status(), error_of(&refusal).as_str()), (400, error));
    }
}

#[test]
fn of_two_events_with_one_uuid_the_refused_one_is_told() {
    let (good, bad) = (event_with(json!({})), event_with(json!({"distinct_id": "null"})));
    for events in [[good.clone(), bad.clone()], [bad, good.clone()]] {
        let (results, _) = answered(&events);
        assert_eq!(results, json!({UUID: {"result": "drop", "details": "invalid_distinct_id"}}));
    }
    let (results, normalized) = answered(&[good.clone(), good]);
    assert_eq!(results, json!({UUID: {"result": "ok"}}));
    // The writer finds the repeat.
    assert_eq!(normalized.events.len(), 2);
}

#[test]
fn v1_keys_become_properties_and_win() {
    let sent = event_with(json!({
        "session_id": "S", "window_id": "w", "offset": 5_000, "sent_at": "2026-11-20T05:30:00Z", "token": "phc_o",
        "options": {"cookieless_mode": "0", "process_person_profile": false, "product_tour_id": 7, "x": 1},
        "properties": {"$session_id": "old", "$lib": "old", "a": 1, "$set": {"b": 2}, "$process_person_profile": true},
    }));
    let (_, normalized) = answered(&[sent]);
    let event = &normalized.events[0];
    let properties: Value = serde_json::from_str(event.properties()).unwrap();
    assert_eq!(
        properties,
        json!({
            "$session_id": "S", "$window_id": "w", "$lib": "posthog-rs", "$lib_version": "0.30.0", "a": 1,
            "$set": {"b": 2}, "$cookieless_mode": false, "$process_person_profile": false, "$product_tour_id": "7",
        })
    );
    let row = event.as_row();
    assert_eq!((row.promoted.session_id, row.promoted.window_id), (Some("S"), Some("w")));
    assert_eq!((row.promoted.lib, row.promoted.lib_version), (Some("posthog-rs"), Some("0.30.0")));
    assert_eq!((row.api_key, row.person_mode), ("phc_t", Some("propertyless")));
    assert_eq!(row.extra, Some(r#"{"$sent_at":"2026-11-20T04:30:00.000Z"}"#));
    // It happened when the request was sent, an hour ago by the client's clock and now by ours.
    assert_eq!(event.timestamp_us, NOW_US);

    let uncorrected = event_with(json!({"options": {"disable_skew_correction": true}}));
    let (_, normalized) = answered(&[uncorrected]);
    assert_eq!(normalized.events[0].timestamp_us, NOW_US - 3_600_000_000);
    assert!(normalized.events[0].properties().contains(r#""$ignore_sent_at":true"#));
}

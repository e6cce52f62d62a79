use serde_json::{Value, json};

use super::super::{FlagsRequest, RequestError, Runtime};

fn map(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn check(text: &str, expected: FlagsRequest) {
    assert_eq!(FlagsRequest::parse(text), Ok(expected), "{text}");
}

fn of(token: &str, distinct_id: &str) -> FlagsRequest {
    FlagsRequest { token: Some(token.to_owned()), distinct_id: Some(distinct_id.to_owned()), ..FlagsRequest::default() }
}

#[test]
fn requests_of_the_sdks_are_read() {
    // posthog-js after identify, and its older release.
    check(
        r#"{"token":"phc_test","distinct_id":"user_1","groups":{},"$anon_distinct_id":"01a1","person_properties":
            {"$initial_utm_source":null,"plan":"pro","$lib":"web"},"timezone":"UTC","$device_id":"01a2",
            "sent_at":"2026-11-20T05:04:12.464Z"}"#,
        FlagsRequest {
            person_properties: map(json!({ "$initial_utm_source": null, "plan": "pro", "$lib": "web" })),
            anon_distinct_id: Some("01a1".to_owned()),
            device_id: Some("01a2".to_owned()),
            timezone: Some("UTC".to_owned()),
            ..of("phc_test", "user_1")
        },
    );
    check(
        r#"{"token":"phc_test","distinct_id":"01a1","groups":{"company":"c1"},"person_properties":{},
            "group_properties":{"company":{"name":"Acme"}}}"#,
        FlagsRequest {
            groups: [("company".to_owned(), "c1".to_owned())].into(),
            group_properties: [("company".to_owned(), map(json!({ "name": "Acme" })))].into(),
            ..of("phc_test", "01a1")
        },
    );
    // posthog-node
    check(
        r#"{"token":"phc_test","distinct_id":"u1","groups":{"company":"c1"},"person_properties":{"email":"a@b"},
            "group_properties":{"company":{"$group_key":"c1"}},"geoip_disable":true,
            "flag_keys_to_evaluate":["test-flag"],"evaluation_runtime":"server"}"#,
        FlagsRequest {
            groups: [("company".to_owned(), "c1".to_owned())].into(),
            person_properties: map(json!({ "email": "a@b" })),
            group_properties: [("company".to_owned(), map(json!({ "$group_key": "c1" })))].into(),
            flag_keys: Some(vec!["test-flag".to_owned()]),
            runtime: Some(Runtime::Server),
            geoip_disabled: true,
            ..of("phc_test", "u1")
        },
    );
    // posthog (Python), posthog-rs
    check(
        r#"{"distinct_id": "u1", "groups": {}, "person_properties": {}, "group_properties": {}, "geoip_disable": true,
            "device_id": null, "flag_keys_to_evaluate": ["test-flag"], "sent_at": "2026-11-20T05:09:34.762201+00:00",
            "api_key": "phc_test"}"#,
        FlagsRequest { flag_keys: Some(vec!["test-flag".to_owned()]), geoip_disabled: true, ..of("phc_test", "u1") },
    );
    check(r#"{"api_key":"phc_test","distinct_id":"u1"}"#, of("phc_test", "u1"));
}

#[test]
fn other_names_and_odd_values_are_taken() {
    check("{}", FlagsRequest::default());
    check(
        r#"{"$token":"t","$distinct_id":42,"$groups":{"a":7,"b":null,"c":[]},"$properties":{"x":1},
            "flag_keys":"one","evaluation_environments":["prod"],"disable_geoip":true,"disable_flags":true}"#,
        FlagsRequest {
            groups: [("a".to_owned(), "7".to_owned())].into(),
            person_properties: map(json!({ "x": 1 })),
            flag_keys: Some(vec!["one".to_owned()]),
            contexts: vec!["prod".to_owned()],
            geoip_disabled: true,
            flags_disabled: true,
            ..of("t", "42")
        },
    );
    check(
        r#"{"token":null,"api_key":"t","distinct_id":null,"$distinct_id":"u","groups":null,"person_properties":[],
            "group_properties":{"a":null},"flag_keys_to_evaluate":null,"evaluation_contexts":null,"flag_keys":[],
            "evaluation_runtime":"toaster","disable_flags":"no","geoip_disable":null,"timezone":null,"new":{}}"#,
        of("t", "u"),
    );
    check(r#"{"token":"t","distinct_id":""}"#, of("t", ""));
    check(
        r#"{"token":"t","distinct_id":"u","person_properties":{"$device_id":"d"}}"#,
        FlagsRequest {
            person_properties: map(json!({ "$device_id": "d" })),
            device_id: Some("d".to_owned()),
            ..of("t", "u")
        },
    );
    let long = "é".repeat(201);
    check(&json!({ "token": "t", "distinct_id": long }).to_string(), of("t", &"é".repeat(200)));
}

#[test]
fn what_is_no_object_is_refused() {
    assert_eq!(FlagsRequest::parse("[1]"), Err(RequestError::NotAnObject));
    let error = FlagsRequest::parse("{\"a\"").unwrap_err().to_string();
    assert_eq!(error, "failed to parse request: EOF while parsing an object at line 1 column 4");
}

#[test]
fn the_selection_is_what_was_asked() {
    let request = FlagsRequest::parse(r#"{"flag_keys":["a"],"evaluation_contexts":["web"]}"#).unwrap();
    let selection = request.selection(Some(Runtime::Client));
    assert_eq!(selection.flag_keys, Some(&["a".to_owned()][..]));
    assert_eq!((selection.contexts, selection.runtime), (&["web".to_owned()][..], Some(Runtime::Client)));
}

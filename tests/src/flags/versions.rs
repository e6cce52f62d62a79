//! Answers of `/flags` and `/decide` in the shape of each version, and requests that are refused.

use serde_json::{Map, Value, json};

use super::{JSON, options, post};
use crate::harness::http::{self, gzip};
use crate::harness::{Options, PROJECT, Server};

/// One flag that is on, one with a variant and a payload, one that is off, one that cannot be evaluated.
fn file() -> Value {
    let everybody = json!([{"properties": [], "rollout_percentage": 100}]);
    let variants = json!({"variants": [{"key": "blue", "rollout_percentage": 100}]});
    let broken = json!([{"properties": [{"key": "distinct_id", "value": "many", "operator": "gt"}]}]);
    json!([
        {"id": 7, "key": "on", "version": 3, "description": "everybody", "filters": {
            "groups": everybody, "payloads": {"true": {"a": 1}}}},
        {"id": 8, "key": "color", "filters": {
            "groups": everybody, "multivariate": variants, "payloads": {"blue": "\"#00f\""}}},
        {"id": 9, "key": "off", "filters": {"groups": [{"properties": [], "rollout_percentage": 0}]}},
        {"id": 10, "key": "broken", "filters": {"groups": broken}},
    ])
}

fn details(key: &str, enabled: bool, variant: Value, reason: (&str, Value, &str), metadata: Value) -> Value {
    let (code, condition_index, description) = reason;
    json!({
        "key": key, "enabled": enabled, "variant": variant, "metadata": metadata,
        "reason": {"code": code, "condition_index": condition_index, "description": description},
    })
}

fn flags() -> Value {
    let matched = || ("condition_match", json!(0), "Matched condition set 1");
    let metadata = |id: u64, payload: Value| json!({"id": id, "version": 1, "description": null, "payload": payload});
    let of_on = json!({"id": 7, "version": 3, "description": "everybody", "payload": "{\"a\":1}"});
    let failure = ("evaluation_error", Value::Null, "A condition of the flag cannot be evaluated");
    let mut broken = details("broken", false, Value::Null, failure, metadata(10, Value::Null));
    broken["failed"] = json!(true);
    let out = ("out_of_rollout_bound", json!(0), "Out of rollout bound");
    json!({
        "on": details("on", true, Value::Null, matched(), of_on),
        "color": details("color", true, json!("blue"), matched(), metadata(8, json!("\"#00f\""))),
        "off": details("off", false, Value::Null, out, metadata(9, Value::Null)),
        "broken": broken,
    })
}

/// The fields that are about flags, for each shape.
fn shape(name: &str) -> Map<String, Value> {
    let values = json!({"on": true, "color": "blue", "off": false, "broken": false});
    let payloads = json!({"on": "{\"a\":1}", "color": "\"#00f\""});
    let fields = match name {
        "list" => json!({"featureFlags": ["on", "color"]}),
        "enabled" => json!({"featureFlags": {"on": true, "color": "blue"}}),
        "values" => json!({"featureFlags": values, "featureFlagPayloads": payloads}),
        "flags" => json!({"flags": flags(), "featureFlags": values, "featureFlagPayloads": payloads}),
        "none" => json!({"flags": {}, "featureFlags": {}, "featureFlagPayloads": {}}),
        other => panic!("no shape {other}"),
    };
    fields.as_object().unwrap().clone()
}

/// Checks the fields of every answer; those of the remote configuration are what `/array` tells.
fn check(server: &Server, place: &str, mut body: Map<String, Value>, expected: &str, has_config: bool) {
    let id = body.remove("requestId").unwrap();
    assert!(id.as_str().is_some_and(|id| id.parse::<uuid::Uuid>().is_ok()), "{place}: {id}");
    let has_failed = body.remove("errorsWhileComputingFlags").unwrap();
    assert_eq!(has_failed, expected != "none", "{place}");
    let evaluated_at = body.remove("evaluatedAt");
    assert_eq!(evaluated_at.is_some(), ["flags", "none"].contains(&expected), "{place}");
    assert!(evaluated_at.is_none_or(|at| at.as_i64().is_some_and(|ms| ms > 1_700_000_000_000)), "{place}");
    let mut wanted = shape(expected);
    if has_config {
        let mut config = server.get(&format!("/array/{PROJECT}/config"), &[]).json();
        assert_eq!(config["hasFeatureFlags"], true, "{config}");
        if let Some(token) = body.get("token") {
            config["token"] = token.clone();
        }
        wanted.extend(config.as_object().unwrap().clone());
    }
    assert_eq!(json!(body), json!(wanted), "{place}");
}

#[test]
fn each_version_has_its_shape() {
    let server = options(&file().to_string()).start();
    let question = json!({"token": PROJECT, "distinct_id": "d"});
    for (path, expected, has_config) in [
        ("/flags", "flags", true),
        ("/flags?v=1", "values", false),
        ("/flags?v=2", "flags", false),
        ("/flags?v=4", "flags", false),
        ("/flags?v=2&config=true", "flags", true),
        ("/flags?v=1&config=true", "values", true),
        ("/flags?config=true", "flags", true),
        ("/flags?v=2&config=false", "flags", false),
        ("/decide", "list", true),
        ("/decide?v=1", "list", true),
        ("/decide?v=2", "enabled", true),
        ("/decide?v=3", "values", true),
        ("/decide?v=4", "flags", true),
    ] {
        let (route, query) = path.split_once('?').unwrap_or((path, ""));
        for path in [format!("{route}?{query}"), format!("{route}/?{query}")] {
            let answer = post(&server, &path, &question);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
            check(&server, &path, answer.json().as_object().unwrap().clone(), expected, has_config);
        }
    }
    for (path, has_config) in [("/flags", true), ("/flags?v=2", false), ("/decide?v=4", true)] {
        let answer = server.get(path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        check(&server, path, answer.json().as_object().unwrap().clone(), "none", has_config);
        let head = http::send("HEAD", &format!("{}{path}", server.url()), &[], None).unwrap();
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
}

#[test]
fn questions_come_in_every_form() {
    let server = options(&file().to_string()).start();
    let question = json!({"token": PROJECT, "distinct_id": 5, "flag_keys": ["on"]}).to_string();
    let base64 = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(&question)
    };
    let form = ("content-type", "application/x-www-form-urlencoded");
    let encoded = format!("data={}", base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"));
    let gzip_header = ("content-encoding", "gzip");
    for (place, answer) in [
        ("JSON", server.post("/flags?v=2", &[JSON], question.as_bytes())),
        ("gzip", server.post("/flags?v=2", &[JSON, gzip_header], &gzip(question.as_bytes()))),
        ("gzip unsaid", server.post("/flags?v=2&compression=gzip-js", &[], &gzip(question.as_bytes()))),
        ("base64 form", server.post("/flags?v=2&compression=base64", &[form], encoded.as_bytes())),
        ("GET", server.get(&format!("/flags?v=2&{encoded}"), &[])),
    ] {
        assert_eq!(answer.status, 200, "{place}: {}", answer.text());
        assert_eq!(answer.json()["featureFlags"], json!({"on": true}), "{place}");
    }
    let disabled = json!({"token": PROJECT, "distinct_id": "d", "disable_flags": true});
    let answer = post(&server, "/flags?v=2", &disabled).json();
    assert_eq!(answer["flags"], json!({}));
}

#[test]
fn questions_that_cannot_be_answered_are_refused() {
    let projects = json!([{"token": PROJECT}]).to_string();
    let server = options(&file().to_string()).set("HOGFLARE_PROJECTS", &projects).start();
    let large = json!({"token": PROJECT, "distinct_id": "d", "x": "x".repeat(5 << 20)}).to_string();
    let gzip_header = ("content-encoding", "gzip");
    for path in ["/flags?v=2", "/flags", "/decide?v=3", "/decide/"] {
        for (place, answer, status, code) in [
            ("no id", post(&server, path, &json!({"token": PROJECT})), 400, "missing_distinct_id"),
            ("null", post(&server, path, &json!({"token": PROJECT, "distinct_id": null})), 400, "missing_distinct_id"),
            ("other", post(&server, path, &json!({"token": "phc_other", "distinct_id": "d"})), 401, "unknown_token"),
            ("none", post(&server, path, &json!({"distinct_id": "d"})), 401, "missing_token"),
            ("no JSON", server.post(path, &[JSON], b"{"), 400, "invalid_json"),
            ("a list", server.post(path, &[JSON], b"[]"), 400, "invalid_json"),
            ("large", server.post(path, &[JSON], large.as_bytes()), 413, "body_too_large"),
            ("inflated", server.post(path, &[JSON, gzip_header], &gzip(large.as_bytes())), 413, "body_too_large"),
        ] {
            let place = format!("{path}, {place}");
            answer.assert_sdk_error(status);
            assert_eq!(answer.json()["code"], code, "{place}: {}", answer.text());
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{place}");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert_eq!(detail.matches("failed").count(), usize::from(code == "invalid_json"), "{place}: {detail}");
        }
    }
    for method in ["PUT", "DELETE"] {
        let answer = http::send(method, &format!("{}/flags", server.url()), &[], None).unwrap();
        assert_eq!(answer.status, 405, "{method}");
    }
    // Where every project may ask, its token must be one all the same.
    let open = options(&file().to_string()).start();
    let long = "x".repeat(65);
    for (token, code) in [("", "missing_token"), ("phx_personal", "invalid_token"), (&long, "invalid_token")] {
        let answer = post(&open, "/flags?v=2", &json!({"token": token, "distinct_id": "d"}));
        answer.assert_sdk_error(401);
        assert_eq!(answer.json()["code"], code, "{token}");
    }
}

#[test]
fn without_flags_there_are_none() {
    let server = Options::new().start();
    let answer = post(&server, "/flags?v=2", &json!({"token": PROJECT, "distinct_id": "d"})).json();
    assert_eq!((&answer["flags"], &answer["errorsWhileComputingFlags"]), (&json!({}), &json!(false)));
    assert_eq!(server.get(&format!("/array/{PROJECT}/config"), &[]).json()["hasFeatureFlags"], false);
}

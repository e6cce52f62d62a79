//! SDKs that ask the server for flags, by their packages and by requests that they once sent.

use serde_json::{Value, json};

use super::{KEY, flag, options, read_payload, values};
use crate::harness::clients::{Client, installed};
use crate::harness::{PROJECT, Server, skipped};
use crate::samples::{fixture, replay};

fn person(key: &str, value: Value) -> Value {
    json!({"key": key, "value": value, "operator": "exact", "type": "person"})
}

/// Flags that look at all that can be known of somebody.
fn file() -> Value {
    let company = json!({"key": "tier", "value": "gold", "operator": "exact", "type": "group", "group_type_index": 0});
    let mut on = flag("on", json!([{"rollout_percentage": 100}]));
    on["filters"]["payloads"] = json!({"true": "{\"a\": [1, null]}"});
    let mut color = flag(
        "color",
        json!([
            {"properties": [person("plan", json!("pro"))], "variant": "blue"},
            {"properties": [], "variant": "red"},
        ]),
    );
    color["filters"]["multivariate"] = json!({"variants": [
        {"key": "red", "rollout_percentage": 50}, {"key": "blue", "rollout_percentage": 50},
    ]});
    color["filters"]["payloads"] = json!({"blue": "\"#00f\"", "red": "5"});
    let mut tier = flag("tier", json!([{"properties": [company]}]));
    tier["filters"]["aggregation_group_type_index"] = json!(0);
    let mut company = flag("company", json!([{"properties": []}]));
    company["filters"]["aggregation_group_type_index"] = json!(0);
    let only = |key: &str, runtime: &str| {
        let mut flag = flag(key, json!([{"properties": [person("plan", json!("pro"))]}]));
        flag["evaluation_runtime"] = json!(runtime);
        flag
    };
    json!([on, color, tier, company, only("on servers", "server"), only("on pages", "client")])
}

fn server() -> Server {
    options(&file().to_string()).set("POSTHOG_GROUP_TYPE_0", "company").start()
}

/// What is stored before flags are asked for.
fn store(server: &Server) {
    for event in [
        json!({"event": "e", "distinct_id": "ada", "properties": {"$set": {"plan": "pro"}}}),
        json!({"event": "$groupidentify", "distinct_id": "ada", "properties": {
            "$group_type": "company", "$group_key": "acme", "$group_set": {"tier": "gold"}}}),
    ] {
        let mut event = event;
        event["api_key"] = json!(PROJECT);
        server.capture("/e/", &event);
    }
}

/// Whom flags are asked for, and what they are; of those for servers.
fn questions() -> Vec<(Value, Value, Value)> {
    let all = |color: &str, tier: bool, company: bool, on_servers: bool| json!({"on": true, "color": color, "tier": tier, "company": company, "on servers": on_servers});
    let payloads = |color: Value| json!({"on": {"a": [1, null]}, "color": color});
    let acme = json!({"company": "acme"});
    vec![
        (json!({"distinct_id": "nobody"}), all("red", false, false, false), payloads(json!(5))),
        (json!({"distinct_id": "ada"}), all("blue", false, false, true), payloads(json!("#00f"))),
        (json!({"distinct_id": "ada", "groups": acme}), all("blue", true, true, true), payloads(json!("#00f"))),
        // What is sent counts instead of what is stored.
        (
            json!({"distinct_id": "ada", "properties": "{\"plan\": \"free\"}"}),
            all("red", false, false, false),
            payloads(json!(5)),
        ),
        (
            json!({"distinct_id": "nobody", "properties": "{\"plan\": \"pro\"}", "groups": {"company": "new"}}),
            all("blue", false, true, true),
            payloads(json!("#00f")),
        ),
        (
            json!({"distinct_id": "ada", "groups": acme, "group_properties": {"company": {"tier": "tin"}}}),
            all("blue", false, true, true),
            payloads(json!("#00f")),
        ),
    ]
}

fn assert_payloads(found: &Value, expected: &Value, place: &str) {
    let found = found.as_object().unwrap().iter().filter(|(_, payload)| !payload.is_null());
    let found: Value = found.map(|(key, payload)| (key.clone(), read_payload(payload))).collect();
    assert_eq!(found, *expected, "{place}");
}

#[test]
fn node_and_python_are_answered_about_whom_they_ask() {
    if skipped("clients") {
        return;
    }
    let clients =
        [("posthog-node", Client::node("flags_node.mjs")), ("posthog-python", Client::python("flags_python.py"))];
    for (lib, mut client) in clients {
        let server = server();
        store(&server);
        for (question, expected, payloads) in questions() {
            let place = format!("{lib}: {question}");
            let keys = ["on", "color", "company", "no such flag"];
            let told = client.ask(&json!({
                "op": "remote", "host": server.url(), "token": PROJECT, "question": question, "keys": keys,
            }));
            assert_eq!(told["errors"], json!([]), "{place}");
            assert_eq!(told["answer"]["values"], expected, "{place}");
            assert_payloads(&told["answer"]["payloads"], &payloads, &place);
            for (way, key) in ["each", "together"].iter().flat_map(|way| keys[..3].iter().map(move |key| (way, key))) {
                let [value, payload] = [0, 1].map(|index| &told["answer"][way][key][index]);
                assert_eq!(*value, expected[key], "{place} {way} {key}");
                assert_eq!(read_payload(payload), payloads[key], "{place} {way} {key}");
            }
            for way in ["each", "together"] {
                assert_eq!(told["answer"][way]["no such flag"], json!([null, null]), "{place} {way}");
            }
        }
        assert_calls(&server, lib);
    }
}

/// That a flag was asked for is an event like others, with the flag's value.
fn assert_calls(server: &Server, lib: &str) {
    let calls = server.sql(
        "select distinct_id, properties->>'$feature_flag', properties->>'$feature_flag_response', \
            properties->>'$feature_flag_id', properties->>'$feature_flag_version', lib, count(*) \
         from events where event = '$feature_flag_called' and properties->>'$feature_flag' = 'color' \
         group by all order by 1, 3",
    );
    let called = |id: &str, response: &str| {
        calls
            .rows
            .iter()
            .any(|row| row[..6] == [json!(id), json!("color"), json!(response), json!("2"), json!("1"), json!(lib)])
    };
    for (id, response) in [("ada", "blue"), ("ada", "red"), ("nobody", "red"), ("nobody", "blue")] {
        assert!(called(id, response), "{lib}: {id} {response} in {:?}", calls.rows);
    }
    assert_eq!(calls.rows.len(), 4, "{:?}", calls.rows);
    assert_eq!(server.count("events where event = '$feature_flag_called' and person_mode is null"), 0);
}

#[test]
fn posthog_rs_is_answered_about_whom_it_asks() {
    if skipped("clients") {
        return;
    }
    let mut client = Client::program(&installed("HOGFLARE_TEST_POSTHOG_RS").join("v0"));
    let server = server();
    store(&server);
    for (question, expected, payloads) in questions().into_iter().take(5) {
        let told = client.ask(&json!({
            "host": server.url(), "token": PROJECT, "compression": null, "question": question,
        }));
        assert_eq!(told["values"], expected, "{question}");
        assert_payloads(&told["payloads"], &payloads, &question.to_string());
    }
}

#[test]
fn flags_of_one_runtime_see_what_is_stored() {
    for runtime in ["server", "client"] {
        let mut of_person = flag("person", json!([{"properties": [person("plan", json!("pro"))]}]));
        let mut of_group = file()[2].clone();
        for flag in [&mut of_person, &mut of_group] {
            flag["evaluation_runtime"] = json!(runtime);
        }
        for (flag, key) in [(of_person, "person"), (of_group, "tier")] {
            // Alone: another flag would have had it looked up.
            let server = options(&json!([flag]).to_string()).start();
            store(&server);
            let groups = json!({"company": "acme"});
            let question = json!({"distinct_id": "ada", "groups": groups, "evaluation_runtime": runtime});
            assert_eq!(values(&server, question), json!({key: true}), "{runtime} {key}");
            let unsaid = values(&server, json!({"distinct_id": "ada", "groups": groups}));
            assert_eq!(unsaid, json!({}), "{runtime} {key}: who asks is not known");
        }
    }
}

#[test]
fn configured_group_types_hold_before_their_first_event() {
    let list = json!([{"token": PROJECT, "group_types": [null, "project", "company"]}]);
    let mut by_index = flag("by index", json!([{"properties": []}]));
    by_index["filters"]["aggregation_group_type_index"] = json!(2);
    for (settings, index) in [
        ([("POSTHOG_GROUP_TYPE_0", "company"), ("RUST_LOG", "info")], 0),
        ([("POSTHOG_GROUP_TYPE_0", "other"), ("HOGFLARE_PROJECTS", &list.to_string())], 2),
    ] {
        by_index["filters"]["aggregation_group_type_index"] = json!(index);
        let options =
            settings.iter().fold(options(&json!([by_index]).to_string()), |all, (name, value)| all.set(name, value));
        let server = options.start();
        for key in ["acme", "another"] {
            let found = values(&server, json!({"distinct_id": "d", "groups": {"company": key}}));
            assert_eq!(found, json!({"by index": true}), "{settings:?}");
        }
        let path = format!("/flags/definitions?token={PROJECT}");
        let told = server.get(&path, &[("authorization", &format!("Bearer {KEY}"))]).json();
        assert_eq!(told["group_type_mapping"][index.to_string()], "company", "{told}");
    }
}

#[test]
fn remote_configurations_are_fetched_by_key() {
    if skipped("clients") {
        return;
    }
    let server = server();
    for mut client in [Client::node("flags_node.mjs"), Client::python("flags_python.py")] {
        let ask = |client: &mut Client, key: &str| {
            client.ask(&json!({
                "op": "payloads", "host": server.url(), "token": PROJECT, "key": key, "keys": ["on"],
            }))
        };
        let payload = ask(&mut client, KEY)["answer"]["on"].clone();
        assert_eq!(read_payload(&payload), json!({"a": [1, null]}));
        let refused = ask(&mut client, "phs_wrong")["answer"]["on"].clone();
        assert!(refused.is_null() || refused["status"] == 0, "{refused}");
    }
}

#[test]
fn definitions_are_sent_once_as_long_as_they_are_the_same() {
    if skipped("clients") {
        return;
    }
    for mut client in [Client::node("flags_node.mjs"), Client::python("flags_python.py")] {
        let server = server();
        let told = client.ask(&json!({
            "op": "poll", "host": server.url(), "token": PROJECT, "key": KEY, "times": 3,
        }));
        let path = "/flags/definitions";
        let asked = told["asked"].as_array().unwrap();
        assert_eq!(asked[0], json!([path, 200]));
        assert!(asked.len() > 2 && asked[1..].iter().all(|asked| *asked == json!([path, 304])), "{asked:?}");
        let metrics = server.metrics();
        for (status, count) in [("2xx", 1), ("3xx", asked.len() - 1)] {
            let line = format!("hogflare_http_requests_total{{route=\"{path}\",status=\"{status}\"}} {count}");
            assert!(metrics.contains(&line), "no {line} in {metrics}");
        }
    }
}

/// Flags for the recorded requests: by what they send, by where they come from, by who asks.
fn recorded_file() -> Value {
    let page = person("$initial_pathname", json!("/page.html"));
    let mut company = flag("company", json!([{"properties": []}]));
    company["filters"]["aggregation_group_type_index"] = json!(0);
    let variants: Vec<Value> =
        (0..10).map(|number| json!({"key": format!("v{number}"), "rollout_percentage": 10})).collect();
    let mut kept = flag("kept", json!([{"properties": []}]));
    kept["ensure_experience_continuity"] = json!(true);
    kept["filters"]["multivariate"] = json!({"variants": variants});
    let mut flags = vec![
        flag("test-flag", json!([{"properties": []}])),
        flag("from the page", json!([{"properties": [page]}])),
        company,
        kept,
    ];
    for (key, runtime) in [("on servers", "server"), ("on pages", "client")] {
        let mut flag = flag(key, json!([{"properties": []}]));
        flag["evaluation_runtime"] = json!(runtime);
        flags.push(flag);
    }
    json!({"flags": flags, "group_type_mapping": {"0": "company"}})
}

#[test]
fn recorded_requests_for_flags_are_answered() {
    let server = options(&recorded_file().to_string()).start();
    let asked = |name: &str| {
        let mut request = fixture("flags/requests", name);
        assert_eq!(request["client"].take().as_str().map(str::is_empty), Some(false));
        let answer = replay(&server, &request);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert!(answer.header("access-control-allow-origin").is_some(), "{name}");
        answer.json()["featureFlags"].take()
    };
    let kept = |name: &str| asked(name)["kept"].clone();
    let pages = |from_page: bool, company: bool, kept: &Value| {
        json!({
            "test-flag": true, "from the page": from_page, "company": company, "kept": kept, "on pages": true,
        })
    };
    let before = ["browser_flags", "browser_old_flags"].map(kept);
    let identified = values(&server, json!({"distinct_id": "user_1"}))["kept"].clone();
    assert!(!before.contains(&identified), "the variants do not tell who was asked for");
    for (name, expected) in [
        ("browser_flags", pages(true, false, &before[0])),
        // Still the variant of the anonymous id, which only this request names.
        ("browser_flags_after_identify", pages(true, false, &before[0])),
        ("browser_flags_uncompressed", pages(true, false, &kept("browser_flags_uncompressed"))),
        ("browser_flags_with_groups", pages(true, true, &identified)),
        ("browser_old_flags", pages(false, false, &before[1])),
        ("browser_old_flags_after_identify", pages(true, false, &before[1])),
        ("browser_old_flags_uncompressed", pages(false, false, &kept("browser_old_flags_uncompressed"))),
        ("browser_old_flags_with_groups", pages(true, true, &identified)),
        ("node_flags", json!({"test-flag": true})),
        ("python_flags", json!({"test-flag": true})),
    ] {
        assert_eq!(asked(name), expected, "{name}");
    }
    let rs = asked("rs_flags");
    assert_eq!((&rs["test-flag"], &rs["on servers"], rs.get("on pages")), (&json!(true), &json!(true), None), "{rs}");
}

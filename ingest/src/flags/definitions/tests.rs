use serde_json::{Value, json};

use super::super::{Definitions, FlagFile};

const NO_TYPES: [Option<String>; 5] = [const { None }; 5];

fn definitions(file: &Value, send_cohorts: bool) -> Definitions {
    FlagFile::parse(&file.to_string()).unwrap().project("phc_test").definitions(&NO_TYPES, send_cohorts)
}

fn document(file: &Value, send_cohorts: bool) -> Value {
    serde_json::from_str(&definitions(file, send_cohorts).body).unwrap()
}

#[test]
fn flags_are_written_in_full() {
    let file = json!({ "group_type_mapping": { "1": "company" }, "flags": [
        { "key": "beta", "id": 5, "version": 3, "name": "Beta", "filters": {
            "groups": [{ "properties": [{ "key": "plan", "value": ["pro"], "operator": "exact", "type": "person" }],
                "rollout_percentage": 50.0 }],
            "multivariate": { "variants": [{ "key": "a", "rollout_percentage": 33.3 }, { "key": "b", "rollout_percentage": 66.7 }] },
            "payloads": { "a": { "x": 1 }, "b": "{\"y\":2}", "true": "plain" },
            "holdout": { "id": 2, "exclusion_percentage": 10 }, "early_exit": true,
        } },
        { "key": "bare", "active": false, "filters": { "groups": null, "multivariate": null, "payloads": null } },
        { "key": "acme", "ensure_experience_continuity": true, "bucketing_identifier": "device_id",
          "evaluation_runtime": "server", "evaluation_tags": ["web"],
          "filters": { "aggregation_group_type_index": 1, "groups": [{ "properties": [
            { "key": "tier", "type": "group", "value": "x", "operator": "is_not" } ], "variant": "nope" }] } },
    ] });
    let expected = json!({
        "flags": [
            { "id": 5, "team_id": 1, "name": "Beta", "key": "beta", "active": true, "deleted": false, "version": 3,
              "ensure_experience_continuity": false, "evaluation_runtime": "all", "evaluation_contexts": [],
              "bucketing_identifier": "distinct_id", "has_experiment": false, "filters": {
                "groups": [{ "properties": [{ "key": "plan", "value": ["pro"], "operator": "exact", "type": "person" }],
                    "rollout_percentage": 50, "variant": null }],
                "multivariate": { "variants": [
                    { "key": "a", "name": "", "rollout_percentage": 33.3 },
                    { "key": "b", "name": "", "rollout_percentage": 66.7 },
                ] },
                "payloads": { "a": "{\"x\":1}", "b": "{\"y\":2}", "true": "\"plain\"" },
                "aggregation_group_type_index": null,
                "holdout": { "id": 2, "exclusion_percentage": 10 }, "early_exit": true } },
            { "id": 1, "team_id": 1, "name": "", "key": "bare", "active": false, "deleted": false, "version": 1,
              "ensure_experience_continuity": false, "evaluation_runtime": "all", "evaluation_contexts": [],
              "bucketing_identifier": "distinct_id", "has_experiment": false, "filters": {
                "groups": [], "multivariate": null, "payloads": {}, "aggregation_group_type_index": null } },
            { "id": 2, "team_id": 1, "name": "", "key": "acme", "active": true, "deleted": false, "version": 1,
              "ensure_experience_continuity": true, "evaluation_runtime": "server", "evaluation_contexts": ["web"],
              "bucketing_identifier": "device_id", "has_experiment": false, "filters": {
                "groups": [{ "properties": [{ "key": "tier", "value": "x", "operator": "is_not", "type": "group",
                    "group_type_index": 1 }], "rollout_percentage": null, "variant": null }],
                "multivariate": null, "payloads": {}, "aggregation_group_type_index": 1 } },
        ],
        "group_type_mapping": { "1": "company" }, "cohorts": {}, "property_matching_version": 1,
    });
    assert_eq!(document(&file, true), expected);
    // What was written can be read, and says the same.
    assert_eq!(document(&expected, true), expected);
}

#[test]
fn the_project_names_its_group_types() {
    let file = json!({ "group_type_mapping": { "0": "company" }, "flags": [
        { "key": "team", "bucketing": "posthog", "group_type": "team", "rollout_percentage": 30 },
    ] });
    let file = FlagFile::parse(&file.to_string()).unwrap();
    let types = [None, None, Some("team".to_owned()), None, None];
    let found: Value = serde_json::from_str(&file.project("x").definitions(&types, true).body).unwrap();
    assert_eq!(found["group_type_mapping"], json!({ "0": "company", "2": "team" }));
    assert_eq!(found["flags"][0]["filters"]["aggregation_group_type_index"], 2);
    let left_out = file.project("x").definitions(&NO_TYPES, true).left_out;
    assert_eq!(left_out, [("team".into(), "its group type has no index")]);
}

#[test]
fn dependencies_are_named_by_key_with_their_chain() {
    let of = |key: &str| json!({ "key": key, "type": "flag", "value": true, "operator": "flag_evaluates_to" });
    let file = json!([
        { "key": "last", "filters": { "groups": [{ "properties": [of("middle"), of("9")] }] } },
        { "key": "middle", "filters": { "groups": [{ "properties": [of("9")] }] } },
        { "key": "first", "id": 9, "filters": { "groups": [{}] } },
    ]);
    let properties = &document(&file, true)["flags"][0]["filters"]["groups"][0]["properties"];
    let expected = json!([
        { "key": "middle", "value": true, "operator": "flag_evaluates_to", "type": "flag", "dependency_chain": ["first", "middle"] },
        { "key": "first", "value": true, "operator": "flag_evaluates_to", "type": "flag", "dependency_chain": ["first"] },
    ]);
    assert_eq!(*properties, expected);
}

#[test]
fn the_seed_form_is_translated_where_that_says_the_same() {
    let file = json!([
        { "key": "ok", "bucketing": "posthog", "rollout_percentage": 50, "payload": { "a": 1 },
          "variant_payloads": { "v": 3 },
          "variants": [{ "key": "v", "rollout_percentage": 100, "payload": 2 }], "conditions": [
            { "properties": [{ "key": "plan", "value": "pro" }, { "key": "age", "op": "gte", "value": 18 }] },
            { "properties": [{ "key": "plan", "value": ["x", "y"], "operator": "not_in" }], "rollout_percentage": 5,
              "variant": "v" },
        ] },
        { "key": "seed" },
        { "key": "salted", "bucketing": "posthog", "salt": "s" },
        { "key": "contains", "bucketing": "posthog", "conditions": [
            { "properties": [{ "key": "a", "op": "contains", "value": "b" }] } ] },
        { "key": "own", "bucketing": "posthog", "conditions": [{ "variants": [{ "key": "v", "rollout_percentage": 1 }] }] },
    ]);
    let found = document(&file, true);
    assert_eq!(found["flags"].as_array().unwrap().len(), 1);
    let person = |key: &str, value: Value, operator: &str| json!({ "key": key, "value": value, "operator": operator, "type": "person" });
    let expected = json!({
        "groups": [
            { "properties": [person("plan", json!("pro"), "exact"), person("age", json!(18), "gte")],
              "rollout_percentage": 50, "variant": null },
            { "properties": [person("plan", json!(["x", "y"]), "is_not")], "rollout_percentage": 5, "variant": "v" },
        ],
        "multivariate": { "variants": [{ "key": "v", "name": "", "rollout_percentage": 100 }] },
        "payloads": { "true": "{\"a\":1}", "v": "2" },
        "aggregation_group_type_index": null,
    });
    assert_eq!(found["flags"][0]["filters"], expected);
}

#[test]
fn flags_are_left_out_if_sdks_would_decide_otherwise() {
    let group = json!({ "key": "tier", "type": "group", "group_type_index": 0, "value": "x" });
    let any_text = json!({ "key": "a", "operator": "icontains_multi", "value": ["x"] });
    let cohort = |id: i64| json!({ "properties": [{ "key": "id", "type": "cohort", "value": id }] });
    let of = |key: &str| {
        json!({ "groups": [{ "properties": [
        { "key": key, "type": "flag", "value": true, "operator": "flag_evaluates_to" } ] }] })
    };
    let variants = json!({ "variants": [{ "key": "v", "rollout_percentage": 100 }] });
    let filters = |filters: Value| (None, filters);
    let cases = [
        (None, filters(json!({ "groups": [{}] }))),
        (Some("its ids are not spread by PostHog's rule"), (Some("seed"), json!({ "groups": [{}] }))),
        (Some("SDKs differ about early access"), filters(json!({ "groups": [], "feature_enrollment": true }))),
        (
            Some("SDKs differ about early access"),
            filters(json!({ "groups": [], "super_groups": [{ "properties": [group] }] })),
        ),
        (
            Some("its holdout has no number"),
            filters(json!({ "holdout_groups": [{ "rollout_percentage": 5, "variant": "h" }] })),
        ),
        (
            Some("a property is of no use, or SDKs read it otherwise"),
            filters(json!({ "groups": [{ "properties": [group] }] })),
        ),
        (
            Some("a property is of no use, or SDKs read it otherwise"),
            filters(json!({ "groups": [{ "properties": [{ "key": "a", "operator": "gt", "value": "x" }] }] })),
        ),
        (Some("a property is of no use, or SDKs read it otherwise"), filters(json!({ "groups": [cohort(1)] }))),
        (Some("a property is of no use, or SDKs read it otherwise"), filters(json!({ "groups": [cohort(2)] }))),
        (None, filters(json!({ "groups": [cohort(3)] }))),
        (
            Some("it is about groups, a condition is not"),
            filters(json!({ "aggregation_group_type_index": 0, "groups": [{ "aggregation_group_type_index": null }] })),
        ),
        (None, filters(json!({ "groups": [{ "aggregation_group_type_index": 0 }] }))),
        (None, filters(json!({ "groups": [{ "properties": [any_text] }, {}] }))),
        (
            Some("SDKs would skip a condition whose operator they do not know"),
            filters(json!({ "groups": [{ "properties": [any_text] }, {}], "multivariate": variants })),
        ),
        (
            Some("SDKs would skip a condition whose operator they do not know"),
            filters(json!({ "groups": [cohort(3), {}], "early_exit": true })),
        ),
        (Some("it depends on a flag that is left out"), filters(of("case-1"))),
        (Some("it depends on a flag that is left out"), filters(of("case-15"))),
        (Some("SDKs differ about dependencies of flags about groups"), filters(of("case-11"))),
        (None, filters(of("case-0"))),
    ];
    let flags: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(index, (_, (bucketing, filters)))| {
            json!({ "key": format!("case-{index}"), "bucketing": bucketing, "filters": filters })
        })
        .collect();
    let cohorts = json!({
        "1": { "type": "OR", "values": [] },
        "2": { "type": "AND", "values": [{ "key": "id", "type": "cohort", "value": 1 }] },
        "3": { "type": "AND", "values": [any_text] },
    });
    let found = definitions(&json!({ "flags": flags, "cohorts": cohorts }), true);
    for (index, (expected, _)) in cases.iter().enumerate() {
        let key = format!("case-{index}");
        let reason = found.left_out.iter().find(|(left, _)| **left == *key).map(|(_, reason)| *reason);
        assert_eq!(reason, *expected, "{}", flags[index]);
        assert_eq!(found.body.contains(&format!("\"key\":\"{key}\",\"active\"")), expected.is_none(), "{key}");
    }
}

fn leaf(key: &str, negation: bool) -> Value {
    json!({ "key": key, "value": "x", "operator": "exact", "type": "person", "negation": negation })
}

fn cohort_file() -> Value {
    let of = |id: i64, operator: &str| {
        json!([{ "properties": [{ "key": "id", "type": "cohort", "value": id, "operator": operator },
            { "key": "z", "value": "x" }], "rollout_percentage": 7 }])
    };
    json!({
        "cohorts": {
            "1": { "type": "OR", "values": [{ "type": "property", "values": [leaf("a", false), leaf("b", false)] }, leaf("c", false)] },
            "2": { "type": "AND", "values": [leaf("a", true)] },
            "3": { "type": "AND", "values": [{ "key": "id", "type": "cohort", "value": 1 }, leaf("d", false)] },
            "4": { "type": "OR", "values": [leaf("unused", false)] },
        },
        "flags": [
            { "key": "1", "filters": { "groups": of(1, "in") } },
            { "key": "not 1", "filters": { "groups": of(1, "not_in") } },
            { "key": "2", "filters": { "groups": of(2, "in") } },
            { "key": "3", "filters": { "groups": of(3, "in") } },
        ],
    })
}

#[test]
fn cohorts_are_sent_if_asked_for() {
    let found = document(&cohort_file(), true);
    let of_1 = json!({ "key": "id", "value": 1, "operator": "in", "type": "cohort", "negation": false });
    let expected = json!({
        // Groups and properties side by side are more than SDKs read.
        "1": { "type": "OR", "values": [
            { "type": "AND", "values": [leaf("a", false), leaf("b", false)] },
            { "type": "AND", "values": [leaf("c", false)] },
        ] },
        "2": { "type": "AND", "values": [leaf("a", true)] },
        "3": { "type": "AND", "values": [of_1, leaf("d", false)] },
    });
    assert_eq!(found["cohorts"], expected);
    let property = &found["flags"][1]["filters"]["groups"][0]["properties"][0];
    assert_eq!(*property, json!({ "key": "id", "value": 1, "operator": "not_in", "type": "cohort" }));
}

#[test]
fn cohorts_are_written_out_if_not() {
    let found = document(&cohort_file(), false);
    assert_eq!(found["cohorts"], json!({}));
    let keys = |flag: usize| {
        let sets = found["flags"][flag]["filters"]["groups"].as_array().unwrap();
        let keys = |set: &Value| {
            assert_eq!(set["rollout_percentage"], 7);
            let keys = set["properties"].as_array().unwrap().iter().map(|property| property["key"].as_str().unwrap());
            keys.collect::<Vec<_>>().join(" ")
        };
        sets.iter().map(keys).collect::<Vec<_>>()
    };
    assert_eq!(keys(0), ["a b z", "c z"]);
    assert_eq!(keys(1), ["id z"]);
    assert_eq!(keys(2), ["id z"]);
    assert_eq!(keys(3), ["a b d z", "c d z"]);
}

#[test]
fn cohorts_that_would_fill_the_memory_are_not_written_out() {
    let mut cohorts = json!({ "0": { "type": "AND", "values": [leaf("a", false)] } });
    for index in 1..12 {
        let inner = json!({ "key": "id", "type": "cohort", "value": index - 1 });
        cohorts[index.to_string()] = json!({ "type": "AND", "values": vec![inner; 20] });
    }
    let flag = |cohort: i64| {
        let properties = json!([{ "key": "id", "type": "cohort", "value": cohort }]);
        json!({ "key": format!("in {cohort}"), "filters": { "groups": [{ "properties": properties }] } })
    };
    let found = document(&json!({ "cohorts": cohorts, "flags": [flag(1), flag(11)] }), false);
    let types = |flag: usize| found["flags"][flag]["filters"]["groups"][0]["properties"][0]["type"].clone();
    assert_eq!((types(0), types(1)), (json!("person"), json!("cohort")));
}

#[test]
fn the_tag_changes_with_the_document() {
    let (one, same, other) =
        (json!([{ "key": "a" }]), json!({ "flags": [{ "key": "b" }] }), json!([{ "key": "c", "filters": {} }]));
    let tag = |file: &Value| definitions(file, true).etag;
    assert_eq!(tag(&one), tag(&same));
    assert_ne!(tag(&one), tag(&other));
    assert!(tag(&one).len() == 34 && tag(&one).starts_with('"') && tag(&one).ends_with('"'));
}

use serde_json::{Value, json};

use super::super::{FlagFile, FlagsError, Question};

fn keys(file: &FlagFile, token: &str) -> String {
    let answers = file.project(token).evaluate(&Question::new("u", 0));
    answers.iter().map(|answer| answer.key()).collect::<Vec<_>>().join(" ")
}

#[test]
fn files_are_lists_objects_or_projects() {
    for (text, of_a, of_others) in [
        (json!([]), "", ""),
        (json!({}), "", ""),
        (json!([{ "key": "x" }]), "x", "x"),
        (json!({ "flags": [{ "key": "x" }], "cohorts": null }), "x", "x"),
        (json!({ "projects": { "a": { "flags": [{ "key": "y" }] } } }), "y", ""),
        (json!({ "projects": { "a": [{ "key": "y" }] }, "flags": [{ "key": "x" }] }), "y", "x"),
        (json!({ "projects": { "a": {} }, "flags": [{ "key": "x" }] }), "", "x"),
    ] {
        let file = FlagFile::parse(&text.to_string()).unwrap();
        assert_eq!((keys(&file, "a"), keys(&file, "b")), (of_a.to_owned(), of_others.to_owned()), "{text}");
        assert_eq!(file.project("a").has_flags(), !of_a.is_empty());
        assert_eq!(file.warnings(), [""; 0], "{text}");
    }
    assert_eq!(keys(&FlagFile::default(), "a"), "");
    assert_eq!(keys(&FlagFile::parse("\u{feff}[{\"key\":\"x\"}]").unwrap(), "a"), "x");
}

/// What is said of a file that is refused.
fn refused(file: &Value, expected: &str) {
    match FlagFile::parse(&file.to_string()) {
        Ok(_) => panic!("taken: {file}"),
        Err(error) => assert_eq!(error.to_string(), format!("feature flags{expected}"), "{file}"),
    }
}

#[test]
fn syntax_errors_name_line_and_column() {
    let error = FlagFile::parse("[\n  {\"key\": }\n]").unwrap_err();
    assert_eq!(error.to_string(), "feature flags are not JSON: expected value at line 2 column 11");
    assert!(matches!(error, FlagsError::Syntax { line: 2, column: 11, .. }));
}

#[test]
fn errors_name_the_flag_and_the_place() {
    let filters = |filters: Value| json!([{ "key": "beta", "filters": filters }]);
    let with = |property: Value| filters(json!({ "groups": [{}, { "properties": [property] }] }));
    let seed = |fields: Value| {
        let mut flag = json!({ "key": "beta" });
        flag.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
        json!([flag])
    };
    let property = "filters.groups[1].properties[0]";
    for (file, expected) in [
        (json!(5), ": must be an object, not a number".to_owned()),
        (json!({ "flags": {} }), ", flags: must be a list, not an object".to_owned()),
        (json!({ "projects": { "phc_a": [{}] } }), ", project \"phc_a\", flags[0]: a flag needs a key".to_owned()),
        (json!({ "projects": [1] }), ", projects: must be an object, not a list".to_owned()),
        (
            json!([{ "key": "a" }, { "key": "b" }, { "key": "a" }]),
            ", flags[2].key: the key \"a\" is taken by flags[0]".to_owned(),
        ),
        (
            json!([{ "key": "a", "id": 4 }, { "key": "b", "id": 4 }]),
            ", flags[1].id: another flag has the id 4, too".to_owned(),
        ),
        (json!([{ "key": "a", "id": -1 }]), ", flags[0].id: -1 is not from 0 to 2147483647".to_owned()),
        (json!([{ "key": "a", "id": 1.5 }]), ", flags[0].id: must be an integer, not a number".to_owned()),
        (seed(json!({ "version": "2" })), ", flag \"beta\", version: must be an integer, not a string".to_owned()),
        (seed(json!({ "active": 1 })), ", flag \"beta\", active: must be true or false, not a number".to_owned()),
        (
            seed(json!({ "rollout_percentage": 101 })),
            ", flag \"beta\", rollout_percentage: 101 is not a percentage from 0 to 100".to_owned(),
        ),
        (
            filters(json!({ "groups": [{ "rollout_percentage": -0.5 }] })),
            ", flag \"beta\", filters.groups[0].rollout_percentage: -0.5 is not a percentage from 0 to 100".to_owned(),
        ),
        (
            filters(json!({ "multivariate": { "variants": [
                { "key": "a", "rollout_percentage": 70 }, { "key": "b", "rollout_percentage": 60 },
            ] } })),
            ", flag \"beta\", filters.multivariate.variants: the variants sum to 130 percent, more than 100".to_owned(),
        ),
        (
            seed(json!({ "variants": [{ "key": "a" }, { "key": "a" }] })),
            ", flag \"beta\", variants[1].key: there are two variants \"a\"".to_owned(),
        ),
        (seed(json!({ "bucketing": "md5" })), ", flag \"beta\", bucketing: \"md5\" is not posthog or seed".to_owned()),
        (
            seed(json!({ "type": "number" })),
            ", flag \"beta\", type: \"number\" is not boolean or multivariate".to_owned(),
        ),
        (
            seed(json!({ "evaluation_runtime": "edge" })),
            ", flag \"beta\", evaluation_runtime: \"edge\" is not client, server or all".to_owned(),
        ),
        (with(json!({ "value": 1 })), format!(", flag \"beta\", {property}: a property needs a key")),
        (
            with(json!({ "key": "a", "type": "behavioral" })),
            format!(
                ", flag \"beta\", {property}.type: \"behavioral\" is not supported; there are person, group, cohort, flag"
            ),
        ),
        (
            with(json!({ "key": "a", "type": "group" })),
            format!(", flag \"beta\", {property}: a property of a group needs group_type_index or group_type"),
        ),
        (
            with(json!({ "key": "a", "type": "group", "group_type_index": 5 })),
            format!(", flag \"beta\", {property}.group_type_index: 5 is no group type; they are 0 to 4"),
        ),
        (
            with(json!({ "key": "id", "type": "cohort", "value": 7 })),
            format!(", flag \"beta\", {property}.value: there is no cohort 7"),
        ),
        (
            with(json!({ "key": "12", "type": "flag", "value": true })),
            format!(", flag \"beta\", {property}.key: there is no flag \"12\" to depend on"),
        ),
        (
            with(json!({ "key": "beta", "type": "flag", "value": true, "operator": "flag_evaluates_to" })),
            ", flag \"beta\": depends on itself: beta → beta".to_owned(),
        ),
        (
            json!({ "group_type_mapping": { "5": "x" } }),
            ", group_type_mapping: \"5\" is no group type; they are \"0\" to \"4\"".to_owned(),
        ),
    ] {
        refused(&file, &expected);
    }
    let error = FlagFile::parse(&with(json!({ "key": "a", "operator": "like" })).to_string()).unwrap_err().to_string();
    let start =
        format!("feature flags, flag \"beta\", {property}.operator: unknown operator \"like\"; there are between, ");
    assert!(error.starts_with(&start), "{error}");
    let pattern = with(json!({ "key": "a", "operator": "regex", "value": "(" }));
    let error = FlagFile::parse(&pattern.to_string()).unwrap_err().to_string();
    let start = format!("feature flags, flag \"beta\", {property}.value: the regular expression does not compile: ");
    assert!(error.starts_with(&start), "{error}");
}

#[test]
fn cycles_and_what_cannot_be_in_a_cohort_are_refused() {
    let of = |key: &str| json!({ "groups": [{ "properties": [{ "key": key, "type": "flag", "value": true, "operator": "flag_evaluates_to" }] }] });
    let flags = json!([
        { "key": "a", "filters": of("b") }, { "key": "b", "filters": of("c") }, { "key": "c", "filters": of("b") },
    ]);
    refused(&flags, ", flag \"b\": depends on itself: b → c → b");
    let cohort = |id: i64| json!({ "key": "id", "type": "cohort", "value": id });
    for (cohorts, expected) in [
        (
            json!({ "1": { "type": "OR", "values": [cohort(2)] }, "2": { "type": "AND", "values": [cohort(1)] } }),
            ", cohort \"1\": contains itself: 1 → 2 → 1",
        ),
        (
            json!({ "1": { "type": "OR", "values": [cohort(9)] } }),
            ", cohort \"1\", values[0].value: there is no cohort 9",
        ),
        (json!({ "1": { "values": [] } }), ", cohort \"1\": a group of a cohort needs type AND or OR, and values"),
        (
            json!({ "1": { "is_static": true, "filters": {} } }),
            ", cohort \"1\": is static: its members are not in this file, so nobody can be found in it",
        ),
        (
            json!({ "1": { "type": "OR", "values": [{ "key": "x", "type": "flag" }] } }),
            ", cohort \"1\", values[0].key: there is no flag \"x\" to depend on",
        ),
        (
            json!({ "1": { "type": "OR", "values": [{ "key": "x", "type": "behavioral" }] } }),
            ", cohort \"1\", values[0].type: \"behavioral\" is not supported; there are person, group, cohort, flag",
        ),
    ] {
        refused(&json!({ "cohorts": cohorts }), expected);
    }
}

#[test]
fn limits_are_kept() {
    let many: Vec<Value> = (0..10_001).map(|index| json!({ "key": format!("f{index}") })).collect();
    refused(&json!(many), ": 10001 flags, more than 10000");
    refused(&json!({ "projects": { "a": many[..6000], "b": many[..4001] } }), ": 10001 flags, more than 10000");
    let chain: Vec<Value> = (0..102)
        .map(|index| {
            let next = json!({ "key": format!("f{}", index + 1), "type": "flag", "value": true, "operator": "flag_evaluates_to" });
            let properties = if index < 101 { json!([next]) } else { json!([]) };
            json!({ "key": format!("f{index}"), "filters": { "groups": [{ "properties": properties }] } })
        })
        .collect();
    refused(&json!(chain), ", flag \"f0\": depends on 101 flags, more than 100");
    let mut cohorts = json!({ "0": {} });
    for index in 1..17 {
        let inner = json!({ "key": "id", "type": "cohort", "value": index - 1 });
        cohorts[index.to_string()] = json!({ "type": "AND", "values": [inner] });
    }
    refused(&json!({ "cohorts": cohorts }), ", cohort \"16\": contains cohorts in cohorts, deeper than 16");
    let mut group = json!({ "key": "x", "value": 1 });
    for _ in 0..17 {
        group = json!({ "type": "AND", "values": [group] });
    }
    let place = "values[0].".repeat(16);
    let place = place.trim_end_matches('.');
    refused(
        &json!({ "cohorts": { "1": group } }),
        &format!(", cohort \"1\", {place}: groups are nested deeper than 16"),
    );
    refused(&json!([{ "key": "k".repeat(401) }]), ", flags[0].key: is longer than 400 bytes");
    refused(
        &json!([{ "key": "a", "conditions": vec![json!({}); 1001] }]),
        ", flag \"a\", conditions: 1001 conditions, more than 1000",
    );
}

#[test]
fn what_looks_like_a_mistake_is_warned_about() {
    let filters = |filters: Value| json!([{ "key": "beta", "filters": filters }]);
    for (file, expected) in [
        (json!({ "flgas": [] }), ": unknown field \"flgas\" is ignored"),
        (json!([{ "key": "beta", "rollout": 5 }]), ", flag \"beta\": unknown field \"rollout\" is ignored"),
        (
            filters(json!({ "groups": [{ "rollout": 1 }] })),
            ", flag \"beta\", filters.groups[0]: unknown field \"rollout\" is ignored",
        ),
        (
            filters(json!({ "multivariate": { "variants": [{ "key": "a", "rollout_percentage": 40 }] } })),
            ", flag \"beta\", filters.multivariate.variants: the variants sum to 40 percent: the others get true, no variant",
        ),
        (
            filters(json!({ "groups": [{ "variant": "b" }] })),
            ", flag \"beta\", filters.groups[0].variant: there is no variant \"b\"; one is chosen by hash",
        ),
        (
            filters(json!({ "groups": [{ "properties": [{ "key": "a", "operator": "gt", "value": "x" }] }] })),
            ", flag \"beta\", filters.groups[0].properties[0].value: \"x\" is of no use to gt: the condition fails, and the flag with it",
        ),
        (
            filters(json!({ "groups": [{ "properties": [
                { "key": "created_at", "type": "person_metadata", "operator": "is_date_before", "value": "-7d" }] }] })),
            ", flag \"beta\", filters.groups[0].properties[0].type: \"person_metadata\" is not known here: the condition fails, and the flag with it",
        ),
        (
            filters(json!({ "holdout": { "id": 1 } })),
            ", flag \"beta\", filters.holdout: is incomplete and excludes nobody: it needs id and exclusion_percentage",
        ),
        (
            json!([{ "key": "a", "type": "multivariate" }]),
            ", flag \"a\", type: the flag has no variants: it evaluates to true or false",
        ),
        (json!({ "cohorts": { "3": {} } }), ", cohort \"3\": has no properties: everybody is in it"),
    ] {
        let read = FlagFile::parse(&file.to_string()).unwrap();
        assert_eq!(read.warnings(), [format!("feature flags{expected}")], "{file}");
    }
    let thirds = json!({ "multivariate": { "variants": [
        { "key": "a", "rollout_percentage": 33.34 }, { "key": "b", "rollout_percentage": 33.33 },
        { "key": "c", "rollout_percentage": 33.33 },
    ] } });
    assert_eq!(FlagFile::parse(&filters(thirds).to_string()).unwrap().warnings(), [""; 0]);
    let many: Vec<Value> = (0..250).map(|index| json!({ "key": format!("f{index}"), "x": 1 })).collect();
    let read = FlagFile::parse(&json!(many).to_string()).unwrap();
    assert_eq!((read.warnings().len(), read.warnings()[200].as_str()), (201, "50 more warnings"));
}

#[test]
fn missing_ids_are_the_smallest_free_ones() {
    let flags =
        json!([{ "key": "a" }, { "key": "b", "id": 1 }, { "key": "c" }, { "key": "d", "id": 3 }, { "key": "e" }]);
    let file = FlagFile::parse(&flags.to_string()).unwrap();
    let body: Value = serde_json::from_str(&super::super::body(
        super::super::FlagsShape::Flags,
        &file.project("x").evaluate(&Question::new("u", 0)),
        "r",
        0,
        None,
    ))
    .unwrap();
    for (key, id) in [("a", 2), ("b", 1), ("c", 4), ("d", 3), ("e", 5)] {
        assert_eq!(body["flags"][key]["metadata"]["id"], id, "{key}");
    }
}

#[test]
fn a_remote_configuration_is_the_payload_of_a_flag() {
    let file = json!([
        { "key": "config", "filters": { "groups": [], "payloads": { "true": "{\"a\": 1}" } } },
        { "key": "text", "payload": "plain" },
        { "key": "none" },
        { "key": "null", "payload": null },
    ]);
    let file = FlagFile::parse(&file.to_string()).unwrap();
    for (key, expected) in
        [("config", Some("{\"a\": 1}")), ("text", Some("\"plain\"")), ("none", None), ("null", None), ("nobody", None)]
    {
        assert_eq!(file.project("x").remote_config_payload(key).as_deref(), expected, "{key}");
    }
}

use serde_json::{Map, Value, json};

use super::super::{FlagFile, Question, Runtime, Selection};

fn file(definitions: Value) -> FlagFile {
    FlagFile::parse(&definitions.to_string()).unwrap()
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn property(key: &str, value: Value) -> Value {
    json!({ "key": key, "value": value, "operator": "exact", "type": "person" })
}

#[test]
fn the_question_selects_flags() {
    let flags = file(json!([
        { "key": "all", "filters": { "groups": [{}] }, "evaluation_runtime": "all" },
        { "key": "client", "filters": { "groups": [{}] }, "evaluation_runtime": "client" },
        { "key": "server", "evaluation_runtime": "server" },
        { "key": "web", "evaluation_environments": ["web", "docs"] },
        { "key": "app", "filters": { "groups": [{}] }, "evaluation_tags": ["app"] },
        { "key": "gone", "deleted": true },
    ]));
    let check = |keys: Option<&[&str]>, contexts: &[&str], runtime: Option<Runtime>, expected: &str| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
        let (keys, contexts) = (keys.map(owned), owned(contexts));
        let selection = Selection { flag_keys: keys.as_deref(), contexts: &contexts, runtime };
        let answers = flags.project("x").evaluate(&Question { selection, ..Question::new("u", 0) });
        assert_eq!(answers.iter().map(|answer| answer.key()).collect::<Vec<_>>().join(" "), expected);
    };
    let all = Some(Runtime::All);
    check(None, &[], all, "all client server web app");
    check(None, &[], Some(Runtime::Client), "all client web app");
    check(None, &[], Some(Runtime::Server), "all server web app");
    check(None, &[], None, "all web app");
    check(None, &["docs"], all, "all client server web");
    check(None, &["x", "app"], all, "all client server app");
    check(Some(&["web", "nobody", "gone", "all"]), &[], all, "all web");
    check(Some(&["server"]), &[], Some(Runtime::Client), "");
}

#[test]
fn the_runtime_is_told_or_guessed() {
    for (said, agent, browser, expected) in [
        (Some(Runtime::Server), Some("Mozilla/5.0"), true, Some(Runtime::Server)),
        (None, Some("Mozilla/5.0 (X11)"), false, Some(Runtime::Client)),
        (None, Some("posthog-node/5.70.0"), true, Some(Runtime::Server)),
        (None, Some("posthog-python/7.91.1"), false, Some(Runtime::Server)),
        (None, Some("posthog-rs/0.30.0"), false, Some(Runtime::Server)),
        (None, Some("posthog-ios/3.1"), false, Some(Runtime::Client)),
        (None, Some("posthog-react-native/4.78.0"), false, Some(Runtime::Client)),
        (None, Some("curl/8"), false, None),
        (None, Some("curl/8"), true, Some(Runtime::Client)),
        (None, None, false, None),
    ] {
        assert_eq!(Runtime::of_request(said, agent, browser), expected, "{agent:?}");
    }
}

#[test]
fn needs_are_what_the_conditions_ask() {
    let flags = file(json!({ "group_type_mapping": { "0": "company" },
        "cohorts": { "1": { "type": "AND", "values": [{ "key": "age", "value": "5" }] } },
        "flags": [
            { "key": "open", "filters": { "groups": [{}] } },
            { "key": "plan", "filters": { "groups": [{ "properties": [property("plan", json!("pro"))] }] } },
            { "key": "cohort", "filters": { "groups": [{ "properties": [
                { "key": "id", "type": "cohort", "value": 1 },
                { "key": "plan", "type": "flag", "value": true, "operator": "flag_evaluates_to" },
            ] }] } },
            { "key": "early", "filters": { "groups": [], "feature_enrollment": true } },
            { "key": "kept", "ensure_experience_continuity": true },
            { "key": "group", "filters": { "aggregation_group_type_index": 0, "groups": [{ "properties": [
                { "key": "tier", "type": "group", "group_type_index": 0, "value": "gold" },
                { "key": "plan", "type": "person", "value": "pro" },
            ] }] } },
            { "key": "bare", "filters": { "aggregation_group_type_index": 1, "groups": [{}] } },
            { "key": "off", "active": false, "filters": { "groups": [{ "properties": [property("x", json!("y"))] }] } },
        ],
    }));
    let types = [None, Some("project".to_owned()), None, None, None];
    let check = |key: &str, person: &[&str], groups: &[(&str, &[&str])], continuity: bool| {
        let keys = [key.to_owned()];
        let selection = Selection { flag_keys: Some(&keys), ..Selection::default() };
        let needs = flags.project("x").needs(&selection, &types);
        assert_eq!(needs.person_keys, person.iter().copied().collect(), "{key}");
        let groups = groups.iter().map(|(name, keys)| (*name, keys.iter().copied().collect())).collect();
        assert_eq!((needs.group_keys, needs.continuity), (groups, continuity), "{key}");
    };
    check("open", &[], &[], false);
    check("plan", &["plan"], &[], false);
    check("cohort", &["age", "plan"], &[], false);
    check("early", &["$feature_enrollment/early"], &[], false);
    check("kept", &[], &[], true);
    check("group", &["plan"], &[("company", &["tier"])], false);
    check("bare", &[], &[("project", &[])], false);
    check("off", &[], &[], false);
}

#[test]
fn sent_properties_cover_stored_ones() {
    let (stored, sent) = (map(json!({ "a": 1, "b": 2 })), map(json!({ "b": 3 })));
    assert_eq!(*Question::merge(Some(&stored), &sent), map(json!({ "a": 1, "b": 3 })));
    assert_eq!(*Question::merge(None, &sent), sent);
    assert_eq!(*Question::merge(Some(&stored), &Map::new()), stored);
}

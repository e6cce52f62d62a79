use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::{FlagFile, Question, Runtime, Selection};

fn file(definitions: Value) -> FlagFile {
    FlagFile::parse(&definitions.to_string()).unwrap()
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

/// Value, reason and position of the set that it is about.
fn found(flags: &FlagFile, question: &Question<'_>, key: &str) -> String {
    let answers = flags.project("phc_test").evaluate(question);
    let Some(answer) = answers.get(key) else { return "missing".to_owned() };
    let value = match (answer.variant(), answer.is_enabled()) {
        (Some(variant), true) => variant.to_owned(),
        (None, enabled) => enabled.to_string(),
        (Some(variant), false) => panic!("{variant} of a flag that is off"),
    };
    let failed = if answer.has_failed() { " failed" } else { "" };
    let index = answer.condition_index().map(|index| format!(" {index}")).unwrap_or_default();
    format!("{value} {}{index}{failed}", answer.reason().code())
}

/// `sets` are the condition sets of a flag `f` in PostHog's form, `extra` the other filters.
fn check(sets: Value, extra: Value, person: Value, expected: &str) {
    let mut filters = json!({ "groups": sets });
    filters.as_object_mut().unwrap().extend(map(extra));
    let flags = file(json!([{ "key": "f", "filters": filters }]));
    let person = map(person);
    let question = Question { person_properties: &person, ..Question::new("user-1", 0) };
    assert_eq!(found(&flags, &question, "f"), expected, "{filters} for {person:?}");
}

fn property(key: &str, value: Value) -> Value {
    json!({ "key": key, "value": value, "operator": "exact", "type": "person" })
}

/// `f` and `user-1` hash to 0.818, for variants to 0.443.
#[test]
fn sets_are_tried_in_their_order() {
    let pro = || property("plan", json!("pro"));
    let is_pro = || json!({ "plan": "pro" });
    let open = || json!({ "properties": [] });
    for (sets, person, expected) in [
        (json!([]), json!({}), "false no_condition_match"),
        (json!(null), json!({}), "false no_condition_match"),
        (json!([{}]), json!({}), "true condition_match 0"),
        (json!([{ "properties": [], "rollout_percentage": null }]), json!({}), "true condition_match 0"),
        (json!([{ "rollout_percentage": 100 }]), json!({}), "true condition_match 0"),
        (json!([{ "rollout_percentage": 0 }]), json!({}), "false out_of_rollout_bound 0"),
        (json!([{ "rollout_percentage": 81.7 }]), json!({}), "false out_of_rollout_bound 0"),
        (json!([{ "rollout_percentage": 81.9 }]), json!({}), "true condition_match 0"),
        (json!([{ "properties": [pro()] }]), json!({}), "false no_condition_match 0"),
        (json!([{ "properties": [pro()] }]), is_pro(), "true condition_match 0"),
        (json!([{ "properties": [pro(), property("age", json!("5"))] }]), is_pro(), "false no_condition_match 0"),
        (json!([{ "properties": [pro()] }, open()]), json!({}), "true condition_match 1"),
        (json!([{ "properties": [pro()], "rollout_percentage": 10 }, open()]), is_pro(), "true condition_match 1"),
        // The closest reason is reported, and of equal ones the last.
        (json!([{ "rollout_percentage": 1 }, { "properties": [pro()] }]), json!({}), "false out_of_rollout_bound 0"),
        (json!([{ "properties": [pro()] }, { "properties": [pro()] }]), json!({}), "false no_condition_match 1"),
    ] {
        check(sets, json!({}), person, expected);
    }
}

#[test]
fn variants_are_given_by_hash_or_by_set() {
    let halves = || {
        json!({ "variants": [
        { "key": "a", "rollout_percentage": 50 }, { "key": "b", "rollout_percentage": 50 },
    ] })
    };
    let of = |variants: Value| json!({ "multivariate": variants });
    for (sets, extra, expected) in [
        (json!([{}]), of(halves()), "a condition_match 0"),
        (json!([{ "variant": "b" }]), of(halves()), "b condition_match 0"),
        (json!([{ "variant": "c" }]), of(halves()), "a condition_match 0"),
        (json!([{ "variant": "b", "rollout_percentage": 1 }, {}]), of(halves()), "a condition_match 1"),
        (json!([{}]), of(json!({ "variants": [{ "key": "a", "rollout_percentage": 44 }] })), "true condition_match 0"),
        (json!([{}]), of(json!({ "variants": [{ "key": "a", "rollout_percentage": 45 }] })), "a condition_match 0"),
        (json!([{}]), of(json!(null)), "true condition_match 0"),
        (json!([{ "rollout_percentage": 1 }]), of(halves()), "false out_of_rollout_bound 0"),
    ] {
        check(sets, extra, json!({}), expected);
    }
}

#[test]
fn early_exit_ends_at_the_first_set_whose_properties_pass() {
    let sets = || json!([{ "properties": [property("plan", json!("pro"))], "rollout_percentage": 1 }, {}]);
    let early = || json!({ "early_exit": true });
    check(sets(), early(), json!({ "plan": "pro" }), "false out_of_rollout_bound 0");
    check(sets(), early(), json!({ "plan": "free" }), "true condition_match 1");
    check(sets(), json!({ "early_exit": null }), json!({ "plan": "pro" }), "true condition_match 1");
}

/// `user-1` is at 0.178 of all holdouts.
#[test]
fn holdouts_go_before_conditions() {
    for (holdout, expected) in [
        (json!({ "holdout": { "id": 7, "exclusion_percentage": 17 } }), "true condition_match 0"),
        (json!({ "holdout": { "id": 7, "exclusion_percentage": 18 } }), "holdout-7 holdout_condition_value"),
        (json!({ "holdout": { "id": 7, "exclusion_percentage": 100 } }), "holdout-7 holdout_condition_value"),
        (json!({ "holdout": { "id": 7 } }), "true condition_match 0"),
        (json!({ "holdout": null }), "true condition_match 0"),
        (
            json!({ "holdout_groups": [{ "properties": [], "rollout_percentage": 20, "variant": "holdout-3" }] }),
            "holdout-3 holdout_condition_value",
        ),
        (json!({ "holdout_groups": [{ "rollout_percentage": 10, "variant": "h" }] }), "true condition_match 0"),
    ] {
        check(json!([{}]), holdout, json!({}), expected);
    }
}

#[test]
fn enrollment_goes_before_everything() {
    let own = || json!({ "feature_enrollment": true });
    let never = || json!([{ "rollout_percentage": 0 }]);
    let key = "$feature_enrollment/f";
    check(never(), own(), json!({ key: true }), "true super_condition_value 0");
    check(never(), own(), json!({ key: "true" }), "true super_condition_value 0");
    check(json!([{}]), own(), json!({ key: "false" }), "false super_condition_value 0");
    check(json!([{}]), own(), json!({}), "true condition_match 0");
    let older = || json!({ "super_groups": [{ "properties": [property(key, json!(["true"]))] }] });
    check(never(), older(), json!({ key: "true" }), "true super_condition_value 0");
    check(json!([{}]), older(), json!({ key: "false" }), "false super_condition_value 0");
    check(json!([{}]), older(), json!({}), "true condition_match 0");
    check(json!([{}]), json!({ "super_groups": [{ "properties": [] }] }), json!({}), "true condition_match 0");
}

#[test]
fn a_flag_fails_only_if_no_other_set_decides() {
    let unusable = || json!({ "key": "age", "value": "old", "operator": "gt", "type": "person" });
    let pro = || property("plan", json!("pro"));
    for (sets, person, expected) in [
        (json!([{ "properties": [unusable()] }]), json!({ "age": 5 }), "false evaluation_error failed"),
        (json!([{ "properties": [unusable()] }]), json!({}), "false no_condition_match 0"),
        (json!([{ "properties": [unusable(), pro()] }]), json!({ "age": 5 }), "false no_condition_match 0"),
        (json!([{ "properties": [unusable()] }, {}]), json!({ "age": 5 }), "true condition_match 1"),
        (
            json!([{ "properties": [{ "key": "created_at", "type": "person_metadata", "operator": "is_set" }] }]),
            json!({}),
            "false no_condition_match 0",
        ),
        (
            json!([{ "properties": [unusable()] }, { "properties": [pro()] }]),
            json!({ "age": 5 }),
            "false evaluation_error failed",
        ),
    ] {
        check(sets, json!({}), person, expected);
    }
}

#[test]
fn groups_have_their_own_ids_and_properties() {
    let gold = json!({ "key": "tier", "value": "gold", "operator": "exact", "type": "group", "group_type_index": 0 });
    let person = json!({ "key": "plan", "value": "pro", "operator": "exact", "type": "person" });
    let flags = file(json!({ "group_type_mapping": { "0": "company", "1": "project" }, "flags": [
        { "key": "company", "filters": { "groups": [{ "properties": [gold] }], "aggregation_group_type_index": 0 } },
        { "key": "half", "filters": { "groups": [{ "rollout_percentage": 50 }], "aggregation_group_type_index": 0 } },
        { "key": "project", "filters": { "groups": [{}], "aggregation_group_type_index": 1 } },
        { "key": "nameless", "filters": { "groups": [{}], "aggregation_group_type_index": 4 } },
        { "key": "both", "filters": { "groups": [{ "properties": [gold, person] }] } },
        { "key": "sets", "filters": { "groups": [
            { "aggregation_group_type_index": 1 }, { "properties": [person] },
        ] } },
        { "key": "back", "filters": { "aggregation_group_type_index": 1, "groups": [
            { "aggregation_group_type_index": null },
        ] } },
        { "key": "seed", "group_type": "company", "conditions": [
            { "properties": [{ "key": "tier", "value": "gold" }] },
        ] },
    ] }));
    let person_properties = map(json!({ "plan": "free", "tier": "gold" }));
    let group_properties = HashMap::from([("company".to_owned(), map(json!({ "tier": "gold" })))]);
    let groups = HashMap::from([("company".to_owned(), "acme".to_owned())]);
    let types = [const { None }; 5];
    let alone = Question { person_properties: &person_properties, ..Question::new("user-1", 0) };
    let member = Question { groups: &groups, group_properties: &group_properties, ..alone };
    for (key, of_member, of_alone) in [
        ("company", "true condition_match 0", "false no_group_type 0"),
        // "half.acme" is at 0.67, "half.user-1" at 0.14.
        ("half", "false out_of_rollout_bound 0", "false no_group_type 0"),
        ("project", "false no_group_type 0", "false no_group_type 0"),
        ("nameless", "false no_group_type 0", "false no_group_type 0"),
        ("both", "false no_condition_match 0", "false no_condition_match 0"),
        ("sets", "false no_condition_match 1", "false no_condition_match 1"),
        ("back", "true condition_match 0", "true condition_match 0"),
        ("seed", "true condition_match 0", "false no_group_type 0"),
    ] {
        assert_eq!(found(&flags, &member, key), of_member, "{key}");
        assert_eq!(found(&flags, &alone, key), of_alone, "{key}");
    }
    // What the project calls its types goes before the file.
    let renamed = [Some("team".to_owned()), None, None, None, Some("company".to_owned())];
    assert_eq!(found(&flags, &Question { group_types: &renamed, ..member }, "company"), "false no_group_type 0");
    assert_eq!(found(&flags, &Question { group_types: &renamed, ..member }, "nameless"), "true condition_match 0");
    assert_eq!(found(&flags, &Question { group_types: &types, ..member }, "company"), "true condition_match 0");
}

#[test]
fn devices_and_earlier_ids_are_hashed_if_the_flag_says_so() {
    let flags = file(json!([
        { "key": "f", "bucketing_identifier": "device_id", "filters": { "groups": [{ "rollout_percentage": 50 }] } },
        { "key": "d", "filters": { "bucketing_identifier": "device_id", "groups": [{}] } },
        { "key": "k", "ensure_experience_continuity": true,
          "filters": { "groups": [{ "rollout_percentage": 50 }] } },
        { "key": "n", "filters": { "groups": [{ "rollout_percentage": 60 }] } },
    ]));
    let question = Question::new("user-1", 0);
    // "f.d-1" is at 0.42; "k.user-1" at 0.23, "k.before" at 0.63; "n.user-1" at 0.94, "n.before" at 0.52.
    let with_device = Question { device_id: Some("d-1"), ..question };
    let with_past = Question { continuity_id: Some("before"), ..question };
    assert_eq!(found(&flags, &question, "f"), "false out_of_rollout_bound 0");
    assert_eq!(found(&flags, &Question { device_id: Some(""), ..question }, "f"), "false out_of_rollout_bound 0");
    assert_eq!(found(&flags, &with_device, "f"), "true condition_match 0");
    assert_eq!(found(&flags, &question, "d"), "false out_of_rollout_bound 0");
    assert_eq!(found(&flags, &with_device, "d"), "true condition_match 0");
    assert_eq!(found(&flags, &Question { device_id: Some(""), ..question }, "d"), "false out_of_rollout_bound 0");
    assert_eq!(found(&flags, &question, "k"), "true condition_match 0");
    assert_eq!(found(&flags, &with_past, "k"), "false out_of_rollout_bound 0");
    assert_eq!(found(&flags, &with_past, "n"), "false out_of_rollout_bound 0");
}

#[test]
fn cohorts_nest_and_negate() {
    let leaf = |key: &str, value: Value| json!({ "key": key, "value": value, "type": "person" });
    let not = |mut leaf: Value| {
        leaf["negation"] = json!(true);
        leaf
    };
    let of = |id: Value, operator: &str| json!({ "key": "id", "value": id, "type": "cohort", "operator": operator });
    let all = |values: Value| json!({ "type": "AND", "values": values });
    let any = |values: Value| json!({ "type": "OR", "values": values });
    let (pro, adult) = (leaf("plan", json!("pro")), json!({ "key": "age", "value": 18, "operator": "gte" }));
    let cohorts = json!({
        "1": any(json!([all(json!([pro, adult]))])),
        "2": { "properties": any(json!([pro, leaf("plan", json!("team"))])) },
        "3": { "name": "wrapped", "filters": { "properties": all(json!([not(pro.clone()), not(leaf("x", json!("y")))])) } },
        "4": all(json!([of(json!(2), "in"), not(of(json!("1"), "in"))])),
        "5": { "type": "property", "values": [of(json!(1), "not_in")] },
        "6": {},
        "7": any(json!([])),
        "8": any(json!([{ "key": "age", "value": "x", "operator": "gt" }, pro])),
    });
    let flags: Vec<Value> = (1..=8)
        .flat_map(|id| [(id, "in"), (id, "not_in")])
        .map(|(id, operator)| {
            json!({ "key": format!("{operator} {id}"), "filters": { "groups": [{ "properties": [of(json!(id), operator)] }] } })
        })
        .collect();
    let flags = file(json!({ "flags": flags, "cohorts": cohorts }));
    for (person, members) in [
        (json!({ "plan": "pro", "age": 20 }), [true, true, false, false, false, true, false, true]),
        (json!({ "plan": "PRO", "age": "17" }), [false, true, false, true, true, true, false, true]),
        (json!({ "plan": "team" }), [false, true, true, true, true, true, false, false]),
        (json!({ "plan": "free", "x": "y" }), [false, false, false, false, true, true, false, false]),
    ] {
        let person = map(person);
        let question = Question { person_properties: &person, ..Question::new("user-1", 0) };
        for (index, is_member) in members.into_iter().enumerate() {
            let text = |on: bool| if on { "true condition_match 0" } else { "false no_condition_match 0" };
            assert_eq!(found(&flags, &question, &format!("in {}", index + 1)), text(is_member), "{person:?} {index}");
            assert_eq!(
                found(&flags, &question, &format!("not_in {}", index + 1)),
                text(!is_member),
                "{person:?} {index}"
            );
        }
    }
    let undecided = map(json!({ "age": 5 }));
    let question = Question { person_properties: &undecided, ..Question::new("user-1", 0) };
    assert_eq!(found(&flags, &question, "in 8"), "false evaluation_error failed");
    assert_eq!(found(&flags, &question, "not_in 8"), "false evaluation_error failed");
}

#[test]
fn flags_depend_on_what_others_evaluate_to() {
    let of = |key: Value, value: Value| {
        json!({ "groups": [{ "properties": [
            { "key": key, "value": value, "type": "flag", "operator": "flag_evaluates_to" },
        ] }] })
    };
    let variants = json!({ "variants": [{ "key": "a", "rollout_percentage": 100 }] });
    let unusable = json!({ "key": "age", "value": "x", "operator": "gt" });
    let flags = file(json!([
        { "key": "chain", "filters": of(json!("by-id"), json!(true)) },
        { "key": "by-id", "filters": of(json!("77"), json!(true)) },
        { "key": "by-number", "filters": of(json!(77), json!(true)) },
        { "key": "of-off", "filters": of(json!("off"), json!(false)) },
        { "key": "of-off-on", "filters": of(json!("off"), json!(true)) },
        { "key": "of-inactive", "filters": of(json!("inactive"), json!(false)) },
        { "key": "of-variant", "filters": of(json!("variant"), json!("a")) },
        { "key": "of-other-variant", "filters": of(json!("variant"), json!("A")) },
        { "key": "of-any-variant", "filters": of(json!("variant"), json!(true)) },
        { "key": "of-no-variant", "filters": of(json!("on"), json!("true")) },
        { "key": "of-number", "filters": of(json!("on"), json!(1)) },
        { "key": "of-server", "filters": of(json!("server"), json!(false)) },
        { "key": "of-failed", "filters": of(json!("failed"), json!(false)) },
        { "key": "on", "id": 77, "filters": { "groups": [{}] } },
        { "key": "off", "filters": { "groups": [] } },
        { "key": "inactive", "active": false, "filters": { "groups": [{}] } },
        { "key": "variant", "filters": { "groups": [{}], "multivariate": variants } },
        { "key": "server", "evaluation_runtime": "server", "filters": { "groups": [{}] } },
        { "key": "failed", "filters": { "groups": [{ "properties": [unusable] }] } },
    ]));
    let person = map(json!({ "age": 5 }));
    let question = Question { person_properties: &person, ..Question::new("user-1", 0) };
    let (on, off) = ("true condition_match 0", "false no_condition_match 0");
    for (key, expected) in [
        ("chain", on),
        ("by-id", on),
        ("by-number", on),
        ("of-off", on),
        ("of-off-on", off),
        ("of-inactive", on),
        ("inactive", "false flag_disabled"),
        ("of-variant", on),
        ("of-other-variant", off),
        ("of-any-variant", on),
        ("of-no-variant", off),
        ("of-number", off),
        ("of-server", off),
        ("of-failed", "false evaluation_error failed"),
    ] {
        assert_eq!(found(&flags, &question, key), expected, "{key}");
    }
    let client = Selection { runtime: Some(Runtime::Client), ..Selection::default() };
    assert_eq!(found(&flags, &Question { selection: client, ..question }, "of-server"), on);
    // What a flag depends on is evaluated and not answered.
    let keys = ["chain".to_owned()];
    let only = Question { selection: Selection { flag_keys: Some(&keys), ..Selection::default() }, ..question };
    assert_eq!(found(&flags, &only, "chain"), on);
    assert_eq!(flags.project("x").evaluate(&only).iter().count(), 1);
}

#[test]
fn the_seed_form_has_its_own_buckets() {
    let halves = json!([
        { "key": "a", "rollout_percentage": 10 }, { "key": "b", "rollout_percentage": 20 },
        { "key": "c", "rollout_percentage": 50, "payload": 1 }, { "key": "d", "rollout_percentage": 20 },
    ]);
    let flags = file(json!([
        // Of user_1 at 76, of user_2 at 52.
        { "key": "beta", "rollout_percentage": 76 },
        { "key": "salted", "salt": "beta", "rollout_percentage": 77 },
        { "key": "plain" },
        { "key": "off", "active": false },
        { "key": "edge", "salt": "beta", "variants": [
            { "key": "a", "rollout_percentage": 52 }, { "key": "b", "rollout_percentage": 24 },
            { "key": "c", "rollout_percentage": 24 },
        ] },
        { "key": "split", "salt": "beta", "type": "multivariate", "variants": halves },
        { "key": "capped", "salt": "beta", "rollout_percentage": 60, "variants": halves },
        { "key": "sets", "salt": "beta", "rollout_percentage": 60, "variants": halves, "conditions": [
            { "properties": [{ "key": "age", "op": "gte", "value": 18 }], "rollout_percentage": 10 },
            { "properties": [{ "key": "plan", "value": "pro" }], "variant": "d" },
            { "properties": [{ "key": "plan", "value": "team" }], "variants": [{ "key": "z", "rollout_percentage": 60 }] },
        ] },
        { "key": "posthog", "bucketing": "posthog", "rollout_percentage": 20 },
        { "key": "upstream", "bucketing": "posthog", "salt": "variant", "rollout_percentage": 40 },
        { "key": "filters", "bucketing": "seed", "salt": "beta", "filters": { "groups": [{ "rollout_percentage": 60 }] } },
    ]));
    let check = |id: &str, person: Value, key: &str, expected: &str| {
        let person = map(person);
        let question = Question { person_properties: &person, ..Question::new(id, 0) };
        assert_eq!(found(&flags, &question, key), expected, "{key} for {id} {person:?}");
    };
    check("user_1", json!({}), "beta", "false out_of_rollout_bound 0");
    check("user_2", json!({}), "beta", "true condition_match 0");
    check("user_1", json!({}), "salted", "true condition_match 0");
    check("user_1", json!({}), "plain", "true condition_match 0");
    check("user_1", json!({}), "off", "false flag_disabled");
    check("user_1", json!({}), "edge", "c condition_match 0");
    check("user_2", json!({}), "edge", "b condition_match 0");
    check("user_1", json!({}), "split", "c condition_match 0");
    check("user_2", json!({}), "split", "c condition_match 0");
    check("user_1", json!({}), "capped", "false out_of_rollout_bound 0");
    check("user_2", json!({}), "capped", "c condition_match 0");
    check("user_2", json!({ "age": "21" }), "sets", "false out_of_rollout_bound 0");
    check("user_2", json!({ "age": "21", "plan": "PRO" }), "sets", "d condition_match 1");
    check("user_2", json!({ "plan": "team" }), "sets", "z condition_match 2");
    check("user_2", json!({}), "sets", "false no_condition_match 2");
    // PostHog's hash of "posthog.user_1" is 0.14, of "posthog.user_2" 0.29.
    check("user_1", json!({}), "posthog", "true condition_match 0");
    check("user_2", json!({}), "posthog", "false out_of_rollout_bound 0");
    // That of "upstream.user_2" is 0.35, with the salt at its end 0.54.
    check("user_1", json!({}), "upstream", "true condition_match 0");
    check("user_2", json!({}), "upstream", "false out_of_rollout_bound 0");
    check("user_1", json!({}), "filters", "false out_of_rollout_bound 0");
    check("user_2", json!({}), "filters", "true condition_match 0");
}

#[test]
fn ten_thousand_ids_are_spread_as_told() {
    let flags = file(json!([{ "key": "spread", "filters": {
        "groups": [{ "rollout_percentage": 40 }],
        "multivariate": { "variants": [
            { "key": "a", "rollout_percentage": 25 }, { "key": "b", "rollout_percentage": 75 },
        ] },
    } }]));
    let mut counts = HashMap::new();
    for id in 0..10_000 {
        let value = found(&flags, &Question::new(&format!("id-{id}"), 0), "spread");
        *counts.entry(value.split(' ').next().unwrap_or_default().to_owned()).or_insert(0_i32) += 1;
    }
    for (value, expected) in [("false", 6000), ("a", 1000), ("b", 3000)] {
        assert!((counts[value] - expected).abs() < 150, "{value}: {counts:?}");
    }
}

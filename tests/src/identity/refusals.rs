//! What is asked for and refused: the event stays, a row among the dead letters says why.

use serde_json::{Value, json};

use super::{alias, event, identify, objects, send_batch, table};
use crate::harness::{Options, Server};

struct Case {
    what: &'static str,
    events: Vec<Value>,
    /// `[canonical, ids, is_identified, properties]`
    persons: Value,
    /// Reason, what its sentence must name, the event it is about (its index).
    warnings: Vec<(&'static str, &'static str, usize)>,
}

fn set(name: &str, id: &str, properties: Value) -> Value {
    event(name, id, json!({"$set": properties}))
}

#[test]
fn merges_are_refused_with_a_reason() {
    let mut cases = vec![
        Case {
            what: "the other one is identified already",
            events: vec![
                identify("bob", "anon-b"),
                set("e", "ada", json!({"a": 1})),
                event("$identify", "ada", json!({"$anon_distinct_id": "bob", "$set": {"kept": 1}})),
                // Their order does not matter: bob is identified, whoever asks.
                alias("ada", "anon-b"),
            ],
            persons: json!([["ada", ["ada"], false, {"a": 1, "kept": 1}], ["bob", ["anon-b", "bob"], true, {}]]),
            warnings: vec![
                ("merge_refused_already_identified", "\"bob\"", 2),
                ("merge_refused_already_identified", "\"anon-b\"", 3),
            ],
        },
        Case {
            what: "the one that stays may be identified",
            events: vec![identify("bob", "anon-b"), set("e", "ada", json!({"a": 1})), alias("bob", "ada")],
            persons: json!([["bob", ["anon-b", "bob", "ada"], true, {"a": 1}]]),
            warnings: vec![],
        },
        Case {
            what: "the id that is to stay names nobody",
            events: vec![set("e", "ada", json!({})), identify("null", "ada"), identify("Guest", "bob")],
            persons: json!([
                ["Guest", ["Guest"], false, {}],
                ["ada", ["ada"], false, {}],
                ["null", ["null"], false, {}]
            ]),
            warnings: vec![("merge_refused_illegal_id", "\"null\"", 1), ("merge_refused_illegal_id", "\"Guest\"", 2)],
        },
        Case {
            what: "a blank id names nobody",
            events: vec![identify("ada", " "), alias("ada", "")],
            persons: json!([["ada", ["ada"], false, {}]]),
            warnings: vec![("merge_refused_illegal_id", "\"\"", 0), ("merge_refused_illegal_id", "\"\"", 1)],
        },
        Case {
            what: "$merge_dangerously does not merge by such an id either",
            events: vec![event("$merge_dangerously", "ada", json!({"alias": "undefined"}))],
            persons: json!([["ada", ["ada"], false, {}]]),
            warnings: vec![("merge_refused_illegal_id", "\"undefined\"", 0)],
        },
    ];
    let illegal = [
        "anonymous",
        "GUEST",
        "distinctid",
        "distinct_id",
        "Id",
        "not_authenticated",
        "email",
        "undefined",
        "true",
        "FALSE",
        "[object Object]",
        "NaN",
        "None",
        "none",
        "null",
        "0",
        "'null'",
        "\"undefined\"",
        "''",
    ];
    for id in illegal {
        cases.push(Case {
            what: id,
            events: vec![event("$identify", "ada", json!({"$anon_distinct_id": id, "$set": {"a": 1}}))],
            persons: json!([["ada", ["ada"], false, {"a": 1}]]),
            warnings: vec![("merge_refused_illegal_id", "names nobody", 0)],
        });
    }
    check(cases);
}

#[test]
fn operations_that_are_not_objects_are_told() {
    let event_with = |properties: Value| vec![event("e", "ada", properties)];
    let nothing = || json!([["ada", ["ada"], false, {}]]);
    let top = |key: &str, value: Value| {
        let mut event = event("e", "ada", json!({}));
        event[key] = value;
        vec![event]
    };
    let mut cases = Vec::new();
    for value in [json!([1]), json!("text"), json!(5), json!(true)] {
        for key in ["$set", "$set_once"] {
            cases.push(Case {
                what: "inside the properties",
                events: event_with(json!({key: value})),
                persons: nothing(),
                warnings: vec![("invalid_person_operation", key, 0)],
            });
            cases.push(Case {
                what: "beside the properties",
                events: top(key, value.clone()),
                persons: nothing(),
                warnings: vec![("invalid_person_operation", key, 0)],
            });
        }
    }
    cases.push(Case {
        what: "of a group",
        events: vec![event(
            "$groupidentify",
            "ada",
            json!({"$group_type": "company", "$group_key": "acme", "$group_set": [1]}),
        )],
        persons: json!([]),
        warnings: vec![("invalid_person_operation", "$group_set", 0)],
    });
    let mut both = top("$set", json!({"a": 1}));
    both[0]["properties"]["$set"] = json!([1]);
    cases.push(Case {
        what: "inside it is bad, beside it is good",
        events: both,
        persons: json!([["ada", ["ada"], false, {"a": 1}]]),
        warnings: vec![],
    });
    cases.push(Case {
        what: "null asks for nothing",
        events: event_with(json!({"$set": null, "$set_once": null, "$unset": null})),
        persons: nothing(),
        warnings: vec![],
    });
    cases.push(Case {
        what: "what is good beside it is done",
        events: event_with(json!({"$set": [], "$set_once": {"a": 1}})),
        persons: json!([["ada", ["ada"], false, {"a": 1}]]),
        warnings: vec![("invalid_person_operation", "$set", 0)],
    });
    check(cases);
}

#[test]
fn events_about_persons_without_a_profile_are_dead_letters() {
    let server = Options::new().start();
    let without = |name: &str| {
        event(
            name,
            "ada",
            json!({
                "$process_person_profile": false, "$anon_distinct_id": "anon", "alias": "other", "$group_type": "company",
                "$group_key": "acme", "$set": {"a": 1},
            }),
        )
    };
    let dropped = ["$identify", "$create_alias", "$merge_dangerously", "$groupidentify"];
    let mut events: Vec<Value> = dropped.iter().map(|name| without(name)).collect();
    events.push(without("e"));
    send_batch(&server, "phc_off", &events);
    let expected: Vec<Value> =
        (0..4).map(|n| json!(["person_processing_off", dropped[n], "ada", events[n]["uuid"], n])).collect();
    let letters = "select reason, event, distinct_id, event_uuid, item from dead_letter order by item";
    assert_eq!(table(&server, letters), json!(expected));
    assert_eq!(table(&server, "select event, person_mode from events"), json!([["e", "propertyless"]]));
    for nothing in ["hogflare_persons", "hogflare_person_overrides", "hogflare_groups"] {
        assert_eq!(server.count(nothing), 0, "{nothing}");
    }
}

fn check(cases: Vec<Case>) {
    let server = Options::new().start();
    for (index, case) in cases.iter().enumerate() {
        let project = format!("phc_case_{index}");
        let place = format!("{}: {}", case.what, json!(case.events));
        send_batch(&server, &project, &case.events);
        let stored = format!("select uuid from events where project = '{project}' order by _position");
        let sent: Vec<Value> = case.events.iter().map(|event| json!([event["uuid"]])).collect();
        assert_eq!(table(&server, &stored), json!(sent), "{place}: every event is stored");
        assert_eq!(persons(&server, &project), case.persons, "{place}");
        assert_warnings(&server, &project, case, &place);
    }
}

fn persons(server: &Server, project: &str) -> Value {
    let sql = format!(
        "select canonical_distinct_id, distinct_ids, is_identified, properties from person_profiles \
         where project = '{project}' order by canonical_distinct_id"
    );
    let rows = objects(server, &sql, &["distinct_ids", "properties"]);
    json!(rows.into_iter().map(|row| row.into_iter().map(|(_, value)| value).collect::<Vec<_>>()).collect::<Vec<_>>())
}

fn assert_warnings(server: &Server, project: &str, case: &Case, place: &str) {
    let found = server.sql(&format!(
        "select reason, detail, event_uuid, distinct_id, path from dead_letter \
         where api_key = '{project}' order by _position"
    ));
    assert_eq!(found.rows.len(), case.warnings.len(), "{place}: {:?}", found.rows);
    for (row, (reason, words, index)) in found.rows.iter().zip(&case.warnings) {
        let [found_reason, detail, uuid, distinct_id, path] = &row[..] else { panic!("{row:?}") };
        let event = &case.events[*index];
        assert_eq!((found_reason, uuid), (&json!(reason), &event["uuid"]), "{place}");
        assert_eq!((distinct_id, path), (&event["distinct_id"], &json!("identity")), "{place}");
        assert!(detail.as_str().unwrap().contains(words), "{place}: {detail}");
    }
}

//! Every operation on persons, as the events that a sender posts and persons that are there then.
//!
//! Each case has a project of its own, so that one server serves them all.

use serde_json::{Value, json};

use super::objects;
use crate::harness::{Options, Server};

/// What is posted, and what is there then.
struct Case {
    what: &'static str,
    /// Routes and bodies without their token.
    sent: Vec<(&'static str, Value)>,
    /// As the view shows them, by canonical id: `[canonical, ids, version, is_identified, $set, $set_once]`.
    persons: Value,
    /// Of all versions that were written, in order: `<operation> <canonical> <version>`.
    history: &'static [&'static str],
    /// Reasons and distinct ids of the dead letters, in order.
    warnings: Value,
    /// The canonical id of each event's person (as resolved now) and its mode, in the order sent.
    events: Value,
}

fn capture(name: &str, id: &str, properties: Value) -> (&'static str, Value) {
    ("/capture/", json!({"event": name, "distinct_id": id, "properties": properties}))
}

fn set(id: &str, properties: Value) -> (&'static str, Value) {
    capture("e", id, json!({"$set": properties}))
}

fn identify(id: &str, anonymous: &str) -> (&'static str, Value) {
    capture("$identify", id, json!({"$anon_distinct_id": anonymous}))
}

fn at(timestamp: &str, (path, mut body): (&'static str, Value)) -> (&'static str, Value) {
    body["timestamp"] = json!(timestamp);
    (path, body)
}

#[test]
fn properties_are_set_kept_and_removed() {
    check(vec![
        Case {
            what: "a first event makes a person, a second changes nothing",
            sent: vec![capture("e", "ada", json!({})), capture("e", "ada", json!({}))],
            persons: json!([["ada", ["ada"], 1, false, {}, {}]]),
            history: &["capture ada 1"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "$set overwrites, key by key; what changes nothing is not written",
            sent: vec![set("ada", json!({"a": 1, "b": "x"})), set("ada", json!({"a": 2})), set("ada", json!({"a": 2}))],
            persons: json!([["ada", ["ada"], 2, false, {"a": 2, "b": "x"}, {}]]),
            history: &["capture ada 1", "capture ada 2"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "$set_once holds against a later one, and yields to $set",
            sent: vec![
                capture("e", "ada", json!({"$set_once": {"a": 1, "b": 1}})),
                capture("e", "ada", json!({"$set_once": {"a": 2}})),
                set("ada", json!({"a": 3})),
                capture("e", "ada", json!({"$set_once": {"a": 4, "c": 4}})),
            ],
            persons: json!([["ada", ["ada"], 3, false, {"a": 3}, {"b": 1, "c": 4}]]),
            history: &["capture ada 1", "capture ada 2", "capture ada 3"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"], ["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "one event: $set_once, then $set, then $unset",
            sent: vec![
                set("ada", json!({"gone": 1})),
                capture(
                    "e",
                    "ada",
                    json!({"$set_once": {"k": "once"}, "$set": {"k": "set", "gone": 2}, "$unset": ["gone", "never"]}),
                ),
            ],
            persons: json!([["ada", ["ada"], 2, false, {"k": "set"}, {}]]),
            history: &["capture ada 1", "capture ada 2"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "beside the properties as Python sends them; these win key by key",
            sent: vec![(
                "/capture/",
                json!({
                    "event": "$set", "distinct_id": "ada", "$set": {"a": "top", "b": "top"}, "$set_once": {"o": 1},
                    "properties": {"$set": {"b": "inside", "c": "inside"}},
                }),
            )],
            persons: json!([["ada", ["ada"], 1, false, {"a": "top", "b": "top", "c": "inside"}, {"o": 1}]]),
            history: &["set ada 1"],
            warnings: json!([]),
            events: json!([["ada", "full"]]),
        },
        Case {
            what: "$unset takes names or an object, inside and outside",
            sent: vec![
                set("ada", json!({"a": 1, "b": 1, "c": 1, "d": 1, "kept": null})),
                capture("$unset", "ada", json!({"$unset": ["a"]})),
                capture("e", "ada", json!({"$unset": {"b": "whatever"}})),
                (
                    "/capture/",
                    json!({
                        "event": "$set", "distinct_id": "ada", "$unset": ["c"], "properties": {"$unset": {"d": true}},
                    }),
                ),
            ],
            persons: json!([["ada", ["ada"], 4, false, {"kept": null}, {}]]),
            history: &["capture ada 1", "set ada 2", "capture ada 3", "set ada 4"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"], ["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "values stay what they were, null too; a number is a distinct id",
            sent: vec![(
                "/capture/",
                json!({
                    "event": "$set", "distinct_id": 42,
                    "$set": {"null": null, "list": [1, {"a": "ä🛒"}], "big": 12345678901234567890_u64, "quo\"te": "\\"},
                }),
            )],
            persons: json!([[
                "42", ["42"], 1, false,
                {"null": null, "list": [1, {"a": "ä🛒"}], "big": 12345678901234567890_u64, "quo\"te": "\\"}, {}
            ]]),
            history: &["set 42 1"],
            warnings: json!([]),
            events: json!([["42", "full"]]),
        },
        Case {
            what: "/engage, /identify with plain properties",
            sent: vec![
                ("/engage/", json!({"$distinct_id": "ada", "$set": {"a": 1}})),
                ("/identify/", json!({"distinct_id": "ada", "properties": {"email": "ada@example.com", "$os": "L"}})),
            ],
            persons: json!([[
                "ada", ["ada"], 2, false, {"a": 1, "email": "ada@example.com", "$os": "L"}, {"$initial_os": "L"}
            ]]),
            history: &["engage ada 1", "identify ada 2"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "automatic properties, and the first ones",
            sent: vec![
                capture("e", "ada", json!({"$current_url": "https://a/1", "utm_source": "news", "other": 1})),
                // Such change from page to page: not written by themselves.
                capture("e", "ada", json!({"$current_url": "https://a/2", "$set": {"$geoip_city_name": "Ulm"}})),
                capture("e", "ada", json!({"$current_url": "https://a/3", "$set": {"plan": "pro"}})),
                capture("$set", "ada", json!({"$current_url": "https://a/4"})),
                // The first value of another one is new.
                capture("e", "ada", json!({"$browser": "Firefox"})),
            ],
            persons: json!([[
                "ada", ["ada"], 4, false,
                {"$current_url": "https://a/4", "utm_source": "news", "plan": "pro", "$browser": "Firefox"},
                {"$initial_current_url": "https://a/1", "$initial_utm_source": "news", "$initial_browser": "Firefox"}
            ]]),
            history: &["capture ada 1", "capture ada 2", "set ada 3", "capture ada 4"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"], ["ada", "full"], ["ada", "full"], ["ada", "full"]]),
        },
    ]);
}

#[test]
fn events_that_are_not_about_persons_change_none() {
    check(vec![
        Case {
            what: "exceptions and heatmaps",
            sent: vec![
                capture("$$heatmap", "nobody", json!({"$set": {"a": 1}, "$browser": "Firefox"})),
                capture("$exception", "ada", json!({"$set": {"a": 1}, "$browser": "Firefox"})),
                capture("$$heatmap", "ada", json!({})),
            ],
            persons: json!([["ada", ["ada"], 1, false, {}, {}]]),
            history: &["capture ada 1"],
            warnings: json!([]),
            events: json!([[null, "propertyless"], ["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "without a profile",
            sent: vec![
                capture("e", "nobody", json!({"$process_person_profile": false, "$set": {"a": 1}})),
                // What is not a boolean says nothing.
                capture("e", "ada", json!({"$process_person_profile": "false"})),
                capture("e", "bob", json!({"$process_person_profile": 0})),
            ],
            persons: json!([["ada", ["ada"], 1, false, {}, {}], ["bob", ["bob"], 1, false, {}, {}]]),
            history: &["capture ada 1", "capture bob 1"],
            warnings: json!([]),
            events: json!([[null, "propertyless"], ["ada", "full"], ["bob", "full"]]),
        },
        Case {
            what: "an event without a profile of somebody known for more than a minute",
            sent: vec![
                at("2026-03-01T10:00:00Z", set("ada", json!({"plan": "free"}))),
                at(
                    "2026-03-01T10:01:00Z",
                    capture("e", "ada", json!({"$process_person_profile": false, "$set": {"plan": "pro"}})),
                ),
                at(
                    "2026-03-01T10:01:01Z",
                    capture("e", "ada", json!({"$process_person_profile": false, "$set": {"plan": "pro"}})),
                ),
            ],
            persons: json!([["ada", ["ada"], 1, false, {"plan": "free"}, {}]]),
            history: &["capture ada 1"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "propertyless"], ["ada", "force_upgrade"]]),
        },
        Case {
            what: "an event without a profile belongs to who its id turns out to be",
            sent: vec![capture("e", "anon", json!({"$process_person_profile": false})), identify("ada", "anon")],
            persons: json!([["ada", ["anon", "ada"], 1, true, {}, {}]]),
            history: &["identify ada 1"],
            warnings: json!([]),
            events: json!([["ada", "propertyless"], ["ada", "full"]]),
        },
    ]);
}

#[test]
fn merges_follow_the_table() {
    check(vec![
        Case {
            what: "identify of two that nobody knows",
            sent: vec![identify("ada", "anon")],
            persons: json!([["ada", ["anon", "ada"], 1, true, {}, {}]]),
            history: &["identify ada 1"],
            warnings: json!([]),
            events: json!([["ada", "full"]]),
        },
        Case {
            what: "the anonymous one is known",
            sent: vec![set("anon", json!({"a": 1})), identify("ada", "anon")],
            persons: json!([["anon", ["anon", "ada"], 2, true, {"a": 1}, {}]]),
            history: &["capture anon 1", "identify anon 2"],
            warnings: json!([]),
            events: json!([["anon", "full"], ["anon", "full"]]),
        },
        Case {
            what: "the named one is known",
            sent: vec![set("ada", json!({"a": 1})), identify("ada", "anon")],
            persons: json!([["ada", ["ada", "anon"], 2, true, {"a": 1}, {}]]),
            history: &["capture ada 1", "identify ada 2"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "both are known: the named one survives and its properties win",
            sent: vec![
                at("2026-03-01T10:00:00Z", set("anon", json!({"a": "anon", "b": "anon"}))),
                at("2026-03-01T11:00:00Z", set("ada", json!({"a": "ada"}))),
                set("anon", json!({"c": "anon"})),
                capture("$identify", "ada", json!({"$anon_distinct_id": "anon", "$set": {"d": "now"}})),
            ],
            persons: json!([[
                "ada", ["ada", "anon"], 3, true, {"a": "ada", "b": "anon", "c": "anon", "d": "now"}, {}
            ]]),
            history: &["capture anon 1", "capture ada 1", "capture anon 2", "identify ada 3", "delete anon 3"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"], ["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "the same once more changes nothing",
            sent: vec![identify("ada", "anon"), identify("ada", "anon")],
            persons: json!([["ada", ["anon", "ada"], 1, true, {}, {}]]),
            history: &["identify ada 1"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "without another id it sets properties and identifies nobody, as with the same id",
            sent: vec![
                capture("$identify", "ada", json!({"$set": {"a": 1}})),
                identify("ada", "ada"),
                capture("$identify", "ada", json!({"$anon_distinct_id": null})),
            ],
            persons: json!([["ada", ["ada"], 1, false, {"a": 1}, {}]]),
            history: &["identify ada 1"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "an alias folds the alias into the distinct id, by event and by route",
            sent: vec![
                set("other", json!({"from": "other"})),
                set("ada", json!({"from": "ada"})),
                capture("$create_alias", "ada", json!({"alias": "other"})),
                ("/alias/", json!({"distinct_id": "ada", "alias": "third"})),
            ],
            persons: json!([["ada", ["ada", "other", "third"], 3, true, {"from": "ada"}, {}]]),
            history: &["capture other 1", "capture ada 1", "alias ada 2", "delete other 2", "alias ada 3"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"], ["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "/identify with an anonymous id",
            sent: vec![
                set("anon", json!({"a": 1})),
                ("/identify/", json!({"distinct_id": "ada", "$anon_distinct_id": "anon", "$set": {"b": 2}})),
            ],
            persons: json!([["anon", ["anon", "ada"], 2, true, {"a": 1, "b": 2}, {}]]),
            history: &["capture anon 1", "identify anon 2"],
            warnings: json!([]),
            events: json!([["anon", "full"], ["anon", "full"]]),
        },
        Case {
            what: "$merge_dangerously merges who is identified",
            sent: vec![
                identify("bob", "anon-b"),
                identify("ada", "anon-a"),
                capture("$merge_dangerously", "ada", json!({"alias": "bob"})),
            ],
            persons: json!([["ada", ["anon-a", "ada", "anon-b", "bob"], 2, true, {}, {}]]),
            history: &["identify bob 1", "identify ada 1", "merge ada 2", "delete bob 2"],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"], ["ada", "full"]]),
        },
        Case {
            what: "a merged person's first id goes on as another's",
            sent: vec![
                set("anon", json!({"a": 1})),
                set("ada", json!({"b": 1})),
                identify("ada", "anon"),
                set("anon", json!({"c": 1})),
                identify("eve", "anon"),
            ],
            persons: json!([["ada", ["ada", "anon", "eve"], 4, true, {"a": 1, "b": 1, "c": 1}, {}]]),
            history: &[
                "capture anon 1",
                "capture ada 1",
                "identify ada 2",
                "delete anon 2",
                "capture ada 3",
                "identify ada 4",
            ],
            warnings: json!([]),
            events: json!([["ada", "full"], ["ada", "full"], ["ada", "full"], ["ada", "full"], ["ada", "full"]]),
        },
    ]);
}

fn check(cases: Vec<Case>) {
    let mut server = Options::new().start();
    let mut failures = Vec::new();
    for place in ["in memory", "committed"] {
        for (index, case) in cases.iter().enumerate() {
            let project = format!("phc_case_{index}");
            if place == "in memory" {
                for (path, body) in &case.sent {
                    let mut body = body.clone();
                    body["api_key"] = json!(project);
                    server.capture(path, &body);
                }
            }
            let found = Found::ask(&server, &project);
            let pairs = [
                ("persons", &found.persons, &case.persons),
                ("history", &found.history, &json!(case.history)),
                ("warnings", &found.warnings, &case.warnings),
                ("events", &found.events, &case.events),
            ];
            for (part, found, expected) in pairs {
                if found != expected {
                    failures.push(format!("{} ({place}): {part}\n  {found}\n  {expected}", case.what));
                }
            }
        }
        super::commit(&mut server);
    }
    assert!(failures.is_empty(), "found, and expected:\n{}", failures.join("\n"));
}

/// What the server shows of a project, in the form of a [`Case`].
struct Found {
    persons: Value,
    history: Value,
    warnings: Value,
    events: Value,
}

impl Found {
    fn ask(server: &Server, project: &str) -> Found {
        let persons = objects(
            server,
            &format!("select * from person_profiles where project = '{project}' order by canonical_distinct_id"),
            &["distinct_ids", "properties", "properties_set", "properties_set_once"],
        );
        for person in &persons {
            let mut all = person["properties_set_once"].as_object().unwrap().clone();
            all.extend(person["properties_set"].as_object().unwrap().clone());
            assert_eq!(person["properties"], json!(all), "{project}: all properties are those of both kinds");
            assert_eq!(person["distinct_id_count"], person["distinct_ids"].as_array().unwrap().len(), "{project}");
        }
        let names = ["canonical_distinct_id", "distinct_ids", "version", "is_identified"];
        let row = |person: &serde_json::Map<String, Value>| -> Vec<Value> {
            let columns = names.iter().chain(&["properties_set", "properties_set_once"]);
            columns.map(|name| person[*name].clone()).collect()
        };
        let texts = |sql: String| json!(server.sql(&sql).rows.iter().map(|row| &row[0]).collect::<Vec<_>>());
        Found {
            persons: json!(persons.iter().map(row).collect::<Vec<_>>()),
            history: texts(format!(
                "select operation || ' ' || canonical_distinct_id || ' ' || cast(version as varchar) \
                 from hogflare_persons where api_key = '{project}' order by _position"
            )),
            warnings: super::table(
                server,
                &format!("select reason, distinct_id from dead_letter where api_key = '{project}' order by _position"),
            ),
            events: super::table(
                server,
                &format!(
                    "select p.canonical_distinct_id, e.person_mode from events e \
                     left join person_profiles p on p.project = e.project and p.person_id = e.resolved_person_id \
                     where e.project = '{project}' order by e.created_at, e._position"
                ),
            ),
        }
    }
}

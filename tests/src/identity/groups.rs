//! Groups: their columns, their properties, and the slots of their types.

use serde_json::{Value, json};

use super::{commit, event, objects, send, send_batch, table};
use crate::harness::{Options, PROJECT, Server};

fn describe(group_type: &str, key: &str, properties: Value) -> Value {
    let described = json!({"$group_type": group_type, "$group_key": key, "$group_set": properties});
    event("$groupidentify", &format!("${group_type}_{key}"), described)
}

fn grouped(groups: Value) -> Value {
    event("e", "ada", json!({"$groups": groups}))
}

/// The columns of all events, the type of each slot, and the groups, in a project.
fn slots(server: &Server, project: &str) -> Value {
    table(
        server,
        &format!(
            "select group0, group1, group2, group3, group4 from events where project = '{project}' \
             order by created_at, _position"
        ),
    )
}

fn types(server: &Server, project: &str) -> Value {
    let sql = "select group_type, group_type_index from group_types";
    table(server, &format!("{sql} where project = '{project}' order by group_type_index"))
}

fn groups(server: &Server, project: &str) -> Vec<Value> {
    let columns = "group_type, group_type_index, group_key, version, properties";
    let sql = format!("select {columns} from groups where project = '{project}' order by group_type_index, group_key");
    let rows = objects(server, &sql, &["properties"]);
    rows.into_iter().map(|row| json!(row.into_iter().map(|(_, value)| value).collect::<Vec<_>>())).collect()
}

#[test]
fn groups_have_properties_and_make_no_person() {
    let mut server = Options::new().set("POSTHOG_GROUP_TYPE_0", "company").start();
    send(
        &server,
        &[
            describe("company", "acme", json!({"seats": 3, "plan": "free"})),
            describe("company", "acme", json!({"seats": 4, "city": "Ulm"})),
            describe("company", "acme", json!({"seats": 4})),
            event("e", "ada", json!({"$groups": {"company": "acme"}})),
            // Of nobody, and of a group that nobody described.
            event("e", "bob", json!({"$groups": {"company": 7}, "$process_person_profile": false})),
        ],
    );
    server.capture(
        "/groups/",
        &json!({"api_key": PROJECT, "group_type": "team", "group_key": "red", "properties": {"color": "red"}}),
    );
    for place in ["in memory", "committed"] {
        let expected = [
            json!(["company", 0, "acme", 2, {"seats": 4, "plan": "free", "city": "Ulm"}]),
            json!(["team", 1, "red", 1, {"color": "red"}]),
        ];
        assert_eq!(groups(&server, PROJECT), expected, "{place}");
        assert_eq!(types(&server, PROJECT), json!([["company", 0], ["team", 1]]), "{place}");
        let rows = "select operation, group_type, group_key, version from hogflare_groups order by _position";
        let expected = json!([
            ["group_type", "company", null, 1],
            ["groupidentify", "company", "acme", 1],
            ["groupidentify", "company", "acme", 2],
            ["group_type", "team", null, 1],
            ["groupidentify", "team", "red", 1],
        ]);
        assert_eq!(table(&server, rows), expected, "{place}");
        let persons = table(&server, "select canonical_distinct_id from person_profiles");
        assert_eq!(persons, json!([["ada"]]), "{place}: a group is nobody");
        let events = "select event, distinct_id, group0, group1, group_properties, person_mode, has_person from events \
            order by _position";
        let properties = objects(&server, events, &["group_properties"]);
        let found: Vec<Value> = properties.into_iter().map(|row| json!(row.values().collect::<Vec<_>>())).collect();
        let (first, second) = (json!({"seats": 3, "plan": "free"}), json!({"seats": 4, "plan": "free", "city": "Ulm"}));
        let expected = [
            json!(["$groupidentify", "$company_acme", "acme", null, {"company": first}, "propertyless", false]),
            json!(["$groupidentify", "$company_acme", "acme", null, {"company": second}, "propertyless", false]),
            json!(["$groupidentify", "$company_acme", "acme", null, {"company": second}, "propertyless", false]),
            json!(["e", "ada", "acme", null, {"company": second}, "full", true]),
            json!(["e", "bob", "7", null, null, "propertyless", false]),
            json!(["$groupidentify", "$team_red", null, "red", {"team": {"color": "red"}}, "propertyless", false]),
        ];
        assert_eq!(found, expected, "{place}");
        commit(&mut server);
    }
}

#[test]
fn types_get_slots_by_settings_and_then_by_appearance() {
    let options = Options::new().set("POSTHOG_GROUP_TYPE_1", "team");
    let mut server = options.clone().start();
    // A project of its own: slots are of one project each.
    send_batch(&server, "phc_other", &[grouped(json!({"first": "x"}))]);
    send(&server, &[grouped(json!({"company": "acme", "team": "red"})), grouped(json!({"site": "s"}))]);
    let expected = json!([["company", 0], ["team", 1], ["site", 2]]);
    assert_eq!(types(&server, PROJECT), expected);
    for restart in ["orderly", "killed"] {
        match restart {
            "orderly" => server.stop(),
            _ => server.kill(),
        }
        server.restart();
        assert_eq!(types(&server, PROJECT), expected, "{restart}");
        send(&server, &[grouped(json!({"site": restart, "team": "blue"}))]);
    }
    // Five at most: the sixth has no column and no row, and the others beside it do.
    send(&server, &[grouped(json!({"4th": "a", "5th": "b", "6th": "c", "company": "last"}))]);
    send(&server, &[describe("6th", "c", json!({"a": 1})), describe("5th", "b", json!({"a": 1}))]);
    assert_eq!(types(&server, PROJECT), json!([["company", 0], ["team", 1], ["site", 2], ["4th", 3], ["5th", 4]]));
    let expected = json!([
        ["acme", "red", null, null, null],
        [null, null, "s", null, null],
        [null, "blue", "orderly", null, null],
        [null, "blue", "killed", null, null],
        ["last", null, null, "a", "b"],
        [null, null, null, null, null],
        [null, null, null, null, "b"],
    ]);
    assert_eq!(slots(&server, PROJECT), expected);
    assert_eq!(groups(&server, PROJECT), [json!(["5th", 4, "b", 1, {"a": 1}])]);
    assert_eq!(types(&server, "phc_other"), json!([["first", 0]]));
    assert_eq!(slots(&server, "phc_other"), json!([["x", null, null, null, null]]));
}

#[test]
fn settings_that_contradict_stored_slots_are_refused_in_words() {
    let mut server = Options::new().start();
    send(&server, &[grouped(json!({"company": "acme"})), grouped(json!({"team": "red"}))]);
    for end in [Server::stop, Server::kill] {
        end(&mut server);
        for (name, value, words) in [
            ("POSTHOG_GROUP_TYPE_0", "site", ["\"company\"", "group0", "POSTHOG_GROUP_TYPE_0", PROJECT]),
            ("POSTHOG_GROUP_TYPE_0", "team", ["\"team\"", "group1", "POSTHOG_GROUP_TYPE_1", PROJECT]),
            ("POSTHOG_GROUP_TYPE_3", "team", ["\"team\"", "group1", "group3", PROJECT]),
        ] {
            let said = refusal(&server, &Options::new().set(name, value));
            let missing: Vec<&str> = words.into_iter().filter(|word| !said.contains(word)).collect();
            // Of two contradictions either may be told.
            assert!(missing.is_empty() || said.contains("\"company\""), "{name}={value}: {missing:?} in {said}");
            assert!(said.contains("group_types") && !said.contains("panicked"), "{name}={value}: {said}");
        }
        // What agrees is no contradiction, nor is a slot that is free.
        let agreeing = Options::new()
            .set("POSTHOG_GROUP_TYPE_0", "company")
            .set("POSTHOG_GROUP_TYPE_1", "team")
            .set("POSTHOG_GROUP_TYPE_4", "site");
        server.restart_with(agreeing);
        assert_eq!(types(&server, PROJECT), json!([["company", 0], ["team", 1]]));
    }
    send(&server, &[grouped(json!({"site": "s", "other": "o"}))]);
    assert_eq!(types(&server, PROJECT), json!([["company", 0], ["team", 1], ["other", 2], ["site", 4]]));
}

/// What the server says when it does not start with these options.
fn refusal(server: &Server, options: &Options) -> String {
    let folder = server.data_dir().display().to_string();
    let output = server.hogflare_with(options, &["serve", "--listen", "127.0.0.1:0", "--data-dir", &folder]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success(), "it started: {said}");
    said
}

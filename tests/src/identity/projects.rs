//! Views over persons and groups, and that two projects with the same ids have nothing to do with each other.

use serde_json::{Value, json};

use super::{commit, event, identify, objects, person_id, send_batch, table};
use crate::harness::{Options, Server};

/// Python's `uuid.uuid5` of PostHog's namespace and `phc_one:anon-1`, `phc_two:anon-1`, `phc_one:ada`, `phc_two:ada`.
const ONE_ANON: &str = "b8876c2c-6807-5969-87aa-100408549552";
const TWO_ANON: &str = "f089f0ad-6d4d-5524-bf75-29f7687b1af3";
const ONE_ADA: &str = "2e20c4b4-0bf3-5af1-8774-3763e010271d";
const TWO_ADA: &str = "40baaab7-5148-59c7-abc4-727f41f2fd9a";

/// In the first project the two ids are one person, in the second two; then another arrives everywhere.
fn send_to_both(server: &Server) {
    let at = |minute: u32, session: &str, mut event: Value| {
        event["timestamp"] = json!(format!("2026-03-01T10:{minute:02}:00Z"));
        event["properties"]["$session_id"] = json!(session);
        event
    };
    for project in ["phc_one", "phc_two"] {
        let of = |set: &str| json!({"$set": {"email": format!("{set}@{project}")}});
        send_batch(
            server,
            project,
            &[
                at(0, "s1", event("e", "anon-1", json!({}))),
                at(1, "s1", event("e", "ada", of("ada"))),
                at(2, "s2", event("e", "visitor", json!({"$process_person_profile": false}))),
                at(3, "s3", event("e", "anon-1", json!({"$groups": {"company": project}}))),
            ],
        );
    }
    send_batch(server, "phc_one", &[at(4, "s4", identify("ada", "anon-1"))]);
}

#[test]
fn projects_with_the_same_ids_never_mix() {
    for (id, project, name) in [
        (ONE_ANON, "phc_one", "anon-1"),
        (TWO_ANON, "phc_two", "anon-1"),
        (ONE_ADA, "phc_one", "ada"),
        (TWO_ADA, "phc_two", "ada"),
    ] {
        assert_eq!(person_id(project, name), id);
    }
    let mut server = Options::new().start();
    send_to_both(&server);
    for place in ["in memory", "committed"] {
        check_persons(&server, place);
        check_events(&server, place);
        check_profiles(&server, place);
        check_every_column_alone(&server);
        commit(&mut server);
    }
}

fn check_persons(server: &Server, place: &str) {
    let columns = "project, person_id, canonical_distinct_id, distinct_ids, version, is_identified, email, properties";
    let rows = objects(
        server,
        &format!("select {columns} from person_profiles order by project, canonical_distinct_id"),
        &["distinct_ids", "properties"],
    );
    let found: Vec<Value> = rows.into_iter().map(|row| json!(row.values().collect::<Vec<_>>())).collect();
    let (one, two) = ("ada@phc_one", "ada@phc_two");
    let expected = [
        json!(["phc_one", ONE_ADA, "ada", ["ada", "anon-1"], 2, true, one, {"email": one}]),
        json!(["phc_two", TWO_ADA, "ada", ["ada"], 1, false, two, {"email": two}]),
        json!(["phc_two", TWO_ANON, "anon-1", ["anon-1"], 1, false, null, {}]),
    ];
    assert_eq!(found, expected, "{place}");
    let links = "select project, distinct_id, person_id, version, is_canonical from identity_links \
        order by project, distinct_id";
    let expected = json!([
        ["phc_one", "ada", ONE_ADA, 0, true],
        ["phc_one", "anon-1", ONE_ADA, 2, false],
        ["phc_two", "ada", TWO_ADA, 0, true],
        ["phc_two", "anon-1", TWO_ANON, 0, true],
    ]);
    assert_eq!(table(server, links), expected, "{place}");
    let moves = "select project, distinct_id, person_id, version from person_overrides";
    assert_eq!(table(server, moves), json!([["phc_one", "anon-1", ONE_ADA, 2]]), "{place}");
    let types = "select project, group_type, group_type_index from group_types order by project";
    assert_eq!(table(server, types), json!([["phc_one", "company", 0], ["phc_two", "company", 0]]), "{place}");
}

fn check_events(server: &Server, place: &str) {
    let sql = "select project, distinct_id, person_id, resolved_person_id, identity_id, has_person, group0 from events \
        order by project, timestamp";
    let (one, two) = (person_id("phc_one", "visitor"), person_id("phc_two", "visitor"));
    let expected = json!([
        ["phc_one", "anon-1", ONE_ANON, ONE_ADA, ONE_ADA, true, null],
        ["phc_one", "ada", ONE_ADA, ONE_ADA, ONE_ADA, true, null],
        ["phc_one", "visitor", one, one, one, false, null],
        ["phc_one", "anon-1", ONE_ANON, ONE_ADA, ONE_ADA, true, "phc_one"],
        ["phc_one", "ada", ONE_ADA, ONE_ADA, ONE_ADA, true, null],
        ["phc_two", "anon-1", TWO_ANON, TWO_ANON, TWO_ANON, true, null],
        ["phc_two", "ada", TWO_ADA, TWO_ADA, TWO_ADA, true, null],
        ["phc_two", "visitor", two, two, two, false, null],
        ["phc_two", "anon-1", TWO_ANON, TWO_ANON, TWO_ANON, true, "phc_two"],
    ]);
    assert_eq!(table(server, sql), expected, "{place}");
}

fn check_profiles(server: &Server, place: &str) {
    let sql = "select project, identity_id, first_seen_at, last_seen_at, event_count, session_count, actor_count, \
        has_person from persons order by project, first_seen_at";
    let minute = |minute: u32| format!("2026-03-01T10:{minute:02}:00.000000Z");
    let (one, two) = (person_id("phc_one", "visitor"), person_id("phc_two", "visitor"));
    let expected = json!([
        ["phc_one", ONE_ADA, minute(0), minute(4), 4, 3, 2, true],
        ["phc_one", one, minute(2), minute(2), 1, 1, 1, false],
        ["phc_two", TWO_ANON, minute(0), minute(3), 2, 2, 1, true],
        ["phc_two", TWO_ADA, minute(1), minute(1), 1, 1, 1, true],
        ["phc_two", two, minute(2), minute(2), 1, 1, 1, false],
    ]);
    assert_eq!(table(server, sql), expected, "{place}");
}

/// Each column of each view can be asked for by itself, whatever the view joins for the others.
fn check_every_column_alone(server: &Server) {
    let views = [
        "events",
        "dead_letter",
        "persons",
        "person_profiles",
        "person_overrides",
        "identity_links",
        "groups",
        "group_types",
    ];
    for view in views {
        let all = server.sql(&format!("select * from {view}"));
        for (index, column) in all.columns.iter().enumerate() {
            let there = all.rows.iter().filter(|row| !row[index].is_null()).count();
            let sql =
                format!("select count(*), count(\"{column}\"), count(distinct project) from (select * from {view}) v");
            let sql = if all.columns.iter().any(|column| column == "project") {
                sql
            } else {
                sql.replace("project", "api_key")
            };
            let found = server.sql(&sql);
            assert_eq!(json!(found.rows[0][..2]), json!([all.rows.len(), there]), "{sql}");
            let sql = format!("select count(*) from (select \"{column}\" from {view} group by 1) v");
            let different: std::collections::HashSet<String> =
                all.rows.iter().map(|row| row[index].to_string()).collect();
            assert_eq!(server.sql(&sql).one(), &json!(different.len()), "{sql}");
        }
        assert_eq!(server.count(view), all.rows.len() as u64, "{view}");
    }
}

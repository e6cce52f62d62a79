//! The first thing that anyone tries: an anonymous visitor logs in, and all events are of one person.

use serde_json::{Value, json};

use super::{commit, objects};
use crate::harness::clients::{duckdb, pyiceberg_rows};
use crate::harness::sql::Rows;
use crate::harness::values::parsed;
use crate::harness::{Options, PROJECT, Server, skipped};

/// Python: `uuid.uuid5(uuid.UUID('932979b4-65c3-4424-8467-0b66ec27bc22'), 'phc_test:anon-1')`.
const PERSON: &str = "15d7166f-97a8-5ae6-96ff-c991dce047d6";
/// The same of `phc_test:ada`.
const NEVER_A_PERSON: &str = "bab20b67-5fa5-55f6-95ff-13bc8a2d2bb6";

const FIRST: &str = "01890000-0000-7000-8000-000000000001";
const SECOND: &str = "01890000-0000-7000-8000-000000000002";
const THIRD: &str = "01890000-0000-7000-8000-000000000003";

const EVENTS: &str = "uuid, event, distinct_id, person_id, person_created_at, person_properties, person_mode";
const PERSONS: &str = "operation, version, person_id, person_int_id, canonical_distinct_id, distinct_ids, \
    distinct_id_count, created_at, is_identified, is_deleted, merged_into, properties, properties_set_once, \
    merged_properties, api_key, source_event_uuid";
const OVERRIDES: &str = "distinct_id, person_id, old_person_id, version, api_key, source_event_uuid";

#[test]
fn an_anonymous_visitor_that_logs_in_is_one_person() {
    let mut server = Options::new().interval("1h").start();
    send_flow(&server);
    assert_eq!(server.snapshot_id("hogflare_events"), None, "the interval is an hour");
    check_sql(&server, "in memory");
    commit(&mut server);
    assert_eq!(server.committed_rows("hogflare_events"), 3);
    assert_eq!(server.committed_rows("hogflare_persons"), 2);
    check_sql(&server, "committed");
    if skipped("clients") {
        return;
    }
    check_pyiceberg(&server);
    check_duckdb(&server);
}

fn send_flow(server: &Server) {
    let send = |uuid: &str, minute: u32, name: &str, distinct_id: &str, properties: Value| {
        let timestamp = format!("2026-03-01T10:{minute:02}:00Z");
        let event = json!({
            "api_key": PROJECT, "uuid": uuid, "event": name, "distinct_id": distinct_id, "timestamp": timestamp,
            "properties": properties,
        });
        server.capture("/capture/", &event);
    };
    send(FIRST, 0, "page viewed", "anon-1", json!({"$set": {"plan": "free"}, "$set_once": {"source": "ad"}}));
    send(SECOND, 1, "$identify", "ada", json!({"$anon_distinct_id": "anon-1", "$set": {"email": "ada@example.com"}}));
    send(THIRD, 2, "order placed", "ada", json!({"amount": 5}));
}

fn expected_events() -> Value {
    let begun = json!({"plan": "free", "source": "ad"});
    let known = json!({"plan": "free", "source": "ad", "email": "ada@example.com"});
    let since = "2026-03-01T10:00:00.000000Z";
    json!([
        [FIRST, "page viewed", "anon-1", PERSON, since, begun, "full"],
        [SECOND, "$identify", "ada", PERSON, since, known, "full"],
        [THIRD, "order placed", "ada", PERSON, since, known, "full"],
    ])
}

fn expected_persons() -> Value {
    let since = "2026-03-01T10:00:00.000000Z";
    let once = json!({"source": "ad"});
    json!([
        [
            "capture", 1, PERSON, 1, "anon-1", ["anon-1"], 1, since, false, false, null, {"plan": "free"}, once,
            {"plan": "free", "source": "ad"}, PROJECT, FIRST
        ],
        [
            "identify", 2, PERSON, 1, "anon-1", ["anon-1", "ada"], 2, since, true, false, null,
            {"plan": "free", "email": "ada@example.com"}, once,
            {"plan": "free", "email": "ada@example.com", "source": "ad"}, PROJECT, SECOND
        ],
    ])
}

fn expected_overrides() -> Value {
    json!([["ada", PERSON, NEVER_A_PERSON, 2, PROJECT, SECOND]])
}

/// Columns of JSON are read, so that only their meaning is compared.
fn read(rows: &Rows) -> Value {
    const JSON: [&str; 5] =
        ["person_properties", "distinct_ids", "properties", "properties_set_once", "merged_properties"];
    let row = |row: &Vec<Value>| -> Vec<Value> {
        let values = rows.columns.iter().zip(row);
        values.map(|(name, value)| if JSON.contains(&name.as_str()) { parsed(value) } else { value.clone() }).collect()
    };
    json!(rows.rows.iter().map(row).collect::<Vec<_>>())
}

fn check_sql(server: &Server, place: &str) {
    let ask = |columns: &str, from: &str| read(&server.sql(&format!("select {columns} from {from}")));
    assert_eq!(ask(EVENTS, "hogflare_events order by uuid"), expected_events(), "{place}");
    assert_eq!(ask(PERSONS, "hogflare_persons order by version"), expected_persons(), "{place}");
    assert_eq!(ask(OVERRIDES, "hogflare_person_overrides"), expected_overrides(), "{place}");
    let resolved = "distinct_id, identity_id, resolved_person_id, has_person";
    let of_person = |id: &str| json!([id, PERSON, PERSON, true]);
    let expected = json!([of_person("anon-1"), of_person("ada"), of_person("ada")]);
    assert_eq!(ask(resolved, "events order by uuid"), expected, "{place}");
    let person = &objects(server, "select * from person_profiles", &["distinct_ids", "properties"])[0];
    let shown = json!([person["person_id"], person["distinct_ids"], person["email"], person["version"]]);
    assert_eq!(shown, json!([PERSON, ["anon-1", "ada"], "ada@example.com", 2]), "{place}");
}

fn check_pyiceberg(server: &Server) {
    let ask = |columns: &str, table: &str| {
        let columns: Vec<&str> = columns.split(", ").collect();
        pyiceberg_rows(server, table, &columns, Value::Null)
    };
    let sorted = |mut rows: Rows, column: &str| {
        let at = rows.columns.iter().position(|name| name == column).unwrap();
        rows.rows.sort_by_key(|row| row[at].to_string());
        read(&rows)
    };
    assert_eq!(sorted(ask(EVENTS, "hogflare_events"), "uuid"), expected_events(), "PyIceberg");
    assert_eq!(sorted(ask(PERSONS, "hogflare_persons"), "version"), expected_persons(), "PyIceberg");
    assert_eq!(read(&ask(OVERRIDES, "hogflare_person_overrides")), expected_overrides(), "PyIceberg");
}

fn check_duckdb(server: &Server) {
    let statements = [
        format!("select {EVENTS} from lake.\"default\".hogflare_events order by uuid"),
        format!("select {PERSONS} from lake.\"default\".hogflare_persons order by version"),
        format!("select {OVERRIDES} from lake.\"default\".hogflare_person_overrides"),
    ];
    let found = duckdb(server, server.read_token(), &statements).expect("DuckDB");
    let expected = [expected_events(), expected_persons(), expected_overrides()];
    for ((found, expected), statement) in found.iter().zip(expected).zip(&statements) {
        assert_eq!(read(found), expected, "DuckDB: {statement}");
    }
}

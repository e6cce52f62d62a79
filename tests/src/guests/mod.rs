//! Others write to our table: DuckDB changes rows and columns, PyIceberg appends, and ingest goes on.

mod pause;
mod tables;

use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::harness::audit::{self, Occurrences};
use crate::harness::clients::{Client, duckdb, pyiceberg_rows};
use crate::harness::load::{Load, Shape};
pub(crate) use tables::stock_client;

use crate::harness::{ADMIN, Options, PROJECT, Server, skipped, wait_for};

const LOAD: Shape = Shape { connections: 2, batch_max: 5, late_every: Some(9), pause: Duration::from_millis(10) };

/// Rows that DuckDB deletes, and as many that it updates.
const MARKED: usize = 200;

/// A guest meets our commits and tries again; the catalog must let it through before this many times.
const TRIES: usize = 200;

#[test]
fn duckdb_changes_rows_and_columns_while_events_arrive() {
    if skipped("clients") {
        return;
    }
    let mut server = Options::new().interval("300ms").admin().start();
    send_marked(&server, "doomed");
    let changed = send_marked(&server, "changed");
    wait_for("the marked rows", || (server.committed_rows("hogflare_events") == 2 * MARKED as u64).then_some(()));

    let load = Load::start(server.url(), &LOAD);
    let table = "lake.\"default\".hogflare_events";
    for statement in [
        format!("DELETE FROM {table} WHERE event = 'doomed'"),
        format!("UPDATE {table} SET browser = 'Lynx' WHERE event = 'changed'"),
        format!("ALTER TABLE {table} RENAME COLUMN city TO town"),
        format!("ALTER TABLE {table} ADD COLUMN note VARCHAR"),
        format!("UPDATE {table} SET note = 'seen' WHERE event = 'changed'"),
    ] {
        run_as_guest(&server, &statement);
        let acknowledged = load.acknowledged();
        wait_for("ingest after the guest", || (load.acknowledged() > acknowledged + 100).then_some(()));
        assert_marked(&server, &statement);
    }
    let in_tail_or_table = send_from(&server, "Köln");
    let sent = load.finish();
    let town = "select town from hogflare_events where uuid = $1";
    assert_eq!(*server.sql_with(town, &[json!(in_tail_or_table)]).one(), json!("Köln"));

    server.stop();
    server.restart();
    assert_eq!(*server.sql_with(town, &[json!(in_tail_or_table)]).one(), json!("Köln"));
    assert_sql_and_pyiceberg_agree(&server);
    Occurrences::ask(&server).assert_each_once(sent.acknowledged.iter().chain(&changed));
    assert_only_the_doomed_are_missing(&server);
}

/// Sends [`MARKED`] events of this name.
fn send_marked(server: &Server, event: &str) -> Vec<Uuid> {
    let uuids: Vec<Uuid> = (0..MARKED).map(|_| Uuid::now_v7()).collect();
    let batch: Vec<Value> = uuids
        .iter()
        .map(|uuid| {
            let properties = json!({"$browser": "Firefox", "$geoip_city_name": "Bonn"});
            json!({"event": event, "distinct_id": "marked", "uuid": uuid, "properties": properties})
        })
        .collect();
    server.capture("/batch/", &json!({"api_key": PROJECT, "batch": batch}));
    uuids
}

fn send_from(server: &Server, city: &str) -> Uuid {
    let uuid = Uuid::now_v7();
    let event = json!({"event": "from", "distinct_id": "d", "uuid": uuid, "properties": {"$geoip_city_name": city}});
    server.capture("/batch/", &json!({"api_key": PROJECT, "batch": [event]}));
    uuid
}

/// DuckDB does not try again after a conflict, so its user does.
fn run_as_guest(server: &Server, statement: &str) {
    for conflicts in 0..TRIES {
        match duckdb(server, ADMIN, &[statement.to_owned()]) {
            Ok(_) => {
                println!("{statement}: done after {conflicts} conflicts");
                return;
            }
            Err(error) => assert!(is_conflict(&error), "{statement}: {error}"),
        }
    }
    panic!("{statement}: no success in {TRIES} tries");
}

fn is_conflict(error: &str) -> bool {
    ["409", "onflict", "CommitFailed"].iter().any(|sign| error.contains(sign))
}

fn assert_marked(server: &Server, after: &str) {
    assert_eq!(server.count("hogflare_events where event = 'doomed'"), 0, "after {after}");
    let changed = server.sql("select browser, count(*) from hogflare_events where event = 'changed' group by browser");
    let browser = if after.starts_with("DELETE") { "Firefox" } else { "Lynx" };
    assert_eq!(changed.rows, [[json!(browser), json!(MARKED)]], "after {after}");
}

/// Every row, every column by its present name.
fn assert_sql_and_pyiceberg_agree(server: &Server) {
    let ours = by_uuid(server.sql("select * from hogflare_events").objects());
    let theirs = by_uuid(pyiceberg_rows(server, "hogflare_events", &[], Value::Null).objects());
    assert_eq!(ours.len(), theirs.len(), "rows in SQL and in PyIceberg");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    let first = &ours[0];
    assert!(first.contains_key("town") && first.contains_key("note") && !first.contains_key("city"), "{first:?}");
}

fn by_uuid(mut rows: Vec<Map<String, Value>>) -> Vec<Map<String, Value>> {
    rows.sort_by(|a, b| a["uuid"].as_str().cmp(&b["uuid"].as_str()));
    for row in &mut rows {
        row.sort_keys();
    }
    rows
}

fn assert_only_the_doomed_are_missing(server: &Server) {
    let missing = server.sql(
        "select cast(sum(last - rows) as bigint), cast(sum(rows - positions) as bigint) from \
            (select max(_position) as last, count(*) as rows, count(distinct _position) as positions \
             from hogflare_events group by _writer)",
    );
    assert_eq!(missing.rows, [[json!(MARKED), json!(0)]], "positions missing, positions doubled");
}

/// Separate processes over HTTP, each with several commits of its own.
const APPENDERS: usize = 16;
const COMMITS_EACH: usize = 2;

#[test]
fn sixteen_pyiceberg_processes_commit_beside_ours() {
    if skipped("clients") {
        return;
    }
    let mut server = Options::new().interval("2s").admin().start();
    let load = Load::start(server.url(), &LOAD);
    let mut guests: Vec<Client> = (0..APPENDERS).map(|_| Client::python("pyiceberg_client.py")).collect();
    let mut uuids: Vec<Uuid> = Vec::new();
    for guest in &mut guests {
        let rows: Vec<Uuid> = (0..COMMITS_EACH).map(|_| Uuid::now_v7()).collect();
        guest.send(&json!({
            "op": "append", "table": "hogflare_events", "uri": server.iceberg_url(), "token": ADMIN,
            "tries": TRIES, "rows": rows.iter().map(guest_row).collect::<Vec<_>>(),
        }));
        uuids.extend(rows);
    }
    let mut conflicts = 0;
    for guest in &mut guests {
        let answer = guest.answer().expect("a guest failed");
        assert_eq!(answer["commits"], COMMITS_EACH, "a guest gave up");
        conflicts += answer["conflicts"].as_u64().expect("number");
    }
    let sent = load.finish();
    println!("{APPENDERS} guests, {} commits, {conflicts} conflicts, {} events", uuids.len(), sent.acknowledged.len());

    server.stop();
    server.restart();
    uuids.extend(&sent.acknowledged);
    Occurrences::ask(&server).assert_each_once(&uuids);
    audit::assert_positions_have_no_gap(&server);
    let committed = audit::assert_committed_positions_have_no_gap(&server);
    assert_eq!(committed, server.count("hogflare_events"));
    assert_eq!(server.count("hogflare_events where event = 'guest'"), (APPENDERS * COMMITS_EACH) as u64);
}

/// A row of someone who does not know `_writer` and `_position`.
fn guest_row(uuid: &Uuid) -> Value {
    json!({
        "uuid": uuid, "source": "guest", "event": "guest", "distinct_id": "guest", "properties": "{}",
        "timestamp": "2024-05-06T07:08:09Z", "created_at": "2024-05-06T07:08:09Z", "api_key": PROJECT,
    })
}

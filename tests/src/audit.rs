//! `hogflare audit`: quiet about what is well or stated, and never about what is damaged.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result};
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{Catalog, TableIdent};
use serde_json::{Value, json};

use crate::guests::stock_client;
use crate::harness::clients::duckdb;
use crate::harness::load::{Load, Shape};
use crate::harness::{ADMIN, Options, PROJECT, Server, http, skipped};
use crate::oracle::added_files;

const LOAD: Shape = Shape { connections: 3, batch_max: 8, late_every: Some(7), pause: Duration::from_millis(3) };

/// Audits while events arrive and commits pass, and the commits that must have passed meanwhile.
const AUDITS: usize = 12;
const COMMITS: usize = 5;

/// Sends this many events of a name.
fn send(server: &Server, name: &str, count: usize) {
    let batch: Vec<Value> = (0..count).map(|_| json!({"event": name, "distinct_id": "d"})).collect();
    server.capture("/batch/", &json!({"api_key": PROJECT, "batch": batch}));
}

/// A server with these many events in its table, one commit each.
fn with_commits(counts: &[usize]) -> Server {
    let mut server = Options::new().admin().start();
    for count in counts {
        send(&server, "kept", *count);
        server.stop();
        server.restart();
    }
    server
}

/// Runs the audit and gives the table `events` of its report.
fn audit(server: &Server, status: i32) -> Value {
    let output = server.run(&["audit", "--json"]);
    assert_eq!(output.status.code(), Some(status), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], status == 0, "{report}");
    let text = server.run(&["audit"]);
    assert_eq!(text.status.code(), Some(status), "{}", said(&text));
    println!("{}", said(&text));
    let last = if status == 0 { "OK: " } else { "NOT OK: " };
    assert!(said(&text).lines().any(|line| line.starts_with(last)), "{}", said(&text));
    report["tables"][0].clone()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_healthy_server_is_found_healthy() {
    let server = with_commits(&[30, 20]);
    send(&server, "on its way", 7);
    let late = json!({"event": "late", "distinct_id": "d", "timestamp": "2020-01-01T00:00:00Z"});
    server.capture("/batch/", &json!({"api_key": PROJECT, "batch": [late], "historical_migration": true}));
    let events = audit(&server, 0);
    assert_eq!((&events["rows"], &events["rows_in_table"]), (&json!(58), &json!(50)));
    let sequences = events["sequences"].as_array().expect("sequences");
    let main = (&sequences[0]["slot"], &sequences[0]["last"], &sequences[0]["watermark"], &sequences[0]["logged"]);
    assert_eq!(main, (&json!("main"), &json!(57), &json!(50), &json!(57)));
    assert_eq!((&sequences[1]["slot"], &sequences[1]["last"]), (&json!("late"), &json!(1)));

    let unreachable = server.run(&["audit", "--url", "http://127.0.0.1:1"]);
    assert_eq!(unreachable.status.code(), Some(2), "{}", said(&unreachable));
    let stranger = server.run(&["audit", "--token", "not-a-token"]);
    assert_eq!(stranger.status.code(), Some(2), "{}", said(&stranger));
    assert!(said(&stranger).contains("read token"), "{}", said(&stranger));
}

#[test]
fn an_audit_sees_one_instant_while_rows_arrive_and_move() {
    let server = Options::new().interval("300ms").start();
    let load = Load::start(server.url(), &LOAD);
    let (mut audits, mut snapshots, mut last) = (0, std::collections::BTreeSet::new(), 0);
    while audits < AUDITS || snapshots.len() < COMMITS {
        let acknowledged = load.acknowledged() as u64;
        let events = audit(&server, 0);
        let rows = events["rows"].as_u64().expect("rows");
        assert!(rows >= acknowledged && rows >= last, "{rows} rows, {acknowledged} acknowledged, {last} before");
        snapshots.extend(events["snapshot_id"].as_str().map(str::to_owned));
        (audits, last) = (audits + 1, rows);
    }
    load.finish();
}

#[test]
fn rows_that_a_guest_deleted_are_explained() {
    if skipped("clients") {
        return;
    }
    let mut server = Options::new().admin().start();
    send(&server, "kept", 20);
    send(&server, "doomed", 6);
    send(&server, "kept", 20);
    server.stop();
    server.restart();
    send(&server, "on its way", 3);
    let table = "lake.\"default\".hogflare_events";
    duckdb(&server, ADMIN, &[format!("UPDATE {table} SET browser = 'Lynx' WHERE event = 'kept'")]).unwrap();
    assert_eq!(audit(&server, 0)["missing"]["total"], 0, "updated rows keep their positions");
    duckdb(&server, ADMIN, &[format!("DELETE FROM {table} WHERE event = 'doomed'")]).unwrap();
    let events = audit(&server, 0);
    let missing = &events["missing"];
    assert_eq!((&missing["total"], &missing["by_guests"], &missing["unexplained"]), (&json!(6), &json!(6), &json!(0)));
    assert_eq!(events["sequences"][0]["missing_ranges"], json!([[21, 26]]));
    assert_eq!((&events["rows"], &events["rows_in_table"]), (&json!(43), &json!(40)));
    server.stop();
    server.restart();
    assert_eq!(audit(&server, 0)["rows_in_table"], 43);
}

#[test]
fn a_file_that_is_in_the_table_twice_is_found() {
    let server = with_commits(&[12, 5]);
    assert_eq!(audit(&server, 0)["rows"], 17);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(append_again(&server)).unwrap();
    let events = audit(&server, 1);
    assert_eq!((&events["rows"], &events["sequences"][0]["repeated"]), (&json!(22), &json!(5)));
    assert_eq!(events["sequences"][0]["repeated_positions"], json!([13, 14, 15, 16, 17]));
    let problem = events["problems"][0].as_str().expect("a problem");
    assert!(problem.contains("5 rows") && problem.contains("repeat"), "{problem}");
}

/// Appends the newest file once more.
async fn append_again(server: &Server) -> Result<()> {
    let catalog = stock_client(server).await?;
    let table = catalog.load_table(&TableIdent::from_strs(["default", "hogflare_events"])?).await?;
    let snapshot = table.metadata().current_snapshot().context("no snapshot")?;
    let files = added_files(&table, snapshot).await?;
    let transaction = Transaction::new(&table);
    let append = transaction.fast_append().with_check_duplicate(false).add_data_files(files);
    append.apply(transaction)?.commit(&catalog).await?;
    Ok(())
}

#[test]
fn rows_that_are_lost_are_found() {
    let server = with_commits(&[12, 5]);
    // A snapshot that says to append and has the files of the first one.
    let metadata = &server.load_table("hogflare_events")["metadata"];
    let mut snapshots = metadata["snapshots"].as_array().expect("snapshots").clone();
    snapshots.sort_by_key(|snapshot| snapshot["sequence-number"].as_i64());
    let [first, current] = snapshots.as_slice() else { panic!("not two snapshots: {snapshots:?}") };
    let lossy = json!({
        "snapshot-id": 4711, "parent-snapshot-id": current["snapshot-id"],
        "sequence-number": current["sequence-number"].as_i64().expect("number") + 1,
        "timestamp-ms": current["timestamp-ms"].as_i64().expect("time") + 1,
        "manifest-list": first["manifest-list"], "schema-id": current["schema-id"],
        "summary": {"operation": "append", "total-records": "12"},
    });
    let update = json!({"requirements": [], "updates": [
        {"action": "add-snapshot", "snapshot": lossy},
        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 4711},
    ]});
    let url = format!("{}/v1/namespaces/default/tables/hogflare_events", server.iceberg_url());
    let headers = [("authorization", &*format!("Bearer {ADMIN}")), ("content-type", "application/json")];
    let answer = http::send("POST", &url, &headers, Some(update.to_string().as_bytes())).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let events = audit(&server, 1);
    assert_eq!(events["missing"]["unexplained"], 5);
    assert_eq!(events["sequences"][0]["missing_ranges"], json!([[13, 17]]));
}

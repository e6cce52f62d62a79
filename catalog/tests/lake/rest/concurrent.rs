//! Many guests at once: history stays a line, and a refused commit left nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{guest, load, make_tables, metadata_files, opened_with_rows, table_path};
use crate::harness::Opened;

const THREADS: usize = 16;
const COMMITS_EACH: usize = 20;

/// Every third commit is a transaction of both tables.
#[tokio::test]
async fn sixteen_threads_commit_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["a", "b"]);
    let (ids, conflicts) = (AtomicI64::new(1), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (opened, ids, conflicts) = (&opened, &ids, &conflicts);
            scope.spawn(move || {
                for round in 0..COMMITS_EACH {
                    let tables: &[&str] = match (thread + round) % 3 {
                        0 => &["a", "b"],
                        1 => &["a"],
                        _ => &["b"],
                    };
                    while !commit_on_head(opened, tables, ids.fetch_add(1, Ordering::Relaxed)) {
                        conflicts.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    println!("{} commits, {} conflicts", THREADS * COMMITS_EACH, conflicts.into_inner());
    let (a, b) = (line(&opened, "a"), line(&opened, "b"));
    let both = a.intersection(&b).count();
    let rounds = || (0..THREADS).flat_map(|thread| (0..COMMITS_EACH).map(move |round| (thread + round) % 3));
    let of = |kind: usize| rounds().filter(|round| *round == kind).count();
    assert_eq!((both, a.len(), b.len()), (of(0), of(0) + of(1), of(0) + of(2)), "both, a, b");
    for (name, commits) in [("a", a.len()), ("b", b.len())] {
        assert_eq!(metadata_files(&opened, name).len(), commits + 1, "{name}: files of refused commits are gone");
    }
}

/// Whether a snapshot of this id came onto the heads of all tables.
fn commit_on_head(opened: &Opened, tables: &[&str], id: i64) -> bool {
    let changes: Vec<Value> = tables.iter().map(|name| change(&load(opened, name)["metadata"], name, id)).collect();
    let (status, answer) = match changes.as_slice() {
        [single] => guest(opened, "POST", &table_path(tables[0]), single),
        several => guest(opened, "POST", "/v1/transactions/commit", &json!({"table-changes": several})),
    };
    assert!([200, 204, 409].contains(&status), "{answer}");
    status != 409
}

fn change(metadata: &Value, name: &str, id: i64) -> Value {
    let head = metadata["current-snapshot-id"].as_i64().filter(|id| *id >= 0);
    let mut snapshot = json!({
        "snapshot-id": id,
        "sequence-number": metadata["last-sequence-number"].as_i64().unwrap() + 1,
        "timestamp-ms": metadata["last-updated-ms"].as_i64().unwrap() + 1,
        "manifest-list": format!("{}/metadata/{id}.avro", metadata["location"].as_str().unwrap()),
        "schema-id": 0,
        "summary": {"operation": "append"},
    });
    if let Some(head) = head {
        snapshot["parent-snapshot-id"] = json!(head);
    }
    json!({
        "identifier": {"namespace": ["lab"], "name": name},
        "requirements": [{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": head}],
        "updates": [
            {"action": "add-snapshot", "snapshot": snapshot},
            {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id},
        ],
    })
}

/// The ids of the table's snapshots, each the only child of the one before.
fn line(opened: &Opened, name: &str) -> BTreeSet<i64> {
    let metadata = &load(opened, name)["metadata"];
    let mut snapshots = metadata["snapshots"].as_array().unwrap().clone();
    snapshots.sort_by_key(|snapshot| snapshot["sequence-number"].as_i64());
    let mut parent = Value::Null;
    for (index, snapshot) in snapshots.iter().enumerate() {
        assert_eq!(snapshot["sequence-number"], index + 1, "{name}");
        assert_eq!(snapshot["parent-snapshot-id"], parent, "{name}");
        parent = snapshot["snapshot-id"].clone();
    }
    assert_eq!(metadata["current-snapshot-id"], parent, "{name}");
    snapshots.iter().map(|snapshot| snapshot["snapshot-id"].as_i64().unwrap()).collect()
}

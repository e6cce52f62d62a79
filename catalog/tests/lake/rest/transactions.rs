//! Several tables in one transaction: all or none.

use hogflare_catalog::embedded::Origin;
use iceberg::TableIdent;
use iceberg_catalog_rest::CommitTableRequest;
use serde_json::{Value, json};

use super::{check, guest, load, make_tables, metadata_files, opened_with_rows, schema, table_path};
use crate::harness::Opened;

const COMMIT: (&str, &str) = ("POST", "/v1/transactions/commit");

fn note(table: &str, requirements: Value) -> Value {
    json!({"identifier": {"namespace": ["lab"], "name": table}, "requirements": requirements,
        "updates": [{"action": "set-properties", "updates": {"note": "x"}}]})
}

fn transaction(changes: &[Value]) -> Value {
    json!({"table-changes": changes})
}

/// Metadata locations, and the files that are there.
fn state(opened: &Opened, tables: &[&str]) -> Vec<(Value, Vec<String>)> {
    let of = |name: &&str| (load(opened, name)["metadata-location"].clone(), metadata_files(opened, name));
    tables.iter().map(of).collect()
}

#[tokio::test]
async fn a_transaction_changes_all_its_tables_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["a", "b"]);
    let before = state(&opened, &["a", "b"]);
    let stale = json!([{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 1}]);
    let mut nameless = note("a", json!([]));
    nameless.as_object_mut().unwrap().remove("identifier");
    let unknown = json!({"identifier": {"namespace": ["lab"], "name": "b"}, "requirements": [],
        "updates": [{"action": "set-current-schema", "schema-id": 9}]});
    let rollback = json!({"identifier": {"namespace": ["default"], "name": "hogflare_events"}, "requirements": [],
        "updates": [{"action": "remove-snapshot-ref", "ref-name": "main"}]});
    let outside = json!({"identifier": {"namespace": ["lab"], "name": "b"}, "requirements": [],
        "updates": [{"action": "set-location", "location": "file:///elsewhere"}]});
    for (second, status, kind) in [
        (note("b", stale), 409, "CommitFailedException"),
        (note("none", json!([])), 404, "NoSuchTableException"),
        (note("../b", json!([])), 400, "BadRequestException"),
        (note("a", json!([])), 400, "BadRequestException"),
        (nameless, 400, "BadRequestException"),
        (unknown, 400, "BadRequestException"),
        (rollback, 400, "BadRequestException"),
        (outside, 400, "BadRequestException"),
    ] {
        let body = transaction(&[note("a", json!([])), second.clone()]);
        check(&opened, COMMIT, body, status, Some(kind));
        assert_eq!(state(&opened, &["a", "b"]), before, "after {second}");
    }
    check(&opened, COMMIT, transaction(&[note("a", json!([])), note("b", json!([]))]), 204, None);
    for (name, (location, files)) in ["a", "b"].iter().zip(&before) {
        let now = load(&opened, name);
        assert_eq!(now["metadata"]["properties"]["note"], "x");
        assert_ne!(now["metadata-location"], *location);
        assert_eq!(metadata_files(&opened, name).len(), files.len() + 1);
    }
    check(&opened, COMMIT, transaction(&[]), 204, None);
}

#[tokio::test]
async fn a_transaction_creates_staged_tables() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["a"]);
    let warehouse = opened.catalog.warehouse_location();
    let create = |name: &str, location: &str| {
        let updates = json!([{"action": "add-schema", "schema": schema()},
            {"action": "set-location", "location": format!("{warehouse}/lab/{location}")}]);
        json!({"identifier": {"namespace": ["lab"], "name": name}, "requirements": [{"type": "assert-create"}],
            "updates": updates})
    };
    for shared in ["new", "new/inside"] {
        let body = transaction(&[create("new", "new"), create("second", shared)]);
        check(&opened, COMMIT, body, 400, Some("BadRequestException"));
    }
    check(&opened, ("GET", &table_path("new")), json!(null), 404, Some("NoSuchTableException"));
    let body = transaction(&[create("new", "new"), note("a", json!([])), create("second", "second")]);
    check(&opened, COMMIT, body.clone(), 204, None);
    assert_eq!(load(&opened, "a")["metadata"]["properties"]["note"], "x");
    let before = state(&opened, &["a", "new", "second"]);
    check(&opened, COMMIT, body, 409, Some("CommitFailedException"));
    assert_eq!(state(&opened, &["a", "new", "second"]), before);
}

/// The database or the disk fails between the first and the second table.
#[tokio::test]
async fn a_failure_in_the_middle_changes_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["a", "b"]);
    let both = || transaction(&[note("a", json!([])), note("b", json!([]))]);
    let before = state(&opened, &["a", "b"]);

    let database = rusqlite::Connection::open(folder.path().join("catalog.sqlite")).unwrap();
    let trigger = "CREATE TRIGGER fails BEFORE UPDATE ON tables WHEN NEW.name = 'b' \
                   BEGIN SELECT RAISE(ABORT, 'out of order'); END";
    database.execute_batch(trigger).unwrap();
    check(&opened, COMMIT, both(), 500, Some("InternalServerError"));
    database.execute_batch("DROP TRIGGER fails").unwrap();
    assert_eq!(state(&opened, &["a", "b"]), before, "the database failed");

    let metadata = folder.path().join("warehouse/lab/b/metadata");
    let away = metadata.with_extension("away");
    std::fs::rename(&metadata, &away).unwrap();
    std::fs::write(&metadata, "no folder").unwrap();
    check(&opened, COMMIT, both(), 500, Some("InternalServerError"));
    std::fs::remove_file(&metadata).unwrap();
    std::fs::rename(&away, &metadata).unwrap();
    assert_eq!(state(&opened, &["a", "b"]), before, "the disk failed");

    check(&opened, COMMIT, both(), 204, None);
    drop(opened);
    let opened = crate::harness::open(folder.path(), 7);
    for name in ["a", "b"] {
        assert_eq!(load(&opened, name)["metadata"]["properties"]["note"], "x", "after a restart");
    }
}

/// Our own code may commit to several tables too; what queries see follows.
#[tokio::test]
async fn tables_of_ours_can_be_committed_together() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["a"]);
    let request = |change: Value| -> CommitTableRequest { serde_json::from_value(change).unwrap() };
    let ours = TableIdent::from_strs(["default", "hogflare_events"]).unwrap();
    let theirs = TableIdent::from_strs(["lab", "a"]).unwrap();
    let changes = |requirements: Value| {
        vec![(ours.clone(), request(note("x", json!([])))), (theirs.clone(), request(note("a", requirements)))]
    };
    let shown = || opened.views.current().head(hogflare_catalog::Table::Events).unwrap().metadata_location.clone();
    let before = shown();
    let stale = json!([{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 1}]);
    assert_eq!(opened.catalog.commit_tables(changes(stale), Origin::Ours).unwrap_err().status, 409);
    assert_eq!(shown(), before);
    let loaded = opened.catalog.commit_tables(changes(json!([])), Origin::Ours).unwrap();
    assert_eq!(loaded.len(), 2);
    assert_eq!(shown(), loaded[0].metadata_location);
    assert_eq!(guest(&opened, "GET", super::TABLE, &json!(null)).1["metadata-location"], shown());
}

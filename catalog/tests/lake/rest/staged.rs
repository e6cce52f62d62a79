//! Tables that are staged and created by the commit that fills them.

use serde_json::{Value, json};

use super::{check, guest, load, make_tables, opened_with_rows, table_path};

/// A schema whose ids are neither in order nor those that a new table would get.
fn numbered_schema() -> Value {
    json!({"type": "struct", "schema-id": 0, "fields": [
        {"id": 7, "name": "day", "type": "date", "required": true},
        {"id": 3, "name": "note", "type": "string", "required": false}]})
}

/// What a client sends after it staged a table: everything from the first schema on.
fn creation_updates(location: &str) -> Value {
    json!([
        {"action": "assign-uuid", "uuid": "11111111-1111-4111-8111-111111111111"},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "add-schema", "schema": numbered_schema(), "last-column-id": 7},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-spec", "spec": {"spec-id": 4, "fields": [
            {"source-id": 7, "field-id": 1005, "name": "day", "transform": "identity"}]}},
        {"action": "set-default-spec", "spec-id": -1},
        {"action": "add-sort-order", "sort-order": {"order-id": 2, "fields": [
            {"transform": "identity", "source-id": 3, "direction": "asc", "null-order": "nulls-first"}]}},
        {"action": "set-default-sort-order", "sort-order-id": -1},
        {"action": "set-location", "location": location},
        {"action": "set-properties", "updates": {"owner": "me"}},
        {"action": "add-snapshot", "snapshot": {
            "snapshot-id": 5, "sequence-number": 1, "timestamp-ms": 1_700_000_000_000_i64,
            "manifest-list": format!("{location}/metadata/list.avro"), "schema-id": 0,
            "summary": {"operation": "append"}}},
        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 5},
    ])
}

#[tokio::test]
async fn a_staged_table_is_created_by_its_first_commit() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &[]);
    let tables = "/v1/namespaces/lab/tables";
    let staged = json!({"name": "t", "schema": numbered_schema(), "properties": {}, "stage-create": true});
    let (status, answer) = guest(&opened, "POST", tables, &staged);
    assert_eq!(status, 200, "{answer}");
    assert!(answer["metadata-location"].is_null(), "nothing is stored yet: {answer}");
    let location = answer["metadata"]["location"].as_str().unwrap();
    for part in ["metadata", "data"] {
        assert!(std::path::Path::new(&location.replace("file://", "")).join(part).is_dir(), "{part}");
    }
    let path = table_path("t");
    check(&opened, ("GET", &path), json!(null), 404, Some("NoSuchTableException"));

    let create = json!([{"type": "assert-create"}]);
    let updates = creation_updates(location);
    let commit = json!({"requirements": create, "updates": updates});
    check(&opened, ("POST", &path), json!({"requirements": [], "updates": updates}), 404, Some("NoSuchTableException"));
    check(&opened, ("POST", &path), commit.clone(), 200, None);
    let metadata = &load(&opened, "t")["metadata"];
    for (name, expected) in [
        ("table-uuid", json!("11111111-1111-4111-8111-111111111111")),
        ("location", json!(location)),
        ("format-version", json!(2)),
        ("last-column-id", json!(7)),
        ("current-schema-id", json!(0)),
        ("default-spec-id", json!(4)),
        ("last-partition-id", json!(1005)),
        ("default-sort-order-id", json!(2)),
        ("current-snapshot-id", json!(5)),
        ("properties", json!({"owner": "me"})),
    ] {
        assert_eq!(metadata[name], expected, "{name}");
    }
    assert_eq!(metadata["schemas"].as_array().unwrap().len(), 1);
    assert_eq!(metadata["schemas"][0]["fields"], numbered_schema()["fields"], "ids are those of the data files");
    assert_eq!(metadata["partition-specs"].as_array().unwrap().len(), 1);
    check(&opened, ("POST", &path), commit, 409, Some("CommitFailedException"));
    check(&opened, ("POST", tables), staged, 409, Some("AlreadyExistsException"));
}

#[tokio::test]
async fn a_creating_commit_is_checked_like_a_creation() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["other"]);
    let warehouse = opened.catalog.warehouse_location();
    let minimal = json!([{"action": "add-schema", "schema": numbered_schema()}]);
    let at = |location: &str| {
        let location = json!({"action": "set-location", "location": location});
        json!([{"action": "add-schema", "schema": numbered_schema()}, location])
    };
    let third = json!([{"action": "upgrade-format-version", "format-version": 3},
        {"action": "add-schema", "schema": numbered_schema()}]);
    let wrong_spec = json!([{"action": "add-schema", "schema": numbered_schema()},
        {"action": "add-spec", "spec": {"fields": [{"source-id": 99, "name": "x", "transform": "identity"}]}}]);
    for (path, updates) in [
        (table_path("t"), json!([])),
        (table_path("t"), third),
        (table_path("t"), wrong_spec),
        (table_path("t"), at("file:///elsewhere/t")),
        (table_path("t"), at(&format!("{warehouse}/lab/../../t"))),
        (table_path("t"), at(&format!("{warehouse}/lab/other"))),
        (table_path("t"), at(&format!("{warehouse}/lab/other/data"))),
        (table_path("t"), at(&format!("{warehouse}/default"))),
        ("/v1/namespaces/lab/tables/%2E%2E".to_owned(), minimal.clone()),
    ] {
        let commit = json!({"requirements": [{"type": "assert-create"}], "updates": updates});
        check(&opened, ("POST", &path), commit, 400, Some("BadRequestException"));
    }
    let commit = json!({"requirements": [{"type": "assert-create"}], "updates": minimal});
    let none = "/v1/namespaces/none/tables/t";
    check(&opened, ("POST", none), commit.clone(), 404, Some("NoSuchNamespaceException"));
    let contradiction = json!({"requirements": [{"type": "assert-create"},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 1}], "updates": minimal});
    check(&opened, ("POST", &table_path("t")), contradiction, 409, Some("CommitFailedException"));
    check(&opened, ("POST", &table_path("t")), commit, 200, None);
    assert!(load(&opened, "t")["metadata"]["location"].as_str().unwrap().starts_with(&warehouse));
}

#[tokio::test]
async fn a_first_format_table_can_be_created_too() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &[]);
    let updates = json!([{"action": "upgrade-format-version", "format-version": 1},
        {"action": "add-schema", "schema": numbered_schema()}, {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-spec", "spec": {"spec-id": 0, "fields": []}}, {"action": "set-default-spec", "spec-id": -1}]);
    let commit = json!({"requirements": [{"type": "assert-create"}], "updates": updates});
    check(&opened, ("POST", &table_path("old")), commit, 200, None);
    assert_eq!(load(&opened, "old")["metadata"]["format-version"], 1);
}

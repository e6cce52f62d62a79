//! The REST protocol of the embedded catalog, and what a guest may not do.

use bytes::Bytes;
use hogflare_catalog::Table;
use hogflare_catalog::embedded::{Access, RestRequest, rest};
use serde_json::{Value, json};

use crate::harness::{Opened, open};

const TABLE: &str = "/v1/namespaces/default/tables/hogflare_events";

fn ask(opened: &Opened, access: Access, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let request = RestRequest { method, path, query, body: Bytes::from(body.to_string()) };
    let answer = rest(&request, &opened.catalog, access);
    (answer.status, answer.body.map(|body| serde_json::from_slice(&body).unwrap()).unwrap_or_default())
}

async fn opened_with_rows(folder: &std::path::Path) -> Opened {
    let mut opened = open(folder, 1);
    opened.make_ready().await;
    for _ in 0..2 {
        opened.append(3, 20_000);
        opened.lake.finish().await.unwrap();
    }
    opened
}

#[tokio::test]
async fn statuses_and_error_names_are_those_of_the_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    let schema = json!({"type": "struct", "schema-id": 0, "fields": [
        {"id": 1, "name": "a", "type": "string", "required": false}]});
    let table = |name: &str| json!({"name": name, "schema": schema, "properties": {}});
    let check = |method: &str, path: &str, body: Value, status: u16, kind: Option<&str>| {
        let (answered, body) = ask(&opened, Access::Write, method, path, &body);
        assert_eq!(answered, status, "{method} {path}: {body}");
        assert_eq!(body["error"]["type"].as_str(), kind, "{method} {path}");
    };
    check("GET", "/v1/config", json!(null), 200, None);
    check("GET", "/v1/config?warehouse=hogflare", json!(null), 200, None);
    check("GET", "/v1/config?warehouse=other", json!(null), 404, Some("NotFoundException"));
    check("GET", "/v1/namespaces", json!(null), 200, None);
    check("HEAD", "/v1/namespaces/default", json!(null), 204, None);
    check("HEAD", "/v1/namespaces/nothing", json!(null), 404, Some("NoSuchNamespaceException"));
    check("POST", "/v1/namespaces", json!({"namespace": ["lab"]}), 200, None);
    check("POST", "/v1/namespaces", json!({"namespace": ["lab"]}), 409, Some("AlreadyExistsException"));
    check("POST", "/v1/namespaces", json!({"namespace": ["../up"]}), 400, Some("BadRequestException"));
    check("POST", "/v1/namespaces/lab/tables", table("mine"), 200, None);
    check("POST", "/v1/namespaces/lab/tables", table("mine"), 409, Some("AlreadyExistsException"));
    check("POST", "/v1/namespaces/lab/tables", table("../mine"), 400, Some("BadRequestException"));
    let ours = format!("{}/default/hogflare_events", opened.catalog.warehouse_location());
    let placed = |location: String| json!({"name": "copy", "schema": schema, "properties": {}, "location": location});
    check("POST", "/v1/namespaces/lab/tables", placed(ours.clone()), 400, Some("BadRequestException"));
    check("POST", "/v1/namespaces/lab/tables", placed(format!("{ours}/data")), 400, Some("BadRequestException"));
    check(
        "POST",
        "/v1/namespaces/lab/tables",
        placed("file:///elsewhere".to_owned()),
        400,
        Some("BadRequestException"),
    );
    // A name that a URL would read as the folder above stays a name.
    check("POST", "/v1/namespaces", json!({"namespace": ["%2e%2e"]}), 200, None);
    check("POST", "/v1/namespaces/%252e%252e/tables", table("t"), 200, None);
    assert!(folder.path().join("warehouse/%2e%2e/t/metadata").is_dir());
    check("POST", "/v1/namespaces/none/tables", table("mine"), 404, Some("NoSuchNamespaceException"));
    check("DELETE", "/v1/namespaces/lab", json!(null), 409, Some("NamespaceNotEmptyException"));
    check("HEAD", "/v1/namespaces/lab/tables/mine", json!(null), 204, None);
    check("GET", "/v1/namespaces/lab/tables/other", json!(null), 404, Some("NoSuchTableException"));
    check("GET", "/v1/namespaces/lab/tables/mine/credentials", json!(null), 200, None);
    check("POST", "/v1/namespaces/lab/tables/mine/metrics", json!({}), 204, None);
    let stale = json!({"requirements": [{"type": "assert-table-uuid", "uuid": "00000000-0000-4000-8000-000000000000"}],
        "updates": []});
    check("POST", TABLE, stale, 409, Some("CommitFailedException"));
    check(
        "POST",
        TABLE,
        json!({"updates": [{"action": "no-such-action"}], "requirements": []}),
        400,
        Some("BadRequestException"),
    );
    check("DELETE", "/v1/namespaces/lab/tables/mine?purgeRequested=False", json!(null), 204, None);
    check("DELETE", "/v1/namespaces/lab", json!(null), 204, None);
    check("POST", "/v1/transactions/commit", json!({}), 404, Some("NoSuchEndpointException"));
}

#[tokio::test]
async fn a_read_token_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    for (method, path) in [
        ("POST", "/v1/namespaces"),
        ("DELETE", "/v1/namespaces/default"),
        ("POST", "/v1/namespaces/default/tables"),
        ("POST", TABLE),
        ("DELETE", TABLE),
    ] {
        assert_eq!(ask(&opened, Access::Read, method, path, &json!({})).0, 403, "{method} {path}");
    }
    assert_eq!(ask(&opened, Access::Read, "GET", TABLE, &json!(null)).0, 200);
}

#[tokio::test]
async fn guests_cannot_break_our_tables() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = opened_with_rows(folder.path()).await;
    let view = opened.views.current();
    let metadata = &view.head(Table::Events).unwrap().metadata;
    let head = metadata.current_snapshot_id().unwrap();
    let first = metadata.current_snapshot().unwrap().parent_snapshot_id().unwrap();
    let writer = opened.views.writer().watermark_property(hogflare_catalog::Slot::Main);
    let mut schema = serde_json::to_value(metadata.current_schema().as_ref()).unwrap();
    schema["fields"].as_array_mut().unwrap().retain(|field| field["name"] != "_position");
    let mut required = serde_json::to_value(metadata.current_schema().as_ref()).unwrap();
    let fields = required["fields"].as_array_mut().unwrap();
    fields.iter_mut().filter(|field| field["name"] == "session_id").for_each(|field| field["required"] = json!(true));
    let commit =
        |updates: Value| ask(&opened, Access::Write, "POST", TABLE, &json!({"requirements": [], "updates": updates}));
    for updates in [
        json!([{"action": "set-properties", "updates": {writer.clone(): "9:1:1"}}]),
        json!([{"action": "remove-properties", "removals": [writer]}]),
        json!([{"action": "set-location", "location": "file:///elsewhere"}]),
        json!([{"action": "assign-uuid", "uuid": "00000000-0000-4000-8000-000000000000"}]),
        json!([{"action": "upgrade-format-version", "format-version": 3}]),
        json!([{"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": first}]),
        json!([{"action": "set-snapshot-ref", "ref-name": "main", "type": "tag", "snapshot-id": head}]),
        json!([{"action": "add-schema", "schema": required}, {"action": "set-current-schema", "schema-id": -1}]),
        json!([{"action": "remove-snapshot-ref", "ref-name": "main"}]),
        json!([{"action": "remove-snapshots", "snapshot-ids": [head]}]),
        json!([{"action": "add-schema", "schema": schema}, {"action": "set-current-schema", "schema-id": -1}]),
    ] {
        let (status, body) = commit(updates.clone());
        assert_eq!(status, 400, "{updates}: {body}");
        assert!(body["error"]["message"].as_str().unwrap().len() > 20, "{body}");
    }
    let tag = json!([{"action": "set-snapshot-ref", "ref-name": "audit", "type": "tag", "snapshot-id": first}]);
    assert_eq!(commit(tag).0, 200);
    let note = json!([{"action": "set-properties", "updates": {"comment": "mine"}}]);
    assert_eq!(commit(note).0, 200);
    assert_eq!(ask(&opened, Access::Write, "DELETE", TABLE, &json!(null)).0, 400);

    opened.append(1, 20_000);
    opened.lake.finish().await.unwrap();
    assert_eq!(opened.rows().await, (7, 0));
    let view = opened.views.current();
    assert_eq!(view.head(Table::Events).unwrap().metadata.properties()["comment"], "mine");
}

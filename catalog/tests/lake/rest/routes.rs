//! Statuses and names of errors, route by route.

use hogflare_catalog::embedded::Access;
use serde_json::{Value, json};

use super::{TABLE, ask, creation, guest, load, make_tables, opened_with_rows, schema, table_path};

#[tokio::test]
async fn statuses_and_error_names_are_those_of_the_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    let table = creation;
    let check = |method: &str, path: &str, body: Value, status: u16, kind: Option<&str>| {
        super::check(&opened, (method, path), body, status, kind);
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
    let placed = |location: String| json!({"name": "copy", "schema": schema(), "properties": {}, "location": location});
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
    check("POST", "/v1/transactions/commit", json!({}), 400, Some("BadRequestException"));
    check("POST", "/v1/namespaces/default/functions", json!({}), 404, Some("NoSuchEndpointException"));
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
        ("POST", "/v1/tables/rename"),
        ("POST", "/v1/namespaces/default/register"),
        ("POST", "/v1/transactions/commit"),
    ] {
        assert_eq!(ask(&opened, Access::Read, method, path, &json!({})).0, 403, "{method} {path}");
    }
    assert_eq!(ask(&opened, Access::Read, "GET", TABLE, &json!(null)).0, 200);
}

#[tokio::test]
async fn every_advertised_endpoint_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["mine"]);
    let (_, config) = guest(&opened, "GET", "/v1/config", &json!(null));
    let endpoints = config["endpoints"].as_array().unwrap();
    assert!(endpoints.len() >= 17, "{config}");
    for endpoint in endpoints.iter().map(|endpoint| endpoint.as_str().unwrap()) {
        let (method, path) = endpoint.split_once(' ').unwrap();
        let path = path.replace("/{prefix}", "").replace("{namespace}", "lab").replace("{table}", "mine");
        let (_, answer) = guest(&opened, method, &path, &json!({}));
        assert_ne!(answer["error"]["type"], "NoSuchEndpointException", "{endpoint}");
    }
}

#[tokio::test]
async fn a_rename_moves_the_name_and_not_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["mine", "taken"]);
    let rename = |from: [&str; 2], to: [&str; 2]| {
        let name = |[space, name]: [&str; 2]| json!({"namespace": [space], "name": name});
        json!({"source": name(from), "destination": name(to)})
    };
    let ours = ["default", "hogflare_events"];
    for (from, to, status, kind) in [
        (["lab", "none"], ["lab", "new"], 404, "NoSuchTableException"),
        (["none", "mine"], ["lab", "new"], 404, "NoSuchTableException"),
        (["lab", "mine"], ["none", "new"], 404, "NoSuchNamespaceException"),
        (["lab", "mine"], ["lab", "taken"], 409, "AlreadyExistsException"),
        (["lab", "mine"], ["lab", "mine"], 409, "AlreadyExistsException"),
        (["lab", "mine"], ["lab", "../new"], 400, "BadRequestException"),
        (["lab", "mine"], ours, 409, "AlreadyExistsException"),
        (ours, ["lab", "new"], 400, "BadRequestException"),
    ] {
        super::check(&opened, ("POST", "/v1/tables/rename"), rename(from, to), status, Some(kind));
    }
    let before = load(&opened, "mine");
    super::check(&opened, ("POST", "/v1/tables/rename"), rename(["lab", "mine"], ["lab", "new"]), 204, None);
    assert_eq!(load(&opened, "new"), before);
    super::check(&opened, ("GET", &table_path("mine")), json!(null), 404, Some("NoSuchTableException"));

    // The old name is free again, but the folder is not.
    make_tables(&opened, &["mine"]);
    assert_ne!(load(&opened, "mine")["metadata"]["location"], before["metadata"]["location"]);
    let other = json!({"namespace": ["other"]});
    super::check(&opened, ("POST", "/v1/namespaces"), other, 200, None);
    super::check(&opened, ("POST", "/v1/tables/rename"), rename(["lab", "new"], ["other", "new"]), 204, None);
    super::check(&opened, ("HEAD", "/v1/namespaces/other/tables/new"), json!(null), 204, None);
}

#[tokio::test]
async fn a_table_is_registered_where_its_files_are() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["kept", "dropped"]);
    let location = |name: &str| load(&opened, name)["metadata-location"].as_str().unwrap().to_owned();
    let (kept, dropped) = (location("kept"), location("dropped"));
    super::check(&opened, ("DELETE", &table_path("dropped")), json!(null), 204, None);
    let file = |name: &str, text: String| {
        let path = folder.path().canonicalize().unwrap().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        format!("file://{}", path.display())
    };
    let metadata = std::fs::read_to_string(dropped.replace("file://", "")).unwrap();
    let third = metadata.replace("\"format-version\":2", "\"format-version\":3,\"next-row-id\":0");
    assert_ne!(third, metadata);
    let register = "/v1/namespaces/lab/register";
    for (path, name, location, status, kind) in [
        ("/v1/namespaces/none/register", "back", dropped.clone(), 404, "NoSuchNamespaceException"),
        (register, "kept", dropped.clone(), 409, "AlreadyExistsException"),
        (register, "../back", dropped.clone(), 400, "BadRequestException"),
        (register, "copy", kept, 400, "BadRequestException"),
        (register, "back", dropped.replace("metadata.json", "json"), 400, "BadRequestException"),
        (register, "back", file("elsewhere/t/metadata/1.json", metadata.clone()), 400, "BadRequestException"),
        (register, "back", "s3://bucket/t/metadata/1.json".to_owned(), 400, "BadRequestException"),
        (register, "back", file("warehouse/lab/dropped/metadata/bad.json", "{".to_owned()), 400, "BadRequestException"),
        (register, "back", file("warehouse/lab/dropped/metadata/third.json", third), 400, "BadRequestException"),
        // The file of another folder: the table's files are not beside it.
        (register, "back", file("warehouse/lab/else/metadata/1.json", metadata), 400, "BadRequestException"),
        ("/v1/namespaces/default/register", "hogflare_events", dropped.clone(), 409, "AlreadyExistsException"),
    ] {
        let body = json!({"name": name, "metadata-location": location});
        super::check(&opened, ("POST", path), body, status, Some(kind));
    }
    let body = |overwrite: bool| json!({"name": "back", "metadata-location": dropped, "overwrite": overwrite});
    super::check(&opened, ("POST", register), body(false), 200, None);
    assert_eq!(load(&opened, "back")["metadata-location"], dropped);
    super::check(&opened, ("POST", register), body(false), 409, Some("AlreadyExistsException"));
    // Overwriting sets the table back to an earlier file of its own.
    let note = json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {"note": "x"}}]});
    super::check(&opened, ("POST", &table_path("back")), note, 200, None);
    assert_ne!(load(&opened, "back")["metadata-location"], dropped);
    super::check(&opened, ("POST", register), body(true), 200, None);
    assert_eq!(load(&opened, "back")["metadata-location"], dropped);
    let ours = json!({"name": "hogflare_events", "metadata-location": dropped, "overwrite": true});
    super::check(&opened, ("POST", "/v1/namespaces/default/register"), ours, 400, Some("BadRequestException"));
}

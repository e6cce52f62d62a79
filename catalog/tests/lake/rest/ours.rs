//! What guests may do to our own tables.

use std::sync::Arc;

use bytes::Bytes;
use hogflare_catalog::embedded::Origin;
use hogflare_catalog::{Clock, SystemClock, Table};
use iceberg::TableUpdate;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, FormatVersion, ManifestFile, ManifestList,
    ManifestListWriter, ManifestWriterBuilder, Struct, TableMetadata,
};
use iceberg_catalog_rest::CommitTableRequest;
use serde_json::{Value, json};

use super::{TABLE, check, creation, guest, make_tables, opened_with_rows};
use crate::harness::Opened;

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
    let commit = |updates: Value| guest(&opened, "POST", TABLE, &json!({"requirements": [], "updates": updates}));
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
    assert_eq!(guest(&opened, "DELETE", TABLE, &json!(null)).0, 400);

    opened.append(1, 20_000);
    opened.lake.finish().await.unwrap();
    assert_eq!(opened.rows().await, (7, 0));
    let view = opened.views.current();
    assert_eq!(view.head(Table::Events).unwrap().metadata.properties()["comment"], "mine");
}

#[tokio::test]
async fn the_names_of_our_tables_are_ours() {
    let folder = tempfile::tempdir().unwrap();
    let opened = crate::harness::open(folder.path(), 1);
    check(&opened, ("POST", "/v1/namespaces"), json!({"namespace": ["default"]}), 200, None);
    let tables = "/v1/namespaces/default/tables";
    check(&opened, ("POST", tables), creation("hogflare_events"), 400, Some("BadRequestException"));
    let created = json!({"requirements": [{"type": "assert-create"}],
        "updates": [{"action": "add-schema", "schema": super::schema()}]});
    check(&opened, ("POST", TABLE), created, 400, Some("BadRequestException"));
    opened.make_ready().await;
    check(&opened, ("HEAD", TABLE), json!(null), 204, None);
}

/// A snapshot on top of the head, as the updates of a commit.
fn snapshot_on(metadata: &TableMetadata, manifest_list: &str) -> Value {
    let id = metadata.last_sequence_number() + 1_000;
    json!([
        {"action": "add-snapshot", "snapshot": {
            "snapshot-id": id,
            "parent-snapshot-id": metadata.current_snapshot_id(),
            "sequence-number": metadata.last_sequence_number() + 1,
            "timestamp-ms": metadata.last_updated_ms() + 1,
            "manifest-list": manifest_list,
            "schema-id": metadata.current_schema_id(),
            "summary": {"operation": "append"},
        }},
        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id},
    ])
}

async fn list_bytes(manifests: Vec<ManifestFile>) -> Bytes {
    let (memory, name) = (FileIO::new_with_memory(), "memory:/list");
    let sink = memory.new_output(name).unwrap().writer().await.unwrap();
    let mut writer = ManifestListWriter::v2(sink, 1, None, 100);
    writer.add_manifests(manifests.into_iter()).unwrap();
    writer.close().await.unwrap();
    memory.new_input(name).unwrap().read().await.unwrap()
}

async fn manifest_of(metadata: &TableMetadata, data_file: DataFile) -> (ManifestFile, Bytes) {
    let (memory, name) = (FileIO::new_with_memory(), "memory:/manifest");
    let schema = Arc::clone(metadata.current_schema());
    let spec = metadata.default_partition_spec().as_ref().clone();
    let output = memory.new_output(name).unwrap();
    let mut writer = ManifestWriterBuilder::new(output, Some(1), schema, spec).build_v2_data();
    writer.add_file(data_file, 100).unwrap();
    let manifest = writer.write_manifest_file().await.unwrap();
    (manifest, memory.new_input(name).unwrap().read().await.unwrap())
}

#[tokio::test]
async fn a_guest_commits_only_what_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = opened_with_rows(folder.path()).await;
    let metadata = opened.views.current().head(Table::Events).unwrap().metadata.as_ref().clone();
    let list = metadata.current_snapshot().unwrap().manifest_list().replace("file://", "");
    let present = ManifestList::parse_with_version(&std::fs::read(&list).unwrap(), FormatVersion::V2).unwrap();
    let present: Vec<ManifestFile> = present.consume_entries().into_iter().collect();
    let table = metadata.location().to_owned();
    let file = |location: &str, bytes: &[u8]| std::fs::write(location.replace("file://", ""), bytes).unwrap();
    let elsewhere = format!("file://{}/stray.avro", folder.path().canonicalize().unwrap().display());
    let manifest_at = |path: &str| ManifestFile { manifest_path: path.to_owned(), ..present[0].clone() };
    let data_file = |path: &str| {
        let mut file = DataFileBuilder::default();
        file.content(DataContentType::Data).file_path(path.to_owned()).file_format(DataFileFormat::Parquet);
        file.partition(Struct::from_iter([None])).partition_spec_id(0).record_count(1).file_size_in_bytes(1);
        file.build().unwrap()
    };

    let bad_list = format!("{table}/metadata/bad-list.avro");
    file(&bad_list, b"no list");
    file(&elsewhere, &std::fs::read(&list).unwrap());
    let bad_manifest = format!("{table}/metadata/bad-manifest.avro");
    file(&bad_manifest, b"no manifest");
    let stray_manifest = format!("{table}/metadata/stray-manifest.avro");
    let (stray, bytes) = manifest_of(&metadata, data_file("file:///elsewhere/rows.parquet")).await;
    file(&stray_manifest, &bytes);

    let mut refused = vec![
        (format!("{table}/metadata/absent.avro"), "cannot be read"),
        (bad_list, "cannot be read"),
        (elsewhere.clone(), "outside of the warehouse"),
        ("s3://bucket/list.avro".to_owned(), "outside of the warehouse"),
    ];
    for (name, manifest, reason) in [
        ("absent", manifest_at(&format!("{table}/metadata/absent-manifest.avro")), "cannot be read"),
        ("bad", manifest_at(&bad_manifest), "cannot be read"),
        ("stray", manifest_at(&elsewhere), "outside of the warehouse"),
        ("rows", ManifestFile { manifest_path: stray_manifest, ..stray }, "the data file"),
    ] {
        let location = format!("{table}/metadata/list-{name}.avro");
        file(&location, &list_bytes(present.iter().cloned().chain([manifest]).collect()).await);
        refused.push((location, reason));
    }
    for (list, reason) in refused {
        let (status, answer) =
            guest(&opened, "POST", TABLE, &json!({"requirements": [], "updates": snapshot_on(&metadata, &list)}));
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(reason), "{list}: {answer}");
        let one = json!({"table-changes": [{"identifier": {"namespace": ["default"], "name": "hogflare_events"},
            "requirements": [], "updates": snapshot_on(&metadata, &list)}]});
        check(&opened, ("POST", "/v1/transactions/commit"), one, 400, Some("BadRequestException"));
    }
    let statistics = json!([{"action": "set-statistics", "snapshot-id": metadata.current_snapshot_id(), "statistics": {
        "snapshot-id": metadata.current_snapshot_id(), "statistics-path": "s3://bucket/x", "file-size-in-bytes": 1,
        "file-footer-size-in-bytes": 1, "blob-metadata": []}}]);
    check(
        &opened,
        ("POST", TABLE),
        json!({"requirements": [], "updates": statistics}),
        400,
        Some("BadRequestException"),
    );

    // The same rows under a list of the guest's own.
    let good = format!("{table}/metadata/good.avro");
    file(&good, &list_bytes(present).await);
    check(&opened, ("POST", TABLE), json!({"requirements": [], "updates": snapshot_on(&metadata, &good)}), 200, None);
    opened.append(1, 20_000);
    opened.lake.finish().await.unwrap();
    assert_eq!(opened.rows().await, (7, 0));
}

fn paused(opened: &Opened) -> bool {
    opened.lake.pauses().paused_until(Table::Events, SystemClock.now_us()).is_some()
}

#[tokio::test]
async fn a_guest_that_lost_against_us_may_try_again_undisturbed() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    make_tables(&opened, &["mine"]);
    let head = || opened.views.current().head(Table::Events).unwrap().metadata.current_snapshot_id();
    let tag =
        |name: &str| json!([{"action": "set-snapshot-ref", "ref-name": name, "type": "tag", "snapshot-id": head()}]);
    let on = |reference: &str, snapshot: i64| json!([{"type": "assert-ref-snapshot-id", "ref": reference, "snapshot-id": snapshot}]);
    let commit = |requirements: Value, updates: Value| {
        guest(&opened, "POST", TABLE, &json!({"requirements": requirements, "updates": updates})).0
    };
    // Neither a branch of its own nor a wrong table is a lost race.
    assert_eq!(commit(on("side", 1), tag("a")), 409);
    let uuid = json!([{"type": "assert-table-uuid", "uuid": "00000000-0000-4000-8000-000000000000"}]);
    assert_eq!(commit(uuid, tag("a")), 409);
    let stale = json!({"requirements": on("main", 1), "updates": []});
    assert_eq!(guest(&opened, "POST", &super::table_path("mine"), &stale).0, 409);
    assert!(!paused(&opened));

    assert_eq!(commit(on("main", 1), tag("a")), 409);
    assert!(paused(&opened));
    assert_eq!(commit(on("main", head().unwrap()), tag("a")), 200);
    assert!(!paused(&opened), "the guest has what it waited for");
}

/// A tag is set between the building of our commit and its arrival: the snapshot is not expired.
#[tokio::test]
async fn our_expiry_spares_what_a_guest_named() {
    let folder = tempfile::tempdir().unwrap();
    let opened = opened_with_rows(folder.path()).await;
    let metadata = Arc::clone(&opened.views.current().head(Table::Events).unwrap().metadata);
    let first = metadata.current_snapshot().unwrap().parent_snapshot_id().unwrap();
    let tag = json!([{"action": "set-snapshot-ref", "ref-name": "audit", "type": "tag", "snapshot-id": first}]);
    let (status, body) = guest(&opened, "POST", TABLE, &json!({"requirements": [], "updates": tag}));
    assert_eq!(status, 200, "{body}");
    let request = CommitTableRequest {
        identifier: None,
        requirements: Vec::new(),
        updates: vec![TableUpdate::RemoveSnapshots { snapshot_ids: vec![first] }],
    };
    let ident = opened.lake.settings().ident(Table::Events);
    let after = opened.catalog.commit_table(&ident, request, Origin::Ours).unwrap().metadata;
    assert!(after.snapshot_by_id(first).is_some());
    assert!(after.snapshot_for_ref("audit").is_some());
}

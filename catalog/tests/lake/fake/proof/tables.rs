//! The oracle, on a table whose files are made here.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, ManifestFile, ManifestList, ManifestListWriter,
    ManifestWriterBuilder, Struct, TableMetadata,
};
use parquet::arrow::ArrowWriter;

use super::super::{Client, FakeLake, FakeSettings, Fault, Step};
use super::{Sender, TABLE, append};

fn parquet(writer: &str, positions: &[i64]) -> Vec<u8> {
    let columns: [(&str, ArrayRef); 2] = [
        ("_writer", Arc::new(StringArray::from(vec![writer; positions.len()]))),
        ("_position", Arc::new(Int64Array::from(positions.to_vec()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut file = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    file.write(&batch).unwrap();
    file.into_inner().unwrap()
}

/// Puts a data file, a manifest of it, and a list that adds it to those of the head; gives the list's location.
async fn put_files(sender: &Sender, metadata: &TableMetadata, snapshot_id: i64, rows: (&str, &[i64])) -> String {
    let put = async |location: &str, bytes: Bytes| {
        let path = location.strip_prefix("s3:/").unwrap();
        assert_eq!(sender.hear("PUT", path, bytes).await, "200");
    };
    let (folder, memory) = (metadata.location(), FileIO::new_with_memory());
    let (file, bytes) = (format!("{folder}/data/{snapshot_id}.parquet"), parquet(rows.0, rows.1));
    let described = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(file.clone())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .record_count(rows.1.len() as u64)
        .file_size_in_bytes(bytes.len() as u64)
        .partition_spec_id(0)
        .build()
        .unwrap();
    put(&file, bytes.into()).await;

    let manifest = format!("{folder}/metadata/{snapshot_id}-m.avro");
    let spec = metadata.default_partition_spec().as_ref().clone();
    let output = memory.new_output(&manifest).unwrap();
    let schema = Arc::clone(metadata.current_schema());
    let mut writer = ManifestWriterBuilder::new(output, Some(snapshot_id), schema, spec).build_v2_data();
    writer.add_file(described, -1).unwrap();
    let added = writer.write_manifest_file().await.unwrap();
    put(&manifest, memory.new_input(&manifest).unwrap().read().await.unwrap()).await;

    let head = metadata.current_snapshot().unwrap();
    let before = sender.send("GET", head.manifest_list().strip_prefix("s3:/").unwrap(), "").await.unwrap();
    let before = ManifestList::parse_with_version(&before.bytes().await.unwrap(), metadata.format_version()).unwrap();
    let list = format!("{folder}/metadata/{snapshot_id}-l.avro");
    let sink = memory.new_output(&list).unwrap().writer().await.unwrap();
    let numbers = (Some(head.snapshot_id()), metadata.next_sequence_number());
    let mut writer = ManifestListWriter::v2(sink, snapshot_id, numbers.0, numbers.1);
    let manifests: Vec<ManifestFile> = before.consume_entries().into_iter().chain([added]).collect();
    writer.add_manifests(manifests.into_iter()).unwrap();
    writer.close().await.unwrap();
    put(&list, memory.new_input(&list).unwrap().read().await.unwrap()).await;
    list
}

async fn with_two_commits() -> (FakeLake, Sender) {
    let fake = FakeLake::start(FakeSettings::default());
    let sender = Sender::new(&fake);
    sender.create_events(&fake).await;
    for (snapshot_id, rows) in [(11, ("a", &[1, 2, 3][..])), (12, ("b", &[1, 1][..]))] {
        let head = fake.table("default", "events");
        let list = put_files(&sender, &head, snapshot_id, rows).await;
        assert_eq!(sender.hear("POST", TABLE, append(&head, snapshot_id, Some(&list))).await, "200");
    }
    (fake, sender)
}

fn expected() -> Vec<(String, i64)> {
    [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 1)].map(|(writer, position)| (writer.to_owned(), position)).into()
}

#[tokio::test]
async fn the_oracle_reads_rows_and_sees_what_is_missing() {
    let (fake, sender) = with_two_commits().await;
    assert_eq!(fake.rows("default", "events"), expected());
    fake.check_reachable("default", "events");

    let folder = fake.table("default", "events").location().to_owned();
    let path = folder.strip_prefix("s3:/").unwrap();
    for name in ["data/11.parquet", "metadata/11-m.avro", "metadata/12-l.avro"] {
        let object = format!("{path}/{name}");
        let bytes = sender.send("GET", &object, "").await.unwrap().bytes().await.unwrap();
        fake.delete_object(object.strip_prefix("/lake/").unwrap());
        assert_eq!(fake.missing_objects("default", "events"), [format!("{folder}/{name} is missing")]);
        if name != "metadata/12-l.avro" {
            sender.hear("PUT", &object, bytes.slice(1..)).await;
            let (found, stated) = (bytes.len() - 1, bytes.len());
            let wrong = format!("{folder}/{name} has {found} bytes, not {stated}");
            assert_eq!(fake.missing_objects("default", "events"), [wrong]);
        }
        sender.hear("PUT", &object, bytes).await;
        fake.check_reachable("default", "events");
    }
}

#[tokio::test]
async fn foreign_writers_keep_the_rows() {
    let (fake, _sender) = with_two_commits().await;
    let ours = fake.table("default", "events");
    let lists = |fake: &FakeLake| {
        let head = fake.table("default", "events").current_snapshot().unwrap().manifest_list().to_owned();
        (head, fake.table("default", "events").snapshots().len())
    };
    fake.reset_counts();
    fake.disturb("default", "events", Fault::Foreign);
    assert_eq!(lists(&fake), (ours.current_snapshot().unwrap().manifest_list().to_owned(), 4));
    assert_eq!(fake.counts().of(Client::Foreign, Step::Put).requests, 0);

    fake.disturb("default", "events", Fault::Compacted);
    assert_ne!(lists(&fake).0, ours.current_snapshot().unwrap().manifest_list());
    assert_eq!(fake.counts().of(Client::Foreign, Step::Put).requests, 2);
    assert_eq!(fake.rows("default", "events"), expected());
    fake.check_reachable("default", "events");

    fake.disturb("default", "events", Fault::ExpiredSnapshot);
    assert_eq!(lists(&fake).1, 1);
    assert_eq!(fake.table("default", "events").properties()["at"], "12");
    assert_eq!(fake.rows("default", "events"), expected());
    fake.check_reachable("default", "events");
}

//! iceberg's own `RestCatalog` and `Transaction::fast_append` as an oracle for our commits: on a copy of the table,
//! the same files appended one snapshot at a time are the same live entries (I11).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use iceberg::spec::{DataFile, ManifestContentType, ManifestStatus, SnapshotRef};
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{Catalog, NamespaceIdent, TableCreation, TableIdent};
use iceberg_catalog_rest::RestCatalog;

use crate::guests::stock_client;
use crate::harness::load::{Load, Shape};
use crate::harness::{Options, Server, wait_for};

const LOAD: Shape = Shape { connections: 2, batch_max: 10, late_every: Some(5), pause: Duration::from_millis(5) };

/// Enough for several merges of the newest manifest.
const SNAPSHOTS: usize = 12;

#[test]
fn stock_fast_append_gives_the_same_files() {
    let server = Options::new().interval("300ms").admin().start();
    let load = Load::start(server.url(), &LOAD);
    wait_for("snapshots", || (snapshots(&server) >= SNAPSHOTS).then_some(()));
    load.finish();
    let stored = server.count("hogflare_events");
    wait_for("the last commit", || (server.committed_rows("hogflare_events") == stored).then_some(()));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(compare(&server)).unwrap();
}

fn snapshots(server: &Server) -> usize {
    server.load_table("hogflare_events")["metadata"]["snapshots"].as_array().map_or(0, Vec::len)
}

async fn compare(server: &Server) -> Result<()> {
    let catalog = stock_client(server).await?;
    let namespace = NamespaceIdent::new("default".to_owned());
    let ours = catalog.load_table(&TableIdent::new(namespace.clone(), "hogflare_events".to_owned())).await?;
    let mut copy = create_copy(&catalog, &namespace, &ours).await?;
    let mut history: Vec<&SnapshotRef> = ours.metadata().snapshots().collect();
    history.sort_by_key(|snapshot| snapshot.sequence_number());
    for snapshot in history {
        let added = added_files(&ours, snapshot).await?;
        ensure!(!added.is_empty(), "snapshot {} added nothing", snapshot.snapshot_id());
        let transaction = Transaction::new(&copy);
        let transaction = transaction.fast_append().add_data_files(added).apply(transaction)?;
        copy = transaction.commit(&catalog).await?;
    }
    let (ours, copied) = (live_entries(&ours).await?, live_entries(&copy).await?);
    println!("{} live files in {SNAPSHOTS} or more snapshots", ours.len());
    assert_eq!(ours.keys().collect::<Vec<_>>(), copied.keys().collect::<Vec<_>>(), "paths");
    for (path, entry) in &ours {
        assert_eq!(entry, &copied[path], "{path}");
    }
    Ok(())
}

async fn create_copy(catalog: &RestCatalog, namespace: &NamespaceIdent, ours: &Table) -> Result<Table> {
    let metadata = ours.metadata();
    let creation = TableCreation::builder()
        .name("copy_of_events".to_owned())
        .schema(metadata.current_schema().as_ref().clone())
        .partition_spec(metadata.default_partition_spec().as_ref().clone().into_unbound())
        .build();
    Ok(catalog.create_table(namespace, creation).await?)
}

/// The data files that a snapshot itself added.
pub(crate) async fn added_files(table: &Table, snapshot: &SnapshotRef) -> Result<Vec<DataFile>> {
    let mut files = Vec::new();
    for_each_entry(table, snapshot, |_, entry| {
        if entry.status() == ManifestStatus::Added && entry.snapshot_id() == Some(snapshot.snapshot_id()) {
            files.push(entry.data_file().clone());
        }
    })
    .await?;
    Ok(files)
}

/// What must be the same: the file with all its statistics, and when it came, counted in commits.
#[derive(Debug, PartialEq)]
struct Entry {
    file: DataFile,
    commit: usize,
}

async fn live_entries(table: &Table) -> Result<BTreeMap<String, Entry>> {
    let snapshot = table.metadata().current_snapshot().context("no snapshot")?;
    let mut live = Vec::new();
    for_each_entry(table, snapshot, |_, entry| {
        if entry.is_alive() {
            live.push((entry.sequence_number(), entry.data_file().clone()));
        }
    })
    .await?;
    let mut sequence_numbers: Vec<i64> = Vec::new();
    for (sequence_number, file) in &live {
        sequence_numbers.push(sequence_number.with_context(|| format!("no sequence number: {}", file.file_path()))?);
    }
    sequence_numbers.sort_unstable();
    sequence_numbers.dedup();
    let count = live.len();
    let entries: BTreeMap<String, Entry> = live
        .into_iter()
        .map(|(number, file)| {
            let commit = number.map_or(0, |number| sequence_numbers.partition_point(|other| *other < number));
            (file.file_path().to_owned(), Entry { file, commit })
        })
        .collect();
    ensure!(entries.len() == count, "a path occurs twice");
    Ok(entries)
}

async fn for_each_entry(
    table: &Table,
    snapshot: &SnapshotRef,
    mut visit: impl FnMut(&str, &iceberg::spec::ManifestEntry),
) -> Result<()> {
    let list = table.manifest_list_reader(snapshot).load().await?;
    for manifest in list.entries() {
        ensure!(manifest.content == ManifestContentType::Data, "a delete manifest: {}", manifest.manifest_path);
        let loaded = manifest.load_manifest(table.file_io()).await?;
        for entry in loaded.entries() {
            visit(&manifest.manifest_path, entry);
        }
    }
    Ok(())
}

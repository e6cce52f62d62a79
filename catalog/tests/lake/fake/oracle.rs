//! What the tables say to a reader that shares no code with the writer under test.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use futures::executor::block_on;
use iceberg::TableIdent;
use iceberg::io::FileIO;
use iceberg::spec::{ManifestContentType, ManifestEntry, ManifestFile, ManifestList, Snapshot, TableMetadata};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::state::State;

type Found<T> = Result<T, String>;

/// All that retained snapshots name and the storage does not hold as named.
pub(super) fn missing(state: &State, ident: &TableIdent) -> Vec<String> {
    let stored = &state.tables.tables[ident];
    let mut missing = Vec::new();
    if let Some(location) = &stored.location {
        missing.extend(object(state, location, None).err());
    }
    for snapshot in stored.metadata.snapshots() {
        let manifests = match manifests(state, &stored.metadata, snapshot) {
            Ok(manifests) => manifests,
            Err(reason) => {
                missing.push(reason);
                continue;
            }
        };
        for manifest in manifests {
            match live_entries(state, &manifest) {
                Ok(entries) => missing.extend(
                    entries
                        .iter()
                        .filter_map(|entry| object(state, entry.file_path(), Some(entry.file_size_in_bytes())).err()),
                ),
                Err(reason) => missing.push(reason),
            }
        }
    }
    missing.sort();
    missing.dedup();
    missing
}

/// Writer and position of each row of the head, in order; rows of writers that leave them out are not counted.
pub(super) fn rows(state: &State, ident: &TableIdent) -> Found<Vec<(String, i64)>> {
    let metadata = &state.tables.tables[ident].metadata;
    let Some(head) = metadata.current_snapshot() else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    for manifest in manifests(state, metadata, head)? {
        for entry in live_entries(state, &manifest)? {
            if manifest.content == ManifestContentType::Deletes {
                return Err(format!("{} deletes rows, which is not looked at here", entry.file_path()));
            }
            rows_of_file(object(state, entry.file_path(), Some(entry.file_size_in_bytes()))?, &mut rows)
                .map_err(|error| format!("{}: {error}", entry.file_path()))?;
        }
    }
    rows.sort();
    Ok(rows)
}

fn rows_of_file(file: Bytes, rows: &mut Vec<(String, i64)>) -> parquet::errors::Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let columns = ProjectionMask::columns(builder.parquet_schema(), ["_writer", "_position"]);
    for batch in builder.with_projection(columns).build()? {
        let batch = batch?;
        let columns = batch.column_by_name("_writer").zip(batch.column_by_name("_position"));
        let Some((writers, positions)) = columns else { continue };
        let (writers, positions) = (writers.as_string::<i32>(), positions.as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            if writers.is_valid(row) && positions.is_valid(row) {
                rows.push((writers.value(row).to_owned(), positions.value(row)));
            }
        }
    }
    Ok(())
}

pub(super) fn manifests(state: &State, metadata: &TableMetadata, snapshot: &Snapshot) -> Found<Vec<ManifestFile>> {
    let location = snapshot.manifest_list();
    let list = ManifestList::parse_with_version(&object(state, location, None)?, metadata.format_version());
    let list = list.map_err(|error| format!("{location}: {error}"))?;
    Ok(list.consume_entries().into_iter().collect())
}

/// The entries that are not deleted, with the numbers that they inherit.
pub(super) fn live_entries(state: &State, manifest: &ManifestFile) -> Found<Vec<Arc<ManifestEntry>>> {
    let location = &manifest.manifest_path;
    let bytes = object(state, location, Some(manifest.manifest_length as u64))?;
    let memory = FileIO::new_with_memory();
    let parsed = block_on(async {
        memory.new_output(location)?.write(bytes).await?;
        manifest.load_manifest(&memory).await
    });
    let parsed = parsed.map_err(|error| format!("{location}: {error}"))?;
    Ok(parsed.entries().iter().filter(|entry| entry.is_alive()).cloned().collect())
}

fn object(state: &State, location: &str, length: Option<u64>) -> Found<Bytes> {
    let object = state.objects.get(state.key_of(location)).ok_or_else(|| format!("{location} is missing"))?;
    let found = object.bytes.len() as u64;
    match length {
        Some(stated) if stated != found => Err(format!("{location} has {found} bytes, not {stated}")),
        _ => Ok(object.bytes.clone()),
    }
}

//! What a guest adds to one of our tables must be there and readable: our next commit, every query and the sweep
//! of metadata read it.

use std::collections::HashSet;

use iceberg::TableUpdate;
use iceberg::spec::{ManifestFile, Snapshot, TableMetadata};

use super::answer::RestError;
use super::warehouse::Warehouse;
use crate::error::{Result, chain};
use crate::manifest::{read_manifest, read_manifest_list};

/// Reads the manifest lists of the added snapshots and those of their manifests that the table's head does not
/// have, and checks that everything stands in the warehouse.
pub(super) fn check(warehouse: &Warehouse, before: &TableMetadata, updates: &[TableUpdate]) -> Result<(), RestError> {
    let mut known: Option<HashSet<String>> = None;
    for update in updates {
        match update {
            TableUpdate::AddSnapshot { snapshot } => {
                if known.is_none() {
                    known = Some(manifests_of_head(warehouse, before)?);
                }
                check_snapshot(warehouse, before, snapshot, known.get_or_insert_default())?;
            }
            TableUpdate::SetStatistics { statistics } => {
                warehouse.check_inside("the statistics file", &statistics.statistics_path)?;
            }
            TableUpdate::SetPartitionStatistics { partition_statistics } => {
                warehouse.check_inside("the statistics file", &partition_statistics.statistics_path)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn manifests_of_head(warehouse: &Warehouse, before: &TableMetadata) -> Result<HashSet<String>, RestError> {
    let Some(head) = before.current_snapshot() else { return Ok(HashSet::new()) };
    let list = read_list(warehouse, before, head)?;
    Ok(list.into_iter().map(|manifest| manifest.manifest_path).collect())
}

fn check_snapshot(
    warehouse: &Warehouse,
    before: &TableMetadata,
    snapshot: &Snapshot,
    known: &mut HashSet<String>,
) -> Result<(), RestError> {
    let (id, location) = (snapshot.snapshot_id(), snapshot.manifest_list());
    warehouse.check_inside("the manifest list", location)?;
    let list = read_list(warehouse, before, snapshot)
        .map_err(|error| unreadable(&format!("the manifest list of snapshot {id}"), location, &error))?;
    for manifest in list {
        if known.contains(&manifest.manifest_path) {
            continue;
        }
        check_manifest(warehouse, &manifest)?;
        known.insert(manifest.manifest_path);
    }
    Ok(())
}

fn check_manifest(warehouse: &Warehouse, manifest: &ManifestFile) -> Result<(), RestError> {
    let location = &manifest.manifest_path;
    warehouse.check_inside("the manifest", location)?;
    let files = warehouse.read(location).and_then(|bytes| read_manifest(&bytes, manifest));
    for file in files.map_err(|error| unreadable("the manifest", location, &error))? {
        warehouse.check_inside("the data file", file.data_file.file_path())?;
    }
    Ok(())
}

fn read_list(warehouse: &Warehouse, metadata: &TableMetadata, snapshot: &Snapshot) -> Result<Vec<ManifestFile>> {
    read_manifest_list(&warehouse.read(snapshot.manifest_list())?, metadata)
}

fn unreadable(what: &str, location: &str, error: &crate::Error) -> RestError {
    RestError::bad_request(format!("{what} at {location} cannot be read; write it before the commit: {}", chain(error)))
}

//! Manifests and manifest lists as bytes: reading with inheritance, and the manifest that a commit adds.
//!
//! Nothing here does I/O: the crate's writers write into its in-memory files.

use std::sync::Arc;

use bytes::Bytes;
use iceberg::io::{FileIO, FileWrite};
use iceberg::spec::{
    DataFile, FormatVersion, Manifest, ManifestContentType, ManifestEntry, ManifestFile, ManifestList,
    ManifestListWriter, ManifestStatus, ManifestWriterBuilder, TableMetadata,
};
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// A newer manifest is merged into the next commit's while it has fewer entries than this …
pub(crate) const MERGE_BELOW_ENTRIES: usize = 500;
/// … and is smaller than this.
pub(crate) const MERGE_BELOW_BYTES: i64 = 4 * 1024 * 1024;

/// An entry of a manifest that is not deleted, with inherited numbers filled in.
#[derive(Clone, Debug)]
pub struct LiveFile {
    pub data_file: DataFile,
    pub snapshot_id: i64,
    pub sequence_number: i64,
    pub file_sequence_number: i64,
    pub partition_spec_id: i32,
}

pub(crate) fn read_manifest_list(bytes: &[u8], metadata: &TableMetadata) -> Result<Vec<ManifestFile>> {
    let list = ManifestList::parse_with_version(bytes, metadata.format_version());
    Ok(list.map_err(Error::iceberg("read the manifest list"))?.consume_entries().into_iter().collect())
}

/// The live entries. Entries that an earlier commit deleted stay in its manifest and are left out.
pub(crate) fn read_manifest(bytes: &[u8], manifest: &ManifestFile) -> Result<Vec<LiveFile>> {
    let parsed = Manifest::parse_avro(bytes).map_err(Error::iceberg("read the manifest"))?;
    let (entries, _) = parsed.into_parts();
    let live = entries.into_iter().filter(|entry| entry.status != ManifestStatus::Deleted);
    live.map(|entry| inherit(&entry, manifest)).collect()
}

/// Numbers that an entry does not state are those of its manifest (Iceberg spec, sequence number
/// inheritance): for added entries, and for all of a manifest from before sequence numbers.
fn inherit(entry: &ManifestEntry, manifest: &ManifestFile) -> Result<LiveFile> {
    let may_inherit = entry.status == ManifestStatus::Added || manifest.sequence_number == 0;
    let inherited = may_inherit.then_some(manifest.sequence_number);
    let missing = || Error::Corrupt(format!("an entry of {} has no sequence number", manifest.manifest_path));
    Ok(LiveFile {
        data_file: entry.data_file.clone(),
        snapshot_id: entry.snapshot_id.unwrap_or(manifest.added_snapshot_id),
        sequence_number: entry.sequence_number.or(inherited).ok_or_else(missing)?,
        file_sequence_number: entry.file_sequence_number.or(inherited).ok_or_else(missing)?,
        partition_spec_id: manifest.partition_spec_id,
    })
}

/// The newest data manifest, if it is small enough to be merged into the next one.
pub(crate) fn manifest_to_merge(list: &[ManifestFile], spec_id: i32) -> Option<&ManifestFile> {
    let newest = list
        .iter()
        .filter(|manifest| manifest.content == ManifestContentType::Data && manifest.partition_spec_id == spec_id)
        .max_by_key(|manifest| manifest.sequence_number)?;
    let entries = newest.added_files_count? + newest.existing_files_count?;
    let small = (entries as usize) < MERGE_BELOW_ENTRIES && newest.manifest_length < MERGE_BELOW_BYTES;
    small.then_some(newest)
}

/// A manifest of `added` files and the `existing` ones of the manifest that it replaces. The added
/// entries state no sequence number, so that the bytes stay right when the commit is rebased.
pub(crate) async fn write_manifest(
    location: &str,
    snapshot_id: i64,
    (metadata, spec_id): (&TableMetadata, i32),
    added: &[DataFile],
    existing: &[LiveFile],
) -> Result<(ManifestFile, Bytes)> {
    let failed = Error::iceberg("write the manifest");
    let spec = metadata.partition_spec_by_id(spec_id).ok_or_else(|| Error::Schema(format!("no spec {spec_id}")))?;
    let memory = FileIO::new_with_memory();
    let output = memory.new_output(location).map_err(&failed)?;
    let schema = Arc::clone(metadata.current_schema());
    let mut writer =
        ManifestWriterBuilder::new(output, Some(snapshot_id), schema, spec.as_ref().clone()).build_v2_data();
    for file in added {
        writer.add_file(file.clone(), -1).map_err(&failed)?;
    }
    for file in existing {
        let numbers = (file.snapshot_id, file.sequence_number, Some(file.file_sequence_number));
        writer.add_existing_file(file.data_file.clone(), numbers.0, numbers.1, numbers.2).map_err(&failed)?;
    }
    let manifest = writer.write_manifest_file().await.map_err(&failed)?;
    let bytes = memory.new_input(location).map_err(&failed)?.read().await.map_err(&failed)?;
    Ok((manifest, bytes))
}

/// The manifest list of a snapshot.
pub(crate) async fn write_manifest_list(
    snapshot_id: i64,
    parent: Option<i64>,
    sequence_number: i64,
    manifests: Vec<ManifestFile>,
) -> Result<Bytes> {
    let failed = Error::iceberg("write the manifest list");
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = Box::new(MemorySink { written: Arc::clone(&written) });
    let mut writer = ManifestListWriter::v2(sink, snapshot_id, parent, sequence_number);
    writer.add_manifests(manifests.into_iter()).map_err(&failed)?;
    writer.close().await.map_err(&failed)?;
    let bytes = std::mem::take(&mut *written.lock());
    Ok(Bytes::from(bytes))
}

/// The format version that all our tables have.
pub(crate) const FORMAT_VERSION: FormatVersion = FormatVersion::V2;

struct MemorySink {
    written: Arc<Mutex<Vec<u8>>>,
}

#[async_trait::async_trait]
impl FileWrite for MemorySink {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.written.lock().extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        Ok(())
    }
}

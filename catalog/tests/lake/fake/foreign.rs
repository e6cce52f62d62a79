//! Another writer of the same tables: its snapshots carry none of our marks.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use iceberg::TableIdent;
use iceberg::io::FileIO;
use iceberg::spec::{
    FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestListWriter, ManifestWriterBuilder,
    Operation, Snapshot, SnapshotReference, SnapshotRetention, Summary, TableMetadata,
};
use uuid::Uuid;

use super::counts::Client;
use super::oracle;
use super::state::State;

/// In the summary of every snapshot made here.
const FOREIGN_MARK: &str = "foreign";

impl State {
    /// A snapshot with the rows of the head, that shares its manifest list.
    pub(super) fn foreign_append(&mut self, ident: &TableIdent) {
        let metadata = self.metadata(ident);
        let id = new_id();
        let list = match metadata.current_snapshot() {
            Some(head) => head.manifest_list().to_owned(),
            None => self.write_list(&metadata, id, Vec::new()),
        };
        self.replace_head(ident, snapshot(&metadata, id, Operation::Append, list));
    }

    /// A snapshot with the rows of the head in one manifest per partition spec, as existing entries.
    pub(super) fn compact(&mut self, ident: &TableIdent) {
        let metadata = self.metadata(ident);
        let Some(head) = metadata.current_snapshot() else { return self.foreign_append(ident) };
        let id = new_id();
        let mut rewritten: BTreeMap<i32, Vec<ManifestFile>> = BTreeMap::new();
        let mut list = Vec::new();
        for manifest in oracle::manifests(self, &metadata, head).expect("the head can be read") {
            match manifest.content {
                ManifestContentType::Data => rewritten.entry(manifest.partition_spec_id).or_default().push(manifest),
                ManifestContentType::Deletes => list.push(manifest),
            }
        }
        for (spec_id, manifests) in rewritten {
            list.extend(self.rewrite(&metadata, id, spec_id, &manifests));
        }
        let location = self.write_list(&metadata, id, list);
        self.replace_head(ident, snapshot(&metadata, id, Operation::Replace, location));
    }

    /// Removes all snapshots below the head, which is made foreign first if it is not.
    pub(super) fn expire_below_foreign(&mut self, ident: &TableIdent) {
        let is_foreign = |snapshot: &Snapshot| snapshot.summary().additional_properties.contains_key(FOREIGN_MARK);
        if !self.metadata(ident).current_snapshot().is_some_and(|head| is_foreign(head)) {
            self.foreign_append(ident);
        }
        let metadata = self.metadata(ident);
        let head = metadata.current_snapshot_id();
        let below = metadata.snapshots().map(|snapshot| snapshot.snapshot_id()).filter(|id| Some(*id) != head);
        let below: Vec<i64> = below.collect();
        self.change_table(ident, |builder| Ok(builder.remove_snapshots(&below)));
    }

    /// Makes an older snapshot the head again; properties stay as they are.
    pub(super) fn roll_back(&mut self, ident: &TableIdent, snapshot_id: i64) {
        let reference = SnapshotReference::new(snapshot_id, SnapshotRetention::branch(None, None, None));
        self.change_table(ident, |builder| builder.set_ref(MAIN_BRANCH, reference));
    }

    pub(super) fn metadata(&self, ident: &TableIdent) -> Arc<TableMetadata> {
        let stored = self.tables.tables.get(ident).unwrap_or_else(|| panic!("there is no table {ident}"));
        assert_eq!(stored.metadata.format_version(), FormatVersion::V2, "the foreign writer writes format 2 only");
        Arc::clone(&stored.metadata)
    }

    fn replace_head(&mut self, ident: &TableIdent, snapshot: Snapshot) {
        self.change_table(ident, |builder| builder.set_branch_snapshot(snapshot, MAIN_BRANCH));
    }

    /// One manifest in the place of several; none if they have no live entries.
    fn rewrite(
        &mut self,
        metadata: &TableMetadata,
        snapshot_id: i64,
        spec_id: i32,
        manifests: &[ManifestFile],
    ) -> Option<ManifestFile> {
        let location = format!("{}/metadata/compacted-{}.avro", metadata.location(), Uuid::new_v4());
        let memory = FileIO::new_with_memory();
        let output = memory.new_output(&location).expect("memory takes any name");
        let spec = metadata.partition_spec_by_id(spec_id).expect("a manifest has a known spec").as_ref().clone();
        let schema = Arc::clone(metadata.current_schema());
        let mut writer = ManifestWriterBuilder::new(output, Some(snapshot_id), schema, spec).build_v2_data();
        let mut entries = 0;
        for manifest in manifests {
            let live = oracle::live_entries(self, manifest).expect("the head can be read");
            for entry in live {
                let (id, sequence_number) = (entry.snapshot_id(), entry.sequence_number());
                let numbers = id.zip(sequence_number).expect("numbers are inherited");
                let file_sequence_number = entry.file_sequence_number;
                let file = entry.data_file().clone();
                writer.add_existing_file(file, numbers.0, numbers.1, file_sequence_number).expect("a live entry");
                entries += 1;
            }
        }
        if entries == 0 {
            return None;
        }
        let manifest = block_on(writer.write_manifest_file()).expect("memory takes any bytes");
        let bytes = read_back(&memory, &location);
        self.put_beside(Client::Foreign, &location, bytes);
        Some(manifest)
    }

    fn write_list(&mut self, metadata: &TableMetadata, snapshot_id: i64, manifests: Vec<ManifestFile>) -> String {
        let location = format!("{}/metadata/foreign-{}.avro", metadata.location(), Uuid::new_v4());
        let memory = FileIO::new_with_memory();
        let parent = metadata.current_snapshot_id();
        let written = block_on(async {
            let sink = memory.new_output(&location)?.writer().await?;
            let mut writer = ManifestListWriter::v2(sink, snapshot_id, parent, metadata.next_sequence_number());
            writer.add_manifests(manifests.into_iter())?;
            writer.close().await
        });
        written.expect("memory takes any bytes");
        let bytes = read_back(&memory, &location);
        self.put_beside(Client::Foreign, &location, bytes);
        location
    }
}

fn read_back(memory: &FileIO, location: &str) -> Bytes {
    let input = memory.new_input(location).expect("memory has any name");
    block_on(input.read()).expect("it was just written")
}

fn new_id() -> i64 {
    rand::random_range(1..i64::MAX)
}

/// On top of the head, with its totals, since it has its rows.
fn snapshot(metadata: &TableMetadata, id: i64, operation: Operation, manifest_list: String) -> Snapshot {
    let head = metadata.current_snapshot();
    let totals = head.map(|head| head.summary().additional_properties.clone()).unwrap_or_default();
    let mut properties: std::collections::HashMap<String, String> =
        totals.into_iter().filter(|(name, _)| name.starts_with("total-")).collect();
    properties.insert(FOREIGN_MARK.to_owned(), "true".to_owned());
    let after_head = head.map_or(0, |head| head.timestamp_ms() + 1);
    Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(metadata.last_updated_ms().max(after_head))
        .with_manifest_list(manifest_list)
        .with_summary(Summary { operation, additional_properties: properties })
        .with_schema_id(metadata.current_schema_id())
        .build()
}

//! A commit as data: table metadata and new files → objects to write and one request to post.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{
    DataFile, MAIN_BRANCH, ManifestContentType, ManifestFile, Operation, Snapshot, SnapshotReference,
    SnapshotRetention, SnapshotSummaryCollector, Summary, TableMetadata,
};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use iceberg_catalog_rest::CommitTableRequest;

use crate::cache::MetadataCache;
use crate::error::{Error, Result};
use crate::head::TableHead;
use crate::manifest::{LiveFile, manifest_to_merge, write_manifest, write_manifest_list};
use crate::names;
use crate::tables::BINDING_PROPERTY;

/// Snapshots younger than this are kept …
const KEEP_YOUNGER_THAN_MS: i64 = 60 * 60 * 1_000;
/// … and so are this many of the newest …
const KEEP_NEWEST: usize = 200;
/// … but never more than this many, whatever their age: metadata must stay small.
const KEEP_AT_MOST: usize = 360;
/// A commit expires at most this many.
const EXPIRE_AT_ONCE: usize = 20;

/// Entry of the summary of every snapshot of ours.
pub(crate) const WRITER_SUMMARY: &str = "hogflare.writer";

/// Everything that one post needs. The objects are written first.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub objects: Vec<(String, Bytes)>,
    pub request: CommitTableRequest,
}

/// A property that a commit sets and its snapshot's summary repeats.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub name: String,
    pub value: String,
}

/// What is the same in every try of a commit, whatever it adds.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub ident: &'a TableIdent,
    pub snapshot_id: i64,
    pub incarnation: &'a str,
    pub marks: Vec<Mark>,
    /// Further lines of the summary.
    pub notes: HashMap<String, String>,
}

/// New files, all of one partition spec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewFiles<'a> {
    pub files: &'a [DataFile],
    pub partition_spec_id: i32,
}

impl Change<'_> {
    /// A snapshot with more files on top of `head`, with the newest manifest merged in while it is small.
    pub(crate) async fn propose(
        &self,
        head: &TableHead,
        cache: &MetadataCache,
        new: NewFiles<'_>,
        (attempt, now_ms): (u32, i64),
    ) -> Result<Proposal> {
        let list = manifests_of(head, cache).await?;
        let merged = manifest_to_merge(&list, new.partition_spec_id).cloned();
        let existing: Vec<LiveFile> = match &merged {
            Some(manifest) => cache.manifest(manifest).await?.to_vec(),
            None => Vec::new(),
        };
        let location = names::manifest(head.metadata.location(), self.snapshot_id, attempt, self.incarnation);
        let spec = (head.metadata.as_ref(), new.partition_spec_id);
        let (added, bytes) = write_manifest(&location, self.snapshot_id, spec, new.files, &existing).await?;
        let summary = self.summary(head, cache, &list, Some(new)).await?;
        let kept = list
            .into_iter()
            .filter(|manifest| Some(&manifest.manifest_path) != merged.as_ref().map(|m| &m.manifest_path));
        let manifests: Vec<ManifestFile> = kept.chain([added]).collect();
        self.snapshot(head, manifests, summary, vec![(location, bytes)], (attempt, now_ms)).await
    }

    /// A snapshot of the same files on top of `head`.
    pub(crate) async fn propose_empty(
        &self,
        head: &TableHead,
        cache: &MetadataCache,
        attempt: u32,
        now_ms: i64,
    ) -> Result<Proposal> {
        let list = manifests_of(head, cache).await?;
        let summary = self.summary(head, cache, &list, None).await?;
        self.snapshot(head, list, summary, Vec::new(), (attempt, now_ms)).await
    }

    async fn snapshot(
        &self,
        head: &TableHead,
        manifests: Vec<ManifestFile>,
        summary: Summary,
        mut objects: Vec<(String, Bytes)>,
        (attempt, now_ms): (u32, i64),
    ) -> Result<Proposal> {
        let metadata = head.metadata.as_ref();
        let sequence_number = metadata.next_sequence_number();
        let location = names::manifest_list(metadata.location(), self.snapshot_id, attempt, self.incarnation);
        let parent_id = head.snapshot().map(|snapshot| snapshot.snapshot_id());
        let bytes = write_manifest_list(self.snapshot_id, parent_id, sequence_number, manifests).await?;
        let snapshot = Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(parent_id)
            .with_sequence_number(sequence_number)
            .with_timestamp_ms(now_ms.max(metadata.last_updated_ms() + 1))
            .with_manifest_list(location.clone())
            .with_summary(summary)
            .with_schema_id(metadata.current_schema_id())
            .build();
        objects.push((location, bytes));
        Ok(Proposal { objects, request: self.request(head, snapshot, now_ms) })
    }

    fn request(&self, head: &TableHead, snapshot: Snapshot, now_ms: i64) -> CommitTableRequest {
        let metadata = head.metadata.as_ref();
        let requirements = vec![
            TableRequirement::UuidMatch { uuid: metadata.uuid() },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.to_owned(),
                snapshot_id: head.snapshot().map(|snapshot| snapshot.snapshot_id()),
            },
        ];
        let mut properties: HashMap<String, String> =
            self.marks.iter().map(|mark| (mark.name.clone(), mark.value.clone())).collect();
        if !metadata.properties().contains_key(BINDING_PROPERTY) {
            properties.insert(BINDING_PROPERTY.to_owned(), head.binding.to_property(head.table));
        }
        let retention = match references(metadata).get(MAIN_BRANCH) {
            Some(main) => main.retention.clone(),
            None => SnapshotRetention::branch(None, None, None),
        };
        let reference = SnapshotReference::new(snapshot.snapshot_id(), retention);
        let mut updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference },
            TableUpdate::SetProperties { updates: properties },
        ];
        let expired = snapshots_to_expire(metadata, now_ms);
        if !expired.is_empty() {
            updates.push(TableUpdate::RemoveSnapshots { snapshot_ids: expired });
        }
        CommitTableRequest { identifier: Some(self.ident.clone()), requirements, updates }
    }

    async fn summary(
        &self,
        head: &TableHead,
        cache: &MetadataCache,
        list: &[ManifestFile],
        new: Option<NewFiles<'_>>,
    ) -> Result<Summary> {
        let metadata = head.metadata.as_ref();
        let mut collector = SnapshotSummaryCollector::default();
        if let Some(new) = new {
            let spec = metadata
                .partition_spec_by_id(new.partition_spec_id)
                .ok_or_else(|| Error::Schema("the partition spec of the files is gone".into()))?;
            for file in new.files {
                collector.add_file(file, Arc::clone(metadata.current_schema()), Arc::clone(spec));
            }
        }
        let mut properties = collector.build();
        let totals = match Totals::of_parent(head) {
            Some(totals) => totals,
            None => Totals::recount(cache, list).await?,
        };
        totals.plus(new.map_or(&[], |new| new.files)).write(&mut properties);
        properties.extend(self.marks.iter().map(|mark| (mark.name.clone(), mark.value.clone())));
        properties.extend(self.notes.clone());
        Ok(Summary { operation: Operation::Append, additional_properties: properties })
    }
}

async fn manifests_of(head: &TableHead, cache: &MetadataCache) -> Result<Vec<ManifestFile>> {
    match head.snapshot() {
        Some(snapshot) => Ok(cache.manifest_list(snapshot, &head.metadata).await?.to_vec()),
        None => Ok(Vec::new()),
    }
}

/// Branches and tags by name. The crate keeps them private, but writes them.
pub(crate) fn references(metadata: &TableMetadata) -> HashMap<String, SnapshotReference> {
    let json = serde_json::to_value(metadata).unwrap_or_default();
    json.get("refs").and_then(|refs| serde_json::from_value(refs.clone()).ok()).unwrap_or_default()
}

/// Oldest first; never the head, a tag or another branch's head.
fn snapshots_to_expire(metadata: &TableMetadata, now_ms: i64) -> Vec<i64> {
    let mut snapshots: Vec<(i64, i64)> =
        metadata.snapshots().map(|snapshot| (snapshot.sequence_number(), snapshot.snapshot_id())).collect();
    snapshots.sort_unstable();
    let timestamp = |id: i64| metadata.snapshot_by_id(id).map_or(now_ms, |snapshot| snapshot.timestamp_ms());
    let protected: Vec<i64> = references(metadata).values().map(|reference| reference.snapshot_id).collect();
    let beyond_cap = (snapshots.len() + 1).saturating_sub(KEEP_AT_MOST);
    let beyond_newest = (snapshots.len() + 1).saturating_sub(KEEP_NEWEST);
    let candidates = snapshots.iter().take(beyond_newest).enumerate().filter(|(index, (_, id))| {
        let old = now_ms - timestamp(*id) > KEEP_YOUNGER_THAN_MS;
        (old || *index < beyond_cap) && !protected.contains(id)
    });
    candidates.map(|(_, (_, id))| *id).take(EXPIRE_AT_ONCE).collect()
}

/// The totals that every snapshot of ours states; some readers refuse tables without them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    records: u64,
    data_files: u64,
    bytes: u64,
    delete_files: u64,
    position_deletes: u64,
    equality_deletes: u64,
}

const TOTALS: [&str; 6] = [
    "total-records",
    "total-data-files",
    "total-files-size",
    "total-delete-files",
    "total-position-deletes",
    "total-equality-deletes",
];

impl Totals {
    /// None if the parent's writer left one out.
    fn of_parent(head: &TableHead) -> Option<Totals> {
        let Some(parent) = head.snapshot() else { return Some(Totals::default()) };
        let stated = &parent.summary().additional_properties;
        let [records, data_files, bytes, delete_files, position_deletes, equality_deletes] =
            TOTALS.map(|name| stated.get(name)?.parse::<u64>().ok());
        Some(Totals {
            records: records?,
            data_files: data_files?,
            bytes: bytes?,
            delete_files: delete_files?,
            position_deletes: position_deletes?,
            equality_deletes: equality_deletes?,
        })
    }

    async fn recount(cache: &MetadataCache, list: &[ManifestFile]) -> Result<Totals> {
        let mut totals = Totals::default();
        for manifest in list {
            for file in cache.manifest(manifest).await?.iter() {
                let (rows, bytes) = (file.data_file.record_count(), file.data_file.file_size_in_bytes());
                totals.bytes += bytes;
                match (manifest.content, file.data_file.equality_ids()) {
                    (ManifestContentType::Data, _) => {
                        totals.records += rows;
                        totals.data_files += 1;
                    }
                    (ManifestContentType::Deletes, None) => {
                        totals.delete_files += 1;
                        totals.position_deletes += rows;
                    }
                    (ManifestContentType::Deletes, Some(_)) => {
                        totals.delete_files += 1;
                        totals.equality_deletes += rows;
                    }
                }
            }
        }
        Ok(totals)
    }

    fn plus(mut self, files: &[DataFile]) -> Totals {
        self.data_files += files.len() as u64;
        self.records += files.iter().map(DataFile::record_count).sum::<u64>();
        self.bytes += files.iter().map(DataFile::file_size_in_bytes).sum::<u64>();
        self
    }

    fn write(self, properties: &mut HashMap<String, String>) {
        let values = [
            self.records,
            self.data_files,
            self.bytes,
            self.delete_files,
            self.position_deletes,
            self.equality_deletes,
        ];
        properties.extend(TOTALS.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value.to_string())));
    }
}

//! What a table's metadata says of its past: which snapshot was current when, and what each one did.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

pub use iceberg::spec::SnapshotRef;

use crate::head::TableHead;
use crate::snapshot::references;

/// What summaries of our own commits have and those of others do not.
const OWN_SUMMARY: &str = "hogflare.";

/// The snapshot that was the head of `main` at a time.
#[derive(Clone, Debug)]
pub enum AsOf {
    Snapshot(SnapshotRef),
    /// The table never had a snapshot: it had no rows then.
    Empty,
    /// The time is before the oldest entry of the snapshot log.
    TooEarly {
        /// Milliseconds since 1970.
        earliest_ms: i64,
    },
}

/// A retained snapshot as plain data.
#[derive(Clone, Debug)]
pub struct SnapshotFacts {
    pub id: i64,
    pub parent_id: Option<i64>,
    /// Milliseconds since 1970.
    pub committed_at_ms: i64,
    pub operation: String,
    pub summary: BTreeMap<String, String>,
    /// Branches and tags at this snapshot, sorted.
    pub references: Vec<String>,
    /// The head of `main`, or an ancestor of it whose descendants are all retained.
    pub on_main: bool,
}

impl SnapshotFacts {
    /// Whether one of our own commits made it.
    pub fn is_ours(&self) -> bool {
        self.summary.keys().any(|key| key.starts_with(OWN_SUMMARY))
    }

    /// A count of the summary, such as `total-records`; none if its writer left it out.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.summary.get(name)?.parse().ok()
    }
}

impl TableHead {
    /// The head of `main` at a time in milliseconds since 1970, by the snapshot log. The log begins
    /// anew where a snapshot of it expires, so it never names a snapshot that another had replaced.
    pub fn snapshot_as_of(&self, time_ms: i64) -> AsOf {
        let entries = self.metadata.history().iter().map(|entry| (entry.timestamp_ms, entry.snapshot_id));
        let mut log: Vec<(i64, &SnapshotRef)> =
            entries.filter_map(|(at_ms, id)| Some((at_ms, self.metadata.snapshot_by_id(id)?))).collect();
        // Metadata of others may have no log.
        if let (true, Some(snapshot)) = (log.is_empty(), self.snapshot()) {
            log.push((snapshot.timestamp_ms(), snapshot));
        }
        let Some((earliest_ms, _)) = log.first() else { return AsOf::Empty };
        match log.iter().rev().find(|(at_ms, _)| *at_ms <= time_ms) {
            Some((_, snapshot)) => AsOf::Snapshot(Arc::clone(snapshot)),
            None => AsOf::TooEarly { earliest_ms: *earliest_ms },
        }
    }

    pub fn snapshot_by_id(&self, id: i64) -> Option<&SnapshotRef> {
        self.metadata.snapshot_by_id(id)
    }

    /// The snapshot of a branch or tag.
    pub fn snapshot_of_reference(&self, name: &str) -> Option<&SnapshotRef> {
        let id = references(&self.metadata).get(name)?.snapshot_id;
        self.metadata.snapshot_by_id(id)
    }

    /// All retained snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotFacts> {
        let on_main = self.ancestors_of_head();
        let mut names: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (name, reference) in references(&self.metadata) {
            names.entry(reference.snapshot_id).or_default().push(name);
        }
        names.values_mut().for_each(|names| names.sort());
        let mut snapshots: Vec<&SnapshotRef> = self.metadata.snapshots().collect();
        snapshots.sort_unstable_by_key(|snapshot| (snapshot.sequence_number(), snapshot.timestamp_ms()));
        let facts = snapshots.into_iter().map(|snapshot| {
            let (id, summary) = (snapshot.snapshot_id(), snapshot.summary());
            SnapshotFacts {
                id,
                parent_id: snapshot.parent_snapshot_id(),
                committed_at_ms: snapshot.timestamp_ms(),
                operation: summary.operation.as_str().to_owned(),
                summary: summary.additional_properties.clone().into_iter().collect(),
                references: names.remove(&id).unwrap_or_default(),
                on_main: on_main.contains(&id),
            }
        });
        facts.collect()
    }

    fn ancestors_of_head(&self) -> HashSet<i64> {
        let mut ancestors = HashSet::new();
        let mut next = self.snapshot();
        while let Some(snapshot) = next {
            // Ids that are met again would be a circle in metadata of others.
            if !ancestors.insert(snapshot.snapshot_id()) {
                break;
            }
            next = snapshot.parent_snapshot_id().and_then(|parent| self.metadata.snapshot_by_id(parent));
        }
        ancestors
    }
}

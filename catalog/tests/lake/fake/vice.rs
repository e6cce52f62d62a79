//! Catalogs and stores that break what exactly-once stands on, for the check that finds them out.

use iceberg::spec::{Snapshot, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use iceberg_catalog_rest::CommitTableRequest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vice {
    /// Puts every commit on the present head, whatever it asserts.
    IgnoresAssertions,
    /// Forgets all table properties that commits set.
    DropsProperties,
    /// Answers 200 to a snapshot id that the table has already.
    TakesSnapshotsTwice,
    /// The store overwrites what it was asked to create.
    OverwritesObjects,
}

/// The request as a catalog of this vice understands it.
pub(super) fn twist(vice: Vice, request: &mut CommitTableRequest, before: &TableMetadata) {
    match vice {
        Vice::IgnoresAssertions => {
            request.requirements.retain(|asserted| !matches!(asserted, TableRequirement::RefSnapshotIdMatch { .. }));
            for update in &mut request.updates {
                if let TableUpdate::AddSnapshot { snapshot } = update {
                    *snapshot = on_top(snapshot, before);
                }
            }
        }
        Vice::DropsProperties => {
            request.updates.retain(|update| !matches!(update, TableUpdate::SetProperties { .. }));
        }
        Vice::TakesSnapshotsTwice => request.updates.retain(|update| match update {
            TableUpdate::AddSnapshot { snapshot } => before.snapshot_by_id(snapshot.snapshot_id()).is_none(),
            _ => true,
        }),
        Vice::OverwritesObjects => {}
    }
}

fn on_top(snapshot: &Snapshot, before: &TableMetadata) -> Snapshot {
    let built = Snapshot::builder()
        .with_snapshot_id(snapshot.snapshot_id())
        .with_parent_snapshot_id(before.current_snapshot_id())
        .with_sequence_number(before.next_sequence_number())
        .with_timestamp_ms(snapshot.timestamp_ms().max(before.last_updated_ms()))
        .with_manifest_list(snapshot.manifest_list())
        .with_summary(snapshot.summary().clone());
    match snapshot.schema_id() {
        Some(schema_id) => built.with_schema_id(schema_id).build(),
        None => built.build(),
    }
}

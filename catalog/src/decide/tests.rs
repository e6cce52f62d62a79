use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{FormatVersion, SortOrder, TableMetadataBuilder};
use uuid::Uuid;

use super::*;
use crate::tables::{Slot, Table, iceberg_schema, partition_spec};

const UUID: Uuid = Uuid::from_u128(7);
const EPOCH: u64 = 3;

fn writer() -> WriterId {
    WriterId::new(Uuid::from_u128(1))
}

/// A table that shows this watermark.
fn head(uuid: Uuid, watermark: Option<&str>) -> TableHead {
    let schema = iceberg_schema(Table::Events).unwrap();
    let spec = partition_spec(Table::Events, &schema).unwrap();
    let property = watermark.map(|text| (writer().watermark_property(Slot::Main), text.to_owned()));
    let metadata = TableMetadataBuilder::new(
        schema,
        spec,
        SortOrder::unsorted_order(),
        "file:///t".to_owned(),
        FormatVersion::V2,
        property.into_iter().collect::<HashMap<_, _>>(),
    );
    let metadata = metadata.unwrap().assign_uuid(uuid).build().unwrap().metadata;
    TableHead::new(Table::Events, Arc::new(metadata), "file:///t/m.json".to_owned()).unwrap()
}

/// Rows 11 to 20 under the snapshot id 500.
fn pending(previous: Option<&str>) -> PendingCommit {
    PendingCommit {
        slot: Slot::Main,
        table: Table::Events,
        table_uuid: UUID,
        incarnation: "i".to_owned(),
        snapshot_id: 500,
        after: 10,
        through: 20,
        previous: previous.map(|text| text.parse().unwrap()),
        files: Vec::new(),
        partition_spec_id: 0,
        received_min_us: 0,
    }
}

#[test]
fn nothing_is_guessed() {
    let check = |shown: Option<&str>, previous: Option<&str>, expected: &str| {
        let decision = decide(&head(UUID, shown), &writer(), EPOCH, &pending(previous), None);
        let name = match decision {
            Decision::Committed => "committed",
            Decision::NotCommitted => "not committed",
            Decision::Fenced { .. } => "fenced",
            Decision::Inconsistent(_) => "inconsistent",
        };
        assert_eq!(name, expected, "shown {shown:?}, before {previous:?}");
    };
    let before = Some("2:10:400");
    check(Some("3:20:500"), before, "committed");
    check(Some("2:20:500"), before, "committed"); // by an earlier start of ours
    check(Some("2:10:400"), before, "not committed");
    check(Some("3:10:400"), before, "not committed"); // claimed again since
    check(None, None, "not committed");
    check(Some("4:20:500"), before, "fenced");
    check(Some("4:10:400"), before, "fenced");
    check(Some("3:20:501"), before, "inconsistent"); // the rows of a copy of us
    check(Some("3:15:450"), before, "inconsistent");
    check(Some("3:25:600"), before, "inconsistent");
    check(Some("2:9:300"), before, "inconsistent"); // rolled back
    check(None, before, "inconsistent"); // the property was removed
    check(Some("2:10:400"), None, "inconsistent");
    check(Some("garbage"), before, "inconsistent");
}

#[test]
fn a_missing_mark_is_a_first_commit_only_if_there_was_none() {
    let record = |table_uuid| CommittedRecord {
        slot: Slot::Main,
        table: Table::Events,
        table_uuid,
        epoch: 1,
        through: 10,
        snapshot_id: 400,
        sequence_number: 1,
        metadata_location: String::new(),
        at_ms: 0,
    };
    let decision =
        |committed: &CommittedRecord| decide(&head(UUID, None), &writer(), EPOCH, &pending(None), Some(committed));
    assert!(matches!(decision(&record(UUID)), Decision::Inconsistent(_)));
    assert_eq!(decision(&record(Uuid::from_u128(8))), Decision::NotCommitted);
}

#[test]
fn another_table_of_the_same_name_is_not_ours() {
    let other = head(Uuid::from_u128(9), Some("3:20:500"));
    assert!(matches!(decide(&other, &writer(), EPOCH, &pending(None), None), Decision::Inconsistent(_)));
}

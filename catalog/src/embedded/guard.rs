//! What a guest may not do to our tables: whatever would break the writer, its watermark, or the view.
//! Everything else is theirs: rows, columns, tags, branches, expiry, maintenance.

use std::sync::Arc;

use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, MAIN_BRANCH, TableMetadata};

use super::answer::RestError;
use crate::error::chain;
use crate::head::TableHead;
use crate::prepare::day_partition_spec;
use crate::tables::{BINDING_PROPERTY, Binding, POSITION_COLUMN, Table, WRITER_COLUMN};

const OWN_PROPERTIES: &str = "hogflare.";

pub(super) fn check_updates(before: &TableMetadata, updates: &[TableUpdate]) -> Result<(), RestError> {
    updates.iter().try_for_each(|update| check_update(before, update))
}

fn check_update(before: &TableMetadata, update: &TableUpdate) -> Result<(), RestError> {
    let refused = |what: &str| Err(RestError::bad_request(format!("{what} of hogflare's own tables")));
    match update {
        TableUpdate::SetProperties { updates } => {
            let changed = |(key, value): (&String, &String)| {
                key.starts_with(OWN_PROPERTIES) && before.properties().get(key) != Some(value)
            };
            if updates.iter().any(changed) {
                return refused("hogflare.* properties cannot be changed: they hold the writer's state");
            }
        }
        TableUpdate::RemoveProperties { removals } if removals.iter().any(|key| key.starts_with(OWN_PROPERTIES)) => {
            return refused("hogflare.* properties cannot be removed: they hold the writer's state");
        }
        TableUpdate::SetLocation { location } if location != before.location() => {
            return refused("the location cannot be changed");
        }
        TableUpdate::AssignUuid { uuid } if *uuid != before.uuid() => return refused("the uuid cannot be changed"),
        TableUpdate::UpgradeFormatVersion { format_version } if *format_version != FormatVersion::V2 => {
            return refused("the format version must stay 2");
        }
        TableUpdate::SetSnapshotRef { ref_name, reference } if ref_name == MAIN_BRANCH && !reference.is_branch() => {
            return refused("main must stay a branch");
        }
        TableUpdate::RemoveSnapshotRef { ref_name } if ref_name == MAIN_BRANCH => {
            return refused("the branch main cannot be removed");
        }
        TableUpdate::RemoveSnapshots { snapshot_ids }
            if before.current_snapshot_id().is_some_and(|head| snapshot_ids.contains(&head)) =>
        {
            return refused("the current snapshot cannot be removed");
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn check_result(
    table: Table,
    before: &TableMetadata,
    after: &TableMetadata,
    now_ms: i64,
) -> Result<(), RestError> {
    check_history(before, after)?;
    check_columns(table, before, after)?;
    check_required(before, after)?;
    check_numbers(before, after, now_ms)?;
    let head = TableHead::new(table, Arc::new(after.clone()), String::new())
        .map_err(|error| RestError::bad_request(format!("hogflare cannot write such a table: {}", chain(&error))))?;
    day_partition_spec(&head).map(|_| ()).map_err(|error| RestError::bad_request(error.to_string()))
}

/// Rows of ours leave columns of others empty, and may leave ours empty where they may be now.
fn check_required(before: &TableMetadata, after: &TableMetadata) -> Result<(), RestError> {
    for field in after.current_schema().as_struct().fields() {
        let was_required = before.current_schema().field_by_id(field.id).is_some_and(|was| was.required);
        if field.required && !was_required {
            let name = &field.name;
            return Err(RestError::bad_request(format!(
                "column {name} cannot be required: hogflare may leave it empty"
            )));
        }
    }
    Ok(())
}

/// Sequence numbers and times that leave no room above them would end our own commits.
fn check_numbers(before: &TableMetadata, after: &TableMetadata, now_ms: i64) -> Result<(), RestError> {
    const AHEAD_MS: i64 = 60_000;
    let added = i64::try_from(after.snapshots().len()).unwrap_or(i64::MAX);
    let sequence_fits = after.last_sequence_number() <= before.last_sequence_number().saturating_add(added);
    let time_fits = after.last_updated_ms() <= now_ms.max(before.last_updated_ms()).saturating_add(AHEAD_MS);
    if sequence_fits && time_fits {
        return Ok(());
    }
    Err(RestError::bad_request("the snapshot's sequence number or time is far ahead of the table's"))
}

/// `main` moves forward only: a rollback would take acknowledged rows out of the table.
fn check_history(before: &TableMetadata, after: &TableMetadata) -> Result<(), RestError> {
    let Some(head) = before.current_snapshot_id() else { return Ok(()) };
    let mut next = after.current_snapshot();
    while let Some(snapshot) = next {
        if snapshot.snapshot_id() == head {
            return Ok(());
        }
        next = snapshot.parent_snapshot_id().and_then(|parent| after.snapshot_by_id(parent));
    }
    Err(RestError::bad_request(
        "main must stay at its snapshot or move to a descendant of it: hogflare's own tables cannot be rolled back",
    ))
}

/// Columns that every row of ours fills must stay, with their type.
fn check_columns(table: Table, before: &TableMetadata, after: &TableMetadata) -> Result<(), RestError> {
    let binding = match before.properties().get(BINDING_PROPERTY) {
        Some(text) => Binding::parse(table, text),
        None => Binding::by_name(table, before.current_schema()),
    };
    for (index, column) in table.columns().iter().enumerate() {
        let kept = column.required || [WRITER_COLUMN, POSITION_COLUMN].contains(&column.name);
        let Some(id) = binding.id(index) else { continue };
        let (was, is) = (before.current_schema().field_by_id(id), after.current_schema().field_by_id(id));
        match (was, is) {
            (Some(_), None) if kept => {
                let name = column.name;
                return Err(RestError::bad_request(format!(
                    "column {name} is written by hogflare and cannot be dropped"
                )));
            }
            (Some(was), Some(is)) if was.field_type != is.field_type => {
                let name = column.name;
                return Err(RestError::bad_request(format!("the type of hogflare's column {name} cannot be changed")));
            }
            _ => {}
        }
    }
    Ok(())
}

//! The decision rule: is a commit in the table, or not, after anything that is not a verified answer?

use crate::head::TableHead;
use crate::journal::{CommittedRecord, PendingCommit};
use crate::watermark::{Watermark, read_watermark};
use crate::writer_id::WriterId;

/// What the table says of a pending commit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// It is in the table.
    Committed,
    /// It is not, and the table is as it was: post again on the new head.
    NotCommitted,
    /// A later start of this writer, from a copy of its folder, took over.
    Fenced { epoch: u64 },
    /// Neither: stop and let a person look.
    Inconsistent(String),
}

/// Committed means that the property holds exactly our position and snapshot id; not committed, that
/// it holds the ones before. Nothing is guessed.
pub(crate) fn decide(
    head: &TableHead,
    writer: &WriterId,
    epoch: u64,
    pending: &PendingCommit,
    committed: Option<&CommittedRecord>,
) -> Decision {
    if head.metadata.uuid() != pending.table_uuid {
        return Decision::Inconsistent(replaced(head.metadata.uuid(), pending.table_uuid));
    }
    let shown = match read_watermark(&head.metadata, writer, pending.slot) {
        Ok(shown) => shown,
        Err(damaged) => return Decision::Inconsistent(damaged),
    };
    match (shown, pending.previous) {
        (Some(shown), _) if shown.epoch > epoch => Decision::Fenced { epoch: shown.epoch },
        (Some(shown), _) if shown.position == pending.through && shown.snapshot_id == pending.snapshot_id => {
            Decision::Committed
        }
        _ if committed.is_some_and(|record| rolled_back(head, record)) => {
            Decision::Inconsistent(committed.map(behind).unwrap_or_default())
        }
        (Some(shown), Some(previous)) if same_mark(shown, previous) => Decision::NotCommitted,
        (None, None) if committed.is_none_or(|record| record.table_uuid != pending.table_uuid) => {
            Decision::NotCommitted
        }
        (shown, previous) => Decision::Inconsistent(format!(
            "the table shows watermark {}, but our journal expects {} or {}:{}",
            or_none(shown),
            or_none(previous),
            pending.through,
            pending.snapshot_id
        )),
    }
}

/// An epoch may be newer than recorded; the rows are the same.
fn same_mark(shown: Watermark, previous: Watermark) -> bool {
    shown.position == previous.position && shown.snapshot_id == previous.snapshot_id
}

fn or_none(watermark: Option<Watermark>) -> String {
    watermark.map_or_else(|| "none".to_owned(), |watermark| watermark.to_string())
}

pub(crate) fn replaced(now: uuid::Uuid, before: uuid::Uuid) -> String {
    format!("the table was replaced: its uuid is {now}, our rows went to {before}")
}

pub(crate) fn behind(committed: &CommittedRecord) -> String {
    format!("the table was rolled back behind snapshot {}, which holds acknowledged rows", committed.snapshot_id)
}

/// Whether the table was rolled back behind our last commit: its history meets an older snapshot
/// without meeting ours. A history that ends above ours is healthy: ours was expired.
pub(crate) fn rolled_back(head: &TableHead, committed: &CommittedRecord) -> bool {
    if head.metadata.uuid() != committed.table_uuid {
        return false;
    }
    let mut next = head.snapshot().cloned();
    if next.is_none() {
        return true;
    }
    while let Some(snapshot) = next {
        if snapshot.sequence_number() <= committed.sequence_number {
            return snapshot.sequence_number() < committed.sequence_number;
        }
        let parent = snapshot.parent_snapshot_id();
        next = parent.and_then(|id| head.metadata.snapshot_by_id(id).cloned());
    }
    false
}

#[cfg(test)]
mod tests;

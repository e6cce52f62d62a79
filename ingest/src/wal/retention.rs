//! When a segment may go: its rows are in their tables, what they say of persons is in the state, and its
//! dedup keys are in their own files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hogflare_catalog::tables::{SLOTS, TABLES};
use hogflare_catalog::{PositionLog, Slot, Table};

use super::Positions;
use crate::identity::STATE_TABLES;

/// How far the log is durable and how far its rows are no longer needed, by (slot, table). Shared
/// between the writer and whoever commits; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct LogPositions {
    marks: Arc<[[Marks; TABLES]; SLOTS]>,
}

#[derive(Debug, Default)]
struct Marks {
    durable: AtomicU64,
    released: AtomicU64,
    /// Of rows about persons and groups: through which the state has them, durably.
    applied: AtomicU64,
}

impl LogPositions {
    /// Position of the last row that is on stable storage and visible; 0 for none.
    pub fn durable_position(&self, slot: Slot, table: Table) -> u64 {
        self.marks(slot, table).durable.load(Ordering::Acquire)
    }

    /// The rows up to a position are in their table, durably: the log need not keep them. A lower
    /// position than before changes nothing. The writer removes segments at its next step.
    pub fn release_through(&self, slot: Slot, table: Table, position: u64) {
        self.marks(slot, table).released.fetch_max(position, Ordering::AcqRel);
    }

    /// The state has the rows up to a position, durably.
    pub(crate) fn apply_through(&self, slot: Slot, table: Table, position: u64) {
        self.marks(slot, table).applied.fetch_max(position, Ordering::AcqRel);
    }

    pub(crate) fn set_durable(&self, slot: Slot, table: Table, position: u64) {
        let before = self.marks(slot, table).durable.swap(position, Ordering::AcqRel);
        assert!(before <= position, "the log never gets shorter while it is open");
    }

    /// Whether no row up to these positions is needed any more.
    pub(crate) fn all_released(&self, last: &Positions) -> bool {
        every(|slot, table| {
            let (last, marks) = (last[slot.index()][table.index()], self.marks(slot, table));
            let is_applied = !STATE_TABLES.contains(&table) || last <= marks.applied.load(Ordering::Acquire);
            is_applied && last <= marks.released.load(Ordering::Acquire)
        })
    }

    fn marks(&self, slot: Slot, table: Table) -> &Marks {
        &self.marks[slot.index()][table.index()]
    }
}

impl PositionLog for LogPositions {
    fn durable_position(&self, slot: Slot, table: Table) -> u64 {
        LogPositions::durable_position(self, slot, table)
    }

    fn release_through(&self, slot: Slot, table: Table, position: u64) {
        LogPositions::release_through(self, slot, table, position);
    }
}

fn every(holds: impl Fn(Slot, Table) -> bool) -> bool {
    Slot::ALL.iter().all(|slot| Table::ALL.iter().all(|table| holds(*slot, *table)))
}

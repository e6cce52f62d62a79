//! What an audit found, as plain data; the server writes it as JSON and the command line as text.

use hogflare_catalog::{Slot, Table};
use serde::Serialize;

use super::balance::GuestSnapshot;

/// The audit of all tables at one instant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditReport {
    /// No table has a problem.
    pub ok: bool,
    pub tables: Vec<TableAudit>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableAudit {
    /// Short name.
    pub table: String,
    /// Current snapshot; none before the first commit.
    pub snapshot_id: Option<String>,
    /// Rows that queries see: those in the table and those on their way to it.
    pub rows: u64,
    pub rows_in_table: u64,
    /// Rows in the table by the current snapshot's own totals, less its position deletes; none if it
    /// does not state them.
    pub rows_stated: Option<u64>,
    /// Rows that no sequence gave: guests wrote them.
    pub rows_of_others: u64,
    /// Positions that every writer counted.
    pub sequences: Vec<SequenceAudit>,
    pub missing: Missing,
    /// Kept snapshots of others that removed rows.
    pub guests: Vec<GuestSnapshot>,
    /// What nobody explains, in words; empty if all is well.
    pub problems: Vec<String>,
}

/// The positions of one writer's slot in one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SequenceAudit {
    /// What `_writer` holds.
    pub writer: String,
    /// `main` or `late` of this server; none for another server's writer, whose tail is unknown here.
    pub slot: Option<&'static str>,
    /// The rows up to here are in the table, by its property.
    pub watermark: u64,
    /// The last position that was given, as far as this server knows.
    pub last: u64,
    /// The last position that the log had shown before the tables were read; none where the log is
    /// another server's.
    pub logged: Option<u64>,
    /// Rows that queries see.
    pub rows: u64,
    /// Positions up to `last` without a row.
    pub missing: u64,
    /// Those of them that commits of ours state as removed.
    pub removed: u64,
    /// Those that are not stated, as the first ranges, both ends included.
    pub missing_ranges: Vec<(u64, u64)>,
    /// How many ranges there are.
    pub missing_range_count: u64,
    /// Rows beyond the first of their position.
    pub repeated: u64,
    /// The first positions that have such rows.
    pub repeated_positions: Vec<u64>,
}

/// Positions that the table should hold and does not, and who says so. Of each kind at most as many as
/// are left by the kinds before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Missing {
    pub total: u64,
    /// Stated by position by commits of ours.
    pub by_us: u64,
    /// Stated as counts by kept snapshots of guests.
    pub by_guests: u64,
    /// Gone before the oldest kept snapshot, by its total: who removed them has expired.
    pub by_expired_snapshots: u64,
    pub unexplained: u64,
}

impl AuditReport {
    /// Compares with what the log has shown since: it cannot have less than what was read before.
    pub(crate) fn check_log(&mut self, logged: impl Fn(Slot, Table) -> u64) {
        for (table, audit) in Table::ALL.into_iter().zip(&mut self.tables) {
            for (slot, sequence) in Slot::ALL.into_iter().zip(&audit.sequences) {
                let (logged, last) = (logged(slot, table), sequence.last);
                if last > logged {
                    let writer = &sequence.writer;
                    audit
                        .problems
                        .push(format!("rows of {writer} go up to {last}, and the log gave them up to {logged}"));
                }
            }
        }
        self.ok = self.tables.iter().all(|table| table.problems.is_empty());
    }
}

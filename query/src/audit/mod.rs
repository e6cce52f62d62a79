//! Proof that no row is lost and none is doubled, by counting.
//!
//! Each writer numbers its rows of a table from 1 without gaps, so the positions themselves are the proof:
//! every one from 1 to the last must have exactly one row, in the table or on its way to it. All of it is
//! read at one view. The positions of a sequence are marked in a bitmap, one bit each and a bounded number
//! at a time, so that duplicates and holes are exact and memory does not grow with the table; equal counts,
//! sums or hashes would be cheaper and prove less.

mod balance;
mod coverage;
mod report;
mod sequence;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::execution::session_state::SessionState;
use futures::TryStreamExt;
use hogflare_catalog::removed::RemovedPositions;
use hogflare_catalog::tables::{SLOTS, TABLES};
use hogflare_catalog::watermark::all_watermarks;
use hogflare_catalog::{ReadView, Slot, Table, TableHead, WriterId};

pub use self::balance::GuestSnapshot;
use self::balance::Stated;
pub use self::report::{AuditReport, Missing, SequenceAudit, TableAudit};
use self::sequence::Sequence;
use crate::engine::execute;
use crate::error::{ErrorCode, Result, SqlError};
use crate::params::Params;
use crate::scan::ScanContext;
use crate::scoped::Scope;
use crate::settings::QuerySettings;
use crate::tables::QueryTables;
use crate::travel::TimeTravel;
use crate::views;

const WRITERS: &str = include_str!("../../../sql/audit/writers.sql");
const POSITIONS: &str = include_str!("../../../sql/audit/positions.sql");
/// The name in these texts that stands for the table's view.
const AUDITED: &str = "audited_table";

/// Last positions by slot and table.
pub(crate) type Positions = [[u64; TABLES]; SLOTS];

/// One audit: what it reads, and at which instant.
pub(crate) struct Audit {
    pub(crate) settings: QuerySettings,
    pub(crate) session: Arc<SessionState>,
    pub(crate) scans: Arc<ScanContext>,
    pub(crate) writer: WriterId,
    pub(crate) view: Arc<ReadView>,
    /// What the log had shown before the view was taken.
    pub(crate) logged: Positions,
}

impl Audit {
    pub(crate) async fn run(self) -> Result<AuditReport> {
        let mut tables = Vec::new();
        for table in Table::ALL {
            tables.push(self.table(table).await?);
        }
        let ok = tables.iter().all(|table: &TableAudit| table.problems.is_empty());
        Ok(AuditReport { ok, tables })
    }

    async fn table(&self, table: Table) -> Result<TableAudit> {
        let not_ready = |error: hogflare_catalog::NotReady| SqlError::new(ErrorCode::NotReady, error.to_string());
        let head = self.view.table(table).map_err(not_ready)?.head;
        let mut problems = Vec::new();
        let removed = head.removed().unwrap_or_else(|unreadable| {
            problems.push(unreadable);
            RemovedPositions::default()
        });
        let sequences = self.sequences(table, &head)?;
        let (shown, committed) = (self.tables(None), self.tables(Some(TimeTravel::default())));
        let rows = self.rows(&shown, table, &sequences).await?;
        let rows_in_table = self.rows(&committed, table, &sequences).await?;

        let mut audited = Vec::new();
        let mut missing_in_table = 0;
        for sequence in &sequences {
            let found = sequence.read(self, &shown, table, removed.of(&sequence.id)).await?;
            sequence.check(&found, &rows, &rows_in_table, &mut problems);
            missing_in_table += found.missing_in_table;
            audited.push(found.report(sequence, &rows));
        }
        let snapshots = head.snapshots();
        let watermarks = sequences.iter().map(|sequence| (sequence.id.clone(), sequence.watermark)).collect();
        let stated = Stated::of(&snapshots, &watermarks, rows_in_table.of_others);
        let missing = explained(missing_in_table, audited.iter().map(|sequence| sequence.removed).sum(), &stated);
        if missing.unexplained > 0 {
            problems.push(unexplained(&missing, &stated, &audited));
        }
        let current = snapshots.iter().find(|snapshot| Some(snapshot.id) == head.metadata.current_snapshot_id());
        let rows_stated = current.and_then(balance::live_rows);
        if let (Some(stated), Some(current)) = (rows_stated, current) {
            // A position that two delete files name is counted twice, and one of a file that is gone too.
            let deletes = current.count("total-position-deletes").unwrap_or(0);
            if !(stated..=stated + deletes).contains(&rows_in_table.total) {
                let counted = rows_in_table.total;
                problems.push(format!("the current snapshot states {stated} rows and holds {counted}"));
            }
        }
        Ok(TableAudit {
            table: table.short_name().to_owned(),
            snapshot_id: current.map(|snapshot| snapshot.id.to_string()),
            rows: rows.total,
            rows_in_table: rows_in_table.total,
            rows_stated,
            rows_of_others: rows.of_others,
            sequences: audited,
            missing,
            guests: stated.guests,
            problems,
        })
    }

    /// Ours, and those of whoever else left a watermark in the table.
    fn sequences(&self, table: Table, head: &TableHead) -> Result<Vec<Sequence>> {
        let damaged = |message: String| SqlError::new(ErrorCode::Internal, message);
        let mut watermarks = all_watermarks(&head.metadata).map_err(damaged)?;
        let mut sequences = Vec::new();
        for slot in Slot::ALL {
            let id = self.writer.slot_id(slot);
            let watermark = watermarks.remove(&id).map_or(0, |mark| mark.position);
            let logged = self.logged[slot.index()][table.index()];
            sequences.push(Sequence::of_ours(id, slot, watermark, self.view.tail(table, slot), logged));
        }
        sequences.extend(watermarks.into_iter().map(|(id, mark)| Sequence::of_another(id, mark.position)));
        Ok(sequences)
    }

    async fn rows(&self, tables: &Arc<QueryTables>, table: Table, sequences: &[Sequence]) -> Result<Rows> {
        let sql = WRITERS.replace(AUDITED, &views::name_of(table));
        let mut batches = execute(tables, &sql, Params::None).await?;
        let mut rows = Rows::default();
        while let Some(batch) = batches.try_next().await? {
            let writers = batch.column(0).as_string::<i32>();
            let (counts, lasts) = (batch.column(1).as_primitive::<Int64Type>(), batch.column(2));
            for ((writer, count), last) in writers.iter().zip(counts.values()).zip(lasts.as_primitive::<Int64Type>()) {
                let count = count.unsigned_abs();
                rows.total += count;
                match writer.filter(|writer| sequences.iter().any(|sequence| sequence.id == *writer)) {
                    Some(writer) => _ = rows.by_sequence.insert(writer.to_owned(), (count, last)),
                    None => rows.of_others += count,
                }
            }
        }
        Ok(rows)
    }

    fn tables(&self, past: Option<TimeTravel>) -> Arc<QueryTables> {
        QueryTables::new(&self.settings, Arc::clone(&self.view), past, Scope::All, &self.scans, &self.session)
    }
}

/// Rows of one read of a table.
#[derive(Debug, Default)]
struct Rows {
    total: u64,
    of_others: u64,
    /// Number and last position of the rows of each sequence that has any.
    by_sequence: BTreeMap<String, (u64, Option<i64>)>,
}

impl Rows {
    fn of(&self, sequence: &Sequence) -> u64 {
        self.by_sequence.get(&sequence.id).map_or(0, |(rows, _)| *rows)
    }

    fn last_of(&self, sequence: &Sequence) -> Option<i64> {
        self.by_sequence.get(&sequence.id).and_then(|(_, last)| *last)
    }
}

/// `not_ours` are missing positions of the table that no commit of ours states.
fn explained(not_ours: u64, by_us: u64, stated: &Stated) -> Missing {
    let by_guests = not_ours.min(stated.by_guests);
    let by_expired_snapshots = (not_ours - by_guests).min(stated.by_expired.saturating_sub(by_us));
    let unexplained = not_ours - by_guests - by_expired_snapshots;
    Missing { total: not_ours + by_us, by_us, by_guests, by_expired_snapshots, unexplained }
}

fn unexplained(missing: &Missing, stated: &Stated, sequences: &[SequenceAudit]) -> String {
    let with_holes = sequences.iter().filter(|sequence| !sequence.missing_ranges.is_empty());
    let holes: Vec<String> = with_holes
        .map(|sequence| format!("{} {}", sequence.writer, ranges_text(&sequence.missing_ranges, 5)))
        .collect();
    let kept = match stated.is_complete {
        true => "",
        false => " (older snapshots have expired, and the oldest total does not explain them either)",
    };
    format!(
        "{} rows are missing and nobody states to have removed them{kept}: {}",
        missing.unexplained,
        holes.join("; ")
    )
}

/// The first ranges, such as `1-3, 7-7 …`.
fn ranges_text(ranges: &[(u64, u64)], shown: usize) -> String {
    let texts: Vec<String> = ranges.iter().take(shown).map(|(from, through)| format!("{from}-{through}")).collect();
    let more = if ranges.len() > shown { " …" } else { "" };
    format!("{}{more}", texts.join(", "))
}

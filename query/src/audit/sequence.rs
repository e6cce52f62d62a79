//! The positions of one writer's slot in one table: what should be there, and what is.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use datafusion::execution::memory_pool::MemoryConsumer;
use futures::TryStreamExt;
use hogflare_catalog::tail::Tail;
use hogflare_catalog::{Slot, Table};

use super::coverage::Coverage;
use super::report::SequenceAudit;
use super::{AUDITED, Audit, POSITIONS, Rows};
use crate::engine::execute;
use crate::error::SqlError;
use crate::params::Params;
use crate::tables::QueryTables;
use crate::views;

/// Ranges and positions that a report lists; the rest is counted.
const LISTED_MAX: usize = 100;

/// What should be there.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: String,
    slot: Option<Slot>,
    pub(super) watermark: u64,
    /// The last position of the table and the tail.
    last: u64,
    /// The last position that the log had shown when the view was taken, or before.
    logged: u64,
    tail_problem: Option<String>,
}

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Rows at positions of the sequence.
    placed: u64,
    /// Missing positions up to the watermark that no commit of ours states as removed.
    pub(super) missing_in_table: u64,
    /// Missing positions above it.
    missing_in_tail: u64,
    /// Missing positions that commits of ours state as removed.
    pub(super) removed: u64,
    /// Positions that are stated as removed and have a row.
    returned: u64,
    ranges: Vec<(u64, u64)>,
    range_count: u64,
    /// The end of the newest range.
    last_missing: u64,
    repeated: u64,
    repeated_positions: Vec<u64>,
}

impl Sequence {
    pub(super) fn of_ours(id: String, slot: Slot, watermark: u64, tail: &Tail, logged: u64) -> Sequence {
        let (last, tail_problem) = match end_of(tail, watermark) {
            Ok(last) => (last, None),
            Err((last, problem)) => (last, Some(format!("{id}: {problem}"))),
        };
        Sequence { id, slot: Some(slot), watermark, last, logged, tail_problem }
    }

    pub(super) fn of_another(id: String, watermark: u64) -> Sequence {
        Sequence { id, slot: None, watermark, last: watermark, logged: watermark, tail_problem: None }
    }

    /// Reads all positions, a bounded number at a time: the rows of a few files have near positions, and
    /// the bounds of the others rule them out.
    pub(super) async fn read(
        &self,
        audit: &Audit,
        tables: &Arc<QueryTables>,
        table: Table,
        removed: &[(u64, u64)],
    ) -> Result<Found, SqlError> {
        let sql = POSITIONS.replace(AUDITED, &views::name_of(table));
        let pool = &audit.session.runtime_env().memory_pool;
        let mut found = Found::default();
        let mut first = 1;
        while first <= self.last {
            let len = audit.settings.audit_positions.clamp(1, self.last - first + 1);
            let memory = MemoryConsumer::new("audit").register(pool);
            memory.try_grow(Coverage::bytes(len))?;
            let mut coverage = Coverage::new(first, len);
            let [from, through] = [first, coverage.last()].map(|end| i64::try_from(end).unwrap_or(i64::MAX));
            let params = vec![ScalarValue::from(self.id.as_str()), from.into(), through.into()];
            let mut batches = execute(tables, &sql, Params::Positional(params)).await?;
            while let Some(batch) = batches.try_next().await? {
                for position in batch.column(0).as_primitive::<Int64Type>().values() {
                    found.add(&mut coverage, position.unsigned_abs());
                }
            }
            found.close(&mut coverage, self.watermark, removed);
            first += len;
        }
        found.repeated_positions.sort_unstable();
        Ok(found)
    }

    /// Says what is wrong beyond missing positions of the table, which others may explain.
    pub(super) fn check(&self, found: &Found, shown: &Rows, in_table: &Rows, problems: &mut Vec<String>) {
        let id = &self.id;
        problems.extend(self.tail_problem.clone());
        if found.repeated > 0 {
            let positions: Vec<String> = found.repeated_positions.iter().take(5).map(u64::to_string).collect();
            let (rows, positions) = (found.repeated, positions.join(", "));
            problems.push(format!("{rows} rows of {id} repeat the position of another, such as {positions}"));
        }
        if found.missing_in_tail > 0 {
            let rows = found.missing_in_tail;
            problems.push(format!("{rows} acknowledged rows of {id} are neither in the table nor on their way to it"));
        }
        if found.returned > 0 {
            problems.push(format!("{} rows of {id} are stated as removed and still there", found.returned));
        }
        let elsewhere = shown.of(self).abs_diff(found.placed);
        if elsewhere > 0 {
            problems.push(format!("{elsewhere} rows of {id} are at no position from 1 to {}", self.last));
        }
        if let Some(last) = in_table.last_of(self).filter(|last| i128::from(*last) > i128::from(self.watermark)) {
            problems.push(format!("the table holds position {last} of {id}, above its watermark {}", self.watermark));
        }
        if self.logged > self.last {
            let (logged, last) = (self.logged, self.last);
            problems.push(format!("the log has rows of {id} up to {logged}, and queries see them up to {last}"));
        }
    }
}

impl Found {
    fn add(&mut self, coverage: &mut Coverage, position: u64) {
        self.placed += 1;
        if coverage.mark(position) {
            return;
        }
        self.repeated += 1;
        if self.repeated_positions.len() < LISTED_MAX && !self.repeated_positions.contains(&position) {
            self.repeated_positions.push(position);
        }
    }

    /// Counts what a range lacks once all its rows were added.
    fn close(&mut self, coverage: &mut Coverage, watermark: u64, removed: &[(u64, u64)]) {
        for (from, through) in removed.iter().map(|(from, through)| (*from, (*through).min(watermark))) {
            self.returned += coverage.marked(from, through);
            self.removed += coverage.unmarked(from, through);
            coverage.mark_all(from, through);
        }
        for (from, through) in coverage.gaps() {
            let in_tail = through.saturating_sub(from.max(watermark + 1) - 1);
            self.missing_in_tail += in_tail;
            self.missing_in_table += through - from + 1 - in_tail;
            self.list(from, through);
        }
    }

    /// A range that goes on in the next part is one range.
    fn list(&mut self, from: u64, through: u64) {
        let goes_on = self.range_count > 0 && from == self.last_missing + 1;
        self.last_missing = through;
        match self.ranges.last_mut() {
            Some((_, last)) if goes_on && *last + 1 == from => *last = through,
            _ if goes_on => {}
            _ => {
                self.range_count += 1;
                if self.ranges.len() < LISTED_MAX {
                    self.ranges.push((from, through));
                }
            }
        }
    }

    pub(super) fn report(self, sequence: &Sequence, rows: &Rows) -> SequenceAudit {
        SequenceAudit {
            writer: sequence.id.clone(),
            slot: sequence.slot.map(Slot::name),
            watermark: sequence.watermark,
            last: sequence.last,
            logged: sequence.slot.map(|_| sequence.logged),
            rows: rows.of(sequence),
            missing: self.missing_in_table + self.missing_in_tail + self.removed,
            removed: self.removed,
            missing_ranges: self.ranges,
            missing_range_count: self.range_count,
            repeated: self.repeated,
            repeated_positions: self.repeated_positions,
        }
    }
}

/// The last position of the table and the tail; the tail must begin behind the watermark and have no gap.
fn end_of(tail: &Tail, watermark: u64) -> Result<u64, (u64, String)> {
    let sealed = tail.sealed.iter().map(|range| (range.record.after + 1, range.record.through));
    let parts = sealed.chain(tail.chunks.iter().map(|chunk| (chunk.first_position, chunk.last_position())));
    let (mut last, mut problem) = (watermark, None);
    for (from, through) in parts {
        if from != last + 1 && problem.is_none() {
            problem = Some(format!("rows on their way to the table go on at {from}, not behind {last}"));
        }
        last = last.max(through);
    }
    match problem {
        None => Ok(last),
        Some(problem) => Err((last, problem)),
    }
}

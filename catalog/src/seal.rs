//! Sealing: open rows become Parquet on the local disk, whether or not the catalog answers.
//!
//! The log stays the authority: a sealed file that is missing or damaged is made again from it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::encode::{encode_days, rows_within_days};
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::lake::{Lake, slots_and_tables};
use crate::objects::{create_folder, sync_folder, write_synced};
use crate::tables::{Binding, Slot, Table, iceberg_schema};
use crate::tail::{Chunk, SealRecord, SealedFile, SealedRange};
use crate::telemetry;

/// A sealed range has at most this many files, and so days.
const DAYS_PER_RANGE: usize = 400;
/// With this many ranges waiting, rows are sealed by size only: a catalog that is away for hours must
/// not be met with thousands of small files.
const WAITING_RANGES: usize = 8;

impl Lake {
    /// Seals what is due: by age, by size, or because tails take too much memory. Blocking.
    pub fn seal_due(&self) -> Result<()> {
        let (leading, others): (Vec<_>, Vec<_>) = slots_and_tables().partition(|(_, table)| table.leads_events());
        let last = |slot, table| self.views.current().tail(table, slot).last_position().unwrap_or(0);
        let due = others.into_iter().filter(|(slot, table)| self.seal_is_due(*slot, *table));
        // What these rows refer to is there with them; what comes now waits.
        let due: Vec<(Slot, Table, u64)> = due.map(|(slot, table)| (slot, table, last(slot, table))).collect();
        // Before the events, so that no range of them is there, or survives a crash, without what it refers to.
        let leads = due.iter().any(|(_, table, _)| *table == Table::Events);
        for (slot, table) in leading {
            if leads {
                self.seal_whole(slot, table)?;
            } else if self.seal_is_due(slot, table) {
                self.seal(slot, table, u64::MAX)?;
            }
        }
        due.into_iter().try_for_each(|(slot, table, last)| self.seal(slot, table, last))
    }

    /// Seals all open rows. Blocking.
    pub fn seal_all(&self) -> Result<()> {
        slots_and_tables().try_for_each(|(slot, table)| self.seal_whole(slot, table))
    }

    pub(crate) fn seal_is_due(&self, slot: Slot, table: Table) -> bool {
        let view = self.views.current();
        let tail = view.tail(table, slot);
        let Some(oldest_us) = tail.chunks.iter().map(|chunk| chunk.received_us).min() else { return false };
        let interval = self.governor.interval(table, self.settings.interval(slot));
        let interval_us = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
        let old = self.is_due(oldest_us, interval_us) && tail.sealed.len() < WAITING_RANGES;
        let pressed = self.views.tail_bytes() > self.settings.tail_bytes_max / 2
            && tail.open_bytes() > self.settings.tail_bytes_max / 16;
        old || pressed || tail.open_bytes() >= self.settings.seal_bytes(slot)
    }

    /// Seals until no row is open that was open at the call.
    fn seal_whole(&self, slot: Slot, table: Table) -> Result<()> {
        let Some(last) = self.views.current().tail(table, slot).last_position() else { return Ok(()) };
        while self.views.current().tail(table, slot).chunks.first().is_some_and(|chunk| chunk.first_position <= last) {
            self.seal(slot, table, last)?;
        }
        Ok(())
    }

    /// Seals the open rows of one (slot, table) up to a position, or as many as fit one range.
    fn seal(&self, slot: Slot, table: Table, last: u64) -> Result<()> {
        let _one_at_a_time = self.sealing.lock();
        // First the pending commit, then the view: rows of a commit that the journal has forgotten are
        // gone from a view taken later.
        let pending_through = self.journal.lock().state(slot, table).pending.as_ref().map(|pending| pending.through);
        let view = self.views.current();
        let chunks = &view.tail(table, slot).chunks;
        let Some(first) = chunks.first().filter(|first| first.first_position <= last) else { return Ok(()) };
        let after = first.first_position - 1;
        let last = pending_through.filter(|through| *through > after).map_or(last, |through| through.min(last));
        let batches = rows_of_one_range(table, chunks, last);
        let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let binding = match view.head(table) {
            Some(head) => head.binding.clone(),
            None => Binding::by_name(table, &iceberg_schema(table)?),
        };
        let stalls = &self.settings.stalls;
        let record = stalls.around("seal", stalls.seal, || {
            let record = SealRecord {
                slot,
                table,
                after,
                through: after + rows,
                files: self.write_range((slot, table), (after, after + rows), &binding, &batches)?,
                columns: binding.to_property(table),
                received_us: chunks.iter().map(|chunk| chunk.received_us).min().unwrap_or(first.received_us),
                sealed_at_ms: self.clock.now_ms(),
            };
            self.journal.lock().sealed(record.clone())?;
            Ok::<_, Error>(record)
        })?;
        telemetry::sealed(&record);
        let folder = range_folder(&self.sealed_folder, &record);
        self.views.publish_sealed(Arc::new(SealedRange::new(record, folder)))
    }

    fn write_range(
        &self,
        (slot, table): (Slot, Table),
        (after, through): (u64, u64),
        binding: &Binding,
        batches: &[RecordBatch],
    ) -> Result<Vec<SealedFile>> {
        let folder = folder_of(&self.sealed_folder, slot, table, after, through);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(Error::io("clear", &folder))?;
        }
        create_folder(&folder)?;
        let days = encode_days(table, binding, batches)?;
        let mut files = Vec::with_capacity(days.len());
        for file in days {
            let name = format!("{}.parquet", file.day);
            write_synced(&folder.join(&name), &file.bytes)?;
            let (bytes, crc32c) = (file.bytes.len() as u64, crc32c::crc32c(&file.bytes));
            files.push(SealedFile { name, day: file.day, rows: file.rows, bytes, crc32c });
        }
        sync_folder(&folder)?;
        Ok(files)
    }
}

/// The first open rows: at most [`DAYS_PER_RANGE`] days, and not beyond `last`. (A pending commit's range is
/// fixed.)
fn rows_of_one_range(table: Table, chunks: &[Arc<Chunk>], last: u64) -> Vec<RecordBatch> {
    let mut batches: Vec<RecordBatch> = chunks.iter().map(|chunk| chunk.batch.clone()).collect();
    let within_last = (last - chunks[0].first_position).saturating_add(1);
    let rows = rows_within_days(table, &batches, DAYS_PER_RANGE).min(within_last);
    let mut left = usize::try_from(rows).unwrap_or(usize::MAX);
    batches.retain_mut(|batch| {
        let taken = batch.num_rows().min(left);
        left -= taken;
        *batch = batch.slice(0, taken);
        taken > 0
    });
    batches
}

fn folder_of(sealed: &Path, slot: Slot, table: Table, after: u64, through: u64) -> std::path::PathBuf {
    sealed.join(slot.name()).join(table.short_name()).join(format!("{after}-{through}"))
}

fn range_folder(sealed: &Path, record: &SealRecord) -> std::path::PathBuf {
    folder_of(sealed, record.slot, record.table, record.after, record.through)
}

/// The sealed ranges of the journal whose files are whole; a range behind a damaged one is made again
/// too, because ranges are contiguous. Folders that no range names are removed.
pub(crate) fn intact_ranges(journal: &Journal, sealed: &Path) -> Result<Vec<SealedRange>> {
    let mut intact = Vec::new();
    for (slot, table) in slots_and_tables() {
        let mut named = Vec::new();
        let state = journal.state(slot, table);
        let mut before = state.committed.as_ref().map(|committed| committed.through);
        for record in &state.seals {
            if before.is_some_and(|before| record.after != before) {
                tracing::warn!(after = record.after, "a sealed range does not follow the table; it is made again");
                break;
            }
            before = Some(record.through);
            let folder = range_folder(sealed, record);
            if !record.files.iter().all(|file| is_intact(&folder.join(&file.name), file)) {
                tracing::warn!(folder = %folder.display(), "a sealed range is damaged; it is made again from the log");
                break;
            }
            named.push(folder.clone());
            intact.push(SealedRange::new(record.clone(), folder));
        }
        remove_others(&sealed.join(slot.name()).join(table.short_name()), &named)?;
    }
    Ok(intact)
}

fn is_intact(path: &Path, file: &SealedFile) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.len() as u64 == file.bytes && crc32c::crc32c(&bytes) == file.crc32c)
}

fn remove_others(folder: &Path, named: &[std::path::PathBuf]) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| !named.contains(&entry.path())) {
        fs::remove_dir_all(entry.path()).map_err(Error::io("remove", &entry.path()))?;
    }
    Ok(())
}

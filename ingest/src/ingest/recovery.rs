//! From a folder to the state at the last acknowledgement.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use hogflare_catalog::frame::Part;
use hogflare_catalog::tables::{SLOTS, TABLES};
use hogflare_catalog::{Slot, Table};
use uuid::Uuid;

use super::{IngestParts, IngestSettings, Recovered, Replay};
use crate::dedup::{Dedup, DedupSettings, Hash};
use crate::identity::Opening;
use crate::wal::{Log, LogError, LogPositions, LogSettings, Positions, ReplayedGroup, find_end, replay};

pub(super) struct Recovery<'a> {
    pub(super) settings: &'a IngestSettings,
    pub(super) parts: &'a IngestParts,
    pub(super) hash: &'a Hash,
    pub(super) replay: Replay<'a>,
}

impl Recovery<'_> {
    /// Reads what was logged, publishes what is not covered, and opens the log behind it. Nothing is
    /// published that a power failure could take back.
    pub(super) fn run(
        &self,
        positions: &LogPositions,
        mut state: Option<&mut Opening>,
    ) -> Result<(Log, Dedup, Recovered), LogError> {
        let IngestParts { disk, clock, .. } = self.parts;
        let folder = self.settings.data_folder.join("wal");
        let writer = writer_bytes(self.settings)?;
        let found = find_end(disk.as_ref(), &folder, writer)?;
        let log_end = found.segments.last().map(|segment| segment.end);
        let dedup_settings = DedupSettings {
            folder: self.settings.data_folder.join("dedup"),
            hash_key: self.settings.hash_key,
            generation_keys: self.settings.dedup_generation_keys,
        };
        let mut dedup = Dedup::open(Arc::clone(disk), Arc::clone(clock), dedup_settings, log_end)?;
        // Without a log, offsets go on behind those that the keys' files name.
        let end =
            log_end.unwrap_or_else(|| Slot::ALL.into_iter().map(|slot| dedup.written_through(slot)).max().unwrap_or(0));

        let mut recovered =
            Recovered { segments: found.segments.len(), cut_bytes: found.cut_bytes, ..Recovered::default() };
        let mut seen = Seen { last: [[None; TABLES]; SLOTS], group: 0 };
        let mut closed = VecDeque::with_capacity(found.segments.len());
        for segment in found.segments {
            let mut visit = |group: ReplayedGroup| {
                if let Some(state) = state.as_deref_mut() {
                    state.redo(&group.rows.parts)?;
                }
                self.visit(group, &mut seen, &mut dedup, &mut recovered)
            };
            closed.push_back(replay(disk.as_ref(), segment, &mut visit)?);
        }
        recovered.next = self.next_positions(&seen, positions);
        if let Some(state) = state {
            state.check(&recovered.next)?;
        }
        recovered.dedup_keys = dedup.keys();
        let settings = LogSettings {
            folder,
            writer,
            segment_bytes: self.settings.segment_bytes,
            wal_bytes_max: self.settings.wal_bytes_max,
            frame_room_bytes: self.settings.frame_room_bytes(),
            stall: self.settings.frame_stall.clone(),
        };
        let log = Log::new(Arc::clone(disk), Arc::clone(clock), settings, (closed, end, seen.group));
        Ok((log, dedup, recovered))
    }

    fn visit(
        &self,
        group: ReplayedGroup,
        seen: &mut Seen,
        dedup: &mut Dedup,
        recovered: &mut Recovered,
    ) -> Result<(), LogError> {
        seen.group = seen.group.max(group.number);
        recovered.frames += 1;
        let mut open = Vec::with_capacity(group.rows.parts.len());
        for part in group.rows.parts {
            seen.check(&part, &self.replay.covered)?;
            recovered.rows += part.batch.num_rows() as u64;
            if part.table == Table::Events && group.offset >= dedup.written_through(part.slot) {
                self.add_keys(&part, dedup);
            }
            open.extend(above(part, self.replay.covered));
        }
        if open.is_empty() {
            return Ok(());
        }
        recovered.published_rows += open.iter().map(|part| part.batch.num_rows() as u64).sum::<u64>();
        let IngestParts { views, .. } = self.parts;
        views.publish_group(open, group.rows.received_us)?;
        if views.tail_bytes() > self.replay.pressure_bytes {
            (self.replay.on_pressure)();
        }
        Ok(())
    }

    fn add_keys(&self, part: &Part, dedup: &mut Dedup) {
        let column = |name: &str| text_column(&part.batch, name);
        let (project, uuid) = (column("api_key"), column("uuid"));
        let (event, distinct_id) = (column("event"), column("distinct_id"));
        for row in 0..part.batch.num_rows() {
            let key = self.hash.of(project.value(row), uuid.value(row), event.value(row), distinct_id.value(row));
            if let Some(key) = key.filter(|key| !dedup.contains(*key)) {
                dedup.insert(part.slot, key);
            }
        }
    }

    fn next_positions(&self, seen: &Seen, positions: &LogPositions) -> Positions {
        let mut next = Positions::default();
        for slot in Slot::ALL {
            for table in Table::ALL {
                let covered = self.replay.covered[slot.index()][table.index()];
                let last = covered.max(seen.last[slot.index()][table.index()].unwrap_or(0));
                positions.set_durable(slot, table, last);
                next[slot.index()][table.index()] = last + 1;
            }
        }
        next
    }
}

/// Position of the last row of each (slot, table) that was read.
struct Seen {
    last: [[Option<u64>; TABLES]; SLOTS],
    group: u64,
}

impl Seen {
    /// Positions go up without a gap, also between the table and the log.
    fn check(&mut self, part: &Part, covered: &Positions) -> Result<(), LogError> {
        let (slot, table) = (part.slot.index(), part.table.index());
        let covered = covered[slot][table];
        let first = part.first_position;
        let fits = match self.last[slot][table] {
            None => first <= covered + 1,
            Some(last) => first > last && first <= last.max(covered) + 1,
        };
        if !fits {
            let (slot, table) = (part.slot.name(), part.table.short_name());
            let before = self.last[part.slot.index()][part.table.index()].unwrap_or(covered);
            return Err(LogError::Refused(format!(
                "the log has row {first} of {table} ({slot}) after row {before}: rows between them are missing; \
                 was a file of the data folder removed or restored from a backup?"
            )));
        }
        self.last[slot][table] = Some(part.last_position());
        Ok(())
    }
}

/// The rows of a part that are not covered.
fn above(part: Part, covered: Positions) -> Option<Part> {
    let covered = covered[part.slot.index()][part.table.index()];
    if part.first_position > covered {
        return Some(part);
    }
    let skip = usize::try_from(covered + 1 - part.first_position).ok()?;
    let rows = part.batch.num_rows().checked_sub(skip).filter(|rows| *rows > 0)?;
    let batch = part.batch.slice(skip, rows);
    Some(Part { first_position: covered + 1, batch, ..part })
}

fn text_column<'a>(batch: &'a RecordBatch, name: &str) -> &'a arrow::array::StringArray {
    batch.column_by_name(name).expect("rows are adopted to the schema of this release").as_string()
}

fn writer_bytes(settings: &IngestSettings) -> Result<[u8; 16], LogError> {
    let id = Uuid::try_parse(settings.writer.as_str());
    id.map(Uuid::into_bytes).map_err(|_| LogError::Refused("the writer id is not a uuid".into()))
}

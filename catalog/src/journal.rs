//! The commit journal: which ranges are sealed, which commit is under way, what was committed last.
//!
//! A file of records `len u32 · crc32c u32 · JSON`, little endian, each synced before the step that
//! it announces. It is rewritten at start and when it grows; per (slot, table) it always keeps the
//! last `committed`, the open seals and the pending record. If it fails, commits stop; ingest goes on.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::objects::{replace_file, sync_folder};
use crate::tables::{SLOTS, Slot, TABLES, Table};
use crate::tail::SealRecord;
use crate::watermark::Watermark;

const MAGIC: &[u8; 8] = b"HFJRNL\x00\x01";
const REWRITE_ABOVE_BYTES: u64 = 4 * 1024 * 1024;
const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Record {
    Seal(SealRecord),
    Pending(PendingCommit),
    Committed(CommittedRecord),
}

/// A commit that may have been posted. Written and synced before the post.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingCommit {
    pub slot: Slot,
    pub table: Table,
    pub table_uuid: uuid::Uuid,
    pub incarnation: String,
    /// Random, 63 bits.
    pub snapshot_id: i64,
    /// The range is `(after, through]`.
    pub after: u64,
    pub through: u64,
    /// The watermark that the table showed before; none if this writer had never committed.
    pub previous: Option<Watermark>,
    /// Data files as Iceberg's JSON form of a data file.
    pub files: Vec<String>,
    pub partition_spec_id: i32,
    /// When the oldest row was received, microseconds since 1970.
    pub received_min_us: i64,
}

/// A commit that the table was seen to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommittedRecord {
    pub slot: Slot,
    pub table: Table,
    pub table_uuid: uuid::Uuid,
    pub epoch: u64,
    pub through: u64,
    pub snapshot_id: i64,
    pub sequence_number: i64,
    pub metadata_location: String,
    pub at_ms: i64,
}

/// What is open for one (slot, table).
#[derive(Clone, Debug, Default)]
pub struct SlotState {
    /// Sealed and not committed, in order.
    pub seals: Vec<SealRecord>,
    pub pending: Option<PendingCommit>,
    pub committed: Option<CommittedRecord>,
}

impl SlotState {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Seal(seal)
                if self.committed.as_ref().is_some_and(|committed| seal.through <= committed.through) => {}
            Record::Seal(seal) => {
                // A range is sealed again when its files were found damaged.
                self.seals.retain(|open| open.through <= seal.after);
                self.seals.push(seal);
            }
            Record::Pending(pending) => self.pending = Some(pending),
            Record::Committed(committed) => {
                self.seals.retain(|seal| seal.through > committed.through);
                self.pending = None;
                self.committed = Some(committed);
            }
        }
    }
}

/// The open journal and what it says.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// The file may end in a torn record, or may not be the one under its name any more.
    dirty: bool,
    state: [[SlotState; TABLES]; SLOTS],
}

impl Journal {
    /// Reads the journal and rewrites it compactly. A torn last record was never relied on and is cut.
    pub fn open(path: &Path) -> Result<Journal> {
        let state = match fs::read(path) {
            Ok(bytes) => read_records(path, &bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let (file, bytes) = rewrite(path, &state)?;
        Ok(Journal { path: path.to_owned(), file, bytes, dirty: false, state })
    }

    pub fn state(&self, slot: Slot, table: Table) -> &SlotState {
        &self.state[slot.index()][table.index()]
    }

    /// Durable when this returns.
    pub fn sealed(&mut self, seal: SealRecord) -> Result<()> {
        self.append((seal.slot, seal.table), Record::Seal(seal))
    }

    /// Durable when this returns.
    pub fn pending(&mut self, pending: PendingCommit) -> Result<()> {
        self.append((pending.slot, pending.table), Record::Pending(pending))
    }

    /// Durable when this returns.
    pub fn committed(&mut self, committed: CommittedRecord) -> Result<()> {
        self.append((committed.slot, committed.table), Record::Committed(committed))
    }

    fn append(&mut self, (slot, table): (Slot, Table), record: Record) -> Result<()> {
        let bytes = encode(&record);
        if self.dirty || self.bytes > REWRITE_ABOVE_BYTES {
            self.compact()?;
        }
        self.dirty = true;
        self.file.write_all(&bytes).map_err(Error::io("write", &self.path))?;
        self.file.sync_data().map_err(Error::io("sync", &self.path))?;
        self.dirty = false;
        self.bytes += bytes.len() as u64;
        self.state[slot.index()][table.index()].apply(record);
        Ok(())
    }

    /// The state holds only what was appended whole, so the file can always be made again from it.
    fn compact(&mut self) -> Result<()> {
        self.dirty = true;
        (self.file, self.bytes) = rewrite(&self.path, &self.state)?;
        self.dirty = false;
        Ok(())
    }
}

fn encode(record: &Record) -> Vec<u8> {
    let json = serde_json::to_vec(record).expect("plain data");
    let mut bytes = Vec::with_capacity(8 + json.len());
    bytes.extend((json.len() as u32).to_le_bytes());
    bytes.extend(crc32c::crc32c(&json).to_le_bytes());
    bytes.extend(json);
    bytes
}

fn read_records(path: &Path, bytes: &[u8]) -> Result<[[SlotState; TABLES]; SLOTS]> {
    let mut state: [[SlotState; TABLES]; SLOTS] = Default::default();
    if bytes.len() < MAGIC.len() || bytes[..MAGIC.len()] != *MAGIC {
        let what = "it does not start as a journal of this format".to_owned();
        return Err(Error::Journal { path: path.to_owned(), offset: 0, what });
    }
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let Some(json) = intact_record(&bytes[at..]) else {
            let torn = !(at + 1..bytes.len()).any(|later| intact_record(&bytes[later..]).is_some());
            if torn {
                tracing::warn!(journal = %path.display(), at, "cut a torn record at the end of the commit journal");
                break;
            }
            let what = "a damaged record stands before intact ones".to_owned();
            return Err(Error::Journal { path: path.to_owned(), offset: at as u64, what });
        };
        let record: Record = serde_json::from_slice(json).map_err(|error| Error::Journal {
            path: path.to_owned(),
            offset: at as u64,
            what: format!("not a record of this release: {error}"),
        })?;
        let (slot, table) = match &record {
            Record::Seal(seal) => (seal.slot, seal.table),
            Record::Pending(pending) => (pending.slot, pending.table),
            Record::Committed(committed) => (committed.slot, committed.table),
        };
        state[slot.index()][table.index()].apply(record);
        at += 8 + json.len();
    }
    Ok(state)
}

fn intact_record(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    if len == 0 || len > RECORD_BYTES_MAX {
        return None;
    }
    let json = bytes.get(8..8 + len)?;
    (crc32c::crc32c(json) == crc).then_some(json)
}

fn rewrite(path: &Path, state: &[[SlotState; TABLES]; SLOTS]) -> Result<(File, u64)> {
    let mut bytes = MAGIC.to_vec();
    for slot in state.iter().flatten() {
        let committed = slot.committed.iter().cloned().map(Record::Committed);
        let seals = slot.seals.iter().cloned().map(Record::Seal);
        let pending = slot.pending.iter().cloned().map(Record::Pending);
        bytes.extend(committed.chain(seals).chain(pending).flat_map(|record| encode(&record)));
    }
    replace_file(path, &bytes)?;
    let file = OpenOptions::new().append(true).open(path).map_err(Error::io("open", path))?;
    sync_folder(path.parent().unwrap_or(Path::new("/")))?;
    Ok((file, bytes.len() as u64))
}

#[cfg(test)]
mod tests;

//! The rows of one (slot, table) that are acknowledged and not yet in the table.
//!
//! Ordered by position: first sealed ranges (local Parquet files), then chunks (Arrow batches).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tables::{Slot, Table};

/// Chunks of fewer rows than this are merged with their neighbours.
const MERGED_ROWS: usize = 8_192;
/// Larger ones are left alone: copying them pays for nothing, and the texts of a column end at 2 GiB.
const MERGED_BYTES_MAX: u64 = 32 << 20;
/// How many chunks of one size class are kept before they become one of the next.
const CHUNKS_PER_CLASS: usize = 8;

/// See the module. Cheap to clone: it holds pointers.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    pub sealed: Vec<Arc<SealedRange>>,
    pub chunks: Vec<Arc<Chunk>>,
}

/// Rows with contiguous positions.
#[derive(Debug)]
pub struct Chunk {
    pub first_position: u64,
    pub batch: RecordBatch,
    /// Microseconds since 1970: when the oldest of the rows was received.
    pub received_us: i64,
    charge: Charge,
}

impl Chunk {
    pub(crate) fn new(first_position: u64, batch: RecordBatch, received_us: i64, budget: &Arc<AtomicU64>) -> Chunk {
        let charge = Charge::new(memory_bytes(&batch), budget);
        Chunk { first_position, batch, received_us, charge }
    }

    pub fn last_position(&self) -> u64 {
        self.first_position + self.batch.num_rows() as u64 - 1
    }

    pub fn bytes(&self) -> u64 {
        self.charge.bytes
    }

    /// The rows above a position, if any.
    pub(crate) fn above(&self, position: u64) -> Option<Chunk> {
        let skip = usize::try_from((position + 1).checked_sub(self.first_position)?).ok()?;
        let rows = self.batch.num_rows().checked_sub(skip).filter(|rows| *rows > 0)?;
        let batch = self.batch.slice(skip, rows);
        Some(Chunk::new(position + 1, batch, self.received_us, &self.charge.budget))
    }
}

/// Memory held by rows of the tail, also by rows that only old views still hold.
#[derive(Debug)]
struct Charge {
    bytes: u64,
    budget: Arc<AtomicU64>,
}

impl Charge {
    fn new(bytes: u64, budget: &Arc<AtomicU64>) -> Charge {
        budget.fetch_add(bytes, Ordering::Relaxed);
        Charge { bytes, budget: Arc::clone(budget) }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

// Arrays that borrow a log frame would each count the whole frame, hence the smaller of two sizes.
fn memory_bytes(batch: &RecordBatch) -> u64 {
    let array_bytes = |array: &dyn Array| {
        let slice = array.to_data().get_slice_memory_size().unwrap_or(0) + 256;
        slice.min(array.get_array_memory_size()) as u64
    };
    batch.columns().iter().map(|array| array_bytes(array)).sum()
}

/// A range of positions that is on the local disk as Parquet, one file per day.
#[derive(Debug)]
pub struct SealedRange {
    pub record: SealRecord,
    /// Folder that holds exactly this range's files.
    pub folder: PathBuf,
    released: AtomicBool,
}

/// What the commit journal says of a sealed range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealRecord {
    pub slot: Slot,
    pub table: Table,
    /// The range is `(after, through]`.
    pub after: u64,
    pub through: u64,
    pub files: Vec<SealedFile>,
    /// `name=id` pairs: the field ids in the files.
    pub columns: String,
    /// When the oldest row was received, microseconds since 1970.
    pub received_us: i64,
    pub sealed_at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedFile {
    /// Name in the range's folder.
    pub name: String,
    /// Days since 1970 of every row in the file.
    pub day: i32,
    pub rows: u64,
    pub bytes: u64,
    pub crc32c: u32,
}

impl SealedRange {
    pub fn new(record: SealRecord, folder: PathBuf) -> SealedRange {
        SealedRange { record, folder, released: AtomicBool::new(false) }
    }

    pub fn bytes(&self) -> u64 {
        self.record.files.iter().map(|file| file.bytes).sum()
    }

    pub fn path(&self, file: &SealedFile) -> PathBuf {
        self.folder.join(&file.name)
    }

    /// The rows are in the table: the files go when the last view lets go of them.
    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
    }
}

impl Drop for SealedRange {
    fn drop(&mut self) {
        if self.released.load(Ordering::Relaxed)
            && let Err(error) = std::fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "cannot remove a committed sealed range");
        }
    }
}

impl Tail {
    pub fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.chunks.is_empty()
    }

    pub fn rows(&self) -> u64 {
        let sealed = self.sealed.iter().map(|range| range.record.through - range.record.after);
        sealed.chain(self.chunks.iter().map(|chunk| chunk.batch.num_rows() as u64)).sum()
    }

    /// When the oldest row was received, microseconds since 1970.
    pub fn oldest_us(&self) -> Option<i64> {
        let sealed = self.sealed.iter().map(|range| range.record.received_us);
        sealed.chain(self.chunks.iter().map(|chunk| chunk.received_us)).min()
    }

    /// Bytes of rows that are not sealed.
    pub fn open_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes()).sum()
    }

    /// Bytes of sealed files.
    pub fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|range| range.bytes()).sum()
    }

    /// Adds the next rows. Small chunks are merged in size classes, so that each row is copied a few
    /// times at most and a query never meets more than some dozens of batches.
    pub(crate) fn push(&mut self, chunk: Chunk) -> Result<()> {
        if let Some(last) = self.last_position() {
            assert_eq!(chunk.first_position, last + 1, "the rows of a tail are contiguous");
        }
        self.chunks.push(Arc::new(chunk));
        while let Some(from) = self.first_to_merge() {
            let merged = merge(&self.chunks[from..])?;
            self.chunks.truncate(from);
            self.chunks.push(Arc::new(merged));
        }
        Ok(())
    }

    /// The last sealed position, or none as 0.
    pub(crate) fn sealed_through(&self) -> u64 {
        self.sealed.last().map_or(0, |range| range.record.through)
    }

    pub(crate) fn last_position(&self) -> Option<u64> {
        let last_sealed = || self.sealed.last().map(|range| range.record.through);
        self.chunks.last().map(|chunk| chunk.last_position()).or_else(last_sealed)
    }

    fn first_to_merge(&self) -> Option<usize> {
        let class = |chunk: &Chunk| chunk.batch.num_rows().ilog2() / CHUNKS_PER_CLASS.ilog2();
        let newest = self.chunks.last().filter(|chunk| chunk.batch.num_rows() < MERGED_ROWS)?;
        let run = self.chunks.iter().rev().take_while(|chunk| class(chunk) <= class(newest));
        let (run, bytes) = run.fold((0, 0), |(run, bytes), chunk| (run + 1, bytes + chunk.bytes()));
        (run >= CHUNKS_PER_CLASS && bytes <= MERGED_BYTES_MAX).then(|| self.chunks.len() - run)
    }

    /// Drops the rows up to a position: they are in the table.
    pub(crate) fn release_through(&mut self, position: u64) {
        self.sealed.retain(|range| {
            let covered = range.record.through <= position;
            if covered {
                range.release();
            }
            !covered
        });
        self.drop_chunks_through(position);
    }

    /// Puts a sealed range in the place of the chunks that it covers.
    pub(crate) fn seal(&mut self, range: Arc<SealedRange>) {
        let after = self.sealed.last().map(|before| before.record.through);
        assert!(after.is_none_or(|through| through == range.record.after), "sealed ranges are contiguous");
        self.drop_chunks_through(range.record.through);
        self.sealed.push(range);
    }

    fn drop_chunks_through(&mut self, position: u64) {
        let kept = self.chunks.iter().filter_map(|chunk| match chunk {
            chunk if chunk.first_position > position => Some(Arc::clone(chunk)),
            chunk => chunk.above(position).map(Arc::new),
        });
        self.chunks = kept.collect();
    }
}

fn merge(chunks: &[Arc<Chunk>]) -> Result<Chunk> {
    let first = &chunks[0];
    let batches = chunks.iter().map(|chunk| &chunk.batch);
    let batch = concat_batches(first.batch.schema_ref(), batches).map_err(Error::arrow("merge rows of the tail"))?;
    let received_us = chunks.iter().map(|chunk| chunk.received_us).min().unwrap_or(first.received_us);
    Ok(Chunk::new(first.first_position, batch, received_us, &first.charge.budget))
}

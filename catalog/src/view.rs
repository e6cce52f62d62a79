//! What a query sees: one immutable view of all tables at one instant.
//!
//! A view holds, for every table, its metadata and the tail above that metadata's watermark. Each
//! acknowledged group and each commit, ours or foreign, replaces the whole view in one swap; a commit
//! swaps the metadata and drops the rows that it covers in the same step. A query takes the view once,
//! for all its tables: nothing is missing, nothing is counted twice, and counts never go down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use iceberg::spec::SnapshotRef;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::frame::Part;
use crate::head::TableHead;
use crate::plan::PlannedFile;
use crate::tables::{SLOTS, Slot, TABLES, Table, present_batch, present_schema};
use crate::tail::{Chunk, SealedRange, Tail};
use crate::watermark::read_watermark;
use crate::writer_id::WriterId;

/// The current view, and the only way to change it.
#[derive(Debug)]
pub struct Views {
    writer: WriterId,
    current: ArcSwap<ReadView>,
    change: Mutex<()>,
    tail_bytes: Arc<AtomicU64>,
}

/// All tables at one instant.
#[derive(Clone, Debug)]
pub struct ReadView {
    tables: [Arc<TableState>; TABLES],
}

#[derive(Clone, Debug)]
struct TableState {
    head: Result<Arc<TableHead>, NotReady>,
    tails: [Tail; SLOTS],
}

/// A table cannot be queried yet; its rows are safe in the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("table {table} is not ready: {reason}")]
pub struct NotReady {
    pub table: &'static str,
    pub reason: Arc<str>,
}

impl Views {
    pub fn new(writer: WriterId) -> Views {
        let tables = Table::ALL.map(|table| {
            let reason = Arc::from("its metadata is not loaded yet");
            let head = Err(NotReady { table: table.short_name(), reason });
            Arc::new(TableState { head, tails: Default::default() })
        });
        let current = ArcSwap::from_pointee(ReadView { tables });
        Views { writer, current, change: Mutex::new(()), tail_bytes: Arc::default() }
    }

    pub fn writer(&self) -> &WriterId {
        &self.writer
    }

    pub fn current(&self) -> Arc<ReadView> {
        self.current.load_full()
    }

    /// Memory of rows that are not sealed, in bytes, including rows that only old views hold.
    pub fn tail_bytes(&self) -> u64 {
        self.tail_bytes.load(Ordering::Relaxed)
    }

    /// Shows the rows of a durable group. Positions continue those of the (slot, table).
    pub fn publish_group(&self, parts: Vec<Part>, received_us: i64) -> Result<()> {
        self.change(|view| {
            for part in parts {
                let state = view.state(part.table);
                let watermark = state.watermark(&self.writer, part.slot)?;
                let chunk = Chunk::new(part.first_position, part.batch, received_us, &self.tail_bytes);
                let above = if chunk.first_position > watermark { Some(chunk) } else { chunk.above(watermark) };
                if let Some(chunk) = above {
                    state.tails[part.slot.index()].push(chunk)?;
                }
            }
            Ok(())
        })
    }

    /// Puts a sealed range in the place of the rows that it holds. If the table came to hold them
    /// meanwhile, the range is not needed.
    pub fn publish_sealed(&self, range: Arc<SealedRange>) -> Result<()> {
        let (table, slot) = (range.record.table, range.record.slot);
        self.change(|view| {
            let state = view.state(table);
            if range.record.through <= state.watermark(&self.writer, slot)? {
                range.release();
            } else {
                state.tails[slot.index()].seal(range);
            }
            Ok(())
        })
    }

    /// Shows a table's new metadata and drops the rows that it covers. Metadata older than what is
    /// shown is ignored, so that publishers need not agree on an order.
    pub fn publish_head(&self, head: Arc<TableHead>) -> Result<()> {
        self.publish_heads(vec![head])
    }

    /// The same for several tables in one step.
    pub fn publish_heads(&self, heads: Vec<Arc<TableHead>>) -> Result<()> {
        self.change(|view| {
            for head in heads {
                let state = view.state(head.table);
                if state.head.as_ref().is_ok_and(|shown| is_older(&head, shown)) {
                    continue;
                }
                state.head = Ok(head);
                for slot in Slot::ALL {
                    let watermark = state.watermark(&self.writer, slot)?;
                    state.tails[slot.index()].release_through(watermark);
                }
            }
            Ok(())
        })
    }

    /// Says why a table that was never loaded still is not.
    pub fn publish_not_ready(&self, table: Table, reason: &str) {
        let unchanged = self.change(|view| {
            let state = view.state(table);
            if state.head.is_err() {
                state.head = Err(NotReady { table: table.short_name(), reason: reason.into() });
            }
            Ok(())
        });
        unchanged.expect("a reason can always be given");
    }

    fn change(&self, change: impl FnOnce(&mut ReadView) -> Result<()>) -> Result<()> {
        let _one_at_a_time = self.change.lock();
        let mut view = ReadView::clone(&self.current.load());
        change(&mut view)?;
        self.current.store(Arc::new(view));
        Ok(())
    }
}

/// The metadata log is the order; clocks only decide where it does not reach.
fn is_older(head: &TableHead, shown: &TableHead) -> bool {
    let age = |head: &TableHead| (head.metadata.last_sequence_number(), head.metadata.last_updated_ms());
    let follows = |new: &TableHead, old: &TableHead| {
        new.metadata.metadata_log().iter().any(|entry| entry.metadata_file == old.metadata_location)
    };
    if head.metadata.uuid() != shown.metadata.uuid() || follows(head, shown) {
        return false;
    }
    follows(shown, head) || age(head) < age(shown)
}

impl ReadView {
    fn state(&mut self, table: Table) -> &mut TableState {
        Arc::make_mut(&mut self.tables[table.index()])
    }

    /// The table with its tail, or why it cannot be read yet.
    pub fn table(&self, table: Table) -> Result<TableView, NotReady> {
        let state = Arc::clone(&self.tables[table.index()]);
        let head = state.head.clone()?;
        Ok(TableView { head, shown: Shown::Present(state) })
    }

    pub fn head(&self, table: Table) -> Option<&Arc<TableHead>> {
        self.tables[table.index()].head.as_ref().ok()
    }

    pub fn tail(&self, table: Table, slot: Slot) -> &Tail {
        &self.tables[table.index()].tails[slot.index()]
    }

    /// Bytes of sealed files that are not yet in their tables.
    pub fn sealed_bytes(&self) -> u64 {
        self.tables.iter().flat_map(|state| &state.tails).map(Tail::sealed_bytes).sum()
    }
}

impl TableState {
    /// Position of the last row of ours in the table; 0 for none, also while the table is unknown.
    fn watermark(&self, writer: &WriterId, slot: Slot) -> Result<u64> {
        let Ok(head) = &self.head else { return Ok(0) };
        let watermark = read_watermark(&head.metadata, writer, slot).map_err(Error::Corrupt)?;
        Ok(watermark.map_or(0, |watermark| watermark.position))
    }
}

/// One table at the instant of its view, or as a snapshot left it.
#[derive(Clone, Debug)]
pub struct TableView {
    pub head: Arc<TableHead>,
    shown: Shown,
}

#[derive(Clone, Debug)]
enum Shown {
    /// The current snapshot and the tail above its watermark.
    Present(Arc<TableState>),
    /// Committed rows alone: properties have no history, so no watermark divides a past from a tail.
    Snapshot { snapshot: Option<SnapshotRef>, schema: SchemaRef },
}

impl TableView {
    /// The table as one of its snapshots left it, under the schema of that time.
    pub fn at(&self, snapshot: SnapshotRef) -> Result<TableView> {
        let schema = snapshot.schema(&self.head.metadata).map_err(Error::iceberg("find the schema of the snapshot"))?;
        let schema = present_schema(&schema)?;
        Ok(TableView { head: Arc::clone(&self.head), shown: Shown::Snapshot { snapshot: Some(snapshot), schema } })
    }

    /// The current snapshot under the present schema, without the tail.
    pub fn committed(&self) -> TableView {
        let (snapshot, schema) = (self.head.snapshot().cloned(), Arc::clone(&self.head.schema));
        TableView { head: Arc::clone(&self.head), shown: Shown::Snapshot { snapshot, schema } }
    }

    /// The table without rows, under its present schema.
    pub fn empty(&self) -> TableView {
        let schema = Arc::clone(&self.head.schema);
        TableView { head: Arc::clone(&self.head), shown: Shown::Snapshot { snapshot: None, schema } }
    }

    /// The snapshot whose files are read; none for a table without one.
    pub fn snapshot(&self) -> Option<&SnapshotRef> {
        match &self.shown {
            Shown::Present(_) => self.head.snapshot(),
            Shown::Snapshot { snapshot, .. } => snapshot.as_ref(),
        }
    }

    /// The table's schema at that instant; fields carry their Iceberg ids as metadata.
    pub fn schema(&self) -> &SchemaRef {
        match &self.shown {
            Shown::Present(_) => &self.head.schema,
            Shown::Snapshot { schema, .. } => schema,
        }
    }

    /// Rows in memory that are not in the table yet, in the present schema.
    pub fn tail_batches(&self) -> Result<Vec<RecordBatch>> {
        let chunks = self.tails().iter().flat_map(|tail| &tail.chunks);
        chunks.map(|chunk| present_batch(&chunk.batch, &self.head.binding, &self.head.schema)).collect()
    }

    /// Rows in local Parquet files that are not in the table yet.
    pub fn sealed_files(&self) -> Vec<PlannedFile> {
        let ranges = self.tails().iter().flat_map(|tail| &tail.sealed);
        ranges.flat_map(|range| PlannedFile::of_sealed(range, &self.head)).collect()
    }

    fn tails(&self) -> &[Tail] {
        match &self.shown {
            Shown::Present(state) => &state.tails,
            Shown::Snapshot { .. } => &[],
        }
    }
}

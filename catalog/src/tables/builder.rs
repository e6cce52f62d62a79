//! Rows → one Arrow batch per (table, slot).

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Int64Builder, LargeBinaryBuilder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};

use super::schema::{UTC, arrow_schema};
use super::{DeadLetterRow, EventRow, GroupRow, Kind, PersonOverrideRow, PersonRow, SLOTS, Slot, TABLES, Table};
use crate::frame::Part;
use crate::writer_id::WriterId;

/// Collects the rows of one group, for all tables and slots, and gives each its position.
#[derive(Debug)]
pub struct GroupBuilder {
    writer: WriterId,
    /// Position of the next row, by slot and table.
    next: [[u64; TABLES]; SLOTS],
    open: [[Option<OpenRows>; TABLES]; SLOTS],
    bytes: usize,
}

#[derive(Debug)]
struct OpenRows {
    first_position: u64,
    columns: ColumnBuilders,
}

/// How many rows a group holds, by table.
pub type RowsInGroup = [u64; TABLES];

impl GroupBuilder {
    /// `next` is the position of the next row of each (slot, table), from 1.
    pub fn new(writer: WriterId, next: [[u64; TABLES]; SLOTS]) -> GroupBuilder {
        GroupBuilder { writer, next, open: Default::default(), bytes: 0 }
    }

    pub fn push_event(&mut self, slot: Slot, row: &EventRow<'_>) {
        self.bytes +=
            256 + row.properties.len() + row.person_properties.map_or(0, str::len) + row.extra.map_or(0, str::len);
        let (columns, position) = self.open(Table::Events, slot);
        row.append(columns, position);
    }

    pub fn push_dead_letter(&mut self, slot: Slot, row: &DeadLetterRow<'_>) {
        self.bytes += 256 + row.raw.map_or(0, <[u8]>::len);
        let (columns, position) = self.open(Table::DeadLetter, slot);
        row.append(columns, position);
    }

    /// Rows about persons and groups are always of now, whatever the day of the event behind them.
    pub fn push_person(&mut self, row: &PersonRow<'_>) {
        self.bytes += 256 + row.text_bytes();
        let (columns, position) = self.open(Table::Persons, Slot::Main);
        row.append(columns, position);
    }

    pub fn push_person_override(&mut self, row: &PersonOverrideRow<'_>) {
        self.bytes += 256 + row.text_bytes();
        let (columns, position) = self.open(Table::PersonOverrides, Slot::Main);
        row.append(columns, position);
    }

    pub fn push_group(&mut self, row: &GroupRow<'_>) {
        self.bytes += 256 + row.text_bytes();
        let (columns, position) = self.open(Table::Groups, Slot::Main);
        row.append(columns, position);
    }

    /// Text bytes pushed since the last [`GroupBuilder::finish`], roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Positions of the next row, by slot and table.
    pub fn next_positions(&self) -> [[u64; TABLES]; SLOTS] {
        self.next
    }

    /// Ends the group: one part per (table, slot) that got rows.
    pub fn finish(&mut self) -> Vec<Part> {
        self.bytes = 0;
        let mut parts = Vec::new();
        for slot in Slot::ALL {
            for table in Table::ALL {
                let Some(rows) = self.open[slot.index()][table.index()].take() else { continue };
                let batch = rows.columns.finish(table);
                parts.push(Part { table, slot, first_position: rows.first_position, batch });
            }
        }
        parts
    }

    fn open(&mut self, table: Table, slot: Slot) -> (&mut ColumnBuilders, u64) {
        let next = &mut self.next[slot.index()][table.index()];
        let position = *next;
        *next += 1;
        let writer = &self.writer;
        let rows = self.open[slot.index()][table.index()].get_or_insert_with(|| OpenRows {
            first_position: position,
            columns: ColumnBuilders::new(table, writer.slot_id(slot)),
        });
        (&mut rows.columns, position)
    }
}

/// One builder per column of a table, filled in the order of its declaration.
#[derive(Debug)]
pub(super) struct ColumnBuilders {
    builders: Vec<ColumnBuilder>,
    next: usize,
    writer: String,
}

#[derive(Debug)]
enum ColumnBuilder {
    Text(StringBuilder),
    Long(Int64Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Boolean(BooleanBuilder),
    Binary(LargeBinaryBuilder),
}

impl ColumnBuilders {
    fn new(table: Table, writer: String) -> ColumnBuilders {
        let builders = table.columns().iter().map(|column| ColumnBuilder::new(column.kind)).collect();
        ColumnBuilders { builders, next: 0, writer }
    }

    pub(super) fn text(&mut self, value: Option<&str>) {
        match self.advance() {
            ColumnBuilder::Text(builder) => builder.append_option(value),
            other => unreachable!("text pushed into {other:?}"),
        }
    }

    pub(super) fn long(&mut self, value: Option<i64>) {
        match self.advance() {
            ColumnBuilder::Long(builder) => builder.append_option(value),
            ColumnBuilder::Timestamp(builder) => builder.append_option(value),
            other => unreachable!("integer pushed into {other:?}"),
        }
    }

    pub(super) fn boolean(&mut self, value: Option<bool>) {
        match self.advance() {
            ColumnBuilder::Boolean(builder) => builder.append_option(value),
            other => unreachable!("boolean pushed into {other:?}"),
        }
    }

    pub(super) fn binary(&mut self, value: Option<&[u8]>) {
        match self.advance() {
            ColumnBuilder::Binary(builder) => builder.append_option(value),
            other => unreachable!("bytes pushed into {other:?}"),
        }
    }

    /// Adds `_writer` and `_position`, the last two columns of every table.
    pub(super) fn finish_row(&mut self, position: u64) {
        let writer = std::mem::take(&mut self.writer);
        self.text(Some(&writer));
        self.writer = writer;
        self.long(Some(i64::try_from(position).expect("positions stay below 2^63")));
        assert_eq!(self.next, self.builders.len(), "a row fills every column once");
        self.next = 0;
    }

    fn advance(&mut self) -> &mut ColumnBuilder {
        self.next += 1;
        &mut self.builders[self.next - 1]
    }

    fn finish(self, table: Table) -> RecordBatch {
        let arrays = self.builders.into_iter().map(ColumnBuilder::finish).collect();
        RecordBatch::try_new(arrow_schema(table), arrays).expect("builders follow the schema of their table")
    }
}

impl ColumnBuilder {
    // Small first capacities: most groups hold a few rows, and the default ones cost 50 kB a batch.
    fn new(kind: Kind) -> ColumnBuilder {
        match kind {
            Kind::Text => ColumnBuilder::Text(StringBuilder::with_capacity(4, 0)),
            Kind::Long => ColumnBuilder::Long(Int64Builder::with_capacity(4)),
            Kind::Timestamp => {
                ColumnBuilder::Timestamp(TimestampMicrosecondBuilder::with_capacity(4).with_timezone(UTC))
            }
            Kind::Boolean => ColumnBuilder::Boolean(BooleanBuilder::with_capacity(4)),
            Kind::Binary => ColumnBuilder::Binary(LargeBinaryBuilder::with_capacity(4, 0)),
        }
    }

    fn finish(self) -> ArrayRef {
        fn shrunk(mut builder: impl ArrayBuilder) -> ArrayRef {
            builder.finish()
        }
        match self {
            ColumnBuilder::Text(builder) => shrunk(builder),
            ColumnBuilder::Long(builder) => shrunk(builder),
            ColumnBuilder::Timestamp(builder) => shrunk(builder),
            ColumnBuilder::Boolean(builder) => shrunk(builder),
            ColumnBuilder::Binary(builder) => shrunk(builder),
        }
    }
}

//! The tables: their columns, in the order in which they are written, and what each is for.
//!
//! A column is declared once, here; the Arrow schema, the Iceberg schema with its docs, the
//! statistics policy and the Bloom filters follow from the declaration.

mod builder;
mod dead_letter;
mod events;
mod groups;
mod person_overrides;
mod persons;
mod schema;

pub use builder::{GroupBuilder, RowsInGroup};
pub use dead_letter::{DeadLetterRow, SourceRow};
pub use events::{EventRow, GROUP_SLOTS, Promoted};
pub use groups::GroupRow;
pub use person_overrides::PersonOverrideRow;
pub use persons::{LISTED_IDS_MAX, PersonRow};
pub(crate) use schema::primitive_type;
pub use schema::{
    BINDING_PROPERTY, Binding, adopt_batch, arrow_schema, field_id, iceberg_schema, partition_spec, present_batch,
    present_schema,
};

use serde::{Deserialize, Serialize};

/// Number of [`Table`]s, for arrays indexed by [`Table::index`].
pub const TABLES: usize = 5;
/// Number of [`Slot`]s, for arrays indexed by [`Slot::index`].
pub const SLOTS: usize = 2;

/// A table of ours. The set is closed: a row of another table cannot be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// One row per event.
    Events,
    /// One row per event or recording that could not be stored as sent, with the reason.
    DeadLetter,
    /// One row per change of a person.
    Persons,
    /// One row per distinct id whose events belong to another person than they are stamped with.
    PersonOverrides,
    /// One row per change of a group.
    Groups,
}

impl Table {
    pub const ALL: [Table; TABLES] =
        [Table::Events, Table::DeadLetter, Table::Persons, Table::PersonOverrides, Table::Groups];

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn from_index(index: u8) -> Option<Table> {
        Self::ALL.get(usize::from(index)).copied()
    }

    /// The name without the prefix of the installation.
    pub fn short_name(self) -> &'static str {
        match self {
            Table::Events => "events",
            Table::DeadLetter => "dead_letter",
            Table::Persons => "persons",
            Table::PersonOverrides => "person_overrides",
            Table::Groups => "groups",
        }
    }

    pub fn columns(self) -> &'static [Column] {
        match self {
            Table::Events => events::COLUMNS,
            Table::DeadLetter => dead_letter::COLUMNS,
            Table::Persons => persons::COLUMNS,
            Table::PersonOverrides => person_overrides::COLUMNS,
            Table::Groups => groups::COLUMNS,
        }
    }

    /// The timestamp column whose day partitions the table.
    pub fn partition_column(self) -> &'static str {
        match self {
            Table::Events => "timestamp",
            Table::DeadLetter => "received_at",
            Table::Persons | Table::Groups => "updated_at",
            Table::PersonOverrides => "created_at",
        }
    }

    /// Whether events refer to its rows, so that these are committed first.
    pub fn leads_events(self) -> bool {
        matches!(self, Table::Persons | Table::PersonOverrides | Table::Groups)
    }

    pub fn column_index(self, name: &str) -> Option<usize> {
        self.columns().iter().position(|column| column.name == name)
    }
}

/// Which of the two sequences of rows a row belongs to. Each (slot, table) counts its own positions
/// and has its own watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// Rows whose day is near the day of receipt.
    Main,
    /// Rows of far days and historical imports: larger, rarer files.
    Late,
}

impl Slot {
    pub const ALL: [Slot; SLOTS] = [Slot::Main, Slot::Late];

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn from_index(index: u8) -> Option<Slot> {
        Self::ALL.get(usize::from(index)).copied()
    }

    pub fn name(self) -> &'static str {
        match self {
            Slot::Main => "main",
            Slot::Late => "late",
        }
    }
}

/// A declared column.
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub bounds: Bounds,
    /// Whether files carry a Bloom filter of this column.
    pub bloom: bool,
    pub doc: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// 64-bit signed integer.
    Long,
    /// Microseconds since 1970, UTC.
    Timestamp,
    Boolean,
    Binary,
}

/// Which minimum and maximum a data file states for a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// The values themselves.
    Full,
    /// The first 16 characters, rounded outwards.
    Truncated,
    /// No bounds, but the number of nulls: the texts are too alike at their start to prune anything.
    Nulls,
    /// No statistics at all: documents.
    None,
}

const fn text(name: &'static str, doc: &'static str) -> Column {
    Column { name, kind: Kind::Text, required: false, bounds: Bounds::Nulls, bloom: false, doc }
}

const fn long(name: &'static str, doc: &'static str) -> Column {
    Column { name, kind: Kind::Long, required: false, bounds: Bounds::Full, bloom: false, doc }
}

const fn timestamp(name: &'static str, doc: &'static str) -> Column {
    Column { name, kind: Kind::Timestamp, required: false, bounds: Bounds::Full, bloom: false, doc }
}

const fn boolean(name: &'static str, doc: &'static str) -> Column {
    Column { name, kind: Kind::Boolean, required: false, bounds: Bounds::Nulls, bloom: false, doc }
}

const fn binary(name: &'static str, doc: &'static str) -> Column {
    Column { name, kind: Kind::Binary, required: false, bounds: Bounds::None, bloom: false, doc }
}

impl Column {
    const fn required(mut self) -> Column {
        self.required = true;
        self
    }

    /// A JSON document.
    const fn document(mut self) -> Column {
        self.bounds = Bounds::None;
        self
    }

    const fn bounded(mut self) -> Column {
        self.bounds = Bounds::Truncated;
        self
    }

    const fn bloom(mut self) -> Column {
        self.bloom = true;
        self
    }
}

/// Name of the column that holds the slot id of the writer.
pub const WRITER_COLUMN: &str = "_writer";
/// Name of the column that counts the rows of a (writer, table) from 1, without gaps.
pub const POSITION_COLUMN: &str = "_position";

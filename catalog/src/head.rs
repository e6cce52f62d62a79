//! A table as the catalog last stated it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use iceberg::spec::{SnapshotRef, TableMetadata};

use crate::error::Result;
use crate::tables::{BINDING_PROPERTY, Binding, Table, present_schema};

/// Metadata of one of our tables, with what is derived from it once.
#[derive(Debug)]
pub struct TableHead {
    pub table: Table,
    pub metadata: Arc<TableMetadata>,
    pub metadata_location: String,
    pub binding: Binding,
    /// The present Arrow schema; fields carry their ids as metadata.
    pub schema: SchemaRef,
}

impl TableHead {
    pub fn new(table: Table, metadata: Arc<TableMetadata>, metadata_location: String) -> Result<TableHead> {
        let schema = metadata.current_schema();
        let binding = match metadata.properties().get(BINDING_PROPERTY) {
            Some(text) => Binding::parse(table, text),
            None => Binding::by_name(table, schema),
        };
        let schema = present_schema(schema)?;
        Ok(TableHead { table, metadata, metadata_location, binding, schema })
    }

    pub fn snapshot(&self) -> Option<&SnapshotRef> {
        self.metadata.current_snapshot()
    }
}

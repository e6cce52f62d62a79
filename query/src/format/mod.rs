//! Rows as bytes, in the format that the client asked for.

mod arrow_ipc;
mod cell;
mod csv;
mod json;
mod parquet_file;
mod types;

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion_functions_json::JSON_UNION_DATA_TYPE;
use parking_lot::Mutex;
use serde_json::Value;

use crate::error::{ErrorCode, Result, SqlError};
use crate::request::Format;

/// Writes an answer piece by piece.
pub(crate) trait RowWriter: Send {
    fn rows(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Writes what makes the answer complete. Without it no reader may take the answer for whole.
    fn finish(&mut self, summary: &Summary) -> Result<()>;
}

/// What is known when all rows are written.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) row_count: usize,
    /// Whether there were more rows than the limit.
    pub(crate) truncated: bool,
    pub(crate) stats: Value,
}

/// A writer for the rows of a query, and the sink that it fills.
pub(crate) fn writer(format: Format, query_id: &str, schema: &SchemaRef) -> Result<(Box<dyn RowWriter>, Sink)> {
    let sink = Sink::default();
    let out = sink.clone();
    let writer: Box<dyn RowWriter> = match format {
        Format::Json => Box::new(json::Document::begin(out, query_id, schema)),
        Format::Ndjson => Box::new(json::Lines::begin(out, unique_names(schema)?)),
        Format::Csv => Box::new(csv::Csv::begin(out, schema)),
        Format::Arrow => Box::new(arrow_ipc::Ipc::begin(out, &plain_schema(schema))?),
        Format::Parquet => Box::new(parquet_file::File::begin(out, &plain_schema(unique_names(schema)?))?),
    };
    Ok((writer, sink))
}

/// Formats with one field per name cannot hold two columns of one name.
fn unique_names(schema: &SchemaRef) -> Result<&SchemaRef> {
    let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            let message = format!("two columns are named {}; give one another name with AS", pair[0]);
            Err(SqlError::new(ErrorCode::InvalidParameter, message))
        }
        None => Ok(schema),
    }
}

/// Bytes that a writer has written and the engine has not yet taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Sink {
    pub(crate) fn len(&self) -> usize {
        self.bytes.lock().len()
    }

    pub(crate) fn take(&self) -> Bytes {
        Bytes::from(std::mem::take(&mut *self.bytes.lock()))
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes.lock());
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The schema for Arrow and Parquet readers: no field ids, and JSON values as text, because few know
/// what a union is.
fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let is_json = field.data_type() == &*JSON_UNION_DATA_TYPE;
        let data_type = if is_json { DataType::Utf8 } else { field.data_type().clone() };
        Field::new(field.name(), data_type, field.is_nullable() || is_json)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows in the [`plain_schema`].
fn plain_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| {
        if column.data_type() != &*JSON_UNION_DATA_TYPE {
            return Arc::clone(column);
        }
        let texts = (0..column.len()).map(|row| cell::json_text(column.as_ref(), row));
        Arc::new(StringArray::from_iter(texts)) as ArrayRef
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).map_err(|error| crate::error::internal(&error))
}

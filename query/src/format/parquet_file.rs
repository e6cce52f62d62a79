//! A Parquet file, zstd.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::{RowWriter, Sink, Summary, plain_batch};
use crate::error::{ErrorCode, Result, SqlError, internal};

/// Rows of a row group: what the writer holds in memory.
const ROW_GROUP_ROWS: usize = 65_536;

pub(super) struct File {
    /// None once the footer is written.
    writer: Option<ArrowWriter<Sink>>,
    schema: SchemaRef,
}

impl File {
    pub(super) fn begin(out: Sink, schema: &SchemaRef) -> Result<File> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(Default::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(out, SchemaRef::clone(schema), Some(properties)).map_err(|error| {
            let message = format!("Parquet cannot hold this result: {error}");
            SqlError::new(ErrorCode::InvalidParameter, message)
        })?;
        Ok(File { writer: Some(writer), schema: SchemaRef::clone(schema) })
    }
}

impl RowWriter for File {
    fn rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = plain_batch(batch, &self.schema)?;
        let Some(writer) = &mut self.writer else { return Err(internal(&"rows after the footer")) };
        writer.write(&batch).map_err(|error| internal(&error))
    }

    fn finish(&mut self, _: &Summary) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        writer.close().map(drop).map_err(|error| internal(&error))
    }
}

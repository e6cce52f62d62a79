//! An Arrow IPC stream, uncompressed.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;

use super::{RowWriter, Sink, Summary, plain_batch};
use crate::error::{Result, internal};

pub(super) struct Ipc {
    writer: StreamWriter<Sink>,
    schema: SchemaRef,
}

impl Ipc {
    pub(super) fn begin(out: Sink, schema: &SchemaRef) -> Result<Ipc> {
        let writer = StreamWriter::try_new(out, schema).map_err(|error| internal(&error))?;
        Ok(Ipc { writer, schema: SchemaRef::clone(schema) })
    }
}

impl RowWriter for Ipc {
    fn rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = plain_batch(batch, &self.schema)?;
        self.writer.write(&batch).map_err(|error| internal(&error))
    }

    fn finish(&mut self, _: &Summary) -> Result<()> {
        self.writer.finish().map_err(|error| internal(&error))
    }
}

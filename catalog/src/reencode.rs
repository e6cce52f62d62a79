//! Sealed files whose field ids do not fit the table are written again.

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::encode::encode_days;
use crate::error::{Error, Result};
use crate::tables::{Binding, Table, adopt_batch};

/// The rows of a sealed file of one day, with the field ids of `binding`.
pub(crate) fn reencode(table: Table, binding: &Binding, file: Bytes) -> Result<Bytes> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.build())
        .map_err(Error::parquet("open a sealed file"))?;
    let batches = reader.map(|batch| {
        let batch = batch.map_err(Error::arrow("read a sealed file"))?;
        adopt_batch(&batch, table)
    });
    let batches = batches.collect::<Result<Vec<RecordBatch>>>()?;
    let days = encode_days(table, binding, &batches)?;
    match <[_; 1]>::try_from(days) {
        Ok([day]) => Ok(Bytes::from(day.bytes)),
        Err(days) => Err(Error::Corrupt(format!("a sealed file holds {} days instead of one", days.len()))),
    }
}

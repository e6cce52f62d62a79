//! RFC 4180 with a header. Null is an empty field, empty text is `""`.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::cell::{Cell, cell, write_plain};
use super::{RowWriter, Sink, Summary};
use crate::error::Result;

pub(super) struct Csv {
    out: Sink,
}

impl Csv {
    pub(super) fn begin(out: Sink, schema: &SchemaRef) -> Csv {
        out.append(|out| {
            for (index, field) in schema.fields().iter().enumerate() {
                separate(index, out);
                write_field(&Cell::Text(field.name().as_str().into()), out);
            }
            out.extend_from_slice(b"\r\n");
        });
        Csv { out }
    }
}

impl RowWriter for Csv {
    fn rows(&mut self, batch: &RecordBatch) -> Result<()> {
        self.out.append(|out| {
            for row in 0..batch.num_rows() {
                for (index, column) in batch.columns().iter().enumerate() {
                    separate(index, out);
                    write_field(&cell(column.as_ref(), row), out);
                }
                out.extend_from_slice(b"\r\n");
            }
        });
        Ok(())
    }

    fn finish(&mut self, _: &Summary) -> Result<()> {
        Ok(())
    }
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

fn write_field(cell: &Cell<'_>, out: &mut Vec<u8>) {
    let text = match cell {
        Cell::Text(text) => text.as_ref(),
        Cell::Json(json) => json.as_str(),
        cell => return write_plain(cell, out),
    };
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend(text.replace('"', "\"\"").bytes());
    out.push(b'"');
}

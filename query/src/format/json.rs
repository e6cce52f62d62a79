//! One JSON document, or one JSON object a line.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde_json::json;

use super::cell::{cell, write_json, write_string};
use super::{RowWriter, Sink, Summary, types};
use crate::error::Result;

/// `{"query_id","columns":[{"name","type","nullable"}],"rows":[[…]],"row_count","truncated","stats"}`.
pub(super) struct Document {
    out: Sink,
    rows: usize,
}

impl Document {
    pub(super) fn begin(out: Sink, query_id: &str, schema: &SchemaRef) -> Document {
        let columns = schema.fields().iter().map(|field| {
            json!({ "name": field.name(), "type": types::name(field.data_type()), "nullable": field.is_nullable() })
        });
        let columns = serde_json::Value::from_iter(columns);
        let query_id = serde_json::Value::from(query_id);
        out.append(|out| out.extend(format!(r#"{{"query_id":{query_id},"columns":{columns},"rows":["#).bytes()));
        Document { out, rows: 0 }
    }
}

impl RowWriter for Document {
    fn rows(&mut self, batch: &RecordBatch) -> Result<()> {
        self.out.append(|out| {
            for row in 0..batch.num_rows() {
                if self.rows > 0 {
                    out.push(b',');
                }
                self.rows += 1;
                out.push(b'[');
                for (index, column) in batch.columns().iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_json(&cell(column.as_ref(), row), out);
                }
                out.push(b']');
            }
        });
        Ok(())
    }

    fn finish(&mut self, summary: &Summary) -> Result<()> {
        let Summary { row_count, truncated, stats } = summary;
        let end = format!(r#"],"row_count":{row_count},"truncated":{truncated},"stats":{stats}}}"#);
        self.out.append(|out| out.extend(end.bytes()));
        Ok(())
    }
}

/// One object a line, without an end mark: the end of the transfer is the end of the answer.
pub(super) struct Lines {
    out: Sink,
    /// `"name":` of each column.
    keys: Vec<Vec<u8>>,
}

impl Lines {
    pub(super) fn begin(out: Sink, schema: &SchemaRef) -> Lines {
        let keys = schema.fields().iter().map(|field| {
            let mut key = Vec::new();
            write_string(field.name(), &mut key);
            key.push(b':');
            key
        });
        Lines { out, keys: keys.collect() }
    }
}

impl RowWriter for Lines {
    fn rows(&mut self, batch: &RecordBatch) -> Result<()> {
        self.out.append(|out| {
            for row in 0..batch.num_rows() {
                out.push(b'{');
                for (index, (key, column)) in self.keys.iter().zip(batch.columns()).enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    write_json(&cell(column.as_ref(), row), out);
                }
                out.extend_from_slice(b"}\n");
            }
        });
        Ok(())
    }

    fn finish(&mut self, _: &Summary) -> Result<()> {
        Ok(())
    }
}

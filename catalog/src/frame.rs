//! The body of a log frame: the rows of one group, for all tables, as Arrow IPC messages.
//!
//! Bytes only, no I/O. The caller checks length and checksum first: the Arrow reader does not
//! protect against damage (one flipped bit may give other values without an error).
//!
//! ```text
//! group:  received_us u64 · parts u16 · 6 zero bytes · per part 32 bytes:
//!         {table u8, slot u8, schema_id u16, rows u32, first_position u64, meta_len u32, body_len u32, zero u64}
//!         · per part: message, padded to 8 · buffers, padded to 8
//! schema: schema_id u16 · table u8 · 5 zero bytes · IPC schema message
//! ```
//! All integers are little endian.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{CompressionContext, DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow::ipc::{CompressionType, MetadataVersion, root_as_message};
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::tables::{Slot, Table, adopt_batch, arrow_schema};

/// Rows above this size are compressed with LZ4; below, compression costs more than it saves.
const COMPRESS_ABOVE_BYTES: usize = 64 * 1024;
const GROUP_HEADER_BYTES: usize = 16;
const PART_HEADER_BYTES: usize = 32;
const SCHEMA_HEADER_BYTES: usize = 8;

/// Rows of one table and slot, with contiguous positions.
#[derive(Clone, Debug)]
pub struct Part {
    pub table: Table,
    pub slot: Slot,
    pub first_position: u64,
    pub batch: RecordBatch,
}

impl Part {
    /// Position of the last row.
    pub fn last_position(&self) -> u64 {
        self.first_position + self.batch.num_rows() as u64 - 1
    }
}

/// Everything that one group appended.
#[derive(Debug)]
pub struct Group {
    /// Microseconds since 1970: when its first request was received.
    pub received_us: i64,
    pub parts: Vec<Part>,
}

/// The id under which this release logs the schema of a table.
pub fn schema_id(table: Table) -> u16 {
    table as u16
}

/// The body of the schema frame that a segment holds before the table's first rows.
pub fn encode_schema(table: Table) -> Vec<u8> {
    let mut tracker = DictionaryTracker::new(false);
    let schema = arrow_schema(table);
    let message =
        IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &options(false));
    let mut body = Vec::with_capacity(SCHEMA_HEADER_BYTES + message.ipc_message.len());
    body.extend(schema_id(table).to_le_bytes());
    body.push(table as u8);
    body.extend([0; 5]);
    body.extend(message.ipc_message);
    body
}

/// Appends the body of a group frame to `out`.
pub fn encode(received_us: i64, parts: &[Part], out: &mut Vec<u8>) -> Result<()> {
    out.extend(received_us.to_le_bytes());
    out.extend((parts.len() as u16).to_le_bytes());
    out.extend([0; 6]);
    let headers_at = out.len();
    out.resize(headers_at + parts.len() * PART_HEADER_BYTES, 0);
    for (index, part) in parts.iter().enumerate() {
        let (meta_len, body_len) = encode_batch(&part.batch, out)?;
        let header = &mut out[headers_at + index * PART_HEADER_BYTES..][..PART_HEADER_BYTES];
        header[0] = part.table as u8;
        header[1] = part.slot as u8;
        header[2..4].copy_from_slice(&schema_id(part.table).to_le_bytes());
        header[4..8].copy_from_slice(&(part.batch.num_rows() as u32).to_le_bytes());
        header[8..16].copy_from_slice(&part.first_position.to_le_bytes());
        header[16..20].copy_from_slice(&meta_len.to_le_bytes());
        header[20..24].copy_from_slice(&body_len.to_le_bytes());
    }
    Ok(())
}

fn encode_batch(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(u32, u32)> {
    let compressed = batch.get_array_memory_size() > COMPRESS_ABOVE_BYTES;
    let mut tracker = DictionaryTracker::new(false);
    let (_, message) = IpcDataGenerator::default()
        .encode(batch, &mut tracker, &options(compressed), &mut CompressionContext::default())
        .map_err(Error::arrow("encode rows for the log"))?;
    out.extend_from_slice(&message.ipc_message);
    pad(out);
    out.extend_from_slice(&message.arrow_data);
    pad(out);
    Ok((message.ipc_message.len() as u32, message.arrow_data.len() as u32))
}

fn options(compressed: bool) -> IpcWriteOptions {
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).expect("8 is an allowed alignment");
    let compression = compressed.then_some(CompressionType::LZ4_FRAME);
    options.try_with_compression(compression).expect("LZ4 is compiled in")
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(8), 0);
}

/// The schemas of one segment, by id.
#[derive(Debug, Default)]
pub struct SchemaSet {
    by_id: HashMap<u16, SchemaRef>,
}

impl SchemaSet {
    /// Takes the body of a schema frame.
    pub fn add(&mut self, body: &[u8]) -> Result<()> {
        let damaged = |what: &str| Error::Frame(format!("schema: {what}"));
        let id = body.get(..2).ok_or_else(|| damaged("too short"))?;
        let message = body.get(SCHEMA_HEADER_BYTES..).ok_or_else(|| damaged("too short"))?;
        let message = root_as_message(message).map_err(|error| damaged(&error.to_string()))?;
        let schema = message.header_as_schema().ok_or_else(|| damaged("not a schema message"))?;
        let id = u16::from_le_bytes([id[0], id[1]]);
        self.by_id.insert(id, SchemaRef::new(fb_to_schema(schema)));
        Ok(())
    }

    pub fn contains(&self, table: Table) -> bool {
        self.by_id.contains_key(&schema_id(table))
    }
}

/// Reads the body of a group frame; the arrays borrow its bytes.
pub fn decode(body: Bytes, schemas: &SchemaSet) -> Result<Group> {
    let damaged = |what: &str| Error::Frame(what.to_owned());
    let buffer = Buffer::from(body);
    let bytes = buffer.as_slice();
    let header = bytes.get(..GROUP_HEADER_BYTES).ok_or_else(|| damaged("shorter than its header"))?;
    let received_us = i64::from_le_bytes(header[..8].try_into().expect("eight bytes"));
    let count = usize::from(u16::from_le_bytes([header[8], header[9]]));
    let mut parts = Vec::with_capacity(count.min(64));
    let mut at = GROUP_HEADER_BYTES + count * PART_HEADER_BYTES;
    for index in 0..count {
        let header = bytes.get(GROUP_HEADER_BYTES + index * PART_HEADER_BYTES..).and_then(|rest| rest.get(..24));
        let header = header.ok_or_else(|| damaged("part header is cut"))?;
        let word = |from: usize| u32::from_le_bytes(header[from..from + 4].try_into().expect("four bytes")) as usize;
        let (meta_len, body_len) = (word(16), word(20));
        let meta = bytes.get(at..at + meta_len).ok_or_else(|| damaged("message is cut"))?;
        let body_at = (at + meta_len).next_multiple_of(8);
        if body_at + body_len > bytes.len() {
            return Err(damaged("buffers are cut"));
        }
        let table = Table::from_index(header[0]).ok_or_else(|| {
            Error::Refused(format!("the log holds rows of table {}, which a later release wrote", header[0]))
        })?;
        let slot = Slot::from_index(header[1]).ok_or_else(|| damaged("unknown slot"))?;
        let schema_id = u16::from_le_bytes([header[2], header[3]]);
        let schema = schemas.by_id.get(&schema_id).ok_or_else(|| damaged("its schema is not in the segment"))?;
        let batch = decode_batch(meta, &buffer.slice_with_length(body_at, body_len), schema)?;
        if batch.num_rows() != word(4) || batch.num_rows() == 0 {
            return Err(damaged("row count does not match"));
        }
        let first_position = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
        parts.push(Part { table, slot, first_position, batch: adopt_batch(&batch, table)? });
        at = (body_at + body_len).next_multiple_of(8);
    }
    Ok(Group { received_us, parts })
}

fn decode_batch(meta: &[u8], body: &Buffer, schema: &SchemaRef) -> Result<RecordBatch> {
    let message = root_as_message(meta).map_err(|error| Error::Frame(error.to_string()))?;
    let batch = message.header_as_record_batch().ok_or_else(|| Error::Frame("not a batch message".into()))?;
    read_record_batch(body, batch, SchemaRef::clone(schema), &HashMap::new(), None, &message.version())
        .map_err(Error::arrow("read rows from the log"))
}

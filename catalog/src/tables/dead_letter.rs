//! `hogflare_dead_letter`: what could not be stored as sent, and why.

use super::builder::ColumnBuilders;
use super::{Column, binary, long, text, timestamp};

#[derive(Clone, Debug, Default)]
pub struct DeadLetterRow<'a> {
    /// Made here, also when the event's own is bad.
    pub uuid: &'a str,
    /// Microseconds since 1970, UTC.
    pub received_at_us: i64,
    pub api_key: Option<&'a str>,
    /// Route without the query.
    pub path: &'a str,
    /// A closed set of codes, see `hogflare_ingest::protocol`.
    pub reason: &'a str,
    /// A sentence without payload, at most 500 characters.
    pub detail: Option<&'a str>,
    pub event: Option<&'a str>,
    pub distinct_id: Option<&'a str>,
    pub event_uuid: Option<&'a str>,
    /// Index in the batch.
    pub item: Option<i64>,
    pub lib: Option<&'a str>,
    /// At most the first 16 KiB of the event.
    pub raw: Option<&'a [u8]>,
    pub raw_length_bytes: i64,
    /// For `encode_failed`: the row that this one replaces.
    pub source: Option<SourceRow<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct SourceRow<'a> {
    pub table: &'a str,
    pub writer: &'a str,
    pub position: i64,
}

pub(super) const COLUMNS: &[Column] = &[
    text("uuid", "Id of this row").required().bounded(),
    timestamp("received_at", "When it was received (UTC)").required(),
    text("api_key", "Project token, if known").bounded(),
    text("path", "Route that received it").required(),
    text("reason", "Code of why it was not stored as an event").required().bounded(),
    text("detail", "The reason as a sentence"),
    text("event", "Name of the event, if readable"),
    text("distinct_id", "Distinct id, if readable"),
    text("event_uuid", "Id of the event as sent, at most 64 characters"),
    long("item", "Index in the batch, from 0"),
    text("lib", "SDK that sent it"),
    binary("raw", "First 16 KiB of the event as received, decompressed"),
    long("raw_length", "Full length in bytes; above the length of raw, it was cut").required(),
    text("source_table", "For encode_failed: table of the row that this one replaces"),
    text("source_writer", "For encode_failed: writer of that row"),
    long("source_position", "For encode_failed: position of that row"),
    text("_writer", "Id of the writer that stored the row").bounded(),
    long("_position", "Number of the row in its writer's sequence, from 1, without gaps"),
];

impl DeadLetterRow<'_> {
    /// Appends the row; the order is that of [`COLUMNS`].
    pub(super) fn append(&self, columns: &mut ColumnBuilders, position: u64) {
        columns.text(Some(self.uuid));
        columns.long(Some(self.received_at_us));
        columns.text(self.api_key);
        columns.text(Some(self.path));
        columns.text(Some(self.reason));
        columns.text(self.detail);
        columns.text(self.event);
        columns.text(self.distinct_id);
        columns.text(self.event_uuid);
        columns.long(self.item);
        columns.text(self.lib);
        columns.binary(self.raw);
        columns.long(Some(self.raw_length_bytes));
        columns.text(self.source.map(|source| source.table));
        columns.text(self.source.map(|source| source.writer));
        columns.long(self.source.map(|source| source.position));
        columns.finish_row(position);
    }
}

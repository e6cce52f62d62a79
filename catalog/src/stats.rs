//! What a data file states about its columns: sizes, counts and bounds that never exclude a live row.
//!
//! Bounds come from the Parquet footer. A bound that the writer cut is still right, because it rounds
//! outwards; but if any row group with values lacks one, the file states none for that column.

use std::collections::HashMap;

use bytes::Bytes;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, PrimitiveType, Schema, Struct, Type,
};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::statistics::Statistics;

use crate::error::{Error, Result};
use crate::tables::{Bounds, Table};

const BOUND_CHARS: usize = 16;

/// Where a data file goes and under which partition.
#[derive(Debug)]
pub(crate) struct Placement {
    pub location: String,
    pub partition_spec_id: i32,
    /// Days since 1970: the value of the one partition field.
    pub day: i32,
}

/// Describes a Parquet file of ours as an Iceberg data file. `schema` is the table's present one.
pub(crate) fn data_file(table: Table, schema: &Schema, placement: &Placement, file: &Bytes) -> Result<DataFile> {
    let footer = ParquetMetaDataReader::new().parse_and_finish(file).map_err(Error::parquet("read a footer"))?;
    let mut statistics = FileStatistics::default();
    for column in 0..footer.file_metadata().schema_descr().num_columns() {
        statistics.add_column(table, schema, &footer, column);
    }
    let rows = u64::try_from(footer.file_metadata().num_rows()).expect("row counts are not negative");
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(placement.location.clone())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::date(placement.day))]))
        .partition_spec_id(placement.partition_spec_id)
        .record_count(rows)
        .file_size_in_bytes(file.len() as u64)
        .column_sizes(statistics.sizes)
        .value_counts(statistics.values)
        .null_value_counts(statistics.nulls)
        .lower_bounds(statistics.lower)
        .upper_bounds(statistics.upper)
        .split_offsets(Some(footer.row_groups().iter().map(first_byte).collect()))
        .build()
        .map_err(|error| Error::Corrupt(format!("cannot describe {}: {error}", placement.location)))
}

fn first_byte(group: &parquet::file::metadata::RowGroupMetaData) -> i64 {
    i64::try_from(group.column(0).byte_range().0).expect("offsets fit")
}

#[derive(Default)]
struct FileStatistics {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
}

impl FileStatistics {
    fn add_column(&mut self, table: Table, schema: &Schema, footer: &ParquetMetaData, column: usize) {
        let descriptor = footer.file_metadata().schema_descr().column(column);
        let info = descriptor.self_type().get_basic_info();
        if !info.has_id() {
            return;
        }
        let id = info.id();
        let chunks: Vec<&ColumnChunkMetaData> = footer.row_groups().iter().map(|group| group.column(column)).collect();
        let size: i64 = chunks.iter().map(|chunk| chunk.compressed_size()).sum();
        let values: i64 = chunks.iter().map(|chunk| chunk.num_values()).sum();
        self.sizes.insert(id, size.unsigned_abs());
        self.values.insert(id, values.unsigned_abs());
        let nulls: Option<u64> = chunks.iter().map(|chunk| chunk.statistics()?.null_count_opt()).sum();
        if let Some(nulls) = nulls {
            self.nulls.insert(id, nulls);
        }
        let bounds = table.column_index(descriptor.name()).map(|index| table.columns()[index].bounds);
        let primitive = schema.field_by_id(id).and_then(|field| match field.field_type.as_ref() {
            Type::Primitive(primitive) => Some(primitive.clone()),
            _ => None,
        });
        let (Some(bounds @ (Bounds::Full | Bounds::Truncated)), Some(primitive)) = (bounds, primitive) else { return };
        if let Some((lower, upper)) = file_bounds(&chunks, bounds, &primitive) {
            self.lower.extend(lower.map(|datum| (id, datum)));
            self.upper.extend(upper.map(|datum| (id, datum)));
        }
    }
}

/// The bounds of one column over all row groups; none if any group with values lacks them.
fn file_bounds(
    chunks: &[&ColumnChunkMetaData],
    bounds: Bounds,
    primitive: &PrimitiveType,
) -> Option<(Option<Datum>, Option<Datum>)> {
    let mut whole: Option<Range> = None;
    for chunk in chunks {
        let statistics = chunk.statistics()?;
        if statistics.null_count_opt() == Some(chunk.num_values().unsigned_abs()) {
            continue;
        }
        let range = Range::of(statistics)?;
        whole = Some(match whole {
            Some(before) => before.widened(range)?,
            None => range,
        });
    }
    whole?.to_data(bounds, primitive)
}

enum Range {
    Long(i64, i64),
    Text(String, String),
}

impl Range {
    fn of(statistics: &Statistics) -> Option<Range> {
        match statistics {
            Statistics::Int64(values) => Some(Range::Long(*values.min_opt()?, *values.max_opt()?)),
            Statistics::ByteArray(values) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
                Some(Range::Text(text(values.min_opt()?.data())?, text(values.max_opt()?.data())?))
            }
            _ => None,
        }
    }

    fn widened(self, other: Range) -> Option<Range> {
        match (self, other) {
            (Range::Long(min, max), Range::Long(low, high)) => Some(Range::Long(min.min(low), max.max(high))),
            (Range::Text(min, max), Range::Text(low, high)) => Some(Range::Text(min.min(low), max.max(high))),
            _ => None,
        }
    }

    fn to_data(&self, bounds: Bounds, primitive: &PrimitiveType) -> Option<(Option<Datum>, Option<Datum>)> {
        match (self, primitive) {
            (Range::Long(min, max), PrimitiveType::Timestamptz) => {
                Some((Some(Datum::timestamptz_micros(*min)), Some(Datum::timestamptz_micros(*max))))
            }
            (Range::Long(min, max), PrimitiveType::Long) => Some((Some(Datum::long(*min)), Some(Datum::long(*max)))),
            (Range::Text(min, max), PrimitiveType::String) if bounds == Bounds::Truncated => {
                Some((Some(Datum::string(lower_bound(min))), upper_bound(max).map(Datum::string)))
            }
            _ => None,
        }
    }
}

/// The first characters: at most the text itself.
fn lower_bound(text: &str) -> String {
    text.chars().take(BOUND_CHARS).collect()
}

/// The first characters, the last of them raised: at least the text itself. None if none can be raised.
fn upper_bound(text: &str) -> Option<String> {
    let mut chars: Vec<char> = text.chars().take(BOUND_CHARS + 1).collect();
    if chars.len() <= BOUND_CHARS {
        return Some(text.to_owned());
    }
    chars.truncate(BOUND_CHARS);
    while let Some(last) = chars.pop() {
        if let Some(next) = next_char(last) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// The next code point, past the surrogates; none after the last.
fn next_char(char: char) -> Option<char> {
    match char {
        '\u{D7FF}' => Some('\u{E000}'),
        other => char::from_u32(u32::from(other) + 1),
    }
}

#[cfg(test)]
mod tests;

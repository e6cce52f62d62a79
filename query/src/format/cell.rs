//! One value of a column as text.

use std::borrow::Cow;
use std::io::Write;

use arrow::array::timezone::Tz;
use arrow::array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use datafusion_functions_json::{JSON_UNION_DATA_TYPE, JsonUnionEncoder, JsonUnionValue};

use super::types::is_utc;

/// A value, as much as its JSON form decides.
pub(super) enum Cell<'a> {
    Null,
    Boolean(bool),
    Int(i64),
    Unsigned(u64),
    /// Finite.
    Float(f64),
    Text(Cow<'a, str>),
    /// A JSON array or object, written out.
    Json(String),
}

/// The value in a row. Numbers that JSON does not know (NaN, infinities) are null; decimals, times and
/// bytes (base64) are text.
pub(super) fn cell(array: &dyn Array, row: usize) -> Cell<'_> {
    if array.is_null(row) {
        return Cell::Null;
    }
    macro_rules! int {
        ($kind:ty) => {
            Cell::Int(array.as_primitive::<$kind>().value(row).into())
        };
    }
    macro_rules! unsigned {
        ($kind:ty) => {
            Cell::Unsigned(array.as_primitive::<$kind>().value(row).into())
        };
    }
    macro_rules! decimal {
        ($kind:ty) => {
            Cell::Text(array.as_primitive::<$kind>().value_as_string(row).into())
        };
    }
    match array.data_type() {
        DataType::Null => Cell::Null,
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(row)),
        DataType::Int8 => int!(Int8Type),
        DataType::Int16 => int!(Int16Type),
        DataType::Int32 => int!(Int32Type),
        DataType::Int64 => int!(Int64Type),
        DataType::UInt8 => unsigned!(UInt8Type),
        DataType::UInt16 => unsigned!(UInt16Type),
        DataType::UInt32 => unsigned!(UInt32Type),
        DataType::UInt64 => unsigned!(UInt64Type),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(row).into()),
        DataType::Float32 => float32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).into()),
        DataType::LargeUtf8 => Cell::Text(array.as_string::<i64>().value(row).into()),
        DataType::Utf8View => Cell::Text(array.as_string_view().value(row).into()),
        DataType::Binary => base64(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => base64(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => base64(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => base64(array.as_fixed_size_binary().value(row)),
        DataType::Decimal32(..) => decimal!(Decimal32Type),
        DataType::Decimal64(..) => decimal!(Decimal64Type),
        DataType::Decimal128(..) => decimal!(Decimal128Type),
        DataType::Decimal256(..) => decimal!(Decimal256Type),
        DataType::Timestamp(unit, zone) => timestamp(array, row, *unit, zone.as_deref()),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            cell(dictionary.values().as_ref(), dictionary.normalized_keys()[row])
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => object(array.as_struct(), row),
        DataType::Map(..) => map(&array.as_map().value(row)),
        data_type if data_type == &*JSON_UNION_DATA_TYPE => json_union(array, row),
        _ => other(array, row),
    }
}

/// The JSON text of a value; None for null.
pub(super) fn json_text(array: &dyn Array, row: usize) -> Option<String> {
    let mut out = Vec::new();
    match cell(array, row) {
        Cell::Null => return None,
        cell => write_json(&cell, &mut out),
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// A value as JSON.
pub(super) fn write_json(cell: &Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => out.extend_from_slice(b"null"),
        Cell::Text(text) => write_string(text, out),
        cell => write_plain(cell, out),
    }
}

/// A value without quotes around text; null is empty.
pub(super) fn write_plain(cell: &Cell<'_>, out: &mut Vec<u8>) {
    let written = match cell {
        Cell::Null => Ok(()),
        Cell::Boolean(value) => write!(out, "{value}"),
        Cell::Int(value) => write!(out, "{value}"),
        Cell::Unsigned(value) => write!(out, "{value}"),
        Cell::Float(value) => serde_json::to_writer(&mut *out, value).map_err(Into::into),
        Cell::Text(text) => out.write_all(text.as_bytes()),
        Cell::Json(json) => out.write_all(json.as_bytes()),
    };
    written.expect("memory can be written");
}

pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("memory can be written");
}

fn float(value: f64) -> Cell<'static> {
    if value.is_finite() { Cell::Float(value) } else { Cell::Null }
}

// The shortest text of the 32-bit value, read as 64 bits, prints as that text.
fn float32(value: f32) -> Cell<'static> {
    float(if value.is_finite() { value.to_string().parse().unwrap_or(f64::from(value)) } else { f64::NAN })
}

fn base64(bytes: &[u8]) -> Cell<'static> {
    Cell::Text(STANDARD.encode(bytes).into())
}

/// RFC 3339. A type without a zone gives a text without one.
fn timestamp(array: &dyn Array, row: usize, unit: TimeUnit, zone: Option<&str>) -> Cell<'static> {
    let at: Option<DateTime<Utc>> = match unit {
        TimeUnit::Second => DateTime::from_timestamp(array.as_primitive::<TimestampSecondType>().value(row), 0),
        TimeUnit::Millisecond => {
            DateTime::from_timestamp_millis(array.as_primitive::<TimestampMillisecondType>().value(row))
        }
        TimeUnit::Microsecond => {
            DateTime::from_timestamp_micros(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        TimeUnit::Nanosecond => {
            Some(DateTime::from_timestamp_nanos(array.as_primitive::<TimestampNanosecondType>().value(row)))
        }
    };
    let Some(at) = at else { return Cell::Null };
    let text = match zone {
        Some(zone) if is_utc(zone) => at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        Some(zone) => match zone.parse::<Tz>() {
            Ok(zone) => at.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::AutoSi, false),
            Err(_) => at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        },
        None => at.to_rfc3339_opts(SecondsFormat::AutoSi, true).trim_end_matches('Z').to_owned(),
    };
    Cell::Text(text.into())
}

fn list(items: &ArrayRef) -> Cell<'static> {
    let mut out = vec![b'['];
    for row in 0..items.len() {
        if row > 0 {
            out.push(b',');
        }
        write_json(&cell(items.as_ref(), row), &mut out);
    }
    out.push(b']');
    Cell::Json(String::from_utf8_lossy(&out).into_owned())
}

fn object(fields: &StructArray, row: usize) -> Cell<'static> {
    let mut out = vec![b'{'];
    for (index, (name, column)) in fields.column_names().into_iter().zip(fields.columns()).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(name, &mut out);
        out.push(b':');
        write_json(&cell(column.as_ref(), row), &mut out);
    }
    out.push(b'}');
    Cell::Json(String::from_utf8_lossy(&out).into_owned())
}

fn map(entries: &StructArray) -> Cell<'static> {
    let mut out = vec![b'{'];
    for row in 0..entries.len() {
        if row > 0 {
            out.push(b',');
        }
        let mut key = Vec::new();
        write_plain(&cell(entries.column(0).as_ref(), row), &mut key);
        write_string(&String::from_utf8_lossy(&key), &mut out);
        out.push(b':');
        write_json(&cell(entries.column(1).as_ref(), row), &mut out);
    }
    out.push(b'}');
    Cell::Json(String::from_utf8_lossy(&out).into_owned())
}

/// What the JSON functions give for `->`.
fn json_union(array: &dyn Array, row: usize) -> Cell<'static> {
    let Some(union) = JsonUnionEncoder::from_union(array.as_union().clone()) else { return Cell::Null };
    match union.get_value(row) {
        JsonUnionValue::JsonNull => Cell::Null,
        JsonUnionValue::Bool(value) => Cell::Boolean(value),
        JsonUnionValue::Int(value) => Cell::Int(value),
        JsonUnionValue::Float(value) => float(value),
        JsonUnionValue::Str(text) => Cell::Text(text.to_owned().into()),
        JsonUnionValue::Array(json) | JsonUnionValue::Object(json) => Cell::Json(json.to_owned()),
    }
}

/// Dates, times, intervals and what is rare, as Arrow writes them.
fn other(array: &dyn Array, row: usize) -> Cell<'static> {
    match ArrayFormatter::try_new(array, &FormatOptions::default()) {
        Ok(formatter) => Cell::Text(formatter.value(row).to_string().into()),
        Err(_) => Cell::Null,
    }
}

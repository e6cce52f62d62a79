//! What a manifest says of a file, in DataFusion's words.
//!
//! DataFusion believes what is marked exact: it answers counts and extremes from it and replaces
//! constant columns. So only what we wrote ourselves and can be exact is marked so.

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use hogflare_catalog::plan::{Bound, FileColumns, PlannedFile};
use hogflare_catalog::tables::field_id;

/// Statistics of a file's rows in the table's schema.
pub(super) fn of_file(file: &PlannedFile, schema: &SchemaRef) -> Statistics {
    let proven = file.ours && file.position_deletes.is_empty();
    // The bounds of a sealed file are those of its day.
    let exact_bounds = proven && matches!(file.columns, FileColumns::ByFieldId);
    let rows = usize::try_from(file.rows).unwrap_or(usize::MAX);
    let columns = schema.fields().iter().map(|field| {
        let mut column = ColumnStatistics::new_unknown();
        let Some(id) = field_id(field) else { return column };
        let Some(stated) = file.statistics.iter().find(|statistics| statistics.field_id == id) else { return column };
        let bound = |bound: &Option<Bound>| match bound.as_ref().and_then(|bound| scalar(bound, field.data_type())) {
            Some(value) if exact_bounds && !matches!(value, ScalarValue::Utf8(_)) => Precision::Exact(value),
            Some(value) => Precision::Inexact(value),
            None => Precision::Absent,
        };
        column.min_value = bound(&stated.lower);
        column.max_value = bound(&stated.upper);
        if let Some(nulls) = stated.nulls.and_then(|nulls| usize::try_from(nulls).ok()) {
            column.null_count = if proven { Precision::Exact(nulls) } else { Precision::Inexact(nulls) };
        }
        column
    });
    Statistics {
        num_rows: if proven { Precision::Exact(rows) } else { Precision::Inexact(rows) },
        total_byte_size: Precision::Absent,
        column_statistics: columns.collect(),
    }
}

/// A bound as a value of the column's present type. None where the two do not fit, and for floating
/// point: bounds leave out NaN, which SQL sorts above every number.
pub(super) fn scalar(bound: &Bound, data_type: &DataType) -> Option<ScalarValue> {
    match (bound, data_type) {
        (Bound::Boolean(value), DataType::Boolean) => Some(ScalarValue::Boolean(Some(*value))),
        (Bound::Int(value), DataType::Int32) => Some(ScalarValue::Int32(Some(*value))),
        (Bound::Int(value), DataType::Int64) => Some(ScalarValue::Int64(Some(i64::from(*value)))),
        (Bound::Long(value), DataType::Int64) => Some(ScalarValue::Int64(Some(*value))),
        (Bound::Date(days), DataType::Date32) => Some(ScalarValue::Date32(Some(*days))),
        (Bound::Timestamp(us), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            Some(ScalarValue::TimestampMicrosecond(Some(*us), zone.clone()))
        }
        (Bound::Text(text), DataType::Utf8) => Some(ScalarValue::Utf8(Some(text.clone()))),
        _ => None,
    }
}

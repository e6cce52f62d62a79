//! Which files can hold a row that a query wants, by the bounds in the manifests.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use hogflare_catalog::plan::{Bound, ColumnStatistics, FileColumns, PlannedFile};
use hogflare_catalog::tables::field_id;

use super::statistics::scalar;

/// The files that may hold a row that passes the filters, in their order.
pub(super) fn prune(
    files: Vec<PlannedFile>,
    filters: &[Expr],
    schema: &SchemaRef,
    state: &dyn Session,
) -> Result<Vec<PlannedFile>> {
    let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(files) };
    if files.is_empty() {
        return Ok(files);
    }
    let names = DFSchema::try_from(Arc::clone(schema))?;
    let filter = state.create_physical_expr(filter, &names)?;
    let Ok(predicate) = PruningPredicate::try_new(filter, Arc::clone(schema)) else { return Ok(files) };
    let may_match = predicate.prune(&FileBounds { files: &files, schema })?;
    Ok(files.into_iter().zip(may_match).filter_map(|(file, may_match)| may_match.then_some(file)).collect())
}

struct FileBounds<'a> {
    files: &'a [PlannedFile],
    schema: &'a SchemaRef,
}

impl FileBounds<'_> {
    fn bounds(&self, column: &Column, bound: impl Fn(&ColumnStatistics) -> Option<&Bound>) -> Option<ArrayRef> {
        let field = self.schema.field_with_name(column.name()).ok()?;
        let id = field_id(field)?;
        let unknown = ScalarValue::try_new_null(field.data_type()).ok()?;
        let mut any = false;
        let values: Vec<ScalarValue> = self
            .files
            .iter()
            .map(|file| {
                let value = stated(file, id).and_then(&bound).and_then(|bound| scalar(bound, field.data_type()));
                any |= value.is_some();
                value.unwrap_or_else(|| unknown.clone())
            })
            .collect();
        any.then(|| ScalarValue::iter_to_array(values).ok()).flatten()
    }
}

impl PruningStatistics for FileBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |statistics| statistics.lower.as_ref())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |statistics| statistics.upper.as_ref())
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let id = field_id(self.schema.field_with_name(column.name()).ok()?)?;
        let counts = self.files.iter().map(|file| match stated(file, id) {
            Some(statistics) => statistics.nulls,
            None => is_missing(file, id).then_some(file.rows),
        });
        Some(Arc::new(UInt64Array::from_iter(counts)))
    }

    fn row_counts(&self, _: &Column) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.files.iter().map(|file| file.rows))))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

fn stated(file: &PlannedFile, id: i32) -> Option<&ColumnStatistics> {
    file.statistics.iter().find(|statistics| statistics.field_id == id)
}

/// Whether a file surely lacks a column, so that all its values are null. Only our own manifests mention
/// every column of their files; a guest may leave out what it likes.
fn is_missing(file: &PlannedFile, id: i32) -> bool {
    match &file.columns {
        FileColumns::ByFieldId => file.ours && !file.statistics.is_empty(),
        FileColumns::ByName(ids) => ids.iter().all(|(_, bound)| *bound != id),
    }
}

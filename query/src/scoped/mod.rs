//! A table as a reader of single projects sees it: the rows of these projects, and no sign of the others.
//!
//! It stands below views, subqueries and EXPLAIN, in the place of the table's own provider, so that no form
//! of SQL gets around it. For the planner it is a leaf: what is below can neither be looked into (files,
//! counts, bounds) nor be given anything to do. An expression that meets a row of another project could
//! tell of it, by failing for example; so expressions of the query see rows only after they have passed,
//! besides comparisons that cannot fail, which thin out files.

mod exec;

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType, lit};
use datafusion::physical_expr::expressions::{self, in_list};
use datafusion::physical_expr::{PhysicalExpr, conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use hogflare_catalog::tables::field_id;
use hogflare_catalog::{Table, TableView};

use self::exec::{ScopedExec, Visible};
use crate::error::{ErrorCode, SqlError};
use crate::scan::IcebergTable;

/// Names the project of a row, in every table that has rows of projects.
const PROJECT_COLUMN: &str = "api_key";
/// Numbers that count rows or persons of all projects. Null for a reader of single ones.
const COUNTING_COLUMNS: [&str; 3] = ["_position", "source_position", "person_int_id"];

/// The projects whose rows a reader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All rows, and what the tables' metadata says of them.
    All,
    /// The rows of these project tokens.
    Only(Arc<[String]>),
}

impl Scope {
    pub fn is_all(&self) -> bool {
        *self == Scope::All
    }
}

/// What a reader of single projects may not have.
pub(crate) fn refused(what: &str) -> SqlError {
    let message = format!("{what} needs a token for all projects; this one reads single projects");
    SqlError::new(ErrorCode::Forbidden, message)
}

/// Index of the column that names the project of a row. None if the table never had it or someone dropped
/// it.
pub(crate) fn project_column(table: Table, view: &TableView) -> Option<usize> {
    bound_column(table, view, PROJECT_COLUMN)
}

/// Index of a column of ours by its binding: others may have renamed it.
fn bound_column(table: Table, view: &TableView, name: &str) -> Option<usize> {
    let id = view.head.binding.id(table.column_index(name)?)?;
    view.schema().fields().iter().position(|field| field_id(field) == Some(id))
}

#[derive(Debug)]
pub(crate) struct ScopedTable {
    whole: IcebergTable,
    projects: Arc<[String]>,
    project_column: usize,
    counting_columns: Vec<usize>,
    /// As of the whole table, with null allowed in the counting columns.
    schema: SchemaRef,
}

impl ScopedTable {
    /// Refuses a table whose rows cannot be told apart by project.
    pub(crate) fn new(table: Table, whole: IcebergTable, projects: &Arc<[String]>) -> Result<ScopedTable> {
        let Some(project_column) = project_column(table, whole.view()) else {
            let what = format!("{}, which has no column for the project of a row,", table.short_name());
            return Err(DataFusionError::External(Box::new(refused(&what))));
        };
        let counting = COUNTING_COLUMNS.into_iter().filter_map(|name| bound_column(table, whole.view(), name));
        let counting_columns: Vec<usize> = counting.collect();
        let schema = with_nulls(&whole.schema(), |index| counting_columns.contains(&index));
        Ok(ScopedTable { whole, projects: Arc::clone(projects), project_column, counting_columns, schema })
    }

    /// Whether a filter may see rows of other projects, and sees in ours what the reader sees.
    fn goes_below(&self, filter: &Expr) -> bool {
        let schema = self.schema();
        let counts = |index: &usize| self.counting_columns.contains(index);
        let is_counting = |column: &&Column| schema.index_of(column.name()).is_ok_and(|index| counts(&index));
        cannot_fail(filter) && !filter.column_refs().iter().any(is_counting)
    }

    /// For leaving out files; it decides about no row.
    fn project_filter(&self) -> Expr {
        let name = self.schema().field(self.project_column).name().clone();
        let projects = self.projects.iter().map(|project| lit(project.as_str()));
        Expr::Column(Column::new_unqualified(name)).in_list(projects.collect(), false)
    }

    /// Whether a row of a scan, in which the project stands at `index`, is of one of the projects. Not so
    /// for a row without a project.
    fn is_visible(&self, index: usize, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
        let field = schema.field(index);
        let column = Arc::new(expressions::Column::new(field.name(), index));
        let project = |project: &String| {
            let value = ScalarValue::from(project.as_str()).cast_to(field.data_type())?;
            Ok(expressions::lit(value))
        };
        in_list(column, self.projects.iter().map(project).collect::<Result<_>>()?, &false, schema)
    }

    /// The columns asked for, then those that are needed besides.
    fn columns(&self, projection: Option<&Vec<usize>>, filters: &[Expr]) -> Result<Vec<usize>> {
        let schema = self.schema();
        let mut columns = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let mut needed = vec![self.project_column];
        for column in filters.iter().flat_map(Expr::column_refs) {
            needed.push(schema.index_of(column.name())?);
        }
        for column in needed {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        Ok(columns)
    }
}

#[async_trait]
impl TableProvider for ScopedTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match self.goes_below(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    // A limit counts rows that are not seen; it is left to the operators above.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let filters: Vec<Expr> = filters.iter().filter(|filter| self.goes_below(filter)).cloned().collect();
        let columns = self.columns(projection, &filters)?;
        let wanted = projection.map_or(self.schema().fields().len(), Vec::len);
        let thinning = [&[self.project_filter()], filters.as_slice()].concat();
        let scan = self.whole.scan(state, Some(&columns), &thinning, None).await?;

        let schema = scan.schema();
        let index = columns.iter().position(|column| *column == self.project_column);
        let is_visible = self.is_visible(index.expect("the project is among the columns"), &schema)?;
        let names = DFSchema::try_from(Arc::clone(&schema))?;
        let mut conditions = vec![Arc::clone(&is_visible)];
        for filter in filters {
            conditions.push(state.create_physical_expr(filter, &names)?);
        }
        let filtered = Arc::new(FilterExec::try_new(conjunction(conditions), scan)?);
        // The planner does not come here; readers of files shall still know what is asked for.
        let scan = FilterPushdown::new().optimize(filtered, state.config_options())?;
        let hidden = (0..wanted).filter(|index| self.counting_columns.contains(&columns[*index])).collect();
        let visible = Visible { is_visible, columns: (0..wanted).collect(), hidden };
        Ok(Arc::new(ScopedExec::new(scan, visible, state.config().target_partitions())?))
    }
}

/// The schema with null allowed in some columns.
fn with_nulls(schema: &Schema, is_hidden: impl Fn(usize) -> bool) -> SchemaRef {
    let field = |(index, field): (usize, &FieldRef)| match is_hidden(index) {
        true => Arc::new(field.as_ref().clone().with_nullable(true)),
        false => Arc::clone(field),
    };
    let fields: Vec<FieldRef> = schema.fields().iter().enumerate().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Comparisons of columns with values, and what joins them: no row makes them fail.
fn cannot_fail(filter: &Expr) -> bool {
    let is_plain = |expr: &Expr| matches!(expr, Expr::Column(_) | Expr::Literal(..));
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And | Operator::Or => cannot_fail(left) && cannot_fail(right),
            Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                is_plain(left) && is_plain(right)
            }
            _ => false,
        },
        Expr::Not(inner) => cannot_fail(inner),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => is_plain(inner),
        Expr::Between(Between { expr, low, high, .. }) => is_plain(expr) && is_plain(low) && is_plain(high),
        Expr::InList(list) => is_plain(&list.expr) && list.list.iter().all(is_plain),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{cast, col, lit};
    use datafusion::prelude::{Expr, length, to_timestamp};

    use super::cannot_fail;

    #[test]
    fn only_comparisons_that_cannot_fail_go_below() {
        let text = || lit("x");
        let number = || cast(col("properties"), arrow::datatypes::DataType::Int64);
        let check = |filter: Expr, expected: bool| assert_eq!(cannot_fail(&filter), expected, "{filter}");
        check(col("event").eq(text()), true);
        check(text().not_eq(col("event")), true);
        check(col("event").in_list(vec![text(), lit("y")], true), true);
        check(col("timestamp").between(lit(1), lit(2)).and(col("os").is_not_null()), true);
        check(col("event").eq(text()).or(!col("os").gt(text())), true);
        check(number().gt(lit(1)), false);
        check(col("event").eq(text()).and(number().eq(lit(1))), false);
        check(number().in_list(vec![lit(1)], false), false);
        check(number().is_null(), false);
        check(lit(1).eq(lit(1) / col("cf_asn")), false);
        check(length(col("event")).eq(lit(1)), false);
        check(to_timestamp(vec![col("event")]).is_null(), false);
        check(col("event").like(text()), false);
    }
}

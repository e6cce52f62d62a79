//! An optimizer rule: a left join whose right side nobody asks for, and which adds no row, is left out.
//!
//! The view of events joins the moves of distinct ids. Most questions do not ask whose the events are, and
//! must not pay for it; DataFusion keeps such a join.

use std::collections::HashSet;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::logical_expr::{Aggregate, Expr, Join, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug, Default)]
pub(super) struct DropUnusedJoins;

impl OptimizerRule for DropUnusedJoins {
    fn name(&self) -> &'static str {
        "drop_unused_left_joins"
    }

    /// The rule walks the plan itself: what is asked for comes from above.
    fn apply_order(&self) -> Option<ApplyOrder> {
        None
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let asked = all(plan.schema());
        without_unused(plan, &asked)
    }
}

type Columns = HashSet<Column>;

/// The plan without joins of which nothing is asked. `asked` are columns of its schema.
fn without_unused(plan: LogicalPlan, asked: &Columns) -> Result<Transformed<LogicalPlan>> {
    let plan = match plan {
        LogicalPlan::Join(join) if is_unused(&join, asked) => {
            let left = join.left.as_ref().clone();
            return Ok(Transformed::yes(without_unused(left, asked)?.data));
        }
        plan => plan,
    };
    let inputs = plan.inputs().into_iter().map(|input| (input.clone(), asked_of(&plan, input, asked)));
    let inputs = inputs.map(|(input, asked)| without_unused(input, &asked)).collect::<Result<Vec<_>>>()?;
    if !inputs.iter().any(|input| input.transformed) {
        return Ok(Transformed::no(plan));
    }
    let inputs = inputs.into_iter().map(|input| input.data).collect();
    Ok(Transformed::yes(plan.with_new_exprs(plan.expressions(), inputs)?))
}

fn is_unused(join: &Join, asked: &Columns) -> bool {
    let right = join.right.schema();
    let keys: Option<Vec<Column>> = join.on.iter().map(|(_, key)| key.try_as_col().cloned()).collect();
    join.join_type == JoinType::Left
        && !asked.iter().any(|column| right.has_column(column))
        && keys.is_some_and(|keys| has_each_once(&join.right, &keys))
}

/// Columns of an input that the plan needs for what is asked of it.
fn asked_of(plan: &LogicalPlan, input: &LogicalPlan, asked: &Columns) -> Columns {
    let used = || -> Option<Columns> {
        let expressions = plan.expressions();
        let nests = expressions.iter().any(|expression| expression.exists(is_subquery).unwrap_or(true));
        let columns = expressions.iter().flat_map(|expression| expression.column_refs());
        (!nests).then(|| columns.cloned().collect())
    };
    let schema = input.schema();
    let of_plan = match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => used(),
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Join(_) => {
            used().map(|used| used.union(asked).cloned().collect())
        }
        LogicalPlan::SubqueryAlias(alias) => asked.iter().map(|column| below(column, &alias.schema, schema)).collect(),
        _ => None,
    };
    match of_plan {
        Some(columns) => columns.into_iter().filter(|column| schema.has_column(column)).collect(),
        None => all(schema),
    }
}

fn is_subquery(expression: &Expr) -> Result<bool> {
    Ok(matches!(
        expression,
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::OuterReferenceColumn(..)
    ))
}

/// Whether no two rows of the plan agree in these columns.
fn has_each_once(plan: &LogicalPlan, keys: &[Column]) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => {
            let keys: Option<Vec<Column>> =
                keys.iter().map(|key| below(key, &alias.schema, alias.input.schema())).collect();
            keys.is_some_and(|keys| has_each_once(&alias.input, &keys))
        }
        LogicalPlan::Projection(projection) => {
            let source = |key: &Column| {
                let expression = &projection.expr[projection.schema.maybe_index_of_column(key)?];
                expression.clone().unalias().try_as_col().cloned()
            };
            let keys: Vec<Column> = keys.iter().filter_map(source).collect();
            has_each_once(&projection.input, &keys)
        }
        LogicalPlan::Aggregate(aggregate) => groups_by(aggregate, keys),
        _ => false,
    }
}

fn groups_by(aggregate: &Aggregate, keys: &[Column]) -> bool {
    let indexes: HashSet<usize> = keys.iter().filter_map(|key| aggregate.schema.maybe_index_of_column(key)).collect();
    let is_plain = aggregate.group_expr.iter().all(|group| !matches!(group, Expr::GroupingSet(_)));
    is_plain && (0..aggregate.group_expr.len()).all(|index| indexes.contains(&index))
}

/// The column of the input that stands in the place of a column above it.
fn below(column: &Column, above: &DFSchema, input: &DFSchema) -> Option<Column> {
    let index = above.maybe_index_of_column(column)?;
    Some(Column::from(input.qualified_field(index)))
}

fn all(schema: &DFSchema) -> Columns {
    schema.columns().into_iter().collect()
}

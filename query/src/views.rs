//! The views in `sql/views`, and the tables under our own names that they read.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::config::Dialect;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use hogflare_catalog::tables::{arrow_schema, field_id};
use hogflare_catalog::{Table, TableView};

/// What the names of tables begin with in the text of views, whatever the installation uses.
const CANONICAL_PREFIX: &str = "hogflare_";

/// Name and text of every view.
pub(crate) const VIEWS: [(&str, &str); 8] = [
    ("events", include_str!("../../sql/views/events.sql")),
    ("dead_letter", include_str!("../../sql/views/dead_letter.sql")),
    ("persons", include_str!("../../sql/views/persons.sql")),
    ("person_profiles", include_str!("../../sql/views/person_profiles.sql")),
    ("person_overrides", include_str!("../../sql/views/person_overrides.sql")),
    ("identity_links", include_str!("../../sql/views/identity_links.sql")),
    ("groups", include_str!("../../sql/views/groups.sql")),
    ("group_types", include_str!("../../sql/views/group_types.sql")),
];

pub(crate) fn text(name: &str) -> Option<&'static str> {
    VIEWS.into_iter().find_map(|(view, text)| (view == name).then_some(text))
}

/// The tables that a view reads.
pub(crate) fn tables_of(text: &str) -> impl Iterator<Item = Table> {
    let names = |table: &Table| text.contains(&format!("{CANONICAL_PREFIX}{}", table.short_name()));
    Table::ALL.into_iter().filter(names)
}

/// The name that a view's text, or another text of ours, has for a table.
pub(crate) fn name_of(table: Table) -> String {
    format!("{CANONICAL_PREFIX}{}", table.short_name())
}

/// The table that a view's text names.
pub(crate) fn table_named(name: &str) -> Option<Table> {
    let short = name.strip_prefix(CANONICAL_PREFIX)?;
    Table::ALL.into_iter().find(|table| table.short_name() == short)
}

/// A view, planned in a session whose tables are [`bound`].
pub(crate) async fn plan(session: &SessionState, text: &str) -> Result<Arc<dyn TableProvider>> {
    let statement = session.sql_to_statement(text, &Dialect::PostgreSQL)?;
    let plan = session.statement_to_plan(statement).await?;
    Ok(Arc::new(ViewTable::new(plan, Some(text.to_owned()))))
}

/// A table with exactly our columns under our names, whatever others have renamed; a column that they
/// dropped is null.
pub(crate) fn bound(
    table: Table,
    view: &TableView,
    provider: Arc<dyn TableProvider>,
) -> Result<Arc<dyn TableProvider>> {
    let present = view.schema();
    let columns = arrow_schema(table);
    let columns = columns.fields().iter().enumerate().map(|(index, ours)| {
        let id = view.head.binding.id(index);
        let field = id.and_then(|id| present.fields().iter().find(|field| field_id(field) == Some(id)));
        let column = match field {
            Some(field) => Expr::Column(Column::new_unqualified(field.name())),
            None => lit(ScalarValue::try_new_null(ours.data_type())?),
        };
        Ok(column.alias(ours.name()))
    });
    let columns = columns.collect::<Result<Vec<Expr>>>()?;
    let name = format!("{CANONICAL_PREFIX}{}", table.short_name());
    let plan = LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?.project(columns)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

//! Columns by field id: DataFusion itself finds a file's columns by name, which a rename breaks.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use hogflare_catalog::plan::FileColumns;
use hogflare_catalog::tables::field_id;

/// Maps expressions over the table to expressions over a file whose columns have other names.
#[derive(Debug)]
pub(super) struct FieldIdAdapterFactory {
    columns: FileColumns,
}

impl FieldIdAdapterFactory {
    pub(super) fn new(columns: FileColumns) -> FieldIdAdapterFactory {
        FieldIdAdapterFactory { columns }
    }

    /// The file's schema under the table's names. Columns that the table does not have get names that
    /// no table column has.
    fn in_table_names(&self, table: &Schema, file: &Schema) -> Schema {
        let table_names: HashMap<i32, &str> =
            table.fields().iter().filter_map(|field| Some((field_id(field)?, field.name().as_str()))).collect();
        let has_ids = file.fields().iter().any(|field| field_id(field).is_some());
        let fields = file.fields().iter().enumerate().map(|(index, field)| {
            let id = match &self.columns {
                FileColumns::ByFieldId if !has_ids => return Arc::clone(field),
                FileColumns::ByFieldId => field_id(field),
                FileColumns::ByName(ids) => ids.iter().find(|(name, _)| name == field.name()).map(|(_, id)| *id),
            };
            let name = id.and_then(|id| table_names.get(&id)).map_or_else(|| format!("\0{index}"), ToString::to_string);
            Arc::new(Field::clone(field).with_name(name))
        });
        Schema::new_with_metadata(fields.collect::<Vec<_>>(), file.metadata().clone())
    }
}

impl PhysicalExprAdapterFactory for FieldIdAdapterFactory {
    fn create(
        &self,
        logical_file_schema: SchemaRef,
        physical_file_schema: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let in_table_names = Arc::new(self.in_table_names(&logical_file_schema, &physical_file_schema));
        let by_name = DefaultPhysicalExprAdapterFactory.create(logical_file_schema, in_table_names)?;
        Ok(Arc::new(FieldIdAdapter { by_name, file: physical_file_schema }))
    }
}

#[derive(Debug)]
struct FieldIdAdapter {
    /// DataFusion's own adapter over the file in the table's names: nulls for missing columns, casts
    /// for widened ones.
    by_name: Arc<dyn PhysicalExprAdapter>,
    file: SchemaRef,
}

impl PhysicalExprAdapter for FieldIdAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let adapted = self.by_name.rewrite(expr)?;
        // Back to the file's own names: row groups, pages and Bloom filters are found by them.
        let renamed = adapted.transform(|expr| match expr.as_any().downcast_ref::<Column>() {
            Some(column) => {
                let name = self.file.field(column.index()).name();
                Ok(Transformed::yes(Arc::new(Column::new(name, column.index())) as Arc<dyn PhysicalExpr>))
            }
            None => Ok(Transformed::no(expr)),
        });
        renamed.data()
    }
}

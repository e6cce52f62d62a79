//! `lake.snapshots`: what the tables' metadata says of their snapshots, as rows.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use hogflare_catalog::history::SnapshotFacts;
use hogflare_catalog::{ReadView, Table};

/// The retained snapshots of all tables that are ready, at the instant of the query's view.
#[derive(Debug)]
pub(crate) struct SnapshotsTable {
    rows: RecordBatch,
}

struct Row {
    table: &'static str,
    is_current: bool,
    facts: SnapshotFacts,
}

impl SnapshotsTable {
    pub(crate) fn new(view: &ReadView) -> Result<SnapshotsTable> {
        let mut rows = Vec::new();
        for table in Table::ALL {
            let Some(head) = view.head(table) else { continue };
            let current = head.snapshot().map(|snapshot| snapshot.snapshot_id());
            rows.extend(head.snapshots().into_iter().map(|facts| Row {
                table: table.short_name(),
                is_current: current == Some(facts.id),
                facts,
            }));
        }
        let text = |value: &dyn Fn(&Row) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(value).collect::<StringArray>())
        };
        let count = |name: &str| -> ArrayRef {
            let counts = rows.iter().map(|row| row.facts.count(name).and_then(|count| i64::try_from(count).ok()));
            Arc::new(counts.collect::<Int64Array>())
        };
        let committed_at = rows.iter().map(|row| row.facts.committed_at_ms.checked_mul(1_000));
        let committed_at = committed_at.collect::<TimestampMicrosecondArray>().with_timezone("+00:00");
        let is_current = rows.iter().map(|row| Some(row.is_current)).collect::<BooleanArray>();
        // Ids are text: many clients read JSON numbers as doubles, which ids of 63 bits do not fit.
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("table_name", text(&|row| Some(row.table.to_owned()))),
            ("snapshot_id", text(&|row| Some(row.facts.id.to_string()))),
            ("parent_id", text(&|row| row.facts.parent_id.map(|id| id.to_string()))),
            ("committed_at", Arc::new(committed_at)),
            ("operation", text(&|row| Some(row.facts.operation.clone()))),
            ("is_current", Arc::new(is_current)),
            ("refs", text(&|row| Some(row.facts.references.join(",")).filter(|names| !names.is_empty()))),
            ("rows", count("total-records")),
            ("added_rows", count("added-records")),
            ("files", count("total-data-files")),
            ("summary", text(&|row| serde_json::to_string(&row.facts.summary).ok())),
        ];
        Ok(SnapshotsTable { rows: RecordBatch::try_from_iter_with_nullable(nullable(columns))? })
    }
}

/// An empty table must have the same schema as a full one.
fn nullable(columns: Vec<(&str, ArrayRef)>) -> impl Iterator<Item = (&str, ArrayRef, bool)> {
    const ALWAYS: [&str; 5] = ["table_name", "snapshot_id", "committed_at", "operation", "is_current"];
    columns.into_iter().map(|(name, column)| (name, column, !ALWAYS.contains(&name)))
}

#[async_trait]
impl TableProvider for SnapshotsTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = [vec![self.rows.clone()]];
        Ok(MemorySourceConfig::try_new_exec(&rows, self.rows.schema(), projection.cloned())?)
    }
}

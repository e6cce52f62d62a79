//! The operator that lets the rows of some projects pass.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};

/// What passes of a batch.
#[derive(Debug)]
pub(super) struct Visible {
    /// Over the rows of the scan.
    pub(super) is_visible: Arc<dyn PhysicalExpr>,
    /// Columns of the scan that are passed on.
    pub(super) columns: Vec<usize>,
    /// Those of them, by their place among these, whose values are not shown.
    pub(super) hidden: Vec<usize>,
}

impl Visible {
    fn rows(&self, batch: &RecordBatch, schema: SchemaRef) -> Result<RecordBatch> {
        let visible = self.is_visible.evaluate(batch)?.into_array(batch.num_rows())?;
        let rows = filter_record_batch(&batch.project(&self.columns)?, as_boolean_array(&visible)?)?;
        if self.hidden.is_empty() {
            return Ok(rows);
        }
        let shown = |(index, column): (usize, &ArrayRef)| match self.hidden.contains(&index) {
            true => new_null_array(column.data_type(), column.len()),
            false => Arc::clone(column),
        };
        Ok(RecordBatch::try_new(schema, rows.columns().iter().enumerate().map(shown).collect())?)
    }
}

/// Runs a scan, and lets pass what is visible. It filters by itself, whatever the scan has done.
#[derive(Debug)]
pub(super) struct ScopedExec {
    /// No child of this plan: the planner must not see it.
    scan: Arc<dyn ExecutionPlan>,
    visible: Arc<Visible>,
    properties: Arc<PlanProperties>,
}

impl ScopedExec {
    /// The number of partitions is given, so that it says nothing of the number of files.
    pub(super) fn new(scan: Arc<dyn ExecutionPlan>, visible: Visible, partitions: usize) -> Result<ScopedExec> {
        let shown = scan.schema().project(&visible.columns)?;
        let schema = super::with_nulls(&shown, |index| visible.hidden.contains(&index));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(ScopedExec { scan, visible: Arc::new(visible), properties: Arc::new(properties) })
    }
}

impl DisplayAs for ScopedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "ScopedExec: projection=[{}]", names.join(", "))
    }
}

impl ExecutionPlan for ScopedExec {
    fn name(&self) -> &str {
        "ScopedExec"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    /// The partitions of the scan are dealt to ours in turn.
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let ours = self.properties.partitioning.partition_count();
        let theirs = self.scan.properties().partitioning.partition_count();
        let (scan, visible) = (Arc::clone(&self.scan), Arc::clone(&self.visible));
        let batches = stream::iter((partition..theirs).step_by(ours))
            .map(move |partition| scan.execute(partition, Arc::clone(&context)))
            .try_flatten();
        let schema = self.schema();
        let rows = batches.map(move |batch| visible.rows(&batch?, Arc::clone(&schema)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

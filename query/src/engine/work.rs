//! One query from its text to the last byte of its answer, on the query runtime.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::metrics::MetricValue;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement;
use futures::TryStreamExt;
use hogflare_catalog::Views;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::running::Outcome;
use crate::error::{ErrorCode, Result, SqlError};
use crate::format::{self, RowWriter, Sink, Summary};
use crate::gate;
use crate::params::Params;
use crate::request::{Format, SqlRequest};
use crate::scan::ScanContext;
use crate::scoped::Scope;
use crate::settings::QuerySettings;
use crate::tables::QueryTables;

/// Size at which bytes of an answer are sent on.
pub(super) const PIECE_BYTES: usize = 256 << 10;

pub(super) struct Work {
    pub(super) request: SqlRequest,
    pub(super) scope: Scope,
    pub(super) row_limit: Option<usize>,
    pub(super) query_id: String,
    pub(super) started: Instant,
    pub(super) queued: Duration,
    pub(super) session: Arc<SessionState>,
    pub(super) views: Arc<Views>,
    pub(super) scans: Arc<ScanContext>,
    pub(super) settings: QuerySettings,
    pub(super) pieces: mpsc::Sender<Bytes>,
}

impl Work {
    pub(super) async fn run(mut self, outcome: Outcome) -> Result<()> {
        let statement = gate::parse(&self.request.sql)?;
        // Taken once, and held to the end: the files of old views go when their last query does.
        let tables = self.tables()?;
        let session = tables.session();
        let params = std::mem::take(&mut self.request.params);
        let plan = planned(&session, &self.scope, statement, params, self.row_limit).await?;
        let planned = self.started.elapsed();

        let mut batches = execute_stream(Arc::clone(&plan), session.task_ctx())?;
        let (writer, sink) = format::writer(self.request.format, &self.query_id, &batches.schema())?;
        let mut answer = AnswerWriter { work: &self, writer, sink, rows: 0, truncated: false, sent_bytes: 0 };
        while let Some(batch) = batches.try_next().await? {
            answer.rows(batch).await?;
            if answer.truncated {
                break;
            }
        }
        drop(batches);
        let stats = self.stats(&tables, plan.as_ref(), planned);
        let last = answer.finish(stats)?;
        // The reader may see the end of the pieces as soon as the last one is sent.
        outcome.set(Ok(()));
        let _ = self.pieces.send(last).await;
        drop(tables);
        Ok(())
    }

    fn tables(&self) -> Result<Arc<QueryTables>> {
        let past = self.request.past.clone();
        let past = past.map(|past| past.resolve_names(&self.settings.table_prefix)).transpose()?;
        Ok(QueryTables::new(&self.settings, self.views.current(), past, self.scope.clone(), &self.scans, &self.session))
    }

    fn stats(&self, tables: &QueryTables, plan: &dyn ExecutionPlan, planned: Duration) -> Value {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let times = json!({
            "elapsed_ms": ms(self.started.elapsed()),
            "planning_ms": ms(planned.saturating_sub(self.queued)),
            "queue_ms": ms(self.queued),
        });
        // The rest counts rows and files of all projects.
        if !self.scope.is_all() {
            return times;
        }
        let snapshots = tables.used.lock();
        let snapshots = snapshots.iter().map(|(table, snapshot)| {
            // Snapshot ids have 63 bits, more than a JSON number holds in many clients.
            ((*table).to_owned(), snapshot.map_or(Value::Null, |snapshot| snapshot.to_string().into()))
        });
        let scanned = scanned(plan);
        let mut stats = times;
        stats["rows_scanned"] = json!(scanned.rows);
        stats["bytes_scanned"] = json!(scanned.bytes);
        stats["files_scanned"] = json!(tables.counts.files_scanned.load(Ordering::Relaxed));
        stats["files_pruned"] = json!(tables.counts.files_pruned.load(Ordering::Relaxed));
        stats["snapshots"] = Value::Object(snapshots.collect::<Map<String, Value>>());
        stats
    }
}

/// Runs one of our own statements about stored rows, through the same gate and limits as any other, to its
/// last row.
pub(crate) async fn execute(tables: &Arc<QueryTables>, sql: &str, params: Params) -> Result<SendableRecordBatchStream> {
    let session = tables.session_of_rows();
    let plan = planned(&session, &tables.scope, gate::parse(sql)?, params, None).await?;
    Ok(execute_stream(plan, session.task_ctx())?)
}

async fn planned(
    session: &SessionState,
    scope: &Scope,
    statement: Statement,
    params: Params,
    row_limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = gate::plan(session, statement, params, scope).await?;
    let plan = limited(plan, row_limit)?;
    yielding(session.create_physical_plan(&plan).await?)
}

struct AnswerWriter<'a> {
    work: &'a Work,
    writer: Box<dyn RowWriter>,
    sink: Sink,
    rows: usize,
    truncated: bool,
    sent_bytes: u64,
}

impl AnswerWriter<'_> {
    async fn rows(&mut self, batch: RecordBatch) -> Result<()> {
        let left = self.work.row_limit.map_or(usize::MAX, |limit| limit - self.rows);
        self.truncated = batch.num_rows() > left;
        let batch = if self.truncated { batch.slice(0, left) } else { batch };
        self.rows += batch.num_rows();
        if batch.num_rows() > 0 {
            self.writer.rows(&batch)?;
        }
        match self.work.request.format {
            Format::Json => self.check_size(self.work.settings.json_bytes_max as u64),
            _ => self.send().await,
        }
    }

    async fn send(&mut self) -> Result<()> {
        self.check_size(self.work.settings.stream_bytes_max)?;
        // The first rows go at once, so that a client sees them while the rest is computed.
        let enough = if self.sent_bytes == 0 { 1 } else { PIECE_BYTES };
        if self.sink.len() < enough || self.rows == 0 {
            return Ok(());
        }
        let piece = self.sink.take();
        self.sent_bytes += piece.len() as u64;
        let gone = |_| SqlError::new(ErrorCode::Cancelled, "the client has gone");
        self.work.pieces.send(piece).await.map_err(gone)
    }

    fn check_size(&self, bytes_max: u64) -> Result<()> {
        if self.sent_bytes + self.sink.len() as u64 <= bytes_max {
            return Ok(());
        }
        let message = format!("the answer has more than {bytes_max} bytes; ask for fewer rows or columns");
        Err(SqlError::new(ErrorCode::ResultTooLarge, message))
    }

    /// The last bytes of the answer.
    fn finish(mut self, stats: Value) -> Result<Bytes> {
        self.writer.finish(&Summary { row_count: self.rows, truncated: self.truncated, stats })?;
        Ok(self.sink.take())
    }
}

/// One row more than the limit, to know whether there were more.
fn limited(plan: LogicalPlan, row_limit: Option<usize>) -> Result<LogicalPlan> {
    let is_query = !matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_));
    match row_limit {
        Some(limit) if is_query => {
            Ok(LogicalPlanBuilder::from(plan).limit(0, Some(limit.saturating_add(1)))?.build()?)
        }
        _ => Ok(plan),
    }
}

/// Makes operators that turn few rows into many give way after some batches. DataFusion does so where
/// rows are read, but a join can compute for minutes on what it has read; cancelling needs a pause.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let yielding = plan.transform_up(|node| {
        let operator = node.as_any();
        let multiplies = operator.is::<CrossJoinExec>()
            || operator.is::<NestedLoopJoinExec>()
            || operator.is::<HashJoinExec>()
            || operator.is::<SortMergeJoinExec>()
            || operator.is::<UnnestExec>();
        Ok(match multiplies {
            true => Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>),
            false => Transformed::no(node),
        })
    });
    Ok(yielding.data()?)
}

#[derive(Default)]
struct Scanned {
    rows: usize,
    bytes: usize,
}

/// What the leaves of a plan that has run report.
fn scanned(plan: &dyn ExecutionPlan) -> Scanned {
    let mut total = Scanned::default();
    for child in plan.children() {
        let below = scanned(child.as_ref());
        total.rows += below.rows;
        total.bytes += below.bytes;
    }
    if plan.children().is_empty()
        && let Some(metrics) = plan.metrics()
    {
        total.rows += metrics.output_rows().unwrap_or_default();
        total.bytes += metrics.sum_by_name("bytes_scanned").as_ref().map_or(0, MetricValue::as_usize);
    }
    total
}

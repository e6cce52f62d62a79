//! Runs statements: one view, one session, one answer each.

mod queue;
mod running;
mod session;
mod unused_join;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::execution::session_state::SessionState;
use futures::TryStreamExt;
use hogflare_catalog::{MetadataCache, Slot, Table, Views};
use tokio::sync::mpsc;
use uuid::Uuid;

use self::queue::Queue;
pub use self::running::{Answer, Body};
use self::running::{Outcome, Running, Stop};
use self::work::Work;
pub(crate) use self::work::execute;
use crate::audit::{Audit, AuditReport};
use crate::error::{ErrorCode, Result, SqlError, internal};
use crate::params::Params;
use crate::request::{Format, SqlRequest};
use crate::scan::{DeletedPositions, ScanContext};
use crate::scoped::{self, Scope};
use crate::settings::QuerySettings;
use crate::tables::QueryTables;
use crate::telemetry;
use crate::trace::Trace;
use crate::views;

/// Pieces of an answer that wait for a slow reader, each about [`work::PIECE_BYTES`].
const PIECES_MAX: usize = 4;
/// How much longer than its limit a query is waited for: one that is planning cannot be stopped.
const GRACE: Duration = Duration::from_millis(500);

/// Who asks; the server has checked the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Name of the token, for the log.
    pub name: String,
    pub scope: Scope,
}

impl Reader {
    /// One who reads everything.
    pub fn of_all(name: impl Into<String>) -> Reader {
        Reader { name: name.into(), scope: Scope::All }
    }
}

/// Reads the tables. Cheap to share: hold it in an `Arc`.
#[derive(Debug)]
pub struct Engine {
    settings: QuerySettings,
    views: Arc<Views>,
    scans: Arc<ScanContext>,
    /// Every query's session is a copy of this one.
    session: Arc<SessionState>,
    queue: Queue,
    running: Arc<Running>,
}

impl Engine {
    /// Fails if the memory pool, the caches or the functions cannot be set up.
    pub fn new(settings: QuerySettings, views: Arc<Views>, metadata: Arc<MetadataCache>) -> Result<Engine> {
        let session = Arc::new(session::base(&settings, metadata.objects())?);
        let scans = Arc::new(ScanContext { metadata, deleted: DeletedPositions::default() });
        let queue = Queue::new(settings.running_max, settings.waiting_max, settings.wait_max);
        Ok(Engine { settings, views, scans, session, queue, running: Arc::default() })
    }

    /// Runs one statement. Returns when the first rows are there, so that most errors arrive here;
    /// what fails later is an error item of the body, and a body without it is complete. Dropping the
    /// future or the body stops the query.
    pub async fn run(&self, request: SqlRequest, reader: Reader) -> Result<Answer> {
        let started = Instant::now();
        let query_id = request.query_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let answer = self.started(request, &reader, &query_id, started).await;
        if let Err(error) = &answer {
            telemetry::query_ended(error.code.as_str(), started.elapsed());
            tracing::debug!(query_id, reader = reader.name, code = error.code.as_str(), "query refused");
        }
        answer.map_err(|error| error.of_query(&query_id))
    }

    /// Counts every row of every table against its position, at one instant. `known` says how far the
    /// log is durable and visible. Waits for a turn like a query and has the longest of their time limits;
    /// dropping the future stops it.
    pub async fn audit(&self, known: impl Fn(Slot, Table) -> u64, reader: Reader) -> Result<AuditReport> {
        let started = Instant::now();
        let query_id = Uuid::new_v4().to_string();
        if !reader.scope.is_all() {
            return Err(scoped::refused("the audit"));
        }
        let (stop, entry) = self.running.enter(&query_id, &reader)?;
        let turn = self.queue.turn().await?;
        // Before the view, so that every row below these positions must be in it.
        let logged = Slot::ALL.map(|slot| Table::ALL.map(|table| known(slot, table)));
        let audit = Audit {
            settings: self.settings.clone(),
            session: Arc::clone(&self.session),
            scans: Arc::clone(&self.scans),
            writer: self.views.writer().clone(),
            view: self.views.current(),
            logged,
        };
        let timeout = self.settings.timeout_max;
        let task = self.settings.runtime.spawn(async move {
            let _turn = turn;
            tokio::select! {
                biased;
                () = stop.stopped() => Err(cancelled()),
                () = tokio::time::sleep(timeout) => Err(timed_out(timeout)),
                report = audit.run() => report,
            }
        });
        let entry = entry.with_task(task.abort_handle(), reader.name, started);
        let mut report = task.await.unwrap_or_else(|error| Err(internal(&error)));
        if let Ok(report) = &mut report {
            report.check_log(&known);
        }
        entry.ended(report.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok"));
        report
    }

    /// What became of the event with this uuid; none if it was never received.
    pub async fn trace(&self, uuid: &str, reader: Reader) -> Result<Option<serde_json::Value>> {
        let trace = Trace {
            settings: self.settings.clone(),
            session: Arc::clone(&self.session),
            scans: Arc::clone(&self.scans),
            writer: self.views.writer().clone(),
            view: self.views.current(),
        };
        if !reader.scope.is_all() {
            return Err(scoped::refused("the trace of an event"));
        }
        let turn = self.queue.turn().await?;
        let (uuid, timeout) = (uuid.to_owned(), self.settings.timeout);
        let task = self.settings.runtime.spawn(async move {
            let _turn = turn;
            let traced = tokio::time::timeout(timeout, trace.run(&uuid)).await;
            traced.unwrap_or_else(|_| Err(timed_out(timeout)))
        });
        task.await.unwrap_or_else(|error| Err(internal(&error)))
    }

    /// Visits every row of a table, the tail included, with its columns under our names, in any order.
    pub async fn each_row(
        &self,
        table: Table,
        mut visit: impl FnMut(&RecordBatch) -> std::result::Result<(), String>,
    ) -> Result<()> {
        let tables =
            QueryTables::new(&self.settings, self.views.current(), None, Scope::All, &self.scans, &self.session);
        let sql = format!("SELECT * FROM {}", views::name_of(table));
        let mut batches = execute(&tables, &sql, Params::None).await?;
        while let Some(batch) = batches.try_next().await? {
            visit(&batch).map_err(|error| internal(&error))?;
        }
        Ok(())
    }

    /// Stops a query. False if there is none of that id, for a reader of single projects also if it is
    /// another's.
    pub fn cancel(&self, query_id: &str, reader: &Reader) -> bool {
        self.running.cancel(query_id, reader)
    }

    async fn started(&self, request: SqlRequest, reader: &Reader, query_id: &str, started: Instant) -> Result<Answer> {
        let format = request.format;
        let timeout = request.timeout.unwrap_or(self.settings.timeout).min(self.settings.timeout_max);
        let (stop, entry) = self.running.enter(query_id, reader)?;
        let turn = tokio::select! {
            turn = self.queue.turn() => turn?,
            () = stop.stopped() => return Err(cancelled()),
        };
        let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
        let outcome = Outcome::default();
        let work = Work {
            row_limit: self.row_limit(&request),
            request,
            scope: reader.scope.clone(),
            query_id: query_id.to_owned(),
            started,
            queued: started.elapsed(),
            session: Arc::clone(&self.session),
            views: Arc::clone(&self.views),
            scans: Arc::clone(&self.scans),
            settings: self.settings.clone(),
            pieces: sender,
        };
        let run = until_stopped(work, stop.clone(), timeout, outcome.clone());
        // The turn belongs to the task: an aborted query still holds it while it plans.
        let task = self.settings.runtime.spawn(async move {
            let _turn = turn;
            run.await;
        });
        let entry = entry.with_task(task.abort_handle(), reader.name.clone(), started);
        let first = tokio::select! {
            biased;
            first = pieces.recv() => first,
            () = stop.stopped() => return Err(cancelled()),
            () = tokio::time::sleep(timeout + GRACE) => return Err(timed_out(timeout)),
        };
        let Some(first) = first else { return Err(outcome.error().unwrap_or_else(|| internal(&"the query panicked"))) };
        Ok(Answer { query_id: query_id.to_owned(), format, body: Body::new(first, pieces, outcome, entry) })
    }

    fn row_limit(&self, request: &SqlRequest) -> Option<usize> {
        match request.format {
            Format::Json => {
                let wanted = request.row_limit.unwrap_or(self.settings.json_rows);
                Some(wanted.min(self.settings.json_rows_max))
            }
            Format::Ndjson | Format::Csv | Format::Arrow | Format::Parquet => request.row_limit,
        }
    }
}

async fn until_stopped(work: Work, stop: Stop, timeout: Duration, outcome: Outcome) {
    // Kept until the outcome is set: the reader looks for it when the last sender is gone.
    let _pieces = work.pieces.clone();
    let result = tokio::select! {
        biased;
        () = stop.stopped() => Err(cancelled()),
        () = tokio::time::sleep(timeout) => Err(timed_out(timeout)),
        result = work.run(outcome.clone()) => result,
    };
    outcome.set(result);
}

fn cancelled() -> SqlError {
    SqlError::new(ErrorCode::Cancelled, "the query was cancelled")
}

fn timed_out(timeout: Duration) -> SqlError {
    SqlError::new(ErrorCode::Timeout, format!("the query took longer than {} ms", timeout.as_millis()))
}

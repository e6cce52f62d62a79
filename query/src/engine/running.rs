//! Queries that run, and the answers that they give.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::Reader;
use crate::error::{ErrorCode, Result, SqlError, internal};
use crate::request::Format;
use crate::telemetry;

/// An answer that has begun.
#[derive(Debug)]
pub struct Answer {
    pub query_id: String,
    pub format: Format,
    pub body: Body,
}

/// The bytes of an answer. An error item means that the answer is not complete: the server must break
/// the transfer off, so that no client takes it for whole.
#[derive(Debug)]
pub struct Body {
    first: Option<Bytes>,
    pieces: mpsc::Receiver<Bytes>,
    outcome: Outcome,
    entry: Option<Entry>,
}

impl Body {
    pub(super) fn new(first: Bytes, pieces: mpsc::Receiver<Bytes>, outcome: Outcome, entry: Entry) -> Body {
        Body { first: Some(first), pieces, outcome, entry: Some(entry) }
    }

    /// The end of the answer, once.
    fn end(&mut self) -> Option<Result<Bytes>> {
        let entry = self.entry.take()?;
        let error = match self.outcome.get() {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(error),
            None => Some(internal(&"the query panicked")),
        };
        entry.ended(error.as_ref().map_or("ok", |error| error.code.as_str()));
        error.map(|error| Err(error.of_query(&entry.query_id)))
    }
}

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        match self.pieces.poll_recv(context) {
            Poll::Ready(Some(piece)) => Poll::Ready(Some(Ok(piece))),
            Poll::Ready(None) => Poll::Ready(self.end()),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// How a query ended, set before its last piece is out.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome(Arc<OnceLock<Result<()>>>);

impl Outcome {
    /// The first outcome counts.
    pub(super) fn set(&self, result: Result<()>) {
        let _ = self.0.set(result);
    }

    fn get(&self) -> Option<Result<()>> {
        self.0.get().cloned()
    }

    pub(super) fn error(&self) -> Option<SqlError> {
        self.get()?.err()
    }
}

/// The queries that run or wait, by id.
#[derive(Debug, Default)]
pub(super) struct Running {
    queries: Mutex<HashMap<String, Query>>,
}

#[derive(Debug)]
struct Query {
    stop: watch::Sender<bool>,
    reader: Reader,
}

/// Says when a query shall end.
#[derive(Clone, Debug)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Returns when the query is cancelled, and never otherwise.
    pub(super) async fn stopped(&self) {
        if self.0.clone().wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Running {
    pub(super) fn enter(self: &Arc<Self>, query_id: &str, reader: &Reader) -> Result<(Stop, Entry)> {
        let (sender, receiver) = watch::channel(false);
        let mut queries = self.queries.lock();
        if queries.contains_key(query_id) {
            let message = format!("a query with the id {query_id} is running");
            return Err(SqlError::new(ErrorCode::InvalidParameter, message));
        }
        queries.insert(query_id.to_owned(), Query { stop: sender, reader: reader.clone() });
        let entry = Entry { running: Arc::clone(self), query_id: query_id.to_owned(), task: None };
        Ok((Stop(receiver), entry))
    }

    pub(super) fn cancel(&self, query_id: &str, reader: &Reader) -> bool {
        let queries = self.queries.lock();
        let query = queries.get(query_id).filter(|query| reader.scope.is_all() || query.reader == *reader);
        query.is_some_and(|query| query.stop.send(true).is_ok())
    }
}

/// A query in [`Running`], until it is dropped; then its task is stopped.
#[derive(Debug)]
pub(super) struct Entry {
    running: Arc<Running>,
    query_id: String,
    task: Option<Task>,
}

#[derive(Debug)]
struct Task {
    abort: AbortHandle,
    reader: String,
    started: Instant,
}

impl Entry {
    pub(super) fn with_task(mut self, abort: AbortHandle, reader: String, started: Instant) -> Entry {
        self.task = Some(Task { abort, reader, started });
        self
    }

    pub(super) fn ended(&self, outcome: &'static str) {
        if let Some(Task { reader, started, .. }) = &self.task {
            telemetry::query_ended(outcome, started.elapsed());
            let elapsed_ms = started.elapsed().as_millis();
            tracing::debug!(query_id = self.query_id, reader, outcome, elapsed_ms, "query ended");
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.queries.lock().remove(&self.query_id);
        if let Some(task) = &self.task {
            task.abort.abort();
        }
    }
}

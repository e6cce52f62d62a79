//! The one writer: waiting requests → rows → one frame and one sync → visible → acknowledged.
//!
//! Synchronous code on a thread of its own. Everything that waits shares the next sync (group commit).
//! A failed write or sync ends the writer for good: whether the bytes are on the disk is then unknown,
//! so nothing is acknowledged any more, and a restart finds out.

mod batch;
mod group;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use hogflare_catalog::tables::GroupBuilder;
use hogflare_catalog::{Views, WriterId};
use tokio::sync::oneshot;

pub use batch::Batch;
pub(crate) use batch::{dead_letter_bytes, event_bytes};

use crate::admission::{Admission, BytesPermit, Health};
use crate::dedup::{Dedup, Key};
use crate::identity::Identity;
use crate::ingest::{Ack, AppendError};
use crate::telemetry;
use crate::wal::{Log, LogError, LogPositions};

/// How often an idle writer looks after the log.
const IDLE_STEP: Duration = Duration::from_millis(100);
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);

/// One request, on its way to the log.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) batch: Box<dyn Batch>,
    /// The dedup key of each event; 0 for none.
    pub(crate) keys: Vec<Key>,
    /// Bytes of its rows.
    pub(crate) bytes: usize,
    pub(crate) received_us: i64,
    pub(crate) reply: oneshot::Sender<Result<Ack, AppendError>>,
    /// Given back when the request is answered.
    pub(crate) _permit: BytesPermit,
}

/// See the module.
#[derive(Debug)]
pub struct Writer {
    queue: Receiver<Request>,
    admission: Arc<Admission>,
    views: Arc<Views>,
    log: Log,
    positions: LogPositions,
    dedup: Dedup,
    /// None if nobody is known: then events keep the person ids that they come with.
    identity: Option<Identity>,
    builder: GroupBuilder,
    /// A frame ends before it exceeds this, unless it holds one row.
    frame_bytes: usize,
    failed: bool,
    /// Dedup keys could not be written for want of space, and that was said.
    keys_delayed: bool,
    last_gauges: Option<Instant>,
}

/// What the owner of the recovered parts hands over.
#[derive(Debug)]
pub(crate) struct WriterParts {
    pub(crate) queue: Receiver<Request>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) views: Arc<Views>,
    pub(crate) log: Log,
    pub(crate) positions: LogPositions,
    pub(crate) dedup: Dedup,
    pub(crate) identity: Option<Identity>,
    pub(crate) writer_id: WriterId,
    pub(crate) next: crate::wal::Positions,
    pub(crate) frame_bytes: usize,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing waited.
    Idle,
    /// One group was answered.
    Group { requests: usize, rows: u64 },
    /// No handle is left, or the stop was asked for and nothing waits. All is durable.
    Closed,
    /// A write or sync failed, now or before. Waiting requests were answered with the failure.
    Failed,
}

impl Writer {
    pub(crate) fn new(parts: WriterParts) -> Writer {
        let WriterParts { queue, admission, views, log, positions, dedup, identity, writer_id, next, frame_bytes } =
            parts;
        let builder = GroupBuilder::new(writer_id, next);
        Writer {
            queue,
            admission,
            views,
            log,
            positions,
            dedup,
            identity,
            builder,
            frame_bytes,
            failed: false,
            keys_delayed: false,
            last_gauges: None,
        }
    }

    /// Works until every [`crate::Ingest`] is dropped or the stop is asked for, and what waited is
    /// answered. An error says why nothing is acknowledged any more; the process should then restart.
    pub fn run(mut self) -> Result<(), String> {
        loop {
            match self.step(IDLE_STEP) {
                Step::Idle | Step::Group { .. } => {}
                Step::Closed => return Ok(()),
                Step::Failed => return Err(self.failure()),
            }
        }
    }

    /// Waits for requests up to a time, writes one group, and looks after the log.
    pub fn step(&mut self, wait: Duration) -> Step {
        if self.failed {
            self.refuse_waiting();
            return Step::Failed;
        }
        match self.try_step(wait) {
            Ok(step) => step,
            Err(error) => {
                let reason = error.chain();
                tracing::error!(reason, "the log failed; nothing is acknowledged until a restart");
                self.failed = true;
                self.admission.set_health(Health::Failed(reason));
                self.refuse_waiting();
                Step::Failed
            }
        }
    }

    fn try_step(&mut self, wait: Duration) -> Result<Step, LogError> {
        let requests = match self.take_waiting(wait) {
            Ok(requests) => requests,
            Err(RecvTimeoutError::Timeout) if self.admission.health() == Health::Stopping => return self.close(),
            Err(RecvTimeoutError::Timeout) => {
                self.look_after_log()?;
                return Ok(Step::Idle);
            }
            Err(RecvTimeoutError::Disconnected) => return self.close(),
        };
        let count = requests.len();
        let rows = self.write_group(requests)?;
        self.look_after_log()?;
        Ok(Step::Group { requests: count, rows })
    }

    /// The waiting requests, as long as their rows fit one frame; at least one.
    fn take_waiting(&mut self, wait: Duration) -> Result<Vec<Request>, RecvTimeoutError> {
        let first = match self.queue.try_recv() {
            Ok(request) => request,
            Err(_) => self.queue.recv_timeout(wait)?,
        };
        let mut bytes = first.bytes;
        let mut requests = vec![first];
        while bytes < self.frame_bytes
            && let Ok(request) = self.queue.try_recv()
        {
            bytes += request.bytes;
            requests.push(request);
        }
        self.admission.queued.fetch_sub(requests.len(), Ordering::Relaxed);
        Ok(requests)
    }

    /// Removes segments that are not needed, after bringing the keys of closed ones into their files,
    /// and finds out whether a full log has room again.
    fn look_after_log(&mut self) -> Result<(), LogError> {
        if self.log.closed_end().is_some_and(|end| end > self.dedup.synced_through()) {
            self.write_keys()?;
        }
        let removed = self.log.remove_released(&self.positions, self.dedup.synced_through())?;
        if removed > 0 {
            tracing::debug!(removed, "removed log segments");
        }
        if matches!(self.admission.health(), Health::LogFull(_)) {
            self.ensure_room(0)?;
        }
        self.show_gauges();
        Ok(())
    }

    /// Whether a frame with these rows can be written; if not, new requests are refused until it can.
    fn ensure_room(&mut self, row_bytes: usize) -> Result<bool, LogError> {
        let was_full = || matches!(self.admission.health(), Health::LogFull(_));
        match self.log.ensure_room(row_bytes as u64, || self.views.current().sealed_bytes()) {
            Ok(()) => {
                if was_full() {
                    tracing::info!("the log has room again");
                    self.admission.set_health(Health::Accepting);
                }
                Ok(true)
            }
            Err(error @ LogError::Full(_)) => {
                let reason = error.to_string();
                if !was_full() {
                    tracing::error!(reason, "events are refused until there is room");
                }
                self.admission.set_health(Health::LogFull(reason));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Between groups everything that is appended is synced, and so are the frames of all keys. Without
    /// room for the keys the log keeps its segments.
    fn write_keys(&mut self) -> Result<(), LogError> {
        match self.dedup.write_through(self.log.end()) {
            Err(LogError::Full(reason)) => {
                if !std::mem::replace(&mut self.keys_delayed, true) {
                    tracing::warn!(reason, "cannot write dedup keys; the log must keep its segments");
                }
                Ok(())
            }
            written => {
                self.keys_delayed = false;
                written
            }
        }
    }

    fn close(&mut self) -> Result<Step, LogError> {
        self.log.close_segment()?;
        self.write_keys()?;
        Ok(Step::Closed)
    }

    fn refuse_waiting(&mut self) {
        while let Ok(request) = self.queue.try_recv() {
            self.admission.queued.fetch_sub(1, Ordering::Relaxed);
            request.answer(Err(AppendError::Stopped));
        }
    }

    fn failure(&self) -> String {
        match self.admission.health() {
            Health::Failed(reason) => reason,
            health => unreachable!("the writer failed but is {health:?}"),
        }
    }

    fn show_gauges(&mut self) {
        if self.last_gauges.is_some_and(|last| last.elapsed() < GAUGE_INTERVAL) {
            return;
        }
        self.last_gauges = Some(Instant::now());
        metrics::gauge!(telemetry::WAL_BYTES).set(self.log.bytes() as f64);
        metrics::gauge!(telemetry::DEDUP_AGE_SECONDS).set(self.dedup.age_seconds());
        metrics::gauge!(telemetry::QUEUE_REQUESTS).set(self.admission.queued.load(Ordering::Relaxed) as f64);
        metrics::gauge!(telemetry::REQUEST_BYTES).set(self.admission.request_bytes() as f64);
    }
}

/// Nobody waits for a writer that is gone, whatever the reason.
impl Drop for Writer {
    fn drop(&mut self) {
        let health = match std::thread::panicking() {
            true => Health::Failed("the writer stopped at a broken invariant; see the log above".to_owned()),
            false => Health::Stopping,
        };
        self.admission.set_health(health);
    }
}

impl Request {
    /// The client may be gone; then nobody hears it.
    pub(crate) fn answer(self, answer: Result<Ack, AppendError>) {
        drop(self.reply.send(answer));
    }
}

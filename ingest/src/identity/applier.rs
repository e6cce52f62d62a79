//! Brings the changes of durable groups into the state file, behind the writer's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use hogflare_catalog::Slot;

use super::known::Known;
use super::store::{STATE_TABLES, StatePositions, Store};
use super::{Changes, StateError};
use crate::telemetry;
use crate::wal::LogPositions;

/// Changes wait for others so long, so that many share a sync.
const GATHER: Duration = Duration::from_millis(200);
/// A transaction takes this much at most.
const TRANSACTION_BYTES: usize = 8 << 20;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What a durable group changed.
#[derive(Debug)]
pub(crate) struct AppliedGroup {
    pub(crate) number: u64,
    /// With the project token of the event behind each.
    pub(crate) changes: Vec<(Arc<str>, Changes)>,
    pub(crate) bytes: usize,
    /// Through which rows of the state's tables the log is durable.
    pub(crate) through: StatePositions,
}

/// How far it is, for the writer and for readers.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The last group that is in the file.
    pub(crate) settled: AtomicU64,
    /// Memory of changes that are not.
    pub(crate) waiting_bytes: AtomicUsize,
    pub(crate) is_failing: AtomicBool,
}

/// Runs on a thread of its own.
#[derive(Debug)]
pub struct StateWriter {
    pub(super) store: Store,
    pub(super) known: Arc<Known>,
    pub(super) progress: Arc<Progress>,
    pub(super) groups: Receiver<AppliedGroup>,
    pub(super) positions: LogPositions,
}

impl StateWriter {
    /// Works until the writer is gone and all is in the file.
    pub fn run(mut self) {
        let mut waiting: Vec<AppliedGroup> = Vec::new();
        loop {
            let is_last = self.gather(&mut waiting);
            if self.apply(&waiting).is_ok() {
                waiting.clear();
            } else if is_last {
                // Nothing is lost by giving up: the log keeps the rows.
                return;
            } else {
                std::thread::sleep(RETRY_PAUSE);
            }
            if is_last {
                break;
            }
        }
        if let Err(error) = self.store.close() {
            tracing::warn!(error = error.to_string(), "the state is complete, but its file could not be closed");
        }
    }

    /// Waits for changes, unless some are left, and takes those that come shortly after. True if none will
    /// follow.
    fn gather(&self, waiting: &mut Vec<AppliedGroup>) -> bool {
        if waiting.is_empty() {
            let Ok(first) = self.groups.recv() else { return true };
            waiting.push(first);
        }
        let deadline = Instant::now() + GATHER;
        let mut bytes: usize = waiting.iter().map(|group| group.bytes).sum();
        while bytes < TRANSACTION_BYTES {
            match self.groups.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(group) => {
                    bytes += group.bytes;
                    waiting.push(group);
                }
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
        false
    }

    fn apply(&mut self, groups: &[AppliedGroup]) -> Result<(), StateError> {
        let Some(last) = groups.last() else { return Ok(()) };
        let started = Instant::now();
        let written = write(&mut self.store, groups, &last.through);
        if let Err(error) = written {
            if !self.progress.is_failing.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    error = error.to_string(),
                    "persons cannot be brought into the state file; the log keeps them, and the next try is in a second"
                );
            }
            return Err(error);
        }
        if self.progress.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the state file takes changes again");
        }
        metrics::histogram!(telemetry::STATE_APPLY_SECONDS).record(started.elapsed());
        self.progress.settled.store(last.number, Ordering::Release);
        for group in groups {
            for (project, changes) in &group.changes {
                self.known.settle(changes, project, last.number);
            }
            self.progress.waiting_bytes.fetch_sub(group.bytes, Ordering::Relaxed);
        }
        for (table, through) in STATE_TABLES.into_iter().zip(last.through) {
            self.positions.apply_through(Slot::Main, table, through);
        }
        Ok(())
    }
}

fn write(store: &mut Store, groups: &[AppliedGroup], through: &StatePositions) -> Result<(), StateError> {
    let writing = store.begin()?;
    for (project, changes) in groups.iter().flat_map(|group| &group.changes) {
        writing.apply(changes, project)?;
    }
    writing.put_positions(through)?;
    writing.commit()
}

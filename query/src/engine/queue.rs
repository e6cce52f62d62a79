//! Who runs, who waits, who is turned away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ErrorCode, Result, SqlError};

/// Seconds after which a client that was turned away may try again.
const RETRY_AFTER_S: u64 = 5;

#[derive(Debug)]
pub(super) struct Queue {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    wait_max: Duration,
}

/// The right to run one query; given back when dropped.
pub(super) type Turn = OwnedSemaphorePermit;

impl Queue {
    pub(super) fn new(running_max: usize, waiting_max: usize, wait_max: Duration) -> Queue {
        let turns = Arc::new(Semaphore::new(running_max.max(1)));
        Queue { turns, waiting: AtomicUsize::new(0), waiting_max, wait_max }
    }

    pub(super) async fn turn(&self) -> Result<Turn> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(turn);
        }
        let _waiting = Waiting::join(self)?;
        match tokio::time::timeout(self.wait_max, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(full("no query ended in time to make room for this one")),
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(queue: &'a Queue) -> Result<Waiting<'a>> {
        let ahead = queue.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&queue.waiting);
        if ahead >= queue.waiting_max {
            return Err(full("too many queries are waiting"));
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn full(message: &str) -> SqlError {
    SqlError { retry_after_s: Some(RETRY_AFTER_S), ..SqlError::new(ErrorCode::QueueFull, message) }
}

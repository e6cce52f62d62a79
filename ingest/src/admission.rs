//! What is let in: everything has a limit, and at a limit the answer is 503 at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hogflare_catalog::Views;
use parking_lot::Mutex;

/// Limits on what is between a client's first byte and its answer.
#[derive(Clone, Debug)]
pub struct AdmissionSettings {
    /// Bytes of all requests together, charged by their decoded size.
    pub request_bytes_max: usize,
    /// Requests that wait for the writer.
    pub queue_requests_max: usize,
    /// Rows in memory that are not sealed. Above it nothing new is let in.
    pub tail_bytes_max: u64,
}

impl Default for AdmissionSettings {
    fn default() -> AdmissionSettings {
        AdmissionSettings { request_bytes_max: 128 << 20, queue_requests_max: 4_096, tail_bytes_max: 128 << 20 }
    }
}

/// Not now; the client may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Overloaded {
    pub reason: OverloadReason,
    pub retry_after_seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverloadReason {
    #[error("too many request bytes are in flight")]
    RequestBytes,
    #[error("too many requests wait for the writer")]
    Queue,
    #[error("too many rows in memory wait for their table")]
    Tail,
    #[error("too many changes of persons wait for the state file")]
    State,
    #[error("the log is full")]
    LogFull,
    #[error("the server is stopping")]
    Stopping,
    #[error("the writer has ended after a failure of the disk; a restart recovers")]
    Failed,
    /// One body may take a quarter of the bytes of all requests. A retry does not help.
    #[error("the body is larger than the limit")]
    BodyTooLarge,
}

impl OverloadReason {
    pub(crate) fn now(self) -> Overloaded {
        let retry_after_seconds = match self {
            OverloadReason::LogFull | OverloadReason::Failed => 30,
            _ => 5,
        };
        Overloaded { reason: self, retry_after_seconds }
    }
}

/// Whether events are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Accepting,
    /// There is no room for more; it may come back.
    LogFull(String),
    /// Open requests are finished, new ones refused.
    Stopping,
    /// A write or sync failed. Nothing is acknowledged any more; a restart recovers.
    Failed(String),
}

/// Shared by all handles and the writer.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) settings: AdmissionSettings,
    views: Arc<Views>,
    request_bytes: AtomicUsize,
    pub(crate) queued: AtomicUsize,
    /// Fast form of `health == Accepting`.
    accepting: AtomicBool,
    health: Mutex<Health>,
}

impl Admission {
    pub(crate) fn new(settings: AdmissionSettings, views: Arc<Views>) -> Arc<Admission> {
        Arc::new(Admission {
            settings,
            views,
            request_bytes: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            accepting: AtomicBool::new(true),
            health: Mutex::new(Health::Accepting),
        })
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// Failed is final; stopping only gives way to failed.
    pub(crate) fn set_health(&self, new: Health) {
        let mut health = self.health.lock();
        let is_final = match *health {
            Health::Failed(_) => true,
            Health::Stopping => !matches!(new, Health::Failed(_)),
            _ => false,
        };
        if !is_final {
            self.accepting.store(new == Health::Accepting, Ordering::Release);
            *health = new;
        }
    }

    /// Why nothing is let in, if so.
    pub(crate) fn check(&self) -> Result<(), Overloaded> {
        if !self.accepting.load(Ordering::Acquire) {
            return match *self.health.lock() {
                Health::Accepting => Ok(()),
                Health::LogFull(_) => Err(OverloadReason::LogFull.now()),
                Health::Stopping => Err(OverloadReason::Stopping.now()),
                Health::Failed(_) => Err(OverloadReason::Failed.now()),
            };
        }
        if self.views.tail_bytes() >= self.settings.tail_bytes_max {
            return Err(OverloadReason::Tail.now());
        }
        if self.queued.load(Ordering::Relaxed) >= self.settings.queue_requests_max {
            return Err(OverloadReason::Queue.now());
        }
        Ok(())
    }

    pub(crate) fn request_bytes(&self) -> usize {
        self.request_bytes.load(Ordering::Relaxed)
    }

    fn charge(&self, bytes: usize) -> Result<(), Overloaded> {
        let room = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.settings.request_bytes_max);
        let charged = self.request_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        charged.map(|_| ()).map_err(|_| OverloadReason::RequestBytes.now())
    }
}

/// Room for the bytes of one request, given back when dropped.
#[derive(Debug)]
pub struct BytesPermit {
    admission: Arc<Admission>,
    bytes: usize,
}

impl BytesPermit {
    pub(crate) fn take(admission: &Arc<Admission>, bytes: usize) -> Result<BytesPermit, Overloaded> {
        // A full tail is no reason yet: it is drained while the body arrives.
        admission.check().or_else(|refused| match refused.reason {
            OverloadReason::Tail => Ok(()),
            _ => Err(refused),
        })?;
        let mut permit = BytesPermit { admission: Arc::clone(admission), bytes: 0 };
        permit.grow_to(bytes)?;
        Ok(permit)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes room as a body turns out to be larger, for example while it is decompressed. Never gives
    /// any back.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Overloaded> {
        if bytes > self.admission.settings.request_bytes_max / 4 {
            return Err(OverloadReason::BodyTooLarge.now());
        }
        let more = bytes.saturating_sub(self.bytes);
        self.admission.charge(more)?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for BytesPermit {
    fn drop(&mut self) {
        self.admission.request_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::tests::test_views;

    #[test]
    fn request_bytes_are_limited_and_given_back() {
        let settings = AdmissionSettings { request_bytes_max: 1_000, ..AdmissionSettings::default() };
        let admission = Admission::new(settings, test_views());
        let take = |bytes| BytesPermit::take(&admission, bytes);
        let refused = |result: Result<BytesPermit, Overloaded>| result.expect_err("no room").reason;

        assert_eq!(refused(take(251)), OverloadReason::BodyTooLarge);
        let mut permits: Vec<BytesPermit> = (0..4).map(|_| take(240).expect("room")).collect();
        assert_eq!(refused(take(41)), OverloadReason::RequestBytes);
        permits[0].grow_to(250).expect("room");
        permits[0].grow_to(250).expect("nothing more is taken");
        assert_eq!(permits[1].grow_to(281).expect_err("more than a quarter").reason, OverloadReason::BodyTooLarge);
        assert_eq!(admission.request_bytes(), 970);
        permits.clear();
        assert_eq!(admission.request_bytes(), 0);
    }

    #[test]
    fn health_only_gets_worse_at_the_end() {
        let admission = Admission::new(AdmissionSettings::default(), test_views());
        for (new, then) in [
            (Health::LogFull("x".into()), Some(OverloadReason::LogFull)),
            (Health::Accepting, None),
            (Health::Stopping, Some(OverloadReason::Stopping)),
            (Health::Accepting, Some(OverloadReason::Stopping)),
            (Health::Failed("x".into()), Some(OverloadReason::Failed)),
            (Health::Stopping, Some(OverloadReason::Failed)),
        ] {
            admission.set_health(new.clone());
            assert_eq!(admission.check().err().map(|refused| refused.reason), then, "after {new:?}");
        }
    }
}

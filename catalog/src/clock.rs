//! Where time comes from, so that tests can set it.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

pub trait Clock: Debug + Send + Sync {
    /// Microseconds since 1970, UTC.
    fn now_us(&self) -> i64;

    /// Milliseconds since 1970, UTC.
    fn now_ms(&self) -> i64 {
        self.now_us() / 1_000
    }
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now_us(&self) -> i64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX)
    }
}

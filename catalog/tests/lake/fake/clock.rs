//! A clock that tests move.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hogflare_catalog::{Clock, SystemClock};

/// The machine's clock, ahead by what it was moved: Iceberg's own builders ask the machine and refuse to go back.
#[derive(Debug, Default)]
pub(crate) struct ShiftedClock {
    ahead_us: AtomicI64,
}

impl ShiftedClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.ahead_us.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn now_us(&self) -> i64 {
        SystemClock.now_us() + self.ahead_us.load(Ordering::SeqCst)
    }
}

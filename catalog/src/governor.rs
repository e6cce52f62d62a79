//! How often a catalog is written to: within what it allows, whatever the conflicts, and less often
//! when commits take long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::tables::{TABLES, Table};
use crate::telemetry;

/// Commits that the latency is judged by.
const LATENCIES: usize = 20;
/// The interval is not widened beyond this.
const INTERVAL_MAX: Duration = Duration::from_secs(300);

/// Writes that a catalog takes within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub per_table: usize,
    pub per_catalog: usize,
    pub window: Duration,
}

impl Budget {
    /// Nine tenths of R2 Data Catalog's 20 and 120 a minute: its minute is not ours to the millisecond,
    /// and others write too.
    pub const R2: Budget = Budget { per_table: 18, per_catalog: 108, window: Duration::from_secs(60) };
    /// What a catalog takes that states no limit.
    pub const PLENTY: Budget = Budget { per_table: 600, per_catalog: 3_000, window: Duration::from_secs(60) };
}

/// Counts the writes of this process.
#[derive(Debug)]
pub(crate) struct Governor {
    budget: Budget,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tables: [OneTable; TABLES],
    /// Microseconds of the last writes, oldest first.
    writes: VecDeque<i64>,
}

#[derive(Debug, Default)]
struct OneTable {
    writes: VecDeque<i64>,
    /// The catalog asked, at the first moment, to wait until the second.
    closed_us: (i64, i64),
    latencies: VecDeque<Duration>,
}

impl Governor {
    pub(crate) fn new(budget: Budget, clock: Arc<dyn Clock>) -> Governor {
        Governor { budget, clock, state: Mutex::default() }
    }

    /// Waits until the table may be written to, and counts the write.
    pub(crate) async fn take(&self, table: Table) {
        while let Err(wait) = self.try_take(table) {
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    /// Counts a write, or says how long it must wait.
    pub(crate) fn try_take(&self, table: Table) -> Result<(), Duration> {
        let now_us = self.clock.now_us();
        let window_us = micros(self.budget.window);
        let mut state = self.state.lock();
        let State { tables, writes } = &mut *state;
        let own = &mut tables[table.index()];
        // A clock that was set back ends the wait.
        let mut open_at_us = if own.closed_us.0 <= now_us { own.closed_us.1 } else { i64::MIN };
        for (times, most) in [(&mut own.writes, self.budget.per_table), (&mut *writes, self.budget.per_catalog)] {
            // A clock that was set back must not close the table for long.
            times.retain(|at| (now_us - window_us..=now_us).contains(at));
            if let Some(oldest_that_counts) = times.len().checked_sub(most).and_then(|index| times.get(index)) {
                open_at_us = open_at_us.max(oldest_that_counts + window_us + 1);
            }
        }
        if open_at_us > now_us {
            return Err(Duration::from_micros(u64::try_from(open_at_us - now_us).unwrap_or(0)));
        }
        own.writes.push_back(now_us);
        writes.push_back(now_us);
        telemetry::budget(table, own.writes.len(), self.budget.per_table);
        Ok(())
    }

    /// The catalog said that it takes nothing for so long.
    pub(crate) fn close(&self, table: Table, wait: Duration) {
        let now_us = self.clock.now_us();
        let mut state = self.state.lock();
        state.tables[table.index()].closed_us = (now_us, now_us + micros(wait));
    }

    pub(crate) fn note_latency(&self, table: Table, latency: Duration) {
        let mut state = self.state.lock();
        let latencies = &mut state.tables[table.index()].latencies;
        latencies.push_back(latency);
        if latencies.len() > LATENCIES {
            latencies.pop_front();
        }
    }

    /// The wanted interval, or more where commits take over half of it or the budget is nearly used.
    pub(crate) fn interval(&self, table: Table, wanted: Duration) -> Duration {
        let state = self.state.lock();
        let own = &state.tables[table.index()];
        let mut sorted: Vec<Duration> = own.latencies.iter().copied().collect();
        sorted.sort_unstable();
        let slow = sorted.get(sorted.len().saturating_sub(1) * 19 / 20).copied().unwrap_or_default();
        let crowded = own.writes.len() * 5 >= self.budget.per_table * 4;
        let room = if crowded { self.budget.window / 6 } else { Duration::ZERO };
        wanted.max((slow * 2).max(room).min(INTERVAL_MAX))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct ManualClock(AtomicI64);

    impl Clock for ManualClock {
        fn now_us(&self) -> i64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn governed(budget: Budget) -> (Arc<ManualClock>, Governor) {
        let clock = Arc::new(ManualClock(AtomicI64::new(1_000_000_000)));
        (Arc::clone(&clock), Governor::new(budget, clock))
    }

    /// I13: two tables that ask whenever they are told, among 429s, never pass the budget in any window.
    #[test]
    fn no_window_holds_more_writes_than_the_budget() {
        let budget = Budget { per_table: 20, per_catalog: 30, window: Duration::from_secs(60) };
        let (clock, governor) = governed(budget);
        let mut taken: Vec<(i64, Table)> = Vec::new();
        for step in 0..40_000_i64 {
            let table = Table::ALL[usize::try_from(step % 2).expect("small")];
            if step % 997 == 0 {
                governor.close(table, Duration::from_secs(7));
            }
            if governor.try_take(table).is_ok() {
                taken.push((clock.now_us(), table));
            }
            clock.0.fetch_add(50_000 + (step * 7_919) % 90_000, Ordering::SeqCst);
        }
        let window_us = micros(budget.window);
        for (index, (from, _)) in taken.iter().enumerate() {
            let window: Vec<_> = taken[index..].iter().take_while(|(at, _)| at - from <= window_us).collect();
            assert!(window.len() <= budget.per_catalog, "{} in the catalog's window", window.len());
            for table in Table::ALL {
                let own = window.iter().filter(|(_, of)| *of == table).count();
                assert!(own <= budget.per_table, "{own} in a window of {table:?}");
            }
        }
        let minutes = (taken[taken.len() - 1].0 - taken[0].0) / window_us;
        assert!(taken.len() as i64 > minutes * 25, "the budget is used: {} in {minutes} minutes", taken.len());
    }

    #[test]
    fn a_refusal_closes_the_table_for_as_long_as_it_says() {
        let (clock, governor) = governed(Budget::R2);
        governor.close(Table::Events, Duration::from_secs(60));
        assert_eq!(governor.try_take(Table::Events), Err(Duration::from_secs(60)));
        assert_eq!(governor.try_take(Table::DeadLetter), Ok(()));
        clock.0.fetch_add(60_000_000, Ordering::SeqCst);
        assert_eq!(governor.try_take(Table::Events), Ok(()));
        governor.close(Table::Events, Duration::from_secs(60));
        clock.0.fetch_sub(3_600_000_000, Ordering::SeqCst);
        assert_eq!(governor.try_take(Table::Events), Ok(()), "the clock was set back");
    }

    #[test]
    fn slow_commits_widen_the_interval() {
        let (_, governor) = governed(Budget::R2);
        let wanted = Duration::from_secs(10);
        assert_eq!(governor.interval(Table::Events, wanted), wanted);
        (0..20).for_each(|_| governor.note_latency(Table::Events, Duration::from_secs(8)));
        assert_eq!(governor.interval(Table::Events, wanted), Duration::from_secs(16));
        (0..20).for_each(|_| governor.note_latency(Table::Events, Duration::from_secs(900)));
        assert_eq!(governor.interval(Table::Events, wanted), INTERVAL_MAX);
        assert_eq!(governor.interval(Table::Events, Duration::from_secs(3600)), Duration::from_secs(3600));
    }
}

//! When our commits to a table stand still for others.
//!
//! The tail makes waiting free: rows are acknowledged, durable and visible to our queries all the same. A guest
//! that lost a race against one of our commits gets up to a minute to try again, at most half of the time; a
//! person may ask for up to an hour.

use std::time::Duration;

use parking_lot::Mutex;

use crate::tables::{TABLES, Table};
use crate::telemetry;

/// A person cannot ask for more at once.
pub const ASKED_MAX: Duration = Duration::from_secs(3_600);
const GUEST_MAX_US: i64 = 60_000_000;

/// The pauses of all tables. Times are microseconds since 1970, and given by the caller.
#[derive(Debug, Default)]
pub struct Pauses {
    tables: Mutex<[TablePauses; TABLES]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct TablePauses {
    asked: Span,
    /// The present or the last one.
    guest: Span,
}

/// A clock that was set back to before it began ends a pause.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    from_us: i64,
    until_us: i64,
}

impl Pauses {
    /// Pauses for `wait`, at most [`ASKED_MAX`], in place of what was asked before; says until when.
    pub fn pause(&self, table: Table, now_us: i64, wait: Duration) -> i64 {
        let wait_us = i64::try_from(wait.min(ASKED_MAX).as_micros()).unwrap_or(i64::MAX);
        let until_us = now_us.saturating_add(wait_us);
        self.change(table, now_us, |pauses| pauses.asked = Span { from_us: now_us, until_us });
        until_us
    }

    /// Ends every pause of the table.
    pub fn resume(&self, table: Table, now_us: i64) {
        self.change(table, now_us, |pauses| {
            pauses.asked = Span::default();
            pauses.guest.end(now_us);
        });
    }

    /// A guest's commit failed because one of ours came first: it may try again undisturbed, unless the time
    /// since the last such pause is shorter than that pause was.
    pub fn guest_lost(&self, table: Table, now_us: i64) {
        self.change(table, now_us, |pauses| {
            if !pauses.guest.holds(now_us) && !pauses.guest.rest().holds(now_us) {
                pauses.guest = Span { from_us: now_us, until_us: now_us.saturating_add(GUEST_MAX_US) };
            }
        });
    }

    /// A guest's commit was applied: what it waited for is over.
    pub fn guest_won(&self, table: Table, now_us: i64) {
        self.change(table, now_us, |pauses| pauses.guest.end(now_us));
    }

    /// Whether the committer has to leave the table alone. Asked before every commit, so it also keeps the
    /// metric true.
    pub fn is_paused(&self, table: Table, now_us: i64) -> bool {
        let is_paused = self.paused_until(table, now_us).is_some();
        telemetry::paused(table, is_paused);
        is_paused
    }

    /// The end of the pause that the table is in.
    pub fn paused_until(&self, table: Table, now_us: i64) -> Option<i64> {
        self.tables.lock()[table.index()].until(now_us)
    }

    fn change(&self, table: Table, now_us: i64, change: impl FnOnce(&mut TablePauses)) {
        let mut tables = self.tables.lock();
        let pauses = &mut tables[table.index()];
        change(pauses);
        telemetry::paused(table, pauses.until(now_us).is_some());
    }
}

impl TablePauses {
    fn until(&self, now_us: i64) -> Option<i64> {
        let spans = [self.asked, self.guest].into_iter().filter(|span| span.holds(now_us));
        spans.map(|span| span.until_us).max()
    }
}

impl Span {
    fn holds(self, now_us: i64) -> bool {
        self.from_us <= now_us && now_us < self.until_us
    }

    fn end(&mut self, now_us: i64) {
        if self.holds(now_us) {
            self.until_us = now_us;
        }
    }

    /// As long again, from its end.
    fn rest(self) -> Span {
        let length_us = self.until_us.saturating_sub(self.from_us);
        Span { from_us: self.until_us, until_us: self.until_us.saturating_add(length_us) }
    }
}

#[cfg(test)]
mod tests;

//! How many requests a catalog takes in a window of time, and how many it was sent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const COMMITS_PER_TABLE: usize = 20;
const WRITES_PER_CATALOG: usize = 120;
const CREATES_PER_CATALOG: usize = 10;
const OTHERS_PER_CATALOG: usize = 20;

/// What R2 counts apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Budget {
    /// `updateTable` of one table, named as in `namespace.table`.
    Commits(String),
    /// `createTable` of all tables.
    Creates,
    /// Creating namespaces and dropping tables.
    Others,
    /// All of the above.
    Writes,
}

impl Budget {
    fn limit(&self) -> usize {
        match self {
            Budget::Commits(_) => COMMITS_PER_TABLE,
            Budget::Creates => CREATES_PER_CATALOG,
            Budget::Others => OTHERS_PER_CATALOG,
            Budget::Writes => WRITES_PER_CATALOG,
        }
    }
}

#[derive(Debug)]
pub(super) struct Limits {
    window_us: i64,
    enforced: bool,
    windows: BTreeMap<Budget, Window>,
}

#[derive(Debug, Default)]
struct Window {
    taken: VecDeque<i64>,
    sent: VecDeque<i64>,
    sent_max: usize,
}

impl Limits {
    pub(super) fn new(window: Duration, enforced: bool) -> Limits {
        Limits { window_us: window.as_micros() as i64, enforced, windows: BTreeMap::new() }
    }

    /// Whether a request that draws on this budget, and on that of all writes, is taken. Notes it either way.
    pub(super) fn admit(&mut self, budget: Budget, now_us: i64) -> bool {
        let mut free = true;
        for budget in [&budget, &Budget::Writes] {
            let window = self.windows.entry(budget.clone()).or_default();
            forget(&mut window.taken, now_us - self.window_us);
            forget(&mut window.sent, now_us - self.window_us);
            window.sent.push_back(now_us);
            window.sent_max = window.sent_max.max(window.sent.len());
            free &= window.taken.len() < budget.limit();
        }
        if !free && self.enforced {
            return false;
        }
        for budget in [budget, Budget::Writes] {
            self.windows.entry(budget).or_default().taken.push_back(now_us);
        }
        true
    }

    /// The most requests that any window held, refused ones included.
    pub(super) fn busiest(&self) -> BTreeMap<Budget, usize> {
        self.windows.iter().map(|(budget, window)| (budget.clone(), window.sent_max)).collect()
    }
}

fn forget(times: &mut VecDeque<i64>, through: i64) {
    while times.front().is_some_and(|time| *time <= through) {
        times.pop_front();
    }
}

//! Metric names of this crate, in Prometheus base units.

use metrics::{counter, gauge, histogram};

use crate::tables::{Slot, Table};
use crate::tail::SealRecord;

pub const SEALED_ROWS: &str = "hogflare_sealed_rows_total";
pub const COMMITS: &str = "hogflare_commits_total";
pub const COMMITTED_ROWS: &str = "hogflare_committed_rows_total";
pub const COMMIT_SECONDS: &str = "hogflare_commit_duration_seconds";
pub const OLDEST_ROW_SECONDS: &str = "hogflare_commit_oldest_row_age_seconds";
pub const COMMIT_PAUSED: &str = "hogflare_commit_paused";
pub const TAIL_BYTES: &str = "hogflare_tail_bytes";
pub const SEALED_BYTES: &str = "hogflare_sealed_bytes";

pub const BUDGET_USED: &str = "hogflare_catalog_writes_in_window";
pub const BUDGET_MOST: &str = "hogflare_catalog_writes_in_window_max";
pub const INTERVAL_SECONDS: &str = "hogflare_commit_interval_seconds";
pub const STORE_REQUESTS: &str = "hogflare_store_requests_total";
pub const STORE_BYTES: &str = "hogflare_store_bytes_total";
pub const CATALOG_REQUESTS: &str = "hogflare_catalog_requests_total";
pub const CREDENTIAL_RENEWALS: &str = "hogflare_storage_credential_renewals_total";

pub(crate) fn sealed(record: &SealRecord) {
    counter!(SEALED_ROWS, "table" => record.table.short_name()).increment(record.through - record.after);
}

/// `outcome` is one of committed, claimed, evolved, conflict, unknown, rate_limited, rejected.
pub(crate) fn commit(table: Table, outcome: &'static str) {
    counter!(COMMITS, "table" => table.short_name(), "outcome" => outcome).increment(1);
}

pub(crate) fn committed(table: Table, rows: u64, seconds: f64) {
    counter!(COMMITTED_ROWS, "table" => table.short_name()).increment(rows);
    histogram!(COMMIT_SECONDS, "table" => table.short_name()).record(seconds);
}

pub(crate) fn lag(slot: Slot, table: Table, seconds: f64) {
    gauge!(OLDEST_ROW_SECONDS, "table" => table.short_name(), "slot" => slot.name()).set(seconds);
}

/// A request to a bucket. `kind` is one of put, get, head, list, delete, copy; `of` is data or metadata.
pub(crate) fn store_request(kind: &'static str, of: &'static str, bytes_up: u64, bytes_down: u64) {
    counter!(STORE_REQUESTS, "kind" => kind).increment(1);
    counter!(STORE_BYTES, "direction" => "up", "of" => of).increment(bytes_up);
    counter!(STORE_BYTES, "direction" => "down", "of" => of).increment(bytes_down);
}

/// A request to a remote catalog: config, login, load, create, commit, credentials, namespace or drop.
pub(crate) fn catalog_request(kind: &'static str) {
    counter!(CATALOG_REQUESTS, "kind" => kind).increment(1);
}

/// Writes to the catalog within its window, and how many it takes.
pub(crate) fn budget(table: Table, used: usize, most: usize) {
    gauge!(BUDGET_USED, "table" => table.short_name()).set(used as f64);
    gauge!(BUDGET_MOST, "table" => table.short_name()).set(most as f64);
}

pub(crate) fn interval(slot: Slot, table: Table, seconds: f64) {
    gauge!(INTERVAL_SECONDS, "table" => table.short_name(), "slot" => slot.name()).set(seconds);
}

pub(crate) fn paused(table: Table, is_paused: bool) {
    gauge!(COMMIT_PAUSED, "table" => table.short_name()).set(f64::from(u8::from(is_paused)));
}

pub(crate) fn tails(tail_bytes: u64, sealed_bytes: u64) {
    gauge!(TAIL_BYTES).set(tail_bytes as f64);
    gauge!(SEALED_BYTES).set(sealed_bytes as f64);
}

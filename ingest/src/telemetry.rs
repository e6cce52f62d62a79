//! Names of this crate's process metrics. Label values are closed sets.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Counter of events, by `outcome`: `accepted`, `repeat` (was stored before), `rejected` (kept as a dead
/// letter), `overloaded` (refused with 503).
pub const EVENTS: &str = "hogflare_ingest_events_total";
/// Histogram of the time a sync of the log takes.
pub const WAL_SYNC_SECONDS: &str = "hogflare_wal_sync_duration_seconds";
/// Gauge of the disk space that the log takes.
pub const WAL_BYTES: &str = "hogflare_wal_bytes";
/// Gauge of how far back retries are recognised.
pub const DEDUP_AGE_SECONDS: &str = "hogflare_dedup_window_age_seconds";
/// Gauge of the requests that wait for the writer.
pub const QUEUE_REQUESTS: &str = "hogflare_ingest_queue_requests";
/// Gauge of the bytes of requests between their arrival and their answer.
pub const REQUEST_BYTES: &str = "hogflare_ingest_request_bytes";
/// Histogram of the rows that share one sync.
pub const GROUP_ROWS: &str = "hogflare_ingest_group_rows";
/// Histogram of the time in which changes of persons and groups get into the state file.
pub const STATE_APPLY_SECONDS: &str = "hogflare_state_apply_duration_seconds";

/// Tells the installed recorder what the names mean.
pub fn describe() {
    describe_counter!(EVENTS, Unit::Count, "Events by outcome");
    describe_histogram!(WAL_SYNC_SECONDS, Unit::Seconds, "Duration of a sync of the log");
    describe_gauge!(WAL_BYTES, Unit::Bytes, "Disk space that the log takes");
    describe_gauge!(DEDUP_AGE_SECONDS, Unit::Seconds, "How far back retries are recognised");
    describe_gauge!(QUEUE_REQUESTS, Unit::Count, "Requests that wait for the writer");
    describe_gauge!(REQUEST_BYTES, Unit::Bytes, "Bytes of requests between arrival and answer");
    describe_histogram!(STATE_APPLY_SECONDS, Unit::Seconds, "Duration of a change of the state file");
    describe_histogram!(GROUP_ROWS, Unit::Count, "Rows that share one sync");
}

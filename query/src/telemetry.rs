//! The crate's metrics, declared once.

use std::time::Duration;

/// `outcome` = `ok` or the code of the error.
const QUERIES: &str = "hogflare_query_total";
/// From the first byte of the request to the last of the answer, waiting included.
const SECONDS: &str = "hogflare_query_duration_seconds";

pub(crate) fn query_ended(outcome: &'static str, elapsed: Duration) {
    metrics::counter!(QUERIES, "outcome" => outcome).increment(1);
    metrics::histogram!(SECONDS).record(elapsed.as_secs_f64());
}

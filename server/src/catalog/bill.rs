//! `hogflare catalog bill`: what a month on R2 costs at some rates, from a running server's counters.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::cli::ReaderArgs;

/// Cloudflare's list prices of September 2026 in USD, and what a month holds free of charge.
const CLASS_A_PER_MILLION: f64 = 4.50;
const CLASS_A_FREE: f64 = 1e6;
const CLASS_B_PER_MILLION: f64 = 0.36;
const CLASS_B_FREE: f64 = 10e6;
const STORAGE_PER_GB_MONTH: f64 = 0.015;
const STORAGE_FREE_GB: f64 = 10.0;
const CATALOG_PER_MILLION: f64 = 9.0;
const CATALOG_FREE: f64 = 1e6;
const SECONDS_PER_MONTH: f64 = 30.0 * 86_400.0;
/// Events per second.
const RATES: [f64; 3] = [10.0, 100.0, 1_000.0];

/// What one commit and one row cost, as counted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct PerCommit {
    /// Writes and lists of ours, and the metadata file that the catalog writes.
    class_a: f64,
    class_b: f64,
    catalog: f64,
    bytes_per_row: f64,
    interval_seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Month {
    class_a: f64,
    class_b: f64,
    catalog: f64,
    gigabytes: f64,
    usd: f64,
}

pub(crate) fn run(server: &ReaderArgs) -> Result<()> {
    let per_commit = per_commit(&counters(&metrics(server)?))?;
    println!(
        "counted per commit: {:.2} writes (class A, the catalog's own included), {:.2} reads (class B), {:.2} catalog \
         requests; {:.0} bytes of data per event; a commit every {:.1} s",
        per_commit.class_a,
        per_commit.class_b,
        per_commit.catalog,
        per_commit.bytes_per_row,
        per_commit.interval_seconds
    );
    println!("a month of R2 at list prices (September 2026), free amounts taken off, storage of that month's events:");
    println!("{:>10} {:>12} {:>12} {:>12} {:>10} {:>10}", "events/s", "class A", "class B", "catalog", "GB", "USD");
    for rate in RATES {
        let month = month(per_commit, rate);
        println!(
            "{rate:>10} {:>12.0} {:>12.0} {:>12.0} {:>10.1} {:>10.2}",
            month.class_a, month.class_b, month.catalog, month.gigabytes, month.usd
        );
    }
    println!("reads by queries are in class B as far as they were made since the start of this server");
    Ok(())
}

fn metrics(server: &ReaderArgs) -> Result<String> {
    let (status, text) = server.get("/metrics")?;
    if status != 200 {
        bail!("the server does not tell its counters (status {status}): {text}");
    }
    Ok(text)
}

fn per_commit(counters: &BTreeMap<String, f64>) -> Result<PerCommit> {
    let sum = |name: &str, label: &str| -> f64 {
        let matches = |(key, _): &(&String, &f64)| key.starts_with(name) && key.contains(label);
        counters.iter().filter(matches).map(|(_, value)| value).sum()
    };
    let commits = sum("hogflare_commits_total", "outcome=\"committed\"");
    let rows = sum("hogflare_committed_rows_total", "");
    let requests = |kind: &str| sum("hogflare_store_requests_total", &format!("kind=\"{kind}\""));
    if commits < 1.0 || rows < 1.0 || requests("put") < 1.0 {
        bail!("the server has not committed to a bucket yet: send some events, wait for a commit, and ask again");
    }
    let steady = ["commit", "load", "credentials"]
        .map(|kind| sum("hogflare_catalog_requests_total", &format!("kind=\"{kind}\"")));
    // Metadata that is replaced is deleted again; data stays.
    let both = |(key, _): &(&String, &f64)| key.contains("direction=\"up\"") && key.contains("of=\"data\"");
    let bytes = counters.iter().filter(|(key, _)| key.starts_with("hogflare_store_bytes_total"));
    let data_bytes: f64 = bytes.filter(both).map(|(_, value)| value).sum();
    let interval = sum("hogflare_commit_interval_seconds{", "slot=\"main\",table=\"events\"")
        .max(sum("hogflare_commit_interval_seconds{", "table=\"events\",slot=\"main\""));
    // A remote catalog writes one metadata file per commit; the embedded one's is among our own.
    let written_by_catalog = if steady[0] > 0.0 { 1.0 } else { 0.0 };
    Ok(PerCommit {
        class_a: (requests("put") + requests("list") + requests("copy")) / commits + written_by_catalog,
        class_b: (requests("get") + requests("head")) / commits,
        catalog: steady.iter().sum::<f64>() / commits,
        bytes_per_row: data_bytes / rows,
        interval_seconds: interval.max(0.001),
    })
}

fn month(counted: PerCommit, events_per_second: f64) -> Month {
    let commits = SECONDS_PER_MONTH / counted.interval_seconds;
    let gigabytes = events_per_second * SECONDS_PER_MONTH * counted.bytes_per_row / 1e9;
    let (class_a, class_b) = (commits * counted.class_a, commits * counted.class_b);
    let catalog = commits * counted.catalog;
    let beyond = |used: f64, free: f64, per_million: f64| (used - free).max(0.0) / 1e6 * per_million;
    let usd = beyond(class_a, CLASS_A_FREE, CLASS_A_PER_MILLION)
        + beyond(class_b, CLASS_B_FREE, CLASS_B_PER_MILLION)
        + beyond(catalog, CATALOG_FREE, CATALOG_PER_MILLION)
        + (gigabytes - STORAGE_FREE_GB).max(0.0) * STORAGE_PER_GB_MONTH;
    Month { class_a, class_b, catalog, gigabytes, usd }
}

/// `name{labels} value` lines of the Prometheus text format.
fn counters(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_follows_the_counters() {
        let text = "# HELP x\n\
            hogflare_commits_total{table=\"events\",outcome=\"committed\"} 10\n\
            hogflare_commits_total{table=\"events\",outcome=\"conflict\"} 3\n\
            hogflare_committed_rows_total{table=\"events\"} 1000\n\
            hogflare_store_requests_total{kind=\"put\"} 30\n\
            hogflare_store_requests_total{kind=\"get\"} 5\n\
            hogflare_store_bytes_total{direction=\"up\",of=\"data\"} 100000\n\
            hogflare_store_bytes_total{direction=\"up\",of=\"metadata\"} 7\n\
            hogflare_catalog_requests_total{kind=\"commit\"} 10\n\
            hogflare_catalog_requests_total{kind=\"config\"} 1\n\
            hogflare_commit_interval_seconds{table=\"events\",slot=\"main\"} 30\n";
        let counted = per_commit(&counters(text)).expect("enough was counted");
        let expected =
            PerCommit { class_a: 4.0, class_b: 0.5, catalog: 1.0, bytes_per_row: 100.0, interval_seconds: 30.0 };
        assert_eq!(counted, expected);
        let month = month(counted, 1_000.0);
        assert_eq!((month.class_a, month.catalog), (345_600.0, 86_400.0));
        assert!((month.gigabytes - 259.2).abs() < 0.01);
        assert!((month.usd - 249.2 * 0.015).abs() < 0.01, "{month:?}");
        assert!(per_commit(&counters("")).is_err());
    }
}

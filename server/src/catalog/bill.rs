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

/// What one commit of events, with those of the other tables, and one event cost, as counted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct PerCommit {
    /// Commits of all tables.
    commits: f64,
    /// Writes and lists of ours, and the metadata file that the catalog writes.
    class_a: f64,
    class_b: f64,
    catalog: f64,
    bytes_per_event: f64,
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
        "counted per commit of events: {:.2} commits of all tables, {:.2} writes (class A, the catalog's own \
         included), {:.2} reads (class B), {:.2} catalog requests; {:.0} bytes of data of all tables per event; a \
         commit every {:.1} s",
        per_commit.commits,
        per_commit.class_a,
        per_commit.class_b,
        per_commit.catalog,
        per_commit.bytes_per_event,
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
    let sum = |name: &str, labels: &[&str]| -> f64 {
        let matches = |key: &str| {
            let rest = key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
            rest && labels.iter().all(|label| key.contains(label))
        };
        counters.iter().filter(|(key, _)| matches(key)).map(|(_, value)| value).sum()
    };
    const COMMITTED: &str = "outcome=\"committed\"";
    const OF_EVENTS: &str = "table=\"events\"";
    let all_commits = sum("hogflare_commits_total", &[COMMITTED]);
    let commits = sum("hogflare_commits_total", &[COMMITTED, OF_EVENTS]);
    let events = sum("hogflare_committed_rows_total", &[OF_EVENTS]);
    let of_kind = |name: &str, kind: &str| sum(name, &[&format!("kind=\"{kind}\"")]);
    let requests = |kind: &str| of_kind("hogflare_store_requests_total", kind);
    if commits < 1.0 || events < 1.0 || requests("put") < 1.0 {
        bail!("the server has not committed events to a bucket yet: send some, wait for a commit, and ask again");
    }
    let steady = ["commit", "load", "credentials"].map(|kind| of_kind("hogflare_catalog_requests_total", kind));
    // Metadata that is replaced is deleted again; data stays.
    let data_bytes = sum("hogflare_store_bytes_total", &["direction=\"up\"", "of=\"data\""]);
    // A remote catalog writes one metadata file per commit; the embedded one's is among our own.
    let written_by_catalog = if steady[0] > 0.0 { all_commits } else { 0.0 };
    Ok(PerCommit {
        commits: all_commits / commits,
        class_a: (requests("put") + requests("list") + requests("copy") + written_by_catalog) / commits,
        class_b: (requests("get") + requests("head")) / commits,
        catalog: steady.iter().sum::<f64>() / commits,
        bytes_per_event: data_bytes / events,
        interval_seconds: sum("hogflare_commit_interval_seconds", &["slot=\"main\"", OF_EVENTS]).max(0.001),
    })
}

fn month(counted: PerCommit, events_per_second: f64) -> Month {
    let commits = SECONDS_PER_MONTH / counted.interval_seconds;
    let gigabytes = events_per_second * SECONDS_PER_MONTH * counted.bytes_per_event / 1e9;
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
            hogflare_commits_total{table=\"persons\",outcome=\"committed\"} 5\n\
            hogflare_committed_rows_total{table=\"events\"} 1000\n\
            hogflare_committed_rows_total{table=\"persons\"} 200\n\
            hogflare_store_requests_total{kind=\"put\"} 45\n\
            hogflare_store_requests_total{kind=\"get\"} 5\n\
            hogflare_store_bytes_total{direction=\"up\",of=\"data\"} 100000\n\
            hogflare_store_bytes_total{direction=\"up\",of=\"metadata\"} 7\n\
            hogflare_catalog_requests_total{kind=\"commit\"} 15\n\
            hogflare_catalog_requests_total{kind=\"config\"} 1\n\
            hogflare_commit_interval_seconds{table=\"events\",slot=\"main\"} 30\n";
        let counted = per_commit(&counters(text)).expect("enough was counted");
        let expected = PerCommit {
            commits: 1.5,
            class_a: 6.0,
            class_b: 0.5,
            catalog: 1.5,
            bytes_per_event: 100.0,
            interval_seconds: 30.0,
        };
        assert_eq!(counted, expected);
        let month = month(counted, 1_000.0);
        assert_eq!((month.class_a, month.catalog), (518_400.0, 129_600.0));
        assert!((month.gigabytes - 259.2).abs() < 0.01);
        assert!((month.usd - 249.2 * 0.015).abs() < 0.01, "{month:?}");
        assert!(per_commit(&counters("")).is_err());
    }
}

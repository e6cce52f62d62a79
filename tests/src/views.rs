//! What queries see while commits pass, and what a stop leaves behind.

use std::time::Duration;

use crate::harness::audit::{self, Occurrences};
use crate::harness::load::{Load, Shape};
use crate::harness::{Options, wait_for};

const STEADY: Shape = Shape { connections: 3, batch_max: 8, late_every: Some(7), pause: Duration::from_millis(3) };

/// Counts asked while events arrive and commits pass.
const COUNTS: usize = 300;
/// Commits that must have passed meanwhile; the polling goes on until then.
const COMMITS: usize = 5;

#[test]
fn sequential_counts_never_go_down() {
    let server = Options::new().interval("300ms").start();
    let load = Load::start(server.url(), &STEADY);
    let (mut counts, mut commits, mut last_head, mut last) = (0, 0, None, 0);
    while counts < COUNTS || commits < COMMITS {
        let acknowledged = load.acknowledged() as u64;
        let count = server.count("hogflare_events");
        assert!(count >= last, "the count went down from {last} to {count}");
        assert!(count >= acknowledged, "{acknowledged} events were acknowledged before a query that saw {count}");
        last = count;
        counts += 1;
        let head = server.snapshot_id("hogflare_events");
        commits += usize::from(head != last_head);
        last_head = head;
        assert!(counts < 100 * COUNTS, "only {commits} commits in {counts} counts");
    }
    let sent = load.finish();
    assert!(sent.unanswered.is_empty(), "the server was never stopped");
    println!("{counts} counts over {commits} commits, {last} events at the end");
    Occurrences::ask(&server).assert_each_once(&sent.acknowledged);
    audit::assert_positions_have_no_gap(&server);
}

/// One statement that reads the table several times sees one instant in all of them.
#[test]
fn all_reads_of_a_query_see_one_instant() {
    let server = Options::new().interval("300ms").start();
    let load = Load::start(server.url(), &STEADY);
    for _ in 0..100 {
        let rows = server.sql(
            "select (select count(*) from hogflare_events) as a, (select count(distinct uuid) from hogflare_events) as b, \
                (select count(*) from hogflare_events a join hogflare_events b on a.uuid = b.uuid) as c, \
                (select coalesce(sum(n), 0) from (select count(*) as n from hogflare_events group by _writer)) as d",
        );
        let row = &rows.rows[0];
        assert!(row.iter().all(|value| value == &row[0]), "one query saw several instants: {row:?}");
    }
    load.finish();
}

#[test]
fn an_orderly_stop_commits_the_tail() {
    let mut server = Options::new().interval("1h").start();
    let load = Load::start(server.url(), &STEADY);
    wait_for("events", || (load.acknowledged() >= 500).then_some(()));
    let sent = load.finish();
    let stored = server.count("hogflare_events");
    assert_eq!(server.committed_rows("hogflare_events"), 0, "the interval is an hour");
    server.stop();
    server.restart();
    assert_eq!(server.committed_rows("hogflare_events"), stored, "the stop left rows uncommitted");
    assert_eq!(server.count("hogflare_events"), stored);
    Occurrences::ask(&server).assert_each_once(&sent.acknowledged);
    audit::assert_positions_have_no_gap(&server);
}

/// A commit hangs (the step is held for an hour), so the first signal cannot end the server; the second does.
#[test]
fn a_second_signal_ends_the_server_at_once() {
    let options = Options::new().interval("1h");
    let mut server = options.clone().stall("post:3600000").start();
    let load = Load::start(server.url(), &STEADY);
    wait_for("events", || (load.acknowledged() >= 200).then_some(()));
    let sent = load.finish();
    server.signal_terminate();
    wait_for("the commit of the stop", || server.is_open("post").then_some(()));
    server.signal_terminate();
    server.wait_exit();
    assert!(server.is_open("post"), "the commit ended, so the second signal proves nothing");
    server.restart_with(options);
    Occurrences::ask(&server).assert_each_once(&sent.acknowledged);
    audit::assert_positions_have_no_gap(&server);
}

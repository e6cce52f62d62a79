//! The audit: what it proves, what it explains, and that it finds each kind of damage.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use hogflare_catalog::tables::EventRow;
use hogflare_catalog::{Slot, Table};
use hogflare_query::{AuditReport, TableAudit};

use crate::fixture::{DAY_US, Lake, event, reader};

const OURS: &str = "1111111122223333";

fn rows_of(count: usize) -> Vec<EventRow<'static>> {
    (0..count).map(|row| event("e", "x", DAY_US + row as i64, "{}")).collect()
}

/// The rows in memory, as a data file would hold them.
fn in_memory(lake: &Lake) -> RecordBatch {
    let batches = lake.views.current().table(Table::Events).unwrap().tail_batches().unwrap();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn with_column(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of(name).unwrap()] = column;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

fn at(batch: &RecordBatch, positions: &[i64]) -> RecordBatch {
    with_column(&batch.slice(0, positions.len()), "_position", Arc::new(Int64Array::from(positions.to_vec())))
}

fn by(batch: &RecordBatch, writer: Option<&str>) -> RecordBatch {
    with_column(batch, "_writer", Arc::new(StringArray::from(vec![writer; batch.num_rows()])))
}

/// The report, with windows of any size: the first of them must not matter.
async fn audit(lake: &Lake, logged: u64) -> AuditReport {
    let known = |slot: Slot, table: Table| if (slot, table) == (Slot::Main, Table::Events) { logged } else { 0 };
    let whole = lake.engine().audit(known, reader()).await.unwrap();
    for window in [1, 3, 64] {
        let engine = lake.engine_with(|settings| settings.audit_positions = window);
        let in_parts = engine.audit(known, reader()).await.unwrap();
        assert_eq!(in_parts, whole, "{window} positions at a time");
    }
    whole
}

/// Fails unless each of the problems, and no other, has its words.
async fn check(lake: &Lake, logged: u64, expected: &[&str]) -> TableAudit {
    let report = audit(lake, logged).await;
    let events = report.tables[0].clone();
    assert_eq!(report.ok, expected.is_empty(), "{:?}", events.problems);
    assert_eq!(events.problems.len(), expected.len(), "{:?} is not {expected:?}", events.problems);
    for (problem, words) in events.problems.iter().zip(expected) {
        assert!(problem.contains(words), "{problem} does not say {words}");
    }
    events
}

/// `committed` rows in the table, then `sealed` and `open` ones on their way.
async fn lake(committed: usize, sealed: usize, open: usize) -> Lake {
    let mut lake = Lake::new();
    lake.tail(&rows_of(committed));
    let total = committed.to_string();
    lake.state(&[("hogflare.writer", OURS), ("added-records", &total), ("total-records", &total)]);
    lake.commit_tail().await;
    if sealed > 0 {
        lake.sealed(&rows_of(sealed));
    }
    if open > 0 {
        lake.tail(&rows_of(open));
    }
    lake
}

#[tokio::test]
async fn whole_tables_are_found_whole() {
    let empty = check(&Lake::new(), 0, &[]).await;
    assert_eq!((empty.rows, empty.snapshot_id, empty.sequences.len()), (0, None, 2));
    for (committed, sealed, open) in [(10, 0, 0), (10, 4, 0), (10, 0, 3), (1, 1, 1), (130, 64, 66)] {
        let lake = lake(committed, sealed, open).await;
        let all = (committed + sealed + open) as u64;
        let events = check(&lake, all, &[]).await;
        assert_eq!(
            (events.rows, events.rows_in_table, events.rows_stated),
            (all, committed as u64, Some(committed as u64))
        );
        let main = &events.sequences[0];
        assert_eq!((main.writer.as_str(), main.slot, main.watermark), (OURS, Some("main"), committed as u64));
        assert_eq!((main.last, main.rows, main.missing, main.repeated), (all, all, 0, 0));
        let late = &events.sequences[1];
        assert_eq!((late.slot, late.last, late.rows), (Some("late"), 0, 0));
    }
}

#[tokio::test]
async fn repeated_rows_are_found() {
    let mut lake = Lake::new();
    lake.tail(&rows_of(10));
    let rows = in_memory(&lake);
    lake.commit_tail().await;
    lake.tail(&rows_of(2));
    check(&lake, 12, &[]).await;
    // The same rows again; then rows that a guest copied from the tail.
    lake.commit_batch(&rows.slice(3, 4), true).await;
    let events = check(&lake, 12, &["4 rows of 1111111122223333 repeat"]).await;
    assert_eq!((events.sequences[0].repeated, events.sequences[0].missing), (4, 0));
    lake.commit_batch(&at(&rows, &[11]), false).await;
    let events = check(&lake, 12, &["5 rows", "holds position 11 of 1111111122223333, above its watermark 10"]).await;
    assert_eq!(events.sequences[0].repeated_positions, [4, 5, 6, 7, 11]);
}

/// Ten positions are given, and the table has only these.
async fn with_holes(positions: &[i64]) -> Lake {
    let mut lake = Lake::new();
    lake.tail(&rows_of(10));
    let rows = at(&in_memory(&lake), positions);
    lake.state(&[("hogflare.writer", OURS)]);
    lake.commit_batch(&rows, true).await;
    lake.mark(10, 1);
    lake
}

#[tokio::test]
async fn missing_rows_are_found_unless_we_stated_their_removal() {
    let mut lake = with_holes(&[1, 2, 5, 6, 9]).await;
    let events = check(&lake, 10, &["5 rows are missing and nobody states"]).await;
    assert!(events.problems[0].contains("1111111122223333 3-4, 7-8, 10-10"), "{:?}", events.problems);
    let main = &events.sequences[0];
    assert_eq!((main.missing, main.removed, main.missing_range_count), (5, 0, 3));
    assert_eq!(main.missing_ranges, [(3, 4), (7, 8), (10, 10)]);
    assert_eq!((events.missing.total, events.missing.unexplained), (5, 5));

    lake.set_property("hogflare.removed", "1111111122223333:3-4,8-8;1111111122223333-late:7-10");
    let events = check(&lake, 10, &["2 rows are missing"]).await;
    assert_eq!(events.sequences[0].missing_ranges, [(7, 7), (10, 10)]);
    assert_eq!((events.missing.by_us, events.missing.unexplained), (3, 2));

    // The rest stands in the summary of a snapshot.
    lake.state(&[("hogflare.removed", "1111111122223333:7-7,10-10")]);
    let others = by(&at(&arrow_rows(), &[1]), None);
    lake.commit_batch(&others, false).await;
    let events = check(&lake, 10, &[]).await;
    assert_eq!((events.missing.by_us, events.rows_of_others), (5, 1));

    lake.set_property("hogflare.removed", "1111111122223333:1-4,7-8,10-10");
    check(&lake, 10, &["2 rows of 1111111122223333 are stated as removed and still there"]).await;
    lake.set_property("hogflare.removed", "everything");
    let events = audit(&lake, 10).await.tables[0].clone();
    assert!(events.problems[0].contains("hogflare.removed"), "{:?}", events.problems);
}

/// Rows of a lake that is thrown away.
fn arrow_rows() -> RecordBatch {
    let mut lake = Lake::new();
    lake.tail(&rows_of(10));
    in_memory(&lake)
}

#[tokio::test]
async fn guests_explain_as_many_missing_rows_as_they_state() {
    for (stated, problems) in [("3", vec![]), ("9", vec![]), ("2", vec!["1 rows are missing"]), ("0", vec!["3 rows"])] {
        let mut lake = Lake::new();
        lake.tail(&rows_of(10));
        let rows = in_memory(&lake);
        lake.state(&[("hogflare.writer", OURS)]);
        let file = lake.commit_batch(&rows, true).await;
        lake.mark(10, 1);
        lake.tail(&rows_of(2));
        lake.state(&[("added-position-deletes", stated)]);
        lake.delete(&file, &[0, 4, 9]).await;
        let events = check(&lake, 12, &problems).await;
        assert_eq!(events.sequences[0].missing_ranges, [(1, 1), (5, 5), (10, 10)]);
        assert_eq!(events.missing.by_guests, stated.parse::<u64>().unwrap().min(3));
        assert_eq!(events.guests.len(), usize::from(stated != "0"));
    }
}

#[tokio::test]
async fn rows_where_none_should_be_are_found() {
    let mut lake = lake(10, 0, 0).await;
    lake.commit_batch(&by(&arrow_rows(), None), false).await;
    lake.commit_batch(&by(&arrow_rows(), Some("somebody")), false).await;
    assert_eq!(check(&lake, 10, &[]).await.rows_of_others, 20);
    lake.commit_batch(&at(&arrow_rows(), &[11, 12]), false).await;
    check(&lake, 10, &["2 rows of 1111111122223333 are at no position from 1 to 10", "holds position 12"]).await;
    let mut lake = self::lake(10, 0, 0).await;
    lake.commit_batch(&at(&arrow_rows(), &[0, -5]), false).await;
    check(&lake, 10, &["2 rows of 1111111122223333 are at no position"]).await;
    let late = format!("{OURS}-late");
    lake.commit_batch(&by(&at(&arrow_rows(), &[1]), Some(&late)), false).await;
    check(&lake, 10, &["2 rows", "1 rows of 1111111122223333-late are at no position from 1 to 0", "position 1"]).await;
}

#[tokio::test]
async fn the_log_must_know_what_queries_see_and_no_more() {
    let lake = lake(10, 3, 2).await;
    check(&lake, 15, &[]).await;
    check(&lake, 16, &["the log has rows of 1111111122223333 up to 16, and queries see them up to 15"]).await;
    check(&lake, 14, &["go up to 15, and the log gave them up to 14"]).await;
}

#[tokio::test]
async fn totals_must_be_those_of_the_live_rows() {
    for (stated, deletes, ok) in
        [("12", "0", true), ("11", "0", false), ("13", "0", false), ("14", "3", true), ("16", "3", false)]
    {
        let mut lake = lake(10, 0, 0).await;
        lake.state(&[("hogflare.x", ""), ("total-records", stated), ("total-position-deletes", deletes)]);
        lake.commit_batch(&by(&at(&arrow_rows(), &[1, 2]), None), false).await;
        check(&lake, 10, if ok { &[] } else { &["the current snapshot states"] }).await;
    }
}

#[tokio::test]
async fn writers_of_other_servers_are_held_to_their_watermark() {
    let mut lake = lake(10, 0, 0).await;
    let other = "aaaaaaaabbbbbbbb";
    lake.set_property("hogflare.wm.aaaaaaaabbbbbbbbccccccccdddddddd", "3:4:99");
    lake.set_property("hogflare.wm.not-an-id", "?");
    lake.commit_batch(&by(&at(&arrow_rows(), &[1, 2, 4]), Some(other)), true).await;
    let events =
        check(&lake, 10, &["1 rows are missing and nobody states to have removed them: aaaaaaaabbbbbbbb 3-3"]).await;
    let theirs = &events.sequences[2];
    assert_eq!((theirs.writer.as_str(), theirs.slot, theirs.logged, theirs.last), (other, None, None, 4));
    lake.commit_batch(&by(&at(&arrow_rows(), &[3]), Some(other)), true).await;
    check(&lake, 10, &[]).await;
}

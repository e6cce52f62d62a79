use std::sync::Arc;
use std::time::Duration;

use hogflare_catalog::{LakeSettings, PositionLog, Slot, Table};

use crate::harness::{open, open_with};

#[tokio::test]
async fn rows_move_from_the_tail_to_the_table_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path(), 1);
    opened.make_ready().await;
    let mut expected = 0;
    for commit in 1..=5 {
        opened.append(3 * commit, 20_000);
        opened.append(2, 20_001);
        expected += 3 * commit as u64 + 2;
        let tail = opened.rows().await;
        assert_eq!(tail.0 + tail.1, expected);
        opened.lake.finish().await.unwrap();
        assert_eq!(opened.rows().await, (expected, 0));
        assert_eq!(opened.watermark().position, expected);
    }
    let view = opened.views.current();
    let head = view.head(Table::Events).unwrap();
    let summary = &head.snapshot().unwrap().summary().additional_properties;
    assert_eq!(summary["total-records"], expected.to_string());
    assert_eq!(summary["total-data-files"], "10");
    let list = opened.cache.manifest_list(head.snapshot().unwrap(), &head.metadata).await.unwrap();
    assert_eq!(list.len(), 1, "small manifests are merged");
}

#[tokio::test]
async fn sealed_rows_outlive_the_process_and_are_committed_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path(), 1);
    opened.append(10, 20_000);
    opened.lake.seal_all().unwrap();
    drop(opened);
    let mut opened = open(folder.path(), 11);
    assert_eq!(opened.lake.covered()[0][0], 10);
    opened.append(5, 20_000);
    opened.make_ready().await;
    opened.lake.finish().await.unwrap();
    assert_eq!(opened.rows().await, (15, 0));
    let epoch = opened.watermark().epoch;
    assert_eq!(epoch, 2);
}

#[tokio::test]
async fn metadata_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path(), 1);
    opened.make_ready().await;
    for _ in 0..400 {
        opened.append(1, 20_000);
        opened.lake.finish().await.unwrap();
    }
    let view = opened.views.current();
    let head = view.head(Table::Events).unwrap();
    assert!(head.metadata.snapshots().len() <= 360, "{} snapshots", head.metadata.snapshots().len());
    assert!(head.metadata.metadata_log().len() <= 20);
    assert_eq!(opened.rows().await, (400, 0));
    let bytes = serde_json::to_vec(head.metadata.as_ref()).unwrap().len();
    assert!(bytes < 512 * 1024, "metadata of {bytes} bytes");
}

#[tokio::test]
async fn replaced_metadata_is_deleted_and_what_is_reachable_stays() {
    let folder = tempfile::tempdir().unwrap();
    let settings = LakeSettings { metadata_grace: Duration::ZERO, ..LakeSettings::default() };
    let mut opened = open_with(folder.path(), 1, settings, |catalog| catalog);
    opened.make_ready().await;
    let mut deleted = 0;
    for _ in 0..30 {
        opened.append(1, 20_000);
        opened.lake.finish().await.unwrap();
        deleted += opened.lake.sweep_metadata(Table::Events).await.unwrap();
    }
    // Every commit replaces the metadata file; all but those of the log of twenty and the present one go.
    assert_eq!(deleted, 30 + 1 - 21);
    let view = opened.views.current();
    let head = view.head(Table::Events).unwrap();
    for snapshot in head.metadata.snapshots() {
        let location = snapshot.manifest_list();
        assert!(opened.cache.objects().read(location).await.is_ok(), "{location} is reachable and gone");
    }
    assert_eq!(opened.rows().await, (30, 0));
}

/// A folder whose process committed five rows and ended.
async fn commit_five(folder: &std::path::Path) {
    let mut opened = open(folder, 1);
    opened.make_ready().await;
    opened.append(5, 20_000);
    opened.lake.finish().await.unwrap();
}

/// Opens the folder and waits for what its committer says about the table of events.
async fn refusal(opened: &crate::harness::Opened) -> String {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let told = async {
        let reason = loop {
            match opened.lake.trouble(Table::Events) {
                Some(reason) => break reason,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        stop.send(true).unwrap();
        reason
    };
    let ((), reason) = tokio::join!(Arc::clone(&opened.lake).run_committer(Table::Events, stopped), told);
    assert!(opened.views.current().table(Table::Events).is_err(), "queries say why instead of showing less");
    reason
}

#[tokio::test]
async fn a_table_that_held_our_rows_does_not_start_anew() {
    let folder = tempfile::tempdir().unwrap();
    commit_five(folder.path()).await;
    let settings = LakeSettings { table_prefix: "other_".to_owned(), ..LakeSettings::default() };
    let opened = open_with(folder.path(), 6, settings, |catalog| catalog);
    assert!(refusal(&opened).await.contains("--table-prefix"));
    drop(opened);
    let opened = open(folder.path(), 6);
    opened.make_ready().await;
    assert_eq!(opened.rows().await, (5, 0));
}

#[derive(Debug)]
struct ShortLog;

impl PositionLog for ShortLog {
    fn durable_position(&self, _: Slot, _: Table) -> u64 {
        3
    }

    fn release_through(&self, _: Slot, _: Table, _: u64) {}
}

#[tokio::test]
async fn a_table_ahead_of_a_lost_log_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    commit_five(folder.path()).await;
    std::fs::remove_file(folder.path().join("commits.journal")).unwrap();
    let opened = open(folder.path(), 4);
    opened.lake.connect_log(Arc::new(ShortLog));
    assert!(refusal(&opened).await.contains("up to 5"));
}

/// Somebody who reads the table of events elsewhere finds the persons of all of them.
#[tokio::test]
async fn rows_that_events_refer_to_are_committed_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path(), 1);
    opened.make_ready().await;
    opened.make_table_ready(Table::Persons).await;
    opened.append_with_person(3, 1);
    opened.lake.seal_due().unwrap();
    let waiting = || {
        let view = opened.views.current();
        [Table::Events, Table::Persons].map(|table| view.tail(table, Slot::Main).rows())
    };
    assert_eq!(waiting(), [3, 1]);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let told = async {
        // Long enough for many looks of the committer of events.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(waiting(), [3, 1], "events were committed before their persons");
        let (stop_persons, persons_stopped) = tokio::sync::watch::channel(false);
        let persons = Arc::clone(&opened.lake).run_committer(Table::Persons, persons_stopped);
        let both = async {
            while waiting() != [0, 0] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop_persons.send(true).unwrap();
        };
        tokio::join!(persons, both);
        stop.send(true).unwrap();
    };
    tokio::join!(Arc::clone(&opened.lake).run_committer(Table::Events, stopped), told);
}

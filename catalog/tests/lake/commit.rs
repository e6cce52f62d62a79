use std::time::Duration;

use hogflare_catalog::{LakeSettings, Table};

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

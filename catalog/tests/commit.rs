//! The commit path over the embedded catalog, in one process.

#![allow(clippy::unwrap_used, reason = "a test may end at the first surprise")]

use std::sync::Arc;
use std::time::Duration;

use hogflare_catalog::embedded::EmbeddedCatalog;
use hogflare_catalog::plan::plan_files;
use hogflare_catalog::tables::{EventRow, GroupBuilder};
use hogflare_catalog::{
    DataFolder, Lake, LakeSettings, MetadataCache, Objects, Slot, SystemClock, Table, Views, Watermark,
};

struct Opened {
    lake: Arc<Lake>,
    views: Arc<Views>,
    cache: Arc<MetadataCache>,
    builder: GroupBuilder,
    _folder: DataFolder,
}

fn open(path: &std::path::Path, next: u64) -> Opened {
    let clock = Arc::new(SystemClock);
    let folder = DataFolder::open(path, clock.as_ref()).unwrap();
    let views = Arc::new(Views::new(folder.writer.clone()));
    let settings = LakeSettings { commit_interval: Duration::ZERO, ..LakeSettings::default() };
    let cache = Arc::new(MetadataCache::new(Objects::local(), 100_000));
    let catalog = Arc::new(
        EmbeddedCatalog::open(&folder.path, settings.clone(), Arc::clone(&views), Arc::clone(&clock) as _).unwrap(),
    );
    let lake = Lake::open(&folder, settings, Arc::clone(&views), catalog, Arc::clone(&cache), clock).unwrap();
    let builder = GroupBuilder::new(folder.writer.clone(), [[next; 2]; 2]);
    Opened { lake, views, cache, builder, _folder: folder }
}

impl Opened {
    /// Publishes events as a durable group would be.
    fn append(&mut self, rows: usize, day: i64) {
        for row in 0..rows {
            let uuid = uuid::Uuid::new_v4().to_string();
            let timestamp_us = day * 86_400_000_000 + row as i64;
            let row = EventRow { uuid: &uuid, event: "e", properties: "{}", timestamp_us, ..EventRow::default() };
            self.builder.push_event(Slot::Main, &row);
        }
        self.views.publish_group(self.builder.finish(), 1).unwrap();
    }

    async fn make_ready(&self) {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let lake = Arc::clone(&self.lake);
        let ready = async {
            while self.views.current().head(Table::Events).is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.send(true).unwrap();
        };
        tokio::join!(lake.run_committer(Table::Events, stopped), ready);
    }

    async fn rows(&self) -> (u64, u64) {
        let view = self.views.current();
        let files = plan_files(view.head(Table::Events).unwrap(), &self.cache).await.unwrap();
        (files.iter().map(|file| file.rows).sum(), view.tail(Table::Events, Slot::Main).rows())
    }

    fn watermark(&self) -> Watermark {
        let view = self.views.current();
        let head = view.head(Table::Events).unwrap();
        hogflare_catalog::watermark::read_watermark(&head.metadata, self.views.writer(), Slot::Main).unwrap().unwrap()
    }
}

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

//! A data folder opened as the server does, without its log: groups are published as if durable.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hogflare_catalog::embedded::{EmbeddedCatalog, WarehouseFiles};
use hogflare_catalog::plan::plan_files;
use hogflare_catalog::table_catalog::TableCatalog;
use hogflare_catalog::tables::{DeadLetterRow, EventRow, GroupBuilder, PersonRow, SLOTS, TABLES};
use hogflare_catalog::{DataFolder, Lake, LakeSettings, MetadataCache, Slot, SystemClock, Table, Views, Watermark};

pub(crate) struct Opened {
    pub(crate) lake: Arc<Lake>,
    pub(crate) views: Arc<Views>,
    pub(crate) cache: Arc<MetadataCache>,
    pub(crate) catalog: Arc<EmbeddedCatalog>,
    builder: GroupBuilder,
    _folder: DataFolder,
}

/// Opens the folder; `next` is the position of the next row.
pub(crate) fn open(path: &Path, next: u64) -> Opened {
    open_with(path, next, LakeSettings::default(), |catalog| catalog)
}

/// The same with other settings, and with something between the lake and its catalog.
pub(crate) fn open_with(
    path: &Path,
    next: u64,
    settings: LakeSettings,
    between: impl FnOnce(Arc<dyn TableCatalog>) -> Arc<dyn TableCatalog>,
) -> Opened {
    open_files(path, next, settings, WarehouseFiles::local(), between)
}

/// The same with files elsewhere.
pub(crate) fn open_files(
    path: &Path,
    next: u64,
    settings: LakeSettings,
    files: WarehouseFiles,
    between: impl FnOnce(Arc<dyn TableCatalog>) -> Arc<dyn TableCatalog>,
) -> Opened {
    let clock = Arc::new(SystemClock);
    let folder = DataFolder::open(path, clock.as_ref()).unwrap();
    let views = Arc::new(Views::new(folder.writer.clone()));
    let settings = LakeSettings { commit_interval: Duration::ZERO, ..settings };
    let cache = Arc::new(MetadataCache::new(files.objects.clone(), 100_000));
    let opened =
        EmbeddedCatalog::open(&folder.path, settings.clone(), Arc::clone(&views), Arc::clone(&clock) as _, files);
    let catalog = Arc::new(opened.unwrap());
    let used = between(Arc::clone(&catalog) as _);
    let lake = Lake::open(&folder, settings, Arc::clone(&views), used, Arc::clone(&cache), clock).unwrap();
    let builder = GroupBuilder::new(folder.writer.clone(), [[next; TABLES]; SLOTS]);
    Opened { lake, views, cache, catalog, builder, _folder: folder }
}

impl Opened {
    /// Publishes events of a day as a durable group would be.
    pub(crate) fn append(&mut self, rows: usize, day: i64) {
        for row in 0..rows {
            let uuid = uuid::Uuid::new_v4().to_string();
            let timestamp_us = day * 86_400_000_000 + row as i64;
            let row = EventRow { uuid: &uuid, event: "e", properties: "{}", timestamp_us, ..EventRow::default() };
            self.builder.push_event(Slot::Main, &row);
        }
        self.views.publish_group(self.builder.finish(), 1).unwrap();
    }

    /// The same with a person that they belong to, who changes on so many days.
    pub(crate) fn append_with_person(&mut self, rows: usize, days: i64) {
        for _ in 0..rows {
            let uuid = uuid::Uuid::new_v4().to_string();
            self.builder.push_event(Slot::Main, &EventRow { uuid: &uuid, properties: "{}", ..EventRow::default() });
        }
        for updated_at_us in (0..days).map(|day| day * 86_400_000_000) {
            let person =
                PersonRow { uuid: "p", person_id: "p", distinct_ids: "[]", updated_at_us, ..PersonRow::default() };
            self.builder.push_person(&person);
        }
        self.views.publish_group(self.builder.finish(), 1).unwrap();
    }

    /// The same for dead letters.
    pub(crate) fn append_dead_letters(&mut self, rows: usize) {
        for _ in 0..rows {
            let uuid = uuid::Uuid::new_v4().to_string();
            let row = DeadLetterRow { uuid: &uuid, path: "/e/", reason: "r", ..DeadLetterRow::default() };
            self.builder.push_dead_letter(Slot::Main, &row);
        }
        self.views.publish_group(self.builder.finish(), 1).unwrap();
    }

    /// Creates or loads the table of events and resolves what an earlier process left open.
    pub(crate) async fn make_ready(&self) {
        self.make_table_ready(Table::Events).await;
    }

    pub(crate) async fn make_table_ready(&self, table: Table) {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let ready = async {
            while self.views.current().head(table).is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.send(true).unwrap();
        };
        tokio::join!(Arc::clone(&self.lake).run_committer(table, stopped), ready);
    }

    /// Rows in the table and in the tail.
    pub(crate) async fn rows(&self) -> (u64, u64) {
        let view = self.views.current();
        let files = plan_files(view.head(Table::Events).unwrap(), &self.cache).await.unwrap();
        (files.iter().map(|file| file.rows).sum(), view.tail(Table::Events, Slot::Main).rows())
    }

    pub(crate) fn watermark(&self) -> Watermark {
        let view = self.views.current();
        let head = view.head(Table::Events).unwrap();
        hogflare_catalog::watermark::read_watermark(&head.metadata, self.views.writer(), Slot::Main).unwrap().unwrap()
    }
}

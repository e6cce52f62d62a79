//! A data folder whose rows go to the fake, and a stand-in for its log: what was acknowledged is
//! published again after a crash, with the same positions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hogflare_catalog::objects::{S3Settings, StorageSettings};
use hogflare_catalog::plan::plan_files;
use hogflare_catalog::rest::{Login, Profile, RestCatalog, RestSettings};
use hogflare_catalog::tables::{EventRow, GroupBuilder, SLOTS, TABLES};
use hogflare_catalog::{
    Budget, DataFolder, Lake, LakeSettings, MetadataCache, Objects, PositionLog, Slot, SystemClock, Table, Views,
};

use crate::fake::{FakeLake, FakeSettings};

pub(crate) const NAMESPACE: &str = "default";
pub(crate) const EVENTS: &str = "hogflare_events";
const DAY: i64 = 20_000;

/// What a log would know: how many rows were acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged(AtomicU64);

impl Acknowledged {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl PositionLog for Acknowledged {
    fn durable_position(&self, slot: Slot, table: Table) -> u64 {
        if (slot, table) == (Slot::Main, Table::Events) { self.count() } else { 0 }
    }

    fn release_through(&self, _: Slot, _: Table, _: u64) {}
}

/// A running process on a data folder.
pub(crate) struct Process {
    pub(crate) lake: Arc<Lake>,
    pub(crate) views: Arc<Views>,
    pub(crate) cache: Arc<MetadataCache>,
    pub(crate) objects: Objects,
    builder: GroupBuilder,
    log: Arc<Acknowledged>,
    _folder: DataFolder,
}

/// How the process talks to the fake.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) login: Login,
    pub(crate) profile: Profile,
    pub(crate) settings: LakeSettings,
    /// Keys of the operator, in place of those that the catalog vends.
    pub(crate) own_key: Option<String>,
}

impl Dial {
    pub(crate) fn r2(fake: &FakeSettings) -> Dial {
        let settings = LakeSettings {
            commit_interval: Duration::ZERO,
            metadata_grace: Duration::ZERO,
            shares_catalog: true,
            budget: Budget { per_table: 1_000_000, per_catalog: 1_000_000, ..Budget::PLENTY },
            retry_pause: Duration::from_millis(1),
            halt_pause: Duration::from_millis(5),
            refresh_interval: Duration::ZERO,
            ..LakeSettings::default()
        };
        Dial { login: Login::Token(fake.token.clone()), profile: Profile::R2, settings, own_key: None }
    }

    pub(crate) fn own_keys(fake: &FakeSettings) -> Dial {
        Dial { own_key: Some(fake.static_key_id.clone()), ..Dial::r2(fake) }
    }

    pub(crate) fn oauth(fake: &FakeSettings) -> Dial {
        let (id, secret) = (fake.client_id.clone(), fake.client_secret.clone());
        let login = Login::Client { id, secret, scope: "catalog".to_owned(), token_uri: None };
        Dial { login, ..Dial::r2(fake) }
    }
}

/// Opens the folder as a start of the server does; rows that only the log holds are published again.
pub(crate) fn start(folder: &Path, fake: &FakeLake, dial: &Dial, log: &Arc<Acknowledged>) -> Process {
    let clock = Arc::new(SystemClock);
    let folder = DataFolder::open(folder, clock.as_ref()).unwrap();
    let views = Arc::new(Views::new(folder.writer.clone()));
    let s3 = S3Settings {
        endpoint: dial.own_key.as_ref().map(|_| fake.endpoint().to_owned()),
        access_key_id: dial.own_key.clone(),
        secret_access_key: dial.own_key.as_ref().map(|_| "secret".to_owned()),
        ..S3Settings::default()
    };
    let storage = StorageSettings {
        s3,
        single_put_bytes_max: 1 << 20,
        part_bytes: 512 << 10,
        request_limit: Duration::from_millis(500),
        retry_pause: Duration::from_millis(1),
        ..StorageSettings::default()
    };
    let objects = Objects::new(storage);
    let cache = Arc::new(MetadataCache::new(objects.clone(), 100_000));
    let rest = RestSettings {
        warehouse: Some("account_lake".to_owned()),
        login: dial.login.clone(),
        profile: dial.profile,
        vended_credentials: dial.own_key.is_none(),
        request_limit: Duration::from_millis(500),
        ..RestSettings::new(fake.catalog_uri())
    };
    let catalog = Arc::new(RestCatalog::new(rest, objects.clone()).unwrap());
    let settings = dial.settings.clone();
    let lake = Lake::open(&folder, settings, Arc::clone(&views), catalog, Arc::clone(&cache), clock).unwrap();
    lake.connect_log(Arc::clone(log) as _);
    let covered = lake.covered()[Slot::Main.index()][Table::Events.index()];
    let builder = GroupBuilder::new(folder.writer.clone(), [[covered + 1; TABLES]; SLOTS]);
    let mut process = Process { lake, views, cache, objects, builder, log: Arc::clone(log), _folder: folder };
    let missing = log.count().saturating_sub(covered);
    process.publish(missing);
    process
}

impl Process {
    fn publish(&mut self, rows: u64) {
        for row in 0..rows {
            let uuid = uuid::Uuid::new_v4().to_string();
            let timestamp_us = (DAY + row as i64 % 2) * 86_400_000_000 + row as i64;
            let row = EventRow { uuid: &uuid, event: "e", properties: "{}", timestamp_us, ..EventRow::default() };
            self.builder.push_event(Slot::Main, &row);
        }
        if rows > 0 {
            self.views.publish_group(self.builder.finish(), 1).unwrap();
        }
    }

    /// Acknowledges rows.
    pub(crate) fn append(&mut self, rows: u64) {
        self.log.0.fetch_add(rows, Ordering::SeqCst);
        self.publish(rows);
    }

    /// Runs the committer of the events until the table is known, or until it stands still for good.
    pub(crate) async fn make_ready(&self) -> Result<(), String> {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let told = async {
            let outcome = loop {
                if self.views.current().head(Table::Events).is_some() {
                    break Ok(());
                }
                match self.lake.trouble(Table::Events) {
                    Some(reason) if reason.starts_with("fenced") || reason.starts_with("the ") => break Err(reason),
                    _ => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
            stop.send(true).unwrap();
            outcome
        };
        let ((), outcome) = tokio::join!(Arc::clone(&self.lake).run_committer(Table::Events, stopped), told);
        outcome
    }

    /// Runs the committer of the events until the table is this process's own.
    pub(crate) async fn make_claimed(&self) {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let told = async {
            while self.lake.trouble(Table::Events).is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.send(true).unwrap();
        };
        tokio::join!(Arc::clone(&self.lake).run_committer(Table::Events, stopped), told);
    }

    /// Rows in the table as this process sees it, and in its tail.
    pub(crate) async fn rows(&self) -> (u64, u64) {
        let view = self.views.current();
        let tail = view.tail(Table::Events, Slot::Main).rows();
        let Some(head) = view.head(Table::Events) else { return (0, tail) };
        let files = plan_files(head, &self.cache).await.unwrap();
        (files.iter().map(|file| file.rows).sum(), tail)
    }

    /// The same where the storage fails now and then.
    pub(crate) async fn rows_patiently(&self) -> (u64, u64) {
        let mut last = None;
        for _ in 0..50 {
            let view = self.views.current();
            let tail = view.tail(Table::Events, Slot::Main).rows();
            let Some(head) = view.head(Table::Events) else { return (0, tail) };
            match plan_files(head, &self.cache).await {
                Ok(files) => return (files.iter().map(|file| file.rows).sum(), tail),
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("the table's files cannot be planned: {last:?}");
    }

    /// Commits until nothing waits.
    pub(crate) async fn settle(&self) {
        for _ in 0..200 {
            self.lake.finish().await.unwrap();
            if self.lake.is_settled() {
                return;
            }
        }
        panic!("rows wait for ever: {:?}", self.lake.trouble(Table::Events));
    }
}

/// A fake with a folder of our own.
pub(crate) struct Scene {
    pub(crate) fake: FakeLake,
    pub(crate) dial: Dial,
    pub(crate) log: Arc<Acknowledged>,
    folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new(settings: FakeSettings, dial: impl Fn(&FakeSettings) -> Dial) -> Scene {
        let dial = dial(&settings);
        let fake = FakeLake::start(settings);
        Scene { fake, dial, log: Arc::default(), folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn r2() -> Scene {
        Scene::new(FakeSettings::default(), Dial::r2)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn start(&self) -> Process {
        start(&self.path(), &self.fake, &self.dial, &self.log)
    }

    /// The table holds every acknowledged row once, and all that it names is there.
    pub(crate) fn check_table(&self) {
        let rows = self.fake.rows(NAMESPACE, EVENTS);
        let positions: Vec<i64> = rows.iter().map(|(_, position)| *position).collect();
        assert_eq!(positions, (1..=self.log.count() as i64).collect::<Vec<_>>());
        self.fake.check_reachable(NAMESPACE, EVENTS);
    }
}

/// As on another machine, where the copy stands at the same path.
pub(crate) fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
    let identity = to.join("hogflare.json");
    if let Ok(text) = std::fs::read_to_string(&identity) {
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["path"] = serde_json::json!(std::fs::canonicalize(to).unwrap());
        std::fs::write(&identity, json.to_string()).unwrap();
    }
}

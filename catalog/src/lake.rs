//! The tables of one installation: what is open between the log and the catalog, and the loops that
//! move it there.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use iceberg::{NamespaceIdent, TableIdent};
use parking_lot::Mutex;

use crate::cache::MetadataCache;
use crate::clock::Clock;
use crate::error::Result;
use crate::folder::DataFolder;
use crate::governor::{Budget, Governor};
use crate::journal::Journal;
use crate::pause::Pauses;
use crate::root_owner::OwnedRoot;
use crate::seal::intact_ranges;
use crate::stall::Stalls;
use crate::table_catalog::TableCatalog;
use crate::tables::{SLOTS, Slot, TABLES, Table};
use crate::view::Views;
use crate::writer_id::WriterId;

/// When rows are sealed and committed, and what the tables are called.
#[derive(Clone, Debug)]
pub struct LakeSettings {
    pub namespace: String,
    /// In front of every table's name.
    pub table_prefix: String,
    /// A commit is due when the oldest row that is not in the table is older than this.
    pub commit_interval: Duration,
    pub late_commit_interval: Duration,
    /// Open rows are sealed at this size of memory, due or not.
    pub seal_bytes: u64,
    pub late_seal_bytes: u64,
    /// A commit is due when this much is sealed, whatever its age.
    pub commit_sealed_bytes: u64,
    /// Rows of all tails are sealed when they pass half of this.
    pub tail_bytes_max: u64,
    /// Metadata files that no snapshot reaches are deleted at this age.
    pub metadata_grace: Duration,
    /// Whether other processes commit to the same catalog without this one seeing it: then tables are
    /// asked for news, and taken over with a claim at the start.
    pub shares_catalog: bool,
    /// A table that others may have changed is asked for news at this age of what is known of it.
    pub refresh_interval: Duration,
    pub budget: Budget,
    /// Pause before a commit that failed for now is tried again …
    pub retry_pause: Duration,
    /// … and before one that only a person can help.
    pub halt_pause: Duration,
    /// Where the files of the embedded catalog stand, if on a bucket.
    pub owned_root: Option<OwnedRoot>,
    /// Name of a catalog that must pass the check before its first use.
    pub checked_as: Option<String>,
    pub stalls: Stalls,
}

impl Default for LakeSettings {
    fn default() -> LakeSettings {
        const MIB: u64 = 1024 * 1024;
        LakeSettings {
            namespace: "default".to_owned(),
            table_prefix: "hogflare_".to_owned(),
            commit_interval: Duration::from_secs(10),
            late_commit_interval: Duration::from_secs(300),
            seal_bytes: 32 * MIB,
            late_seal_bytes: 64 * MIB,
            commit_sealed_bytes: 256 * MIB,
            tail_bytes_max: 128 * MIB,
            metadata_grace: Duration::from_secs(3600),
            shares_catalog: false,
            refresh_interval: Duration::from_secs(4),
            budget: Budget::PLENTY,
            retry_pause: Duration::from_secs(2),
            halt_pause: Duration::from_secs(60),
            owned_root: None,
            checked_as: None,
            stalls: Stalls::default(),
        }
    }
}

impl LakeSettings {
    pub fn ident(&self, table: Table) -> TableIdent {
        let name = format!("{}{}", self.table_prefix, table.short_name());
        TableIdent::new(NamespaceIdent::new(self.namespace.clone()), name)
    }

    /// Which of our tables an identifier names.
    pub fn table_of(&self, ident: &TableIdent) -> Option<Table> {
        Table::ALL.into_iter().find(|table| self.ident(*table) == *ident)
    }

    pub(crate) fn interval(&self, slot: Slot) -> Duration {
        match slot {
            Slot::Main => self.commit_interval,
            Slot::Late => self.late_commit_interval,
        }
    }

    pub(crate) fn seal_bytes(&self, slot: Slot) -> u64 {
        match slot {
            Slot::Main => self.seal_bytes,
            Slot::Late => self.late_seal_bytes,
        }
    }
}

/// What the committer needs of the log.
pub trait PositionLog: std::fmt::Debug + Send + Sync {
    /// Position of the last row that the log gave; 0 for none.
    fn durable_position(&self, slot: Slot, table: Table) -> u64;

    /// The rows up to `position` are in their table: the log need not keep them.
    fn release_through(&self, slot: Slot, table: Table, position: u64);
}

/// See the module.
#[derive(Debug)]
pub struct Lake {
    pub(crate) settings: LakeSettings,
    pub(crate) sealed_folder: PathBuf,
    pub(crate) writer: WriterId,
    pub(crate) epoch: u64,
    /// Name of this process, in the names of its objects.
    pub(crate) incarnation: String,
    /// Names of all processes of this folder.
    pub(crate) incarnations: HashSet<String>,
    pub(crate) views: Arc<Views>,
    pub(crate) cache: Arc<MetadataCache>,
    pub(crate) catalog: Arc<dyn TableCatalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) governor: Governor,
    pauses: Arc<Pauses>,
    /// When each table's head was learnt, microseconds since 1970.
    pub(crate) known_at_us: [AtomicI64; TABLES],
    pub(crate) checked: tokio::sync::Mutex<bool>,
    pub(crate) check_file: PathBuf,
    /// When the files on a bucket were last seen to be ours.
    pub(crate) root_seen: tokio::sync::Mutex<Option<Instant>>,
    pub(crate) heads_folder: PathBuf,
    pub(crate) journal: Mutex<Journal>,
    /// One seal at a time: sealing is the largest use of memory.
    pub(crate) sealing: Mutex<()>,
    /// One commit at a time per table, whoever asks for it.
    pub(crate) committing: [tokio::sync::Mutex<()>; TABLES],
    /// Posts of this process: every try writes objects of its own name.
    pub(crate) attempts: AtomicU32,
    log: OnceLock<Arc<dyn PositionLog>>,
    trouble: Mutex<[Option<String>; TABLES]>,
    seal_trouble: Mutex<Option<String>>,
}

impl Lake {
    /// Reads the journal and shows the sealed ranges. Asks the catalog nothing: ingest must be able
    /// to start while it is away.
    pub fn open(
        folder: &DataFolder,
        settings: LakeSettings,
        views: Arc<Views>,
        catalog: Arc<dyn TableCatalog>,
        cache: Arc<MetadataCache>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Lake>> {
        let journal = Journal::open(&folder.path.join("commits.journal"))?;
        let sealed_folder = folder.path.join("sealed");
        for range in intact_ranges(&journal, &sealed_folder)? {
            views.publish_sealed(Arc::new(range))?;
        }
        Ok(Arc::new(Lake {
            sealed_folder,
            writer: folder.writer.clone(),
            epoch: folder.epoch,
            incarnation: folder.incarnations.last().cloned().unwrap_or_default(),
            incarnations: folder.incarnations.iter().cloned().collect(),
            views,
            cache,
            pauses: catalog.pauses().cloned().unwrap_or_default(),
            catalog,
            governor: Governor::new(settings.budget, Arc::clone(&clock)),
            known_at_us: Default::default(),
            checked: tokio::sync::Mutex::new(false),
            root_seen: tokio::sync::Mutex::default(),
            check_file: folder.path.join("catalog.json"),
            heads_folder: folder.path.join("heads"),
            settings,
            clock,
            journal: Mutex::new(journal),
            sealing: Mutex::new(()),
            committing: Default::default(),
            attempts: AtomicU32::new(0),
            log: OnceLock::new(),
            trouble: Mutex::default(),
            seal_trouble: Mutex::default(),
        }))
    }

    /// Positions up to which rows need not come from the log: they are in a table or sealed.
    pub fn covered(&self) -> [[u64; TABLES]; SLOTS] {
        let view = self.views.current();
        let journal = self.journal.lock();
        Slot::ALL.map(|slot| {
            Table::ALL.map(|table| {
                let committed = journal.state(slot, table).committed.as_ref().map_or(0, |record| record.through);
                let sealed = view.tail(table, slot).sealed.last().map_or(0, |range| range.record.through);
                committed.max(sealed)
            })
        })
    }

    /// Connects the log; before this, nothing is released.
    pub fn connect_log(&self, log: Arc<dyn PositionLog>) {
        let journal = self.journal.lock();
        for (slot, table) in slots_and_tables() {
            if let Some(record) = &journal.state(slot, table).committed {
                log.release_through(slot, table, record.through);
            }
        }
        self.log.set(log).expect("the log is connected once");
    }

    pub(crate) fn release(&self, slot: Slot, table: Table, position: u64) {
        if let Some(log) = self.log.get() {
            log.release_through(slot, table, position);
        }
    }

    /// Position of the last row that this folder knows of; none while the log is not connected.
    pub(crate) fn last_known(&self, slot: Slot, table: Table) -> Option<u64> {
        let logged = self.log.get()?.durable_position(slot, table);
        let committed = self.journal.lock().state(slot, table).committed.as_ref().map_or(0, |record| record.through);
        Some(logged.max(committed))
    }

    pub fn settings(&self) -> &LakeSettings {
        &self.settings
    }

    /// Whether one committer serves all tables, round by round.
    pub fn commits_in_rounds(&self) -> bool {
        self.catalog.takes_transactions()
    }

    /// Which tables are left alone for a while.
    pub fn pauses(&self) -> &Arc<Pauses> {
        &self.pauses
    }

    pub fn views(&self) -> &Arc<Views> {
        &self.views
    }

    /// Why a table's commits stand still, if they do.
    pub fn trouble(&self, table: Table) -> Option<String> {
        self.trouble.lock()[table.index()].clone()
    }

    /// Why rows cannot be sealed to the disk, if they cannot.
    pub fn seal_trouble(&self) -> Option<String> {
        self.seal_trouble.lock().clone()
    }

    pub(crate) fn set_seal_trouble(&self, trouble: Option<String>) {
        *self.seal_trouble.lock() = trouble;
    }

    /// Notes and logs trouble once, and its end.
    pub(crate) fn set_trouble(&self, table: Table, trouble: Option<String>) {
        let mut all = self.trouble.lock();
        let before = &mut all[table.index()];
        if *before == trouble {
            return;
        }
        match &trouble {
            Some(reason) => tracing::warn!(table = table.short_name(), reason, "commits stand still"),
            None => tracing::info!(table = table.short_name(), "commits go on"),
        }
        *before = trouble;
    }
}

pub(crate) fn slots_and_tables() -> impl Iterator<Item = (Slot, Table)> {
    Slot::ALL.into_iter().flat_map(|slot| tables_in_order().map(move |table| (slot, table)))
}

/// What events refer to, then all others: so that rows become durable and visible to others.
pub(crate) fn tables_in_order() -> impl Iterator<Item = Table> {
    let order = |leads: bool| Table::ALL.into_iter().filter(move |table| table.leads_events() == leads);
    order(true).chain(order(false))
}

//! A fake of a remote lake: an Iceberg REST catalog as R2 Data Catalog runs it, and the S3 storage below it.
//!
//! ```text
//! client ─HTTP─► server → state ─► limits → fault ─► rest → tables    below /catalog
//!                                              └───► storage → objects    below /<bucket>
//! ```
//! It applies commits by itself, with what the `iceberg` crate makes of requirements and updates, and reads tables
//! with `oracle`: code of its own, so that it can find a writer wrong. [`Step`] is what faults meet, [`Fault`] what
//! they do. All is in memory, each fake has its own thread and port, and no wait is longer than its settings say.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hogflare_catalog::{Clock, SystemClock};
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::{NamespaceIdent, TableCreation, TableIdent};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

mod access;
mod clock;
mod counts;
mod fault;
mod foreign;
mod http;
mod limits;
mod objects;
mod oracle;
mod proof;
mod rest;
mod server;
mod state;
mod storage;
mod tables;
mod vice;
mod xml;

pub(crate) use clock::ShiftedClock;
pub(crate) use counts::{Client, Counts};
pub(crate) use fault::{Fault, FaultKind, Met, Step};
pub(crate) use limits::Budget;
use state::State;
pub(crate) use vice::Vice;

/// Whose manners the catalog has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// A lost race is 400 `ConcurrentUpdateError`, some properties are forbidden, and writes are limited.
    R2,
    /// A lost race is 409 `CommitFailedException`; no limits.
    Spec,
}

#[derive(Clone, Debug)]
pub(crate) struct FakeSettings {
    pub(crate) profile: Profile,
    pub(crate) warehouse: String,
    /// Stands in the path of the catalog's routes; clients learn it from the config route.
    pub(crate) prefix: String,
    pub(crate) bucket: String,
    /// A bearer token without end.
    pub(crate) token: String,
    /// Of OAuth.
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// Of tokens lent by OAuth.
    pub(crate) token_ttl: Duration,
    /// Keys of the storage without end and without a session token; any secret goes with them.
    pub(crate) static_key_id: String,
    /// Of keys lent with tables; without, they have no end.
    pub(crate) credential_ttl: Option<Duration>,
    /// What lent keys are said to be for; without it the table's location.
    pub(crate) credential_prefix: Option<String>,
    pub(crate) retry_after_s: u64,
    /// What limits count in.
    pub(crate) window: Duration,
    /// How long a hanging answer is held at most.
    pub(crate) hang: Duration,
    /// The smallest part of an upload, the last one excepted.
    pub(crate) part_bytes_min: usize,
    pub(crate) clock: Arc<dyn Clock>,
    /// What the catalog does against the protocol.
    pub(crate) vice: Option<Vice>,
}

impl Default for FakeSettings {
    fn default() -> FakeSettings {
        FakeSettings {
            profile: Profile::R2,
            warehouse: "account_lake".to_owned(),
            prefix: "account-lake".to_owned(),
            bucket: "lake".to_owned(),
            token: "catalog-token".to_owned(),
            client_id: "client".to_owned(),
            client_secret: "client-secret".to_owned(),
            token_ttl: Duration::from_secs(3_600),
            static_key_id: "static-key".to_owned(),
            credential_ttl: None,
            credential_prefix: None,
            retry_after_s: 0,
            window: Duration::from_secs(60),
            hang: Duration::from_millis(20),
            part_bytes_min: 5 * 1024 * 1024,
            clock: Arc::new(SystemClock),
            vice: None,
        }
    }
}

/// A running fake; ends when dropped.
#[derive(Debug)]
pub(crate) struct FakeLake {
    state: Arc<Mutex<State>>,
    endpoint: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeLake {
    pub(crate) fn start(settings: FakeSettings) -> FakeLake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("cannot listen on this machine");
        listener.set_nonblocking(true).expect("a fresh socket");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound socket"));
        let state = Arc::new(Mutex::new(State::new(settings, endpoint.clone())));
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        let thread = std::thread::spawn(move || server::run(listener, served, stopped));
        FakeLake { state, endpoint, stop: Some(stop), thread: Some(thread) }
    }

    /// The endpoint of the storage: `http://127.0.0.1:<port>`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn catalog_uri(&self) -> String {
        format!("{}/catalog", self.endpoint)
    }

    /// The next request at `step` that has no fault yet meets this one.
    pub(crate) fn script(&self, step: Step, fault: Fault) {
        self.state.lock().faults.script(step, fault);
    }

    /// Scripted faults that no request has met yet.
    pub(crate) fn scripted_left(&self) -> usize {
        self.state.lock().faults.scripted_left()
    }

    /// From now on, up to `per_mille` of 1000 requests meet a fault that suits them; 0 ends it. The same seed and
    /// the same requests at a step give the same faults there.
    pub(crate) fn random(&self, seed: u64, per_mille: u32) {
        self.state.lock().faults.randomize(seed, per_mille);
    }

    pub(crate) fn met(&self) -> Met {
        self.state.lock().faults.met.clone()
    }

    /// Whether connections drop what they ask of the catalog; the storage stays.
    pub(crate) fn away(&self, away: bool) {
        self.state.lock().away = away;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state.lock().counts.clone()
    }

    pub(crate) fn reset_counts(&self) {
        self.state.lock().counts = Counts::default();
    }

    /// The most writes that any window held, refused ones included.
    pub(crate) fn busiest(&self) -> BTreeMap<Budget, usize> {
        self.state.lock().limits.busiest()
    }

    /// Sizes of the objects by key.
    pub(crate) fn objects(&self) -> BTreeMap<String, u64> {
        self.state.lock().objects.sizes()
    }

    pub(crate) fn delete_object(&self, key: &str) {
        assert!(self.state.lock().objects.remove(key), "there is no object {key}");
    }

    pub(crate) fn table_names(&self) -> Vec<String> {
        self.state.lock().tables.tables.keys().map(ToString::to_string).collect()
    }

    /// Requests whose keys were not, or no longer, valid.
    pub(crate) fn refused_keys(&self) -> usize {
        self.state.lock().refused_keys
    }

    pub(crate) fn unfinished_uploads(&self) -> usize {
        self.state.lock().objects.unfinished_uploads()
    }

    pub(crate) fn table(&self, namespace: &str, name: &str) -> TableMetadata {
        self.state.lock().metadata(&ident(namespace, name)).as_ref().clone()
    }

    pub(crate) fn drop_table(&self, namespace: &str, name: &str) {
        let dropped = self.state.lock().tables.tables.remove(&ident(namespace, name));
        assert!(dropped.is_some(), "there is no table {namespace}.{name}");
    }

    /// Drops a table and creates one with the same name and columns, and without rows or properties.
    pub(crate) fn replace_table(&self, namespace: &str, name: &str) {
        let (mut state, ident) = (self.state.lock(), ident(namespace, name));
        let (before, uuid) = (state.metadata(&ident), Uuid::new_v4());
        let creation = TableCreation {
            name: name.to_owned(),
            location: Some(format!("s3://{}/{uuid}", state.settings.bucket)),
            schema: before.current_schema().as_ref().clone(),
            partition_spec: Some(before.default_partition_spec().as_ref().clone().into_unbound()),
            sort_order: Some(before.default_sort_order().as_ref().clone()),
            properties: Default::default(),
            format_version: before.format_version(),
        };
        let built = TableMetadataBuilder::from_table_creation(creation).and_then(|new| new.assign_uuid(uuid).build());
        state.store(&ident, built.expect("the table was valid before").metadata, None);
    }

    /// Makes an older snapshot the head, as an operator may.
    pub(crate) fn roll_back(&self, namespace: &str, name: &str, snapshot_id: i64) {
        self.state.lock().roll_back(&ident(namespace, name), snapshot_id);
    }

    /// What [`Fault::Foreign`], [`Fault::Compacted`] and [`Fault::ExpiredSnapshot`] do, now.
    pub(crate) fn disturb(&self, namespace: &str, name: &str, fault: Fault) {
        let (mut state, ident) = (self.state.lock(), ident(namespace, name));
        match fault {
            Fault::Foreign => state.foreign_append(&ident),
            Fault::Compacted => state.compact(&ident),
            Fault::ExpiredSnapshot => state.expire_below_foreign(&ident),
            _ => panic!("{fault:?} needs a request"),
        }
    }

    /// Asserts that all that the retained snapshots of a table name is there, as long as stated.
    pub(crate) fn check_reachable(&self, namespace: &str, name: &str) {
        let missing = self.missing_objects(namespace, name);
        assert!(missing.is_empty(), "{namespace}.{name} names what is not there: {missing:#?}");
    }

    /// What [`FakeLake::check_reachable`] complains about.
    pub(crate) fn missing_objects(&self, namespace: &str, name: &str) -> Vec<String> {
        oracle::missing(&self.state.lock(), &ident(namespace, name))
    }

    /// `_writer` and `_position` of each row of the table, in order.
    pub(crate) fn rows(&self, namespace: &str, name: &str) -> Vec<(String, i64)> {
        oracle::rows(&self.state.lock(), &ident(namespace, name)).unwrap_or_else(|reason| panic!("{reason}"))
    }
}

impl Drop for FakeLake {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = ended
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn ident(namespace: &str, name: &str) -> TableIdent {
    TableIdent::new(NamespaceIdent::new(namespace.to_owned()), name.to_owned())
}

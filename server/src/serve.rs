//! Builds the parts in order, runs their tasks, and ends them in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hogflare_catalog::embedded::{EmbeddedCatalog, WarehouseFiles};
use hogflare_catalog::rest::RestCatalog;
use hogflare_catalog::stall::Stalls;
use hogflare_catalog::table_catalog::TableCatalog;
use hogflare_catalog::watermark::read_watermark;
use hogflare_catalog::{
    Clock, DataFolder, Lake, LakeSettings, MetadataCache, Objects, OwnedRoot, Slot, SystemClock, Table, Views,
};
use hogflare_ingest::cookieless::Salts;
use hogflare_ingest::disk::RealDisk;
use hogflare_ingest::enrich::GeoFiles;
use hogflare_ingest::wal::FrameStall;
use hogflare_ingest::{
    Ingest, IngestParts, IngestSettings, Opened, Recovered, Replay, StateSettings, StateWriter, Writer,
};
use hogflare_query::{Engine, QuerySettings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::config::{self, Config};
use crate::flags;
use crate::http;
use crate::projects;
use crate::start;
use crate::tasks::{Failures, Tasks};
use crate::telemetry;
use crate::tokens::{self, Tokens};
use crate::upkeep;

/// Data files and manifests whose metadata is kept decoded, about 2 kB each.
const CACHED_ENTRIES_MAX: usize = 32_000;
/// Planning walks deep expression trees.
pub(crate) const QUERY_STACK_BYTES: usize = 8 << 20;
/// Listing a bucket costs money, and the files in question little.
const REMOTE_METADATA_GRACE: Duration = Duration::from_secs(24 * 3600);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const REQUESTS_LIMIT: Duration = Duration::from_secs(15);
const COMMIT_LIMIT: Duration = Duration::from_secs(20);

/// A running server, as `demo` needs to know it.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) read_token: String,
    pub(crate) lake: Arc<Lake>,
}

/// What else runs beside the server, and ends it when it ends.
pub(crate) type Companion = Box<dyn FnOnce(Running, oneshot::Sender<()>) + Send>;

/// Serves until a signal, or until the companion ends it.
pub(crate) fn run(config: Config, companion: Option<Companion>) -> Result<()> {
    telemetry::start_logs(&config)?;
    for warning in config::warnings() {
        tracing::warn!("{warning}");
    }
    config.flags.log_warnings();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    // Queries have threads of their own, so that a heavy one does not hold up acknowledgements.
    let queries = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .thread_name("query")
        .thread_stack_size(QUERY_STACK_BYTES)
        .enable_all()
        .build()
        .context("cannot start the query threads")?;
    let requests = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .thread_name("request")
        .enable_all()
        .build()
        .context("cannot start the request threads")?;
    let result = requests.block_on(serve(config, queries.handle().clone(), cores, companion));
    queries.shutdown_background();
    requests.shutdown_background();
    result
}

async fn serve(
    config: Config,
    queries: tokio::runtime::Handle,
    cores: usize,
    companion: Option<Companion>,
) -> Result<()> {
    let metrics = telemetry::start_metrics()?;
    let parts = open(&config)?;
    let read_token = tokens::own_read_token(&parts.folder.path)?;
    let mut read_tokens = config.read_tokens.clone();
    read_tokens.push(read_token.clone());
    let mut query = QuerySettings::new(queries, parts.folder.path.join("spill"), cores);
    query.namespace = config.namespace.clone();
    query.table_prefix = config.table_prefix.clone();
    let engine = Engine::new(query, Arc::clone(&parts.views), Arc::clone(&parts.cache))
        .map_err(|error| anyhow::anyhow!("cannot start the query engine: {}", error.message))?;
    let (geo, salts) = (Arc::clone(&parts.geo), Arc::clone(&parts.salts));
    let tokens = Tokens::new(&read_tokens, &config.admin_tokens);
    let edge = http::Edge::new(&config, tokens, metrics.clone(), Arc::clone(&geo), Arc::clone(&salts));
    let failures = Failures::default();
    let services = http::Services {
        failures: failures.clone(),
        edge: Arc::new(edge),
        ingest: parts.ingest.clone(),
        lake: Arc::clone(&parts.lake),
        catalog: parts.catalog.clone(),
        engine: Arc::new(engine),
    };
    let mut accept = Tasks::new("accept", &failures);
    let address = listen(&config, &services, &mut accept).await?;
    let mut persist = start_persistence(&parts.lake, &failures);
    persist.spawn("metrics upkeep", http::metrics_upkeep(metrics, persist.stopped()));
    persist.spawn("salts and geo files", upkeep::run(geo, salts, persist.stopped()));
    if let Some(file) = config.projects_file.clone() {
        let shared = config.normalize.projects.clone();
        let replace = move |projects| shared.replace(projects);
        let (state, others) = (parts.ingest.state().cloned(), Arc::clone(&config.normalize.group_types));
        let parse = move |text: &str| projects::parse_for(text, state.as_ref(), &others);
        persist.spawn("projects", file.watch(parse, replace, persist.stopped()));
    }
    if let Some(file) = config.flags_file.clone() {
        let shared = config.flags.clone();
        let replace = move |file| {
            shared.replace(file);
            shared.log_warnings();
        };
        persist.spawn("feature flags", file.watch(flags::parse, replace, persist.stopped()));
    }
    if parts.ingest.state().is_some_and(hogflare_ingest::State::began_empty) {
        persist.spawn("look for persons of others", warn_of_others(Arc::clone(&parts.lake), persist.stopped()));
    }
    let writer = std::thread::Builder::new().name("writer".to_owned());
    let writer = writer.spawn(move || parts.writer.run()).context("cannot start the writer")?;
    let state_writer = std::thread::Builder::new().name("state".to_owned());
    let state_writer = parts.state_writer.map(|state| state_writer.spawn(move || state.run())).transpose();
    let state_writer = state_writer.context("cannot start the state's writer")?;

    start::print(&config, &parts.folder, address, &parts.recovered);
    let (end, ended) = oneshot::channel();
    if let Some(companion) = companion {
        let lake = Arc::clone(&parts.lake);
        let running = Running { address, read_token: read_token.secret().to_owned(), lake };
        std::thread::spawn(move || companion(running, end));
        wait_for_end(Some(ended)).await?;
    } else {
        drop(end);
        wait_for_end(None).await?;
    }

    accept.stop(REQUESTS_LIMIT).await;
    parts.ingest.stop();
    let drained = tokio::task::spawn_blocking(move || writer.join()).await;
    if let Ok(Ok(Err(failure))) = &drained {
        tracing::error!(failure, "the writer ended with a failure");
    }
    if let Some(state_writer) = state_writer {
        // It has what the writer handed over; the log has it too.
        let _ = tokio::task::spawn_blocking(move || state_writer.join()).await;
    }
    persist.stop(COMMIT_LIMIT).await;
    commit_the_rest(&parts.lake).await;
    drop(parts.folder);
    tracing::info!("stopped");
    Ok(())
}

pub(crate) struct Parts {
    pub(crate) folder: DataFolder,
    pub(crate) views: Arc<Views>,
    pub(crate) cache: Arc<MetadataCache>,
    /// None if the catalog is remote.
    catalog: Option<Arc<EmbeddedCatalog>>,
    pub(crate) lake: Arc<Lake>,
    geo: Arc<GeoFiles>,
    salts: Arc<Salts>,
    pub(crate) ingest: Ingest,
    writer: Writer,
    state_writer: Option<StateWriter>,
    recovered: Recovered,
}

/// Opens the folder, the catalog and the log. Needs nothing but the local disk.
fn open(config: &Config) -> Result<Parts> {
    open_with(config, true)
}

/// The same for making the state anew.
pub(crate) fn open_without_state(config: &Config) -> Result<Parts> {
    open_with(config, false)
}

/// The state file of a data folder.
pub(crate) fn state_path(data_dir: &Path) -> PathBuf {
    data_dir.join("state.sqlite")
}

fn open_with(config: &Config, with_state: bool) -> Result<Parts> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let geo = GeoFiles::open(&config.geo_paths).context("--geoip-db and --asn-db name databases of addresses")?;
    let folder = DataFolder::open(&config.data_dir, clock.as_ref())?;
    let salts = Salts::open(&folder.path, clock.now_us())?;
    let views = Arc::new(Views::new(folder.writer.clone()));
    let objects = Objects::new(config.catalog.storage.clone());
    let cache = Arc::new(MetadataCache::new(objects.clone(), CACHED_ENTRIES_MAX));
    let settings = lake_settings(config, &folder);
    let (catalog, used): (_, Arc<dyn TableCatalog>) = match config.catalog.remote() {
        Some(remote) => (None, Arc::new(RestCatalog::new(remote.clone(), objects)?)),
        None => {
            let root = config.catalog.warehouse_root().map(str::to_owned);
            let lent = if root.is_some() { config.catalog.storage.as_config() } else { HashMap::new() };
            let files = WarehouseFiles { root, objects, lent };
            let own =
                EmbeddedCatalog::open(&folder.path, settings.clone(), Arc::clone(&views), Arc::clone(&clock), files)?;
            let own = Arc::new(own);
            (Some(Arc::clone(&own)), own)
        }
    };
    let lake = Lake::open(&folder, settings, Arc::clone(&views), used, Arc::clone(&cache), Arc::clone(&clock))?;
    let ingest_settings = ingest_settings(config, &folder);
    let disk = Arc::new(RealDisk::new(config.durability));
    let state = StateSettings {
        cache_bytes_max: usize::try_from(config.state_memory_max).unwrap_or(usize::MAX),
        configured_types: projects::configured_types(&config.normalize.projects.load(), &config.normalize.group_types),
        ..StateSettings::new(state_path(&folder.path))
    };
    let parts = IngestParts { disk, views: Arc::clone(&views), clock, state: with_state.then_some(state) };
    let seal = || {
        if let Err(error) = lake.seal_due() {
            tracing::error!(error = hogflare_catalog::error::chain(&error), "cannot seal rows of the log");
        }
    };
    let pressure_bytes = config.tail_bytes_max / 2;
    let replay = Replay { covered: lake.covered(), pressure_bytes, on_pressure: &seal };
    let opened = Ingest::open(ingest_settings, parts, replay).context("cannot open the log")?;
    let Opened { ingest, writer, state_writer, recovered } = opened;
    lake.connect_log(Arc::new(ingest.positions().clone()));
    let (geo, salts) = (Arc::new(geo), Arc::new(salts));
    Ok(Parts { folder, views, cache, catalog, lake, geo, salts, ingest, writer, state_writer, recovered })
}

fn lake_settings(config: &Config, folder: &DataFolder) -> LakeSettings {
    let is_remote = config.catalog.remote().is_some();
    let in_bucket = is_remote || config.catalog.warehouse_root().is_some();
    let local = LakeSettings::default();
    LakeSettings {
        namespace: config.namespace.clone(),
        table_prefix: config.table_prefix.clone(),
        commit_interval: config.commit_interval,
        late_commit_interval: config.late_commit_interval,
        tail_bytes_max: config.tail_bytes_max,
        metadata_grace: if in_bucket { REMOTE_METADATA_GRACE } else { local.metadata_grace },
        shares_catalog: is_remote,
        budget: config.catalog.budget(),
        owned_root: config.catalog.warehouse_root().map(OwnedRoot::new),
        checked_as: in_bucket.then(|| config.catalog.describe()),
        stalls: Stalls {
            folder: folder.path.join("tmp"),
            seal: config.stall("seal"),
            pending: config.stall("pending"),
            post: config.stall("post"),
        },
        ..local
    }
}

fn ingest_settings(config: &Config, folder: &DataFolder) -> IngestSettings {
    let mut settings = IngestSettings::new(folder.path.clone(), folder.writer.clone(), folder.hash_key);
    settings.admission.tail_bytes_max = config.tail_bytes_max;
    settings.admission.request_bytes_max = usize::try_from(config.request_bytes_max).unwrap_or(usize::MAX);
    settings.wal_bytes_max = config.wal_bytes_max;
    let wait = config.stall("frame");
    let marker = folder.path.join("tmp").join("open-frame");
    settings.frame_stall = (!wait.is_zero()).then_some(FrameStall { wait, marker });
    settings
}

async fn listen(config: &Config, services: &http::Services, tasks: &mut Tasks) -> Result<SocketAddr> {
    let listener = bind(&config.listen, "--listen").await?;
    let address = listener.local_addr()?;
    tasks.spawn("http", http::serve(listener, http::router(services), tasks.stopped()));
    if let Some(sdk) = &config.listen_sdk {
        let listener = bind(sdk, "--listen-sdk").await?;
        println!("listening for SDKs on http://{}", listener.local_addr()?);
        tasks.spawn("http for SDKs", http::serve(listener, http::sdk_router(services), tasks.stopped()));
    }
    if let Some(metrics) = &config.metrics_listen {
        let listener = bind(metrics, "--metrics-listen").await?;
        println!("metrics on http://{}/metrics", listener.local_addr()?);
        tasks.spawn("metrics", http::serve(listener, http::metrics_router(services), tasks.stopped()));
    }
    Ok(address)
}

async fn bind(address: &str, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} ({flag}); it must be ADDRESS:PORT, and no other server may run there")
    })
}

fn start_persistence(lake: &Arc<Lake>, failures: &Failures) -> Tasks {
    let mut tasks = Tasks::new("persist", failures);
    tasks.spawn("sealer", Arc::clone(lake).run_sealer(tasks.stopped()));
    if lake.commits_in_rounds() {
        tasks.spawn("committer", Arc::clone(lake).run_round_committer(tasks.stopped()));
    } else {
        for table in Table::ALL {
            tasks.spawn(committer_of(table), Arc::clone(lake).run_committer(table, tasks.stopped()));
        }
    }
    tasks.spawn("cleanup", Arc::clone(lake).run_cleanup(tasks.stopped()));
    tasks
}

/// A new folder over tables of an old one knows nobody, and would begin their persons anew.
async fn warn_of_others(lake: Arc<Lake>, mut stop: watch::Receiver<bool>) {
    while lake.views().current().head(Table::Persons).is_none() {
        if tokio::time::timeout(LOOK_EVERY, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
    let view = lake.views().current();
    let Some(head) = view.head(Table::Persons) else { return };
    let Some(id) = head.metadata.current_snapshot_id() else { return };
    let snapshots = head.snapshots();
    let rows = snapshots.iter().find(|one| one.id == id).and_then(|one| one.count("total-records")).unwrap_or(0);
    // What was committed meanwhile is of this folder: its positions count from 1.
    let own = read_watermark(&head.metadata, lake.views().writer(), Slot::Main);
    let own = own.ok().flatten().map_or(0, |watermark| watermark.position);
    let rows = rows.saturating_sub(own);
    if rows > 0 {
        tracing::error!(
            rows,
            "the table of persons has rows, but this folder knows nobody: stop, run hogflare state rebuild, and start \
             again; until then known people are taken for new ones"
        );
    }
}

fn committer_of(table: Table) -> &'static str {
    match table {
        Table::Events => "committer of events",
        Table::DeadLetter => "committer of dead_letter",
        Table::Persons => "committer of persons",
        Table::PersonOverrides => "committer of person_overrides",
        Table::Groups => "committer of groups",
    }
}

/// Waits for a signal or for the companion. A second signal ends the process at once.
async fn wait_for_end(companion: Option<oneshot::Receiver<()>>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let companion = async {
        match companion {
            Some(ended) => ended.await.is_ok(),
            None => false,
        }
    };
    let by_companion = async {
        if !companion.await {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = by_companion => return Ok(()),
    }
    tracing::info!("stopping: open requests are finished and rows committed; a second signal ends at once");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        eprintln!("hogflare: ended by a second signal; acknowledged events are in the log");
        std::process::exit(130);
    });
    Ok(())
}

/// One last try; the log keeps what it does not reach.
async fn commit_the_rest(lake: &Arc<Lake>) {
    match tokio::time::timeout(COMMIT_LIMIT, lake.finish()).await {
        Ok(Ok(())) if lake.is_settled() => tracing::info!("all rows are in their tables"),
        Ok(Ok(())) | Err(_) => tracing::warn!("some rows are not in their tables yet; the log keeps them"),
        Ok(Err(error)) => {
            tracing::error!(error = hogflare_catalog::error::chain(&error), "cannot seal; the log keeps the rows");
        }
    }
}

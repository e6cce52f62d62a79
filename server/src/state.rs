//! `hogflare state rebuild`: the state file made anew from the tables and the log.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use hogflare_catalog::{Slot, Table};
use hogflare_ingest::identity::Rebuild;
use hogflare_query::{Engine, QuerySettings};

use crate::config::Config;
use crate::serve;
use crate::telemetry;

/// Tables whose rows make the state.
const TABLES: [Table; 3] = [Table::Persons, Table::PersonOverrides, Table::Groups];

/// Opens the folder as `serve` does, without a state, reads every row about persons and groups, and puts
/// the file in its place.
pub(crate) fn rebuild(args: crate::cli::ServeArgs) -> Result<()> {
    let config = Config::new(args)?;
    telemetry::start_logs(&config)?;
    // Opening makes one, for tables that outlived their folder. Those of the embedded catalog do not.
    let identity = config.data_dir.join("hogflare.json");
    let is_there = identity.try_exists().with_context(|| format!("cannot look for {}", identity.display()))?;
    ensure!(
        is_there || config.catalog.remote().is_some(),
        "there is no data folder at {}: say which one with --data-dir",
        config.data_dir.display()
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(serve::QUERY_STACK_BYTES)
        .build()
        .context("cannot start the threads")?;
    let persons = runtime.block_on(run(&config))?;
    println!("{persons} persons are in {}", serve::state_path(&config.data_dir).display());
    Ok(())
}

async fn run(config: &Config) -> Result<u64> {
    let parts = serve::open_without_state(config)?;
    for table in TABLES {
        let opened = parts.lake.open_table(table).await;
        opened.map_err(|error| anyhow::anyhow!("cannot open the table {}: {error}", table.short_name()))?;
    }
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let spill = parts.folder.path.join("spill");
    let mut settings = QuerySettings::new(tokio::runtime::Handle::current(), spill, cores);
    settings.namespace = config.namespace.clone();
    settings.table_prefix = config.table_prefix.clone();
    let engine = Engine::new(settings, Arc::clone(&parts.views), Arc::clone(&parts.cache))
        .map_err(|error| anyhow::anyhow!("cannot start the query engine: {}", error.message))?;
    let path = serve::state_path(&parts.folder.path);
    let mut rebuild = Rebuild::begin(&path)?;
    for table in TABLES {
        let mut rows = 0;
        let read = engine.each_row(table, |batch| {
            rows += batch.num_rows();
            rebuild.put(table, batch).map_err(|error| error.to_string())
        });
        read.await.map_err(|error| anyhow::anyhow!("cannot read {}: {}", table.short_name(), error.message))?;
        println!("{rows} rows of {}", table.short_name());
    }
    let positions = parts.ingest.positions();
    let durable = Slot::ALL.map(|slot| Table::ALL.map(|table| positions.durable_position(slot, table)));
    Ok(rebuild.finish(&durable)?)
}

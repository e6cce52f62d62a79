//! DataFusion set up for reading our tables, and nothing else.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::config::Dialect;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use hogflare_catalog::Objects;

use super::unused_join::DropUnusedJoins;
use crate::gate::RECURSION_MAX;
use crate::scan::STORE_URL;
use crate::settings::QuerySettings;
use crate::tables::CATALOG;

/// How many of the largest users of memory an error names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// Functions that make a value of any size out of a small one. Their memory is outside of the pool, and
/// an allocation that fails ends the process, ingest included.
const UNBOUNDED_FUNCTIONS: [&str; 12] = [
    "repeat",
    "lpad",
    "rpad",
    "space",
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
    "range",
    "gen_series",
    "generate_series",
    "array_generate_series",
];

/// A session without tables. No file format, no table factory, no store but the tables' own.
pub(super) fn base(settings: &QuerySettings, objects: &Objects) -> Result<SessionState> {
    let mut state = SessionStateBuilder::new()
        .with_config(config(settings))
        .with_runtime_env(Arc::new(runtime(settings, objects)?))
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .with_scalar_functions(SessionStateDefaults::default_scalar_functions())
        .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .with_table_function_list(SessionStateDefaults::default_table_functions())
        .with_optimizer_rule(Arc::new(DropUnusedJoins))
        .build();
    datafusion_functions_json::register_all(&mut state)?;
    for name in UNBOUNDED_FUNCTIONS {
        state.deregister_udf(name)?;
    }
    Ok(state)
}

fn config(settings: &QuerySettings) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, CATALOG)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(settings.cores);
    let options = config.options_mut();
    // The default dialect takes `->` for a lambda and binds `->>` wrongly.
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.sql_parser.recursion_limit = RECURSION_MAX;
    // Text is Utf8 everywhere; the tail cannot be views.
    options.sql_parser.map_string_types_to_utf8view = false;
    // Pulls JSON functions through the views' projections, and then finds a column there twice.
    options.optimizer.enable_leaf_expression_pushdown = false;
    // Plans keep of a union's columns the metadata that all inputs share, execution keeps all of it; an
    // aggregate right above one would be refused for that.
    options.execution.skip_physical_aggregate_schema_check = true;
    let parquet = &mut options.execution.parquet;
    parquet.pushdown_filters = true;
    parquet.reorder_filters = true;
    parquet.enable_page_index = true;
    parquet.bloom_filter_on_read = true;
    parquet.pruning = true;
    parquet.schema_force_view_types = false;
    config
}

fn runtime(settings: &QuerySettings, objects: &Objects) -> Result<RuntimeEnv> {
    let pool = TrackConsumersPool::new(FairSpillPool::new(settings.memory_bytes_max), CONSUMERS_NAMED);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_temp_file_path(&settings.spill_folder)
        .with_max_temp_directory_size(settings.spill_bytes_max)
        .with_metadata_cache_limit(settings.footer_cache_bytes_max)
        .build()?;
    runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
    runtime.register_object_store(ObjectStoreUrl::parse(STORE_URL)?.as_ref(), Arc::clone(objects.store()));
    Ok(runtime)
}

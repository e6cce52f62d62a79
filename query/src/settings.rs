//! What the engine may use. Plain data: the server fills it from its configuration.

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Handle;

#[derive(Clone, Debug)]
pub struct QuerySettings {
    /// Runtime on which queries run, apart from the one that takes events.
    pub runtime: Handle,
    /// Iceberg namespace of the tables: the name of their schema, next to its alias `lake`.
    pub namespace: String,
    /// What the names of the tables begin with.
    pub table_prefix: String,
    /// Partitions of a scan, and thereby the cores that one query uses.
    pub cores: usize,
    /// Memory that operators of all running queries may hold together.
    pub memory_bytes_max: usize,
    /// Where operators spill; emptied by the server at start.
    pub spill_folder: PathBuf,
    pub spill_bytes_max: u64,
    /// Parquet footers and page indexes kept in memory.
    pub footer_cache_bytes_max: usize,
    /// Queries that run at a time.
    pub running_max: usize,
    /// Queries that wait for their turn.
    pub waiting_max: usize,
    /// How long a query waits for its turn.
    pub wait_max: Duration,
    /// Time limit of a query that does not ask for one.
    pub timeout: Duration,
    pub timeout_max: Duration,
    /// Rows of a JSON answer whose request does not say.
    pub json_rows: usize,
    pub json_rows_max: usize,
    /// Size of a JSON answer.
    pub json_bytes_max: usize,
    /// Size of an answer in one of the streaming formats.
    pub stream_bytes_max: u64,
    /// Positions that an audit holds at a time, one bit each.
    pub audit_positions: u64,
}

impl QuerySettings {
    /// The defaults, for a runtime, a folder to spill to and a number of cores.
    pub fn new(runtime: Handle, spill_folder: PathBuf, cores: usize) -> QuerySettings {
        QuerySettings {
            runtime,
            namespace: "default".to_owned(),
            table_prefix: "hogflare_".to_owned(),
            cores: cores.max(1),
            memory_bytes_max: 256 << 20,
            spill_folder,
            spill_bytes_max: 4 << 30,
            footer_cache_bytes_max: 64 << 20,
            running_max: (cores / 2).max(2),
            waiting_max: 32,
            wait_max: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            timeout_max: Duration::from_secs(600),
            json_rows: 10_000,
            json_rows_max: 100_000,
            json_bytes_max: 128 << 20,
            stream_bytes_max: 16 << 30,
            audit_positions: 1 << 28,
        }
    }
}

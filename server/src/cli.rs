//! Flags and environment. `--help` is the manual: each flag names its variable, unit and default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::catalog::args::CatalogArgs;

/// PostHog-compatible capture into Apache Iceberg tables, in one binary.
#[derive(Debug, Parser)]
#[command(name = "hogflare", version, subcommand_required = false, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take events and answer queries (the default)
    Serve(Box<ServeArgs>),
    /// Show it working: own folder, sample traffic of a small shop, lines to paste
    Demo(Box<DemoArgs>),
    /// Run one SQL statement on a running server and print the rows
    Sql(SqlArgs),
    /// Look after the state file of persons and groups
    #[command(subcommand)]
    State(StateCommand),
    /// Look after the catalog that rows go to
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Prove that no row is lost or doubled: exit status 0 if so, 1 if not, 2 if the server cannot be asked
    Audit(AuditArgs),
    /// Ask something of a running server, with an admin token
    Maintain(MaintainArgs),
    /// Print the effective settings, secrets masked
    Config(Box<ServeArgs>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Make the state file anew from the tables and the log, with the settings of `serve`; no server may run in the folder
    Rebuild(Box<ServeArgs>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Prove on the catalog itself, with a table of its own, that rows can get there exactly once
    Check(Box<CatalogCheckArgs>),
    /// Print what a month on R2 costs at some rates, from the counters of a running server
    Bill(ReaderArgs),
}

#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address for everything; port 0 takes a free one
    #[arg(long, env = "HOGFLARE_LISTEN", default_value = "127.0.0.1:4567", value_name = "ADDRESS:PORT")]
    pub(crate) listen: String,
    /// Second address that offers the SDK routes alone, for the open internet
    #[arg(long, env = "HOGFLARE_LISTEN_SDK", value_name = "ADDRESS:PORT")]
    pub(crate) listen_sdk: Option<String>,
    /// Address that offers /metrics without a token
    #[arg(long, env = "HOGFLARE_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) metrics_listen: Option<String>,
    /// Folder of the log, the embedded catalog and its tables
    #[arg(long, env = "HOGFLARE_DATA_DIR", default_value = "./hogflare-data", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// What a 200 survives: fsync = the process and a power cut; os = the process only
    #[arg(long, env = "HOGFLARE_DURABILITY", default_value = "fsync", value_parser = ["fsync", "os"])]
    pub(crate) durability: String,
    /// Iceberg namespace of the tables
    #[arg(long, env = "HOGFLARE_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// In front of every table's name
    #[arg(long, env = "HOGFLARE_TABLE_PREFIX", default_value = "hogflare_")]
    pub(crate) table_prefix: String,
    /// Age at which rows are committed to their table, such as 500ms, 10s, 1h; without it 10s, or 30s where
    /// tables are in a bucket or a remote catalog
    #[arg(long, env = "HOGFLARE_COMMIT_INTERVAL", value_name = "DURATION")]
    pub(crate) commit_interval: Option<String>,
    /// The same for rows of far days and historical imports
    #[arg(long, env = "HOGFLARE_LATE_COMMIT_INTERVAL", default_value = "5m", value_name = "DURATION")]
    pub(crate) late_commit_interval: String,
    /// Memory for rows that are not on disk as Parquet yet; above it 503
    #[arg(long, env = "HOGFLARE_TAIL_BYTES_MAX", default_value = "128MiB", value_name = "BYTES")]
    pub(crate) tail_bytes_max: String,
    /// Disk for rows that are not in their table yet; above it 503
    #[arg(long, env = "HOGFLARE_WAL_BYTES_MAX", default_value = "10GiB", value_name = "BYTES")]
    pub(crate) wal_bytes_max: String,
    /// Memory for requests in flight; one body may take a quarter
    #[arg(long, env = "HOGFLARE_REQUEST_BYTES_MAX", default_value = "128MiB", value_name = "BYTES")]
    pub(crate) request_bytes_max: String,
    /// Memory for persons and groups that were used lately; all others are read from the state file
    #[arg(long, env = "HOGFLARE_STATE_MEMORY_MAX", default_value = "128MiB", value_name = "BYTES")]
    pub(crate) state_memory_max: String,
    /// Tokens that read, as name:secret[:project,…], separated by ; or newline; with project tokens only the rows of
    /// these, in SQL alone. The one in <data-dir>/read-token reads everything
    #[arg(long, env = "HOGFLARE_READ_TOKENS", default_value = "", hide_env_values = true, hide_default_value = true)]
    pub(crate) read_tokens: String,
    /// Tokens that read and change tables at /iceberg, as name:secret, separated by ; or newline
    #[arg(long, env = "HOGFLARE_ADMIN_TOKENS", default_value = "", hide_env_values = true, hide_default_value = true)]
    pub(crate) admin_tokens: String,
    /// Answer reads without a token, to direct callers on this machine only
    #[arg(long, env = "HOGFLARE_OPEN_READS", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) open_reads: bool,
    /// Addresses of proxies whose X-Forwarded-For counts, separated by commas; no ranges
    #[arg(long, env = "HOGFLARE_TRUSTED_PROXIES", default_value = "", value_name = "ADDRESSES")]
    pub(crate) trusted_proxies: String,
    /// Every request comes through Cloudflare: believe CF-Connecting-IP, CF-IPCountry, CF-Ray and the location headers
    #[arg(long, env = "HOGFLARE_TRUST_CLOUDFLARE", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) trust_cloudflare: bool,
    /// Header in which a front names the number of the visitor's network, for cf_asn
    #[arg(long, env = "HOGFLARE_ASN_HEADER", value_name = "HEADER")]
    pub(crate) asn_header: Option<String>,
    /// Header in which a front names the organization of that network, for cf_as_organization
    #[arg(long, env = "HOGFLARE_AS_ORGANIZATION_HEADER", value_name = "HEADER")]
    pub(crate) as_organization_header: Option<String>,
    /// City or country database in MaxMind's format, for $geoip_*; read again when it changes
    #[arg(long, env = "HOGFLARE_GEOIP_DB", value_name = "FILE")]
    pub(crate) geoip_db: Option<PathBuf>,
    /// ASN database in MaxMind's format, for cf_asn and cf_as_organization; read again when it changes
    #[arg(long, env = "HOGFLARE_ASN_DB", value_name = "FILE")]
    pub(crate) asn_db: Option<PathBuf>,
    /// Projects whose events are taken: a file that is read again when it changes, or JSON that begins with [ or {.
    /// Without it every well-formed project token is one
    #[arg(long, env = "HOGFLARE_PROJECTS", value_name = "FILE", hide_env_values = true)]
    pub(crate) projects: Option<String>,
    /// Feature flags: a file that is read again when it changes, or JSON that begins with [ or {
    #[arg(long, env = "HOGFLARE_FEATURE_FLAGS", value_name = "FILE", hide_env_values = true)]
    pub(crate) feature_flags: Option<String>,
    /// Keys with which SDKs on servers fetch definitions of flags, as name:secret[:project,…]; the secret is the phs_…
    /// or phx_… that they are given
    #[arg(long, env = "HOGFLARE_FLAG_KEYS", default_value = "", hide_env_values = true, hide_default_value = true)]
    pub(crate) flag_keys: String,
    /// Opens /__debug/person/<distinct id> to requests with this in the header x-hogflare-debug-token
    #[arg(long, env = "PERSON_DEBUG_TOKEN", hide_env_values = true)]
    pub(crate) person_debug_token: Option<String>,
    /// Fills the column team_id
    #[arg(long, env = "POSTHOG_TEAM_ID", value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) team_id: Option<i64>,
    /// Group type of the column group0
    #[arg(long, env = "POSTHOG_GROUP_TYPE_0", value_name = "TYPE")]
    pub(crate) group_type_0: Option<String>,
    /// Group type of the column group1
    #[arg(long, env = "POSTHOG_GROUP_TYPE_1", value_name = "TYPE")]
    pub(crate) group_type_1: Option<String>,
    /// Group type of the column group2
    #[arg(long, env = "POSTHOG_GROUP_TYPE_2", value_name = "TYPE")]
    pub(crate) group_type_2: Option<String>,
    /// Group type of the column group3
    #[arg(long, env = "POSTHOG_GROUP_TYPE_3", value_name = "TYPE")]
    pub(crate) group_type_3: Option<String>,
    /// Group type of the column group4
    #[arg(long, env = "POSTHOG_GROUP_TYPE_4", value_name = "TYPE")]
    pub(crate) group_type_4: Option<String>,
    /// POSTs of SDKs must be signed with this, and GET capture is refused (browsers cannot sign)
    #[arg(long, env = "POSTHOG_SIGNING_SECRET", hide_env_values = true)]
    pub(crate) signing_secret: Option<String>,
    /// Token that /decide answers when the request has none
    #[arg(long, env = "POSTHOG_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// What is logged: error, warn, info, debug, or per module such as info,hogflare_query=debug
    #[arg(long, env = "HOGFLARE_LOG", default_value = "info", value_name = "LEVELS")]
    pub(crate) log: String,
    /// text or json
    #[arg(long, env = "HOGFLARE_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub(crate) log_format: String,
    /// For tests that kill the process: step:milliseconds, separated by commas
    #[arg(long, env = "HOGFLARE_TEST_STALL", default_value = "", hide = true)]
    pub(crate) test_stall: String,
    // Last: the headings that they bring are those of all behind them.
    #[command(flatten)]
    pub(crate) browsers: BrowserArgs,
    #[command(flatten)]
    pub(crate) catalog: CatalogArgs,
}

/// The remote configuration. An application that sets the same in its own code wins.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "What SDKs capture by themselves, if the application does not say")]
pub(crate) struct BrowserArgs {
    /// Clicks, changes and submissions, as $autocapture
    #[arg(long, env = "HOGFLARE_AUTOCAPTURE", default_value = "on", value_name = "SWITCH")]
    pub(crate) autocapture: Switch,
    /// Positions of clicks and of the mouse, as $$heatmap
    #[arg(long, env = "HOGFLARE_HEATMAPS", default_value = "off", value_name = "SWITCH")]
    pub(crate) heatmaps: Switch,
    /// Clicks that change nothing, as $dead_click
    #[arg(long, env = "HOGFLARE_DEAD_CLICKS", default_value = "off", value_name = "SWITCH")]
    pub(crate) dead_clicks: Switch,
    /// Loading and layout times, as $web_vitals
    #[arg(long, env = "HOGFLARE_WEB_VITALS", default_value = "off", value_name = "SWITCH")]
    pub(crate) web_vitals: Switch,
    /// Errors that nobody caught, as $exception
    #[arg(long, env = "HOGFLARE_EXCEPTIONS", default_value = "off", value_name = "SWITCH")]
    pub(crate) exceptions: Switch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    #[value(aliases = ["true", "yes", "1"])]
    On,
    #[value(aliases = ["false", "no", "0"])]
    Off,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CatalogCheckArgs {
    /// Namespace in which the table of the check is created
    #[arg(long, env = "HOGFLARE_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) catalog: CatalogArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Address to serve on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:4567", value_name = "ADDRESS:PORT")]
    pub(crate) listen: String,
    /// Folder of the demo; a second run reuses it
    #[arg(long, default_value = "./hogflare-demo", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// Roughly how many events to send
    #[arg(long, default_value_t = 20_000)]
    pub(crate) events: usize,
    /// End after the lines are printed, instead of serving
    #[arg(long)]
    pub(crate) exit: bool,
}

/// Which running server a command reads from.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReaderArgs {
    /// Server to ask
    #[arg(long, env = "HOGFLARE_URL", default_value = "http://127.0.0.1:4567")]
    pub(crate) url: String,
    /// Read token; without one, the data folder's own is used
    #[arg(long, env = "HOGFLARE_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Data folder whose read-token is used
    #[arg(long, env = "HOGFLARE_DATA_DIR", default_value = "./hogflare-data", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SqlArgs {
    /// One SQL statement, in PostgreSQL's dialect
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) server: ReaderArgs,
    /// table, json, ndjson or csv
    #[arg(long, default_value = "table", value_parser = ["table", "json", "ndjson", "csv"])]
    pub(crate) format: String,
    /// Read all tables as they were at this time (RFC 3339, or a date for its midnight in UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) as_of: Option<String>,
    /// Read a table at a snapshot, a tag or a branch; may be repeated
    #[arg(long = "snapshot", value_name = "TABLE:SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    pub(crate) server: ReaderArgs,
    /// Print the whole report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MaintainArgs {
    #[command(subcommand)]
    pub(crate) what: Maintenance,
    /// Server to ask
    #[arg(long, env = "HOGFLARE_URL", default_value = "http://127.0.0.1:4567", global = true)]
    pub(crate) url: String,
    /// Secret of an admin token; without one, the first of HOGFLARE_ADMIN_TOKENS is used
    #[arg(long, env = "HOGFLARE_TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
    /// The server's own, as name:secret
    #[arg(long, env = "HOGFLARE_ADMIN_TOKENS", default_value = "", hide = true, global = true)]
    pub(crate) admin_tokens: String,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Maintenance {
    /// Leave a table alone for a while, so that others can commit to it; its rows wait in the log
    Pause {
        /// Table to leave alone, such as events
        table: String,
        /// How long, up to 1h, such as 30s, 10m
        #[arg(long = "for", default_value = "10m", value_name = "DURATION")]
        wait: String,
    },
    /// Commit to a table again
    Resume {
        /// Table that was paused
        table: String,
    },
}

/// Reads the command line over the environment over `.env.local` over `.env`.
pub(crate) fn parse() -> Result<Parsed, clap::Error> {
    let files = env_files();
    let mut command = with_defaults(Cli::command(), &files);
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let cli = Cli::from_arg_matches(&matches)?;
    let command = cli.command.unwrap_or(Command::Serve(Box::new(cli.serve)));
    Ok(Parsed { command })
}

/// Values of the files become defaults, so that flags and the environment win.
fn with_defaults(command: clap::Command, files: &BTreeMap<String, String>) -> clap::Command {
    let from_files = |arg: clap::Arg| {
        let name = arg.get_env().map(|name| name.to_string_lossy().into_owned());
        let mut value = name.as_ref().and_then(|name| files.get(name)).cloned();
        if name.as_deref() == Some("HOGFLARE_LISTEN") && value.is_none() {
            value = std::env::var("APP_ADDR").ok().or_else(|| files.get("APP_ADDR").cloned());
        }
        match value {
            Some(value) => arg.default_value(value),
            None => arg,
        }
    };
    let mutate =
        |subcommand: clap::Command| subcommand.mut_args(from_files).mut_subcommands(|inner| inner.mut_args(from_files));
    command.mut_args(from_files).mut_subcommands(mutate)
}

/// `NAME=value` lines of `.env.local` and `.env` in the working folder; the first wins.
pub(crate) fn env_files() -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for file in [".env.local", ".env"] {
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.trim_start_matches("export ").split_once('=') else { continue };
            let value = value.trim();
            let quoted = value.len() >= 2
                && (value.starts_with('"') && value.ends_with('"') || value.starts_with('\'') && value.ends_with('\''));
            let value = if quoted { &value[1..value.len() - 1] } else { value };
            values.entry(name.trim().to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    values
}

/// Names of the environment variables that mean something.
pub(crate) fn known_variables() -> Vec<String> {
    let command = Cli::command();
    let inner = command.get_subcommands().flat_map(clap::Command::get_subcommands);
    let commands = command.get_subcommands().chain(inner);
    let args = command.get_arguments().chain(commands.flat_map(clap::Command::get_arguments));
    args.filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned())).collect()
}

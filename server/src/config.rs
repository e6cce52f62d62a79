//! Settings with their units checked, and warnings about those that mean nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hogflare_ingest::SharedProjects;
use hogflare_ingest::disk::Durability;
use hogflare_ingest::enrich::{EnrichSettings, GeoPaths};
use hogflare_ingest::normalize::NormalizeSettings;
use hogflare_ingest::protocol::remote_config::RemoteConfig;

use crate::catalog::CatalogConfig;
use crate::cli::{self, BrowserArgs, ServeArgs, Switch};
use crate::flags::{self, SharedFlags};
use crate::projects::{self, TypeNames};
use crate::tokens::{self, NamedToken};
use crate::watched::{self, Watched};

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: String,
    pub(crate) listen_sdk: Option<String>,
    pub(crate) metrics_listen: Option<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) namespace: String,
    pub(crate) table_prefix: String,
    pub(crate) catalog: CatalogConfig,
    pub(crate) commit_interval: Duration,
    pub(crate) late_commit_interval: Duration,
    pub(crate) tail_bytes_max: u64,
    pub(crate) wal_bytes_max: u64,
    pub(crate) request_bytes_max: u64,
    pub(crate) state_memory_max: u64,
    pub(crate) read_tokens: Vec<NamedToken>,
    pub(crate) admin_tokens: Vec<NamedToken>,
    pub(crate) open_reads: bool,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) enrich: EnrichSettings,
    pub(crate) geo_paths: GeoPaths,
    pub(crate) normalize: NormalizeSettings,
    /// Where the projects of [`Config::normalize`] stand, if in a file.
    pub(crate) projects_file: Option<Watched>,
    pub(crate) flags: SharedFlags,
    /// Where these stand, if in a file.
    pub(crate) flags_file: Option<Watched>,
    /// Keys with which SDKs ask for definitions of flags.
    pub(crate) flag_keys: Vec<NamedToken>,
    pub(crate) debug_token: Option<String>,
    pub(crate) signing_secret: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) remote_config: RemoteConfig,
    pub(crate) log: String,
    pub(crate) log_json: bool,
    pub(crate) stalls: Vec<(String, Duration)>,
}

impl Config {
    pub(crate) fn new(args: ServeArgs) -> Result<Config> {
        let group_types = group_types(&args)?;
        let trusted_proxies = addresses(&args.trusted_proxies)?;
        let is_served = !trusted_proxies.is_empty() || args.trust_cloudflare || args.listen_sdk.is_some();
        if args.open_reads && is_served {
            bail!(
                "--open-reads is for one's own machine: it cannot be combined with --trusted-proxies, \
                 --trust-cloudflare or --listen-sdk; use a read token"
            );
        }
        let enrich = EnrichSettings {
            trust_cloudflare: args.trust_cloudflare,
            asn_header: header_name(args.asn_header, "--asn-header", args.trust_cloudflare)?,
            as_organization_header: header_name(
                args.as_organization_header,
                "--as-organization-header",
                args.trust_cloudflare,
            )?,
        };
        let given = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        let geo_paths = GeoPaths { geoip: given(args.geoip_db), asn: given(args.asn_db) };
        let catalog = CatalogConfig::new(args.catalog)?;
        let commit_interval = match &args.commit_interval {
            Some(text) => duration(text).context("--commit-interval")?,
            None => catalog.commit_interval(),
        };
        let read_tokens = tokens::parse_read(&args.read_tokens).context("HOGFLARE_READ_TOKENS")?;
        let admin_tokens = tokens::parse_admin(&args.admin_tokens).context("HOGFLARE_ADMIN_TOKENS")?;
        tokens::check_secrets(&read_tokens.iter().chain(&admin_tokens).collect::<Vec<_>>())?;
        let (projects, projects_file) = projects::read(args.projects.as_deref()).context("--projects")?;
        let projects = SharedProjects::new(projects);
        let (flags, flags_file) = watched::read(args.feature_flags.as_deref(), "the feature flags", flags::parse)
            .context("--feature-flags")?;
        let flag_keys = tokens::parse_read(&args.flag_keys).context("HOGFLARE_FLAG_KEYS")?;
        Ok(Config {
            listen: args.listen,
            listen_sdk: args.listen_sdk,
            metrics_listen: args.metrics_listen,
            data_dir: args.data_dir,
            durability: if args.durability == "os" { Durability::Os } else { Durability::Fsync },
            namespace: namespace(args.namespace)?,
            table_prefix: name(args.table_prefix, "--table-prefix")?,
            catalog,
            commit_interval,
            late_commit_interval: duration(&args.late_commit_interval).context("--late-commit-interval")?,
            tail_bytes_max: at_least(8 << 20, &args.tail_bytes_max).context("--tail-bytes-max")?,
            wal_bytes_max: at_least(256 << 20, &args.wal_bytes_max).context("--wal-bytes-max")?,
            request_bytes_max: at_least(8 << 20, &args.request_bytes_max).context("--request-bytes-max")?,
            state_memory_max: at_least(8 << 20, &args.state_memory_max).context("--state-memory-max")?,
            read_tokens,
            admin_tokens,
            open_reads: args.open_reads,
            trusted_proxies,
            enrich,
            geo_paths,
            normalize: NormalizeSettings {
                team_id: args.team_id,
                group_types: Arc::new(group_types),
                projects,
                ..NormalizeSettings::default()
            },
            projects_file,
            flags: SharedFlags::new(flags.unwrap_or_default()),
            flags_file,
            flag_keys,
            debug_token: args.person_debug_token.filter(|token| !token.is_empty()),
            signing_secret: args.signing_secret.filter(|secret| !secret.is_empty()),
            api_key: args.api_key,
            remote_config: remote_config(&args.browsers),
            log: args.log,
            log_json: args.log_format == "json",
            stalls: stalls(&args.test_stall)?,
        })
    }

    /// The demo's, whatever the environment says.
    pub(crate) fn of_demo(listen: &str, data_dir: &std::path::Path) -> Config {
        Config {
            listen: listen.to_owned(),
            listen_sdk: None,
            metrics_listen: None,
            data_dir: data_dir.to_owned(),
            durability: Durability::Fsync,
            namespace: "default".to_owned(),
            table_prefix: "hogflare_".to_owned(),
            catalog: CatalogConfig::default(),
            commit_interval: Duration::from_secs(10),
            late_commit_interval: Duration::from_secs(300),
            tail_bytes_max: 128 << 20,
            wal_bytes_max: 10 << 30,
            request_bytes_max: 128 << 20,
            state_memory_max: 128 << 20,
            read_tokens: Vec::new(),
            admin_tokens: Vec::new(),
            open_reads: true,
            trusted_proxies: Vec::new(),
            enrich: EnrichSettings::default(),
            geo_paths: GeoPaths::default(),
            normalize: NormalizeSettings::default(),
            projects_file: None,
            flags: SharedFlags::default(),
            flags_file: None,
            flag_keys: Vec::new(),
            debug_token: None,
            signing_secret: None,
            api_key: None,
            remote_config: RemoteConfig::default(),
            log: "warn".to_owned(),
            log_json: false,
            stalls: Vec::new(),
        }
    }

    pub(crate) fn stall(&self, step: &str) -> Duration {
        self.stalls.iter().find(|(name, _)| name == step).map_or(Duration::ZERO, |(_, wait)| *wait)
    }
}

/// Names of group types by column; an empty one is none.
fn group_types(args: &ServeArgs) -> Result<TypeNames> {
    let sent = [&args.group_type_0, &args.group_type_1, &args.group_type_2, &args.group_type_3, &args.group_type_4];
    let names = sent.map(|name| name.as_deref().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    for (slot, name) in names.iter().enumerate() {
        if let Some(before) = names[..slot].iter().position(|other| name.is_some() && other == name) {
            let name = name.as_deref().unwrap_or_default();
            bail!("POSTHOG_GROUP_TYPE_{before} and POSTHOG_GROUP_TYPE_{slot} are both {name:?}: a type has one column");
        }
    }
    Ok(names)
}

fn remote_config(args: &BrowserArgs) -> RemoteConfig {
    RemoteConfig {
        autocapture: args.autocapture == Switch::On,
        heatmaps: args.heatmaps == Switch::On,
        dead_clicks: args.dead_clicks == Switch::On,
        web_vitals: args.web_vitals == Switch::On,
        exceptions: args.exceptions == Switch::On,
        has_feature_flags: false,
    }
}

fn name(text: String, flag: &str) -> Result<String> {
    let plain = text.chars().all(|char| char.is_ascii_alphanumeric() || char == '_' || char == '-');
    if text.is_empty() || !plain {
        bail!("{flag}: {text:?} must be letters, digits, _ or -");
    }
    Ok(text)
}

pub(crate) fn namespace(text: String) -> Result<String> {
    if ["lake", "hogflare", "information_schema"].contains(&text.as_str()) {
        bail!("--namespace: {text:?} is the name of a schema of ours in SQL; choose another");
    }
    name(text, "--namespace")
}

fn at_least(least: u64, text: &str) -> Result<u64> {
    let wanted = bytes(text)?;
    if wanted < least {
        bail!("{text} is too little to work with; the least is {} MiB", least >> 20);
    }
    Ok(wanted)
}

/// A number with a unit: `500ms`, `10s`, `5m`, `1h`, `2d`.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let text = text.trim();
    let split = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "" => bail!("{text:?} has no unit; write for example {text}s"),
        _ => bail!("{text:?}: unknown unit {unit:?}; use ms, s, m, h or d"),
    };
    let number: f64 = number.parse().with_context(|| format!("{text:?} is no duration; write for example 10s"))?;
    Ok(Duration::try_from_secs_f64(number * seconds)?)
}

/// A number with a unit: `64MiB`, `10GiB`, `1000000` (bytes).
pub(crate) fn bytes(text: &str) -> Result<u64> {
    let text = text.trim();
    let split = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" | "k" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        unit => bail!("{text:?}: unknown unit {unit:?}; use KiB, MiB or GiB"),
    };
    let number: u64 = number.parse().with_context(|| format!("{text:?} is no size; write for example 128MiB"))?;
    number.checked_mul(factor).with_context(|| format!("{text:?} is too large"))
}

/// The name of a header, in lower case; an empty one is none.
fn header_name(name: Option<String>, flag: &str, trust_cloudflare: bool) -> Result<Option<String>> {
    let Some(name) = name.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        bail!("{flag}: {name:?} is no name of a header; use letters, digits, - and _");
    }
    if name.starts_with("cf-") && !trust_cloudflare {
        bail!("{flag}: {name} looks like a header of Cloudflare, whose headers count with --trust-cloudflare only");
    }
    Ok(Some(name))
}

fn addresses(text: &str) -> Result<Vec<IpAddr>> {
    let parse = |part: &str| part.parse().with_context(|| format!("--trusted-proxies: {part:?} is no IP address"));
    text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty()).map(parse).collect()
}

fn stalls(text: &str) -> Result<Vec<(String, Duration)>> {
    let entries = text.split(',').filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let (step, wait) = entry.split_once(':').context("HOGFLARE_TEST_STALL: step:milliseconds")?;
            Ok((step.to_owned(), Duration::from_millis(wait.parse()?)))
        })
        .collect()
}

/// Variables that look like ours and mean nothing, each with what to do.
pub(crate) fn warnings() -> Vec<String> {
    let known = cli::known_variables();
    let mut names: BTreeMap<String, ()> = cli::env_files().into_keys().map(|name| (name, ())).collect();
    names.extend(std::env::vars_os().filter_map(|(name, _)| Some((name.into_string().ok()?, ()))));
    names.into_keys().filter_map(|name| warning(&name, &known)).collect()
}

fn warning(name: &str, known: &[String]) -> Option<String> {
    if known.iter().any(|other| other == name) || name == "HOGFLARE_KILL_ROUNDS" {
        return None;
    }
    match name {
        "POSTHOG_SESSION_RECORDING_ENDPOINT" => {
            Some(format!("{name} is set, but this release has no recordings yet; the setting is ignored"))
        }
        "MMDB_FILE_LOCATION" => {
            Some(format!("{name} is PostHog's own; hogflare reads the database that HOGFLARE_GEOIP_DB names"))
        }
        _ if name.starts_with("CLOUDFLARE_PIPELINE_") => {
            Some(format!("{name} is retired: hogflare writes the Iceberg tables itself; see docs/deployment"))
        }
        _ if name.starts_with("HOGFLARE_REPLAY_") => Some(format!("{name} is retired and ignored")),
        _ if name.starts_with("HOGFLARE_TEST_") => None,
        _ if name.starts_with("HOGFLARE_") => {
            let nearest = known.iter().min_by_key(|other| distance(name, other))?;
            Some(format!("{name} is unknown and ignored; did you mean {nearest}?"))
        }
        _ => None,
    }
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, char) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(char != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// The subcommand `config`.
pub(crate) fn print(args: ServeArgs) -> Result<()> {
    let config = Config::new(args)?;
    let masked = |secret: &Option<String>| if secret.is_some() { "(set)" } else { "(not set)" };
    let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
    let names = |tokens: &[NamedToken]| tokens.iter().map(NamedToken::describe).collect::<Vec<_>>().join(", ");
    let durability = match config.durability {
        Durability::Fsync => "fsync: a 200 survives the process and a power cut",
        Durability::Os => "os: a 200 survives the process, not a power cut",
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let group_types: Vec<&str> = config.normalize.group_types.iter().flatten().map(String::as_str).collect();
    let mut lines = vec![
        ("listen", config.listen.clone()),
        ("listen-sdk", config.listen_sdk.clone().unwrap_or_default()),
        ("metrics-listen", config.metrics_listen.clone().unwrap_or_default()),
        ("data-dir", std::path::absolute(&config.data_dir)?.display().to_string()),
        ("durability", durability.to_owned()),
        ("namespace", config.namespace.clone()),
        ("table-prefix", config.table_prefix.clone()),
        ("catalog", config.catalog.describe()),
        ("catalog-login", config.catalog.login().to_owned()),
        ("s3-endpoint", config.catalog.storage.s3.endpoint.clone().unwrap_or_default()),
        ("s3-region", config.catalog.storage.s3.region.clone().unwrap_or_default()),
        ("s3-keys", masked(&config.catalog.storage.s3.access_key_id).to_owned()),
        ("commit-interval", format!("{:?}", config.commit_interval)),
        ("late-commit-interval", format!("{:?}", config.late_commit_interval)),
        ("tail-bytes-max", config.tail_bytes_max.to_string()),
        ("wal-bytes-max", config.wal_bytes_max.to_string()),
        ("request-bytes-max", config.request_bytes_max.to_string()),
        ("state-memory-max", config.state_memory_max.to_string()),
        (
            "feature-flags",
            config.flags_file.as_ref().map_or_else(String::new, |file| file.path().display().to_string()),
        ),
        ("flag-keys", names(&config.flag_keys)),
        ("read-tokens", names(&config.read_tokens)),
        ("admin-tokens", names(&config.admin_tokens)),
        ("open-reads", config.open_reads.to_string()),
        ("trusted-proxies", config.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        ("trust-cloudflare", config.enrich.trust_cloudflare.to_string()),
        ("asn-header", config.enrich.asn_header.clone().unwrap_or_default()),
        ("as-organization-header", config.enrich.as_organization_header.clone().unwrap_or_default()),
        ("geoip-db", path(&config.geo_paths.geoip)),
        ("asn-db", path(&config.geo_paths.asn)),
        ("team-id", config.normalize.team_id.map(|id| id.to_string()).unwrap_or_default()),
        ("group-types", group_types.join(", ")),
        ("person-debug-token", masked(&config.debug_token).to_owned()),
        ("signing-secret", masked(&config.signing_secret).to_owned()),
        ("api-key", masked(&config.api_key).to_owned()),
        ("autocapture", switch(config.remote_config.autocapture)),
        ("heatmaps", switch(config.remote_config.heatmaps)),
        ("dead-clicks", switch(config.remote_config.dead_clicks)),
        ("web-vitals", switch(config.remote_config.web_vitals)),
        ("exceptions", switch(config.remote_config.exceptions)),
        ("log", config.log.clone()),
        ("log-format", if config.log_json { "json" } else { "text" }.to_owned()),
    ];
    lines.extend(projects::lines(&config.normalize.projects.load(), config.projects_file.as_ref()));
    let mut out = std::io::stdout().lock();
    for (name, value) in lines {
        // A reader that has seen enough closes the pipe.
        if writeln!(out, "{name:<22} {value}").is_err() {
            return Ok(());
        }
    }
    for warning in warnings().into_iter().chain(config.flags.warnings()) {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, expected) in [
            ("10s", Some(10_000)),
            ("500ms", Some(500)),
            ("1.5m", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("10", None),
            ("10 parsecs", None),
            ("", None),
            ("s", None),
        ] {
            assert_eq!(duration(text).ok().map(|duration| duration.as_millis()), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in
            [("1", Some(1)), ("2KiB", Some(2048)), ("3 MiB", Some(3 << 20)), ("x", None), ("1XB", None)]
        {
            assert_eq!(bytes(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn unknown_variables_get_a_suggestion() {
        let known = vec!["HOGFLARE_LISTEN".to_owned(), "HOGFLARE_DATA_DIR".to_owned()];
        assert!(warning("HOGFLARE_DATADIR", &known).expect("a warning").contains("HOGFLARE_DATA_DIR"));
        assert_eq!(warning("HOGFLARE_LISTEN", &known), None);
        assert_eq!(warning("PATH", &known), None);
        assert!(warning("CLOUDFLARE_PIPELINE_URL", &known).is_some());
    }

    #[test]
    fn headers_have_names() {
        for (name, trusts, expected) in [
            (Some(" X-ASN "), false, Ok(Some("x-asn"))),
            (Some("CF-ASN"), true, Ok(Some("cf-asn"))),
            (Some("CF-ASN"), false, Err("--trust-cloudflare")),
            (Some("x asn"), false, Err("no name of a header")),
            (Some(""), false, Ok(None)),
            (None, false, Ok(None)),
        ] {
            match (header_name(name.map(str::to_owned), "--asn-header", trusts), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (found, expected) => panic!("{name:?}: {found:?}, not {expected:?}"),
            }
        }
    }
}

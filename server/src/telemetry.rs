//! Logs and metrics of the process.

use anyhow::{Context, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// Duration of a request by route, in seconds.
pub(crate) const REQUEST_SECONDS: &str = "hogflare_http_request_duration_seconds";
/// Answers by route and status.
pub(crate) const REQUESTS: &str = "hogflare_http_requests_total";
/// OpenTelemetry requests, which are answered and not stored, by signal.
pub(crate) const OTLP_REQUESTS: &str = "hogflare_otlp_requests_total";

/// Upper bounds in seconds: from a group commit's share of a sync to a slow query.
const SECONDS_BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// One line per event of note, to standard error.
pub(crate) fn start_logs(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log).with_context(|| format!("--log {:?}", config.log))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let builder = builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = if config.log_json { builder.json().try_init() } else { builder.compact().try_init() };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

pub(crate) fn start_metrics() -> Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &SECONDS_BUCKETS)?
        .install_recorder()
        .context("cannot start metrics")?;
    hogflare_ingest::telemetry::describe();
    Ok(recorder)
}

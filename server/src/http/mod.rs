//! The routes. Status codes and headers are known here and nowhere else.

mod access;
mod assets;
mod audit;
mod body;
mod conditional;
mod cors;
mod debug;
mod definitions;
mod empty;
mod facts;
mod flags;
mod iceberg;
mod maintain;
mod ops;
mod otlp;
mod remote_config;
mod sdk;
mod sql;
mod v1;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hogflare_catalog::Lake;
use hogflare_catalog::embedded::EmbeddedCatalog;
use hogflare_ingest::Ingest;
use hogflare_ingest::cookieless::Salts;
use hogflare_ingest::dead_letters::DeadLetterRate;
use hogflare_ingest::enrich::{EnrichSettings, GeoFiles};
use hogflare_ingest::normalize::NormalizeSettings;
use hogflare_ingest::protocol::DecodeLimits;
use hogflare_ingest::protocol::remote_config::RemoteConfig;
use hogflare_query::Engine;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use assets::warning as assets_warning;

use crate::config::Config;
use crate::flags::SharedFlags;
use crate::tasks::Failures;
use crate::tokens::Tokens;

const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What the routes work with.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    pub(crate) failures: Failures,
    pub(crate) edge: Arc<Edge>,
    pub(crate) ingest: Ingest,
    pub(crate) lake: Arc<Lake>,
    /// None if rows go to a remote catalog, which serves other engines itself.
    pub(crate) catalog: Option<Arc<EmbeddedCatalog>>,
    pub(crate) engine: Arc<Engine>,
}

/// Settings and tokens of the edge itself.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) tokens: Tokens,
    pub(crate) open_reads: bool,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) signing_secret: Option<String>,
    /// Token that `/decide` answers when the request has none.
    pub(crate) api_key: Option<String>,
    remote_config: RemoteConfig,
    pub(crate) flags: SharedFlags,
    /// Keys with which SDKs fetch definitions of flags.
    pub(crate) flag_keys: Tokens,
    /// Opens `/__debug`.
    pub(crate) debug_token: Option<String>,
    pub(crate) normalize: NormalizeSettings,
    pub(crate) enrich: EnrichSettings,
    pub(crate) geo: Arc<GeoFiles>,
    pub(crate) decode: DecodeLimits,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) dead_letters: DeadLetterRate,
}

impl Edge {
    pub(crate) fn new(
        config: &Config,
        tokens: Tokens,
        metrics: PrometheusHandle,
        geo: Arc<GeoFiles>,
        cookieless_salts: Arc<Salts>,
    ) -> Edge {
        let quarter = usize::try_from(config.request_bytes_max / 4).unwrap_or(usize::MAX);
        let decode = DecodeLimits::default();
        let decode = DecodeLimits { decoded_bytes_max: decode.decoded_bytes_max.min(quarter), ..decode };
        Edge {
            tokens,
            open_reads: config.open_reads,
            trusted_proxies: config.trusted_proxies.clone(),
            signing_secret: config.signing_secret.clone(),
            api_key: config.api_key.clone(),
            remote_config: config.remote_config,
            flags: config.flags.clone(),
            flag_keys: Tokens::new(&config.flag_keys, &[]),
            debug_token: config.debug_token.clone(),
            normalize: NormalizeSettings { cookieless_salts, ..config.normalize.clone() },
            enrich: config.enrich.clone(),
            geo,
            decode,
            metrics,
            dead_letters: DeadLetterRate::default(),
        }
    }
}

impl Edge {
    /// What SDKs of a project capture, and whether they need ask for flags.
    pub(super) fn remote_config_of(&self, project: &str) -> RemoteConfig {
        RemoteConfig { has_feature_flags: self.flags.of(project).has_flags(), ..self.remote_config }
    }
}

/// Everything.
pub(crate) fn router(services: &Services) -> Router {
    sdk_routes(services)
        .merge(sql::routes(services))
        .merge(audit::routes(services))
        .merge(iceberg::routes(services))
        .merge(maintain::routes(services))
        .merge(debug::event_routes(services))
        .merge(ops::alive_routes())
        .merge(ops::ready_routes(services))
        .merge(ops::metrics_with_token(services))
        .layer(CatchPanicLayer::new())
}

/// What SDKs call, and health.
pub(crate) fn sdk_router(services: &Services) -> Router {
    sdk_routes(services).merge(ops::alive_routes()).layer(CatchPanicLayer::new())
}

pub(crate) fn metrics_router(services: &Services) -> Router {
    ops::metrics_open(services).layer(CatchPanicLayer::new())
}

fn sdk_routes(services: &Services) -> Router {
    sdk::routes(services)
        .merge(v1::routes(services))
        .merge(otlp::routes(services))
        .merge(flags::routes(services))
        .merge(definitions::routes(services))
        .merge(debug::person_routes(services))
        .merge(remote_config::routes(services))
        .merge(assets::routes(services))
        .merge(empty::routes())
}

/// Serves until told to stop, then finishes open requests.
pub(crate) async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    use axum::serve::ListenerExt;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

/// Keeps histograms small between scrapes.
pub(crate) async fn metrics_upkeep(metrics: PrometheusHandle, mut stop: watch::Receiver<bool>) {
    while tokio::time::timeout(UPKEEP_EVERY, stop.wait_for(|stop| *stop)).await.is_err() {
        metrics.run_upkeep();
    }
}

//! Credentials that a catalog vends: kept by location prefix, renewed before they end.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use object_store::azure::AzureCredential;
use object_store::gcp::GcpCredential;
use parking_lot::RwLock;

use crate::clock::{Clock, SystemClock};

/// Credentials are renewed this long before they end, or for the last fifth of a shorter life.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// After a renewal failed, keys that still hold are used for so long before the next try.
const RETRY_AFTER_MS: i64 = 5_000;
/// Credentials that state no end are asked for again at this age.
const UNSTATED_LIFE: Duration = Duration::from_secs(3600);

/// What a catalog says about the files below a prefix (Iceberg REST specification, `storage-credentials`
/// and the keys of `config`).
#[derive(Clone)]
pub struct StorageCredential {
    pub prefix: String,
    pub config: HashMap<String, String>,
}

// Values are secrets.
impl fmt::Debug for StorageCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageCredential").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Whoever gives newer credentials.
#[async_trait]
pub trait CredentialSource: fmt::Debug + Send + Sync {
    async fn credentials(&self) -> Result<Vec<StorageCredential>, String>;
}

/// The credentials of one prefix.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) prefix: String,
    source: Arc<dyn CredentialSource>,
    known: RwLock<Known>,
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Known {
    config: Arc<Secrets>,
    generation: u64,
    renew_at_ms: i64,
    /// If stated.
    ends_at_ms: Option<i64>,
}

struct Secrets(HashMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Scope {
    pub(super) fn new(credential: StorageCredential, source: Arc<dyn CredentialSource>) -> Scope {
        let known = Known::new(credential.config, 1);
        Scope { prefix: credential.prefix, source, known: RwLock::new(known), renewing: tokio::sync::Mutex::new(()) }
    }

    /// Takes what an answer of the catalog brought along.
    pub(super) fn replace(&self, config: HashMap<String, String>) {
        let mut known = self.known.write();
        *known = Known::new(config, known.generation + 1);
    }

    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.known.read().config.0.get(key).cloned()
    }

    pub(super) fn generation(&self) -> u64 {
        self.known.read().generation
    }

    /// Renews unless somebody else did since `seen`: many requests that meet the end at once ask once.
    pub(super) async fn renew(&self, seen: u64) -> object_store::Result<()> {
        let _one_at_a_time = self.renewing.lock().await;
        if self.generation() > seen {
            return Ok(());
        }
        let failed = |reason: String| object_store::Error::Generic {
            store: "vended credentials",
            source: format!("cannot renew the storage credentials of {}: {reason}", self.prefix).into(),
        };
        let credentials = self.source.credentials().await.map_err(failed)?;
        let ours = credentials.into_iter().find(|credential| same_prefix(&credential.prefix, &self.prefix));
        let ours = ours.ok_or_else(|| failed("the catalog gives none for this prefix any more".to_owned()))?;
        self.replace(ours.config);
        metrics::counter!(crate::telemetry::CREDENTIAL_RENEWALS).increment(1);
        Ok(())
    }

    async fn current(&self) -> object_store::Result<Arc<Secrets>> {
        let known = self.known.read().clone();
        if SystemClock.now_ms() < known.renew_at_ms {
            return Ok(known.config);
        }
        match self.renew(known.generation).await {
            Ok(()) => Ok(Arc::clone(&self.known.read().config)),
            // They hold a little longer; the next request shall not wait for the catalog again.
            Err(_) if known.ends_at_ms.is_some_and(|ends_at_ms| SystemClock.now_ms() < ends_at_ms) => {
                self.known.write().renew_at_ms = SystemClock.now_ms() + RETRY_AFTER_MS;
                Ok(known.config)
            }
            Err(error) => Err(error),
        }
    }
}

impl Known {
    fn new(config: HashMap<String, String>, generation: u64) -> Known {
        let now_ms = SystemClock.now_ms();
        let stated = config.iter().find(|(key, _)| key.contains("expires-at"));
        let ends_at_ms = stated.and_then(|(_, value)| value.parse::<i64>().ok());
        let life = |ends_at_ms: i64| ends_at_ms.saturating_sub(now_ms).max(0);
        let margin_ms = |life: i64| (life / 5).min(RENEW_BEFORE.as_millis() as i64);
        let renew_at_ms = match ends_at_ms {
            Some(ends_at_ms) => ends_at_ms - margin_ms(life(ends_at_ms)),
            None => now_ms + UNSTATED_LIFE.as_millis() as i64,
        };
        Known { config: Arc::new(Secrets(config)), generation, renew_at_ms, ends_at_ms }
    }
}

pub(super) fn same_prefix(left: &str, right: &str) -> bool {
    left.trim_end_matches('/') == right.trim_end_matches('/')
}

fn missing(key: &str) -> object_store::Error {
    object_store::Error::Generic {
        store: "vended credentials",
        source: format!("the catalog gave storage credentials without {key}").into(),
    }
}

/// A scope as `object_store` wants it.
#[derive(Debug)]
pub(super) struct Provider(pub(super) Arc<Scope>);

#[async_trait]
impl CredentialProvider for Provider {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let config = self.0.current().await?;
        let value = |key: &str| config.0.get(key).cloned();
        Ok(Arc::new(AwsCredential {
            key_id: value("s3.access-key-id").ok_or_else(|| missing("s3.access-key-id"))?,
            secret_key: value("s3.secret-access-key").ok_or_else(|| missing("s3.secret-access-key"))?,
            token: value("s3.session-token"),
        }))
    }
}

/// See [`Provider`].
#[derive(Debug)]
pub(super) struct GcsProvider(pub(super) Arc<Scope>);

#[async_trait]
impl CredentialProvider for GcsProvider {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        let config = self.0.current().await?;
        let bearer = config.0.get("gcs.oauth2.token").cloned();
        Ok(Arc::new(GcpCredential { bearer: bearer.ok_or_else(|| missing("gcs.oauth2.token"))? }))
    }
}

/// See [`Provider`].
#[derive(Debug)]
pub(super) struct AzureProvider(pub(super) Arc<Scope>);

#[async_trait]
impl CredentialProvider for AzureProvider {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        let config = self.0.current().await?;
        let token = config.0.iter().find(|(key, _)| key.starts_with("adls.sas-token") && !key.contains("expires"));
        let (_, token) = token.ok_or_else(|| missing("adls.sas-token"))?;
        let pairs = url::form_urlencoded::parse(token.trim_start_matches('?').as_bytes());
        Ok(Arc::new(AzureCredential::SASToken(pairs.into_owned().collect())))
    }
}

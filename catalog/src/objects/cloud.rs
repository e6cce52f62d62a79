//! One store per bucket and credential scope: keys of the operator, else keys that the catalog vends,
//! else what the environment of the process gives.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use parking_lot::RwLock;

use super::credentials::{AzureProvider, CredentialSource, GcsProvider, Provider, Scope, StorageCredential};
use super::place::{Place, Scheme};
use crate::error::{Error, Result};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Requests are repeated with the credentials they began with, so not for long.
const RETRY_LIMIT: Duration = Duration::from_secs(30);
const RETRIES: usize = 4;

/// How object stores are reached.
#[derive(Clone, Debug)]
pub struct StorageSettings {
    /// With keys in it, nothing that a catalog vends is used.
    pub s3: S3Settings,
    /// PEM of roots that are trusted besides those of the system.
    pub extra_roots_pem: Option<Arc<[u8]>>,
    /// Larger objects go up in parts.
    pub single_put_bytes_max: usize,
    /// All parts but the last have this size: R2 takes no others.
    pub part_bytes: usize,
    /// A request takes at most this long, tries not counted.
    pub request_limit: Duration,
    /// The first pause before a request is tried again.
    pub retry_pause: Duration,
}

impl Default for StorageSettings {
    fn default() -> StorageSettings {
        StorageSettings {
            s3: S3Settings::default(),
            extra_roots_pem: None,
            single_put_bytes_max: 64 << 20,
            part_bytes: 16 << 20,
            request_limit: Duration::from_secs(60),
            retry_pause: Duration::from_millis(50),
        }
    }
}

/// What is left out comes from the catalog, else from the environment (`AWS_*`).
#[derive(Clone, Default)]
pub struct S3Settings {
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    /// `https://bucket.host/key` instead of `https://host/bucket/key`.
    pub virtual_host_style: bool,
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl StorageSettings {
    /// The keys that the operator gave, under the protocol's names; empty without keys.
    pub fn as_config(&self) -> HashMap<String, String> {
        let s3 = &self.s3;
        if !self.has_static_keys() {
            return HashMap::new();
        }
        let path_style = Some((!s3.virtual_host_style).to_string());
        let values = [
            ("s3.endpoint", s3.endpoint.clone()),
            ("s3.region", Some(s3.region.clone().unwrap_or_else(|| "us-east-1".to_owned()))),
            ("s3.access-key-id", s3.access_key_id.clone()),
            ("s3.secret-access-key", s3.secret_access_key.clone()),
            ("s3.session-token", s3.session_token.clone()),
            ("s3.path-style-access", path_style),
        ];
        values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Whether the operator gave keys, so that none need be vended.
    pub fn has_static_keys(&self) -> bool {
        self.s3.access_key_id.is_some()
    }
}

/// The buckets that are open, by root or by vended prefix.
#[derive(Debug)]
pub(super) struct Clouds {
    settings: StorageSettings,
    scopes: RwLock<Vec<Arc<Scope>>>,
    stores: RwLock<HashMap<String, Arc<dyn ObjectStore>>>,
}

/// A store and whose credentials it uses.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) scope: Option<Arc<Scope>>,
}

impl Clouds {
    pub(super) fn new(settings: StorageSettings) -> Clouds {
        Clouds { settings, scopes: RwLock::default(), stores: RwLock::default() }
    }

    pub(super) fn learn(&self, credentials: Vec<StorageCredential>, source: &Arc<dyn CredentialSource>) {
        let mut scopes = self.scopes.write();
        for credential in credentials {
            let Ok(prefix) = Place::of(&credential.prefix).and_then(|place| place.path()) else {
                tracing::warn!(prefix = credential.prefix, "storage credentials for a place that cannot be read here");
                continue;
            };
            let known = scopes.iter().find(|scope| is_prefix(&scope.prefix, &credential.prefix, prefix.as_ref()));
            match known {
                Some(scope) => scope.replace(credential.config),
                None => scopes.push(Arc::new(Scope::new(credential, Arc::clone(source)))),
            }
        }
    }

    /// The store for a place: of the longest vended prefix, or of its bucket.
    pub(super) fn open(&self, place: &Place) -> Result<Opened> {
        let scope = self.scope_of(place)?;
        let name = scope.as_ref().map_or_else(|| place.root(), |scope| format!("{} {}", place.root(), scope.prefix));
        if let Some(store) = self.stores.read().get(&name) {
            return Ok(Opened { store: Arc::clone(store), scope });
        }
        let store = self.build(place, scope.as_ref())?;
        let mut stores = self.stores.write();
        let store = Arc::clone(stores.entry(name).or_insert(store));
        Ok(Opened { store, scope })
    }

    fn scope_of(&self, place: &Place) -> Result<Option<Arc<Scope>>> {
        if place.scheme == Scheme::S3 && self.settings.has_static_keys() {
            return Ok(None);
        }
        let path = place.path()?;
        let scopes = self.scopes.read();
        let covers = |scope: &&Arc<Scope>| {
            let prefix = Place::of(&scope.prefix).and_then(|prefix| prefix.path());
            prefix.is_ok_and(|prefix| path.prefix_matches(&prefix))
        };
        Ok(scopes.iter().filter(covers).max_by_key(|scope| scope.prefix.len()).cloned())
    }

    fn build(&self, place: &Place, scope: Option<&Arc<Scope>>) -> Result<Arc<dyn ObjectStore>> {
        let built = match place.scheme {
            Scheme::S3 => self.s3(&place.bucket, scope).build().map(|store| Arc::new(store) as Arc<dyn ObjectStore>),
            Scheme::Gcs => self.gcs(&place.bucket, scope).build().map(|store| Arc::new(store) as _),
            Scheme::Azure => self.azure(&place.bucket, scope).build().map(|store| Arc::new(store) as _),
            Scheme::File => return Err(Error::Refused("files need no bucket".to_owned())),
        };
        built.map_err(|source| Error::Object { doing: "open", location: place.root(), source })
    }

    fn s3(&self, bucket: &str, scope: Option<&Arc<Scope>>) -> AmazonS3Builder {
        let settings = &self.settings.s3;
        let vended = |key: &str| scope.and_then(|scope| scope.get(key));
        let endpoint = settings.endpoint.clone().or_else(|| vended("s3.endpoint"));
        let region = settings.region.clone().or_else(|| vended("s3.region")).or_else(|| vended("client.region"));
        let path_style = vended("s3.path-style-access").is_none_or(|value| value != "false");
        // With an endpoint of its own the store is S3-compatible: its hosts seldom know bucket names.
        let by_host = settings.virtual_host_style || (endpoint.is_none() && !path_style);
        let mut builder = match scope {
            Some(scope) => AmazonS3Builder::new().with_credentials(Arc::new(Provider(Arc::clone(scope)))),
            None => AmazonS3Builder::from_env(),
        };
        builder = builder
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(by_host)
            .with_allow_http(endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")))
            .with_client_options(self.client(endpoint.as_deref()))
            .with_retry(self.retry());
        if let Some(endpoint) = &endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let Some(region) = region.or_else(|| endpoint.as_ref().map(|_| "auto".to_owned())) {
            builder = builder.with_region(region);
        }
        if let (None, Some(key), Some(secret)) = (scope, &settings.access_key_id, &settings.secret_access_key) {
            builder = builder.with_access_key_id(key).with_secret_access_key(secret);
            if let Some(token) = &settings.session_token {
                builder = builder.with_token(token);
            }
        }
        builder
    }

    fn gcs(&self, bucket: &str, scope: Option<&Arc<Scope>>) -> GoogleCloudStorageBuilder {
        let builder = match scope {
            Some(scope) => GoogleCloudStorageBuilder::new().with_credentials(Arc::new(GcsProvider(Arc::clone(scope)))),
            None => GoogleCloudStorageBuilder::from_env(),
        };
        builder.with_bucket_name(bucket).with_client_options(self.client(None)).with_retry(self.retry())
    }

    fn azure(&self, bucket: &str, scope: Option<&Arc<Scope>>) -> MicrosoftAzureBuilder {
        let mut builder = match scope {
            Some(scope) => MicrosoftAzureBuilder::new().with_credentials(Arc::new(AzureProvider(Arc::clone(scope)))),
            None => MicrosoftAzureBuilder::from_env(),
        };
        let (container, account) = bucket.split_once('@').unwrap_or((bucket, ""));
        if !account.is_empty() {
            builder = builder.with_account(account);
        }
        builder.with_container_name(container).with_client_options(self.client(None)).with_retry(self.retry())
    }

    fn retry(&self) -> RetryConfig {
        let backoff = BackoffConfig { init_backoff: self.settings.retry_pause, ..BackoffConfig::default() };
        RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_LIMIT }
    }

    fn client(&self, endpoint: Option<&str>) -> ClientOptions {
        let mut options = ClientOptions::new()
            .with_timeout(self.settings.request_limit)
            .with_connect_timeout(CONNECT_LIMIT)
            .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")));
        let roots = self.settings.extra_roots_pem.as_deref().map(Certificate::from_pem_bundle);
        for root in roots.and_then(std::result::Result::ok).into_iter().flatten() {
            options = options.with_root_certificate(root);
        }
        options
    }
}

fn is_prefix(known: &str, learned: &str, learned_path: &str) -> bool {
    super::credentials::same_prefix(known, learned)
        || Place::of(known).and_then(|place| place.path()).is_ok_and(|path| path.as_ref() == learned_path)
}

//! A remote catalog over the Iceberg REST protocol.
//!
//! Our own client, because a commit whose outcome is unclear must come back as unclear: stock clients
//! reload and append again. (Apache Iceberg REST catalog specification.)

mod classify;
mod http;
mod login;
mod paths;

pub use classify::Profile;
pub use login::Login;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::{NamespaceIdent, TableIdent};
use iceberg_catalog_rest::{CommitTableRequest, CommitTableResponse, CreateTableRequest, LoadTableResult};
use parking_lot::Mutex;
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::json;

use self::classify::{Meaning, classify};
use self::http::{Answer, Http, HttpFailure, parse};
use self::login::Session;
use self::paths::{Paths, ServerConfig};
use crate::error::Result;
use crate::objects::{CredentialSource, Objects, StorageCredential};
use crate::table_catalog::{CatalogError, CatalogFault, CommitReply, LoadedTable, TableCatalog};
use crate::telemetry;

const DELEGATION: &str = "X-Iceberg-Access-Delegation";

/// Where a catalog is and how to talk to it.
#[derive(Clone, Debug)]
pub struct RestSettings {
    /// Without `/v1`.
    pub uri: String,
    pub warehouse: Option<String>,
    pub login: Login,
    pub profile: Profile,
    /// Whether the catalog shall give credentials for its files.
    pub vended_credentials: bool,
    /// A request takes at most this long; R2 itself gives up after 40 s.
    pub request_limit: Duration,
    pub extra_roots_pem: Option<Arc<[u8]>>,
}

impl RestSettings {
    pub fn new(uri: impl Into<String>) -> RestSettings {
        RestSettings {
            uri: uri.into(),
            warehouse: None,
            login: Login::None,
            profile: Profile::Spec,
            vended_credentials: true,
            request_limit: Duration::from_secs(45),
            extra_roots_pem: None,
        }
    }

    /// R2 Data Catalog of an account and bucket.
    pub fn r2(account: &str, bucket: &str, token: &str) -> RestSettings {
        RestSettings {
            warehouse: Some(format!("{account}_{bucket}")),
            login: Login::Token(token.to_owned()),
            profile: Profile::R2,
            ..RestSettings::new(format!("https://catalog.cloudflarestorage.com/{account}/{bucket}"))
        }
    }
}

/// See the module. Connects at the first use, and again after a failure.
#[derive(Clone, Debug)]
pub struct RestCatalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: RestSettings,
    http: Http,
    session: Session,
    objects: Objects,
    paths: tokio::sync::Mutex<Option<Arc<Paths>>>,
    /// What was loaded last, for answers that say "not modified".
    loaded: Mutex<HashMap<TableIdent, (String, LoadedTable)>>,
}

/// Asks for the credentials of one table.
#[derive(Debug)]
struct TableCredentials {
    catalog: RestCatalog,
    table: TableIdent,
    /// What the table's load said: where it stands, and keys that the answer about credentials leaves out.
    loaded: StorageCredential,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CredentialsAnswer {
    storage_credentials: Vec<iceberg_catalog_rest::StorageCredential>,
}

impl RestCatalog {
    /// Checks the settings; asks nobody yet.
    pub fn new(settings: RestSettings, objects: Objects) -> Result<RestCatalog> {
        let http = Http::new(settings.request_limit, settings.extra_roots_pem.as_ref())?;
        let session = Session::new(settings.login.clone());
        let paths = tokio::sync::Mutex::default();
        let inner = Inner { settings, http, session, objects, paths, loaded: Mutex::default() };
        Ok(RestCatalog { inner: Arc::new(inner) })
    }

    pub fn profile(&self) -> Profile {
        self.inner.settings.profile
    }

    /// Asks for the configuration, once.
    async fn paths(&self) -> Result<Arc<Paths>, HttpFailure> {
        let inner = &self.inner;
        let mut known = inner.paths.lock().await;
        if let Some(paths) = known.as_ref() {
            return Ok(Arc::clone(paths));
        }
        let base = paths::base(&inner.settings.uri);
        let url = paths::config_url(&base, inner.settings.warehouse.as_deref());
        let answer = self.ask("config", &base, || inner.http.read(&url)).await?;
        let config: ServerConfig = parse(&answer.body)?;
        let paths = Arc::new(Paths::new(base, config));
        *known = Some(Arc::clone(&paths));
        Ok(paths)
    }

    /// Sends with the login's token; a token that ended is replaced once. Only for requests that a
    /// refused login leaves undone, which all are.
    async fn ask(
        &self,
        kind: &'static str,
        base: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Answer, HttpFailure> {
        let Inner { http, session, settings, .. } = self.inner.as_ref();
        for last in [false, true] {
            let bearer = session.bearer(http, base).await?;
            let signed = match &bearer {
                Some(token) => request().bearer_auth(token),
                None => request(),
            };
            telemetry::catalog_request(kind);
            match http.send(signed).await {
                Err(HttpFailure::Refused(refusal))
                    if !last && session.can_renew() && classify(&refusal, settings.profile) == Meaning::LoginEnded =>
                {
                    session.forget(bearer.as_deref().unwrap_or_default());
                }
                other => return other,
            }
        }
        Err(HttpFailure::Unclear("the login was refused twice".to_owned()))
    }

    fn delegated(&self, request: RequestBuilder) -> RequestBuilder {
        match self.inner.settings.vended_credentials {
            true => request.header(DELEGATION, "vended-credentials"),
            false => request,
        }
    }

    async fn get_table(&self, table: &TableIdent, etag: Option<&str>) -> Result<Answer, HttpFailure> {
        let paths = self.paths().await?;
        let url = paths.table(table);
        let request = || {
            let request = self.delegated(self.inner.http.read(&url));
            match etag {
                Some(etag) => request.header("If-None-Match", etag),
                None => request,
            }
        };
        self.ask("load", &paths.base, request).await
    }

    async fn load_table(&self, table: &TableIdent) -> Result<LoadedTable, HttpFailure> {
        let known = self.inner.loaded.lock().get(table).cloned();
        let answer = self.get_table(table, known.as_ref().map(|(etag, _)| etag.as_str())).await?;
        if let (304, Some((_, loaded))) = (answer.status, known) {
            return Ok(loaded);
        }
        let etag = answer.etag.clone();
        let loaded = self.take_in(table, parse(&answer.body)?)?;
        let mut kept = self.inner.loaded.lock();
        match etag {
            Some(etag) => kept.insert(table.clone(), (etag, loaded.clone())),
            None => kept.remove(table),
        };
        Ok(loaded)
    }

    /// Keeps the credentials of an answer and gives its table.
    fn take_in(&self, table: &TableIdent, answer: LoadTableResult) -> Result<LoadedTable, HttpFailure> {
        let metadata_location = answer
            .metadata_location
            .ok_or_else(|| HttpFailure::Unclear("the answer states no metadata location".to_owned()))?;
        if self.inner.settings.vended_credentials {
            let prefix = answer.metadata.location().to_owned();
            let loaded = StorageCredential { prefix, config: answer.config.clone() };
            let credentials = credentials(answer.metadata.location(), answer.config, answer.storage_credentials);
            let source = TableCredentials { catalog: self.clone(), table: table.clone(), loaded };
            self.inner.objects.learn(credentials, &(Arc::new(source) as Arc<dyn CredentialSource>));
        }
        Ok(LoadedTable { metadata: Arc::new(answer.metadata), metadata_location })
    }

    async fn post_commit(&self, table: &TableIdent, body: &CommitTableRequest) -> Result<LoadedTable, HttpFailure> {
        let paths = self.paths().await.map_err(not_sent)?;
        let url = paths.table(table);
        let body = serde_json::to_vec(body).expect("requests are plain data");
        let request = || {
            let request = self.inner.http.write(&url).header("content-type", "application/json");
            self.delegated(request).body(body.clone())
        };
        let answer = self.ask("commit", &paths.base, request).await?;
        let answer: CommitTableResponse = parse(&answer.body)?;
        Ok(LoadedTable { metadata: Arc::new(answer.metadata), metadata_location: answer.metadata_location })
    }

    async fn post_json(
        &self,
        kind: &'static str,
        url: &str,
        body: &impl serde::Serialize,
    ) -> Result<Answer, HttpFailure> {
        let paths = self.paths().await?;
        let body = serde_json::to_vec(body).expect("requests are plain data");
        let request = || {
            let request = self.inner.http.write(url).header("content-type", "application/json");
            self.delegated(request).body(body.clone())
        };
        self.ask(kind, &paths.base, request).await
    }
}

/// Before the configuration is known nothing was posted.
fn not_sent(failure: HttpFailure) -> HttpFailure {
    match failure {
        HttpFailure::Unclear(reason) => HttpFailure::NotSent { reason, tls: false },
        other => other,
    }
}

/// Table-wide keys count for the table's location; keys with a prefix win below it.
fn credentials(
    location: &str,
    config: HashMap<String, String>,
    stored: Option<Vec<iceberg_catalog_rest::StorageCredential>>,
) -> Vec<StorageCredential> {
    let is_secret = |key: &String| {
        ["s3.access-key-id", "gcs.oauth2.token"].contains(&key.as_str()) || key.starts_with("adls.sas-token")
    };
    let mut all = Vec::new();
    for credential in stored.unwrap_or_default() {
        let prefix = if credential.prefix.contains("://") { credential.prefix } else { location.to_owned() };
        // Endpoint and region may stand in the table-wide part only.
        let mut merged = config.clone();
        merged.extend(credential.config);
        all.push(StorageCredential { prefix, config: merged });
    }
    if all.is_empty() && config.keys().any(is_secret) {
        all.push(StorageCredential { prefix: location.to_owned(), config });
    }
    all
}

#[async_trait]
impl CredentialSource for TableCredentials {
    async fn credentials(&self) -> Result<Vec<StorageCredential>, String> {
        let failed = |failure: HttpFailure| failure.message();
        let paths = self.catalog.paths().await.map_err(failed)?;
        if paths.serves_credentials() {
            let url = format!("{}/credentials", paths.table(&self.table));
            let request = || self.catalog.delegated(self.catalog.inner.http.read(&url));
            let answer = self.catalog.ask("credentials", &paths.base, request).await.map_err(failed)?;
            let answer: CredentialsAnswer = parse(&answer.body).map_err(failed)?;
            if !answer.storage_credentials.is_empty() {
                let StorageCredential { prefix, config } = self.loaded.clone();
                return Ok(credentials(&prefix, config, Some(answer.storage_credentials)));
            }
        }
        let answer = self.catalog.get_table(&self.table, None).await.map_err(failed)?;
        let answer: LoadTableResult = parse(&answer.body).map_err(failed)?;
        Ok(credentials(answer.metadata.location(), answer.config, answer.storage_credentials))
    }
}

#[async_trait]
impl TableCatalog for RestCatalog {
    async fn load(&self, table: &TableIdent) -> Result<Option<LoadedTable>, CatalogError> {
        match self.load_table(table).await {
            Ok(loaded) => Ok(Some(loaded)),
            Err(HttpFailure::Refused(refusal))
                if refusal.status == 404 && refusal.kind != "NoSuchWarehouseException" =>
            {
                Ok(None)
            }
            Err(failure) => Err(catalog_error(&failure)),
        }
    }

    async fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        let paths = self.paths().await.map_err(|failure| catalog_error(&failure))?;
        let url = paths.namespace(namespace);
        match self.ask("namespace", &paths.base, || self.inner.http.read(&url)).await {
            Ok(_) => return Ok(()),
            Err(HttpFailure::Refused(refusal)) if refusal.status == 404 => {}
            Err(failure) => return Err(catalog_error(&failure)),
        }
        let body = json!({"namespace": namespace.as_ref(), "properties": {}});
        match self.post_json("namespace", &paths.namespaces(), &body).await {
            Ok(_) => Ok(()),
            Err(HttpFailure::Refused(refusal)) if refusal.status == 409 => Ok(()),
            Err(failure) => Err(catalog_error(&failure)),
        }
    }

    async fn create(&self, table: &TableIdent, request: CreateTableRequest) -> Result<LoadedTable, CatalogError> {
        let paths = self.paths().await.map_err(|failure| catalog_error(&failure))?;
        let created = self.post_json("create", &paths.tables(table.namespace()), &request).await;
        let taken = created.and_then(|answer| self.take_in(table, parse(&answer.body)?));
        match taken {
            Ok(loaded) => Ok(loaded),
            // Somebody was first, or the answer to our own was lost.
            Err(failure) => match self.load(table).await {
                Ok(Some(loaded)) => Ok(loaded),
                _ => Err(catalog_error(&failure)),
            },
        }
    }

    async fn commit(&self, table: &TableIdent, request: CommitTableRequest) -> CommitReply {
        let profile = self.profile();
        match self.post_commit(table, &request).await {
            Ok(loaded) => CommitReply::Applied(loaded),
            Err(HttpFailure::Refused(refusal)) => {
                let message = HttpFailure::Refused(refusal.clone()).message();
                match classify(&refusal, profile) {
                    Meaning::Conflict => CommitReply::Conflict(message),
                    Meaning::Unknown => CommitReply::Unknown(message),
                    Meaning::RateLimited(wait) => CommitReply::RateLimited(wait),
                    Meaning::LoginEnded | Meaning::Rejected => CommitReply::Rejected(message),
                }
            }
            Err(failure) => CommitReply::Unknown(failure.message()),
        }
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<(), CatalogError> {
        let paths = self.paths().await.map_err(|failure| catalog_error(&failure))?;
        let url = format!("{}?purgeRequested=false", paths.table(table));
        match self.ask("drop", &paths.base, || self.inner.http.delete(&url)).await {
            Ok(_) => Ok(()),
            Err(HttpFailure::Refused(refusal)) if refusal.status == 404 => Ok(()),
            Err(failure) => Err(catalog_error(&failure)),
        }
    }

    fn clock_skew_ms(&self) -> i64 {
        self.inner.http.skew_ms()
    }
}

fn catalog_error(failure: &HttpFailure) -> CatalogError {
    let fault = match failure {
        HttpFailure::Refused(refusal) => match refusal.status {
            401 | 419 => CatalogFault::Login,
            403 => CatalogFault::Permission,
            404 => CatalogFault::Missing,
            400 if refusal.kind == "invalid_client" || refusal.kind == "unauthorized_client" => CatalogFault::Login,
            _ => CatalogFault::Other,
        },
        HttpFailure::NotSent { tls: true, .. } => CatalogFault::Tls,
        HttpFailure::NotSent { tls: false, .. } | HttpFailure::Unclear(_) => CatalogFault::Unreachable,
    };
    CatalogError { message: failure.message(), fault }
}

//! The routes of the Iceberg REST catalog, below `/catalog`.

use std::collections::HashMap;

use iceberg::{NamespaceIdent, TableIdent};
use iceberg_catalog_rest::{
    CommitTableResponse, CreateNamespaceRequest, ListNamespaceResponse, ListTablesResponse, LoadTableResult,
    NamespaceResponse, StorageCredential,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::FakeSettings;
use super::fault::Step;
use super::http::{Request, Response};
use super::limits::Budget;
use super::state::State;
use super::tables::{Refusal, Stored};

const LEVEL_SEPARATOR: char = '\u{1f}';

const ENDPOINTS: [&str; 11] = [
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Config,
    Token,
    ListNamespaces,
    CreateNamespace,
    LoadNamespace(NamespaceIdent),
    ListTables(NamespaceIdent),
    CreateTable(NamespaceIdent),
    LoadTable(TableIdent),
    HasTable(TableIdent),
    Commit(TableIdent),
    DropTable(TableIdent),
    Credentials(TableIdent),
    Unknown,
}

impl Route {
    /// The route of a request; `segments` are those of its path after `/catalog`.
    pub(super) fn of(request: &Request, segments: &[String], prefix: &str) -> Route {
        let namespace = |text: &str| {
            let levels = text.split(LEVEL_SEPARATOR).map(str::to_owned).collect();
            NamespaceIdent::from_vec(levels).expect("a split text has a part")
        };
        let table = |text: &str, name: &str| TableIdent::new(namespace(text), name.to_owned());
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let below = match segments.as_slice() {
            ["v1", "config"] => return Route::Config,
            ["v1", "oauth", "tokens"] => return Route::Token,
            ["v1", first, "namespaces", below @ ..] if *first == prefix => below,
            _ => return Route::Unknown,
        };
        match (request.method.as_str(), below) {
            ("GET", []) => Route::ListNamespaces,
            ("POST", []) => Route::CreateNamespace,
            ("GET" | "HEAD", [name]) => Route::LoadNamespace(namespace(name)),
            ("GET", [name, "tables"]) => Route::ListTables(namespace(name)),
            ("POST", [name, "tables"]) => Route::CreateTable(namespace(name)),
            ("GET", [name, "tables", of]) => Route::LoadTable(table(name, of)),
            ("HEAD", [name, "tables", of]) => Route::HasTable(table(name, of)),
            ("POST", [name, "tables", of]) => Route::Commit(table(name, of)),
            ("DELETE", [name, "tables", of]) => Route::DropTable(table(name, of)),
            ("GET", [name, "tables", of, "credentials"]) => Route::Credentials(table(name, of)),
            _ => Route::Unknown,
        }
    }

    pub(super) fn step(&self) -> Step {
        match self {
            Route::Config => Step::Config,
            Route::Token => Step::Token,
            Route::ListNamespaces | Route::CreateNamespace | Route::LoadNamespace(_) => Step::Namespace,
            Route::CreateTable(_) => Step::Create,
            Route::LoadTable(_) => Step::Load,
            Route::Commit(_) => Step::Commit,
            Route::Credentials(_) => Step::Credentials,
            Route::ListTables(_) | Route::HasTable(_) | Route::DropTable(_) | Route::Unknown => Step::Other,
        }
    }

    /// What a writing request draws on.
    pub(super) fn budget(&self) -> Option<Budget> {
        match self {
            Route::Commit(ident) => Some(Budget::Commits(ident.to_string())),
            Route::CreateTable(_) => Some(Budget::Creates),
            Route::CreateNamespace | Route::DropTable(_) => Some(Budget::Others),
            _ => None,
        }
    }

    /// The table whose metadata the request asks for or changes.
    pub(super) fn table(&self) -> Option<&TableIdent> {
        match self {
            Route::LoadTable(ident) | Route::Commit(ident) => Some(ident),
            _ => None,
        }
    }
}

impl State {
    pub(super) fn answer_catalog(&mut self, route: &Route, request: &Request) -> Response {
        if *route == Route::Token {
            return self.answer_token(request);
        }
        if let Err(refused) = self.access.check_token(request, &self.settings, self.settings.clock.now_us()) {
            return *refused;
        }
        let answer = match route {
            Route::Config => self.answer_config(request),
            Route::LoadTable(ident) => self.stored(ident).map(|stored| self.answer_table(request, &stored)),
            Route::Credentials(ident) => self.stored(ident).map(|stored| {
                let credentials: Vec<_> = self.lend(request, &stored).into_iter().collect();
                Response::json(200, &json!({"storage-credentials": credentials}))
            }),
            Route::CreateTable(namespace) => parse(request)
                .and_then(|body| self.create_table(namespace, body))
                .map(|stored| self.answer_table(request, &stored)),
            Route::Commit(ident) => parse(request).and_then(|body| self.commit_table(ident, body)).map(|stored| {
                let metadata_location = stored.location.expect("a committed table has a file");
                let metadata = stored.metadata.as_ref().clone();
                Response::json(200, &CommitTableResponse { metadata_location, metadata })
            }),
            Route::HasTable(ident) => self.stored(ident).map(|_| Response::empty(204)),
            Route::DropTable(ident) => self.stored(ident).map(|_| {
                self.tables.tables.remove(ident);
                Response::empty(204)
            }),
            _ => self.answer_namespace(route, request),
        };
        answer.unwrap_or_else(Response::from)
    }

    fn answer_config(&self, request: &Request) -> Result<Response, Refusal> {
        let FakeSettings { warehouse, prefix, .. } = &self.settings;
        match request.query("warehouse") {
            Some(asked) if asked == warehouse => {
                let config = json!({"defaults": {}, "overrides": {"prefix": prefix}, "endpoints": ENDPOINTS});
                Ok(Response::json(200, &config))
            }
            Some(asked) => Err(Refusal::new(404, "NoSuchWarehouseException", format!("there is no warehouse {asked}"))),
            None => Err(Refusal::bad_request("name a warehouse")),
        }
    }

    fn answer_token(&mut self, request: &Request) -> Response {
        let form: HashMap<String, String> = url::form_urlencoded::parse(&request.body).into_owned().collect();
        let field = |name| form.get(name).map(String::as_str);
        let FakeSettings { client_id, client_secret, token_ttl, .. } = &self.settings;
        let known = field("client_id") == Some(client_id) && field("client_secret") == Some(client_secret);
        if request.method != "POST" || field("grant_type") != Some("client_credentials") {
            return Response::json(400, &json!({"error": "unsupported_grant_type"}));
        }
        if !known {
            return Response::json(401, &json!({"error": "invalid_client"}));
        }
        let expires_in = token_ttl.as_secs();
        let token = self.access.lend_token(&self.settings, self.settings.clock.now_us());
        Response::json(200, &json!({"access_token": token, "token_type": "bearer", "expires_in": expires_in}))
    }

    fn answer_namespace(&mut self, route: &Route, request: &Request) -> Result<Response, Refusal> {
        let namespaces = &mut self.tables.namespaces;
        match route {
            Route::ListNamespaces => {
                let names = namespaces.keys().cloned().collect();
                Ok(Response::json(200, &ListNamespaceResponse { namespaces: names, next_page_token: None }))
            }
            Route::CreateNamespace => {
                let CreateNamespaceRequest { namespace, properties } = parse(request)?;
                if namespaces.contains_key(&namespace) {
                    let name = namespace.to_url_string();
                    return Err(Refusal::new(409, "AlreadyExistsException", format!("namespace {name} exists")));
                }
                namespaces.insert(namespace.clone(), properties.clone());
                Ok(Response::json(200, &NamespaceResponse { namespace, properties }))
            }
            Route::LoadNamespace(namespace) => {
                let found = namespaces.get(namespace).cloned();
                let properties = found.ok_or_else(|| Refusal::no_namespace(namespace))?;
                match request.is_head() {
                    true => Ok(Response::empty(204)),
                    false => Ok(Response::json(200, &NamespaceResponse { namespace: namespace.clone(), properties })),
                }
            }
            Route::ListTables(namespace) => {
                namespaces.get(namespace).ok_or_else(|| Refusal::no_namespace(namespace))?;
                let tables = self.tables.tables.keys().filter(|ident| ident.namespace() == namespace);
                let identifiers = tables.cloned().collect();
                Ok(Response::json(200, &ListTablesResponse { identifiers, next_page_token: None }))
            }
            _ => Err(Refusal::new(404, "NotFoundException", "there is nothing here")),
        }
    }

    fn answer_table(&mut self, request: &Request, stored: &Stored) -> Response {
        let lent = self.lend(request, stored);
        let result = LoadTableResult {
            metadata_location: stored.location.clone(),
            metadata: stored.metadata.as_ref().clone(),
            config: lent.as_ref().map(|lent| lent.config.clone()).unwrap_or_default(),
            storage_credentials: lent.map(|lent| vec![lent]),
        };
        Response::json(200, &result)
    }

    /// New keys for the table's files, if the client asks for keys at all.
    fn lend(&mut self, request: &Request, stored: &Stored) -> Option<StorageCredential> {
        let delegation = request.header("x-iceberg-access-delegation")?;
        if !delegation.split(',').any(|word| word.trim() == "vended-credentials") {
            return None;
        }
        let keys = self.access.lend_keys(&self.settings, self.settings.clock.now_us());
        let mut config: HashMap<String, String> = [
            ("s3.access-key-id", keys.key_id),
            ("s3.secret-access-key", keys.secret),
            ("s3.session-token", keys.session_token),
            ("s3.endpoint", self.endpoint.clone()),
            ("s3.region", "auto".to_owned()),
            ("s3.path-style-access", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(expires_us) = keys.expires_us {
            config.insert("s3.session-token-expires-at-ms".to_owned(), (expires_us / 1_000).to_string());
        }
        let prefix = self.settings.credential_prefix.clone();
        Some(StorageCredential { prefix: prefix.unwrap_or_else(|| stored.metadata.location().to_owned()), config })
    }
}

/// What the request says; a word that the protocol does not know is refused.
fn parse<T: DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    serde_json::from_slice(&request.body).map_err(Refusal::bad_request)
}

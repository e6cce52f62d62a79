//! The Iceberg REST protocol as a function: plain request in, plain response out.
//! (Apache Iceberg REST catalog specification, v1 paths.)

use std::collections::HashMap;

use bytes::Bytes;
use iceberg::{NamespaceIdent, TableIdent};
use iceberg_catalog_rest::{
    CommitTableRequest, CommitTableResponse, CreateTableRequest, ListNamespaceResponse, ListTablesResponse,
    LoadTableResult, NamespaceResponse, UpdateNamespacePropertiesRequest,
};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::answer::{RestError, RestResponse};
use super::apply::Origin;
use super::store::namespace_of;
use super::{EmbeddedCatalog, WAREHOUSE};
use crate::table_catalog::LoadedTable;

/// What the caller's token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

#[derive(Debug)]
pub struct RestRequest<'a> {
    /// `GET`, `HEAD`, `POST` or `DELETE`.
    pub method: &'a str,
    /// Behind the mount point, such as `/v1/config`; still percent-encoded.
    pub path: &'a str,
    /// Decoded.
    pub query: Vec<(String, String)>,
    pub body: Bytes,
}

/// Exactly what is served: clients take a missing list for the whole standard.
const ENDPOINTS: [&str; 14] = [
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
];

/// Answers one request. Blocks on the catalog's lock and on the disk.
pub fn rest(request: &RestRequest<'_>, catalog: &EmbeddedCatalog, access: Access) -> RestResponse {
    route(request, catalog, access).unwrap_or_else(RestResponse::from)
}

fn route(request: &RestRequest<'_>, catalog: &EmbeddedCatalog, access: Access) -> Result<RestResponse, RestError> {
    let decode = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().into_owned();
    let segments: Vec<String> = request.path.trim_matches('/').split('/').map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let write = || match access {
        Access::Write => Ok(()),
        Access::Read => Err(RestError::new(
            403,
            "ForbiddenException",
            "this token may read only; use one of HOGFLARE_ADMIN_TOKENS to change tables",
        )),
    };
    let namespace = |name: &str| namespace_of(name);
    if let Some(bad) = segments.iter().find(|segment| !is_safe_name(segment)) {
        return Err(RestError::bad_request(format!("{bad:?} cannot be a name: it would leave its folder")));
    }
    let table = |space: &str, name: &str| TableIdent::new(namespace_of(space), name.to_owned());
    match (request.method, segments.as_slice()) {
        ("GET", ["v1", "config"]) => config(request),
        ("GET", ["v1", "namespaces"]) => list_namespaces(request, catalog),
        ("POST", ["v1", "namespaces"]) => write().and_then(|()| create_namespace(request, catalog)),
        ("GET", ["v1", "namespaces", ns]) => get_namespace(&namespace(ns), catalog),
        ("HEAD", ["v1", "namespaces", ns]) => get_namespace(&namespace(ns), catalog).map(|_| RestResponse::empty(204)),
        ("DELETE", ["v1", "namespaces", ns]) => write().and_then(|()| drop_namespace(&namespace(ns), catalog)),
        ("POST", ["v1", "namespaces", ns, "properties"]) => {
            write().and_then(|()| update_namespace(request, &namespace(ns), catalog))
        }
        ("GET", ["v1", "namespaces", ns, "tables"]) => list_tables(&namespace(ns), catalog),
        ("GET", ["v1", "namespaces", ns, "views"]) => {
            get_namespace(&namespace(ns), catalog).map(|_| RestResponse::json(200, &json!({"identifiers": []})))
        }
        ("POST", ["v1", "namespaces", ns, "tables"]) => {
            write().and_then(|()| create_table(request, &namespace(ns), catalog))
        }
        ("GET", ["v1", "namespaces", ns, "tables", name]) => load_table(&table(ns, name), catalog),
        ("HEAD", ["v1", "namespaces", ns, "tables", name]) => {
            load_table(&table(ns, name), catalog).map(|_| RestResponse::empty(204))
        }
        ("POST", ["v1", "namespaces", ns, "tables", name]) => {
            write().and_then(|()| commit(request, &table(ns, name), catalog))
        }
        ("DELETE", ["v1", "namespaces", ns, "tables", name]) => {
            let purge =
                request.query.iter().any(|(key, value)| key == "purgeRequested" && value.eq_ignore_ascii_case("true"));
            write().and_then(|()| catalog.drop_table(&table(ns, name), purge)).map(|()| RestResponse::empty(204))
        }
        ("GET", ["v1", "namespaces", ns, "tables", name, "credentials"]) => {
            load_table(&table(ns, name), catalog).map(|_| RestResponse::json(200, &json!({"storage-credentials": []})))
        }
        ("POST", ["v1", "namespaces", _, "tables", _, "metrics"]) => Ok(RestResponse::empty(204)),
        (method, _) => {
            let message = format!("{method} {} is not served", request.path);
            Err(RestError::new(404, "NoSuchEndpointException", message))
        }
    }
}

fn config(request: &RestRequest<'_>) -> Result<RestResponse, RestError> {
    let warehouse = request.query.iter().find(|(key, _)| key == "warehouse").map(|(_, value)| value.as_str());
    if warehouse.is_some_and(|name| !name.is_empty() && name != WAREHOUSE) {
        let message = format!("there is one warehouse, {WAREHOUSE}; it may be left out");
        return Err(RestError::new(404, "NotFoundException", message));
    }
    let answer = json!({"defaults": {}, "overrides": {}, "endpoints": ENDPOINTS});
    Ok(RestResponse::json(200, &answer))
}

fn list_namespaces(request: &RestRequest<'_>, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let parent = request.query.iter().find(|(key, value)| key == "parent" && !value.is_empty());
    let parent = parent.map(|(_, name)| namespace_of(name).inner()).unwrap_or_default();
    let state = catalog.state.lock();
    let mut namespaces = state.store.namespaces()?;
    namespaces.retain(|namespace| {
        let levels: &[String] = namespace.as_ref();
        levels.len() == parent.len() + 1 && levels.starts_with(&parent)
    });
    Ok(RestResponse::json(200, &ListNamespaceResponse { namespaces, next_page_token: None }))
}

fn create_namespace(request: &RestRequest<'_>, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let wanted: NamespaceResponse = parse(&request.body)?;
    if let Some(bad) = wanted.namespace.as_ref().iter().find(|level| !is_safe_name(level)) {
        return Err(RestError::bad_request(format!("{bad:?} cannot be a namespace: it would leave its folder")));
    }
    let created = catalog.state.lock().store.create_namespace(&wanted.namespace, &wanted.properties)?;
    if !created {
        let message = format!("namespace {} exists", wanted.namespace.as_ref().join("."));
        return Err(RestError::new(409, "AlreadyExistsException", message));
    }
    Ok(RestResponse::json(200, &wanted))
}

fn get_namespace(namespace: &NamespaceIdent, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let properties = catalog.state.lock().store.namespace(namespace)?;
    let properties = properties.ok_or_else(|| RestError::no_namespace(namespace))?;
    Ok(RestResponse::json(200, &NamespaceResponse { namespace: namespace.clone(), properties }))
}

fn drop_namespace(namespace: &NamespaceIdent, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let state = catalog.state.lock();
    if state.store.namespace(namespace)?.is_none() {
        return Err(RestError::no_namespace(namespace));
    }
    if !state.store.tables(namespace)?.is_empty() {
        let message = format!("namespace {} holds tables", namespace.as_ref().join("."));
        return Err(RestError::new(409, "NamespaceNotEmptyException", message));
    }
    state.store.drop_namespace(namespace)?;
    Ok(RestResponse::empty(204))
}

fn update_namespace(
    request: &RestRequest<'_>,
    namespace: &NamespaceIdent,
    catalog: &EmbeddedCatalog,
) -> Result<RestResponse, RestError> {
    let change: UpdateNamespacePropertiesRequest = parse(&request.body)?;
    let state = catalog.state.lock();
    let properties = state.store.namespace(namespace)?;
    let mut properties: HashMap<String, String> = properties.ok_or_else(|| RestError::no_namespace(namespace))?;
    let (removed, missing): (Vec<String>, Vec<String>) =
        change.removals.unwrap_or_default().into_iter().partition(|key| properties.remove(key).is_some());
    let updated: Vec<String> = change.updates.keys().cloned().collect();
    properties.extend(change.updates);
    state.store.set_namespace_properties(namespace, &properties)?;
    Ok(RestResponse::json(200, &json!({"updated": updated, "removed": removed, "missing": missing})))
}

fn list_tables(namespace: &NamespaceIdent, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let state = catalog.state.lock();
    if state.store.namespace(namespace)?.is_none() {
        return Err(RestError::no_namespace(namespace));
    }
    let identifiers = state.store.tables(namespace)?;
    Ok(RestResponse::json(200, &ListTablesResponse { identifiers, next_page_token: None }))
}

fn create_table(
    request: &RestRequest<'_>,
    namespace: &NamespaceIdent,
    catalog: &EmbeddedCatalog,
) -> Result<RestResponse, RestError> {
    let request: CreateTableRequest = parse(&request.body)?;
    catalog.create_table(namespace, request).map(loaded)
}

fn load_table(table: &TableIdent, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let found = catalog.state.lock().load(table)?;
    found.map(loaded).ok_or_else(|| RestError::no_table(table))
}

// The config stays empty: some clients take anything in it for S3 settings and demand a region.
fn loaded(table: LoadedTable) -> RestResponse {
    let answer = LoadTableResult {
        metadata_location: Some(table.metadata_location),
        metadata: table.metadata.as_ref().clone(),
        config: HashMap::new(),
        storage_credentials: None,
    };
    RestResponse::json(200, &answer)
}

fn commit(request: &RestRequest<'_>, table: &TableIdent, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let request: CommitTableRequest = parse(&request.body)?;
    let applied = catalog.commit_table(table, request, Origin::Guest)?;
    let answer = CommitTableResponse {
        metadata_location: applied.metadata_location,
        metadata: applied.metadata.as_ref().clone(),
    };
    Ok(RestResponse::json(200, &answer))
}

/// Names become folders. The separator of namespace levels is the one control character allowed.
pub(super) fn is_safe_name(name: &str) -> bool {
    let safe = |level: &str| {
        !level.is_empty()
            && level != "."
            && level != ".."
            && !level.chars().any(|char| char == '/' || char == '\\' || char.is_control())
    };
    name.split('\u{1f}').all(safe)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, RestError> {
    serde_json::from_slice(body).map_err(|error| RestError::bad_request(format!("cannot read the request: {error}")))
}

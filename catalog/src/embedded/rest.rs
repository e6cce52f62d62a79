//! The Iceberg REST protocol as a function: plain request in, plain response out.
//! (Apache Iceberg REST catalog specification, v1 paths.)

use bytes::Bytes;
use iceberg::TableIdent;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::answer::{RestError, RestResponse};
use super::store::namespace_of;
use super::{EmbeddedCatalog, WAREHOUSE, namespaces, tables};

/// What the caller's token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

#[derive(Debug, Default)]
pub struct RestRequest<'a> {
    /// `GET`, `HEAD`, `POST` or `DELETE`.
    pub method: &'a str,
    /// Behind the mount point, such as `/v1/config`; still percent-encoded.
    pub path: &'a str,
    /// Decoded.
    pub query: Vec<(String, String)>,
    /// The header of this name.
    pub if_none_match: Option<&'a str>,
    /// Whether the header `X-Iceberg-Access-Delegation` asks for keys of the storage.
    pub wants_credentials: bool,
    pub body: Bytes,
}

impl RestRequest<'_> {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Exactly what is served: clients take a missing list for the whole standard.
const ENDPOINTS: [&str; 17] = [
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
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "POST /v1/{prefix}/tables/rename",
    "POST /v1/{prefix}/transactions/commit",
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
    if let Some(bad) = segments.iter().find(|segment| !is_safe_name(segment)) {
        return Err(RestError::bad_request(format!("{bad:?} cannot be a name: it would leave its folder")));
    }
    let namespace = |name: &str| namespace_of(name);
    let table = |space: &str, name: &str| TableIdent::new(namespace_of(space), name.to_owned());
    let done = |()| RestResponse::empty(204);
    match (request.method, segments.as_slice()) {
        ("GET", ["v1", "config"]) => config(request),
        ("GET", ["v1", "namespaces"]) => namespaces::list(request, catalog),
        ("POST", ["v1", "namespaces"]) => write().and_then(|()| namespaces::create(request, catalog)),
        ("GET", ["v1", "namespaces", ns]) => namespaces::get(&namespace(ns), catalog),
        ("HEAD", ["v1", "namespaces", ns]) => namespaces::get(&namespace(ns), catalog).map(|_| done(())),
        ("DELETE", ["v1", "namespaces", ns]) => write().and_then(|()| namespaces::drop_empty(&namespace(ns), catalog)),
        ("POST", ["v1", "namespaces", ns, "properties"]) => {
            write().and_then(|()| namespaces::update(request, &namespace(ns), catalog))
        }
        ("POST", ["v1", "namespaces", ns, "register"]) => {
            write().and_then(|()| tables::register((request, access), &namespace(ns), catalog))
        }
        ("GET", ["v1", "namespaces", ns, "views"]) => {
            namespaces::get(&namespace(ns), catalog).map(|_| RestResponse::json(200, &json!({"identifiers": []})))
        }
        ("GET", ["v1", "namespaces", ns, "tables"]) => tables::list(request, &namespace(ns), catalog),
        ("POST", ["v1", "namespaces", ns, "tables"]) => {
            write().and_then(|()| tables::create((request, access), &namespace(ns), catalog))
        }
        ("GET", ["v1", "namespaces", ns, "tables", name]) => tables::load((request, access), &table(ns, name), catalog),
        ("HEAD", ["v1", "namespaces", ns, "tables", name]) => tables::find(&table(ns, name), catalog).map(|_| done(())),
        ("POST", ["v1", "namespaces", ns, "tables", name]) => {
            write().and_then(|()| tables::commit(request, &table(ns, name), catalog))
        }
        ("DELETE", ["v1", "namespaces", ns, "tables", name]) => {
            let purge = request.parameter("purgeRequested").is_some_and(|value| value.eq_ignore_ascii_case("true"));
            write().and_then(|()| catalog.drop_table(&table(ns, name), purge)).map(done)
        }
        ("GET", ["v1", "namespaces", ns, "tables", name, "credentials"]) => tables::find(&table(ns, name), catalog)
            .map(|_| RestResponse::json(200, &json!({"storage-credentials": []}))),
        ("POST", ["v1", "namespaces", _, "tables", _, "metrics"]) => Ok(done(())),
        ("POST", ["v1", "tables", "rename"]) => write().and_then(|()| tables::rename(request, catalog)),
        ("POST", ["v1", "transactions", "commit"]) => {
            write().and_then(|()| tables::commit_transaction(request, catalog))
        }
        (method, _) => {
            let message = format!("{method} {} is not served", request.path);
            Err(RestError::new(404, "NoSuchEndpointException", message))
        }
    }
}

fn config(request: &RestRequest<'_>) -> Result<RestResponse, RestError> {
    if request.parameter("warehouse").is_some_and(|name| !name.is_empty() && name != WAREHOUSE) {
        let message = format!("there is one warehouse, {WAREHOUSE}; it may be left out");
        return Err(RestError::new(404, "NotFoundException", message));
    }
    let answer = json!({"defaults": {}, "overrides": {}, "endpoints": ENDPOINTS});
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

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, RestError> {
    serde_json::from_slice(body).map_err(|error| RestError::bad_request(format!("cannot read the request: {error}")))
}

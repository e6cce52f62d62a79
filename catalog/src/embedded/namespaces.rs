//! Routes of namespaces.

use std::collections::HashMap;

use iceberg::NamespaceIdent;
use iceberg_catalog_rest::{ListNamespaceResponse, NamespaceResponse, UpdateNamespacePropertiesRequest};
use serde_json::json;

use super::EmbeddedCatalog;
use super::answer::{RestError, RestResponse};
use super::page::{self, Page};
use super::rest::{RestRequest, is_safe_name, parse};
use super::store::{name_of, namespace_of};

pub(super) fn list(request: &RestRequest<'_>, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let parent = request.parameter("parent").filter(|parent| !parent.is_empty());
    let parent = parent.map(|name| namespace_of(name).inner()).unwrap_or_default();
    let page = Page::of(request)?;
    let state = catalog.state.lock();
    let mut namespaces = state.store.namespaces()?;
    namespaces.retain(|namespace| {
        let levels: &[String] = namespace.as_ref();
        levels.len() == parent.len() + 1 && levels.starts_with(&parent)
    });
    let (namespaces, next_page_token) = page::cut(namespaces, page, name_of);
    Ok(RestResponse::json(200, &ListNamespaceResponse { namespaces, next_page_token }))
}

pub(super) fn create(request: &RestRequest<'_>, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let wanted: NamespaceResponse = parse(&request.body)?;
    if let Some(bad) = wanted.namespace.as_ref().iter().find(|level| !is_safe_name(level)) {
        return Err(RestError::bad_request(format!("{bad:?} cannot be a namespace: it would leave its folder")));
    }
    let created = catalog.state.lock().store.create_namespace(&wanted.namespace, &wanted.properties)?;
    if !created {
        return Err(RestError::exists(format!("namespace {} exists", wanted.namespace.as_ref().join("."))));
    }
    Ok(RestResponse::json(200, &wanted))
}

pub(super) fn get(namespace: &NamespaceIdent, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let properties = catalog.state.lock().store.namespace(namespace)?;
    let properties = properties.ok_or_else(|| RestError::no_namespace(namespace))?;
    Ok(RestResponse::json(200, &NamespaceResponse { namespace: namespace.clone(), properties }))
}

pub(super) fn drop_empty(namespace: &NamespaceIdent, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
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

pub(super) fn update(
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

//! Routes of tables.

use std::collections::HashMap;

use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent};
use iceberg_catalog_rest::{
    CommitTableRequest, CommitTableResponse, CreateTableRequest, ListTablesResponse, LoadTableResult,
    RegisterTableRequest, RenameTableRequest,
};
use serde::Deserialize;
use serde_json::Value;

use super::EmbeddedCatalog;
use super::answer::{RestError, RestResponse};
use super::commit::Origin;
use super::create::Created;
use super::etag::{self, Snapshots, etag};
use super::page::{self, Page};
use super::rest::{Access, RestRequest, is_safe_name, parse};
use crate::snapshot::references;
use crate::table_catalog::LoadedTable;

/// Changes of several tables in one transaction.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CommitTransactionRequest {
    table_changes: Vec<CommitTableRequest>,
}

pub(super) fn list(
    request: &RestRequest<'_>,
    namespace: &NamespaceIdent,
    catalog: &EmbeddedCatalog,
) -> Result<RestResponse, RestError> {
    let page = Page::of(request)?;
    let state = catalog.state.lock();
    if state.store.namespace(namespace)?.is_none() {
        return Err(RestError::no_namespace(namespace));
    }
    let tables = state.store.tables(namespace)?;
    let (identifiers, next_page_token) = page::cut(tables, page, |table| table.name().to_owned());
    Ok(RestResponse::json(200, &ListTablesResponse { identifiers, next_page_token }))
}

pub(super) fn create(
    (request, access): (&RestRequest<'_>, Access),
    namespace: &NamespaceIdent,
    catalog: &EmbeddedCatalog,
) -> Result<RestResponse, RestError> {
    let creation: CreateTableRequest = parse(&request.body)?;
    let lent = catalog.lent(request, access);
    Ok(match catalog.create_table(namespace, creation, Origin::Guest)? {
        Created::Stored(table) => loaded(&table, Snapshots::All, lent),
        Created::Staged(metadata) => RestResponse::json(200, &load_result(None, &metadata, lent)),
    })
}

pub(super) fn register(
    (request, access): (&RestRequest<'_>, Access),
    namespace: &NamespaceIdent,
    catalog: &EmbeddedCatalog,
) -> Result<RestResponse, RestError> {
    let asked: RegisterTableRequest = parse(&request.body)?;
    let ident = TableIdent::new(namespace.clone(), asked.name);
    let overwrite = asked.overwrite.unwrap_or(false);
    let table = catalog.register_table(&ident, &asked.metadata_location, overwrite)?;
    Ok(loaded(&table, Snapshots::All, catalog.lent(request, access)))
}

pub(super) fn rename(request: &RestRequest<'_>, catalog: &EmbeddedCatalog) -> Result<RestResponse, RestError> {
    let request: RenameTableRequest = parse(&request.body)?;
    catalog.rename_table(&request.source, &request.destination)?;
    Ok(RestResponse::empty(204))
}

pub(super) fn find(table: &TableIdent, catalog: &EmbeddedCatalog) -> Result<LoadedTable, RestError> {
    let found = catalog.state.lock().load(table)?;
    found.ok_or_else(|| RestError::no_table(table))
}

pub(super) fn load(
    (request, access): (&RestRequest<'_>, Access),
    table: &TableIdent,
    catalog: &EmbeddedCatalog,
) -> Result<RestResponse, RestError> {
    let snapshots = match request.parameter("snapshots") {
        None | Some("all" | "") => Snapshots::All,
        Some("refs") => Snapshots::Refs,
        Some(other) => return Err(RestError::bad_request(format!("snapshots={other}: use all or refs"))),
    };
    let table = find(table, catalog)?;
    let etag = etag(&table.metadata_location, snapshots);
    if request.if_none_match.is_some_and(|header| etag::matches(header, &etag)) {
        return Ok(RestResponse::empty(304).with_etag(etag));
    }
    Ok(loaded(&table, snapshots, catalog.lent(request, access)))
}

pub(super) fn commit(
    request: &RestRequest<'_>,
    table: &TableIdent,
    catalog: &EmbeddedCatalog,
) -> Result<RestResponse, RestError> {
    let request: CommitTableRequest = parse(&request.body)?;
    if let Some(other) = request.identifier.as_ref().filter(|other| *other != table) {
        return Err(RestError::bad_request(format!("the path names table {table}, the request {other}")));
    }
    let applied = catalog.commit_table(table, request, Origin::Guest)?;
    let etag = etag(&applied.metadata_location, Snapshots::All);
    let answer = CommitTableResponse {
        metadata_location: applied.metadata_location,
        metadata: applied.metadata.as_ref().clone(),
    };
    Ok(RestResponse::json(200, &answer).with_etag(etag))
}

pub(super) fn commit_transaction(
    request: &RestRequest<'_>,
    catalog: &EmbeddedCatalog,
) -> Result<RestResponse, RestError> {
    let request: CommitTransactionRequest = parse(&request.body)?;
    let mut changes = Vec::with_capacity(request.table_changes.len());
    for mut change in request.table_changes {
        let Some(ident) = change.identifier.take() else {
            return Err(RestError::bad_request("a change of a transaction needs the identifier of its table"));
        };
        let names = ident.namespace().as_ref().iter().map(String::as_str).chain([ident.name()]);
        if let Some(bad) = names.into_iter().find(|name| !is_safe_name(name)) {
            return Err(RestError::bad_request(format!("{bad:?} cannot be a name: it would leave its folder")));
        }
        changes.push((ident, change));
    }
    catalog.commit_tables(changes, Origin::Guest)?;
    Ok(RestResponse::empty(204))
}

fn loaded(table: &LoadedTable, snapshots: Snapshots, config: HashMap<String, String>) -> RestResponse {
    let answer = load_result(Some(table.metadata_location.clone()), &table.metadata, config);
    let etag = etag(&table.metadata_location, snapshots);
    match snapshots {
        Snapshots::All => RestResponse::json(200, &answer),
        Snapshots::Refs => RestResponse::json(200, &with_referenced_snapshots(&answer)),
    }
    .with_etag(etag)
}

// For local files the config stays empty: some clients take anything in it for S3 settings and demand a region.
fn load_result(
    metadata_location: Option<String>,
    metadata: &TableMetadata,
    config: HashMap<String, String>,
) -> LoadTableResult {
    LoadTableResult { metadata_location, metadata: metadata.clone(), config, storage_credentials: None }
}

/// The answer without the snapshots that no branch or tag names.
fn with_referenced_snapshots(answer: &LoadTableResult) -> Value {
    let named: Vec<i64> = references(&answer.metadata).values().map(|reference| reference.snapshot_id).collect();
    let mut answer = serde_json::to_value(answer).expect("answers are plain data");
    if let Some(snapshots) = answer["metadata"]["snapshots"].as_array_mut() {
        snapshots.retain(|snapshot| snapshot["snapshot-id"].as_i64().is_some_and(|id| named.contains(&id)));
    }
    answer
}

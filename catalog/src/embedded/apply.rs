//! Creating, committing to and dropping tables.
//!
//! One commit: requirements checked → updates applied → metadata file written and synced → pointer
//! moved in SQLite → shown to queries; all under one lock.

use std::path::{Component, Path};
use std::sync::Arc;

use iceberg::spec::{FormatVersion, TableMetadata, TableMetadataBuildResult, TableMetadataBuilder};
use iceberg::{ErrorKind, NamespaceIdent, TableCreation, TableIdent, TableUpdate};
use iceberg_catalog_rest::{CommitTableRequest, CreateTableRequest};
use uuid::Uuid;

use super::answer::RestError;
use super::rest::is_safe_name;
use super::{EmbeddedCatalog, guard};
use crate::objects::{create_folder, local, local_path, location_of};
use crate::table_catalog::LoadedTable;

/// Who commits: guests may not break what our writer relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Ours,
    Guest,
}

impl EmbeddedCatalog {
    pub(super) fn create_table(
        &self,
        namespace: &NamespaceIdent,
        request: CreateTableRequest,
    ) -> Result<LoadedTable, RestError> {
        if request.stage_create == Some(true) {
            return Err(RestError::new(406, "UnsupportedOperationException", "staged creation is not supported"));
        }
        let ident = TableIdent::new(namespace.clone(), request.name.clone());
        if !is_safe_name(&request.name) {
            let name = request.name;
            return Err(RestError::bad_request(format!("{name:?} cannot be a table: it would leave its folder")));
        }
        let mut state = self.state.lock();
        if state.store.namespace(namespace)?.is_none() {
            return Err(RestError::no_namespace(namespace));
        }
        if state.store.table(&ident)?.is_some() {
            let message = format!("table {ident} exists");
            return Err(RestError::new(409, "AlreadyExistsException", message));
        }
        let location = self.location_for(&ident, request.location.clone())?;
        check_apart(&state, &ident, &location)?;
        let metadata = new_metadata(request, location)?;
        let metadata_location = next_location(&metadata, None);
        write_metadata(&metadata_location, &metadata)?;
        let uuid = metadata.uuid().to_string();
        state.store.insert_table(&ident, &uuid, &metadata_location, self.clock.now_ms())?;
        let loaded = LoadedTable { metadata: Arc::new(metadata), metadata_location };
        state.remember(&loaded.metadata_location, &loaded.metadata);
        self.show(&ident, &loaded);
        Ok(loaded)
    }

    /// Applies a commit, or changes nothing.
    pub fn commit_table(
        &self,
        ident: &TableIdent,
        request: CommitTableRequest,
        origin: Origin,
    ) -> Result<LoadedTable, RestError> {
        let mut state = self.state.lock();
        let before = state.load(ident)?.ok_or_else(|| RestError::no_table(ident))?;
        for requirement in &request.requirements {
            requirement.check(Some(&before.metadata)).map_err(refusal)?;
        }
        if origin == Origin::Guest {
            self.check_locations(&state, ident, &request)?;
        }
        let ours = self.settings.table_of(ident);
        if let (Some(table), Origin::Guest) = (ours, origin) {
            guard::check_updates(&before.metadata, &request.updates)?;
            let after = apply(&before, request)?;
            guard::check_result(table, &before.metadata, &after.metadata, self.clock.now_ms())?;
            return self.store_commit(&mut state, ident, &before, after.metadata);
        }
        let after = apply(&before, request)?;
        self.store_commit(&mut state, ident, &before, after.metadata)
    }

    fn store_commit(
        &self,
        state: &mut super::State,
        ident: &TableIdent,
        before: &LoadedTable,
        metadata: TableMetadata,
    ) -> Result<LoadedTable, RestError> {
        let metadata_location = next_location(&metadata, Some(&before.metadata_location));
        write_metadata(&metadata_location, &metadata)?;
        let moved = state.store.move_table(ident, &before.metadata_location, &metadata_location, self.clock.now_ms());
        // After an error the database's log may still hold the move: then the file must stay.
        if !moved? {
            let _ = local_path(&metadata_location).map(std::fs::remove_file);
            return Err(RestError::conflict(format!("table {ident} was changed meanwhile")));
        }
        let loaded = LoadedTable { metadata: Arc::new(metadata), metadata_location };
        state.decoded.remove(&before.metadata_location);
        state.remember(&loaded.metadata_location, &loaded.metadata);
        self.show(ident, &loaded);
        Ok(loaded)
    }

    /// Drops a guest's table; with `purge`, its files too.
    pub(super) fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<(), RestError> {
        if self.settings.table_of(ident).is_some() {
            return Err(RestError::bad_request(format!("{ident} is hogflare's own table and cannot be dropped")));
        }
        let mut state = self.state.lock();
        let loaded = state.load(ident)?.ok_or_else(|| RestError::no_table(ident))?;
        state.store.drop_table(ident)?;
        if purge {
            let folder = local_path(loaded.metadata.location())?;
            let location = loaded.metadata.location();
            if self.is_inside(location) && check_apart(&state, ident, location).is_ok() {
                let _ = std::fs::remove_dir_all(&folder);
            }
        }
        Ok(())
    }

    /// A guest may move a table of its own, but not out of the warehouse.
    fn check_locations(
        &self,
        state: &super::State,
        ident: &TableIdent,
        request: &CommitTableRequest,
    ) -> Result<(), RestError> {
        for update in &request.updates {
            let TableUpdate::SetLocation { location } = update else { continue };
            if !self.is_inside(location) {
                let warehouse = self.warehouse_location();
                return Err(RestError::bad_request(format!("location {location} is outside of {warehouse}")));
            }
            check_apart(state, ident, location)?;
        }
        Ok(())
    }

    fn is_inside(&self, location: &str) -> bool {
        let Ok(path) = local_path(location) else { return false };
        let plain = path.components().all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
        plain && path.starts_with(&self.warehouse) && path != self.warehouse && !location.contains("/..")
    }

    /// The asked-for location if it is inside the warehouse, else a new folder named after the table.
    fn location_for(&self, ident: &TableIdent, asked: Option<String>) -> Result<String, RestError> {
        if let Some(asked) = asked {
            if !self.is_inside(&asked) {
                let warehouse = self.warehouse_location();
                return Err(RestError::bad_request(format!("location {asked} is outside of {warehouse}")));
            }
            return Ok(asked.trim_end_matches('/').to_owned());
        }
        let mut path = self.warehouse.clone();
        path.extend(ident.namespace().as_ref().iter());
        path.push(ident.name());
        if path.exists() {
            let suffix = Uuid::new_v4().simple().to_string();
            path.set_file_name(format!("{}-{}", ident.name(), &suffix[..8]));
        }
        Ok(location_of(&path))
    }
}

/// Tables do not share folders: a purge or our sweep would take another's files.
fn check_apart(state: &super::State, ident: &TableIdent, location: &str) -> Result<(), RestError> {
    let wanted = local_path(location)?;
    for (other, pointer) in state.store.pointers()? {
        let pointer = local_path(&pointer)?;
        let Some(folder) = pointer.parent().and_then(Path::parent) else { continue };
        if other != *ident && (wanted.starts_with(folder) || folder.starts_with(&wanted)) {
            return Err(RestError::bad_request(format!("location {location} overlaps that of table {other}")));
        }
    }
    Ok(())
}

fn new_metadata(request: CreateTableRequest, location: String) -> Result<TableMetadata, RestError> {
    let mut properties = request.properties;
    let format_version = match properties.remove("format-version").as_deref() {
        None | Some("2") => FormatVersion::V2,
        Some("1") => FormatVersion::V1,
        Some(other) => return Err(RestError::bad_request(format!("format version {other} is not supported"))),
    };
    let creation = TableCreation {
        name: request.name,
        location: Some(location),
        schema: request.schema,
        partition_spec: request.partition_spec,
        sort_order: request.write_order,
        properties,
        format_version,
    };
    let built = TableMetadataBuilder::from_table_creation(creation)
        .and_then(|builder| builder.assign_uuid(Uuid::new_v4()).build());
    Ok(built.map_err(refusal)?.metadata)
}

fn apply(before: &LoadedTable, request: CommitTableRequest) -> Result<TableMetadataBuildResult, RestError> {
    let location = Some(before.metadata_location.clone());
    let mut builder = before.metadata.as_ref().clone().into_builder(location);
    for update in request.updates {
        builder = update.apply(builder).map_err(refusal)?;
    }
    builder.build().map_err(refusal)
}

/// A failed requirement is a conflict; anything else is the client's mistake.
fn refusal(error: iceberg::Error) -> RestError {
    match error.kind() {
        ErrorKind::CatalogCommitConflicts => RestError::conflict(error.to_string()),
        _ => RestError::bad_request(error.to_string()),
    }
}

/// `<table location>/metadata/<version, five digits>-<uuid>.metadata.json`.
fn next_location(metadata: &TableMetadata, before: Option<&str>) -> String {
    let name = before.and_then(|location| location.rsplit('/').next()).unwrap_or_default();
    let version = name.split('-').next().and_then(|digits| digits.parse::<u64>().ok());
    let next = version.map_or(0, |version| version + 1);
    let location = metadata.location().trim_end_matches('/');
    format!("{location}/metadata/{next:05}-{}.metadata.json", Uuid::new_v4())
}

fn write_metadata(location: &str, metadata: &TableMetadata) -> Result<(), RestError> {
    let bytes = serde_json::to_vec(metadata).expect("metadata is plain data");
    // Guests that write files themselves expect the folders of a table to be there.
    let path = local_path(location)?;
    if let Some(table) = path.parent().and_then(|folder| folder.parent()) {
        create_folder(&table.join("data"))?;
    }
    Ok(local::put_new(location, &bytes)?)
}

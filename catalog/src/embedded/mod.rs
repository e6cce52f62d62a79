//! The embedded catalog: table pointers in SQLite, metadata files in the warehouse folder, and the
//! Iceberg REST protocol over both. The committer and the routes call the same functions.

mod answer;
mod apply;
mod guard;
mod rest;
mod store;

pub use answer::{RestError, RestResponse};
pub use apply::Origin;
pub use rest::{Access, RestRequest, rest};

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent};
use iceberg_catalog_rest::{CommitTableRequest, CreateTableRequest};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::head::TableHead;
use crate::lake::LakeSettings;
use crate::objects::{local_path, location_of};
use crate::table_catalog::{CatalogError, CommitReply, LoadedTable, TableCatalog};
use crate::view::Views;
use store::Store;

/// Name that clients give as their warehouse, if they give one.
pub const WAREHOUSE: &str = "hogflare";

/// See the module. One process owns it; every call blocks on one lock, held for some milliseconds.
#[derive(Debug)]
pub struct EmbeddedCatalog {
    warehouse: PathBuf,
    settings: LakeSettings,
    views: Arc<Views>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    store: Store,
    /// Decoded metadata by location; the file of a location never changes.
    decoded: HashMap<String, Arc<TableMetadata>>,
}

impl EmbeddedCatalog {
    /// Opens `catalog.sqlite` and `warehouse/` in the data folder.
    pub fn open(
        folder: &Path,
        settings: LakeSettings,
        views: Arc<Views>,
        clock: Arc<dyn Clock>,
    ) -> Result<EmbeddedCatalog> {
        let store = Store::open(&folder.join("catalog.sqlite"))?;
        let state = Mutex::new(State { store, decoded: HashMap::new() });
        Ok(EmbeddedCatalog { warehouse: folder.join("warehouse"), settings, views, clock, state })
    }

    /// The location under which all tables must stand.
    pub fn warehouse_location(&self) -> String {
        location_of(&self.warehouse)
    }

    /// Shows a commit to one of our tables to queries. Called with the catalog's lock held, so that
    /// views follow the order of commits.
    fn show(&self, ident: &TableIdent, loaded: &LoadedTable) {
        let Some(table) = self.settings.table_of(ident) else { return };
        let head = TableHead::new(table, Arc::clone(&loaded.metadata), loaded.metadata_location.clone());
        if let Err(error) = head.and_then(|head| self.views.publish_head(Arc::new(head))) {
            tracing::error!(%ident, error = crate::error::chain(&error), "cannot show a commit");
        }
    }
}

impl State {
    fn load(&mut self, ident: &TableIdent) -> Result<Option<LoadedTable>> {
        let Some(metadata_location) = self.store.table(ident)? else { return Ok(None) };
        let metadata = self.decode(&metadata_location)?;
        Ok(Some(LoadedTable { metadata, metadata_location }))
    }

    fn decode(&mut self, location: &str) -> Result<Arc<TableMetadata>> {
        if let Some(metadata) = self.decoded.get(location) {
            return Ok(Arc::clone(metadata));
        }
        let path = local_path(location)?;
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let metadata: TableMetadata = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Corrupt(format!("{}: not table metadata: {error}", path.display())))?;
        let metadata = Arc::new(metadata);
        self.remember(location, &metadata);
        Ok(metadata)
    }

    fn remember(&mut self, location: &str, metadata: &Arc<TableMetadata>) {
        const TABLES_MAX: usize = 64;
        if self.decoded.len() >= TABLES_MAX {
            self.decoded.clear();
        }
        self.decoded.insert(location.to_owned(), Arc::clone(metadata));
    }
}

#[async_trait]
impl TableCatalog for EmbeddedCatalog {
    async fn load(&self, table: &TableIdent) -> Result<Option<LoadedTable>, CatalogError> {
        Ok(self.state.lock().load(table)?)
    }

    async fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        let state = self.state.lock();
        if state.store.namespace(namespace)?.is_none() {
            state.store.create_namespace(namespace, &HashMap::new())?;
        }
        Ok(())
    }

    async fn create(&self, table: &TableIdent, request: CreateTableRequest) -> Result<LoadedTable, CatalogError> {
        self.create_table(table.namespace(), request).map_err(|error| CatalogError::new(error.message))
    }

    async fn commit(&self, table: &TableIdent, request: CommitTableRequest) -> CommitReply {
        match self.commit_table(table, request, Origin::Ours) {
            Ok(loaded) => CommitReply::Applied(loaded),
            Err(error) if error.status == 409 => CommitReply::Conflict(error.message),
            Err(error) if error.status >= 500 => CommitReply::Unknown(error.message),
            Err(error) => CommitReply::Rejected(error.message),
        }
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<(), CatalogError> {
        match EmbeddedCatalog::drop_table(self, table, false) {
            Err(error) if error.status != 404 => Err(CatalogError::new(error.message)),
            _ => Ok(()),
        }
    }
}

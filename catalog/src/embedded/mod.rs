//! The embedded catalog: table pointers in SQLite, metadata files in the warehouse folder, and the
//! Iceberg REST protocol over both. The committer and the routes call the same functions.
//!
//! `rest` finds the route, `namespaces` and `tables` answer it; `create`, `commit` and `change` change tables,
//! with `guard` and `new_files` between guests and our own; `store` and `warehouse` are the ground.

mod answer;
mod change;
mod commit;
mod create;
mod etag;
mod guard;
mod namespaces;
mod new_files;
mod page;
mod rest;
mod store;
mod tables;
mod warehouse;

pub use answer::{RestError, RestResponse};
pub use commit::Origin;
pub use rest::{Access, RestRequest, rest};

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent};
use iceberg_catalog_rest::{CommitTableRequest, CreateTableRequest};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::error::Result;
use crate::head::TableHead;
use crate::lake::LakeSettings;
use crate::objects::{Objects, location_of};
use crate::pause::Pauses;
use crate::table_catalog::{CatalogError, CommitReply, LoadedTable, TableCatalog};
use crate::view::Views;
use store::Store;
use warehouse::{Warehouse, folder_of, overlap};

/// Name that clients give as their warehouse, if they give one.
pub const WAREHOUSE: &str = "hogflare";

/// See the module. One process owns it; clones are the same catalog. The plain methods block on one lock, held
/// for some milliseconds, and on the disk; those of [`TableCatalog`] do so on threads that may block.
#[derive(Clone, Debug)]
pub struct EmbeddedCatalog {
    warehouse: Warehouse,
    settings: LakeSettings,
    views: Arc<Views>,
    clock: Arc<dyn Clock>,
    pauses: Arc<Pauses>,
    lent: Arc<HashMap<String, String>>,
    state: Arc<Mutex<State>>,
}

/// Where the tables of the embedded catalog stand.
#[derive(Clone, Debug)]
pub struct WarehouseFiles {
    /// A location such as `s3://bucket/prefix`; without one, `warehouse/` in the data folder.
    pub root: Option<String>,
    pub objects: Objects,
    /// Settings and keys of the storage, as `config` of the protocol, for guests who may write and ask.
    pub lent: HashMap<String, String>,
}

impl WarehouseFiles {
    /// In the data folder.
    pub fn local() -> WarehouseFiles {
        WarehouseFiles { root: None, objects: Objects::local(), lent: HashMap::new() }
    }
}

#[derive(Debug)]
struct State {
    store: Store,
    warehouse: Warehouse,
    /// Decoded metadata by location; the file of a location never changes.
    decoded: HashMap<String, Arc<TableMetadata>>,
}

impl EmbeddedCatalog {
    /// Opens `catalog.sqlite` in the data folder.
    pub fn open(
        folder: &Path,
        settings: LakeSettings,
        views: Arc<Views>,
        clock: Arc<dyn Clock>,
        files: WarehouseFiles,
    ) -> Result<EmbeddedCatalog> {
        let store = Store::open(&folder.join("catalog.sqlite"))?;
        let root = files.root.unwrap_or_else(|| location_of(&folder.join("warehouse")));
        let warehouse = Warehouse::new(root, files.objects)?;
        let state = State { store, warehouse: warehouse.clone(), decoded: HashMap::new() };
        let (pauses, state) = (Arc::default(), Arc::new(Mutex::new(state)));
        Ok(EmbeddedCatalog { warehouse, settings, views, clock, pauses, lent: Arc::new(files.lent), state })
    }

    /// The location under which all tables must stand.
    pub fn warehouse_location(&self) -> String {
        self.warehouse.location()
    }

    /// The keys would let a reader write.
    fn lent(&self, request: &RestRequest<'_>, access: Access) -> HashMap<String, String> {
        match request.wants_credentials && access == Access::Write {
            true => self.lent.as_ref().clone(),
            false => HashMap::new(),
        }
    }

    /// Shows commits to our tables to queries, all in one step. Called with the catalog's lock held, so
    /// that views follow the order of commits.
    fn show(&self, committed: &[(TableIdent, LoadedTable)]) {
        let ours = committed.iter().filter_map(|(ident, loaded)| Some((self.settings.table_of(ident)?, loaded)));
        let heads = ours.map(|(table, loaded)| {
            TableHead::new(table, Arc::clone(&loaded.metadata), loaded.metadata_location.clone()).map(Arc::new)
        });
        let shown = heads.collect::<Result<Vec<_>>>().and_then(|heads| self.views.publish_heads(heads));
        if let Err(error) = shown {
            tracing::error!(error = crate::error::chain(&error), "cannot show a commit");
        }
    }

    /// Runs blocking work away from the threads that serve requests. Work whose caller is gone still ends.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&EmbeddedCatalog) -> T + Send + 'static,
    ) -> Result<T, CatalogError> {
        let catalog = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&catalog)).await;
        done.map_err(|error| CatalogError::new(format!("the work did not end: {error}")))
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
        let metadata = Arc::new(self.warehouse.read_metadata(location)?);
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

    /// Tables do not share folders: a purge or our sweep would take another's files.
    fn check_apart(&self, ident: &TableIdent, location: &str) -> Result<(), RestError> {
        for (other, pointer) in self.store.pointers()? {
            let Some(folder) = folder_of(&pointer) else { continue };
            if other != *ident && overlap(location, folder)? {
                return Err(RestError::bad_request(format!("location {location} overlaps that of table {other}")));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl TableCatalog for EmbeddedCatalog {
    async fn load(&self, table: &TableIdent) -> Result<Option<LoadedTable>, CatalogError> {
        let table = table.clone();
        Ok(self.blocking(move |catalog| catalog.state.lock().load(&table)).await??)
    }

    async fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        let namespace = namespace.clone();
        let created = self.blocking(move |catalog| {
            let state = catalog.state.lock();
            state.store.create_namespace(&namespace, &HashMap::new()).map(|_| ())
        });
        Ok(created.await??)
    }

    async fn create(&self, table: &TableIdent, request: CreateTableRequest) -> Result<LoadedTable, CatalogError> {
        let namespace = table.namespace().clone();
        let created = self.blocking(move |catalog| catalog.create_table(&namespace, request, Origin::Ours));
        let created = created.await?.map_err(|error| CatalogError::new(error.message))?;
        created.stored().ok_or_else(|| CatalogError::new("a staged table is not created yet"))
    }

    async fn commit(&self, table: &TableIdent, request: CommitTableRequest) -> CommitReply {
        let table = table.clone();
        match self.blocking(move |catalog| catalog.commit_table(&table, request, Origin::Ours)).await {
            Ok(Ok(loaded)) => CommitReply::Applied(loaded),
            Ok(Err(error)) if error.status == 409 => CommitReply::Conflict(error.message),
            Ok(Err(error)) if error.status >= 500 => CommitReply::Unknown(error.message),
            Ok(Err(error)) => CommitReply::Rejected(error.message),
            Err(error) => CommitReply::Unknown(error.message),
        }
    }

    fn takes_transactions(&self) -> bool {
        true
    }

    async fn commit_together(
        &self,
        commits: Vec<(TableIdent, CommitTableRequest)>,
    ) -> Result<Vec<LoadedTable>, CatalogError> {
        let committed = self.blocking(move |catalog| catalog.commit_tables(commits, Origin::Ours)).await?;
        committed.map_err(|error| CatalogError::new(error.message))
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<(), CatalogError> {
        let table = table.clone();
        match self.blocking(move |catalog| EmbeddedCatalog::drop_table(catalog, &table, false)).await? {
            Err(error) if error.status != 404 => Err(CatalogError::new(error.message)),
            _ => Ok(()),
        }
    }

    /// Guests' lost races are noted here.
    fn pauses(&self) -> Option<&Arc<Pauses>> {
        Some(&self.pauses)
    }
}

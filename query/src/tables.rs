//! The names that a query can use: views first, then the tables themselves.
//!
//! One catalog `hogflare` with the schemas `hogflare` (views), the Iceberg namespace and its alias
//! `lake` (tables). Everything is made for one query, over its one view, and nothing can be added.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use hogflare_catalog::{ReadView, Table, TableView};
use parking_lot::Mutex;

use crate::scan::{IcebergTable, ScanContext, ScanCounts};
use crate::scoped::{self, Scope, ScopedTable};
use crate::settings::QuerySettings;
use crate::snapshots::SnapshotsTable;
use crate::travel::TimeTravel;
use crate::views;

/// The SQL catalog, and its schema of views.
pub(crate) const CATALOG: &str = "hogflare";
/// A name for the schema of tables that needs no quotes, whatever the namespace is.
const LAKE: &str = "lake";
/// The table of what the tables' metadata says of their snapshots, beside the tables.
const SNAPSHOTS: &str = "snapshots";

/// What the names of one query stand for.
#[derive(Debug)]
pub(crate) struct QueryTables {
    pub(crate) view: Arc<ReadView>,
    /// None for the present, the tail included.
    pub(crate) past: Option<TimeTravel>,
    pub(crate) scope: Scope,
    pub(crate) context: Arc<ScanContext>,
    pub(crate) counts: Arc<ScanCounts>,
    pub(crate) namespace: String,
    pub(crate) prefix: String,
    /// Plans the text of views.
    pub(crate) planner: Arc<SessionState>,
    /// Snapshot of each table that the query named; None for a table without one.
    pub(crate) used: Mutex<BTreeMap<&'static str, Option<i64>>>,
}

impl QueryTables {
    pub(crate) fn new(
        settings: &QuerySettings,
        view: Arc<ReadView>,
        past: Option<TimeTravel>,
        scope: Scope,
        context: &Arc<ScanContext>,
        planner: &Arc<SessionState>,
    ) -> Arc<QueryTables> {
        Arc::new(QueryTables {
            view,
            past,
            scope,
            context: Arc::clone(context),
            counts: Arc::new(ScanCounts::default()),
            namespace: settings.namespace.clone(),
            prefix: settings.table_prefix.clone(),
            planner: Arc::clone(planner),
            used: Mutex::default(),
        })
    }

    /// The session in which a statement is planned and runs.
    pub(crate) fn session(self: &Arc<Self>) -> SessionState {
        self.session_over(Level::Views)
    }

    /// A session for statements of ours about rows as they are stored: tables alone, under the names of
    /// [`views::name_of`].
    pub(crate) fn session_of_rows(self: &Arc<Self>) -> SessionState {
        self.session_over(Level::Bound)
    }

    fn session_over(self: &Arc<Self>, level: Level) -> SessionState {
        let mut state = SessionState::clone(&self.planner);
        state.register_catalog_list(Arc::new(Catalog { tables: Arc::clone(self), level }));
        state.mark_start_execution();
        state
    }

    fn named(&self, name: &str) -> Option<Table> {
        let short = name.strip_prefix(self.prefix.as_str())?;
        Table::ALL.into_iter().find(|table| table.short_name() == short)
    }

    fn is_ready(&self, table: Table) -> bool {
        self.read(table).is_ok_and(|view| self.scope.is_all() || scoped::project_column(table, &view).is_some())
    }

    /// The table at the instant that the query asks for.
    fn read(&self, table: Table) -> Result<TableView> {
        let view = self.view.table(table).map_err(|error| DataFusionError::External(Box::new(error)))?;
        match &self.past {
            None => Ok(view),
            Some(past) => past.read(table, view).map_err(|error| DataFusionError::External(Box::new(error))),
        }
    }

    /// The one place where a table becomes readable, confined to the projects of the reader.
    fn provider(&self, table: Table, view: TableView) -> Result<Arc<dyn TableProvider>> {
        let snapshot = view.snapshot().map(|snapshot| snapshot.snapshot_id());
        self.used.lock().insert(table.short_name(), snapshot);
        let whole = IcebergTable::new(view, Arc::clone(&self.context), Arc::clone(&self.counts));
        Ok(match &self.scope {
            Scope::All => Arc::new(whole),
            Scope::Only(projects) => Arc::new(ScopedTable::new(table, whole, projects)?),
        })
    }

    fn table(&self, table: Table) -> Result<Arc<dyn TableProvider>> {
        self.provider(table, self.read(table)?)
    }

    /// Counts and sizes of whole tables, which hold the rows of all projects.
    fn snapshots(&self) -> Result<Arc<dyn TableProvider>> {
        if !self.scope.is_all() {
            return Err(DataFusionError::External(Box::new(scoped::refused("lake.snapshots"))));
        }
        Ok(Arc::new(SnapshotsTable::new(&self.view)?))
    }
}

/// What unqualified names stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// For a query: views, else tables.
    Views,
    /// For the text of a view: tables under our own names, see [`views::bound`].
    Bound,
    /// Tables as they are.
    Tables,
}

#[derive(Debug)]
struct Catalog {
    tables: Arc<QueryTables>,
    level: Level,
}

impl CatalogProviderList for Catalog {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        let catalog = || Catalog { tables: Arc::clone(&self.tables), level: self.level };
        (name == CATALOG).then(|| Arc::new(catalog()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for Catalog {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema_names(&self) -> Vec<String> {
        let mut names = vec![CATALOG.to_owned(), self.tables.namespace.clone(), LAKE.to_owned()];
        names.dedup();
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let level = match name {
            CATALOG => self.level,
            LAKE => Level::Tables,
            name if name == self.tables.namespace => Level::Tables,
            _ => return None,
        };
        Some(Arc::new(Schema { tables: Arc::clone(&self.tables), level }))
    }
}

#[derive(Debug)]
struct Schema {
    tables: Arc<QueryTables>,
    level: Level,
}

#[async_trait]
impl SchemaProvider for Schema {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// For listings only: a table that cannot be read is left out here and refused by name.
    fn table_names(&self) -> Vec<String> {
        let ready = Table::ALL.into_iter().filter(|table| self.tables.is_ready(*table));
        match self.level {
            Level::Views => {
                let is_ready = |text| views::tables_of(text).all(|table| self.tables.is_ready(table));
                let views = views::VIEWS.into_iter().filter(|(_, text)| is_ready(text));
                views.map(|(name, _)| name.to_owned()).collect()
            }
            Level::Bound => Vec::new(),
            Level::Tables => {
                let tables = ready.map(|table| format!("{}{}", self.tables.prefix, table.short_name()));
                tables.chain(self.tables.scope.is_all().then(|| SNAPSHOTS.to_owned())).collect()
            }
        }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.level {
            Level::Views => {
                if let Some(text) = views::text(name) {
                    let session = self.tables.session_over(Level::Bound);
                    return Ok(Some(views::plan(&session, text).await?));
                }
                let Some(table) = self.tables.named(name) else { return Ok(None) };
                Ok(Some(self.tables.table(table)?))
            }
            Level::Bound => {
                let Some(table) = views::table_named(name) else { return Ok(None) };
                let view = self.tables.read(table)?;
                let provider = self.tables.provider(table, view.clone())?;
                Ok(Some(views::bound(table, &view, provider)?))
            }
            Level::Tables if name == SNAPSHOTS => Ok(Some(self.tables.snapshots()?)),
            Level::Tables => {
                let Some(table) = self.tables.named(name) else { return Ok(None) };
                Ok(Some(self.tables.table(table)?))
            }
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        match self.level {
            Level::Views => views::text(name).is_some() || self.tables.named(name).is_some(),
            Level::Bound => views::table_named(name).is_some(),
            Level::Tables => name == SNAPSHOTS || self.tables.named(name).is_some(),
        }
    }
}

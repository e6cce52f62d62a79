//! What the committer needs of a catalog: embedded in this process, or remote.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent};
use iceberg_catalog_rest::{CommitTableRequest, CreateTableRequest};

use crate::pause::Pauses;

/// A table's metadata and where it stands.
#[derive(Clone, Debug)]
pub struct LoadedTable {
    pub metadata: Arc<TableMetadata>,
    pub metadata_location: String,
}

#[async_trait]
pub trait TableCatalog: Debug + Send + Sync {
    /// The table as it is now; none if there is none.
    async fn load(&self, table: &TableIdent) -> Result<Option<LoadedTable>, CatalogError>;

    /// Creates the namespace if there is none.
    async fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError>;

    /// Creates the table; if another process was first, its table is the answer.
    async fn create(&self, table: &TableIdent, request: CreateTableRequest) -> Result<LoadedTable, CatalogError>;

    /// Posts a commit once. Never retries by itself: only the caller can tell a repeat from a race.
    async fn commit(&self, table: &TableIdent, request: CommitTableRequest) -> CommitReply;

    /// Whether [`TableCatalog::commit_together`] is served, and worth its cost.
    fn takes_transactions(&self) -> bool {
        false
    }

    /// Posts commits to several tables once: all of them are applied, or none. After an error that may
    /// still have happened.
    async fn commit_together(
        &self,
        _commits: Vec<(TableIdent, CommitTableRequest)>,
    ) -> Result<Vec<LoadedTable>, CatalogError> {
        Err(CatalogError::new("this catalog takes one table at a time"))
    }

    /// Drops a table's entry; its files stay. Dropping what is not there is no error.
    async fn drop_table(&self, table: &TableIdent) -> Result<(), CatalogError>;

    /// Where the catalog notes that a guest waits for us, if it does.
    fn pauses(&self) -> Option<&Arc<Pauses>> {
        None
    }

    /// Milliseconds by which the catalog's clock is ahead of ours, as far as it is known.
    fn clock_skew_ms(&self) -> i64 {
        0
    }
}

/// What a catalog answered to a commit.
#[derive(Debug)]
pub enum CommitReply {
    /// Applied; the metadata that resulted.
    Applied(LoadedTable),
    /// A requirement failed: somebody else moved the table, or this is our own commit replayed.
    Conflict(String),
    /// It may or may not have been applied.
    Unknown(String),
    /// Not applied; wait.
    RateLimited(Duration),
    /// Not applied and never will be.
    Rejected(String),
}

/// A catalog could not be asked, or refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("catalog: {message}")]
pub struct CatalogError {
    pub message: String,
    pub fault: CatalogFault,
}

/// Where to look first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogFault {
    /// The token or the client credentials.
    Login,
    /// The token is known but may not do this.
    Permission,
    /// The address, the warehouse, or what was asked for.
    Missing,
    /// The certificate of the server.
    Tls,
    /// The network, or the server is away.
    Unreachable,
    Other,
}

impl CatalogError {
    pub fn new(message: impl Into<String>) -> CatalogError {
        CatalogError { message: message.into(), fault: CatalogFault::Other }
    }
}

impl From<crate::Error> for CatalogError {
    fn from(error: crate::Error) -> CatalogError {
        CatalogError::new(crate::error::chain(&error))
    }
}

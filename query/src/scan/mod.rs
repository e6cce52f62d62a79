//! A table as DataFusion sees it: planned files, sealed files and the tail of one view.

mod adapter;
mod deletes;
mod prune;
mod statistics;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use hogflare_catalog::plan::{FileColumns, PlannedFile, plan_snapshot};
use hogflare_catalog::{MetadataCache, TableView};
use object_store::ObjectMeta;

use self::adapter::FieldIdAdapterFactory;
pub(crate) use self::deletes::DeletedPositions;

/// How the engine's runtime knows the store of the tables' files. No other store is known to it.
pub(crate) const STORE_URL: &str = "hogflare://tables";

/// What all scans of an engine share.
#[derive(Debug)]
pub(crate) struct ScanContext {
    pub(crate) metadata: Arc<MetadataCache>,
    pub(crate) deleted: DeletedPositions,
}

/// Files that the scans of one query met.
#[derive(Debug, Default)]
pub(crate) struct ScanCounts {
    pub(crate) files_scanned: AtomicU64,
    pub(crate) files_pruned: AtomicU64,
}

/// One table at the instant of the query's view, or at the snapshot that the query asks for.
#[derive(Debug)]
pub(crate) struct IcebergTable {
    view: TableView,
    context: Arc<ScanContext>,
    counts: Arc<ScanCounts>,
}

impl IcebergTable {
    pub(crate) fn new(view: TableView, context: Arc<ScanContext>, counts: Arc<ScanCounts>) -> IcebergTable {
        IcebergTable { view, context, counts }
    }

    pub(crate) fn view(&self) -> &TableView {
        &self.view
    }

    /// All files of the table and of its tail, newest first, less those that the filters exclude.
    async fn files(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<PlannedFile>> {
        let mut files = self.view.sealed_files();
        if let Some(snapshot) = self.view.snapshot() {
            let planned = plan_snapshot(&self.view.head, snapshot, &self.context.metadata).await;
            files.extend(planned.map_err(external)?);
        }
        let all = files.len();
        let files = prune::prune(files, filters, self.view.schema(), state)?;
        self.counts.files_scanned.fetch_add(files.len() as u64, Ordering::Relaxed);
        self.counts.files_pruned.fetch_add((all - files.len()) as u64, Ordering::Relaxed);
        Ok(files)
    }

    /// The rows in memory, if there are any.
    fn tail(&self, projection: Option<&Vec<usize>>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let batches = self.view.tail_batches().map_err(external)?;
        if batches.is_empty() {
            return Ok(None);
        }
        let schema = self.view.schema();
        for batch in &batches {
            assert_same_types(schema, &batch.schema())?;
        }
        let tail = MemorySourceConfig::try_new_exec(&[batches], Arc::clone(schema), projection.cloned())?;
        Ok(Some(tail))
    }

    /// A scan of files whose columns are found in the same way.
    async fn scan_files(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        (columns, files): (FileColumns, Vec<PlannedFile>),
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.view.schema();
        let objects = self.context.metadata.objects();
        let mut options = TableParquetOptions::new();
        options.global = state.config_options().execution.parquet.clone();
        // DataFusion replaces row selections by whole row groups when statistics show that a row group
        // satisfies a LIMIT; without these statistics it cannot.
        options.global.pruning &= files.iter().all(|file| file.position_deletes.is_empty());
        let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
        let readers = CachedParquetFileReaderFactory::new(Arc::clone(objects.store()), footers);
        let source = ParquetSource::new(TableSchema::from_file_schema(Arc::clone(schema)))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(readers));

        let statistics = files.iter().map(|file| statistics::of_file(file, schema));
        let statistics: Vec<Arc<Statistics>> = statistics.map(Arc::new).collect();
        let merged = Statistics::try_merge_iter(statistics.iter().map(AsRef::as_ref), schema)?;
        let mut partitioned = Vec::with_capacity(files.len());
        for (file, statistics) in files.iter().zip(statistics) {
            partitioned.push(self.partitioned_file(state, file, statistics).await?);
        }
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE_URL)?, Arc::new(source))
            .with_file_groups(deal(partitioned, state.config().target_partitions()))
            .with_statistics(merged)
            .with_projection_indices(projection.cloned())?
            .with_expr_adapter(Some(Arc::new(FieldIdAdapterFactory::new(columns))))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    async fn partitioned_file(
        &self,
        state: &dyn Session,
        file: &PlannedFile,
        statistics: Arc<Statistics>,
    ) -> Result<PartitionedFile> {
        let meta = ObjectMeta {
            location: self.context.metadata.objects().path(&file.location).map_err(external)?,
            // Names are written once, so the footer cache needs no time.
            last_modified: DateTime::UNIX_EPOCH,
            size: file.size_bytes,
            e_tag: None,
            version: None,
        };
        let access = match file.position_deletes.is_empty() {
            true => None,
            false => self.context.deleted.rows_left(state, self.context.metadata.objects(), file, &meta).await?,
        };
        let partitioned = PartitionedFile::new_from_meta(meta).with_statistics(statistics);
        Ok(match access {
            Some(rows) => partitioned.with_extensions(Arc::new(rows)),
            None => partitioned,
        })
    }
}

#[async_trait]
impl TableProvider for IcebergTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(self.view.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    // Files and row groups that cannot hold a match are skipped; the rows of the others are filtered above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.files(state, filters).await?;
        let mut inputs = Vec::from_iter(self.tail(projection)?);
        for group in group_files(files) {
            inputs.push(self.scan_files(state, projection, group).await?);
        }
        // A scan of no files has no partition, which some operators do not survive.
        match inputs.len() {
            0 => {
                let schema = match projection {
                    Some(columns) => Arc::new(self.view.schema().project(columns)?),
                    None => self.schema(),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(inputs.remove(0)),
            _ => UnionExec::try_new(inputs),
        }
    }
}

/// Files whose columns are found in the same way, and with or without deletes, in their order.
fn group_files(files: Vec<PlannedFile>) -> Vec<(FileColumns, Vec<PlannedFile>)> {
    let mut groups: Vec<(FileColumns, Vec<PlannedFile>)> = Vec::new();
    for file in files {
        let same = |(columns, members): &&mut (FileColumns, Vec<PlannedFile>)| {
            same_columns(columns, &file.columns)
                && members.iter().all(|member| member.position_deletes.is_empty() == file.position_deletes.is_empty())
        };
        match groups.iter_mut().find(same) {
            Some((_, members)) => members.push(file),
            None => groups.push((file.columns.clone(), vec![file])),
        }
    }
    groups
}

fn same_columns(left: &FileColumns, right: &FileColumns) -> bool {
    match (left, right) {
        (FileColumns::ByFieldId, FileColumns::ByFieldId) => true,
        (FileColumns::ByName(left), FileColumns::ByName(right)) => left == right,
        _ => false,
    }
}

/// Deals files to partitions in turn, so that each starts with its newest: a limit or a top-k then
/// rules out the older ones early.
fn deal(files: Vec<PartitionedFile>, partitions: usize) -> Vec<FileGroup> {
    let partitions = partitions.min(files.len()).max(1);
    let mut groups: Vec<Vec<PartitionedFile>> = (0..partitions).map(|_| Vec::new()).collect();
    for (index, file) in files.into_iter().enumerate() {
        groups[index % partitions].push(file);
    }
    groups.into_iter().map(FileGroup::new).collect()
}

/// DataFusion does not compare the types of a union's inputs; a difference is a panic in an operator.
fn assert_same_types(table: &SchemaRef, batch: &SchemaRef) -> Result<()> {
    let types = |schema: &SchemaRef| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
    if types(table) != types(batch) {
        return internal_err!("rows of the tail have other types than their table");
    }
    Ok(())
}

fn external(error: hogflare_catalog::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

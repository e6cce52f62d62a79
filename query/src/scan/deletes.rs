//! Position deletes: rows that a guest deleted without rewriting their file.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, Schema};
use datafusion::catalog::Session;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use futures::TryStreamExt;
use hogflare_catalog::Objects;
use hogflare_catalog::plan::{DeleteFile, PlannedFile};
use object_store::ObjectMeta;
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::async_reader::{ParquetObjectReader, ParquetRecordBatchStreamBuilder};

use super::external;

/// Positions that are kept in memory, 8 bytes each.
const POSITIONS_MAX: usize = 4 << 20;

/// Deleted positions by data file, as one delete file states them.
type ByDataFile = HashMap<String, Vec<u64>>;

/// Delete files by location. They never change.
#[derive(Debug, Default)]
pub(crate) struct DeletedPositions {
    read: Mutex<HashMap<String, Arc<ByDataFile>>>,
}

impl DeletedPositions {
    /// The rows of a file that are left, or None if the delete files delete none of them.
    pub(super) async fn rows_left(
        &self,
        state: &dyn Session,
        objects: &Objects,
        file: &PlannedFile,
        meta: &ObjectMeta,
    ) -> Result<Option<ParquetAccessPlan>> {
        let mut positions = Vec::new();
        for delete in &file.position_deletes {
            let deleted = self.positions(objects, delete).await?;
            // Locations are compared as they are written, by every engine.
            positions.extend(deleted.get(&file.location).into_iter().flatten());
        }
        if positions.is_empty() {
            return Ok(None);
        }
        positions.sort_unstable();
        positions.dedup();
        let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
        let footer = DFParquetMetadata::new(objects.store().as_ref(), meta)
            .with_file_metadata_cache(Some(footers))
            .fetch_metadata()
            .await?;
        let row_groups = footer.row_groups().iter().map(|group| group.num_rows().unsigned_abs());
        Ok(Some(left(&positions, row_groups)))
    }

    async fn positions(&self, objects: &Objects, delete: &DeleteFile) -> Result<Arc<ByDataFile>> {
        if let Some(read) = self.read.lock().get(&delete.location) {
            return Ok(Arc::clone(read));
        }
        let positions = Arc::new(read(objects, delete).await?);
        let mut kept = self.read.lock();
        let count = |files: &ByDataFile| files.values().map(Vec::len).sum::<usize>();
        if kept.values().map(|files| count(files)).sum::<usize>() + count(&positions) > POSITIONS_MAX {
            kept.clear();
        }
        kept.insert(delete.location.clone(), Arc::clone(&positions));
        Ok(positions)
    }
}

/// Reads the columns `file_path` and `pos` (Iceberg spec, position delete files).
async fn read(objects: &Objects, delete: &DeleteFile) -> Result<ByDataFile> {
    let path = objects.path(&delete.location).map_err(external)?;
    let reader = ParquetObjectReader::new(Arc::clone(objects.store()), path).with_file_size(delete.size_bytes);
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options).await?;
    let columns = columns(builder.schema(), &delete.location)?;
    let columns = ProjectionMask::roots(builder.parquet_schema(), columns);
    let mut batches = builder.with_projection(columns).build()?;
    let mut positions = ByDataFile::new();
    while let Some(batch) = batches.try_next().await? {
        let wrong = || exec_datafusion_err!("the delete file {} has columns of other types", delete.location);
        let paths = batch.column_by_name("file_path").and_then(|column| column.as_string_opt::<i32>());
        let rows = batch.column_by_name("pos").and_then(|column| column.as_primitive_opt::<Int64Type>());
        for (path, row) in paths.ok_or_else(wrong)?.iter().zip(rows.ok_or_else(wrong)?) {
            let (Some(path), Some(Ok(row))) = (path, row.map(u64::try_from)) else { return Err(wrong()) };
            match positions.get_mut(path) {
                Some(rows) => rows.push(row),
                None => _ = positions.insert(path.to_owned(), vec![row]),
            }
        }
    }
    Ok(positions)
}

fn columns(schema: &Schema, location: &str) -> Result<[usize; 2]> {
    let column = |name: &str| {
        let index = schema.index_of(name);
        index.map_err(|_| exec_datafusion_err!("the delete file {location} has no column {name}"))
    };
    Ok([column("file_path")?, column("pos")?])
}

/// All rows of the row groups but those at the positions, which are sorted and count through the file.
fn left(positions: &[u64], row_groups: impl Iterator<Item = u64>) -> ParquetAccessPlan {
    let mut first = 0;
    let groups = row_groups.map(|rows| {
        let end = first + rows;
        let from = positions.partition_point(|position| *position < first);
        let to = positions.partition_point(|position| *position < end);
        let deleted: Vec<u64> = positions[from..to].iter().map(|position| position - first).collect();
        first = end;
        match deleted.len() as u64 {
            0 => RowGroupAccess::Scan,
            count if count == rows => RowGroupAccess::Skip,
            _ => RowGroupAccess::Selection(selection(&deleted, rows)),
        }
    });
    ParquetAccessPlan::new(groups.collect())
}

fn selection(deleted: &[u64], rows: u64) -> RowSelection {
    let mut selectors = Vec::with_capacity(2 * deleted.len() + 1);
    let mut next = 0;
    for position in deleted {
        if *position > next {
            selectors.push(RowSelector::select((position - next) as usize));
        }
        selectors.push(RowSelector::skip(1));
        next = position + 1;
    }
    if next < rows {
        selectors.push(RowSelector::select((rows - next) as usize));
    }
    RowSelection::from(selectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_rows_are_left_out_of_their_row_group() {
        let plan = left(&[0, 3, 4, 5, 10, 19, 99], [4, 2, 10, 4].into_iter());
        let groups = plan.into_inner();
        let rows = |access: &RowGroupAccess| match access {
            RowGroupAccess::Selection(selection) => Some((selection.row_count(), selection.skipped_row_count())),
            _ => None,
        };
        assert_eq!(rows(&groups[0]), Some((2, 2)));
        assert_eq!(groups[1], RowGroupAccess::Skip);
        assert_eq!(rows(&groups[2]), Some((9, 1)));
        assert_eq!(rows(&groups[3]), Some((3, 1)));
    }
}

//! Which files a query has to read: manifests → plain records, one per data file.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{DataContentType, DataFile, Datum, ManifestContentType, PrimitiveLiteral, PrimitiveType, Snapshot};
use serde::{Deserialize, Serialize};

use crate::cache::MetadataCache;
use crate::error::{Error, Result};
use crate::head::TableHead;
use crate::manifest::LiveFile;
use crate::objects::location_of;
use crate::tables::Table;
use crate::tail::SealedRange;

/// A data file with what prunes it, and the deletes that apply to it. Plain data: a plan can be sent
/// to another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedFile {
    pub location: String,
    pub size_bytes: u64,
    /// Rows in the file, deleted ones included.
    pub rows: u64,
    pub columns: FileColumns,
    /// At least one entry for every column that the manifest mentions, perhaps without bounds.
    pub statistics: Vec<ColumnStatistics>,
    /// Whether we wrote the file: only then are its statistics proof.
    pub ours: bool,
    /// Files of positions that are deleted from this file or from others.
    pub position_deletes: Vec<DeleteFile>,
}

/// How the columns of a file are found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FileColumns {
    /// By the field ids in the file.
    ByFieldId,
    /// By name, each standing for a field id: for files whose own ids may not be those of the table.
    ByName(Vec<(String, i32)>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ColumnStatistics {
    pub field_id: i32,
    /// At most the smallest value.
    pub lower: Option<Bound>,
    /// At least the largest value.
    pub upper: Option<Bound>,
    pub nulls: Option<u64>,
}

/// A bound in plain form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970, UTC.
    Timestamp(i64),
    /// Possibly cut or rounded outwards.
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteFile {
    pub location: String,
    pub size_bytes: u64,
}

/// The live data files of a table's current snapshot, newest first.
pub async fn plan_files(head: &TableHead, cache: &MetadataCache) -> Result<Vec<PlannedFile>> {
    match head.snapshot() {
        Some(snapshot) => plan_snapshot(head, snapshot, cache).await,
        None => Ok(Vec::new()),
    }
}

/// The data files of one of the table's snapshots and the deletes that it holds for them, newest first.
pub async fn plan_snapshot(head: &TableHead, snapshot: &Snapshot, cache: &MetadataCache) -> Result<Vec<PlannedFile>> {
    let mut data = Vec::new();
    let mut deletes = Vec::new();
    for manifest in cache.manifest_list(snapshot, &head.metadata).await?.iter() {
        let files = cache.manifest(manifest).await?;
        match manifest.content {
            ManifestContentType::Data => data.push(files),
            ManifestContentType::Deletes => deletes.push(files),
        }
    }
    let deletes: Vec<&LiveFile> = deletes.iter().flat_map(|files| files.iter()).collect();
    if let Some(file) = deletes.iter().find(|file| file.data_file.content_type() == DataContentType::EqualityDeletes) {
        return Err(Error::Refused(format!(
            "{} has equality deletes, which this release cannot apply: {}; rewrite the table's data files to continue",
            head.table.short_name(),
            file.data_file.file_path()
        )));
    }
    let mut files: Vec<&LiveFile> = data.iter().flat_map(|files| files.iter()).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.sequence_number));
    Ok(files.into_iter().map(|file| planned(file, &deletes)).collect())
}

fn planned(file: &LiveFile, deletes: &[&LiveFile]) -> PlannedFile {
    let data_file = &file.data_file;
    let position_deletes = deletes.iter().filter(|delete| applies(delete, file)).map(|delete| DeleteFile {
        location: delete.data_file.file_path().to_owned(),
        size_bytes: delete.data_file.file_size_in_bytes(),
    });
    PlannedFile {
        location: data_file.file_path().to_owned(),
        size_bytes: data_file.file_size_in_bytes(),
        rows: data_file.record_count(),
        columns: FileColumns::ByFieldId,
        statistics: column_statistics(data_file),
        ours: crate::names::is_data_file_of_ours(data_file.file_path()),
        position_deletes: position_deletes.collect(),
    }
}

/// Position deletes apply to files of the same partition that are not newer (Iceberg spec, scan planning).
fn applies(delete: &LiveFile, file: &LiveFile) -> bool {
    let (delete_file, data_file) = (&delete.data_file, &file.data_file);
    delete.sequence_number >= file.sequence_number
        && delete.partition_spec_id == file.partition_spec_id
        && delete_file.partition() == data_file.partition()
        && delete_file.referenced_data_file().is_none_or(|path| path == data_file.file_path())
}

fn column_statistics(file: &DataFile) -> Vec<ColumnStatistics> {
    let (lower, upper, nulls) = (file.lower_bounds(), file.upper_bounds(), file.null_value_counts());
    let mut by_id: HashMap<i32, ColumnStatistics> = HashMap::new();
    let counted = file.value_counts().keys();
    let mut ids: Vec<i32> = lower.keys().chain(upper.keys()).chain(nulls.keys()).chain(counted).copied().collect();
    ids.sort_unstable();
    for field_id in ids {
        by_id.entry(field_id).or_insert_with(|| ColumnStatistics {
            field_id,
            lower: lower.get(&field_id).and_then(Bound::of),
            upper: upper.get(&field_id).and_then(Bound::of),
            nulls: nulls.get(&field_id).copied(),
        });
    }
    by_id.into_values().collect()
}

impl Bound {
    fn of(datum: &Datum) -> Option<Bound> {
        match (datum.data_type(), datum.literal()) {
            (PrimitiveType::Timestamptz | PrimitiveType::Timestamp, PrimitiveLiteral::Long(us)) => {
                Some(Bound::Timestamp(*us))
            }
            (PrimitiveType::Date, PrimitiveLiteral::Int(days)) => Some(Bound::Date(*days)),
            (PrimitiveType::Long, PrimitiveLiteral::Long(value)) => Some(Bound::Long(*value)),
            (PrimitiveType::Int, PrimitiveLiteral::Int(value)) => Some(Bound::Int(*value)),
            (PrimitiveType::Boolean, PrimitiveLiteral::Boolean(value)) => Some(Bound::Boolean(*value)),
            (PrimitiveType::Double, PrimitiveLiteral::Double(value)) => Some(Bound::Double(value.0)),
            (PrimitiveType::Float, PrimitiveLiteral::Float(value)) => Some(Bound::Float(value.0)),
            (PrimitiveType::String, PrimitiveLiteral::String(value)) => Some(Bound::Text(value.clone())),
            _ => None,
        }
    }
}

impl PlannedFile {
    /// The files of a sealed range, read by name: they were written with our names, perhaps before
    /// the table's field ids were known.
    pub(crate) fn of_sealed(range: &Arc<SealedRange>, head: &TableHead) -> Vec<PlannedFile> {
        let table = range.record.table;
        let columns: Vec<(String, i32)> = bound_columns(table, head);
        let files = range.record.files.iter().map(|file| PlannedFile {
            location: location_of(&range.path(file)),
            size_bytes: file.bytes,
            rows: file.rows,
            columns: FileColumns::ByName(columns.clone()),
            statistics: day_statistics(table, head, file.day),
            ours: true,
            position_deletes: Vec::new(),
        });
        files.collect()
    }
}

fn bound_columns(table: Table, head: &TableHead) -> Vec<(String, i32)> {
    let columns = table.columns().iter().enumerate();
    columns.filter_map(|(index, column)| Some((column.name.to_owned(), head.binding.id(index)?))).collect()
}

/// The bounds of the partition column that follow from the day of a sealed file.
fn day_statistics(table: Table, head: &TableHead, day: i32) -> Vec<ColumnStatistics> {
    const US_PER_DAY: i64 = 86_400_000_000;
    let bound_id = table.column_index(table.partition_column()).and_then(|index| head.binding.id(index));
    let Some(field_id) = bound_id else { return Vec::new() };
    let first_us = i64::from(day) * US_PER_DAY;
    vec![ColumnStatistics {
        field_id,
        lower: Some(Bound::Timestamp(first_us)),
        upper: Some(Bound::Timestamp(first_us + US_PER_DAY - 1)),
        nulls: Some(0),
    }]
}

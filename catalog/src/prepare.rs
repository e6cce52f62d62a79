//! From sealed ranges to a pending commit: data files in their place, announced in the journal.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{DataFile, Transform, deserialize_data_file_from_json, serialize_data_file_to_json};
use rand::Rng;

use crate::commit::CommitError;
use crate::error::{Error, Result};
use crate::head::TableHead;
use crate::journal::{CommittedRecord, PendingCommit};
use crate::lake::Lake;
use crate::manifest::FORMAT_VERSION;
use crate::names;
use crate::reencode::reencode;
use crate::stats::{Placement, data_file};
use crate::tables::{Slot, Table};
use crate::tail::{SealedFile, SealedRange};
use crate::watermark::read_watermark;

/// A commit takes at most this many files, so that one post stays short.
const FILES_PER_COMMIT: usize = 64;
/// Uploads at the same time; each holds its file in memory.
const UPLOADS: usize = 4;

impl Lake {
    /// The oldest sealed ranges up to a position, as many as fit one commit.
    pub(crate) fn next_ranges(&self, slot: Slot, table: Table, last: u64) -> Vec<Arc<SealedRange>> {
        let view = self.views.current();
        let mut files = 0;
        let ranges = view.tail(table, slot).sealed.iter().take_while(|range| range.record.through <= last);
        let ranges = ranges.take_while(|range| {
            let first = files == 0;
            files += range.record.files.len();
            first || files <= FILES_PER_COMMIT
        });
        ranges.cloned().collect()
    }

    /// Makes the files of the ranges data files of the table and announces the commit in the journal.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        head: &TableHead,
        ranges: &[Arc<SealedRange>],
    ) -> Result<PendingCommit, CommitError> {
        self.own_root().await?;
        let (first, last) = (&ranges[0].record, &ranges[ranges.len() - 1].record);
        let (slot, table) = (first.slot, first.table);
        let previous = read_watermark(&head.metadata, &self.writer, slot).map_err(CommitError::Halt)?;
        let committed = self.journal.lock().state(slot, table).committed.clone();
        if previous.is_some_and(|mark| mark.epoch > self.epoch) {
            return Err(self.fenced(head));
        }
        self.check_history(head, slot, previous.map_or(0, |mark| mark.position), first.after)?;
        let spec_id = day_partition_spec(head)?;
        let span = (first.after, last.through);
        let mut placed = Vec::new();
        for (range, file) in ranges.iter().flat_map(|range| range.record.files.iter().map(move |file| (range, file))) {
            let placement = self.placement(head, (slot, span, placed.len()), (spec_id, file.day))?;
            placed.push(self.place(head, range, file, placement));
        }
        let placed: Vec<DataFile> = stream::iter(placed).buffered(UPLOADS).try_collect().await?;
        let files = placed.iter().map(|file| to_json(file, head, spec_id)).collect::<Result<Vec<_>>>()?;
        let pending = PendingCommit {
            slot,
            table,
            table_uuid: head.metadata.uuid(),
            incarnation: self.incarnation.clone(),
            snapshot_id: rand::rng().random_range(1..=i64::MAX),
            after: first.after,
            through: last.through,
            previous,
            files,
            partition_spec_id: spec_id,
            received_min_us: ranges.iter().map(|range| range.record.received_us).min().unwrap_or_default(),
        };
        let (lake, announced) = (Arc::clone(self), pending.clone());
        let written = tokio::task::spawn_blocking(move || {
            let stalls = &lake.settings.stalls;
            stalls.around("pending", stalls.pending, || lake.announce(&announced, committed.as_ref()))
        });
        written.await.map_err(|error| CommitError::Retry(error.to_string()))??;
        Ok(pending)
    }

    fn placement(
        &self,
        head: &TableHead,
        (slot, span, ordinal): (Slot, (u64, u64), usize),
        (partition_spec_id, day): (i32, i32),
    ) -> Result<Placement> {
        let partition = partition_path(head, partition_spec_id, day)?;
        let process = (slot, self.incarnation.as_str());
        let location = names::data_file(head.metadata.location(), &partition, &self.writer, process, span, ordinal);
        Ok(Placement { location, partition_spec_id, day })
    }

    /// Writes the pending record, unless another commit of the same rows came first: a task that was given
    /// up at shutdown may still run.
    fn announce(&self, pending: &PendingCommit, committed: Option<&CommittedRecord>) -> Result<(), CommitError> {
        let mut journal = self.journal.lock();
        let state = journal.state(pending.slot, pending.table);
        if state.pending.is_some() || state.committed.as_ref() != committed {
            return Err(CommitError::Retry("another commit of the table came first".into()));
        }
        Ok(journal.pending(pending.clone())?)
    }

    /// The range to commit must begin where the table ends, and the table must still be ours.
    fn check_history(&self, head: &TableHead, slot: Slot, position: u64, after: u64) -> Result<(), CommitError> {
        self.check_same_table(head, slot)?;
        if position != after {
            return Err(CommitError::Halt(format!(
                "the table's watermark is {position}, but the next row to commit is {}",
                after + 1
            )));
        }
        Ok(())
    }

    /// Uploads a sealed file, or links it. The same bytes go to the same name when this is tried again.
    async fn place(
        &self,
        head: &TableHead,
        range: &SealedRange,
        sealed: &SealedFile,
        placement: Placement,
    ) -> Result<DataFile> {
        let table = range.record.table;
        let (file, crc32c) = (range.path(sealed), sealed.crc32c);
        let other_ids = (range.record.columns != head.binding.to_property(table)).then(|| head.binding.clone());
        let as_sealed = other_ids.is_none();
        let source = file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let bytes = read_sealed(&source, crc32c)?;
            match other_ids {
                None => Ok(bytes),
                Some(binding) => reencode(table, &binding, bytes),
            }
        });
        let bytes = read.await.map_err(|error| Error::Corrupt(error.to_string()))??;
        let objects = self.cache.objects();
        if as_sealed {
            objects.place(&file, bytes.clone(), &placement.location).await?;
        } else {
            objects.put_new(&placement.location, bytes.clone()).await?;
        }
        data_file(table, head.metadata.current_schema(), &placement, &bytes)
    }
}

fn read_sealed(file: &std::path::Path, crc32c: u32) -> Result<Bytes> {
    let bytes = Bytes::from(std::fs::read(file).map_err(Error::io("read", file))?);
    if crc32c::crc32c(&bytes) != crc32c {
        let file = file.display();
        return Err(Error::Corrupt(format!("{file} is damaged; a restart makes it again from the log")));
    }
    Ok(bytes)
}

/// The spec `day(<partition column>)`: the default one unless somebody changed that.
pub(crate) fn day_partition_spec(head: &TableHead) -> Result<i32, CommitError> {
    let source = head.table.column_index(head.table.partition_column()).and_then(|index| head.binding.id(index));
    let by_day = |spec: &iceberg::spec::PartitionSpec| match spec.fields() {
        [field] => field.transform == Transform::Day && Some(field.source_id) == source,
        _ => false,
    };
    let default = head.metadata.default_partition_spec();
    if by_day(default) {
        return Ok(default.spec_id());
    }
    let other = head.metadata.partition_specs_iter().find(|spec| by_day(spec));
    other.map(|spec| spec.spec_id()).ok_or_else(|| {
        CommitError::Halt(format!("the table has no partition spec day({})", head.table.partition_column()))
    })
}

/// `<field>=YYYY-MM-DD`.
fn partition_path(head: &TableHead, spec_id: i32, day: i32) -> Result<String> {
    let spec = head.metadata.partition_spec_by_id(spec_id).ok_or_else(|| Error::Schema("no such spec".into()))?;
    let date = chrono::DateTime::from_timestamp(i64::from(day) * 86_400, 0).map(|at| at.date_naive());
    let date = date.map_or_else(|| format!("day{day}"), |date| date.to_string());
    Ok(format!("{}={date}", spec.fields()[0].name))
}

fn to_json(file: &DataFile, head: &TableHead, spec_id: i32) -> Result<String> {
    let partition_type = partition_type(head, spec_id)?;
    serialize_data_file_to_json(file.clone(), &partition_type, FORMAT_VERSION)
        .map_err(Error::iceberg("note a data file in the journal"))
}

pub(crate) fn from_json(files: &[String], head: &TableHead, spec_id: i32) -> Result<Vec<DataFile>> {
    let partition_type = partition_type(head, spec_id)?;
    let schema = head.metadata.current_schema();
    let parse = |file: &String| deserialize_data_file_from_json(file, spec_id, &partition_type, schema);
    files.iter().map(parse).collect::<iceberg::Result<_>>().map_err(Error::iceberg("read a data file of the journal"))
}

fn partition_type(head: &TableHead, spec_id: i32) -> Result<iceberg::spec::StructType> {
    let spec = head.metadata.partition_spec_by_id(spec_id).ok_or_else(|| Error::Schema("no such spec".into()))?;
    spec.partition_type(head.metadata.current_schema()).map_err(Error::iceberg("type the partition"))
}

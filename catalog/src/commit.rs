//! The commit protocol of one (slot, table).
//!
//! ```text
//! sealed ranges → data files → pending record (synced) → manifest and list → one POST → verified
//!              → view swap → committed record (synced) → the log may forget the rows
//! ```
//! After anything that is not a verified answer the table itself is asked, and [`decide`] says whether
//! the commit is in it. A commit is posted again only when the table shows that it is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use iceberg::TableIdent;
use iceberg::spec::{DataFile, Transform, deserialize_data_file_from_json, serialize_data_file_to_json};
use rand::Rng;

use crate::decide::{Decision, decide, rolled_back};
use crate::error::{Error, Result};
use crate::head::TableHead;
use crate::journal::{CommittedRecord, PendingCommit};
use crate::lake::Lake;
use crate::manifest::FORMAT_VERSION;
use crate::names;
use crate::reencode::reencode;
use crate::snapshot::Append;
use crate::stats::{Placement, data_file};
use crate::table_catalog::{CommitReply, LoadedTable};
use crate::tables::{Slot, Table};
use crate::tail::{SealedFile, SealedRange};
use crate::telemetry;
use crate::watermark::read_watermark;

/// A commit takes at most this many files, so that one post stays short.
const FILES_PER_COMMIT: usize = 64;
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Why a commit did not come to an end. The rows stay in the log and in the tail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// Try again later from the start.
    #[error("{0}")]
    Retry(String),
    /// Nothing will help but a person.
    #[error("{0}")]
    Halt(String),
}

impl From<Error> for CommitError {
    fn from(error: Error) -> CommitError {
        CommitError::Retry(crate::table_catalog::CatalogError::from(error).message)
    }
}

impl Lake {
    /// Commits sealed ranges of one (slot, table) until none is left that was sealed at the call.
    pub(crate) async fn commit_sealed(self: &Arc<Self>, slot: Slot, table: Table) -> Result<(), CommitError> {
        let _one_at_a_time = self.committing[table.index()].lock().await;
        let last = self.views.current().tail(table, slot).sealed.last().map(|range| range.record.through);
        self.post_pending(slot, table).await?;
        let Some(last) = last else { return Ok(()) };
        loop {
            let ranges = self.next_ranges(slot, table);
            if ranges.first().is_none_or(|range| range.record.after >= last) {
                return Ok(());
            }
            let head = self.shown_head(table)?;
            let lake = Arc::clone(self);
            let prepared = tokio::task::spawn_blocking(move || lake.prepare(&head, &ranges)).await;
            let pending = prepared.map_err(|error| CommitError::Retry(error.to_string()))??;
            self.post(pending, false).await?;
        }
    }

    /// Brings a commit of an earlier process to its end.
    pub(crate) async fn resolve_pending(self: &Arc<Self>, slot: Slot, table: Table) -> Result<(), CommitError> {
        let _one_at_a_time = self.committing[table.index()].lock().await;
        self.post_pending(slot, table).await
    }

    async fn post_pending(self: &Arc<Self>, slot: Slot, table: Table) -> Result<(), CommitError> {
        let pending = self.journal.lock().state(slot, table).pending.clone();
        match pending {
            Some(pending) => self.post(pending, true).await,
            None => Ok(()),
        }
    }

    /// The oldest sealed ranges, as many as fit one commit.
    fn next_ranges(&self, slot: Slot, table: Table) -> Vec<Arc<SealedRange>> {
        let view = self.views.current();
        let mut files = 0;
        let ranges = view.tail(table, slot).sealed.iter().take_while(|range| {
            let first = files == 0;
            files += range.record.files.len();
            first || files <= FILES_PER_COMMIT
        });
        ranges.cloned().collect()
    }

    fn shown_head(&self, table: Table) -> Result<Arc<TableHead>, CommitError> {
        let head = self.views.current().head(table).cloned();
        head.ok_or_else(|| CommitError::Retry("the table's metadata is not loaded".into()))
    }

    /// Makes the files of the ranges data files of the table and announces the commit in the journal.
    fn prepare(&self, head: &TableHead, ranges: &[Arc<SealedRange>]) -> Result<PendingCommit, CommitError> {
        let (first, last) = (&ranges[0].record, &ranges[ranges.len() - 1].record);
        let (slot, table) = (first.slot, first.table);
        let previous = read_watermark(&head.metadata, &self.writer, slot).map_err(CommitError::Halt)?;
        let committed = self.journal.lock().state(slot, table).committed.clone();
        if let Some(mark) = previous.filter(|mark| mark.epoch > self.epoch) {
            return Err(CommitError::Halt(format!(
                "fenced: a copy of this data folder took over (epoch {}, ours is {}); stop one of the two",
                mark.epoch, self.epoch
            )));
        }
        self.check_history(head, committed.as_ref(), previous.map_or(0, |mark| mark.position), first.after)?;
        let spec_id = day_partition_spec(head)?;
        let mut files = Vec::new();
        for (ordinal, (range, file)) in
            ranges.iter().flat_map(|range| range.record.files.iter().map(move |file| (range, file))).enumerate()
        {
            let partition = partition_path(head, spec_id, file.day)?;
            let span = (first.after, last.through);
            let location = names::data_file(
                head.metadata.location(),
                &partition,
                &self.writer,
                (slot, &self.incarnation),
                span,
                ordinal,
            );
            let placement = Placement { location, partition_spec_id: spec_id, day: file.day };
            let placed = self.place(head, range, file, &placement)?;
            files.push(to_json(&placed, head, spec_id)?);
        }
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
        let stalls = &self.settings.stalls;
        stalls.around("pending", stalls.pending, || self.announce(&pending, committed.as_ref()))?;
        Ok(pending)
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
    fn check_history(
        &self,
        head: &TableHead,
        committed: Option<&CommittedRecord>,
        position: u64,
        after: u64,
    ) -> Result<(), CommitError> {
        if let Some(committed) = committed {
            if committed.table_uuid != head.metadata.uuid() {
                let (now, before) = (head.metadata.uuid(), committed.table_uuid);
                return Err(CommitError::Halt(format!(
                    "the table was replaced: its uuid is {now}, our rows went to {before}"
                )));
            }
            if rolled_back(head, committed) {
                return Err(CommitError::Halt(format!(
                    "the table was rolled back behind snapshot {}, which holds acknowledged rows",
                    committed.snapshot_id
                )));
            }
        }
        if position != after {
            return Err(CommitError::Halt(format!(
                "the table's watermark is {position}, but the next row to commit is {}",
                after + 1
            )));
        }
        Ok(())
    }

    fn place(
        &self,
        head: &TableHead,
        range: &SealedRange,
        sealed: &SealedFile,
        placement: &Placement,
    ) -> Result<DataFile> {
        let file = &range.path(sealed);
        let bytes = Bytes::from(std::fs::read(file).map_err(Error::io("read", file))?);
        if crc32c::crc32c(&bytes) != sealed.crc32c {
            let file = file.display();
            return Err(Error::Corrupt(format!("{file} is damaged; a restart makes it again from the log")));
        }
        let objects = self.cache.objects();
        let table = range.record.table;
        let bytes = if range.record.columns == head.binding.to_property(table) {
            objects.place(file, &placement.location)?;
            bytes
        } else {
            let bytes = reencode(table, &head.binding, bytes)?;
            objects.put_new(&placement.location, &bytes)?;
            bytes
        };
        data_file(table, head.metadata.current_schema(), placement, &bytes)
    }

    /// Posts a pending commit until the table shows that it is in it. `resumed`: an earlier try may
    /// have been posted, so the table is asked first.
    async fn post(self: &Arc<Self>, pending: PendingCommit, resumed: bool) -> Result<(), CommitError> {
        let started = Instant::now();
        let ident = self.settings.ident(pending.table);
        let mut backoff = BACKOFF_FIRST;
        let mut head =
            if resumed { self.reload(&ident, pending.table).await? } else { self.shown_head(pending.table)? };
        for attempt in 0_u64.. {
            if resumed || attempt > 0 {
                match self.decide(&head, &pending) {
                    Decision::Committed => return self.conclude(&head, &pending, started),
                    Decision::NotCommitted => {}
                    Decision::Fenced { epoch } => {
                        return Err(CommitError::Halt(format!(
                            "fenced: a copy of this data folder took over (epoch {epoch}, ours is {}); stop one of \
                             the two. Nothing acknowledged here is lost: it is in this folder's log",
                            self.epoch
                        )));
                    }
                    Decision::Inconsistent(what) => return Err(CommitError::Halt(what)),
                }
            }
            let reply = self.post_once(&ident, &head, &pending).await?;
            match reply {
                CommitReply::Applied(loaded) => {
                    let answered = Arc::new(TableHead::new(pending.table, loaded.metadata, loaded.metadata_location)?);
                    if self.decide(&answered, &pending) == Decision::Committed {
                        telemetry::commit(pending.table, "committed");
                        return self.conclude(&answered, &pending, started);
                    }
                    telemetry::commit(pending.table, "unknown");
                }
                CommitReply::Conflict(_) => telemetry::commit(pending.table, "conflict"),
                CommitReply::Unknown(reason) => {
                    telemetry::commit(pending.table, "unknown");
                    self.set_trouble(pending.table, Some(format!("the catalog did not answer a commit: {reason}")));
                }
                CommitReply::RateLimited(wait) => {
                    telemetry::commit(pending.table, "rate_limited");
                    tokio::time::sleep(wait).await;
                }
                CommitReply::Rejected(reason) => {
                    telemetry::commit(pending.table, "rejected");
                    return Err(CommitError::Retry(format!("the catalog refuses the commit: {reason}")));
                }
            }
            let jitter = rand::rng().random_range(0.5..1.0);
            tokio::time::sleep(backoff.mul_f64(jitter)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            head = self.reload(&ident, pending.table).await?;
        }
        unreachable!("the loop ends by returning")
    }

    fn decide(&self, head: &TableHead, pending: &PendingCommit) -> Decision {
        let committed = self.journal.lock().state(pending.slot, pending.table).committed.clone();
        decide(head, &self.writer, self.epoch, pending, committed.as_ref())
    }

    async fn post_once(
        self: &Arc<Self>,
        ident: &TableIdent,
        head: &TableHead,
        pending: &PendingCommit,
    ) -> Result<CommitReply, CommitError> {
        let files = from_json(&pending.files, head, pending.partition_spec_id)?;
        let append = Append {
            ident,
            writer: &self.writer,
            epoch: self.epoch,
            incarnation: &self.incarnation,
            pending,
            files: &files,
        };
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let proposal = append.propose(head, &self.cache, attempt, self.clock.now_ms()).await?;
        let objects = self.cache.objects().clone();
        let written = tokio::task::spawn_blocking(move || {
            proposal.objects.iter().try_for_each(|(location, bytes)| objects.put_new(location, bytes))
        });
        written.await.map_err(|error| CommitError::Retry(error.to_string()))??;
        let stalls = &self.settings.stalls;
        if stalls.post.is_zero() {
            return Ok(self.catalog.commit(ident, proposal.request).await);
        }
        let _open = stalls.mark("post");
        tokio::time::sleep(stalls.post / 2).await;
        let reply = self.catalog.commit(ident, proposal.request).await;
        tokio::time::sleep(stalls.post / 2).await;
        Ok(reply)
    }

    /// Shows the commit, notes it and lets the log forget its rows.
    fn conclude(&self, head: &Arc<TableHead>, pending: &PendingCommit, started: Instant) -> Result<(), CommitError> {
        let snapshot = head.metadata.snapshot_by_id(pending.snapshot_id);
        let record = CommittedRecord {
            slot: pending.slot,
            table: pending.table,
            table_uuid: pending.table_uuid,
            epoch: self.epoch,
            through: pending.through,
            snapshot_id: pending.snapshot_id,
            sequence_number: snapshot.map_or(head.metadata.last_sequence_number(), |s| s.sequence_number()),
            metadata_location: head.metadata_location.clone(),
            at_ms: self.clock.now_ms(),
        };
        self.views.publish_head(Arc::clone(head))?;
        self.journal.lock().committed(record)?;
        self.release(pending.slot, pending.table, pending.through);
        let rows = pending.through - pending.after;
        let seconds = started.elapsed().as_secs_f64();
        telemetry::committed(pending.table, rows, seconds);
        tracing::info!(
            table = pending.table.short_name(),
            slot = pending.slot.name(),
            rows,
            files = pending.files.len(),
            through = pending.through,
            snapshot_id = pending.snapshot_id,
            ms = (seconds * 1_000.0) as u64,
            "committed"
        );
        Ok(())
    }

    /// Asks the catalog for the table and shows what it says.
    pub(crate) async fn reload(&self, ident: &TableIdent, table: Table) -> Result<Arc<TableHead>, CommitError> {
        let loaded = self.catalog.load(ident).await.map_err(|error| CommitError::Retry(error.to_string()))?;
        let LoadedTable { metadata, metadata_location } =
            loaded.ok_or_else(|| CommitError::Halt(format!("the table {ident} is gone")))?;
        if metadata.format_version() != FORMAT_VERSION {
            return Err(CommitError::Halt(format!("{ident} has format {}, not v2", metadata.format_version())));
        }
        let head = Arc::new(TableHead::new(table, metadata, metadata_location)?);
        self.views.publish_head(Arc::clone(&head))?;
        Ok(head)
    }
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

fn from_json(files: &[String], head: &TableHead, spec_id: i32) -> Result<Vec<DataFile>> {
    let partition_type = partition_type(head, spec_id)?;
    let schema = head.metadata.current_schema();
    let parse = |file: &String| deserialize_data_file_from_json(file, spec_id, &partition_type, schema);
    files.iter().map(parse).collect::<iceberg::Result<_>>().map_err(Error::iceberg("read a data file of the journal"))
}

fn partition_type(head: &TableHead, spec_id: i32) -> Result<iceberg::spec::StructType> {
    let spec = head.metadata.partition_spec_by_id(spec_id).ok_or_else(|| Error::Schema("no such spec".into()))?;
    spec.partition_type(head.metadata.current_schema()).map_err(Error::iceberg("type the partition"))
}

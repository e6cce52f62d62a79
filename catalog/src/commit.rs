//! The commit protocol of one (slot, table).
//!
//! ```text
//! sealed ranges → data files → pending record (synced) → manifest and list → one POST → verified
//!              → view swap → committed record (synced) → the log may forget the rows
//! ```
//! After anything that is not a verified answer the table itself is asked, and [`decide`] says whether
//! the commit is in it. A commit is posted again only when the table shows that it is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use iceberg::TableIdent;
use iceberg_catalog_rest::CommitTableRequest;
use rand::Rng;

use crate::claim::Owner;
use crate::decide::{Decision, decide};
use crate::error::Error;
use crate::head::TableHead;
use crate::journal::{CommittedRecord, PendingCommit};
use crate::lake::Lake;
use crate::manifest::FORMAT_VERSION;
use crate::prepare::from_json;
use crate::snapshot::{Change, Mark, NewFiles};
use crate::table_catalog::{CatalogError, CommitReply, LoadedTable};
use crate::tables::{Slot, Table};
use crate::telemetry;
use crate::watermark::{Watermark, read_claim, read_watermark};

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
        CommitError::Retry(CatalogError::from(error).message)
    }
}

impl From<CatalogError> for CommitError {
    fn from(error: CatalogError) -> CommitError {
        CommitError::Retry(error.to_string())
    }
}

/// Waits that grow, with jitter, so that those who lost a race do not meet again.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Backoff {
        Backoff(BACKOFF_FIRST)
    }

    pub(crate) async fn wait(&mut self) {
        let jitter = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(self.0.mul_f64(jitter)).await;
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
    }
}

impl Lake {
    /// Commits the sealed ranges of one (slot, table) up to a position.
    pub(crate) async fn commit_sealed(
        self: &Arc<Self>,
        slot: Slot,
        table: Table,
        last: u64,
    ) -> Result<(), CommitError> {
        let _one_at_a_time = self.committing[table.index()].lock().await;
        self.post_pending(slot, table).await?;
        loop {
            let ranges = self.next_ranges(slot, table, last);
            if ranges.is_empty() {
                return Ok(());
            }
            let head = self.shown_head(table)?;
            let pending = self.prepare(&head, &ranges).await?;
            self.post(pending, false).await?;
        }
    }

    /// Brings a commit of an earlier process to its end.
    pub(crate) async fn resolve_pending(self: &Arc<Self>, slot: Slot, table: Table) -> Result<(), CommitError> {
        let _one_at_a_time = self.committing[table.index()].lock().await;
        self.post_pending(slot, table).await
    }

    pub(crate) async fn post_pending(self: &Arc<Self>, slot: Slot, table: Table) -> Result<(), CommitError> {
        let pending = self.journal.lock().state(slot, table).pending.clone();
        match pending {
            Some(pending) => self.post(pending, true).await,
            None => Ok(()),
        }
    }

    pub(crate) fn shown_head(&self, table: Table) -> Result<Arc<TableHead>, CommitError> {
        let head = self.views.current().head(table).cloned();
        head.ok_or_else(|| CommitError::Retry("the table's metadata is not loaded".into()))
    }

    /// Posts a pending commit until the table shows that it is in it. `resumed`: an earlier try may
    /// have been posted, so the table is asked first.
    pub(crate) async fn post(self: &Arc<Self>, pending: PendingCommit, resumed: bool) -> Result<(), CommitError> {
        let started = Instant::now();
        let (ident, table) = (self.settings.ident(pending.table), pending.table);
        let mut backoff = Backoff::new();
        let mut head = if resumed { self.ask(&ident, table).await? } else { self.shown_head(table)? };
        if resumed && self.decide(&head, &pending) == Decision::NotCommitted {
            self.check_files(&head, &pending).await?;
        }
        for attempt in 0_u64.. {
            if resumed || attempt > 0 {
                match self.decide(&head, &pending) {
                    Decision::Committed => return self.conclude(&head, &pending, started),
                    Decision::NotCommitted => self.views.publish_head(Arc::clone(&head))?,
                    Decision::Fenced { .. } => return Err(self.fenced(&head)),
                    Decision::Inconsistent(what) => return Err(CommitError::Halt(what)),
                }
            }
            self.governor.take(table).await;
            let posted = Instant::now();
            match self.post_once(&ident, &head, &pending).await? {
                CommitReply::Applied(loaded) => {
                    let answered = Arc::new(TableHead::new(table, loaded.metadata, loaded.metadata_location)?);
                    if self.decide(&answered, &pending) == Decision::Committed {
                        telemetry::commit(table, "committed");
                        self.governor.note_latency(table, posted.elapsed());
                        return self.conclude(&answered, &pending, started);
                    }
                    telemetry::commit(table, "unknown");
                }
                CommitReply::Conflict(_) => telemetry::commit(table, "conflict"),
                CommitReply::Unknown(reason) => {
                    telemetry::commit(table, "unknown");
                    self.set_trouble(table, Some(format!("the catalog did not answer a commit: {reason}")));
                }
                CommitReply::RateLimited(wait) => {
                    telemetry::commit(table, "rate_limited");
                    self.governor.close(table, wait);
                }
                CommitReply::Rejected(reason) => {
                    telemetry::commit(table, "rejected");
                    return Err(CommitError::Halt(format!("the catalog refuses the commit: {reason}")));
                }
            }
            backoff.wait().await;
            head = self.ask(&ident, table).await?;
        }
        unreachable!("the loop ends by returning")
    }

    /// Files that no snapshot names may have been swept away since an earlier process put them there.
    async fn check_files(&self, head: &TableHead, pending: &PendingCommit) -> Result<(), CommitError> {
        for file in from_json(&pending.files, head, pending.partition_spec_id)? {
            match self.cache.objects().size(file.file_path()).await {
                Ok(size) if size == file.file_size_in_bytes() => {}
                Ok(_) | Err(Error::Object { source: object_store::Error::NotFound { .. }, .. }) => {
                    return Err(CommitError::Halt(format!(
                        "{} of a commit under way is gone or damaged; its rows are in this folder's log. Put the file \
                         back, or ask for help",
                        file.file_path()
                    )));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn decide(&self, head: &TableHead, pending: &PendingCommit) -> Decision {
        let committed = self.journal.lock().state(pending.slot, pending.table).committed.clone();
        decide(head, &self.writer, self.epoch, pending, committed.as_ref())
    }

    /// Writes the metadata files of a pending commit on top of `head`; what is left is the request.
    pub(crate) async fn propose(
        self: &Arc<Self>,
        ident: &TableIdent,
        head: &TableHead,
        pending: &PendingCommit,
    ) -> Result<CommitTableRequest, CommitError> {
        let files = from_json(&pending.files, head, pending.partition_spec_id)?;
        let change = Change {
            ident,
            snapshot_id: pending.snapshot_id,
            incarnation: &self.incarnation,
            marks: self.marks(head, pending)?,
            notes: self.notes(pending),
        };
        let new = NewFiles { files: &files, partition_spec_id: pending.partition_spec_id };
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let proposal = change.propose(head, &self.cache, new, (attempt, self.clock.now_ms())).await?;
        self.write_objects(proposal.objects).await?;
        Ok(proposal.request)
    }

    async fn post_once(
        self: &Arc<Self>,
        ident: &TableIdent,
        head: &TableHead,
        pending: &PendingCommit,
    ) -> Result<CommitReply, CommitError> {
        let request = self.propose(ident, head, pending).await?;
        let stalls = &self.settings.stalls;
        if stalls.post.is_zero() {
            return Ok(self.catalog.commit(ident, request).await);
        }
        let _open = stalls.mark("post");
        tokio::time::sleep(stalls.post / 2).await;
        let reply = self.catalog.commit(ident, request).await;
        tokio::time::sleep(stalls.post / 2).await;
        Ok(reply)
    }

    /// The watermark that the commit moves, and what else the table says of this writer.
    fn marks(&self, head: &TableHead, pending: &PendingCommit) -> Result<Vec<Mark>, CommitError> {
        let moved = Watermark { epoch: self.epoch, position: pending.through, snapshot_id: pending.snapshot_id };
        let mut marks = vec![Mark { name: self.writer.watermark_property(pending.slot), value: moved.to_string() }];
        for slot in Slot::ALL.into_iter().filter(|slot| *slot != pending.slot) {
            let shown = read_watermark(&head.metadata, &self.writer, slot).map_err(CommitError::Halt)?;
            let name = self.writer.watermark_property(slot);
            marks.extend(shown.map(|watermark| Mark { name, value: watermark.to_string() }));
        }
        let claim = read_claim(&head.metadata, &self.writer).map(str::to_owned);
        marks.extend(claim.map(|value| Mark { name: self.writer.claim_property(), value }));
        Ok(marks)
    }

    fn notes(&self, pending: &PendingCommit) -> HashMap<String, String> {
        HashMap::from([
            ("hogflare.writer".to_owned(), self.writer.slot_id(pending.slot)),
            ("hogflare.epoch".to_owned(), self.epoch.to_string()),
            ("hogflare.after".to_owned(), pending.after.to_string()),
            ("hogflare.through".to_owned(), pending.through.to_string()),
            ("hogflare.received-min-ms".to_owned(), (pending.received_min_us / 1_000).to_string()),
        ])
    }

    /// Writes the metadata files of a commit, all at once.
    pub(crate) async fn write_objects(&self, objects: Vec<(String, Bytes)>) -> Result<(), CommitError> {
        let writes: Vec<_> =
            objects.iter().map(|(at, bytes)| self.cache.objects().put_new(at, bytes.clone())).collect();
        futures::future::try_join_all(writes).await?;
        objects.iter().for_each(|(at, bytes)| self.cache.note_written(at, bytes));
        Ok(())
    }

    /// Shows the commit, notes it and lets the log forget its rows.
    pub(crate) fn conclude(
        &self,
        head: &Arc<TableHead>,
        pending: &PendingCommit,
        started: Instant,
    ) -> Result<(), CommitError> {
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
        self.known_at_us[pending.table.index()].store(self.clock.now_us(), Ordering::Relaxed);
        self.journal.lock().committed(record)?;
        self.keep_head(head);
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

    /// Asks the catalog for the table. What it says is shown only once it is known to be ours: the
    /// watermark of a copy of this folder would hide acknowledged rows.
    pub(crate) async fn ask(&self, ident: &TableIdent, table: Table) -> Result<Arc<TableHead>, CommitError> {
        let loaded = self.catalog.load(ident).await?;
        let LoadedTable { metadata, metadata_location } =
            loaded.ok_or_else(|| CommitError::Halt(format!("the table {ident} is gone")))?;
        let head = Arc::new(TableHead::new(table, metadata, metadata_location)?);
        check_format(ident, &head)?;
        if self.owner(&head) == Owner::Copy {
            return Err(self.fenced(&head));
        }
        Ok(head)
    }
}

pub(crate) fn check_format(ident: &TableIdent, head: &TableHead) -> Result<(), CommitError> {
    match head.metadata.format_version() {
        FORMAT_VERSION => Ok(()),
        other => Err(CommitError::Halt(format!("{ident} has format {other}, not v2"))),
    }
}

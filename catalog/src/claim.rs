//! Claims: a start takes over its writer's slot in a table before it commits there.
//!
//! A lock proves on one machine that the former owner of a data folder is dead; a copy of the folder on
//! another machine holds its own lock. So each start commits an empty snapshot that moves `main`, with
//! its name in a property: a commit that an older owner still has under way then fails its assertion on
//! `main`, and an owner that finds a claim which its own folder never made knows that there is a copy.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::Rng;

use crate::commit::{Backoff, CommitError};
use crate::head::TableHead;
use crate::lake::Lake;
use crate::snapshot::{Change, Mark};
use crate::table_catalog::CommitReply;
use crate::tables::{Slot, Table};
use crate::telemetry;
use crate::watermark::{read_claim, read_watermark};

/// A claim is given up after so many lost races; the committer begins anew.
const TRIES: u32 = 20;

/// Whose claim a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This process.
    Us,
    /// An earlier start of this folder, or none.
    Free,
    /// A start of another folder with the same writer id.
    Copy,
}

impl Lake {
    /// Takes the table over, unless a copy of the folder did.
    pub(crate) async fn claim(&self, table: Table, mut head: Arc<TableHead>) -> Result<Arc<TableHead>, CommitError> {
        let ident = self.settings.ident(table);
        let mut backoff = Backoff::new();
        for _ in 0..TRIES {
            match self.owner(&head) {
                Owner::Us => return Ok(head),
                Owner::Copy => return Err(self.fenced(&head)),
                Owner::Free => {}
            }
            let mark = Mark { name: self.writer.claim_property(), value: self.claim_value() };
            let change = Change {
                ident: &ident,
                snapshot_id: rand::rng().random_range(1..=i64::MAX),
                incarnation: &self.incarnation,
                marks: self.marks_of_this_epoch(&head)?.into_iter().chain([mark]).collect(),
                notes: HashMap::new(),
            };
            let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
            let proposal = change.propose_empty(&head, &self.cache, attempt, self.clock.now_ms()).await?;
            self.write_objects(proposal.objects).await?;
            self.governor.take(table).await;
            match self.catalog.commit(&ident, proposal.request).await {
                CommitReply::Rejected(reason) => {
                    return Err(CommitError::Halt(format!(
                        "the catalog refuses to let this process take over: {reason}"
                    )));
                }
                CommitReply::RateLimited(wait) => self.governor.close(table, wait),
                CommitReply::Applied(_) => telemetry::commit(table, "claimed"),
                CommitReply::Conflict(_) => telemetry::commit(table, "conflict"),
                CommitReply::Unknown(_) => telemetry::commit(table, "unknown"),
            }
            head = self.ask(&ident, table).await?;
            if self.owner(&head) != Owner::Us {
                backoff.wait().await;
            }
        }
        Err(CommitError::Retry("other commits came first each time the table was to be taken over".into()))
    }

    pub(crate) fn owner(&self, head: &TableHead) -> Owner {
        match read_claim(&head.metadata, &self.writer) {
            None => Owner::Free,
            Some(claim) => match claim.rsplit(':').next().unwrap_or_default() {
                name if name == self.incarnation => Owner::Us,
                name if self.incarnations.contains(name) => Owner::Free,
                _ => Owner::Copy,
            },
        }
    }

    /// What to say when a copy took over.
    pub(crate) fn fenced(&self, head: &TableHead) -> CommitError {
        let claim = read_claim(&head.metadata, &self.writer).unwrap_or_default();
        CommitError::Halt(format!(
            "fenced: another copy of this data folder took over the table (its start {claim}, ours {}); stop one of the \
             two. Nothing acknowledged here is lost: it is in this folder's log, and queries here show it",
            self.claim_value()
        ))
    }

    fn claim_value(&self) -> String {
        format!("{}:{}", self.epoch, self.incarnation)
    }

    /// The watermarks as they are, under the new epoch.
    fn marks_of_this_epoch(&self, head: &TableHead) -> Result<Vec<Mark>, CommitError> {
        let marks = Slot::ALL.map(|slot| {
            let shown = read_watermark(&head.metadata, &self.writer, slot).map_err(CommitError::Halt)?;
            Ok::<_, CommitError>(shown.map(|mut watermark| {
                watermark.epoch = watermark.epoch.max(self.epoch);
                Mark { name: self.writer.watermark_property(slot), value: watermark.to_string() }
            }))
        });
        let marks: Result<Vec<_>, _> = marks.into_iter().collect();
        Ok(marks?.into_iter().flatten().collect())
    }
}

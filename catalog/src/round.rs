//! One transaction for all tables that are due, where the catalog takes several at once: readers see all
//! of a round's tables or none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use iceberg::TableIdent;
use iceberg_catalog_rest::CommitTableRequest;
use tokio::sync::watch;

use crate::commit::CommitError;
use crate::decide::Decision;
use crate::error::Result;
use crate::head::TableHead;
use crate::journal::PendingCommit;
use crate::lake::{Lake, tables_in_order};
use crate::run::stopped;
use crate::table_catalog::LoadedTable;
use crate::tables::{Slot, TABLES, Table};
use crate::telemetry;

/// Where a table stands for the committer of all tables.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// To be loaded or created, not before this.
    Unready(Instant),
    /// Not to be committed to before this.
    Ready(Instant),
}

/// What a round commits of a table: its sealed rows up to a position.
#[derive(Clone, Copy, Debug)]
struct Due {
    slot: Slot,
    table: Table,
    last: u64,
}

impl Lake {
    /// Creates or loads all tables, then commits what is due, all tables of a round together, until told
    /// to stop. For catalogs that take transactions.
    pub async fn run_round_committer(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut progress = [Progress::Unready(Instant::now()); TABLES];
        loop {
            for table in tables_in_order() {
                let state = &mut progress[table.index()];
                if matches!(state, Progress::Unready(at) if *at <= Instant::now()) {
                    *state = match self.start_table(table).await {
                        Ok(()) => Progress::Ready(Instant::now()),
                        Err(wait) => Progress::Unready(Instant::now() + wait),
                    };
                }
            }
            if stopped(&mut stop, self.tick()).await {
                return;
            }
            let may = |table: Table| matches!(progress[table.index()], Progress::Ready(at) if at <= Instant::now());
            let due = self.due_now(may);
            for (table, error) in self.commit_round(due).await {
                let wait = self.note_trouble(table, error);
                progress[table.index()] = Progress::Ready(Instant::now() + wait);
            }
        }
    }

    async fn start_table(self: &Arc<Self>, table: Table) -> Result<(), Duration> {
        match self.make_ready(table).await {
            Ok(()) => {
                self.set_trouble(table, None);
                Ok(())
            }
            Err(error) => {
                self.views.publish_not_ready(table, &error.to_string());
                Err(self.note_trouble(table, error))
            }
        }
    }

    /// The first slot of each table that is due: one commit changes a table once.
    fn due_now(&self, may: impl Fn(Table) -> bool) -> Vec<Due> {
        let (now_us, view) = (self.clock.now_us(), self.views.current());
        let tables = tables_in_order().filter(|table| may(*table) && !self.pauses().is_paused(*table, now_us));
        let due = tables.filter_map(|table| {
            let slot = Slot::ALL.into_iter().find(|slot| self.commit_is_due(*slot, table))?;
            Some(Due { slot, table, last: view.tail(table, slot).sealed_through() })
        });
        let mut due: Vec<Due> = due.collect();
        if !self.leaders(&view).iter().all(|leader| due.iter().any(|due| due.table == *leader)) {
            due.retain(|due| due.table != Table::Events);
        }
        due
    }

    /// Commits the oldest ranges of these together; says which table's commit did not come to an end.
    async fn commit_round(self: &Arc<Self>, due: Vec<Due>) -> Vec<(Table, CommitError)> {
        let mut failed = Vec::new();
        if let [Due { slot, table, last }] = due[..] {
            match self.commit_sealed(slot, table, last).await {
                Ok(()) => self.set_trouble(table, None),
                Err(error) => failed.push((table, error)),
            }
            return failed;
        }
        // Always in the order of the tables, so that two rounds never wait for each other.
        let mut locks = Vec::with_capacity(due.len());
        for due in &due {
            locks.push(self.committing[due.table.index()].lock().await);
        }
        let mut prepared = Vec::with_capacity(due.len());
        let mut is_led = false;
        for due in due {
            if is_led && due.table == Table::Events {
                continue;
            }
            match self.prepare_for_round(&due).await {
                Ok(Some(pending)) => {
                    // One commit does not take them all: events wait for the rest.
                    is_led |= due.table.leads_events() && pending.through < due.last;
                    prepared.push(pending);
                }
                Ok(None) => {}
                Err(error) => {
                    is_led |= due.table.leads_events();
                    failed.push((due.table, error));
                }
            }
        }
        for (pending, error) in self.post_round(prepared).await {
            failed.push((pending.table, error));
        }
        failed
    }

    async fn prepare_for_round(self: &Arc<Self>, due: &Due) -> Result<Option<PendingCommit>, CommitError> {
        let Due { slot, table, last } = *due;
        self.post_pending(slot, table).await?;
        let ranges = self.next_ranges(slot, table, last);
        if ranges.is_empty() {
            return Ok(None);
        }
        let head = self.shown_head(table)?;
        self.prepare(&head, &ranges).await.map(Some)
    }

    /// Posts all together. What the tables do not show then goes the way of a single commit.
    async fn post_round(self: &Arc<Self>, prepared: Vec<PendingCommit>) -> Vec<(PendingCommit, CommitError)> {
        if prepared.is_empty() {
            return Vec::new();
        }
        let started = Instant::now();
        let answered = self.post_together(&prepared).await;
        let mut failed = Vec::new();
        let mut is_led = false;
        for (index, pending) in prepared.into_iter().enumerate() {
            let loaded = answered.as_ref().and_then(|answered| answered.get(index)).cloned();
            let ended = match loaded {
                Some(loaded) => self.conclude_loaded(&pending, loaded, started).await,
                // It stays pending, and is posted in a later round.
                None if is_led && pending.table == Table::Events => continue,
                None => self.post(pending.clone(), true).await,
            };
            match ended {
                Ok(()) => self.set_trouble(pending.table, None),
                Err(error) => {
                    is_led |= pending.table.leads_events();
                    failed.push((pending, error));
                }
            }
        }
        failed
    }

    /// The tables after the transaction, or none if it is not known to have been applied.
    async fn post_together(self: &Arc<Self>, prepared: &[PendingCommit]) -> Option<Vec<LoadedTable>> {
        let mut requests: Vec<(TableIdent, CommitTableRequest)> = Vec::with_capacity(prepared.len());
        for pending in prepared {
            let ident = self.settings.ident(pending.table);
            let head = self.shown_head(pending.table).ok()?;
            let request = self.propose(&ident, &head, pending).await.ok()?;
            self.governor.take(pending.table).await;
            requests.push((ident, request));
        }
        let stalls = &self.settings.stalls;
        let _open = (!stalls.post.is_zero()).then(|| stalls.mark("post"));
        tokio::time::sleep(stalls.post / 2).await;
        let answered = self.catalog.commit_together(requests).await;
        tokio::time::sleep(stalls.post / 2).await;
        answered.inspect_err(|error| tracing::debug!(%error, "a round is committed table by table")).ok()
    }

    async fn conclude_loaded(
        self: &Arc<Self>,
        pending: &PendingCommit,
        loaded: LoadedTable,
        started: Instant,
    ) -> Result<(), CommitError> {
        let head = Arc::new(TableHead::new(pending.table, loaded.metadata, loaded.metadata_location)?);
        if self.decide(&head, pending) != Decision::Committed {
            return self.post(pending.clone(), true).await;
        }
        telemetry::commit(pending.table, "committed");
        self.governor.note_latency(pending.table, started.elapsed());
        self.conclude(&head, pending, started)
    }
}

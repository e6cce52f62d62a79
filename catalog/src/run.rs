//! The loops that the server runs: the sealer, one committer per table, and the last round at shutdown.

use std::sync::Arc;
use std::time::Duration;

use iceberg::TableIdent;
use tokio::sync::watch;

use crate::claim::Owner;
use crate::commit::{CommitError, check_format};
use crate::creation::creation;
use crate::decide::{behind, replaced, rolled_back};
use crate::error::{Error, Result, chain};
use crate::head::TableHead;
use crate::lake::{Lake, slots_and_tables};
use crate::tables::{Slot, Table};
use crate::telemetry;
use crate::view::ReadView;
use crate::watermark::read_watermark;

const TICK_MAX: Duration = Duration::from_millis(250);
/// At full load the tail grows by megabytes in this time.
const SEAL_TICK_MAX: Duration = Duration::from_millis(20);
const TICK_MIN: Duration = Duration::from_millis(10);
/// Sealed rows that cannot be committed hold up the events that refer to them so long.
const LEADER_PATIENCE_MS: i64 = 60_000;

impl Lake {
    /// Seals what is due until told to stop.
    pub async fn run_sealer(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !stopped(&mut stop, self.tick().min(SEAL_TICK_MAX)).await {
            self.report();
            if !slots_and_tables().any(|(slot, table)| self.seal_is_due(slot, table)) {
                continue;
            }
            let lake = Arc::clone(&self);
            let sealed = tokio::task::spawn_blocking(move || lake.seal_due()).await;
            let trouble = match sealed {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(chain(&error)),
                Err(error) => Some(error.to_string()),
            };
            self.set_seal_trouble(trouble.clone());
            if let Some(error) = trouble {
                tracing::error!(error, "cannot seal rows; they stay in the log");
                stopped(&mut stop, self.settings.retry_pause).await;
            }
        }
    }

    /// Creates or loads the table, then commits what is due until told to stop.
    pub async fn run_committer(self: Arc<Self>, table: Table, mut stop: watch::Receiver<bool>) {
        while let Err(error) = self.make_ready(table).await {
            self.views.publish_not_ready(table, &error.to_string());
            if matches!(error, CommitError::Retry(_)) {
                self.show_kept_head(table).await;
            }
            let wait = self.note_trouble(table, error);
            if stopped(&mut stop, wait).await {
                return;
            }
        }
        self.set_trouble(table, None);
        while !stopped(&mut stop, self.tick()).await {
            if self.pauses().is_paused(table, self.clock.now_us()) {
                continue;
            }
            if let Err(error) = self.commit_due(table).await {
                let wait = self.note_trouble(table, error);
                if stopped(&mut stop, wait).await {
                    return;
                }
            }
        }
    }

    async fn commit_due(self: &Arc<Self>, table: Table) -> Result<(), CommitError> {
        for slot in Slot::ALL {
            // One view: events that are sealed later may refer to rows that are sealed later too.
            let view = self.views.current();
            if table == Table::Events && !self.leaders(&view).is_empty() {
                return Ok(());
            }
            if self.commit_is_due(slot, table) {
                self.commit_sealed(slot, table, view.tail(table, slot).sealed_through()).await?;
                self.set_trouble(table, None);
            }
        }
        Ok(())
    }

    /// The tables with sealed rows that events of this view may refer to. One that has been in trouble for a
    /// while holds up no events.
    pub(crate) fn leaders(&self, view: &ReadView) -> Vec<Table> {
        let now_ms = self.clock.now_ms();
        let leaders = Table::ALL.into_iter().filter(|table| {
            let Some(oldest) = view.tail(*table, Slot::Main).sealed.first() else { return false };
            let is_new = now_ms.saturating_sub(oldest.record.sealed_at_ms) < LEADER_PATIENCE_MS;
            table.leads_events() && (is_new || self.trouble(*table).is_none())
        });
        leaders.collect()
    }

    pub(crate) fn note_trouble(&self, table: Table, error: CommitError) -> Duration {
        let (reason, wait) = match error {
            CommitError::Retry(reason) => (reason, self.settings.retry_pause),
            CommitError::Halt(reason) => (reason, self.settings.halt_pause),
        };
        self.set_trouble(table, Some(reason));
        wait
    }

    /// Seals and commits everything, once per table. What does not get there is in the log.
    pub async fn finish(self: &Arc<Self>) -> Result<()> {
        let lake = Arc::clone(self);
        let sealed = tokio::task::spawn_blocking(move || lake.seal_all()).await;
        sealed.map_err(|error| Error::Corrupt(error.to_string()))??;
        let view = self.views.current();
        for (slot, table) in slots_and_tables() {
            if table == Table::Events && !self.leaders(&self.views.current()).is_empty() {
                continue;
            }
            if let Err(error) = self.commit_sealed(slot, table, view.tail(table, slot).sealed_through()).await {
                self.set_trouble(table, Some(error.to_string()));
            }
        }
        Ok(())
    }

    /// Whether nothing waits to be committed.
    pub fn is_settled(&self) -> bool {
        let view = self.views.current();
        slots_and_tables().all(|(slot, table)| view.tail(table, slot).is_empty())
    }

    /// Makes a table readable once, for tools that run without the service.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn open_table(self: &Arc<Self>, table: Table) -> std::result::Result<(), String> {
        self.make_ready(table).await.map_err(|error| error.to_string())
    }

    /// Loads the table, or creates it if there is none; takes it over and resolves what an earlier
    /// process left open.
    pub(crate) async fn make_ready(self: &Arc<Self>, table: Table) -> Result<(), CommitError> {
        self.check_catalog().await?;
        self.own_root().await?;
        let ident = self.settings.ident(table);
        let mut head = self.load_or_create(&ident, table).await?;
        // Before anything is changed: a claim or a new column would mark a stranger's table.
        if self.settings.shares_catalog && self.owner(&head) == Owner::Copy {
            return Err(self.fenced(&head));
        }
        self.check_ours(&head)?;
        if self.settings.shares_catalog {
            head = self.claim(table, head).await?;
        }
        head = self.evolve(table, head).await?;
        self.keep_head(&head);
        self.views.publish_head(head)?;
        for slot in Slot::ALL {
            self.resolve_pending(slot, table).await?;
        }
        Ok(())
    }

    async fn load_or_create(&self, ident: &TableIdent, table: Table) -> Result<Arc<TableHead>, CommitError> {
        self.catalog.ensure_namespace(ident.namespace()).await?;
        let loaded = match self.catalog.load(ident).await? {
            Some(loaded) => loaded,
            None => {
                self.check_never_committed(ident, table)?;
                self.catalog.create(ident, creation(ident, table)?).await?
            }
        };
        Ok(Arc::new(TableHead::new(table, loaded.metadata, loaded.metadata_location)?))
    }

    /// A table that held rows of ours does not start anew.
    fn check_never_committed(&self, ident: &TableIdent, table: Table) -> Result<(), CommitError> {
        let journal = self.journal.lock();
        if Slot::ALL.iter().all(|slot| journal.state(*slot, table).committed.is_none()) {
            return Ok(());
        }
        Err(CommitError::Halt(format!(
            "the table {ident} is gone, but rows were committed to it; if --namespace or --table-prefix was changed, \
             change it back"
        )))
    }

    /// Refuses a table that is not the one our rows went to. One that holds more rows of this writer than
    /// its folder knows of would swallow new ones: they get positions that count as committed.
    pub(crate) fn check_ours(&self, head: &TableHead) -> Result<(), CommitError> {
        check_format(&self.settings.ident(head.table), head)?;
        for slot in Slot::ALL {
            self.check_same_table(head, slot)?;
            let shown = read_watermark(&head.metadata, &self.writer, slot).map_err(CommitError::Halt)?;
            let (Some(shown), Some(known)) = (shown, self.last_known(slot, head.table)) else { continue };
            if shown.position > known {
                return Err(CommitError::Halt(format!(
                    "the table holds rows of this writer up to {}, but the log and commits.journal know of {known} \
                     only: a file of the data folder was lost. New rows stay in the log; restore the folder from a copy",
                    shown.position
                )));
            }
        }
        Ok(())
    }

    /// The table that our rows went to, and not behind them.
    pub(crate) fn check_same_table(&self, head: &TableHead, slot: Slot) -> Result<(), CommitError> {
        let (committed, pending) = {
            let journal = self.journal.lock();
            let state = journal.state(slot, head.table);
            (state.committed.clone(), state.pending.as_ref().map(|pending| pending.table_uuid))
        };
        let before = pending.or(committed.as_ref().map(|record| record.table_uuid));
        if let Some(before) = before.filter(|before| *before != head.metadata.uuid()) {
            return Err(CommitError::Halt(replaced(head.metadata.uuid(), before)));
        }
        match committed {
            Some(record) if rolled_back(head, &record) => Err(CommitError::Halt(behind(&record))),
            _ => Ok(()),
        }
    }

    pub(crate) fn commit_is_due(&self, slot: Slot, table: Table) -> bool {
        let view = self.views.current();
        let tail = view.tail(table, slot);
        if self.journal.lock().state(slot, table).pending.is_some() {
            return true;
        }
        let Some(oldest) = tail.sealed.iter().map(|range| range.record.received_us).min() else { return false };
        let interval = self.governor.interval(table, self.settings.interval(slot));
        let interval_us = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
        let leads = || table.leads_events() && Slot::ALL.iter().any(|slot| self.commit_is_due(*slot, Table::Events));
        self.is_due(oldest, interval_us) || tail.sealed_bytes() >= self.settings.commit_sealed_bytes || leads()
    }

    /// Whether something from then is older than the interval. A clock that was set back far makes it
    /// due too: waiting for it to catch up could take hours.
    pub(crate) fn is_due(&self, then_us: i64, interval_us: i64) -> bool {
        const SET_BACK_US: i64 = 60_000_000;
        let age_us = self.clock.now_us().saturating_sub(then_us);
        age_us >= interval_us || age_us < -SET_BACK_US
    }

    pub(crate) fn tick(&self) -> Duration {
        (self.settings.commit_interval / 8).clamp(TICK_MIN, TICK_MAX)
    }

    fn report(&self) {
        let view = self.views.current();
        let now_us = self.clock.now_us();
        for (slot, table) in slots_and_tables() {
            let age_us = view.tail(table, slot).oldest_us().map_or(0, |oldest| now_us.saturating_sub(oldest));
            telemetry::lag(slot, table, age_us as f64 / 1e6);
            let interval = self.governor.interval(table, self.settings.interval(slot));
            telemetry::interval(slot, table, interval.as_secs_f64());
        }
        telemetry::tails(self.views.tail_bytes(), view.sealed_bytes());
    }
}

/// Waits, and says whether it is time to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>, wait: Duration) -> bool {
    let told = stop.wait_for(|stop| *stop);
    tokio::time::timeout(wait, told).await.is_ok()
}

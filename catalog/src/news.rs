//! What others did to tables of a catalog that they share with us.
//!
//! Asked for when somebody reads, so that a catalog that charges by the request is left alone otherwise.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;

use crate::commit::CommitError;
use crate::lake::Lake;
use crate::tables::Table;

/// A read waits at most this long for news; then it shows what is known.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// After a catalog did not answer, reads do not wait for it for so long.
const QUIET_AFTER_FAILURE_US: i64 = 30_000_000;

impl Lake {
    /// Shows what others committed, if what is known is older than the refresh interval.
    pub async fn freshen(&self) {
        if !self.settings.shares_catalog {
            return;
        }
        let stale = Table::ALL.into_iter().filter(|table| self.is_stale(*table));
        let asked: Vec<_> = stale.map(|table| self.news_of(table)).collect();
        if !asked.is_empty() {
            let _ = tokio::time::timeout(WAIT_MAX, join_all(asked)).await;
        }
    }

    fn is_stale(&self, table: Table) -> bool {
        let interval_us = i64::try_from(self.settings.refresh_interval.as_micros()).unwrap_or(i64::MAX);
        let known = self.views.current().head(table).is_some();
        known && self.is_due(self.known_at_us[table.index()].load(Ordering::Relaxed), interval_us)
    }

    async fn news_of(&self, table: Table) {
        // A commit under way brings the news itself.
        let Ok(_one_at_a_time) = self.committing[table.index()].try_lock() else { return };
        // Noted first: reads that come while this waits do not wait, too.
        let now_us = self.clock.now_us();
        self.known_at_us[table.index()].store(now_us + QUIET_AFTER_FAILURE_US, Ordering::Relaxed);
        match self.show_news(table).await {
            Ok(()) => self.known_at_us[table.index()].store(self.clock.now_us(), Ordering::Relaxed),
            Err(CommitError::Retry(reason)) => {
                tracing::debug!(table = table.short_name(), reason, "no news of a table");
            }
            Err(CommitError::Halt(reason)) => self.set_trouble(table, Some(reason)),
        }
    }

    async fn show_news(&self, table: Table) -> Result<(), CommitError> {
        let head = self.ask(&self.settings.ident(table), table).await?;
        let shown = self.views.current().head(table).map(|head| head.metadata_location.clone());
        if shown.as_deref() == Some(&head.metadata_location) {
            return Ok(());
        }
        self.check_ours(&head)?;
        Ok(self.views.publish_head(head)?)
    }
}

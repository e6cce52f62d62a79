//! Deleting the metadata files that commits replace. Without it a table that commits every ten
//! seconds leaves gigabytes of manifests a day.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path as ObjectPath;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::head::TableHead;
use crate::lake::Lake;
use crate::names;
use crate::objects::ListedObject;
use crate::run::stopped;
use crate::tables::Table;

/// Age at which files of an embedded catalog on a bucket may go that this process did not write: a week.
const UNKNOWN_ON_BUCKET_MS: i64 = 7 * 24 * 3_600 * 1_000;
const SWEEP_EVERY_MIN: Duration = Duration::from_secs(1);

impl Lake {
    /// Sweeps the metadata folders of our tables from time to time until told to stop.
    pub async fn run_cleanup(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let every = (self.settings().metadata_grace / 6).max(SWEEP_EVERY_MIN);
        while !stopped(&mut stop, every).await {
            for table in Table::ALL {
                match self.sweep_metadata(table).await {
                    Ok(0) => {}
                    Ok(files) => tracing::debug!(table = table.short_name(), files, "deleted replaced metadata"),
                    Err(error) => {
                        let error = crate::error::chain(&error);
                        tracing::warn!(table = table.short_name(), error, "cannot delete replaced metadata");
                    }
                }
            }
        }
    }

    /// Deletes metadata files that nothing reaches and that are older than the grace, which covers
    /// commits under way and queries that hold an older view. Says how many.
    pub async fn sweep_metadata(&self, table: Table) -> Result<usize> {
        self.own_root().await.map_err(|error| Error::Refused(error.to_string()))?;
        // Files first, then what is reachable: a file that appears in between is not in the list.
        let objects = self.cache.objects();
        let Some(head) = self.views.current().head(table).cloned() else { return Ok(0) };
        let folder = format!("{}/metadata", head.metadata.location().trim_end_matches('/'));
        let files = objects.list(&folder).await?;
        // The catalog, not the view: what it states now must stay, whatever was shown.
        let loaded = self.catalog.load(&self.settings().ident(table)).await;
        let Some(loaded) = loaded.map_err(|error| Error::Refused(error.to_string()))? else { return Ok(0) };
        let head = TableHead::new(table, loaded.metadata, loaded.metadata_location)?;
        let reachable = self.reachable_metadata(&head).await?;
        let (now_ms, grace) = (self.clock.now_ms(), self.settings().metadata_grace);
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let mut deleted = 0;
        for file in &files {
            let age_ms = now_ms - file.modified_ms;
            if age_ms < grace_ms || !self.may_delete(file, age_ms) {
                continue;
            }
            if !reachable.contains(&file.path) {
                objects.delete(&file.location).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// In a folder of its own every file is known. In the catalog of others only manifests and lists that
    /// this data folder wrote go. Of an embedded catalog on a bucket a copy of the folder may have written
    /// beside us, under the name of our last start, too: what this process did not write goes only when
    /// the copy had days to be noticed.
    fn may_delete(&self, file: &ListedObject, age_ms: i64) -> bool {
        let settings = self.settings();
        let wrote = names::incarnation_of_metadata(&file.location);
        if settings.shares_catalog {
            return wrote.is_some_and(|name| self.incarnations.contains(name));
        }
        settings.owned_root.is_none() || wrote == Some(&self.incarnation) || age_ms >= UNKNOWN_ON_BUCKET_MS
    }

    /// The present metadata, those of its log, and the lists and manifests of every retained snapshot.
    /// As paths: guests spell locations in more than one way.
    async fn reachable_metadata(&self, head: &TableHead) -> Result<HashSet<ObjectPath>> {
        let metadata = &head.metadata;
        let mut reachable = vec![head.metadata_location.clone()];
        reachable.extend(metadata.metadata_log().iter().map(|entry| entry.metadata_file.clone()));
        for snapshot in metadata.snapshots() {
            reachable.push(snapshot.manifest_list().to_owned());
            let list = self.cache.manifest_list(snapshot, metadata).await?;
            reachable.extend(list.iter().map(|manifest| manifest.manifest_path.clone()));
        }
        let statistics = metadata.statistics_iter().map(|file| file.statistics_path.clone());
        reachable.extend(statistics);
        reachable.extend(metadata.partition_statistics_iter().map(|file| file.statistics_path.clone()));
        let objects = self.cache.objects();
        reachable.iter().map(|location| objects.path(location)).collect()
    }
}

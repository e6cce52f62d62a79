//! What was last known of the tables of a remote catalog, kept in the data folder, so that a start while
//! the catalog is away can show them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::TableMetadata;
use serde::{Deserialize, Serialize};

use crate::claim::Owner;
use crate::error::{Error, Result, chain};
use crate::head::TableHead;
use crate::lake::Lake;
use crate::tables::{Slot, Table};
use crate::watermark::read_watermark;

/// Storage that does not answer in this time is as far away as the catalog.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Content of `heads/<table>.json`. Not synced: a damaged one is passed over.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    metadata_location: String,
    metadata: TableMetadata,
}

impl Lake {
    /// Keeps a head that is shown.
    pub(crate) fn keep_head(&self, head: &TableHead) {
        if !self.settings.shares_catalog {
            return;
        }
        let known =
            Known { metadata_location: head.metadata_location.clone(), metadata: head.metadata.as_ref().clone() };
        let path = self.head_file(head.table);
        let unfinished = path.with_extension("tmp");
        let text = serde_json::to_vec(&known).expect("plain data");
        if let Err(error) = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, &path)) {
            tracing::warn!(file = %path.display(), %error, "cannot keep what is known of a table");
        }
    }

    /// Shows the kept head while the catalog cannot be asked, if its files can be read and it holds exactly
    /// what the journal says is in the table: then no row is missing and none is shown twice.
    pub(crate) async fn show_kept_head(&self, table: Table) {
        if self.views.current().head(table).is_some() || !self.settings.shares_catalog {
            return;
        }
        match self.kept_head(table) {
            Ok(Some(head)) if self.fits_journal(&head) && self.owner(&head) != Owner::Copy => {
                if !self.can_be_read(&head).await {
                    return;
                }
                tracing::info!(table = table.short_name(), "showing the table as it was last known");
                if let Err(error) = self.views.publish_head(Arc::new(head)) {
                    tracing::warn!(error = chain(&error), "cannot show what is known of a table");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = chain(&error), "cannot read what was known of a table"),
        }
    }

    fn kept_head(&self, table: Table) -> Result<Option<TableHead>> {
        let path = self.head_file(table);
        let Ok(text) = fs::read(&path) else { return Ok(None) };
        let known: Known = serde_json::from_slice(&text)
            .map_err(|error| Error::Corrupt(format!("{} is not table metadata: {error}", path.display())))?;
        TableHead::new(table, Arc::new(known.metadata), known.metadata_location).map(Some)
    }

    fn fits_journal(&self, head: &TableHead) -> bool {
        let journal = self.journal.lock();
        Slot::ALL.into_iter().all(|slot| {
            let shown = read_watermark(&head.metadata, &self.writer, slot).ok().flatten();
            let committed = journal.state(slot, head.table).committed.as_ref();
            let stated = committed.map(|record| (record.table_uuid, record.through, record.snapshot_id));
            stated == shown.map(|shown| (head.metadata.uuid(), shown.position, shown.snapshot_id))
        })
    }

    /// Keys that the catalog vends are not known while it is away.
    async fn can_be_read(&self, head: &TableHead) -> bool {
        let Some(snapshot) = head.snapshot() else { return true };
        let read = self.cache.manifest_list(snapshot, &head.metadata);
        matches!(tokio::time::timeout(READ_LIMIT, read).await, Ok(Ok(_)))
    }

    fn head_file(&self, table: Table) -> PathBuf {
        self.heads_folder.join(format!("{}.json", table.short_name()))
    }
}

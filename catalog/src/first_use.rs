//! The check of a catalog before its first use, remembered in the data folder.

use std::path::Path;

use iceberg::NamespaceIdent;
use serde::{Deserialize, Serialize};

use crate::check::{Verdict, check};
use crate::commit::CommitError;
use crate::error::Result;
use crate::lake::Lake;
use crate::objects::replace_file;

/// Content of `catalog.json`: the catalog that this folder's rows go to, once it passed the check.
#[derive(Debug, Serialize, Deserialize)]
struct Passed {
    catalog: String,
    checked_ms: i64,
}

impl Lake {
    /// Refuses a catalog under which rows could be lost or doubled; asks each catalog once per folder.
    pub(crate) async fn check_catalog(&self) -> Result<(), CommitError> {
        let Some(catalog) = &self.settings.checked_as else { return Ok(()) };
        let mut passed = self.checked.lock().await;
        if *passed || has_passed(&self.check_file, catalog) {
            *passed = true;
            return Ok(());
        }
        let namespace = NamespaceIdent::new(self.settings.namespace.clone());
        let report = check(self.catalog.as_ref(), &self.cache, &namespace, || self.catalog.clock_skew_ms()).await;
        match report.verdict() {
            Verdict::Bad if report.unreachable => return Err(CommitError::Retry(report.words(Verdict::Bad))),
            Verdict::Bad => {
                return Err(CommitError::Halt(format!("the catalog cannot be used: {}", report.words(Verdict::Bad))));
            }
            Verdict::Weaker => {
                tracing::warn!("the catalog is weaker than it could be: {}", report.words(Verdict::Weaker))
            }
            Verdict::Good => tracing::info!(catalog, "the catalog passed the check"),
        }
        let note = Passed { catalog: catalog.clone(), checked_ms: self.clock.now_ms() };
        let text = serde_json::to_vec_pretty(&note).expect("plain data");
        replace_file(&self.check_file, &text)?;
        *passed = true;
        Ok(())
    }
}

fn has_passed(file: &Path, catalog: &str) -> bool {
    let text = std::fs::read(file).unwrap_or_default();
    serde_json::from_slice::<Passed>(&text).is_ok_and(|passed| passed.catalog == catalog)
}

//! `HOGFLARE_FEATURE_FLAGS`: the flags as the file has them now, and what SDKs may fetch of them.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use arc_swap::ArcSwap;
use hogflare_ingest::flags::{Definitions, FlagFile, FlagSet, GROUP_TYPES_MAX};
use parking_lot::Mutex;

/// Documents of definitions that are kept, one for each project and form.
const DOCUMENTS_MAX: usize = 1_000;

/// The flags that hold now. Cheap to clone; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedFlags {
    file: Arc<ArcSwap<FlagFile>>,
    documents: Arc<Mutex<HashMap<(String, bool), Document>>>,
}

/// What was written for a project, and from what.
#[derive(Debug)]
struct Document {
    flags: Arc<FlagSet>,
    group_types: GroupTypeNames,
    definitions: Arc<Definitions>,
}

pub(crate) type GroupTypeNames = [Option<String>; GROUP_TYPES_MAX];

/// The file's text, and what is odd about it in the log.
pub(crate) fn parse(text: &str) -> Result<FlagFile> {
    let file = FlagFile::parse(text)?;
    for warning in file.warnings() {
        tracing::warn!("feature flags: {warning}");
    }
    Ok(file)
}

impl SharedFlags {
    pub(crate) fn new(file: FlagFile) -> SharedFlags {
        let flags = SharedFlags::default();
        flags.replace(file);
        flags
    }

    pub(crate) fn replace(&self, file: FlagFile) {
        self.file.store(Arc::new(file));
        self.documents.lock().clear();
    }

    pub(crate) fn of(&self, project: &str) -> Arc<FlagSet> {
        Arc::clone(self.file.load().project(project))
    }

    /// What an SDK evaluates itself. Written once for as long as nothing changes: thousands of flags take
    /// a second.
    pub(crate) fn definitions(&self, project: &str, types: &GroupTypeNames, send_cohorts: bool) -> Arc<Definitions> {
        let flags = self.of(project);
        let key = (project.to_owned(), send_cohorts);
        if let Some(document) = self.documents.lock().get(&key)
            && Arc::ptr_eq(&document.flags, &flags)
            && document.group_types == *types
        {
            return Arc::clone(&document.definitions);
        }
        let definitions = Arc::new(flags.definitions(types, send_cohorts));
        for (flag, why) in &definitions.left_out {
            tracing::debug!(project, %flag, why, "left out of what SDKs evaluate themselves");
        }
        let document = Document { flags, group_types: types.clone(), definitions: Arc::clone(&definitions) };
        let mut documents = self.documents.lock();
        if documents.len() >= DOCUMENTS_MAX {
            documents.clear();
        }
        documents.insert(key, document);
        definitions
    }
}

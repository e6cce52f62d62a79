//! Who owns the files of an embedded catalog on a bucket.
//!
//! Its pointers are in the data folder, so a copy of the folder has pointers of its own to the same files,
//! and each would sweep away what only the other names. A note at the root of the files names the start
//! that owns those of a writer; a start takes it from earlier starts of its own folder only.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::commit::CommitError;
use crate::error::Error;
use crate::lake::Lake;

/// The files below a root, and how long it is believed that nobody else took them.
#[derive(Clone, Debug)]
pub struct OwnedRoot {
    /// A location such as `s3://bucket/prefix`.
    pub location: String,
    pub believed_for: Duration,
}

impl OwnedRoot {
    pub fn new(location: impl Into<String>) -> OwnedRoot {
        OwnedRoot { location: location.into(), believed_for: Duration::from_secs(60) }
    }
}

/// Content of `hogflare-owner-<writer>.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    writer: String,
    /// Name of the start.
    incarnation: String,
}

impl Lake {
    /// Takes the files at the first call, and finds out at later ones whether somebody else did.
    pub(crate) async fn own_root(&self) -> Result<(), CommitError> {
        let Some(root) = &self.settings.owned_root else { return Ok(()) };
        let mut seen = self.root_seen.lock().await;
        if seen.is_some_and(|at| at.elapsed() < root.believed_for) {
            return Ok(());
        }
        // Other folders may keep tables below the same root; only copies of this one have its writer.
        let root_location = root.location.trim_end_matches('/');
        let location = format!("{root_location}/hogflare-owner-{}.json", self.writer.short());
        match self.root_owner(&location).await? {
            Some(owner) if owner == self.incarnation => {}
            Some(owner) if seen.is_some() || !self.incarnations.contains(&owner) => {
                return Err(CommitError::Halt(format!(
                    "fenced: another copy of this data folder uses the files at {} (its start {owner}, ours {}); stop \
                     one of the two. Nothing acknowledged here is lost: it is in this folder's log",
                    root.location, self.incarnation
                )));
            }
            _ => self.take_root(&location).await?,
        }
        *seen = Some(Instant::now());
        Ok(())
    }

    async fn root_owner(&self, location: &str) -> Result<Option<String>, CommitError> {
        let bytes = match self.cache.objects().read(location).await {
            Ok(bytes) => bytes,
            Err(Error::Object { source: object_store::Error::NotFound { .. }, .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let owner: Owner = serde_json::from_slice(&bytes)
            .map_err(|error| CommitError::Halt(format!("{location} does not say who owns the files: {error}")))?;
        Ok(Some(owner.incarnation))
    }

    async fn take_root(&self, location: &str) -> Result<(), CommitError> {
        let owner = Owner { writer: self.writer.as_str().to_owned(), incarnation: self.incarnation.clone() };
        let text = serde_json::to_vec_pretty(&owner).expect("plain data");
        Ok(self.cache.objects().replace(location, text.into()).await?)
    }
}

//! What can go wrong with the log and the files beside it.

use std::io;
use std::path::{Path, PathBuf};

use crate::identity::StateError;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot {doing} {path}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// No room for another segment. Nothing was written; room may come back.
    #[error("the log is full: {0}")]
    Full(String),
    /// Bytes that were durable have changed.
    #[error("{path} is damaged at byte {at}: {what}")]
    Corrupt { path: PathBuf, at: u64, what: String },
    /// The folder cannot be used by this release or under these settings.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Rows(#[from] hogflare_catalog::Error),
    #[error(transparent)]
    State(#[from] StateError),
}

impl LogError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_owned();
        move |source| LogError::Io { doing, path, source }
    }

    pub(crate) fn corrupt(path: &Path, at: u64, what: impl Into<String>) -> LogError {
        LogError::Corrupt { path: path.to_owned(), at, what: what.into() }
    }

    /// The error with all its sources in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }
}

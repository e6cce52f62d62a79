//! What went wrong, said as what was being done.

use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing}")]
    Iceberg { doing: &'static str, source: Box<iceberg::Error> },
    #[error("cannot {doing}")]
    Arrow { doing: &'static str, source: arrow::error::ArrowError },
    #[error("cannot {doing}")]
    Parquet { doing: &'static str, source: parquet::errors::ParquetError },
    #[error("cannot {doing} {path}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot {doing}")]
    Sqlite { doing: &'static str, source: rusqlite::Error },
    #[error("cannot {doing} {location}")]
    Object { doing: &'static str, location: String, source: object_store::Error },
    #[error("damaged frame: {0}")]
    Frame(String),
    #[error("damaged record in {path} at byte {offset}: {what}")]
    Journal { path: PathBuf, offset: u64, what: String },
    #[error("schema: {0}")]
    Schema(String),
    /// The file cannot be read by this release or under the present settings.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Corrupt(String),
}

impl Error {
    pub(crate) fn iceberg(doing: &'static str) -> impl Fn(iceberg::Error) -> Error {
        move |source| Error::Iceberg { doing, source: Box::new(source) }
    }

    pub(crate) fn arrow(doing: &'static str) -> impl Fn(arrow::error::ArrowError) -> Error {
        move |source| Error::Arrow { doing, source }
    }

    pub(crate) fn parquet(doing: &'static str) -> impl Fn(parquet::errors::ParquetError) -> Error {
        move |source| Error::Parquet { doing, source }
    }

    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { doing, path, source }
    }

    pub(crate) fn sqlite(doing: &'static str) -> impl Fn(rusqlite::Error) -> Error {
        move |source| Error::Sqlite { doing, source }
    }
}

/// An error and its causes in one line. Some libraries repeat the causes in their own text.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

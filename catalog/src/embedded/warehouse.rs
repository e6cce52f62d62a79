//! The folder under which all tables stand: where a table may be, and its metadata files as bytes.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use uuid::Uuid;

use super::answer::RestError;
use crate::error::{Error, Result};
use crate::objects::{Objects, create_folder, local_path, location_of};

/// Every read and write of the catalog in the warehouse goes through here.
#[derive(Clone, Debug)]
pub(super) struct Warehouse {
    folder: Arc<Path>,
}

impl Warehouse {
    pub(super) fn new(folder: PathBuf) -> Warehouse {
        Warehouse { folder: folder.into() }
    }

    pub(super) fn location(&self) -> String {
        location_of(&self.folder)
    }

    /// Refuses what is not below the warehouse; `what` says what stands there.
    pub(super) fn check_inside(&self, what: &str, location: &str) -> Result<(), RestError> {
        if self.is_inside(location) {
            return Ok(());
        }
        let warehouse = self.location();
        Err(RestError::bad_request(format!("{what} {location} is outside of the warehouse {warehouse}")))
    }

    fn is_inside(&self, location: &str) -> bool {
        let Ok(path) = local_path(location) else { return false };
        let plain = path.components().all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
        plain && path.starts_with(&self.folder) && *path != *self.folder && !location.contains("/..")
    }

    /// A folder that is not there yet, named after the table.
    pub(super) fn new_location(&self, ident: &TableIdent) -> String {
        let mut path = self.folder.to_path_buf();
        path.extend(ident.namespace().as_ref().iter());
        path.push(ident.name());
        if path.exists() {
            let suffix = Uuid::new_v4().simple().to_string();
            path.set_file_name(format!("{}-{}", ident.name(), &suffix[..8]));
        }
        location_of(&path)
    }

    pub(super) fn read(&self, location: &str) -> Result<Vec<u8>> {
        let path = local_path(location)?;
        std::fs::read(&path).map_err(Error::io("read", &path))
    }

    pub(super) fn read_metadata(&self, location: &str) -> Result<TableMetadata> {
        let bytes = self.read(location)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Corrupt(format!("{location} does not hold table metadata: {error}")))
    }

    /// Durable when this returns.
    pub(super) fn write_metadata(&self, location: &str, metadata: &TableMetadata) -> Result<()> {
        let bytes = serde_json::to_vec(metadata).expect("metadata is plain data");
        self.make_folders(metadata.location())?;
        Objects::local().put_new(location, &bytes)
    }

    /// Guests that write files themselves expect the folders of a table to be there.
    pub(super) fn make_folders(&self, table_location: &str) -> Result<()> {
        let table = local_path(table_location)?;
        create_folder(&table.join("metadata"))?;
        create_folder(&table.join("data"))
    }

    /// Deletes a file that nothing names; one that stays does no harm.
    pub(super) fn discard(&self, location: &str) {
        let _ = Objects::local().delete(location);
    }

    /// Deletes a table's folder, as far as that goes.
    pub(super) fn purge(&self, table_location: &str) {
        if let (true, Ok(folder)) = (self.is_inside(table_location), local_path(table_location)) {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Whether one location is or holds the other.
pub(super) fn overlap(one: &str, other: &str) -> Result<bool> {
    let (one, other) = (local_path(one)?, local_path(other)?);
    Ok(one.starts_with(&other) || other.starts_with(&one))
}

/// The folder of the table whose metadata stands at `<folder>/metadata/<file>`.
pub(super) fn folder_of(metadata_location: &str) -> Option<&str> {
    let (folder, _) = metadata_location.rsplit_once('/')?;
    folder.rsplit_once('/').map(|(table, _)| table)
}

/// `<table location>/metadata/<version, five digits>-<uuid>.metadata.json`.
pub(super) fn next_location(metadata: &TableMetadata, before: Option<&str>) -> String {
    let name = before.and_then(|location| location.rsplit('/').next()).unwrap_or_default();
    let version = name.split('-').next().and_then(|digits| digits.parse::<u64>().ok());
    let next = version.map_or(0, |version| version + 1);
    let location = metadata.location().trim_end_matches('/');
    format!("{location}/metadata/{next:05}-{}.metadata.json", Uuid::new_v4())
}

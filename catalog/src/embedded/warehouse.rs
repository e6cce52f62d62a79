//! The place under which all tables stand: where a table may be, and its metadata files as bytes.

use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use object_store::path::Path as ObjectPath;
use uuid::Uuid;

use super::answer::RestError;
use crate::error::{Error, Result};
use crate::objects::{Objects, create_folder, is_local, local, local_path, path_of};

/// Every read and write of the catalog in the warehouse goes through here. Blocking: buckets are waited
/// for on the runtime of the caller, which must be on a thread that may block.
#[derive(Clone, Debug)]
pub(super) struct Warehouse {
    root: String,
    root_path: ObjectPath,
    objects: Objects,
}

impl Warehouse {
    pub(super) fn new(root: String, objects: Objects) -> Result<Warehouse> {
        let root = root.trim_end_matches('/').to_owned();
        Ok(Warehouse { root_path: path_of(&root)?, root, objects })
    }

    pub(super) fn location(&self) -> String {
        self.root.clone()
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
        let Ok(path) = path_of(location) else { return false };
        path.prefix_matches(&self.root_path) && path != self.root_path && !location.contains("/..")
    }

    /// A folder that is not there yet, named after the table.
    pub(super) fn new_location(&self, ident: &TableIdent) -> String {
        let suffix = || Uuid::new_v4().simple().to_string()[..8].to_owned();
        if !is_local(&self.root) {
            let namespace = ident.namespace().as_ref().join("/");
            return format!("{}/{namespace}/{}-{}", self.root, ident.name(), suffix());
        }
        let Ok(mut path) = local_path(&self.root) else { return self.root.clone() };
        path.extend(ident.namespace().as_ref().iter());
        path.push(ident.name());
        if path.exists() {
            path.set_file_name(format!("{}-{}", ident.name(), suffix()));
        }
        crate::objects::location_of(&path)
    }

    pub(super) fn read(&self, location: &str) -> Result<Vec<u8>> {
        if !is_local(location) {
            return Ok(self.wait_for(self.objects.read(location))?.to_vec());
        }
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
        if !is_local(location) {
            return self.wait_for(self.objects.put_new(location, bytes.into()));
        }
        self.make_folders(metadata.location())?;
        local::put_new(location, &bytes)
    }

    /// Guests that write files themselves expect the folders of a table to be there. Buckets have none.
    pub(super) fn make_folders(&self, table_location: &str) -> Result<()> {
        if !is_local(table_location) {
            return Ok(());
        }
        let table = local_path(table_location)?;
        create_folder(&table.join("metadata"))?;
        create_folder(&table.join("data"))
    }

    /// Deletes a file that nothing names; one that stays does no harm.
    pub(super) fn discard(&self, location: &str) {
        let _ = match is_local(location) {
            true => local_path(location).map(|path| _ = std::fs::remove_file(path)),
            false => self.wait_for(self.objects.delete(location)),
        };
    }

    /// Deletes a table's folder, as far as that goes.
    pub(super) fn purge(&self, table_location: &str) {
        if !self.is_inside(table_location) {
            return;
        }
        if let (true, Ok(folder)) = (is_local(table_location), local_path(table_location)) {
            let _ = std::fs::remove_dir_all(folder);
            return;
        }
        let purged = self.wait_for(async {
            for object in self.objects.list(table_location).await? {
                self.objects.delete(&object.location).await?;
            }
            Ok::<_, Error>(())
        });
        if let Err(error) = purged {
            tracing::warn!(table_location, error = crate::error::chain(&error), "cannot purge a dropped table");
        }
    }

    fn wait_for<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::runtime::Handle::current().block_on(work)
    }
}

/// Whether one location is or holds the other.
pub(super) fn overlap(one: &str, other: &str) -> Result<bool> {
    let (one, other) = (path_of(one)?, path_of(other)?);
    Ok(one.prefix_matches(&other) || other.prefix_matches(&one))
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

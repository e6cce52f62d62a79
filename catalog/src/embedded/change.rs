//! What changes a table's name or its entry: rename, register, drop.

use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::FormatVersion;

use super::EmbeddedCatalog;
use super::answer::RestError;
use super::commit::Origin;
use super::store::TableMove;
use super::warehouse::folder_of;
use crate::error::chain;
use crate::objects::path_of;
use crate::table_catalog::LoadedTable;

impl EmbeddedCatalog {
    /// Gives a guest's table another name, perhaps in another namespace. Its folder stays where it is.
    pub(super) fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<(), RestError> {
        self.check_not_ours(from, "renamed")?;
        let state = self.state.lock();
        if state.store.table(from)?.is_none() {
            return Err(RestError::no_table(from));
        }
        self.check_free(&state, to, Origin::Guest)?;
        if !state.store.rename_table(from, to, self.clock.now_ms())? {
            return Err(RestError::conflict(format!("table {from} or {to} was changed meanwhile")));
        }
        Ok(())
    }

    /// Enters a table whose metadata file is already in the warehouse, for example one that was dropped.
    pub(super) fn register_table(
        &self,
        ident: &TableIdent,
        metadata_location: &str,
        overwrite: bool,
    ) -> Result<LoadedTable, RestError> {
        let mut state = self.state.lock();
        let before = state.store.table(ident)?;
        match (&before, overwrite) {
            (Some(_), true) => self.check_not_ours(ident, "replaced")?,
            _ => self.check_free(&state, ident, Origin::Guest)?,
        }
        self.warehouse.check_inside("metadata-location", metadata_location)?;
        let metadata = self.warehouse.read_metadata(metadata_location).map_err(|error| {
            RestError::bad_request(format!("the metadata file cannot be registered: {}", chain(&error)))
        })?;
        if metadata.format_version() == FormatVersion::V3 {
            return Err(RestError::bad_request("format version 3 is not supported"));
        }
        let location = metadata.location();
        let folder = folder_of(metadata_location).map(path_of).transpose()?;
        if folder != Some(path_of(location)?) {
            return Err(RestError::bad_request(format!(
                "{metadata_location} describes a table at {location}; its metadata file must stand in {location}/metadata"
            )));
        }
        self.check_folder(&state, ident, location)?;
        let entry = TableMove { table: ident, uuid: metadata.uuid(), from: before.as_deref(), to: metadata_location };
        match state.store.prepare(&[entry], self.clock.now_ms())? {
            Some(moved) => moved.commit()?,
            None => return Err(RestError::conflict(format!("table {ident} was changed meanwhile"))),
        }
        let loaded = LoadedTable { metadata: Arc::new(metadata), metadata_location: metadata_location.to_owned() };
        state.remember(&loaded.metadata_location, &loaded.metadata);
        Ok(loaded)
    }

    /// Drops a guest's table; with `purge`, its files too.
    pub(super) fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<(), RestError> {
        self.check_not_ours(ident, "dropped")?;
        let mut state = self.state.lock();
        let loaded = state.load(ident)?.ok_or_else(|| RestError::no_table(ident))?;
        state.store.drop_table(ident)?;
        if purge && state.check_apart(ident, loaded.metadata.location()).is_ok() {
            self.warehouse.purge(loaded.metadata.location());
        }
        Ok(())
    }

    fn check_not_ours(&self, ident: &TableIdent, what: &str) -> Result<(), RestError> {
        match self.settings.table_of(ident) {
            Some(_) => Err(RestError::bad_request(format!("{ident} is hogflare's own table and cannot be {what}"))),
            None => Ok(()),
        }
    }
}

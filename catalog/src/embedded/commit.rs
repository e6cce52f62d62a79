//! Committing to tables: one or several, all or none.
//!
//! ```text
//! new files of guests checked → lock → requirements → updates → metadata files written and synced
//!                             → pointers moved in one SQLite transaction → shown to queries
//! ```

use std::sync::Arc;

use iceberg::spec::{MAIN_BRANCH, TableMetadata};
use iceberg::{ErrorKind, TableIdent, TableRequirement, TableUpdate};
use iceberg_catalog_rest::CommitTableRequest;

use super::answer::RestError;
use super::store::TableMove;
use super::warehouse::{next_location, overlap};
use super::{EmbeddedCatalog, State, guard, new_files};
use crate::snapshot::{WRITER_SUMMARY, references};
use crate::table_catalog::LoadedTable;

/// Who commits: guests may not break what our writer relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Ours,
    Guest,
}

/// What a table shall be next; created if there is nothing before.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) ident: TableIdent,
    pub(super) before: Option<LoadedTable>,
    pub(super) after: TableMetadata,
}

impl EmbeddedCatalog {
    /// Applies a commit, or changes nothing.
    pub fn commit_table(
        &self,
        ident: &TableIdent,
        request: CommitTableRequest,
        origin: Origin,
    ) -> Result<LoadedTable, RestError> {
        let mut committed = self.commit_tables(vec![(ident.clone(), request)], origin)?;
        Ok(committed.pop().expect("as many tables as requests"))
    }

    /// Applies the commits to all of these tables in one step, or changes nothing. A table that is not there is
    /// created if its request asserts that. The answers are in the order of the requests.
    pub fn commit_tables(
        &self,
        requests: Vec<(TableIdent, CommitTableRequest)>,
        origin: Origin,
    ) -> Result<Vec<LoadedTable>, RestError> {
        check_distinct(&requests)?;
        if origin == Origin::Guest {
            self.check_new_files(&requests)?;
        }
        let mut state = self.state.lock();
        let mut changes: Vec<Change> = Vec::with_capacity(requests.len());
        for (ident, request) in requests {
            let change = self.propose(&mut state, ident, request, origin)?;
            if change.moves_folder() {
                check_apart_of(&changes, &change)?;
            }
            changes.push(change);
        }
        let guests: Vec<TableIdent> = match origin {
            Origin::Guest => changes.iter().map(|change| change.ident.clone()).collect(),
            Origin::Ours => Vec::new(),
        };
        let stored = self.store(&mut state, changes)?;
        for table in guests.iter().filter_map(|ident| self.settings.table_of(ident)) {
            self.pauses.guest_won(table, self.clock.now_us());
        }
        Ok(stored)
    }

    /// Reads what guests add to our tables. Before the lock: the files never change, and there may be many.
    fn check_new_files(&self, requests: &[(TableIdent, CommitTableRequest)]) -> Result<(), RestError> {
        for (ident, request) in requests.iter().filter(|(ident, _)| self.settings.table_of(ident).is_some()) {
            let loaded = self.state.lock().load(ident)?;
            let Some(before) = loaded else { continue };
            self.check_requirements(ident, &before.metadata, &request.requirements, Origin::Guest)?;
            new_files::check(&self.warehouse, &before.metadata, &request.updates)?;
        }
        Ok(())
    }

    fn propose(
        &self,
        state: &mut State,
        ident: TableIdent,
        request: CommitTableRequest,
        origin: Origin,
    ) -> Result<Change, RestError> {
        let Some(before) = state.load(&ident)? else { return self.propose_new(state, ident, request, origin) };
        self.check_requirements(&ident, &before.metadata, &request.requirements, origin)?;
        let guarded = self.settings.table_of(&ident).filter(|_| origin == Origin::Guest);
        if guarded.is_some() {
            guard::check_updates(&before.metadata, &request.updates)?;
        }
        let updates = match origin {
            Origin::Ours => spare_named(&before.metadata, request.updates),
            Origin::Guest => request.updates,
        };
        let metadata = before.metadata.as_ref().clone();
        let after = apply(metadata, Some(before.metadata_location.clone()), updates)?;
        if let Some(table) = guarded {
            guard::check_result(table, &before.metadata, &after, self.clock.now_ms())?;
        }
        let change = Change { ident, before: Some(before), after };
        if change.moves_folder() {
            self.check_folder(state, &change.ident, change.after.location())?;
        }
        Ok(change)
    }

    fn check_requirements(
        &self,
        ident: &TableIdent,
        before: &TableMetadata,
        requirements: &[TableRequirement],
        origin: Origin,
    ) -> Result<(), RestError> {
        let failed =
            requirements.iter().find_map(|requirement| Some((requirement, requirement.check(Some(before)).err()?)));
        let Some((requirement, error)) = failed else { return Ok(()) };
        let is_main = matches!(requirement, TableRequirement::RefSnapshotIdMatch { r#ref, .. } if r#ref == MAIN_BRANCH);
        let ours_was_first = before
            .current_snapshot()
            .is_some_and(|head| head.summary().additional_properties.contains_key(WRITER_SUMMARY));
        if let (Origin::Guest, true, Some(table)) = (origin, is_main && ours_was_first, self.settings.table_of(ident)) {
            self.pauses.guest_lost(table, self.clock.now_us());
        }
        Err(refusal(error))
    }

    /// A table may stand anywhere in the warehouse where no other table does.
    pub(super) fn check_folder(&self, state: &State, ident: &TableIdent, location: &str) -> Result<(), RestError> {
        self.warehouse.check_inside("location", location)?;
        state.check_apart(ident, location)
    }

    /// Writes the metadata of all changes, then moves all pointers in one step.
    pub(super) fn store(&self, state: &mut State, changes: Vec<Change>) -> Result<Vec<LoadedTable>, RestError> {
        let locations: Vec<String> = changes.iter().map(Change::metadata_location).collect();
        let discard = || locations.iter().for_each(|location| self.warehouse.discard(location));
        for (change, location) in changes.iter().zip(&locations) {
            self.warehouse.write_metadata(location, &change.after).inspect_err(|_| discard())?;
        }
        let moves: Vec<TableMove<'_>> =
            changes.iter().zip(&locations).map(|(change, location)| change.table_move(location)).collect();
        let Some(moved) = state.store.prepare(&moves, self.clock.now_ms()).inspect_err(|_| discard())? else {
            discard();
            return Err(RestError::conflict("a table was changed meanwhile"));
        };
        // After an error here the database's log may hold the moves all the same: the files must stay.
        moved.commit()?;
        let stored = changes.into_iter().zip(locations).map(|(change, metadata_location)| {
            if let Some(before) = &change.before {
                state.decoded.remove(&before.metadata_location);
            }
            let loaded = LoadedTable { metadata: Arc::new(change.after), metadata_location };
            state.remember(&loaded.metadata_location, &loaded.metadata);
            (change.ident, loaded)
        });
        let stored: Vec<(TableIdent, LoadedTable)> = stored.collect();
        self.show(&stored);
        Ok(stored.into_iter().map(|(_, loaded)| loaded).collect())
    }
}

impl Change {
    fn moves_folder(&self) -> bool {
        self.before.as_ref().is_none_or(|before| before.metadata.location() != self.after.location())
    }

    fn metadata_location(&self) -> String {
        next_location(&self.after, self.before.as_ref().map(|before| before.metadata_location.as_str()))
    }

    fn table_move<'a>(&'a self, to: &'a str) -> TableMove<'a> {
        let from = self.before.as_ref().map(|before| before.metadata_location.as_str());
        TableMove { table: &self.ident, uuid: self.after.uuid(), from, to }
    }
}

fn check_distinct(requests: &[(TableIdent, CommitTableRequest)]) -> Result<(), RestError> {
    for (index, (ident, _)) in requests.iter().enumerate() {
        if requests[..index].iter().any(|(earlier, _)| earlier == ident) {
            return Err(RestError::bad_request(format!(
                "table {ident} is changed twice; send its updates in one change"
            )));
        }
    }
    Ok(())
}

/// Tables that one transaction creates or moves do not share folders either.
fn check_apart_of(earlier: &[Change], change: &Change) -> Result<(), RestError> {
    let location = change.after.location();
    for other in earlier {
        if overlap(location, other.after.location())? {
            let other = &other.ident;
            return Err(RestError::bad_request(format!("location {location} overlaps that of table {other}")));
        }
    }
    Ok(())
}

/// A snapshot that a guest named since the commit was built is not expired: its tag would go with it.
fn spare_named(before: &TableMetadata, mut updates: Vec<TableUpdate>) -> Vec<TableUpdate> {
    if !updates.iter().any(|update| matches!(update, TableUpdate::RemoveSnapshots { .. })) {
        return updates;
    }
    let named: Vec<i64> = references(before).values().map(|reference| reference.snapshot_id).collect();
    for update in &mut updates {
        if let TableUpdate::RemoveSnapshots { snapshot_ids } = update {
            snapshot_ids.retain(|id| !named.contains(id));
        }
    }
    updates
}

/// The metadata after the updates; with the location of the metadata before, that one enters the log.
pub(super) fn apply(
    before: TableMetadata,
    before_location: Option<String>,
    updates: Vec<TableUpdate>,
) -> Result<TableMetadata, RestError> {
    let mut builder = before.into_builder(before_location);
    for update in updates {
        builder = update.apply(builder).map_err(refusal)?;
    }
    Ok(builder.build().map_err(refusal)?.metadata)
}

/// A failed requirement is a conflict; anything else is the client's mistake.
pub(super) fn refusal(error: iceberg::Error) -> RestError {
    match error.kind() {
        ErrorKind::CatalogCommitConflicts | ErrorKind::TableNotFound => RestError::conflict(error.to_string()),
        _ => RestError::bad_request(error.to_string()),
    }
}

//! Creating tables: at once, or staged and created by the commit that fills them.

use std::sync::Arc;

use iceberg::spec::{FormatVersion, PartitionSpec, SortOrder, TableMetadata, TableMetadataBuilder};
use iceberg::{NamespaceIdent, TableCreation, TableIdent, TableRequirement, TableUpdate};
use iceberg_catalog_rest::{CommitTableRequest, CreateTableRequest};
use serde_json::json;
use uuid::Uuid;

use super::answer::RestError;
use super::commit::{Change, Origin, apply, refusal};
use super::rest::is_safe_name;
use super::{EmbeddedCatalog, State};
use crate::table_catalog::LoadedTable;

/// Field ids of partitions begin above this (Iceberg spec, partition evolution).
const LAST_PARTITION_ID_OF_NONE: i32 = 999;
/// The sort order of this id has no fields (Iceberg spec, sort orders).
const UNSORTED: i64 = 0;

/// A table that was created, or one that the client will create by a commit.
#[derive(Debug)]
pub(super) enum Created {
    Stored(LoadedTable),
    /// Its folders are there; nothing is stored.
    Staged(Arc<TableMetadata>),
}

impl EmbeddedCatalog {
    pub(super) fn create_table(
        &self,
        namespace: &NamespaceIdent,
        request: CreateTableRequest,
        origin: Origin,
    ) -> Result<Created, RestError> {
        let ident = TableIdent::new(namespace.clone(), request.name.clone());
        let staged = request.stage_create == Some(true);
        let mut state = self.state.lock();
        self.check_free(&state, &ident, origin)?;
        let location = match &request.location {
            Some(asked) => asked.trim_end_matches('/').to_owned(),
            None => self.warehouse.new_location(&ident),
        };
        self.check_folder(&state, &ident, &location)?;
        let after = new_metadata(request, location)?;
        if staged {
            self.warehouse.make_folders(after.location())?;
            return Ok(Created::Staged(Arc::new(after)));
        }
        let mut stored = self.store(&mut state, vec![Change { ident, before: None, after }])?;
        Ok(Created::Stored(stored.pop().expect("one change, one table")))
    }

    /// The commit that creates a table, staged or not.
    pub(super) fn propose_new(
        &self,
        state: &mut State,
        ident: TableIdent,
        request: CommitTableRequest,
        origin: Origin,
    ) -> Result<Change, RestError> {
        if !request.requirements.contains(&TableRequirement::NotExist) {
            return Err(RestError::no_table(&ident));
        }
        request.requirements.iter().try_for_each(|requirement| requirement.check(None)).map_err(refusal)?;
        self.check_free(state, &ident, origin)?;
        let first = first_metadata(&request.updates, || self.warehouse.new_location(&ident))?;
        let after = apply(first, None, request.updates)?;
        self.check_folder(state, &ident, after.location())?;
        Ok(Change { ident, before: None, after })
    }

    /// The name may become a table's: safe, in a namespace that is there, not taken, and not one of ours.
    pub(super) fn check_free(&self, state: &State, ident: &TableIdent, origin: Origin) -> Result<(), RestError> {
        if !is_safe_name(ident.name()) {
            let name = ident.name();
            return Err(RestError::bad_request(format!("{name:?} cannot be a table: it would leave its folder")));
        }
        if state.store.namespace(ident.namespace())?.is_none() {
            return Err(RestError::no_namespace(ident.namespace()));
        }
        if state.store.table(ident)?.is_some() {
            return Err(RestError::exists(format!("table {ident} exists")));
        }
        if origin == Origin::Guest && self.settings.table_of(ident).is_some() {
            return Err(RestError::bad_request(format!("the name {ident} is kept for hogflare's own table")));
        }
        Ok(())
    }
}

impl Created {
    pub(super) fn stored(self) -> Option<LoadedTable> {
        match self {
            Created::Stored(loaded) => Some(loaded),
            Created::Staged(_) => None,
        }
    }
}

fn new_metadata(request: CreateTableRequest, location: String) -> Result<TableMetadata, RestError> {
    let mut properties = request.properties;
    let format_version = match properties.remove("format-version").as_deref() {
        None | Some("2") => FormatVersion::V2,
        Some("1") => FormatVersion::V1,
        Some(other) => return Err(RestError::bad_request(format!("format version {other} is not supported"))),
    };
    let creation = TableCreation {
        name: request.name,
        location: Some(location),
        schema: request.schema,
        partition_spec: request.partition_spec,
        sort_order: request.write_order,
        properties,
        format_version,
    };
    let built = TableMetadataBuilder::from_table_creation(creation)
        .and_then(|builder| builder.assign_uuid(Uuid::new_v4()).build());
    Ok(built.map_err(refusal)?.metadata)
}

/// What the updates of a creation are applied to: a table that has the first schema, partition spec and sort
/// order already, under the ids that the client gave them and that its data files use. The crate's own way to
/// begin gives ids anew.
fn first_metadata(updates: &[TableUpdate], location: impl FnOnce() -> String) -> Result<TableMetadata, RestError> {
    let first = |wanted: fn(&TableUpdate) -> bool| updates.iter().find(|update| wanted(update));
    let Some(TableUpdate::AddSchema { schema }) = first(|update| matches!(update, TableUpdate::AddSchema { .. }))
    else {
        return Err(RestError::bad_request("a table is created with a schema; the commit has no add-schema"));
    };
    let spec = match first(|update| matches!(update, TableUpdate::AddSpec { .. })) {
        Some(TableUpdate::AddSpec { spec }) => spec.clone().bind(schema.clone()).map_err(refusal)?,
        _ => PartitionSpec::unpartition_spec(),
    };
    let mut sort_orders = vec![SortOrder::unsorted_order()];
    if let Some(TableUpdate::AddSortOrder { sort_order }) =
        first(|update| matches!(update, TableUpdate::AddSortOrder { .. }))
        && sort_order.order_id != UNSORTED
    {
        sort_orders.push(sort_order.clone());
    }
    let format_version = match first(|update| matches!(update, TableUpdate::UpgradeFormatVersion { .. })) {
        Some(TableUpdate::UpgradeFormatVersion { format_version: FormatVersion::V1 }) => 1,
        Some(TableUpdate::UpgradeFormatVersion { format_version: FormatVersion::V3 }) => {
            return Err(RestError::bad_request("format version 3 is not supported"));
        }
        _ => 2,
    };
    let uuid = match first(|update| matches!(update, TableUpdate::AssignUuid { .. })) {
        Some(TableUpdate::AssignUuid { uuid }) => *uuid,
        _ => Uuid::new_v4(),
    };
    let location = match first(|update| matches!(update, TableUpdate::SetLocation { .. })) {
        Some(TableUpdate::SetLocation { location }) => location.clone(),
        _ => location(),
    };
    let metadata = json!({
        "format-version": format_version,
        "table-uuid": uuid,
        "location": location,
        "last-sequence-number": 0,
        "last-updated-ms": 0,
        "last-column-id": schema.highest_field_id(),
        "schemas": [schema],
        "current-schema-id": schema.schema_id(),
        "partition-specs": [spec],
        "default-spec-id": spec.spec_id(),
        "last-partition-id": spec.highest_field_id().unwrap_or(LAST_PARTITION_ID_OF_NONE),
        "sort-orders": sort_orders,
        "default-sort-order-id": UNSORTED,
    });
    serde_json::from_value(metadata)
        .map_err(|error| RestError::bad_request(format!("cannot create the table: {error}")))
}

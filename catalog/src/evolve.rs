//! Columns that a later release declares are added to tables of an earlier one.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use iceberg_catalog_rest::CommitTableRequest;

use crate::commit::{Backoff, CommitError};
use crate::error::{Error, Result};
use crate::head::TableHead;
use crate::lake::Lake;
use crate::table_catalog::CommitReply;
use crate::tables::{BINDING_PROPERTY, Binding, Table, primitive_type};
use crate::telemetry;

/// The change is given up after so many lost races; the committer begins anew.
const TRIES: u32 = 20;
/// The schema that a commit itself adds (Iceberg REST specification, `set-current-schema`).
const LAST_ADDED: i32 = -1;

impl Lake {
    /// The table with all columns of this release. Each new column is one that a guest made under its
    /// name and type, or is added; ids are the table's to give.
    pub(crate) async fn evolve(&self, table: Table, mut head: Arc<TableHead>) -> Result<Arc<TableHead>, CommitError> {
        let ident = self.settings.ident(table);
        let mut backoff = Backoff::new();
        for _ in 0..TRIES {
            let Some(request) = evolution(&ident, &head)? else { return Ok(head) };
            self.governor.take(table).await;
            match self.catalog.commit(&ident, request).await {
                CommitReply::Rejected(reason) => {
                    return Err(CommitError::Halt(format!(
                        "the catalog refuses the columns of this release: {reason}"
                    )));
                }
                CommitReply::RateLimited(wait) => self.governor.close(table, wait),
                CommitReply::Applied(_) => telemetry::commit(table, "evolved"),
                CommitReply::Conflict(_) | CommitReply::Unknown(_) => backoff.wait().await,
            }
            head = self.ask(&ident, table).await?;
        }
        Err(CommitError::Retry("other commits came first each time columns were to be added".into()))
    }
}

/// The commit that is missing, if one is.
fn evolution(ident: &TableIdent, head: &TableHead) -> Result<Option<CommitTableRequest>> {
    let (table, metadata) = (head.table, head.metadata.as_ref());
    let schema = metadata.current_schema();
    let mut bound: HashMap<&str, i32> = HashMap::new();
    let mut fields = schema.as_struct().fields().to_vec();
    let mut last_id = metadata.last_column_id();
    for (index, column) in table.columns().iter().enumerate() {
        if let Some(id) = head.binding.id(index) {
            bound.insert(column.name, id);
            continue;
        }
        let wanted = primitive_type(column.kind);
        let theirs = schema.field_by_name(column.name);
        match theirs.map(|field| (field.id, is(field, &wanted) && !field.required)) {
            Some((id, true)) => _ = bound.insert(column.name, id),
            Some((_, false)) => tracing::warn!(
                table = %ident,
                column = column.name,
                "the table has a column of this name and another type; ours stays in `properties` only"
            ),
            None => {
                last_id += 1;
                let field = NestedField::optional(last_id, column.name, Type::Primitive(wanted));
                fields.push(Arc::new(field.with_doc(column.doc)));
                bound.insert(column.name, last_id);
            }
        }
    }
    let binding = Binding::of(table, &bound).to_property(table);
    if metadata.properties().get(BINDING_PROPERTY) == Some(&binding) || binding == head.binding.to_property(table) {
        return Ok(None);
    }
    let mut updates = Vec::new();
    if last_id > metadata.last_column_id() {
        let identifiers = schema.identifier_field_ids().collect::<Vec<_>>();
        let schema = Schema::builder().with_fields(fields).with_identifier_field_ids(identifiers).build();
        let schema = schema.map_err(Error::iceberg("add columns to the schema"))?;
        updates.push(TableUpdate::AddSchema { schema });
        updates.push(TableUpdate::SetCurrentSchema { schema_id: LAST_ADDED });
    }
    updates.push(TableUpdate::SetProperties { updates: HashMap::from([(BINDING_PROPERTY.to_owned(), binding)]) });
    let requirements = vec![
        TableRequirement::UuidMatch { uuid: metadata.uuid() },
        TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: metadata.last_column_id() },
        TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() },
    ];
    Ok(Some(CommitTableRequest { identifier: Some(ident.clone()), requirements, updates }))
}

fn is(field: &NestedField, wanted: &PrimitiveType) -> bool {
    field.field_type.as_primitive_type() == Some(wanted)
}

#[cfg(test)]
mod tests;

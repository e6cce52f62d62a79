//! What a table is created with.

use std::collections::HashMap;

use iceberg::TableIdent;
use iceberg_catalog_rest::CreateTableRequest;

use crate::error::Result;
use crate::tables::{BINDING_PROPERTY, Binding, Table, iceberg_schema, partition_spec};

pub(crate) fn creation(ident: &TableIdent, table: Table) -> Result<CreateTableRequest> {
    let schema = iceberg_schema(table)?;
    let binding = Binding::by_name(table, &schema).to_property(table);
    let properties = [
        ("format-version", "2"),
        ("write.parquet.compression-codec", "zstd"),
        ("write.metadata.delete-after-commit.enabled", "true"),
        ("write.metadata.previous-versions-max", "20"),
        ("commit.retry.num-retries", "20"),
        ("hogflare.schema-release", "1"),
        (BINDING_PROPERTY, &binding),
    ];
    Ok(CreateTableRequest {
        name: ident.name().to_owned(),
        location: None,
        partition_spec: Some(partition_spec(table, &schema)?),
        schema,
        write_order: None,
        stage_create: None,
        properties: properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<HashMap<_, _>>(),
    })
}

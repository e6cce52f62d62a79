//! Declared columns → Arrow and Iceberg schemas, and the binding of columns to field ids.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Transform, Type, UnboundPartitionSpec};

use super::{Kind, TABLES, Table};
use crate::error::{Error, Result};

/// The zone that Iceberg's Arrow mapping gives to `timestamptz`.
pub(crate) const UTC: &str = "+00:00";

static ARROW_SCHEMAS: LazyLock<[SchemaRef; TABLES]> = LazyLock::new(|| {
    Table::ALL.map(|table| {
        let fields: Vec<Field> = table
            .columns()
            .iter()
            .map(|column| Field::new(column.name, arrow_type(column.kind), !column.required))
            .collect();
        Arc::new(ArrowSchema::new(fields))
    })
});

/// The schema of a table's rows in the log and in memory: our names, no field ids.
pub fn arrow_schema(table: Table) -> SchemaRef {
    Arc::clone(&ARROW_SCHEMAS[table.index()])
}

fn arrow_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Long => DataType::Int64,
        Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        Kind::Boolean => DataType::Boolean,
        Kind::Binary => DataType::LargeBinary,
    }
}

pub(crate) fn primitive_type(kind: Kind) -> PrimitiveType {
    match kind {
        Kind::Text => PrimitiveType::String,
        Kind::Long => PrimitiveType::Long,
        Kind::Timestamp => PrimitiveType::Timestamptz,
        Kind::Boolean => PrimitiveType::Boolean,
        Kind::Binary => PrimitiveType::Binary,
    }
}

/// The schema with which a table is created. The catalog may give other field ids than these.
pub fn iceberg_schema(table: Table) -> Result<Schema> {
    let fields = table.columns().iter().zip(1..).map(|(column, id)| {
        let field = NestedField::new(id, column.name, Type::Primitive(primitive_type(column.kind)), column.required);
        Arc::new(field.with_doc(column.doc))
    });
    Schema::builder().with_fields(fields).build().map_err(Error::iceberg("build the schema"))
}

/// `day(<partition column>)`, over the schema's own field ids.
pub fn partition_spec(table: Table, schema: &Schema) -> Result<UnboundPartitionSpec> {
    let column = table.partition_column();
    let source = schema.field_id_by_name(column).ok_or_else(|| Error::Schema(format!("no column {column}")))?;
    let builder = UnboundPartitionSpec::builder()
        .add_partition_field(source, format!("{column}_day"), Transform::Day)
        .map_err(Error::iceberg("build the partition spec"))?;
    Ok(builder.build())
}

/// The Arrow schema of a table as it is now, with the field ids in the fields' metadata.
pub fn present_schema(schema: &Schema) -> Result<SchemaRef> {
    schema_to_arrow_schema(schema).map(Arc::new).map_err(Error::iceberg("map the schema to Arrow"))
}

/// The table property that keeps the [`Binding`].
pub const BINDING_PROPERTY: &str = "hogflare.columns";

/// Which field id each of our columns is written to. Bound by name once, at creation; a rename by
/// someone else does not change it, and a bound column that was dropped is not written any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    ids: Vec<Option<i32>>,
}

impl Binding {
    /// By name, for a table that has no binding yet.
    pub fn by_name(table: Table, schema: &Schema) -> Binding {
        Binding { ids: table.columns().iter().map(|column| schema.field_id_by_name(column.name)).collect() }
    }

    /// From the property's text, `name=id,name=id`. Unknown names are skipped: a later release wrote them.
    pub fn parse(table: Table, text: &str) -> Binding {
        let bound: HashMap<&str, i32> = text
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .filter_map(|(name, id)| Some((name, id.parse().ok()?)))
            .collect();
        Binding::of(table, &bound)
    }

    pub(crate) fn of(table: Table, bound: &HashMap<&str, i32>) -> Binding {
        Binding { ids: table.columns().iter().map(|column| bound.get(column.name).copied()).collect() }
    }

    pub fn to_property(&self, table: Table) -> String {
        let pairs = table.columns().iter().zip(&self.ids);
        let bound = pairs.filter_map(|(column, id)| id.map(|id| format!("{}={id}", column.name)));
        bound.collect::<Vec<_>>().join(",")
    }

    /// Field id of the column with this index in the declaration.
    pub fn id(&self, column_index: usize) -> Option<i32> {
        self.ids[column_index]
    }

    /// Index in the declaration of the column that is bound to a field id.
    pub fn column_of(&self, field_id: i32) -> Option<usize> {
        self.ids.iter().position(|id| *id == Some(field_id))
    }
}

/// Rows of ours in the shape of the table as it is now: bound columns by field id, cast where the
/// type was widened, null where the table has a column that is not ours.
pub fn present_batch(batch: &RecordBatch, binding: &Binding, present: &SchemaRef) -> Result<RecordBatch> {
    let columns = present.fields().iter().map(|field| -> Result<ArrayRef> {
        let ours = field_id(field).and_then(|id| binding.column_of(id));
        let Some(index) = ours else { return Ok(new_null_array(field.data_type(), batch.num_rows())) };
        let array = batch.column(index);
        if array.data_type() == field.data_type() {
            return Ok(Arc::clone(array));
        }
        cast(array, field.data_type()).map_err(Error::arrow("widen a column"))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(present), columns).map_err(Error::arrow("map rows to the present schema"))
}

/// The Iceberg field id in an Arrow field's metadata.
pub fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(parquet::arrow::PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

/// Rows that were logged with another set of columns, in the present one: matched by name, null where
/// a column is new. A column that this release does not know is dropped; its value stays in `properties`.
pub fn adopt_batch(batch: &RecordBatch, table: Table) -> Result<RecordBatch> {
    let schema = arrow_schema(table);
    if batch.schema_ref().fields() == schema.fields() {
        return Ok(batch.clone());
    }
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(array) => cast(array, field.data_type()).map_err(Error::arrow("read a logged column")),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema, columns).map_err(Error::arrow("read rows of another release"))
}

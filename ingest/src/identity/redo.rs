//! From rows of the tables back to the state: after a crash those of the log, after a loss all.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use hogflare_catalog::Table;
use uuid::Uuid;

use super::groups::group_key;
use super::ids::DistinctIds;
use super::person::{Group, Person};
use super::properties::Properties;
use super::store::Writing;
use super::{StateError, key};
use crate::protocol::json;

/// Puts the rows of a batch, which has the columns of the table under our names.
pub(crate) fn put_rows(writing: &Writing<'_>, table: Table, batch: &RecordBatch) -> Result<(), StateError> {
    let rows = Rows { table, batch };
    match table {
        Table::Persons => put_persons(writing, &rows),
        Table::PersonOverrides => put_moves(writing, &rows),
        Table::Groups => put_groups(writing, &rows),
        Table::Events | Table::DeadLetter => Ok(()),
    }
}

fn put_persons(writing: &Writing<'_>, rows: &Rows<'_>) -> Result<(), StateError> {
    let (projects, person_ids) = (rows.text("api_key")?, rows.text("person_id")?);
    let (numbers, versions) = (rows.long("person_int_id")?, rows.long("version")?);
    let (canonicals, ids) = (rows.text("canonical_distinct_id")?, rows.text("distinct_ids")?);
    let (id_counts, created) = (rows.long("distinct_id_count")?, rows.timestamp("created_at")?);
    let (identified, gone) = (rows.boolean("is_identified")?, rows.boolean("is_deleted")?);
    let (set, set_once) = (rows.text("properties")?, rows.text("properties_set_once")?);
    for row in 0..rows.batch.num_rows() {
        let ids = DistinctIds::of_json(ids.value(row), id_counts.value(row).unsigned_abs());
        let id = rows.uuid("person_id", person_ids.value(row))?;
        let person = Person {
            number: writing.number_of(id, numbers.value(row))?,
            id,
            canonical: canonicals.value(row).into(),
            ids: ids.ok_or_else(|| rows.damaged("distinct_ids"))?,
            created_at_us: created.value(row),
            version: versions.value(row),
            is_identified: identified.value(row),
            properties: rows.properties(set.value(row), set_once.value(row))?,
        };
        let project = projects.value(row);
        writing.put_person(project, &person, gone.value(row))?;
        let canonical = key(project, &person.canonical);
        // A move of this id has the version of its person, which is higher than the first.
        writing.put_id(canonical, &person.canonical, person.number, 1)?;
    }
    Ok(())
}

fn put_moves(writing: &Writing<'_>, rows: &Rows<'_>) -> Result<(), StateError> {
    let (projects, ids) = (rows.text("api_key")?, rows.text("distinct_id")?);
    let person_ids = rows.text("person_id")?;
    let (numbers, versions) = (rows.long("person_int_id")?, rows.long("version")?);
    for row in 0..rows.batch.num_rows() {
        let id = ids.value(row);
        let person = rows.uuid("person_id", person_ids.value(row))?;
        let number = writing.number_of(person, numbers.value(row))?;
        writing.put_id(key(projects.value(row), id), id, number, versions.value(row))?;
    }
    Ok(())
}

fn put_groups(writing: &Writing<'_>, rows: &Rows<'_>) -> Result<(), StateError> {
    let (projects, types) = (rows.text("api_key")?, rows.text("group_type")?);
    let (slots, keys) = (rows.long("group_type_index")?, rows.text("group_key")?);
    let (created, versions) = (rows.timestamp("created_at")?, rows.long("version")?);
    let properties = rows.text("properties")?;
    for row in 0..rows.batch.num_rows() {
        let (project, group_type) = (projects.value(row), types.value(row));
        let slot = usize::try_from(slots.value(row)).map_err(|_| rows.damaged("group_type_index"))?;
        writing.put_type(project, slot, group_type)?;
        if keys.is_null(row) {
            continue;
        }
        let group = Group {
            slot,
            group_type: group_type.into(),
            key: keys.value(row).into(),
            created_at_us: created.value(row),
            version: versions.value(row),
            properties: rows.properties(properties.value(row), "{}")?,
        };
        writing.put_group(group_key(project, group_type, &group.key), &group)?;
    }
    Ok(())
}

/// Columns by name; of a type that others made of one, an error in words.
struct Rows<'a> {
    table: Table,
    batch: &'a RecordBatch,
}

impl<'a> Rows<'a> {
    fn text(&self, name: &str) -> Result<&'a StringArray, StateError> {
        self.column(name, |array| array.as_string_opt())
    }

    fn long(&self, name: &str) -> Result<&'a Int64Array, StateError> {
        self.column(name, |array| array.as_primitive_opt::<Int64Type>())
    }

    fn timestamp(&self, name: &str) -> Result<&'a TimestampMicrosecondArray, StateError> {
        self.column(name, |array| array.as_primitive_opt::<TimestampMicrosecondType>())
    }

    fn boolean(&self, name: &str) -> Result<&'a BooleanArray, StateError> {
        self.column(name, |array| array.as_boolean_opt())
    }

    fn column<T>(&self, name: &str, cast: impl Fn(&'a dyn Array) -> Option<&'a T>) -> Result<&'a T, StateError> {
        self.batch.column_by_name(name).and_then(|array| cast(array.as_ref())).ok_or_else(|| self.damaged(name))
    }

    fn uuid(&self, column: &str, text: &str) -> Result<Uuid, StateError> {
        Uuid::try_parse(text).map_err(|_| self.damaged(column))
    }

    fn properties(&self, set: &str, set_once: &str) -> Result<Properties, StateError> {
        // Not serde_json: values are kept as sent, and some numbers are beyond what it reads.
        if !json::is_object(set) || !json::is_object(set_once) {
            return Err(self.damaged("properties"));
        }
        Ok(Properties::of(set, set_once))
    }

    fn damaged(&self, column: &str) -> StateError {
        StateError::Refused(format!(
            "a row of the table {} has no usable {column}: was it changed by someone else?",
            self.table.short_name()
        ))
    }
}

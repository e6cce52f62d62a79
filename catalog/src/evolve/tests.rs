use iceberg::NamespaceIdent;
use iceberg::spec::{FormatVersion, SortOrder, TableMetadata, TableMetadataBuilder};

use super::*;
use crate::tables::{iceberg_schema, partition_spec};

/// A table of an earlier release, which did not declare `without`; a guest may have added a column.
fn older(without: &[&str], guest: Option<(&str, PrimitiveType)>) -> TableHead {
    let whole = iceberg_schema(Table::Events).unwrap();
    let kept = whole.as_struct().fields().iter().filter(|field| !without.contains(&field.name.as_str()));
    let mut fields: Vec<_> = kept.cloned().collect();
    if let Some((name, kind)) = guest {
        fields.push(Arc::new(NestedField::optional(900, name, Type::Primitive(kind))));
    }
    let schema = Schema::builder().with_fields(fields).build().unwrap();
    let spec = partition_spec(Table::Events, &schema).unwrap();
    let order = SortOrder::unsorted_order();
    let location = "file:///t".to_owned();
    let built = TableMetadataBuilder::new(schema, spec, order, location, FormatVersion::V2, HashMap::new());
    let metadata = built.unwrap().build().unwrap().metadata;
    let bound: HashMap<&str, i32> = Table::Events
        .columns()
        .iter()
        .filter(|column| !without.contains(&column.name))
        .filter_map(|column| Some((column.name, metadata.current_schema().field_id_by_name(column.name)?)))
        .collect();
    let property = Binding::of(Table::Events, &bound).to_property(Table::Events);
    let updates = HashMap::from([(BINDING_PROPERTY.to_owned(), property)]);
    head(metadata.into_builder(None).set_properties(updates).unwrap().build().unwrap().metadata)
}

fn head(metadata: TableMetadata) -> TableHead {
    TableHead::new(Table::Events, Arc::new(metadata), "file:///t/m.json".to_owned()).unwrap()
}

/// The table after the missing commit, or none if nothing was missing.
fn evolved(before: &TableHead) -> Option<TableHead> {
    let ident = TableIdent::new(NamespaceIdent::new("default".to_owned()), "events".to_owned());
    let request = evolution(&ident, before).unwrap()?;
    let mut builder = before.metadata.as_ref().clone().into_builder(None);
    for requirement in &request.requirements {
        requirement.check(Some(&before.metadata)).unwrap();
    }
    for update in request.updates {
        builder = update.apply(builder).unwrap();
    }
    Some(head(builder.build().unwrap().metadata))
}

#[test]
fn new_columns_are_added_once_and_bound() {
    let before = older(&["city", "timezone"], None);
    let after = evolved(&before).expect("two columns are missing");
    for name in ["city", "timezone"] {
        let schema = Arc::clone(after.metadata.current_schema());
        let field = schema.field_by_name(name).expect("added");
        let index = Table::Events.column_index(name).unwrap();
        assert!(!field.required && field.id > before.metadata.last_column_id());
        assert_eq!(after.binding.id(index), Some(field.id));
        assert!(field.doc.is_some());
    }
    assert!(evolved(&after).is_none(), "nothing is missing any more");
}

#[test]
fn a_guests_column_of_the_same_name_is_taken_if_it_fits() {
    let index = Table::Events.column_index("city").unwrap();
    let fits = evolved(&older(&["city"], Some(("city", PrimitiveType::String)))).expect("its binding is missing");
    let theirs = fits.metadata.current_schema().field_id_by_name("city");
    assert!(theirs.is_some());
    assert_eq!(fits.binding.id(index), theirs);
    // Of another type it is left alone, and nothing is asked for again and again.
    assert!(evolved(&older(&["city"], Some(("city", PrimitiveType::Long)))).is_none());
}

#[test]
fn a_column_that_a_guest_dropped_stays_dropped() {
    let whole = older(&[], None);
    let id = whole.metadata.current_schema().field_id_by_name("city").unwrap();
    let fields = whole.metadata.current_schema().as_struct().fields().iter().filter(|field| field.id != id);
    let schema = Schema::builder().with_fields(fields.cloned().collect::<Vec<_>>()).build().unwrap();
    let builder = whole.metadata.as_ref().clone().into_builder(None);
    let builder = builder.add_schema(schema).unwrap().set_current_schema(-1).unwrap();
    assert!(evolved(&head(builder.build().unwrap().metadata)).is_none());
}

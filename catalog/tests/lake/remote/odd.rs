//! Catalogs and tables that are not as one would wish.

use std::sync::Arc;

use hogflare_catalog::rest::{Login, RestCatalog, RestSettings};
use hogflare_catalog::table_catalog::TableCatalog;
use hogflare_catalog::tables::{BINDING_PROPERTY, Binding, iceberg_schema, partition_spec};
use hogflare_catalog::{LakeSettings, Objects, Table};
use iceberg::spec::Schema;
use iceberg::{NamespaceIdent, TableIdent};
use iceberg_catalog_rest::CreateTableRequest;

use super::harness::{Dial, EVENTS, NAMESPACE, Scene};
use crate::fake::{FakeSettings, Fault, Step, Vice};

fn with_vice(vice: Vice) -> Scene {
    let checked = |settings: &FakeSettings| {
        let dial = Dial::r2(settings);
        let settings = LakeSettings { checked_as: Some("fake".to_owned()), ..dial.settings.clone() };
        Dial { settings, ..dial }
    };
    Scene::new(FakeSettings { vice: Some(vice), ..FakeSettings::default() }, checked)
}

#[tokio::test]
async fn a_catalog_that_ignores_assertions_gets_no_row() {
    let scene = with_vice(Vice::IgnoresAssertions);
    let mut process = scene.start();
    let refused = process.make_ready().await.unwrap_err();
    assert!(refused.contains("cannot be used") && refused.contains("assert-ref-snapshot-id"), "{refused}");
    process.append(3);
    process.lake.finish().await.unwrap();
    assert_eq!(process.rows().await, (0, 3), "the rows wait");
    assert!(scene.fake.table_names().is_empty(), "{:?}", scene.fake.table_names());
}

/// The marks stand in the summaries then: commits, lost answers, restarts and copies as ever.
#[tokio::test]
async fn a_catalog_that_keeps_no_properties_is_written_to_exactly_once() {
    let scene = with_vice(Vice::DropsProperties);
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    for fault in [Fault::AppliedThenReset, Fault::Foreign, Fault::Replayed, Fault::Status(503)] {
        scene.fake.script(Step::Commit, fault);
        process.append(4);
        process.settle().await;
        assert!(scene.fake.table(NAMESPACE, EVENTS).properties().keys().all(|key| !key.starts_with("hogflare.wm")));
    }
    process.append(2);
    scene.fake.script(Step::Commit, Fault::AppliedThenReset);
    (0..20).for_each(|_| scene.fake.script(Step::Load, Fault::Status(503)));
    process.lake.finish().await.unwrap();
    drop(process);
    while scene.fake.scripted_left() > 0 {
        let _ = scene.start().make_ready().await;
    }
    let mut process = scene.start();
    process.make_ready().await.unwrap();
    process.append(1);
    process.settle().await;
    scene.check_table();
}

/// A table that an earlier release created, before two of the columns were declared.
#[tokio::test]
async fn columns_of_this_release_are_added_to_a_table_of_an_earlier_one() {
    let scene = Scene::new(FakeSettings::default(), Dial::r2);
    create_older(&scene, &["city", "timezone"]).await;
    let mut process = scene.start();
    // Somebody else's commit comes first.
    scene.fake.script(Step::Commit, Fault::Foreign);
    process.make_ready().await.unwrap();
    let metadata = scene.fake.table(NAMESPACE, EVENTS);
    for name in ["city", "timezone"] {
        assert!(metadata.current_schema().field_by_name(name).is_some(), "{name}");
        assert!(metadata.properties()[BINDING_PROPERTY].contains(&format!("{name}=")), "{name}");
    }
    let schemas = metadata.schemas_iter().count();
    process.append(5);
    process.settle().await;
    drop(process);
    let process = scene.start();
    process.make_ready().await.unwrap();
    assert_eq!(scene.fake.table(NAMESPACE, EVENTS).schemas_iter().count(), schemas, "added once");
    scene.check_table();
}

async fn create_older(scene: &Scene, without: &[&str]) {
    let settings = RestSettings {
        warehouse: Some("account_lake".to_owned()),
        login: Login::Token("catalog-token".to_owned()),
        ..RestSettings::new(scene.fake.catalog_uri())
    };
    let catalog = RestCatalog::new(settings, Objects::local()).unwrap();
    let whole = iceberg_schema(Table::Events).unwrap();
    let kept = whole.as_struct().fields().iter().filter(|field| !without.contains(&field.name.as_str()));
    let schema = Schema::builder().with_fields(kept.map(Arc::clone).collect::<Vec<_>>()).build().unwrap();
    let namespace = NamespaceIdent::new(NAMESPACE.to_owned());
    catalog.ensure_namespace(&namespace).await.unwrap();
    let binding = Binding::by_name(Table::Events, &schema).to_property(Table::Events);
    let request = CreateTableRequest {
        name: EVENTS.to_owned(),
        location: None,
        partition_spec: Some(partition_spec(Table::Events, &schema).unwrap()),
        schema,
        write_order: None,
        stage_create: None,
        properties: [("format-version".to_owned(), "2".to_owned()), (BINDING_PROPERTY.to_owned(), binding)].into(),
    };
    catalog.create(&TableIdent::new(namespace, EVENTS.to_owned()), request).await.unwrap();
}
